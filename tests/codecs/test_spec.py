import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempembed.codecs.sets import BUDGETS, budget_specs, lab_specs, paper_specs
from tempembed.codecs.spec import parse_spec
from tempembed.system.errors import UserError


def test_the_papers_sizes():
    assert parse_spec("float32", 1024).bytes_per_vector == 4096
    assert parse_spec("binary", 1024).bytes_per_vector == 128
    assert parse_spec("prefix:256+binary", 1024).bytes_per_vector == 32
    assert parse_spec("prefix:100+binary", 1024).bytes_per_vector == 13
    assert parse_spec("prefix:7+int4", 1024).bytes_per_vector == 4
    assert parse_spec("binary+rerank:unbiased", 1024).bytes_per_vector == 130
    assert parse_spec("binary+rerank:int8:40", 1024).bytes_per_vector == 128 + 1024
    assert parse_spec("binary+rerank:float", 1024).bytes_per_vector == 128 + 4096


@pytest.mark.parametrize("full", [1024, 384, 96, 33, 1])
def test_sets_are_distinct_and_read_back(full):
    specs = lab_specs(full)
    assert len(set(specs)) == len(specs)
    assert all(parse_spec(str(spec), full) == spec for spec in specs)
    assert all(spec.width <= full for spec in specs)
    assert set(paper_specs(full)) <= set(specs)


def test_budgets_are_met():
    for budget in BUDGETS:
        found = {spec.numbers for spec in budget_specs(1024, (budget,))}
        assert all(spec.bytes_per_vector == budget for spec in budget_specs(1024, (budget,)))
        assert {"float32", "float16", "int8", "pq"} <= found


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "expected"), ("prefix", "expected"), ("prefix:2000", "1024 coordinates"), ("prefix:0", "width 0"),
        ("int8+prefix:4", "order"), ("int8+int8", "order"), ("pq:1000", "divide"), ("pq", "expected"), ("int7", "int7"),
        ("binary+rerank", "expected"), ("int8+rerank:bits", "codec of bits"), ("binary+rerank:bits:0", "depth 0"),
        ("prefix:1e3", "expected"), ("random:8:1:2", "expected"), ("prefix:8:1", "expected"), ("binary:8", "expected"),
    ],
)  # fmt: skip
def test_what_is_no_codec_is_refused(text, match):
    with pytest.raises(UserError, match=match):
        parse_spec(text, 1024)


@given(st.text(alphabet="prefixandombyt48+:0129 -é", max_size=40))
def test_any_text_is_a_codec_or_a_clear_error(text):
    try:
        spec = parse_spec(text, 64)
    except UserError:
        return
    assert parse_spec(str(spec), 64) == spec
