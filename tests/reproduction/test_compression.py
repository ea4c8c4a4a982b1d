import dataclasses

import pytest

from tempembed.codecs.spec import Spec
from tempembed.reports.reproduction_page import Setup, figures_to, report_markdown, write_reproduction
from tempembed.reproduction.claims import claims
from tempembed.reproduction.compression import TARGETS, advice, best_within
from tempembed.reproduction.presets import PRESETS
from tempembed.reproduction.results import NotMeasured
from tests.reproduction.test_claims import sample

WIDTH = 128
PRESET = dataclasses.replace(PRESETS["compression"](), budgets=(16, 4))


def as_hoped(entry, task, spec):
    """TempAggMRL scores 0.6; signs keep nearly all of it in bits, at a small price; at 0.06 they do nothing."""
    full = {"single": 0.58, "mrl": 0.59}.get(entry.role, 0.6)
    is_trained = entry.role == "views" and "0.06" not in entry.label.split("+")[-1]
    if is_trained:
        full = {"InfoNCE τ=0.06": 0.58, "MRL τ=0.06": 0.59}.get(entry.against, 0.6) * 0.995
    if spec == Spec(width=WIDTH):
        return full
    lost = {"float32": 0.02, "binary": 0.04}[spec.numbers] - (0.015 if spec.rerank else 0)
    lost += 0.0 if spec.width == WIDTH else 0.06
    return 0.6 * (1 - lost + (0.023 if is_trained and spec.numbers == "binary" else 0)) - (0.6 - full) / 2


@pytest.fixture(scope="module")
def hoped(planted):
    return planted(as_hoped, lambda entry: 80 + len(entry.label), preset=PRESET)


def test_planted_claims_hold(hoped):
    found = {(f.key, f.compared): f for f in claims(hoped)}
    reached = found["1a", "TempAggMRL + signs"]
    assert (reached.verdict, reached.effect) == ("holds", pytest.approx(0.9955, abs=0.004))
    assert found["1a", "TempAggMRL"].verdict == "does not hold"
    assert found["2a", "nDCG@10: TempAggMRL + signs minus TempAggMRL"].effect == pytest.approx(
        0.6 * 0.023, abs=0.004
    )
    assert {f.verdict for (key, _), f in found.items() if key in ("3a", "3b", "3c", "4a", "4b", "4c")} == {
        "holds"
    }
    assert {f.verdict for (key, _), f in found.items() if key == "5"} == {"holds"}
    assert found["5", "nDCG@10: TempSpecBits against TempAggMRL, relative"].effect == pytest.approx(
        -0.005, abs=0.004
    )
    assert {f.verdict for (key, text), f in found.items() if key == "2b" and "0.06 minus" in text} == {
        "undecided"
    }


def test_views_that_damage_are_said(planted):
    def damaged(entry, task, spec):
        return 0.6 - (0.05 if entry.role == "views" else 0)

    found = {
        (f.key, f.compared): f.verdict for f in claims(planted(damaged, lambda entry: 80, preset=PRESET))
    }
    assert found["2a", "nDCG@10: TempAggMRL + signs minus TempAggMRL"] == "does not hold"
    assert found["5", "nDCG@10: TempAggMRL + signs against TempAggMRL, relative"] == "does not hold"


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.995, 0.995, 0.995], "holds"),
        ([0.988, 0.988, 0.988], "undecided"),  # surely 98.5 %, but not 99 % in the mean
        ([1.01, 0.97, 1.01], "undecided"),  # 99.7 % in the mean, but not surely 98.5 %
        ([0.97, 0.97, 0.97], "does not hold"),
    ],
)
def test_a_target_of_two_numbers(values, verdict):
    assert TARGETS[0].verdict(sample(values, noise=0.002)) == verdict


def test_advice(hoped):
    """The best within 16 bytes are bits of a model trained for them; all that were are as good."""
    at_16, at_4 = advice(hoped)
    assert at_16.best.group.entry.against == at_4.best.group.entry.against == "TempAggMRL"
    assert at_16.best.spec == "prefix:128+binary+rerank:bits:100"
    assert at_4.best.spec == "prefix:32+binary+rerank:bits:100"
    assert at_16.gain.mean == pytest.approx(0.6 * 0.023, abs=0.005)
    assert at_16.cost.mean == pytest.approx(-0.005, abs=0.004)
    labels = {each.group.entry.label for each in at_16.equals} | {at_16.best.group.entry.label}
    assert labels >= {"TempAggMRL + signs", "TempAggMRL + bits", "TempSpecBits"}
    assert not {"TempAggMRL", "TempAggMRL + floats", "InfoNCE τ=0.06"} & labels
    assert at_16.reference.group.entry.label == "TempAggMRL"
    with pytest.raises(NotMeasured, match="within 1 bytes"):
        best_within(hoped, hoped.groups[0], 1)


def test_a_codec_that_one_model_lacks_is_no_advice(hoped):
    group = hoped.groups[-1]
    run, lacks = group.runs[0], "prefix:128+binary+rerank:bits:100"
    rows = tuple(row for row in run.report.scores if row.spec != lacks)
    evaluation = dataclasses.replace(run.evaluation, report=dataclasses.replace(run.report, scores=rows))
    runs = (dataclasses.replace(run, evaluation=evaluation), *group.runs[1:])
    results = dataclasses.replace(hoped, groups=(*hoped.groups[:-1], dataclasses.replace(group, runs=runs)))
    assert best_within(hoped, hoped.groups[0], 16).spec == lacks
    assert best_within(results, hoped.groups[0], 16).spec == "prefix:128+binary"


def test_the_report(hoped, tmp_path):
    setup = Setup(
        data={"source": "/x/pairs.parquet", "num_pairs": 9, "fingerprint": "abc"}, hardware="2 cores", versions={}, date="2026-12-01",
    )  # fmt: skip
    write_reproduction(hoped, setup, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert text.count("<svg") == 2
    for title in (
        "What to train for how many bytes",
        "All objectives, as bits",
        "What explains what bits keep",
        "Cost of a run",
    ):
        assert f"<h2>{title}" in text, title
    assert "the paper" not in text[: text.index("Bytes against score")].split("<h2>Claims")[0]
    figures = figures_to(tmp_path, hoped, {})
    assert [path.name for path in figures if path.suffix == ".png"] == [
        "compression-bytes.png",
        "compression-explained.png",
    ]
    page = report_markdown(hoped, setup, figures)
    row = next(line for line in page.splitlines() if line.startswith("| 16 |"))
    assert "prefix:128+binary+rerank:bits:100" in row
    assert page.startswith("# Trained for what is stored\n")
