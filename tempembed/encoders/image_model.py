"""Any image model of transformers as an encoder: what it makes of a picture, averaged, and a projection to the width that is asked for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from tempembed.encoders.image import HALF, ImageEncoder
from tempembed.encoders.transformers_log import silence
from tempembed.inputs.pictures import Fit
from tempembed.system.errors import UserError
from tempembed.system.hub import is_reachable
from tempembed.system.untrusted import is_file, is_folder, read_json
from tempembed.system.wording import first_line

PROCESSOR, TRUNK = "preprocessor_config.json", "trunk"
TIMM = "timm_wrapper"
"""What transformers calls a model of timm, for which it needs that library."""
BICUBIC = 3
"""Pillow's number, as processors have it."""


class TransformersImageEncoder(ImageEncoder):
    """A model of transformers that takes `pixel_values`; the mean over its places is the embedding.

    Args:
        model: gives `last_hidden_state`.
        processor: its `preprocessor_config.json`.
        width: of the projection; None: there is none.
    """

    def __init__(self, model: PreTrainedModel, processor: Mapping[str, Any], width: int | None) -> None:
        fit, mean, std = fit_of(processor)
        super().__init__(fit, mean, std)
        self.model: Any = model.float()
        self.processor = dict(processor)
        with torch.no_grad():
            own = self._mean(torch.zeros(1, 3, fit.side, fit.side)).shape[1]
        self.projection: nn.Module = nn.Linear(own, width, bias=False) if width else nn.Identity()
        self._width = width or own

    @property
    def width(self) -> int:
        """Coordinates of an embedding."""
        return self._width

    def embed_pictures(self, pixels_BCHW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """The mean over the places of the last layer, projected."""
        return self.projection(self._mean(pixels_BCHW))

    def _mean(self, pixels: Tensor) -> Tensor:
        hidden = self.model(pixel_values=pixels).last_hidden_state
        return hidden.mean(dim=1) if hidden.ndim == 3 else hidden.flatten(2).mean(dim=2)

    def save_tower(self, folder: Path, dtype: torch.dtype) -> None:
        """The model's own folder beside what makes the tower again."""
        super().save_tower(folder, dtype)
        self.model.config.save_pretrained(folder / TRUNK)
        (folder / TRUNK / PROCESSOR).write_text(json.dumps(self.processor, indent=1))


def load_image_model(name: str, *, width: int | None, seed: int) -> TransformersImageEncoder:
    """An image model from a local folder or by hub name; runs no code of its author.

    Args:
        name: of the folder or on the hub.
        width: of the embeddings; None: the model's own.
        seed: of the projection's weights.

    Raises:
        UserError: no such model, or one that takes no pictures alone.
    """
    from_disk = is_folder(Path(name)) or not is_reachable()
    try:
        with silence(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModel.from_pretrained(
                name, trust_remote_code=False, local_files_only=from_disk, dtype=torch.float32
            )
            if model.config.model_type == TIMM:
                raise _of_timm(name)
            processor = read_json(Path(name) / PROCESSOR) if is_file(Path(name) / PROCESSOR) else {}
            return TransformersImageEncoder(model, processor, width)
    except UserError:
        raise
    except Exception as error:  # what its format layers raise has no common class
        if isinstance(error, ImportError) and "timm" in str(error):
            raise _of_timm(name) from error
        raise UserError(
            f"--image-encoder {name}: expected convolution, or the folder or hub name of an image model of transformers, and could not "
            f"load it ({type(error).__name__}: {first_line(error)}); check the path or the name"
        ) from error


def _of_timm(name: str) -> UserError:
    return UserError(
        f"--image-encoder {name}: expected an image model of transformers, got one of timm, which is not read; take the architecture from "
        "transformers (ResNet, ConvNeXT, ViT, DINOv2 and others are there too), or convolution"
    )


def fit_of(processor: Mapping[str, Any]) -> tuple[Fit, tuple[float, ...], tuple[float, ...]]:
    """How a `preprocessor_config.json` makes pictures fit: size, mean and deviation of the channels.

    >>> fit_of({"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": True})[0]
    Fit(side=224, how='crop', resample='bilinear', resized=256)
    """
    size, crop = processor.get("size", 224), processor.get("crop_size")
    shortest = size.get("shortest_edge") if isinstance(size, Mapping) else None
    side = int(shortest or (size.get("height", 224) if isinstance(size, Mapping) else size))
    resample: Literal["bilinear", "bicubic"] = (
        "bicubic" if processor.get("resample") == BICUBIC else "bilinear"
    )
    mean, std = (tuple(processor.get(name) or HALF) for name in ("image_mean", "image_std"))
    if processor.get("do_center_crop") or shortest:
        final = int(crop if isinstance(crop, int) else (crop or {}).get("height", side))
        return (
            Fit(side=final, how="crop", resample=resample, resized=side if side != final else None),
            mean,
            std,
        )
    return Fit(side=side, how="stretch", resample=resample), mean, std


def image_model_of(folder: Path, width: int | None) -> TransformersImageEncoder:
    """The encoder of a tower's folder, its weights not yet read."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder / TRUNK, trust_remote_code=False)
    model = AutoModel.from_config(config, trust_remote_code=False)
    return TransformersImageEncoder(model, read_json(folder / TRUNK / PROCESSOR), width)
