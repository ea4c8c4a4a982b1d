"""Regularisers that learn from a teacher, against sentence-transformers' losses and their formulas; in training; bad input."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss, MarginMSELoss
from sentence_transformers.util import pairwise_cos_sim

from tempembed.commands.train import Train, train_command
from tempembed.objectives.regularisers.batch import EmbeddedBatch
from tempembed.objectives.regularisers.kl import kl
from tempembed.objectives.regularisers.margin_mse import margin_mse
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError
from tempembed.tracking.jsonl import read_jsonl
from tests.conftest import make_rows

BATCH, NEGATIVES, WIDTH = 7, 3, 8


def batch(absent=False):
    generator = torch.Generator().manual_seed(0)
    q, d, *n = torch.randn(2 + NEGATIVES, BATCH, WIDTH, generator=generator, dtype=torch.float64)
    scores = torch.randn(1 + NEGATIVES, BATCH, generator=generator, dtype=torch.float64)
    if absent:
        scores[3, 2] = scores[2:, 4] = scores[1:, 5] = scores[:, 6] = torch.nan
    leaves = [x.clone().requires_grad_() for x in (q, d, *n)]
    seen = EmbeddedBatch(
        queries_BD=leaves[0],
        documents_BD=leaves[1],
        hard_negatives_NBD=torch.stack(leaves[2:]),
        scores_KB=scores,
    )
    return seen, leaves


def theirs(loss, leaves, scores):
    value = loss.compute_loss_from_embeddings(leaves, scores.T)
    return value, torch.autograd.grad(value, leaves)


def test_margin_mse_is_sentence_transformers():
    seen, leaves = batch()
    want, gradients = theirs(MarginMSELoss(None, similarity_fct=pairwise_cos_sim), leaves, seen.scores_KB / 2)
    got = margin_mse(seen, 2.0)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(torch.autograd.grad(got, leaves), gradients)


@pytest.mark.parametrize(("temperature", "teacher"), [(1.0, None), (0.1, None), (0.2, 1.0)])
def test_kl_is_sentence_transformers_but_for_the_squared_temperature(temperature, teacher):
    seen, leaves = batch()
    loss = DistillKLDivLoss(
        None,
        similarity_fct=pairwise_cos_sim,
        student_temperature=temperature,
        teacher_temperature=teacher or temperature,
    )
    want, gradients = theirs(loss, leaves, seen.scores_KB)
    got = kl(seen, temperature, *([teacher] if teacher else []))
    torch.testing.assert_close(got, want / temperature**2)
    scaled = [gradient / temperature**2 for gradient in gradients]
    torch.testing.assert_close(list(torch.autograd.grad(got, leaves)), scaled)


def test_what_is_absent_does_not_count():
    """Rows with fewer candidates by the formulas, one by one; a row without any has none."""
    seen, leaves = batch(absent=True)
    margins, divergences = [], []
    for row in range(BATCH):
        has = [k for k in range(1 + NEGATIVES) if not seen.scores_KB[k, row].isnan()]
        if 0 not in has:
            continue
        t = seen.scores_KB[has, row]
        s = torch.stack([torch.cosine_similarity(leaves[0][row], leaves[1 + k][row], dim=0) for k in has])
        margins += [((s[0] - s[k]) - (t[0] - t[k])) ** 2 for k in range(1, len(has))]
        if len(has) > 1:
            p = (t / 0.1).softmax(0)
            divergences.append((p * (p.log() - (s / 0.1).log_softmax(0))).sum())
    assert (len(margins), len(divergences)) == (12, 5)
    for got, want in (
        (margin_mse(seen), torch.stack(margins).mean()),
        (kl(seen, 0.1), torch.stack(divergences).mean()),
    ):
        torch.testing.assert_close(got, want)
        gradients = torch.autograd.grad(got, leaves, retain_graph=True)
        assert all(gradient.isfinite().all() for gradient in gradients)
        torch.testing.assert_close(gradients, torch.autograd.grad(want, leaves, retain_graph=True))


def test_nothing_to_learn_is_zero():
    seen, leaves = batch()
    alone = EmbeddedBatch(queries_BD=leaves[0], documents_BD=leaves[1], scores_KB=seen.scores_KB[:1])
    for value in (margin_mse(alone), kl(alone)):
        assert value.item() == 0
        assert all(
            gradient.abs().max() == 0
            for gradient in torch.autograd.grad(value, leaves[:2], retain_graph=True)
        )


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """Pairs with two hard negatives, of which the teacher finds the first as good as the document; every third row has none."""
    rows = [{name: row[name] for name in ("query", "document")} for row in make_rows(160)]
    for i, row in enumerate(rows):
        negatives = [rows[(i + k) % 160]["document"] for k in (40, 80)] if i % 3 else []
        row |= {"hard_negatives": negatives, "scores": [0.8, *([0.8, -0.2] if negatives else [])]}
    path = tmp_path_factory.mktemp("taught") / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def settings(path, **more):
    return TrainSettings.of(
        data=str(path), width=32, vocabulary=400, batch_size=32, steps=20, log_every=5, **more
    )


def test_a_run_learns_from_the_teacher(taught, tmp_path):
    last = {}
    for name, weights in (
        ("hardly", ("margin-mse:0.001", "kl(0.2):0.001")),
        ("well", ("margin-mse:30", "kl(0.2):3")),
    ):
        train_command(Train(train=settings(taught, regularisers=weights), output=str(tmp_path / name)))
        last[name] = read_jsonl(tmp_path / name / "metrics.jsonl")[-1]
    for name in ("margin-mse", "kl"):
        assert last["well"][f"train/regulariser/{name}"] < 0.8 * last["hardly"][f"train/regulariser/{name}"]


def test_a_teacher_that_is_not_there_is_one_line_before_training(taught, tmp_path):
    table = pq.read_table(taught)
    for name, columns, message in (
        (
            "plain",
            ["query", "document", "hard_negatives"],
            "--regularisers kl:1: expected .* to have a column 'scores'",
        ),
        ("alone", ["query", "document", "scores"], "expected .* to have hard negatives"),
    ):
        part = table.select(columns)
        if name == "alone":
            part = part.set_column(2, "scores", pa.array([[0.8]] * len(part)))
        pq.write_table(part, tmp_path / f"{name}.parquet")
        with pytest.raises(UserError, match=message) as caught:
            prepare(settings(tmp_path / f"{name}.parquet", regularisers=("kl:1",)))
        assert "\n" not in str(caught.value)
