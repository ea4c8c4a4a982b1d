"""Results of a tiny preset: random models that are really evaluated, and planted ones whose effects are known."""

import dataclasses
import json
from collections.abc import Callable

import pytest
import torch

from tempembed.codecs.sets import halvings, paper_specs
from tempembed.codecs.spec import Spec
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.evaluate import evaluate
from tempembed.evaluation.report_files import write_report
from tempembed.reproduction.presets import (
    BEST_SINGLE,
    STATIC,
    TRANSFORMER,
    Entry,
    Preset,
    extras,
    mrl,
    multi,
    settings,
    single,
)
from tempembed.reproduction.results import Group, Results, Run
from tempembed.settings.train import TrainSettings
from tempembed.tuning.trial import Trial, TrialTerm
from tests.rows import evaluation, score_row

WIDTH, M, Q = 128, 240, 60
TINY = Preset(
    name="tiny", seeds=(0, 1),
    entries=(
        *map(single, (0.04, 0.1, 0.4)), *map(mrl, (0.04, 0.4)), *multi(), extras()[4],
        Entry(label="InfoNCE, learned τ", role="extra", objective="infonce:learned(0.06)", against=BEST_SINGLE, question="Learned?"),
        single(0.04, TRANSFORMER), single(0.4, TRANSFORMER),
    ),
    encoders={STATIC: {"width": WIDTH, "epochs": 1.0}, TRANSFORMER: {"width": WIDTH, "layers": 2, "steps": 10}},
)  # fmt: skip


def specs(full: int) -> list[Spec]:
    return [spec for spec in paper_specs(full, draws=1) if spec.method == "prefix"] + [Spec(width=full // 32)]


def clustering_specs(full: int) -> list[Spec]:
    return [
        Spec(width=w, numbers=n) for w in (full // 4, full // 2, full) for n in ("float32", "binary")
    ]  # fmt: skip


def corpus() -> Corpus:
    return Corpus(
        queries=[f"query {i}" for i in range(Q)], documents=[f"document {i}" for i in range(M)],
        relevant=[[i] for i in range(Q)], labels=[f"package {i % 5}" for i in range(M)],
    )  # fmt: skip


def random_model(texts: Corpus, tau: float, seed: int) -> Callable[..., torch.Tensor]:
    """Documents in groups, closer together as tau grows; a query is near its document."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(5, WIDTH, generator=generator) * 2 * tau**0.5
    documents = centres[torch.arange(M) % 5] + torch.randn(M, WIDTH, generator=generator)
    queries = documents[:Q] + (2.2 + 2 * tau) * torch.randn(Q, WIDTH, generator=generator)
    return lambda asked, role, prompt: queries if asked is texts.queries else documents


@pytest.fixture(scope="session")
def sweep_folder(tmp_path_factory):
    """What a sweep leaves: every trial evaluated, one of them failed."""
    folder = tmp_path_factory.mktemp("reproduction")
    texts = corpus()
    tasks = texts.tasks(("retrieval", "clustering"))
    records = []
    runs = settings(TINY, TrainSettings.of(hold_out=0.1))
    for entry in TINY.entries:
        for seed in TINY.seeds:
            name, run = entry.name(seed), runs[entry.name(seed)]
            record = {
                "name": name, "objective": run.loss.objective_name, "seed": seed, "beta": run.loss.beta,
                "terms": [dataclasses.asdict(TrialTerm.of(term)) for term in run.loss.resolved_terms(WIDTH)],
            }  # fmt: skip
            if name == "infonce-learned-tau-seed1":
                records.append({**record, "status": "FAILED", "error": "step 3: <nan>"})
                continue
            model = random_model(texts, entry.temperature or 0.06, seed)
            found = evaluate(
                tasks, model, model=name, specs=specs, by_kind={"clustering": clustering_specs}, labels=texts.labels,
            )  # fmt: skip
            write_report(found, folder / "trials" / name / "evaluation.json")
            cost = {
                "train_seconds": 5.0,
                "pairs_per_second": 9000.0,
                "peak_bytes": 1.2e9,
                "evaluation_seconds": 3.0,
            }
            records.append(
                {**found.report.to_json(), **record, "status": "FINISHED", "seconds": 9.0, "cost": cost}
            )
    (folder / "trials.json").write_text(json.dumps(records))
    return folder


@pytest.fixture(scope="session")
def tiny():
    """The preset that is evaluated."""
    return TINY


@pytest.fixture(scope="session")
def planted():
    """Makes results with known scores."""
    return plant


def plant(
    value: Callable[[Entry, str, Spec], float], dimension: Callable[[Entry], float], *, noise: float = 0.002,
    seeds: tuple[int, ...] = (0, 1, 2), preset: Preset = TINY, width: int = WIDTH, resamples: int = 400,
) -> Results:  # fmt: skip
    """Results with known scores: what `value` says, moved a little by each seed and by each resample of the queries."""
    drawn = torch.Generator().manual_seed(1)
    queries_R = noise * torch.randn(
        resamples, generator=drawn, dtype=torch.float64
    )  # shared: that is the pairing
    groups = []
    for entry in preset.entries:
        runs = []
        for seed in seeds:
            rows, replicates = [], {}
            for task in ("retrieval", "clustering"):
                own = noise * torch.randn(resamples + 1, generator=drawn, dtype=torch.float64)
                for spec in [*specs(width), *(Spec(width=w, numbers="binary") for w in halvings(width))]:
                    score = value(entry, task, spec) + own[-1].item() / 4
                    rows.append(
                        score_row(
                            task=task, spec=str(spec), codec=spec.name, dim=spec.width, score=score, retention=score,
                            bytes_per_vector=spec.bytes_per_vector,
                        )
                    )  # fmt: skip
                    replicates[f"{task}|{spec}"] = score + queries_R + own[:-1] / 4
            geometry = {
                "pca95": dimension(entry) + seed,
                "variance_spread": dimension(entry) / 100,
                "pca95_random": 120,
                "n": 500,
                "uniformity": -3.0,
            }
            name, term = entry.name(seed), TrialTerm(dim=width, temperature=0.1, weight=1.0)
            trial = Trial(name=name, status="FINISHED", objective=entry.objective, terms=(term,))
            measured = evaluation(rows, replicates, geometry=geometry, width=width)
            runs.append(Run(entry=entry, seed=seed, trial=trial, evaluation=measured, folder=None))
        groups.append(Group(entry=entry, runs=tuple(runs)))
    return Results(preset=preset, groups=tuple(groups), failed=())
