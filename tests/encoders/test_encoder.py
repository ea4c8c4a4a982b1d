import dataclasses

import pytest
import torch
from sentence_transformers import SentenceTransformer

from tempembed.encoders.encoder import load_encoder
from tempembed.prepare import initial_encoder, prepare
from tempembed.settings import TrainSettings


@pytest.mark.parametrize("kind", ["static", "transformer"])
def test_embeddings_equal_sentence_transformers_own(data_dir, tmp_path, kind):
    """From our ids, bags and padding, as from the texts by the library; an empty and a long text as well."""
    settings = TrainSettings(data=str(data_dir / "train.parquet"), width=64, vocabulary=400, batch_size=32)
    settings = dataclasses.replace(settings, encoder=kind, layers=1, max_tokens=32)
    initial_encoder(settings, prepare(settings)).save(tmp_path)
    texts = [
        "open the matrix",
        "sort " * 100 + "queue",
        "x",
        "def open_box(box):\n    return box.open(box, box)",
    ]
    texts += [""] if kind == "static" else []
    encoder, reference = load_encoder(str(tmp_path)), SentenceTransformer(str(tmp_path))
    tokens = encoder.tokenize(texts)
    want = reference.encode(texts, convert_to_tensor=True)
    assert want.norm(dim=1)[:4].min() > 0.01
    torch.testing.assert_close(encoder.embed(tokens, budget=40), want, rtol=1e-5, atol=1e-6)
    first, second = encoder.eval()([tokens.select(torch.tensor([0, 1]).numpy()), tokens]).split(
        [2, len(tokens)]
    )
    torch.testing.assert_close(first, want[:2], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(second, want, rtol=1e-5, atol=1e-6)
