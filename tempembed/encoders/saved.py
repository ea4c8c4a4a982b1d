"""A saved model is what was trained: it is read again, by plain sentence-transformers, and its vectors are compared."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from tempembed.encoders import static
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.image import IMAGE, ImageEncoder
from tempembed.encoders.load import load_encoder
from tempembed.encoders.role import ROLES, RoleName
from tempembed.inputs.pixels import Pixels
from tempembed.system.errors import UserError
from tempembed.system.untrusted import read_json

TEXTS = ("open the file and read its lines", "Grüße, 世界!", "a " * 700)
"""One of them longer than most models take."""
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""By the type of the saved weights: largest difference of a coordinate, relative to the embedding's length."""
LIBRARIES = ("sentence-transformers", "transformers", "tokenizers", "torch", "safetensors")
Encode = Mapping[RoleName, Callable[[Sequence[str]], np.ndarray]]
"""By role: texts to vectors."""


def save_checked(encoder: Encoder, folder: Path, dtype: torch.dtype, known: Path) -> None:
    """Save a model, load it by `SentenceTransformer(folder)`, and compare `encode_query` and `encode_document` with ours.

    A table is read again by us, each time. That the library reads the files of such a table as we do is tried once for each
    form of them (all but vocabulary and weights) and version of the libraries, for its import alone takes longer than a table
    trains.

    Args:
        encoder: what was trained.
        folder: takes the model.
        dtype: of the saved weights.
        known: a folder that remembers which forms of a table the library reads.

    Raises:
        UserError: the folder does not load, or holds another model than the one that was trained.
    """
    encoder.save(folder, dtype)
    if IMAGE in encoder.modalities:
        _compare_towers(encoder, load_encoder(str(folder)), folder, TOLERANCE[dtype])
        return
    if isinstance(encoder, static.StaticEncoder):
        again = static.load_static(folder)
        if again is None:
            raise UserError(
                f"model {folder}: expected the table that was saved, found something else; save it elsewhere"
            )
        _compare(encoder, folder, _ours(again), TOLERANCE[dtype])
        form = known / _form(folder, dtype)
        if form.exists():
            return
        _compare(encoder, folder, _the_librarys(folder), TOLERANCE[dtype])
        known.mkdir(parents=True, exist_ok=True)
        form.touch()
    else:
        _compare(encoder, folder, _the_librarys(folder), TOLERANCE[dtype])


def _compare_towers(trained: Encoder, saved: Encoder, folder: Path, tolerance: float) -> None:
    """Texts and random pictures, by each tower."""
    theirs = saved.towers()
    for name, tower in trained.towers().items():
        if not isinstance(tower, ImageEncoder):
            again = theirs[name]
            _compare(tower, folder, _ours(again), tolerance)
            continue
        side = tower.fit.side
        pictures = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
        pixels = Pixels(pictures=pictures, index=np.arange(2))
        ours, read = (each.embed(pixels).numpy() for each in (tower, theirs[name]))
        off = float((np.abs(ours - read).max(1) / np.linalg.norm(ours, axis=1).clip(1e-12)).max())
        if not off <= tolerance:
            raise UserError(
                f"model {folder}: expected the saved encoder of pictures to give what was trained, its embeddings are off by {off:.2g} of "
                "their length; the checkpoints are whole, please report this"
            )


def _form(folder: Path, dtype: torch.dtype) -> str:
    """A name for the form of a table's files, our code that wrote them, and the libraries."""
    tokenizer = read_json(folder / static.TOKENIZER)
    tokenizer["model"] = {
        name: value for name, value in tokenizer["model"].items() if name not in ("vocab", "merges")
    }
    config = {**read_json(folder / static.CONFIG), "modules": read_json(folder / static.MODULES)}
    versions = [f"{name} {version(name)}" for name in LIBRARIES]
    code = hashlib.sha256(Path(static.__file__).read_bytes()).hexdigest()
    form = json.dumps([tokenizer, config, versions, code, str(dtype)], sort_keys=True)
    return hashlib.sha256(form.encode()).hexdigest()[:32]


def _ours(encoder: Encoder) -> Encode:
    def encode(name: RoleName) -> Callable[[Sequence[str]], np.ndarray]:
        role = encoder.role(name)
        # one at a time: padding may move the places of a model that pads on the left
        return lambda texts: np.concatenate(
            [encoder.embed(encoder.prepare([text], role)).numpy() for text in texts]
        )

    return {name: encode(name) for name in ROLES}


def _the_librarys(folder: Path) -> Encode:
    from sentence_transformers import SentenceTransformer  # seconds of import, at the end of a run

    from tempembed.encoders.transformers_log import silence

    try:
        with silence():
            model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=False)
    except Exception as error:  # what its layers raise has no common class
        raise UserError(
            f"model {folder}: expected one that sentence-transformers loads, and it does not ({type(error).__name__}: "
            f"{str(error)[:200]}); the checkpoints are whole, please report this"
        ) from error
    model.truncate_dim = None

    def one_by_one(encode: Callable[..., torch.Tensor]) -> Callable[[Sequence[str]], np.ndarray]:
        options = {"show_progress_bar": False, "convert_to_tensor": True}
        return lambda texts: np.concatenate([encode([text], **options).float().numpy() for text in texts])

    return {"query": one_by_one(model.encode_query), "document": one_by_one(model.encode_document)}


def _compare(trained: Encoder, folder: Path, saved: Encode, tolerance: float) -> None:
    for name, encode in _ours(trained).items():
        ours, theirs = encode(TEXTS), saved[name](TEXTS)
        off = float((np.abs(ours - theirs).max(1) / np.linalg.norm(ours, axis=1).clip(1e-12)).max())
        if not off <= tolerance:
            raise UserError(
                f"model {folder}: expected encode_{name} of the saved model to give what was trained, its embeddings are off by "
                f"{off:.2g} of their length; the checkpoints are whole, please report this"
            )
