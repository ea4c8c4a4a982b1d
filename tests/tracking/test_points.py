import pytest

from tempembed.objectives.term import Term
from tempembed.tracking.jsonl import JsonlTracker
from tempembed.tracking.points import evaluation_points, temperature_points
from tempembed.tracking.tracker import numbers
from tests.rows import report, score_row


def row(codec, dim, retention, size):
    return score_row(
        codec=codec, dim=dim, bytes_per_vector=size, score=0.5 * retention, retention=retention
    )  # fmt: skip


def test_curves_have_the_width_as_their_step_and_end_at_the_full_width():
    geometry = {
        "spectrum": [(1, 0.5), (64, 0.1)],
        "pca95": 30,
        "pca95_random": 60,
        "n": 10,
        "alignment": 0.5,
        "uniformity": -3.0,
    }
    scores = [row("float32", 64, 1.0, 256), row("binary", 64, 0.9, 8), row("float32", 32, 0.8, 128)]
    points = evaluation_points(report(scores, geometry=geometry, width=64))
    curve = [(value, step) for key, value, step in points if key == "retention/ndcg_at_10/float32"]
    assert curve == [(0.8, 32), (1.0, 64)]
    assert ("intrinsic_dimension", 30.0, 0) in points
    assert ("geometry/alignment", 0.5, 0) in points
    assert [point[1:] for point in points if point[0] == "geometry/spectrum"] == [(0.5, 1), (0.1, 64)]
    assert ("score/retrieval", 0.5, 64) not in points
    assert ("score/retrieval", 0.5, 0) in points
    names = [key for key, _, _ in points]
    assert not [name for name in names if name.count("/") > 2 or name.startswith("geometry/pca95")]


def test_temperatures_as_numbers():
    terms = (Term(dim=8, temperature=0.1), Term(dim=8, temperature=0.4, weight=3))
    want = {"temperature/mean": (0.1 + 1.2) / 4, "temperature/min": 0.1, "temperature/max": 0.4}
    assert {key: value for key, value, _ in temperature_points(terms)} == pytest.approx(want)


def test_jsonl_and_numbers(tmp_path):
    tracker = JsonlTracker(tmp_path / "a" / "m.jsonl")
    tracker.log("", {"step": 1, "train/loss": 2.0})
    tracker.log("", {"step": 2, "train/loss": 1.0})
    assert len((tmp_path / "a" / "m.jsonl").read_text().splitlines()) == 2
    assert numbers({"step": 1, "train/loss": 2, "train/name": "x"}) == {"train/loss": 2.0}
