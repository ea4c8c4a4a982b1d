"""A report on disk and back, and what is refused."""

import json
import math

import pytest

from tempembed.evaluation.report import read_report, report_of
from tempembed.system.errors import UserError
from tempembed.tuning.trial import Trial, TrialTerm, ranked, trial_of
from tests.rows import report, score_row

ROWS = (
    score_row(),
    score_row(
        codec="binary", bytes_per_vector=1, retention=None, retention_ci_low=None, retention_ci_high=None
    ),
)


def through_json(value):
    return json.loads(json.dumps(value))


def test_a_report_comes_back_as_it_was():
    cost = {"train_seconds": 1.5, "peak_bytes": 123}
    one = report(ROWS, cost=cost, mteb={"retrieval": 0.5}, geometry={"pca95": 3, "spectrum": [[1, 0.5]]})
    value = through_json(one.to_json())
    assert report_of(value) == one
    assert "temperatures" not in value
    assert type(value["cost"]["peak_bytes"]) is type(report_of(value).cost["peak_bytes"]) is int
    assert math.isnan(report_of({**value, "mteb": {"sts": math.nan}}).mteb["sts"])


def test_an_earlier_report_lacks_what_came_later():
    value = through_json(report(ROWS).to_json())
    for row in value["scores"]:
        for name in (
            "kind",
            "raw_score",
            "num_items",
            "num_draws",
            "search_bytes_per_vector",
            "std_over_draws",
        ):
            del row[name]
    for name in ("means", "skipped"):
        del value[name]
    assert report_of(value) == report(ROWS)


@pytest.mark.parametrize(
    ("place", "wrong", "match"),
    [
        (("scores", 0, "dim"), "8", r"scores\.0\.dim: Input should be a valid integer"),
        (("scores", 1, "score"), 1e301, r"scores\.1\.score: Input should be less than"),
        (("scores", 1, "score"), True, r"scores\.1\.score: "),
        (("scores", 0, "task"), "other", r"scores\.0\.task: 'other' is not in data\.tasks"),
        (("data", "tasks", "retrieval", "fingerprint"), None, r"data\.tasks\.retrieval\.fingerprint: "),
        (("width",), None, r"width: Input should be a valid integer"),
    ],
)
def test_the_first_wrong_field_is_named(place, wrong, match, tmp_path):
    value = through_json(report(ROWS).to_json())
    *way, last = place
    inside = value
    for part in way:
        inside = inside[part]
    inside[last] = wrong
    (tmp_path / "report.json").write_text(json.dumps(value))
    with pytest.raises(
        UserError, match=rf"expected a report of tempembed evaluate, and could not read it \({match}"
    ):
        read_report(tmp_path / "report.json")


def test_a_trial_comes_back_as_it_was():
    term = TrialTerm(dim=8, temperature=0.1, weight=1.0, course="learned(0.1)")
    one = Trial(
        name="a", status="FINISHED", objective="infonce:learned(0.1)", terms=(term,), number=0, seconds=2.0,
        goals={"retrieval": 0.5}, cost={"overhead_seconds": 1.0, "peak_bytes": 7}, report=report(ROWS),
    )  # fmt: skip
    value = through_json(one.to_json())
    assert trial_of(value).to_json() == one.to_json()
    assert value["cost"] == {
        "overhead_seconds": 1.0,
        "peak_bytes": 7,
    }  # the trial's stand before the report's
    assert "pareto_rank" not in value
    failed = Trial(name="b", status="FAILED", objective="mrl:0.1", terms=(), error="step 3")
    assert [trial.pareto_rank for trial in ranked([failed, one])] == [None, 1]
    with pytest.raises(ValueError, match="expected a report, it ended with status FAILED"):
        _ = failed.measured
    with pytest.raises(ValueError, match="status: "):
        trial_of({**value, "status": 3})
