"""Exported folders, and indexes built with them."""

import json
import random
import shutil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tempembed.data.texts import open_texts
from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.export.export import FitOn, Source, export
from tempembed.export.provenance import Provenance
from tempembed.index.compressed import build_index, open_index
from tempembed.index.exported import load_exported
from tempembed.index.nearest import search_index
from tests.fuzz.harness import damaged, damaged_json, only_our_errors, profile

WORDS = "open close merge sort invert count render matrix socket parser calendar image queue".split()
CODECS = ["pca:8+int8", "binary+rerank:int8:5", "median+rerank:unbiased:5", "prefix:9+float16"]


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """For each codec, the exported folder, and its index."""
    rng = random.Random(0)
    texts = [f"def {' '.join(rng.choices(WORDS, k=5))} é{i}" for i in range(40)]
    place = tmp_path_factory.mktemp("handover")
    encoder = static_encoder(train_tokenizer(texts, 100), width=16, max_tokens=16, seed=0)
    encoder.save(place / "model")
    (place / "texts.txt").write_text("\n".join(texts))
    found = {}
    with torch.no_grad():
        for number, codec in enumerate(CODECS):
            source = Source.of_folder(place / "model", Provenance(codec=codec, objective="infonce:0.06"))
            folder = export(source, place / f"exported-{number}", lambda: FitOn(texts=texts))
            exported = load_exported(folder)
            build_index(exported, open_texts(str(place / "texts.txt")), place / f"index-{number}")
            found[codec] = folder, exported, contents(place / f"index-{number}")
    return found


def broken(name, content):
    return damaged_json(json.loads(content)) if name.endswith(".json") else damaged(content)


@profile
@given(st.data())
def test_index(made, folder, data):
    _, exported, files = made[data.draw(st.sampled_from(CODECS))]
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for name in data.draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=2)):
        (folder / name).write_bytes(data.draw(broken(name, files[name])))
    with only_our_errors("test_index", folder), torch.no_grad():
        hits = search_index(open_index(folder, exported), ["open the matrix"], 3)
        assert all(hit.text.strip() for hit in hits[0])


@profile
@given(st.data())
def test_exported(made, folder, data):
    source = made[data.draw(st.sampled_from(CODECS[:1]))][0]
    files = contents(source)
    place = folder / "model"
    place.mkdir(exist_ok=True)
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    name = data.draw(st.sampled_from([name for name in sorted(files) if not name.endswith((".md", ".py"))]))
    (place / name).write_bytes(data.draw(broken(name, files[name])))
    with only_our_errors("test_exported", folder), torch.no_grad():
        exported = load_exported(place)
        assert exported.codec.encode(exported.embed(["open the matrix", "é"], "document")).shape[0] == 2
    shutil.rmtree(place)
