"""Pictures in rows: what is converted, what is refused, and how."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tempembed.data.pairs import Pairs, read_pairs
from tempembed.data.split import holdout
from tempembed.inputs.picture_store import MARK, PictureStore, is_picture, title_of, titled
from tempembed.inputs.pictures import Fit, decoded, fitted, pixel_digest
from tempembed.system.errors import UserError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def packed(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def plain(colour: tuple[int, ...] = RED, size: tuple[int, int] = (8, 6)) -> bytes:
    return packed(Image.new("RGB", size, colour))


def palette_with_a_hole() -> bytes:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([*BLUE, *RED])
    picture.putpixel((0, 0), 0)
    return packed(picture, transparency=0)


def half_green() -> bytes:
    return packed(Image.new("RGBA", (4, 4), (*GREEN, 128)))


def grey_of_16_bits() -> bytes:
    return packed(Image.fromarray(np.full((4, 4), 0x80FF, np.uint16)))


def moving() -> bytes:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    return packed(frames[0], "GIF", save_all=True, append_images=frames[1:])


def turned() -> bytes:
    picture = Image.new("RGB", (6, 4), RED)
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    return packed(picture, "JPEG", exif=exif, quality=95)


def claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is so large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    start = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    return start + b"\0\0\0\0IEND\xaeB`\x82"


@pytest.mark.parametrize(
    ("content", "size", "corner", "inside"),
    [
        (plain(), (8, 6), RED, RED),
        (packed(Image.new("L", (4, 4), 77)), (4, 4), (77,) * 3, (77,) * 3),
        (palette_with_a_hole(), (4, 4), WHITE, RED),
        (half_green(), (4, 4), (127, 255, 127), (127, 255, 127)),
        (packed(Image.new("LA", (4, 4), (0, 0))), (4, 4), WHITE, WHITE),
        (packed(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), (8, 8), (254, 0, 0), (254, 0, 0)),
        (grey_of_16_bits(), (4, 4), (0x80,) * 3, (0x80,) * 3),
        (moving(), (4, 4), RED, RED),
        (turned(), (4, 6), (254, 0, 0), (254, 0, 0)),
        (packed(Image.new("RGB", (4, 4), BLUE), "WEBP", lossless=True), (4, 4), BLUE, BLUE),
    ],
    ids=[
        "rgb",
        "grey",
        "palette-transparency",
        "alpha",
        "grey-alpha",
        "cmyk",
        "16-bit",
        "animated",
        "exif",
        "webp",
    ],
)
def test_every_kind_becomes_red_green_and_blue(content, size, corner, inside) -> None:
    picture = decoded(content)
    assert (picture.mode, picture.size) == ("RGB", size)
    assert np.abs(np.subtract(picture.getpixel((0, 0)), corner)).max() <= 1
    assert np.abs(np.subtract(picture.getpixel((2, 2)), inside)).max() <= 1


BAD = {
    "too-large": (claims(30_000, 30_000), "at most 33,554,432 pixels"),
    "truncated": (
        packed(Image.effect_noise((64, 64), 90).convert("RGB"), "JPEG")[:400],
        "a whole PNG, JPEG, WebP or GIF",
    ),
    "empty": (b"", "an empty file"),
    "text": (b"hello", "a whole PNG, JPEG, WebP or GIF"),
    "other-format": (packed(Image.new("RGB", (4, 4)), "BMP"), "a whole PNG, JPEG, WebP or GIF"),
}


def put(folder: Path, documents: list[object], **more: list[object]) -> str:
    queries = [f"words {row}" for row in range(len(documents))]
    pq.write_table(pa.table({"query": queries, "document": documents, **more}), folder / "pairs.parquet")
    return str(folder / "pairs.parquet")


@pytest.mark.parametrize("name", BAD)
def test_one_bad_picture_is_one_bad_row_that_is_named(name, tmp_path) -> None:
    content, expected = BAD[name]
    source = put(tmp_path, [plain(), content, plain(BLUE)])
    with pytest.raises(UserError, match=f"pairs.parquet, row 2, column 'document': expected .*{expected}"):
        read_pairs(source)
    found = read_pairs(source, skip_bad_rows=True)
    assert found.queries == ["words 0", "words 2"]
    assert found.num_skipped == 1


def lines(folder: Path, rows: list[dict[str, object]], name: str = "pairs.jsonl") -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("../secret.png", "a path inside"),
        ("/etc/secret.png", "a path inside"),
        ("link.png", "a path inside"),
        ("gone.png", "which is not there"),
        ("a text", "a picture in every row, as in the first"),
        ("nul\0.png", "a picture that can be read"),
    ],
)
def test_paths_stay_in_the_folder_of_the_data(cell, expected, tmp_path) -> None:
    (tmp_path / "secret.png").write_bytes(plain())
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "one.png").write_bytes(plain())
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    source = lines(folder, [{"query": "one", "document": "one.png"}, {"query": "two", "document": cell}])
    with pytest.raises(UserError, match=f"row 2 .*{expected}"):
        read_pairs(source)


def test_a_picture_among_texts_is_refused(tmp_path) -> None:
    (tmp_path / "one.png").write_bytes(plain())
    lines(tmp_path, [{"query": "a", "document": "a text"}, {"query": "b", "document": "another"}], "a.jsonl")
    lines(tmp_path, [{"query": "c", "document": "one.png"}], "b.jsonl")
    with pytest.raises(UserError, match="expected pictures only or texts only, got 1 pictures and 2 texts"):
        read_pairs(str(tmp_path))


def test_bytes_objects_and_paths_of_one_picture_are_one_picture(tmp_path) -> None:
    (tmp_path / "one.png").write_bytes(plain())
    picture = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    as_objects = pa.array([{"bytes": plain(), "path": None}, {"bytes": None, "path": "one.png"}], picture)
    source = put(tmp_path, as_objects)
    found = read_pairs(source)
    assert len(set(found.documents)) == 1
    assert is_picture(found.documents[0])
    as_bytes = tmp_path / "bytes"
    as_bytes.mkdir()
    assert (
        read_pairs(
            put(as_bytes, [packed(Image.new("RGB", (8, 6), RED), "WEBP", lossless=True)] * 2)
        ).documents[:1]
        == found.documents[:1]
    )


def test_a_folder_with_captions_is_read_as_datasets_does(tmp_path) -> None:
    for name, colour in (("red.png", RED), ("blue.png", BLUE)):
        (tmp_path / name).write_bytes(plain(colour))
    (tmp_path / "metadata.csv").write_text("file_name,text\nred.png,a red one\nblue.png,a blue one\n")
    found = read_pairs(str(tmp_path))
    assert found.queries == ["a red one", "a blue one"]
    store = PictureStore()
    assert [decoded(each).getpixel((0, 0)) for each in store.contents(found.documents)] == [RED, BLUE]


def test_groups_stay_on_one_side_and_equal_pictures_too(tmp_path) -> None:
    colours = [(20 * row, 10, 10) for row in range(12)]
    documents = [plain(colour) for colour in colours]
    documents[1] = documents[0]  # a twin: by pixels
    group = [None, None, "g", "g", *([None] * 8)]
    found: Pairs = read_pairs(put(tmp_path, documents, group=group))
    _, test = holdout(found.table, 2)
    of_test = {int(query.split()[1]) for query in test["query"].to_pylist()}
    assert len(of_test & {0, 1}) in (0, 2)
    assert len(of_test & {2, 3}) in (0, 2)
    groups = found.groups_of_rows
    assert groups is not None
    assert groups[2] == groups[3]
    assert len(np.unique(groups)) == 11


def test_a_store_finds_what_another_process_kept(tmp_path) -> None:
    first, second = PictureStore(tmp_path), PictureStore(tmp_path)
    name = first.name(plain())
    assert name.startswith(MARK)
    with pytest.raises(UserError, match="expected a picture of the cache"):
        second.contents([name])
    first.flush()
    assert second.contents([name, titled(name, "red")]) == [plain()] * 2
    assert (title_of(titled(name, "red")), title_of(name)) == ("red", name)
    seen = second.pixels([name, name], Fit(side=4))
    assert seen.pictures.shape == (1, 4, 4, 3)
    assert seen.index.tolist() == [0, 0]


def test_a_damaged_pack_is_passed_over(tmp_path) -> None:
    store = PictureStore(tmp_path)
    name = store.name(plain())
    store.flush()
    (pack,) = tmp_path.glob("*.bin")
    pack.write_bytes(b"x")
    with pytest.raises(UserError, match="read the data again"):
        PictureStore(tmp_path).contents([name])


@pytest.mark.parametrize(("how", "corner"), [("pad", WHITE), ("crop", RED), ("stretch", RED)])
def test_pictures_are_made_to_fit(how, corner) -> None:
    wide = Image.new("RGB", (40, 20), RED)
    found = fitted(wide, Fit(side=10, how=how))
    assert found.shape == (10, 10, 3)
    assert tuple(found[0, 0]) == corner
    assert tuple(found[5, 5]) == RED


def test_digests_are_of_size_and_pixels() -> None:
    assert pixel_digest(decoded(plain())) == pixel_digest(
        decoded(packed(Image.new("RGB", (8, 6), RED), "GIF"))
    )
    assert pixel_digest(decoded(plain(size=(6, 8)))) != pixel_digest(decoded(plain()))
