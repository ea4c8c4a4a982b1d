import json
import subprocess
import sys

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, StaticEmbedding

from tempembed.encoders.load import load_encoder
from tempembed.encoders.role import Prompts
from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.stages.initial_encoder import initial_encoder
from tempembed.stages.prepare import prepare
from tempembed.system.errors import UserError


@pytest.mark.parametrize("kind", ["static", "transformer"])
def test_embeddings_equal_sentence_transformers_own(data_dir, tmp_path, kind):
    """From our ids, bags and padding, as from the texts by the library; an empty and a long text as well."""
    settings = TrainSettings.of(data=str(data_dir / "train.parquet"), width=64, vocabulary=400, batch_size=32)
    settings = with_settings(settings, encoder=kind, layers=1, max_tokens=32)
    initial_encoder(settings, prepare(settings)).save(tmp_path)
    texts = [
        "open the matrix",
        "sort " * 100 + "queue",
        "x",
        "def open_box(box):\n    return box.open(box, box)",
    ]
    texts += [""] if kind == "static" else []
    encoder, reference = load_encoder(str(tmp_path)), SentenceTransformer(str(tmp_path))
    tokens = encoder.prepare(texts, encoder.role("document"))
    want = reference.encode(texts, convert_to_tensor=True)
    assert want.norm(dim=1)[:4].min() > 0.01
    torch.testing.assert_close(encoder.embed(tokens, budget=40), want, rtol=1e-5, atol=1e-6)
    first, second = encoder.eval()([tokens.select(torch.tensor([0, 1]).numpy()), tokens]).split(
        [2, len(tokens)]
    )
    torch.testing.assert_close(first, want[:2], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(second, want, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["open the matrix, close the box, sort a queue"] * 40, 80)


def test_a_static_folder_is_what_sentence_transformers_writes_itself(tokenizer, tmp_path):
    encoder = static_encoder(tokenizer, width=16, max_tokens=8, seed=0)
    encoder.prompts = Prompts.of_config(
        {"prompts": {"query": "search: "}, "default_prompt_name": "query"}, {}
    )
    encoder.save(tmp_path / "ours")
    encoder.sentence_transformer().save(str(tmp_path / "theirs"), create_model_card=False)
    names = sorted(path.name for path in (tmp_path / "theirs").iterdir())
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == names
    for name in names:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes(), name


def test_a_static_folder_keeps_its_prompts(tokenizer, tmp_path):
    encoder = static_encoder(tokenizer, width=16, max_tokens=8, seed=0)
    encoder.prompts = Prompts.of_config({"prompts": {"query": "search: "}}, {})
    encoder.save(tmp_path)
    there = load_encoder(str(tmp_path))
    assert there.prompts.by_name == {"query": "search: ", "document": ""}
    assert (there.max_tokens, there.width) == (8, 16)
    assert there.fingerprint() == encoder.fingerprint()
    there.limit_to(64)
    assert there.max_tokens == 8
    there.limit_to(4)
    assert there.max_tokens == 4


@pytest.mark.parametrize(
    "changed", [{"default_prompt_name": "nope"}, {"default_prompt_name": []}, {"prompts": {"query": 5}}]
)
def test_a_static_folder_with_a_damaged_config_is_refused(tokenizer, tmp_path, changed):
    static_encoder(tokenizer, width=16, max_tokens=8, seed=0).save(tmp_path)
    path = tmp_path / "config_sentence_transformers.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(UserError, match="expected an object with prompts by name"):
        load_encoder(str(tmp_path))
    path.write_text(json.dumps({"prompts": {"query": None}, "similarity_fn_name": "foo"}))
    model = load_encoder(str(tmp_path)).sentence_transformer()
    assert (model.prompts["query"], model.similarity_fn_name) == ("", "cosine")


def test_a_table_with_further_modules_and_one_of_float16_are_the_librarys(tokenizer, tmp_path):
    plain = static_encoder(tokenizer, width=16, max_tokens=8, seed=0)
    module = StaticEmbedding(tokenizer, embedding_weights=plain.table.detach())
    SentenceTransformer(modules=[module, Dense(16, 8), Normalize()], device="cpu").save(
        str(tmp_path / "dense")
    )
    module.half()
    SentenceTransformer(modules=[module], device="cpu").save(str(tmp_path / "half"))
    texts = ["open the matrix", "sort a box, sort a queue"]
    for name, width in (("dense", 8), ("half", 16)):
        encoder = load_encoder(str(tmp_path / name))
        want = SentenceTransformer(str(tmp_path / name), device="cpu").encode(texts, convert_to_tensor=True)
        assert encoder.takes_bags
        assert encoder.width == width
        torch.testing.assert_close(
            encoder.embed(encoder.prepare(texts, encoder.role("document"))),
            want.float(),
            rtol=2e-3,
            atol=1e-4,
        )
        encoder.save(tmp_path / f"{name}-again")
        assert load_encoder(str(tmp_path / f"{name}-again")).fingerprint() == encoder.fingerprint()


def test_a_table_is_read_and_embeds_without_the_library(tokenizer, tmp_path):
    """Its import takes longer than a short run."""
    static_encoder(tokenizer, width=16, max_tokens=8, seed=0).save(tmp_path)
    code = (
        "import sys, tempembed.run.loop, tempembed.evaluation.trained; from tempembed.encoders.load import load_encoder\n"
        "encoder = load_encoder(sys.argv[1]); assert encoder.embed(encoder.prepare(['sort'], encoder.role('document'))).shape == (1, 16)\n"
        "print('sentence_transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
