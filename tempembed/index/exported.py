"""A folder of `tempembed export`, loaded: texts to embeddings, embeddings to codes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.codec import DESCRIPTION, TENSORS, Codec
from tempembed.codecs.spec import Spec
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.load import load_encoder
from tempembed.encoders.role import RoleName
from tempembed.inputs.picture_store import is_picture
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_file, require_file, require_inside

CODEC = "codec"
"""The codec's folder in that of the model."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A model and the codec that was fitted on its embeddings."""

    encoder: Encoder
    codec: Codec
    model_fingerprint: str
    codec_fingerprint: str

    def embed(self, texts: Sequence[str], role: RoleName) -> Float[Tensor, "M D"]:
        """float32 embeddings at full width; the codec cuts them. Texts and pictures may be among one another."""
        found = torch.empty(len(texts), self.encoder.width)
        kinds = [is_picture(text) for text in texts]
        for kind in set(kinds):
            rows = [row for row, own in enumerate(kinds) if own == kind]
            inputs = self.encoder.prepare([texts[row] for row in rows], self.encoder.role(role))
            found[rows] = self.encoder.embed(inputs)
        return found


def load_exported(folder: Path) -> Exported:
    """Read what `export` wrote; runs no code from the folder.

    Raises:
        UserError: not such a folder, damaged, with a link out of it, or a codec of a model of another width.
    """
    if not is_file(folder / CODEC / DESCRIPTION):
        raise UserError(
            f"model {folder}: expected a folder that tempembed export wrote, found no {CODEC}/{DESCRIPTION} in it; "
            f"export the model first"
        )
    inside = list(folder.rglob("*"))
    require_inside(folder, inside)
    for path in inside:
        if not path.is_dir():
            require_file(path)
    encoder, codec = load_encoder(str(folder)), Codec.load(folder / CODEC)
    check_width(codec, encoder.width, str(folder))
    return Exported(
        encoder=encoder, codec=codec, model_fingerprint=encoder.fingerprint(),
        codec_fingerprint=codec_fingerprint(folder / CODEC),
    )  # fmt: skip


def plain(model: str) -> Exported:
    """Any model, with the codec that keeps everything.

    Raises:
        UserError: no such model.
    """
    encoder = load_encoder(model)
    codec = Codec.fit(Spec(width=encoder.width), torch.zeros(2, encoder.width))
    return Exported(
        encoder=encoder,
        codec=codec,
        model_fingerprint=encoder.fingerprint(),
        codec_fingerprint=str(codec.spec),
    )


def check_width(codec: Codec, width: int, model: str) -> None:
    """Raise UserError unless the codec takes embeddings of this width."""
    if codec.full != width:
        raise UserError(
            f"model {model}: expected a codec of its {width} coordinates, got {codec.spec} fitted on {codec.full}; "
            "take the codec that was fitted on this model"
        )


def codec_fingerprint(folder: Path) -> str:
    """16 hex digits of a codec's files."""
    digest = hashlib.sha256()
    for name in (DESCRIPTION, TENSORS):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()[:16]
