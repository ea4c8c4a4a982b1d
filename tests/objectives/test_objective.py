import pytest

from tempembed.objectives.parse import parse_objective, parse_terms
from tempembed.objectives.term import Term
from tempembed.system.errors import UserError


def pairs(terms):
    return [(t.dim, t.temperature) for t in terms]


def test_names_of_the_paper():
    assert pairs(parse_objective("infonce:0.06", 1024)) == [(1024, 0.06)]
    assert pairs(parse_objective("mrl:0.2", 1024)) == [(256, 0.2), (512, 0.2), (1024, 0.2)]
    assert pairs(parse_objective("tempagg", 1024)) == [(1024, 0.03), (1024, 0.06), (1024, 0.1)]
    assert pairs(parse_objective("tempagg:0.05,0.5", 64)) == [(64, 0.05), (64, 0.5)]
    assert len(parse_objective("tempaggmrl", 1024)) == 9
    assert pairs(parse_objective("tempspecmrl", 1024)) == [(256, 0.03), (512, 0.06), (1024, 0.1)]


def test_explicit_terms():
    assert parse_terms(["256@0.03", "512@0.06*0.5"], 512) == (
        Term(dim=256, temperature=0.03),
        Term(dim=512, temperature=0.06, weight=0.5),
    )
    assert str(Term(dim=512, temperature=0.06, weight=0.5)) == "512@0.06*0.5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("infonc:0.06", "expected one of infonce:0.06"),
        ("infonce", "expected 1 temperature, got 0"),
        ("infonce:", "expected temperatures after ':'"),
        ("infonce:0.1,0.2", "expected 1 temperature, got 2"),
        ("infonce:warm", "expected numbers"),
        ("infonce:0", "temperature > 0, got 0.0"),
        ("infonce:nan", "finite temperature > 0"),
        ("tempspecmrl:0.1", "expected 3 temperatures"),
        ("tempagg:0.1,0.1", "more than once"),
    ],
)
def test_bad_objectives(text, message):
    with pytest.raises(UserError, match=message):
        parse_objective(text, 1024)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["256"], "expected dim@temperature"),
        (["256@0.1*"], "expected dim@temperature"),
        (["x@0.1"], "expected dim@temperature"),
        (["0@0.1"], "dim >= 1"),
        (["2048@0.1"], "dim <= 1024"),
        (["256@-0.1"], "temperature > 0"),
        (["256@0.1*-1"], "weight >= 0"),
        (["256@0.1*0"], "only zeros"),
        (["256@0.1", "256@0.1"], "more than once"),
        ([], "at least one term"),
    ],
)
def test_bad_terms(texts, message):
    with pytest.raises(UserError, match=message):
        parse_terms(texts, 1024)
