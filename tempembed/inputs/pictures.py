"""Files of pictures to pixels: PNG, JPEG, WebP and GIF, by Pillow, whose sizes are bounded before anything is decoded.

Every picture becomes red, green and blue of 8 bits: grey is all three; what shows through a picture (an alpha channel, a palette
with a transparent colour) is white; CMYK is converted without a profile; 16-bit grey keeps its upper byte; of an animation the first frame
counts; a photograph is turned as its EXIF orientation says.
"""

import hashlib
import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif")
MOST_BYTES = 64 * 2**20
"""Of a file."""
MOST_PIXELS = 2**25
"""Of a picture, decoded: 33 million, 100 MB."""
WHITE = (255, 255, 255)


class BadPicture(Exception):
    """A picture that cannot be read; says what was expected, what was found, and what to do."""

    def __init__(self, reason: str, expected: str, found: str, todo: str) -> None:
        super().__init__(f"expected {expected}, got {found}: {todo}")
        self.reason, self.expected, self.found, self.todo = reason, expected, found, todo


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How pictures of any size become those that an encoder takes.

    pad: whole, in the middle of white; crop: the shorter side fits, what is left over is cut off evenly; stretch: whole, without its
    proportions.
    """

    side: int
    """Pixels of a side."""
    how: Literal["pad", "crop", "stretch"] = "pad"
    resample: Literal["bilinear", "bicubic"] = "bilinear"
    resized: int | None = None
    """With crop: what the shorter side is resized to before; None: `side`."""


def decoded(content: bytes) -> Any:
    """The picture in a file, a `PIL.Image` of mode RGB.

    Raises:
        BadPicture: no picture of these formats, damaged, or too large.
    """
    from PIL import Image, ImageOps

    if len(content) > MOST_BYTES:
        raise BadPicture(
            "picture too large", f"at most {MOST_BYTES:,} bytes", f"{len(content):,}", "save it smaller"
        )
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size
            if not 0 < width * height <= MOST_PIXELS:
                raise _too_large(f"{width:,} x {height:,}")
            return _as_rgb(ImageOps.exif_transpose(picture))
    except BadPicture:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large("far more") from error
    except Exception as error:  # what its decoders raise has no common class
        what = "an empty file" if not content else f"{type(error).__name__}: {str(error)[:80]}"
        raise BadPicture(
            "damaged picture", "a whole PNG, JPEG, WebP or GIF", what, "save it again"
        ) from error


def _too_large(found: str) -> BadPicture:
    return BadPicture("picture too large", f"at most {MOST_PIXELS:,} pixels", found, "save it smaller")


def _as_rgb(picture: Any) -> Any:
    from PIL import Image

    picture.load()
    if picture.mode.startswith("I"):  # 16 bits, which Pillow would cut at 255
        return Image.fromarray(
            (np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        ).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, (*WHITE, 255))
        picture = Image.alpha_composite(ground, picture)
    return picture.convert("RGB")


def pixel_digest(picture: Any) -> bytes:
    """16 bytes of a picture's size and pixels: equal for equal pictures, whatever file each is in."""
    width, height = picture.size
    digest = hashlib.blake2b(f"{width} {height} ".encode(), digest_size=16)
    digest.update(picture.tobytes())
    return digest.digest()


def fitted(picture: Any, fit: Fit) -> np.ndarray:
    """uint8 [side, side, 3]."""
    from PIL import Image

    side, size = fit.side, picture.size
    by = Image.Resampling.BICUBIC if fit.resample == "bicubic" else Image.Resampling.BILINEAR
    if fit.how == "stretch":
        return np.asarray(picture.resize((side, side), by) if size != (side, side) else picture)
    if fit.how == "crop":
        scale = (fit.resized or side) / min(size)
        width, height = (max(side, round(length * scale)) for length in size)
        left, top = (width - side) // 2, (height - side) // 2
        resized = picture.resize((width, height), by) if size != (width, height) else picture
        return np.asarray(resized.crop((left, top, left + side, top + side)))
    scale = side / max(size)
    width, height = (max(1, round(length * scale)) for length in size)
    resized = picture.resize((width, height), by) if size != (width, height) else picture
    if (width, height) == (side, side):
        return np.asarray(resized)
    ground = Image.new("RGB", (side, side), WHITE)
    ground.paste(resized, ((side - width) // 2, (side - height) // 2))
    return np.asarray(ground)
