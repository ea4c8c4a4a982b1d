"""Objectives, terms, temperatures, settings, and what a search is asked for."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from tempembed.codecs.sets import sweep_specs
from tempembed.objectives.parse import FAMILIES, parse_objective, parse_terms
from tempembed.objectives.term import Term
from tempembed.settings.flat import fingerprint
from tempembed.settings.train import TrainSettings
from tempembed.tuning.goals import budget_of, check_goals
from tempembed.tuning.space import FAMILIES as SEARCHED
from tempembed.tuning.space import check_families
from tests.fuzz.harness import changed, odd, only_our_errors, profile

number = st.one_of(
    st.sampled_from(
        [
            "0.06",
            "0.03",
            "1",
            "0",
            "-1",
            "nan",
            "inf",
            "-inf",
            "1e999",
            "1e-320",
            "1e308",
            "1_0",
            "٣",
            " 0.1 ",
            "",
            "0x1",
            "9" * 5000,
        ]
    ),
    st.floats().map(repr),
    st.integers().map(str),
)
course = st.tuples(
    st.sampled_from(["cosine", "linear", "cooldown", "learned", "Cosine", ""]), st.lists(number, max_size=4)
).map(lambda c: f"{c[0]}({','.join(c[1])})")
temperature = st.one_of(number, course, st.text(max_size=6))
name = st.sampled_from([*FAMILIES, "INFONCE", "mrl ", "", "x"])
objective = st.one_of(
    st.tuples(name, st.lists(temperature, max_size=4)).map(lambda o: f"{o[0]}:{','.join(o[1])}"),
    name,
    st.text(max_size=20),
)
term = st.tuples(
    st.one_of(st.integers(-1, 70).map(str), number), st.sampled_from(["@", "@", "@", "", "@@"]), temperature,
    st.sampled_from(["", "", ":sign", ":bits", ":float", ":", ":sing", ":sign:bits"]),
    st.sampled_from(["", "", "*", "*0.5", "*0", "*nan", "*-1", "*1e999", "*1e-320", "*x"]),
).map("".join)  # fmt: skip
width = st.sampled_from([1, 2, 3, 64, 1024])


def check(terms, width):
    """What training takes from them."""
    for term in terms:
        assert isinstance(term, Term)
        assert 1 <= term.dim <= width
        for progress in (0.0, 0.25, 0.5, 1.0):
            tau = term.course.at(progress) if term.course else term.temperature
            assert math.isfinite(tau), str(term)
            assert tau > 0, str(term)
        assert term.label
    assert any(term.weight for term in terms)
    assert len({(term.dim, term.temperature, str(term.course), term.view) for term in terms}) == len(terms)


@profile
@given(objective, width)
def test_objective(text, width):
    with only_our_errors("test_objective"):
        check(parse_objective(text, width), width)


@profile
@given(st.lists(st.one_of(term, term, st.text(max_size=12)), max_size=5), width)
def test_terms(texts, width):
    with only_our_errors("test_terms"):
        check(parse_terms(texts, width), width)


GOOD = TrainSettings.of(terms=("16@0.05", "64@0.1*0.5"), steps=10, width=64, learning_rate=0.1).to_dict()
fields = st.dictionaries(
    st.sampled_from(sorted(GOOD)), st.one_of(odd, st.floats(), st.integers(), objective), max_size=3
)


@profile
@given(st.one_of(fields.map(lambda new: {**GOOD, **new}), changed(GOOD)))
def test_settings(values):
    with only_our_errors("test_settings"):
        settings = TrainSettings.from_dict(values)
        assert TrainSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
        assert len(fingerprint(settings.to_dict())) == 16
        assert math.isfinite(settings.peak_learning_rate(is_table=False))
        assert round(settings.loop.epochs * 1000) >= 0  # as training counts its steps
        assert settings.loop.seed < 2**32
        settings.loss.resolved_terms(64)


goal = st.one_of(
    st.sampled_from(
        ["retrieval", "clustering", "bytes-128", "bytes-0", "bytes-", "bytes-٣", "bytes-1e9", ""]
    ),
    st.integers().map(lambda n: f"bytes-{n}"),
    st.text(max_size=8),
)


@profile
@given(
    st.lists(goal, max_size=4),
    st.lists(st.one_of(st.sampled_from([*SEARCHED, ""]), st.text(max_size=5)), max_size=4),
    width,
)
def test_search_settings(goals, families, width):
    with only_our_errors("test_search_settings"):
        check_goals(goals)
        budgets = [budget for one in goals if (budget := budget_of(one))]
        assert all(budget > 0 for budget in budgets)
        assert len(set(budgets)) == len(budgets)
        check_families(families)
        specs = sweep_specs(width, budgets)
        assert all(1 <= spec.width <= width for spec in specs)
