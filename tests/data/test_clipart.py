"""The folder that benchmarks.clipart makes of Debian's package, on a package of a few pictures."""

import csv

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from benchmarks.clipart import WITHIN, clipart
from tempembed.data.pairs import read_pairs
from tempembed.system.errors import UserError


def drawn(path, title, colour=0, size=(200, 100)):
    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngInfo()
    info.add_text("Title", title)
    Image.new("RGB", size, (colour, 0, 0)).save(path, pnginfo=info)


def test_captions_are_titles_and_folders_and_what_says_nothing_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPEMBED_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "deb" / WITHIN
    drawn(root / "animals" / "horses" / "c_01.png", "Cavallo &amp; amico", 1)
    for number in range(11):  # a title of a collection: the file's name stands in its place
        drawn(root / "computer" / f"icon_{'abcdefghijk'[number]}.png", "Lemon SVG theme", 10 + number)
        drawn(root / "shapes" / f"star_{number}.png", "gramastar", 100 + number)  # eleven stars
    drawn(root / "special" / "large.png", "A tile", 2, (8192, 4097))  # one row more than is read
    (root / "animals" / "link.png").symlink_to(root / "animals" / "horses" / "c_01.png")
    said = []
    folder = clipart(tmp_path / "deb", said.append)
    rows = list(csv.DictReader((folder / "metadata.csv").read_text().splitlines()))
    assert {row["text"] for row in rows} == {
        "Cavallo & amico, animals horses", *(f"icon {letter}, computer" for letter in "abcdefghijk")
    }  # fmt: skip
    assert {row["label"] for row in rows} == {"animals", "computer"}
    assert said == ["12 pictures of 13 with a caption of their own, 1 too large or damaged"]
    with Image.open(folder / rows[0]["file_name"]) as picture:
        assert picture.size == (128, 64)
    assert read_pairs(str(folder)).table.num_rows == 12
    assert clipart(tmp_path / "deb") == folder  # found again


def test_no_clip_art_is_said_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPEMBED_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        UserError, match=r"expected Debian's clip art, found none; apt-get install openclipart-png"
    ):
        clipart(tmp_path)
