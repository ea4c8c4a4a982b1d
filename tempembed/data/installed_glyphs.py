"""The embedded pictures: characters of the DejaVu fonts that matplotlib installs, and their Unicode names. No download.

A name says what a picture shows, and names compose ("GREEK SMALL LETTER ALPHA WITH TONOS"), so pictures of characters that no
training pair shows can be found by words. Pairs are of a name and a picture, or of two pictures of a character in unlike faces.
"""

import hashlib
import importlib.metadata
import io
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tempembed.data.split import holdout
from tempembed.inputs.picture_store import MARK
from tempembed.inputs.pictures import pixel_digest
from tempembed.system.cache import cache_dir as default_cache_dir
from tempembed.system.checksums import MANIFEST, appearing_folder, checksums, is_intact

FORMAT = 2  # raise when the same fonts give other pairs
SIDE, SIZE, BASELINE = 32, 22, 23
"""Of a picture, of the font, and how far the line that letters stand on is from the top, in pixels."""
FACES = tuple(
    f"DejaVu{family}"
    for family in (
        "Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique", "SansMono", "SansMono-Bold", "SansMono-Oblique",
        "SansMono-BoldOblique", "Serif", "Serif-Bold", "Serif-Italic", "Serif-BoldItalic",
    )
)  # fmt: skip
TEST_FACES = ("DejaVuSansMono-Oblique", "DejaVuSerif-BoldItalic")
"""Are in no training pair, nor in the test of characters."""
TEST_SHARE = 0.2
"""Of the pictures in training faces, by whole characters."""
MIN_SCRIPT = 30
"""Characters that a label has at least; those of smaller ones are "OTHER"."""
FILES = ("train", "test", "faces", "pictures.train", "pictures.test")


@dataclass(frozen=True, kw_only=True)
class InstalledGlyphs:
    """Parquet files of pairs with a label, the script, and the character as the group."""

    folder: Path

    @property
    def train(self) -> Path:
        """A name and a picture of it; of every training character in each training face that has it."""
        return self.folder / "train.parquet"

    @property
    def test(self) -> Path:
        """Characters that training has not: a name and a picture in one of the training faces."""
        return self.folder / "test.parquet"

    @property
    def faces(self) -> Path:
        """Faces that training has not: as many of the training characters, in one of these faces."""
        return self.folder / "faces.parquet"

    @property
    def pictures_train(self) -> Path:
        """Two pictures of a training character in unlike faces."""
        return self.folder / "pictures.train.parquet"

    @property
    def pictures_test(self) -> Path:
        """Characters that training has not: a picture and one in another face."""
        return self.folder / "pictures.test.parquet"


@dataclass(frozen=True, kw_only=True)
class Glyph:
    """A character in a face."""

    character: str
    face: str
    png: bytes
    pixels: str
    """32 hex digits of its pixels: equal for twins such as A, Α and А."""


def installed_glyphs(
    cache_dir: Path | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
    faces: Sequence[str] = FACES,
    below: int = 0x110000,
) -> InstalledGlyphs:
    """The pictures of this environment, drawn once and cached by the fonts' content.

    Args:
        cache_dir: default `installed-glyphs` in the cache.
        progress: takes lines of progress.
        faces: names of the font files.
        below: draw characters up to this number.
    """
    cache_dir = cache_dir or default_cache_dir() / "installed-glyphs"
    identity = {
        "format": FORMAT,
        "fonts": {face: hashlib.sha256(_font_file(face).read_bytes()).hexdigest() for face in faces},
        "unicode": unicodedata.unidata_version,
        "pillow": importlib.metadata.version("pillow"),
        "below": below,
    }
    folder = cache_dir / hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    if not is_intact(folder):
        with appearing_folder(folder) as partial:
            _build(faces, below, identity, partial, progress)
    return InstalledGlyphs(folder=folder)


def glyphs(faces: Sequence[str], below: int = 0x110000) -> Iterator[Glyph]:
    """Every character that has a name and ink, in each face that has it, face by face in the order of their numbers."""
    from matplotlib.ft2font import FT2Font
    from PIL import Image, ImageDraw, ImageFont

    for face in faces:
        path = str(_font_file(face))
        font = ImageFont.truetype(path, SIZE, layout_engine=ImageFont.Layout.BASIC)
        for code in sorted(FT2Font(path).get_charmap()):
            if code >= below or not unicodedata.name(chr(code), ""):
                continue
            picture = Image.new("L", (SIDE, SIDE), 255)
            ImageDraw.Draw(picture).text((SIDE / 2, BASELINE), chr(code), font=font, fill=0, anchor="ms")
            if int(np.asarray(picture).min()) > 127:  # nothing to see: a space, or a mark outside the picture
                continue
            content = io.BytesIO()
            picture.save(content, "PNG", compress_level=1)
            digest = pixel_digest(picture.convert("RGB")).hex()
            yield Glyph(character=chr(code), face=face, png=content.getvalue(), pixels=digest)


def script(character: str) -> str:
    """What a character belongs to: a letter to its script, anything else to its category.

    >>> script("α"), script("∑"), script("7")
    ('GREEK', 'MATH SYMBOL', 'NUMBER')
    """
    kind = unicodedata.category(character)
    if kind[0] == "L":
        return unicodedata.name(character).split()[0]
    of_kind = {"M": "MARK", "N": "NUMBER", "P": "PUNCTUATION", "Z": "SEPARATOR"}
    if kind in ("Sm", "Sc", "Sk"):
        return {"Sm": "MATH SYMBOL", "Sc": "CURRENCY", "Sk": "MODIFIER"}[kind]
    if kind == "So":
        name = unicodedata.name(character).split()
        return name[0] if name[0] in ("BRAILLE", "BOX", "HEXAGRAM", "DOMINO", "MAHJONG") else "SYMBOL"
    return of_kind.get(kind[0], "OTHER")


def _font_file(face: str) -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"


def _build(
    faces: Sequence[str],
    below: int,
    identity: dict[str, Any],
    folder: Path,
    say: Callable[[str], None],
) -> None:
    say(f"drawing the characters of {len(faces)} faces")
    drawn = list(glyphs(faces, below))
    characters = {glyph.character for glyph in drawn}
    labels = {character: script(character) for character in characters}
    sizes = Counter(labels.values())
    labels = {
        character: label if sizes[label] >= MIN_SCRIPT else "OTHER" for character, label in labels.items()
    }
    known = [glyph for glyph in drawn if glyph.face not in TEST_FACES]
    train, test = (
        [known[row] for row in part["row"].to_pylist()]
        for part in holdout(
            pa.table(
                {
                    "query": pa.array([_name(glyph) for glyph in known], pa.large_string()),
                    "document": pa.array([MARK + glyph.pixels for glyph in known], pa.large_string()),
                    "row": np.arange(len(known)),
                }
            ),
            round(TEST_SHARE * len(known)),
        )
    )
    seen = {glyph.pixels for glyph in train}
    of_train = {glyph.character for glyph in train}
    other = [g for g in drawn if g.face in TEST_FACES and g.character in of_train and g.pixels not in seen]
    one_each = _one_each(test)
    parts: dict[str, list[Any]] = {
        "train": [(_name(glyph), glyph) for glyph in train],
        "test": [(_name(glyph), glyph) for glyph in one_each],
        "faces": [(_name(glyph), glyph) for glyph in _one_each(other)[: len(one_each)]],
        "pictures.train": _in_two_faces(train),
        "pictures.test": _one_each(_in_two_faces(test)),
    }
    for name, pairs in parts.items():
        pq.write_table(_table(pairs, labels), folder / f"{name}.parquet", compression="zstd")
    counts = {
        "characters": len(characters), "pictures": len(drawn), "distinct pictures": len({g.pixels for g in drawn}),
        **{name: len(pairs) for name, pairs in parts.items()},
    }  # fmt: skip
    sums = checksums(folder, [f"{name}.parquet" for name in FILES])
    (folder / MANIFEST).write_text(json.dumps({**identity, "counts": counts, "sha256": sums}, indent=1))
    say(f"installed glyphs: {len(drawn):,} pictures of {len(characters):,} characters")


def _name(glyph: Glyph) -> str:
    return unicodedata.name(glyph.character)


def _order(*parts: str) -> bytes:
    """Random, and the same in every process."""
    return hashlib.blake2b(" ".join(parts).encode(), digest_size=8).digest()


def _one_each(pairs: Sequence[Any]) -> list[Any]:
    """One glyph, or pair of glyphs, of each character, in a random order of characters."""

    def glyph(pair: Any) -> Glyph:
        return pair[0] if isinstance(pair, tuple) else pair

    chosen: dict[str, Any] = {}
    for pair in sorted(pairs, key=lambda pair: _order(glyph(pair).character, glyph(pair).face)):
        chosen.setdefault(glyph(pair).character, pair)
    return sorted(chosen.values(), key=lambda pair: _order(glyph(pair).character))


def _in_two_faces(found: Sequence[Glyph]) -> list[tuple[Glyph, Glyph]]:
    """Each picture of a character with the next one in a random order of its faces, where the two differ."""
    of_character: dict[str, list[Glyph]] = {}
    for glyph in sorted(found, key=lambda glyph: _order(glyph.character, glyph.face)):
        of_character.setdefault(glyph.character, []).append(glyph)
    pairs = []
    for own in of_character.values():
        pairs += [(a, b) for a, b in zip(own, [*own[1:], own[0]], strict=True) if a.pixels != b.pixels]
    return pairs


def _table(pairs: Sequence[tuple[str | Glyph, Glyph]], labels: dict[str, str]) -> pa.Table:
    def cell(each: str | Glyph) -> Any:
        if isinstance(each, str):
            return each
        return {"bytes": each.png, "path": f"{_name(each)}, {each.face}.png"}

    characters = [document.character for _, document in pairs]
    picture = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    is_text = bool(pairs) and isinstance(pairs[0][0], str)
    return pa.table(
        {
            "query": pa.array([cell(query) for query, _ in pairs], pa.large_string() if is_text else picture),
            "document": pa.array([cell(document) for _, document in pairs], picture),
            "label": pa.array([labels[character] for character in characters], pa.large_string()),
            "group": pa.array([f"U+{ord(character):04X}" for character in characters], pa.large_string()),
        }
    )
