"""What hard negatives, masks and a teacher gain over in-batch negatives: paired over seeds and queries.

python -m benchmarks.negatives code            # settings are chosen here
python -m benchmarks.negatives descriptions    # and confirmed here; some 10 minutes each on 2 cores

A static encoder is trained on a sample; the guide and teacher is one of the same kind, trained on all the other training pairs.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.descriptions import descriptions
from tempembed.commands.mine import Mine, mine
from tempembed.data.installed_code import installed_code
from tempembed.data.pairs import read_pairs
from tempembed.encoders.load import load_encoder
from tempembed.evaluation.corpus import Corpus, corpus_from_pairs
from tempembed.evaluation.retrieval import CUTOFF, Gains, Race, Retrieval
from tempembed.index.top_k import decoded_top_k
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import train_pairs
from tempembed.stages.prepare import prepare_with_encoder

SAMPLE, TEST_QUERIES, TEST_DOCUMENTS, TEACHER_PAIRS = 5_000, 2_000, 8_000, 30_000
STEPS, TEACHER_STEPS = 60, 240
SHARED = {"batch_size": 256, "objective": "infonce:0.06", "log_every": 1000}


@dataclass(frozen=True)
class Variant:
    """A way to train: how its data is mined, if it is, and the settings of the loss."""

    mined: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def variants(teacher: str) -> dict[str, Variant]:
    """By name; the first is what the others are compared with."""
    two = {"num_negatives": 2}
    judged = {**two, "judge": teacher}
    return {
        "in-batch": Variant(),
        "any two documents": Variant({**two, "ranks": (0, 4_000), "choice": "random"}),
        "mined, nearest": Variant(two),
        "mined, --relative-margin 0.05": Variant({**two, "relative_margin": 0.05}),
        "mined, --relative-margin 0.2": Variant({**two, "relative_margin": 0.2}),
        "mined, --ranks 10 60, random": Variant({**two, "ranks": (10, 60), "choice": "random"}),
        "mined, --judge, --relative-margin 0.05": Variant({**judged, "relative_margin": 0.05}),
        "--false-negative-margin 0.1": Variant(settings={"false_negative_margin": 0.1}),
        "--guide": Variant(settings={"guide": teacher}),
        "--guide, --guide-margin 0.1": Variant(settings={"guide": teacher, "guide_margin": 0.1}),
        "mined, nearest, --guide": Variant(two, {"guide": teacher}),
        "mined, --judge, margin-mse(1):10": Variant(judged, {"regularisers": ("margin-mse(1):10",)}),
        "mined, --judge, margin-mse(1):1": Variant(judged, {"regularisers": ("margin-mse(1):1",)}),
        "mined, --judge, kl(0.06):0.2": Variant(judged, {"regularisers": ("kl(0.06):0.2",)}),
        "mined, --judge, kl(0.06):1": Variant(judged, {"regularisers": ("kl(0.06):1",)}),
    }


def split(name: str, folder: Path) -> Corpus:
    """Write `sample.parquet` and `others.parquet`, training pairs that share no row; the test."""
    chance = np.random.default_rng(0)
    if name == "code":
        corpus = installed_code()
        train, test = pq.read_table(corpus.train), pq.read_table(corpus.test)
    else:
        table = pq.read_table(descriptions())
        table = table.take(pa.array(chance.permutation(len(table))))
        test, train = table.slice(0, TEST_DOCUMENTS), table.slice(TEST_DOCUMENTS)
    train = train.select(["query", "document"]).take(pa.array(chance.permutation(len(train))))
    pq.write_table(train.slice(0, SAMPLE), folder / "sample.parquet")
    pq.write_table(train.slice(SAMPLE, TEACHER_PAIRS), folder / "others.parquet")
    pq.write_table(test.select(["query", "document"]).slice(0, TEST_DOCUMENTS), folder / "test.parquet")
    return corpus_from_pairs(read_pairs(str(folder / "test.parquet")), max_queries=TEST_QUERIES)


def trained(data: Path, output: Path, **settings: Any) -> str:
    """Train a static encoder; its folder."""
    asked = TrainSettings.of(data=str(data), **{**SHARED, **settings})
    prepared, encoder = prepare_with_encoder(asked)
    train_pairs(asked, prepared, output, lambda _: None, encoder=encoder)
    return str(output)


def scores(model: str, corpus: Corpus) -> np.ndarray:
    """nDCG@10 of each query."""
    encoder, task = load_encoder(model), Retrieval.of_corpus(corpus)
    queries, documents = (
        torch.nn.functional.normalize(encoder.embed(encoder.prepare(texts, encoder.role(role))), dim=1)
        for texts, role in ((task.queries, "query"), (task.documents, "document"))
    )
    race = Race(task.excluded, len(task.documents))
    found = decoded_top_k(queries, documents, lambda x: x, CUTOFF + race.most)[1]
    return np.asarray(Gains(task.relevant, len(task.documents)).ndcg(race.best(found, CUTOFF)))


def interval(differences_SQ: np.ndarray) -> tuple[float, float, float]:
    """Mean of paired differences over seeds and queries, and 95 % by a bootstrap of both."""
    chance = np.random.default_rng(0)
    num_seeds, num_queries = differences_SQ.shape
    means = [
        differences_SQ[chance.integers(num_seeds, size=num_seeds)][
            :, chance.integers(num_queries, size=num_queries)
        ].mean()
        for _ in range(1000)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences_SQ.mean()), float(low), float(high)


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=["code", "descriptions"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of variants; default all")
    parser.add_argument("--output", type=Path, help="all scores, as JSON")
    given = parser.parse_args()
    found: dict[str, list[np.ndarray]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        corpus = split(given.data, folder)
        teacher = trained(folder / "others.parquet", folder / "teacher", width=512, steps=TEACHER_STEPS)
        print(f"teacher alone: {scores(teacher, corpus).mean():.4f}", flush=True)
        searcher = trained(folder / "sample.parquet", folder / "searcher", width=256, steps=STEPS, seed=100)
        for name, variant in variants(teacher).items():
            if given.only and name not in (*given.only, "in-batch"):
                continue
            data = folder / "sample.parquet"
            if variant.mined is not None:
                data = folder / f"{len(found)}.parquet"
                mined = mine(
                    Mine(
                        model=searcher,
                        data=(str(folder / "sample.parquet"),),
                        output=str(data),
                        **variant.mined,
                    ),
                    lambda _: None,
                )
                print(f"{name}: {mined.num_negatives / mined.num_queries:.2f} negatives a query", flush=True)
            found[name] = []
            for seed in range(given.seeds):
                output = folder / f"{len(found)}-{seed}"
                model = trained(data, output, width=256, steps=STEPS, seed=seed, **variant.settings)
                found[name].append(scores(model, corpus))
            print(row(name, found), flush=True)
            if given.output:
                means = {key: [float(one.mean()) for one in per_seed] for key, per_seed in found.items()}
                given.output.write_text(json.dumps(means, indent=1))
    print(
        "\n".join(
            ["", "| | nDCG@10 | gain | 95 % |", "|---|---|---|---|", *(row(name, found) for name in found)]
        )
    )


def row(name: str, found: Mapping[str, list[np.ndarray]]) -> str:
    """A row of the table."""
    here, plain = np.stack(found[name]), np.stack(found["in-batch"])
    if name == "in-batch":
        return f"| {name} | {here.mean():.4f} | | |"
    mean, low, high = interval(here - plain)
    return f"| {name} | {here.mean():.4f} | {mean:+.4f} | {low:+.4f} to {high:+.4f} |"


if __name__ == "__main__":
    main()
