"""Encoders of pictures: pixels in."""

import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from tempembed.encoders.encoder import Encoder, moved
from tempembed.encoders.role import Prompts, Role
from tempembed.encoders.static import CONFIG, MODULES, NO_PROMPTS
from tempembed.inputs.picture_store import is_picture, kept_pictures
from tempembed.inputs.pictures import Fit
from tempembed.inputs.pixels import PATCH, Pixels
from tempembed.system.errors import UserError
from tempembed.system.wording import shown

MODULE = "tempembed.encoders.image_module.PictureModule"
TOWER, WEIGHTS = "tower.json", "model.safetensors"
TEXT, IMAGE = "text", "image"
"""Folders of the towers, and their names."""
FORMAT = 1
CHUNK_PICTURES = 256
"""Best taken at once, measured on a CPU with pictures of 32 x 32."""
HALF = (0.5, 0.5, 0.5)


class ImageEncoder(Encoder):
    """Takes `Pixels`.

    Args:
        fit: how pictures are made as large as it takes them.
        mean: of red, green and blue, from 0 to 1, which is subtracted.
        std: by which they are divided then.
    """

    modalities = frozenset({"image"})

    def __init__(self, fit: Fit, mean: Sequence[float] = HALF, std: Sequence[float] = HALF) -> None:
        super().__init__()
        self.fit, self.mean, self.std = fit, tuple(mean), tuple(std)
        self.prompts = NO_PROMPTS

    @abstractmethod
    def embed_pictures(self, pixels_BCHW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Embeddings of pictures whose channels were normalised."""

    @property
    def max_tokens(self) -> int | None:
        """Pictures have no limit."""
        return None

    def limit_to(self, max_tokens: int) -> None:
        """Changes nothing."""

    @property
    def micro_batch_tokens(self) -> int:
        """Patches of 16 x 16 pixels."""
        return CHUNK_PICTURES * max(1, self.fit.side**2 // PATCH**2)

    def prepare(self, rows: Sequence[str], role: Role) -> Pixels:
        """The pictures of these names (`inputs.picture_store`), each once; both roles are alike.

        Raises:
            UserError: a text, or a picture that is not in the cache.
        """
        if other := next((row for row in rows if not is_picture(row)), None):
            raise UserError(
                f"expected pictures, got the text {shown(other)}: this encoder takes pictures only; take one of texts and pictures"
            )
        return kept_pictures().pixels(rows, self.fit)

    def embed_chunk(self, chunk: Pixels) -> Float[Tensor, "B D"]:
        """Embeddings of pictures, each by its view."""
        pixels = moved(torch.from_numpy(chunk.shown()), self.device).permute(0, 3, 1, 2).float()
        if chunk.views is not None:
            pixels = viewed(pixels, moved(torch.from_numpy(chunk.views), self.device))
        mean, std = (pixels.new_tensor(each)[:, None, None] * 255 for each in (self.mean, self.std))
        # convolutions are fastest with the channels of a pixel side by side
        return self.embed_pictures(((pixels - mean) / std).contiguous(memory_format=torch.channels_last))

    def preparation(self) -> str:
        """How pictures are made to fit."""
        return repr(self.fit)

    def role_rules(self) -> str:
        """Both roles are alike."""
        return repr(self.fit)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """A folder of ours (`encoders.image_folder`)."""
        self.save_tower(folder / IMAGE, dtype)
        write_modules(folder, self.prompts)

    def save_tower(self, folder: Path, dtype: torch.dtype) -> None:
        """What makes it again, and its weights."""
        folder.mkdir(parents=True, exist_ok=True)
        described = {
            "format": FORMAT, "kind": type(self).__name__, "width": self.width, "fit": asdict(self.fit),
            "mean": self.mean, "std": self.std,
        }  # fmt: skip
        (folder / TOWER).write_text(json.dumps(described, indent=1))
        weights = {
            name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in self.state_dict().items()
        }
        save_file(weights, folder / WEIGHTS)

    def sentence_transformer(self) -> NoReturn:
        """Is none.

        Raises:
            UserError: always.
        """
        raise UserError(
            "expected an encoder of texts, got one of pictures, which sentence-transformers has no module for: load its folder with "
            "SentenceTransformer(folder, trust_remote_code=True), where tempembed is installed"
        )


def viewed(
    pixels_BCHW: Float[Tensor, "B C H W"], views_B23: Float[Tensor, "B 2 3"]
) -> Float[Tensor, "B C H W"]:
    """Pictures by views that zoom and move and do not turn: `grid_sample` by the grid of `affine_grid`, which takes as long as the sampling."""
    columns_BW, rows_BH = (
        views_B23[:, axis, axis, None] * _centres(side, pixels_BCHW.device) + views_B23[:, axis, 2, None]
        for axis, side in enumerate((pixels_BCHW.shape[3], pixels_BCHW.shape[2]))
    )
    grid_BHW2 = torch.stack(torch.broadcast_tensors(columns_BW[:, None, :], rows_BH[:, :, None]), dim=3)
    return nn.functional.grid_sample(pixels_BCHW, grid_BHW2, padding_mode="border", align_corners=False)


def _centres(side: int, device: torch.device) -> Float[Tensor, " S"]:
    """Of the pixels of a side, from -1 to 1."""
    return (2 * torch.arange(side, device=device, dtype=torch.float32) + 1) / side - 1


def write_modules(folder: Path, prompts: Prompts) -> None:
    """What says whose the folder is, and sentence-transformers what stands before a text."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": MODULE}]
    config = {**prompts.saved(), "similarity_fn_name": "cosine", "model_type": "SentenceTransformer"}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True))
    (folder / MODULES).write_text(json.dumps(modules, indent=2))
