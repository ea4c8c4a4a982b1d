import pytest
import torch

from tempembed.evaluation.choice import choices, choose, pareto
from tempembed.evaluation.compare import differences
from tempembed.system.errors import UserError


def row(spec, size, score):
    return dict(task="t", spec=spec, bytes_per_vector=size, score=score, codec="float32" if spec == "full" else spec,
                dim=8, retention=score / 0.9)  # fmt: skip


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
    found = {f"t|{r['spec']}": r["score"] + shift + NOISE for r in ROWS}
    return found | {"t|b": found["t|b"] + jitter}


def test_the_best_within_the_bytes_and_what_cannot_be_told_from_it():
    found = choose(ROWS, replicates(), 128)
    assert found.best["spec"] == "a"
    assert found.runner_up["spec"] == "b"
    low, high = found.difference_ci
    assert low < 0.01 < high
    assert [r["spec"] for r in found.equals] == ["b"]  # c is always 0.3 worse: its noise is that of a
    assert choose(ROWS, replicates(), 4096).best["spec"] == "full"
    assert [c.best["spec"] for c in choices(ROWS, replicates(), (8, 16, 64, 100))] == ["d", "d", "b"]
    with pytest.raises(UserError, match="at least 16 bytes"):
        choose(ROWS, replicates(), 15)


def test_a_model_that_scores_nothing_has_no_best_codec():
    rows = [{**r, "score": 0.0, "retention": None} for r in ROWS]
    with pytest.raises(UserError, match="task t: expected a score above 0 in full float32"):
        choose(rows, replicates(), 128)


def test_pareto_front():
    assert [r["spec"] for r in pareto(ROWS)] == ["d", "b", "a", "full"]


def report(model, shift=0.0, fingerprint="f"):
    scores = [
        {**r, "score": r["score"] + shift, "retention": (r["score"] + shift) / (0.9 + shift)} for r in ROWS
    ]
    return {
        "model": model,
        "width": 8,
        "data": {"tasks": {"t": {"fingerprint": fingerprint}}},
        "scores": scores,
        "geometry": {},
    }


def test_models_are_compared_in_pairs():
    """The noise of the queries is common to both: the interval of the difference has none of it."""
    found = {
        r["spec"]: r for r in differences((report("x"), replicates()), (report("y", 0.01), replicates(0.01)))
    }
    assert found["a"]["difference"] == pytest.approx(0.01)
    assert found["a"]["ci"] == pytest.approx((0.01, 0.01), abs=1e-5)
    with pytest.raises(UserError, match="same queries"):
        differences((report("x"), replicates()), (report("y", fingerprint="g"), replicates()))
    narrow = report("n", 0.01)
    narrow["width"] = 4
    narrow["scores"] = [{**r, "spec": f"narrow {r['spec']}", "dim": 4} for r in narrow["scores"]]
    theirs = {key.replace("|", "|narrow "): value for key, value in replicates(0.01).items()}
    of_width = {r["spec"]: r for r in differences((report("x"), replicates()), (narrow, theirs))}
    assert of_width["full"]["other_spec"] == "narrow full"
    assert {spec: r["ci"] for spec, r in of_width.items()} == {spec: r["ci"] for spec, r in found.items()}
    other = report("z")
    other["data"] = {"tasks": {"u": {"fingerprint": "f"}}}
    with pytest.raises(UserError, match="share none"):
        differences((report("x"), replicates()), (other, {}))
