"""Folders of encoders that take pictures, read by name and never by code.

`modules.json` names our own module of sentence-transformers (`encoders.image_module`), which it imports where the user allows it
(`trust_remote_code=True`) and tempembed is installed. `image/` has what makes the tower of pictures, and `text/`, if there is one, is a
sentence-transformers model of the texts that any version of it loads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tempembed.encoders.convolution import SIDES, ConvolutionEncoder
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.image import FORMAT, IMAGE, MODULE, TEXT, TOWER, WEIGHTS, ImageEncoder
from tempembed.encoders.multimodal import MultimodalEncoder
from tempembed.encoders.static import MODULES
from tempembed.encoders.text import TextEncoder
from tempembed.inputs.pictures import Fit
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_file, read_json, read_tensors

CLIP_KINDS = frozenset({"clip", "siglip", "siglip2", "chinese_clip"})
"""`model_type` of models with `text_model` and `vision_model`."""


def is_ours(folder: Path) -> bool:
    """Whether it holds an encoder that takes pictures, as it is saved here."""
    if not is_file(folder / MODULES):
        return False
    match read_json(folder / MODULES):
        case [{"type": str(kind)}]:
            return kind == MODULE
    return False


def is_clip_folder(folder: Path) -> bool:
    """Whether it holds a CLIP-type model of transformers, by itself or as the only module of sentence-transformers."""
    if not is_file(folder / "config.json"):
        return False
    config = read_json(folder / "config.json")
    return isinstance(config, dict) and config.get("model_type") in CLIP_KINDS


def load_towers(folder: Path, load_text: Any) -> Encoder:
    """Read what `save` wrote.

    Args:
        folder: of the model.
        load_text: gives the encoder in a folder of texts.

    Raises:
        UserError: damaged, or of a later version of us.
    """
    image = _load_image(folder / IMAGE)
    if not (folder / TEXT).is_dir():
        return image
    text = load_text(folder / TEXT)
    assert isinstance(text, TextEncoder)
    return MultimodalEncoder(text, image)


def _load_image(folder: Path) -> ImageEncoder:
    described = read_json(folder / TOWER)
    try:
        weights = {name: tensor.float() for name, tensor in read_tensors(folder / WEIGHTS).items()}
        encoder = _made(folder, described, is_projected="projection.weight" in weights)
        encoder.load_state_dict(weights, strict=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{folder / TOWER}: expected a tower of pictures that tempembed wrote, and could not make it ({type(error).__name__}: "
            f"{str(error)[:200]}); restore the files"
        ) from error
    return encoder


def _made(folder: Path, described: Mapping[str, Any], *, is_projected: bool) -> ImageEncoder:
    fit, width = Fit(**described["fit"]), described["width"]
    if described["format"] == FORMAT and described["kind"] == "TransformersImageEncoder":
        from tempembed.encoders.image_model import image_model_of

        return image_model_of(folder, width if is_projected else None)
    if described["format"] != FORMAT or described["kind"] != ConvolutionEncoder.__name__:
        raise ValueError(f"a {described['kind']} of format {described['format']}")
    if fit.side not in SIDES or not isinstance(width, int) or not 0 < width <= 2**14:
        raise ValueError(f"side {fit.side}, width {width}")
    return ConvolutionEncoder(side=fit.side, width=width)
