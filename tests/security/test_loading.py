"""A folder that a user passes is data: nothing in it is run, whatever it says."""

import json
import os
import pickle

import pytest

from tempembed.encoders.load import load_encoder
from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.system.errors import UserError


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    texts = ["one two three", "four five six"]
    static_encoder(train_tokenizer(texts, 300), width=8, max_tokens=64, seed=0).save(folder)
    assert load_encoder(str(folder)).width == 8
    return folder


def test_the_payload_works(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir()


def test_code_beside_a_model_is_not_run(model, tmp_path):
    marker = tmp_path / "ran"
    (model / "mine.py").write_text(f"import os\nos.mkdir({str(marker)!r})\nclass Mine: pass\n")
    modules = json.loads((model / "modules.json").read_text())
    modules[0]["type"] = "mine.Mine"
    (model / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match="Importing it executes third-party"):
        load_encoder(str(model))
    assert not marker.exists()


def test_a_pickle_in_place_of_weights_is_not_run(model, tmp_path):
    marker = tmp_path / "ran"
    (weights,) = model.rglob("model.safetensors")
    weights.unlink()
    weights.with_name("pytorch_model.bin").write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(UserError, match="could not load it"):
        load_encoder(str(model))
    assert not marker.exists()


def test_a_transformer_with_code_of_its_own_is_not_run(tmp_path):
    marker, folder = tmp_path / "ran", tmp_path / "model"
    folder.mkdir()
    (folder / "mine.py").write_text(f"import os\nos.mkdir({str(marker)!r})\nclass Config: pass\n")
    auto = {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": auto}))
    with pytest.raises(UserError, match="could not load it"):
        load_encoder(str(folder))
    assert not marker.exists()
