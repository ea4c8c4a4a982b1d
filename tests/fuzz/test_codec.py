"""Codecs: their names, and their folders."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from tempembed.codecs.basis import METHODS
from tempembed.codecs.codec import Codec
from tempembed.codecs.numbers import NUMBERS
from tempembed.codecs.spec import RERANKS, parse_spec
from tests.fuzz.harness import damaged, damaged_json, only_our_errors, profile

WIDTH = 24
number = st.sampled_from(
    ["1", "8", "16", "24", "25", "0", "-1", "999999999", "9999999999", "٣", "", " 8", "1.5", "x"]
)
part = st.one_of(
    st.tuples(
        st.sampled_from([*METHODS, *NUMBERS, "rerank"]),
        st.lists(st.one_of(number, st.sampled_from(RERANKS)), max_size=3),
    ).map(lambda p: ":".join([p[0], *p[1]])),
    st.sampled_from(["", "+", ":", "prefix", "pq:8", "binary", "rerank:bits:10", "prefix:8", "random:8:3"]),
    st.text(max_size=8),
)


@profile
@given(st.lists(part, max_size=4).map("+".join), st.sampled_from([1, 24, 1024]))
def test_spec(text, full):
    with only_our_errors("test_spec"):
        spec = parse_spec(text, full)
        assert parse_spec(str(spec), full) == spec
        assert 1 <= spec.width <= full
        assert spec.bytes_per_vector > 0
        assert spec.rerank is None or NUMBERS[spec.numbers].is_bits


SPECS = [
    "prefix:9+float16",
    "random:8:2+int8",
    "variance:7+int4",
    "pca:8+int8",
    "whiten:6",
    "median",
    "rotated",
    "pca:8+itq+rerank:bits:5",
    "pq:4",
]


@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    documents = torch.randn(300, WIDTH, generator=torch.Generator().manual_seed(0))
    found = []
    for text in SPECS:
        folder = tmp_path_factory.mktemp("codec")
        Codec.fit(parse_spec(text, WIDTH), documents).save(folder)
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    return found


def _tensor(kind, tensor):
    """Another tensor in its place."""
    tensor = tensor if tensor.dim() else tensor[None]
    return {
        "empty": lambda: tensor[:0].clone(),
        "shorter": lambda: tensor[..., : max(1, tensor.shape[-1] // 2)].clone(),
        "longer": lambda: torch.cat([tensor, tensor]),
        "deeper": lambda: tensor[None].clone(),
        "scalar": lambda: torch.zeros((), dtype=tensor.dtype),
        "double": lambda: tensor.double(),
        "half": lambda: tensor.half(),
        "whole": lambda: tensor.long(),
        "nan": lambda: torch.full(tensor.shape, float("nan")),
        "large": lambda: torch.full_like(tensor, 10_000),
        "below": lambda: torch.full_like(tensor, -10_000),
    }[kind]()


KINDS = [
    "empty",
    "shorter",
    "longer",
    "deeper",
    "scalar",
    "double",
    "half",
    "whole",
    "nan",
    "large",
    "below",
    "gone",
    "renamed",
]


@st.composite
def tensors(draw, content):
    state = load(content)
    for name in draw(st.lists(st.sampled_from(sorted(state) or ["x"]), max_size=2)):
        kind = draw(st.sampled_from(KINDS))
        if name not in state:
            state["extra"] = torch.zeros(1)
        elif kind in ("gone", "renamed"):
            moved = state.pop(name)
            state |= {f"{name}s": moved} if kind == "renamed" else {}
        else:
            state[name] = _tensor(kind, state[name])
    return save(state)


@profile
@given(st.data())
def test_codec(codecs, folder, data):
    files = data.draw(st.sampled_from(codecs))
    description, weights = files["codec.json"], files["codec.safetensors"]
    broken = data.draw(st.integers(0, 2))
    (folder / "codec.json").write_bytes(
        data.draw(damaged_json(json.loads(description))) if broken != 1 else description
    )
    (folder / "codec.safetensors").write_bytes(
        data.draw(st.one_of(damaged(weights), tensors(weights))) if broken else weights
    )
    with only_our_errors("test_codec", folder):
        codec = Codec.load(folder)
        vectors = torch.ones(3, codec.full)
        codes = codec.encode(vectors)
        assert codes.nbytes == 3 * codec.spec.search_bytes
        assert codec.score(vectors, codes).isfinite().all()
