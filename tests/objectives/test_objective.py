import pytest

from tempembed.objectives.parse import parse_objective, parse_terms
from tempembed.objectives.term import Term, blunt
from tempembed.settings.loss import LossSettings
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


def test_views_of_terms():
    sign, bits = parse_terms(["256@0.04:sign*2", "512@learned(0.03):bits"], 512)
    assert sign == Term(dim=256, temperature=0.04, view="sign", weight=2.0)
    assert (bits.view, bits.temperature, bits.course.is_learned) == ("bits", 0.03, True)
    assert [str(sign), str(bits)] == ["256@0.04:sign*2", "512@learned(0.03):bits"]
    assert sign.label == "dim_256_temperature_0.04_sign"
    assert parse_terms(["8@0.1:float"], 8) == (Term(dim=8, temperature=0.1),)
    assert len(parse_terms(["8@0.1", "8@0.1:sign", "8@0.1:bits"], 8)) == 3  # one each of a view


def test_objectives_for_an_index_of_bits():
    terms = parse_objective("tempaggmrl-sign", 1024)
    assert terms[:9] == parse_objective("tempaggmrl", 1024)
    assert [str(term) for term in terms[9:]] == ["256@0.04:sign*2", "1024@0.02:sign*2"]
    assert [str(term) for term in parse_objective("tempaggmrl-sign:0.05", 64)] == [
        "16@0.05", "32@0.05", "64@0.05", "16@0.04:sign*2", "64@0.02:sign*2",
    ]  # fmt: skip
    assert [str(term) for term in parse_objective("tempspecbits", 64)] == [
        "16@0.04:sign", "32@0.03:sign", "64@0.02:sign", "16@0.04:bits", "32@0.03:bits", "64@0.02:bits",
    ]  # fmt: skip
    for width in (1, 2, 3):
        assert parse_objective("tempaggmrl-sign", width)


def test_signs_at_high_temperatures_are_warned_of():
    warm = ["8@0.06:sign", "8@cosine(0.02,0.1):sign", "8@0.1", "8@0.1:bits", "8@0.04:sign"]
    (line,) = blunt(parse_terms(warm, 8))
    assert line.startswith("warning: terms 8@0.06:sign 8@cosine(0.02,0.1):sign: at temperatures of 0.06 and")
    assert blunt(parse_objective("tempaggmrl-sign", 64)) == []


def test_bits_with_documents_that_ask_are_refused_at_once():
    with pytest.raises(UserError, match=r"term 16@0.04:bits: expected --direction query-to-document or both"):
        LossSettings(objective="tempspecbits:0.04,0.03,0.02", direction="document-to-query").resolved_terms(
            64
        )
    assert LossSettings(objective="tempaggmrl-sign", direction="document-to-query").resolved_terms(64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tempspecbits:0.1", "expected 3 temperatures"),
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
        (["256@0.1:sign", "256@0.1:sign*2"], "more than once"),
        (["256@0.1:sing"], "one of the views float, sign, bits, int8, int4 after ':', got 'sing'"),
        (["256@0.1:"], "got ''"),
        (["256@1e-42:sign"], "> 0 in bfloat16"),
        (["256@cosine(1e-42,0.1):sign"], "> 0 in bfloat16"),
        ([], "at least one term"),
    ],
)
def test_bad_terms(texts, message):
    with pytest.raises(UserError, match=message):
        parse_terms(texts, 1024)
