import re
from dataclasses import replace

import pytest

from tempembed.reports.claims import directions
from tempembed.reports.seeds import over_seeds
from tempembed.reports.sweep_page import write_sweep_page
from tempembed.reports.trial_table import trial_text
from tempembed.tuning.trial import Trial, TrialTerm
from tests.rows import report, score_row


def trial(name, temperatures, seed=0):
    scores = [
        score_row(metric=metric, codec=codec, dim=dim, bytes_per_vector=dim, score=0.7 * kept,
                  retention=kept, ci_low=0.6 * kept, ci_high=0.8 * kept, retention_ci_low=kept - 0.01,
                  retention_ci_high=kept + 0.01)
        for metric in ("ndcg_at_10", "v_measure")
        for codec in ("float32", "binary", "binary_rerank")
        for dim, kept in ((16, 0.8), (64, 1.0))
        if not (metric == "v_measure" and codec == "binary_rerank")
    ]  # fmt: skip
    geometry = dict(pca95=40, pca95_random=60, n=100, alignment=0.1, uniformity=-3.0)
    terms = tuple(TrialTerm(dim=64, temperature=tau, weight=1) for tau in temperatures)
    return Trial(
        name=name, status="FINISHED", objective=name, seed=seed, terms=terms,
        report=report(scores, width=64, geometry=geometry),
    )  # fmt: skip


RESULTS = [
    trial("infonce:0.05", [0.05]),
    trial("infonce:0.2", [0.2]),
    trial("tempagg", [0.1, 0.2]),
    Trial(name="bad", status="FAILED", objective="<bad>", terms=(), error="step 1: <not finite>"),
]


def changed(one, **values):
    """A trial with other values in its report."""
    return replace(one, report=replace(one.report, **values))


def test_report_stands_alone_and_names_failures(tmp_path):
    path = tmp_path / "report.html"
    write_sweep_page(RESULTS, {"source": "/x/pairs.parquet", "num_pairs": 1234, "fingerprint": "abc"}, path)
    text = path.read_text()
    assert text.count("<svg") == 6
    assert "step 1: &lt;not finite&gt;" in text
    assert "random vectors: 60" in text
    assert "1,234 pairs of pairs.parquet" in text
    assert not re.search(r'(src|href)="https?://', text)


def test_codecs_that_no_trial_has_leave_no_line(tmp_path):
    results = [
        changed(r, scores=tuple(row for row in r.report.scores if row.codec != "binary_rerank"))
        for r in RESULTS[:3]
    ]
    write_sweep_page(
        results, {"source": "/x", "num_pairs": 1, "fingerprint": "abc"}, tmp_path / "report.html"
    )
    assert (tmp_path / "report.html").read_text().count("<svg") == 6


def test_trials_that_were_stopped_early_have_not_failed(tmp_path):
    stopped = Trial(name="weak", status="STOPPED", objective="infonce:0.5", seed=1, terms=(), stopped_at=1234)
    data = {"source": "/x/pairs.parquet", "num_pairs": 1234, "fingerprint": "abc"}
    write_sweep_page(
        [*RESULTS[:3], stopped], data, tmp_path / "report.html", note="early stopping ended 1 of 4"
    )
    text = (tmp_path / "report.html").read_text()
    assert "Failed trials" not in text
    assert "early stopping ended 1 of 4" in text
    assert "<b>infonce:0.5</b>, seed 1: after step 1,234" in text


def test_table():
    lines = trial_text(RESULTS[:2]).splitlines()
    assert len(lines) == 4
    assert "0.700" in lines[2]
    assert "0.800" in lines[2]


def test_directions_are_judged_by_the_intervals():
    low, high = trial("infonce:0.05", [0.05]), trial("infonce:0.2", [0.2])
    full = high.report.find("ndcg_at_10", "float32", 64)
    worse = replace(full, score=0.5, ci_low=0.45, ci_high=0.55)
    scores = tuple(worse if row == full else row for row in high.report.scores)
    high = changed(high, scores=scores, geometry={**high.report.geometry, "pca95": 41})
    verdicts = {claim: holds for claim, holds, _ in directions([low, high])}
    assert verdicts["retrieval falls"]
    assert not verdicts["clustering rises, then levels off"]
    assert not verdicts["intrinsic dimension (PCA-95) falls"]
    assert not verdicts["binarisation (32x) keeps more"]


def test_seeds_of_an_objective_are_one_line():
    first, second = trial("infonce:0.05", [0.05]), trial("infonce:0.05", [0.05], seed=1)
    scores = tuple(replace(row, score=row.score + 0.1, ci_high=0.95) for row in second.report.scores)
    second = changed(second, scores=scores, geometry={**second.report.geometry, "pca95": 44})
    other = trial("tempagg", [0.05, 0.05])
    merged, alone = over_seeds([first, second, other])
    assert merged.report.geometry["pca95"] == 42
    row = merged.report.find("ndcg_at_10", "float32", 64)
    assert (row.score, row.ci_low, row.ci_high) == (pytest.approx(0.75), 0.6, 0.95)
    assert alone is other
