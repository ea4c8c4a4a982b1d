from dataclasses import replace

import pytest
import torch

from tempembed.evaluation.choice import choices, choose, pareto
from tempembed.evaluation.compare import paired_differences
from tempembed.system.errors import UserError
from tests.rows import evaluation, score_row


def row(spec, size, score):
    codec = "float32" if spec == "full" else spec
    return score_row(
        task="t", spec=spec, bytes_per_vector=size, score=score, codec=codec, retention=score / 0.9
    )


ROWS = [
    row("full", 4096, 0.9),
    row("a", 128, 0.8),
    row("b", 100, 0.79),
    row("c", 128, 0.5),
    row("d", 16, 0.6),
    row("e", 32, 0.55),
]
NOISE = torch.randn(1000, generator=torch.Generator().manual_seed(0)) * 0.02


def replicates(shift=0.0):
    jitter = torch.randn(1000, generator=torch.Generator().manual_seed(1)) * 0.02
    found = {r.key: r.score + shift + NOISE for r in ROWS}
    return found | {"t|b": found["t|b"] + jitter}


def test_the_best_within_the_bytes_and_what_cannot_be_told_from_it():
    found = choose(ROWS, replicates(), 128)
    assert found.best.spec == "a"
    assert found.runner_up.spec == "b"
    low, high = found.difference_ci
    assert low < 0.01 < high
    assert [r.spec for r in found.equals] == ["b"]  # c is always 0.3 worse: its noise is that of a
    assert choose(ROWS, replicates(), 4096).best.spec == "full"
    assert [c.best.spec for c in choices(ROWS, replicates(), (8, 16, 64, 100))] == ["d", "d", "b"]
    with pytest.raises(UserError, match="at least 16 bytes"):
        choose(ROWS, replicates(), 15)


def test_a_model_that_scores_nothing_has_no_best_codec():
    rows = [replace(r, score=0.0, retention=None) for r in ROWS]
    with pytest.raises(UserError, match="task t: expected a score above 0 in full float32"):
        choose(rows, replicates(), 128)


def test_pareto_front():
    assert [r.spec for r in pareto(ROWS)] == ["d", "b", "a", "full"]


def measured(model, shift=0.0, fingerprint="f", width=8, prefix=""):
    scores = [
        replace(r, spec=prefix + r.spec, dim=width, score=r.score + shift, retention=(r.score + shift) / (0.9 + shift))
        for r in ROWS
    ]  # fmt: skip
    found = {key.replace("|", f"|{prefix}"): value for key, value in replicates(shift).items()}
    return evaluation(scores, found, model=model, width=width, fingerprint=fingerprint)


def test_models_are_compared_in_pairs():
    """The noise of the queries is common to both: the interval of the difference has none of it."""
    found = {r.first.spec: r for r in paired_differences(measured("x"), measured("y", 0.01))}
    assert found["a"].score == pytest.approx(0.01)
    assert found["a"].ci == pytest.approx((0.01, 0.01), abs=1e-5)
    with pytest.raises(UserError, match="same queries"):
        paired_differences(measured("x"), measured("y", fingerprint="g"))
    narrow = measured("n", 0.01, width=4, prefix="narrow ")
    of_width = {r.first.spec: r for r in paired_differences(measured("x"), narrow)}
    assert of_width["full"].second.spec == "narrow full"
    assert {spec: r.ci for spec, r in of_width.items()} == {spec: r.ci for spec, r in found.items()}
    other = measured("z")
    data = replace(other.report.data, tasks={"u": other.report.data.tasks["t"]})
    with pytest.raises(UserError, match="share none"):
        paired_differences(measured("x"), replace(other, report=replace(other.report, data=data)))
