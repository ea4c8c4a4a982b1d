"""A second model masks candidates in a run: its embeddings are made once, and it is part of what the run is."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sentence_transformers import SentenceTransformer

from tempembed.commands.train import Train, train_command
from tempembed.evaluation import store
from tempembed.settings.train import TrainSettings
from tempembed.stages.pair_data import PairData
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tempembed.tracking.jsonl import read_jsonl
from tests import models
from tests.conftest import make_rows


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guide")
    models.static(folder / "guide", prompts={"query": "open ", "document": "close "})
    models.static(folder / "other", seed=4)
    rows = [{name: row[name] for name in ("query", "document")} for row in make_rows(160)]
    for i, row in enumerate(rows):
        row["hard_negatives"] = [rows[(i + 40) % 160]["document"], f"a text of row {i}"][: i % 3]
    pq.write_table(pa.Table.from_pylist(rows), folder / "pairs.parquet")
    return folder


def settings(place, **more):
    values = {"guide": str(place / "guide"), "vocabulary": 400, **more}
    return TrainSettings.of(
        data=str(place / "pairs.parquet"), width=32, batch_size=32, steps=6, log_every=2, **values
    )


def test_a_batch_has_the_guide_s_embeddings_of_its_texts(place):
    asked = settings(place, guide_margin=0.1)
    data = PairData(asked, prepare(asked), torch.device("cpu"))
    rows = np.array([3, 100, 5, 8])
    found = data.batch(0, rows).guide
    model = SentenceTransformer(str(place / "guide"), device="cpu")
    table = pq.read_table(place / "pairs.parquet").to_pylist()
    unit = {"normalize_embeddings": True}
    queries = model.encode_query([table[i]["query"] for i in rows], **unit)
    documents = model.encode_document([table[i]["document"] for i in rows], **unit)
    np.testing.assert_allclose(found.queries_BE, queries, atol=1e-6)
    np.testing.assert_allclose(found.documents_BE, documents, atol=1e-6)
    negative = model.encode_document([table[8]["hard_negatives"][1]], **unit)
    np.testing.assert_allclose(found.hard_negatives_NBE[1, 3], negative[0], atol=1e-6)
    assert found.margin == asked.loss.guide_limit


def masked(folder):
    return [
        line["train/masked_negatives_per_step"]
        for line in read_jsonl(folder / "metrics.jsonl")
        if "train/loss" in line
    ]


def test_a_run_masks_by_it_and_embeds_once(place, tmp_path, monkeypatch):
    train_command(Train(train=settings(place, guide=None), output=str(tmp_path / "free")))
    train_command(Train(train=settings(place), output=str(tmp_path / "guided")))
    monkeypatch.setattr(
        store.EmbeddingStore,
        "_encode_missing",
        lambda self, keys, *_: pytest.fail("embedded again") if keys else None,
    )
    wide = settings(place, guide_margin=0.3, vocabulary=390)  # prepared anew
    train_command(Train(train=wide, output=str(tmp_path / "wide")))
    free, guided, wide = (np.mean(masked(tmp_path / name)) for name in ("free", "guided", "wide"))
    assert free < guided < wide
    own = settings(place, guide=None, false_negative_margin=-0.3)
    train_command(Train(train=own, output=str(tmp_path / "own")))
    assert np.mean(masked(tmp_path / "own")) > free


def test_another_guide_or_margin_is_another_run(place, tmp_path):
    output = str(tmp_path / "run")
    train_command(Train(train=settings(place), output=output, stop_after=2))
    for more, message in (
        ({"guide": str(place / "other")}, "guide"),
        ({"guide": None}, "guide"),
        ({"guide_margin": 0.2}, "guide_margin: 0.0 there, 0.2 here"),
        ({"false_negative_margin": 0.2}, "false_negative_margin"),
    ):
        with pytest.raises(UserError, match=message):
            train_command(Train(train=settings(place, **more), output=output, resume=True))
    train_command(Train(train=settings(place), output=output, resume=True))
    train_command(Train(train=settings(place), output=str(tmp_path / "whole")))
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "whole"))
    assert one == two


def test_a_guide_that_is_none_is_one_line(place):
    with pytest.raises(UserError, match=r"--guide: model .*nowhere") as caught:
        prepare(settings(place, guide="nowhere/to-be-found"))
    assert "\n" not in str(caught.value)
