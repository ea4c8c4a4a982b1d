"""A small static model with a measured report, as a run leaves it, and texts to search in."""

import json
import random

import pytest
import torch

from tempembed.codecs.spec import parse_spec
from tempembed.data.pairs import read_pairs
from tempembed.encoders.load import load_encoder
from tempembed.encoders.role import Prompts
from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.evaluation.corpus import corpus_from_pairs
from tempembed.evaluation.evaluate import evaluate
from tempembed.evaluation.report_files import write_report
from tempembed.export.export import FitOn, Source, export
from tempembed.export.provenance import Provenance
from tempembed.settings.train import TrainSettings

WIDTH = 64


@pytest.fixture(scope="session")
def texts():
    """700 distinct ones of the model's words."""
    rng = random.Random(0)
    words = "open close merge sort invert count render matrix socket parser calendar image queue return self".split()
    return list(
        dict.fromkeys(f"def {' '.join(rng.choices(words, k=rng.randint(3, 9)))}: é" for _ in range(750))
    )[:700]


@pytest.fixture(scope="session")
def trained(data_dir, texts, tmp_path_factory):
    """The output folder of a run."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    encoder = static_encoder(train_tokenizer(texts, 300), width=WIDTH, max_tokens=32, seed=0)
    encoder.prompts = Prompts.of_config({"prompts": {"query": "Q7: "}, "default_prompt_name": "query"}, {})
    ids = [i for text in ("Q7: ", "q", "7", ":") for i in encoder.tokenizer.encode(text).ids]
    with torch.no_grad():  # a prompt that changes a vector, and hardly a ranking
        encoder.table[ids] *= 0.05
    encoder.save(folder)
    corpus = corpus_from_pairs(read_pairs(str(data_dir / "test.parquet")))
    evaluation = evaluate(
        corpus.tasks(("retrieval", "clustering")),
        lambda texts, role, prompt: encoder.embed(encoder.prepare(texts, encoder.role(role))),
        model=str(folder),
        specs=lambda full: [parse_spec(text, full) for text in ("prefix:16+binary", "binary", "pca:16+int8")],
        labels=corpus.labels,
    )
    write_report(evaluation, folder / "evaluation.json")
    settings = TrainSettings.of(
        data=str(data_dir / "train.parquet"), eval_data=str(data_dir / "test.parquet"),
        terms=("16@0.05", "64@0.1*0.5"), batch_size=32,
    )  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings.to_dict()))
    return folder


@pytest.fixture(scope="session")
def embeddings(trained, texts):
    encoder = load_encoder(str(trained))
    return encoder.embed(encoder.prepare(texts, encoder.role("document")))


@pytest.fixture(scope="session")
def exported(trained, texts, tmp_path_factory):
    """A function: the exported folder of a codec, made once."""
    made = {}

    def make(codec):
        if codec not in made:
            source = Source.of_folder(trained, Provenance(codec=codec, objective="infonce:0.06"))
            output = tmp_path_factory.mktemp("exported") / "model"
            made[codec] = export(source, output, lambda: FitOn(texts=texts))
        return made[codec]

    return make


@pytest.fixture(autouse=True)
def _no_gradient():
    with torch.no_grad():
        yield
