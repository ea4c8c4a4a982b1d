"""Debian's clip art as pictures with captions: a folder of small PNG files and a metadata.csv, as a user has one.

    apt-get download openclipart-png && dpkg-deb -x openclipart-png_*.deb clipart
    python -m benchmarks.clipart clipart       # prints the folder, which it makes if it is not there
    ray_jobs.reproduce --preset pictures --data FOLDER --hold-out 0.2

A caption is what a file says of itself, its title, and the folders that it lies in: "Cavallo, animals mammals horses". Where the title is
that of a collection, the words of the file's name stand in its place. A caption that more than ten pictures have asks for nothing, so they
are left out: 1,375 stars, for one. The folder at the top is the label.
"""

import argparse
import csv
import html
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tempembed.inputs.pictures import BadPicture, decoded
from tempembed.system.cache import cache_dir
from tempembed.system.errors import UserError

INSTALLED = Path("/usr/share/openclipart/png")
"""Where the package puts its files."""
WITHIN = "usr/share/openclipart/png"
MOST_ALIKE = 10
"""Pictures that a title, or a caption, may have."""
SIDE = 128
"""Pixels of the longer side, at most."""
FORMAT = 1
METADATA = "metadata.csv"
HEAD = ("file_name", "text", "label")


def main() -> None:
    """Print the path."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("unpacked", type=Path, nargs="?", help="the package's files, if it is not installed")
    print(clipart(parser.parse_args().unpacked, print))


def clipart(unpacked: Path | None = None, say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder, in the cache.

    Args:
        unpacked: folder that `dpkg-deb -x` filled; default: where the package is installed.
        say: takes lines.

    Raises:
        UserError: no clip art is there.
    """
    root = unpacked / WITHIN if unpacked else INSTALLED
    folder = cache_dir() / "benchmarks" / f"clipart-{FORMAT}"
    if folder.exists():
        return folder
    files = sorted(path for path in root.glob("**/*.png") if not path.is_symlink())
    if not files:
        raise UserError(
            f"{root}: expected Debian's clip art, found none; apt-get install openclipart-png, or apt-get download it, unpack it with "
            "dpkg-deb -x, and give the folder"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
        write(captions(files, root), root, Path(partial) / "all", say)
        (Path(partial) / "all").rename(folder)
    return folder


def captions(files: Sequence[Path], root: Path) -> dict[Path, str]:
    """What is asked for each picture, without those whose caption says nothing."""
    titles = {path: title(path) for path in files}
    common = Counter(titles.values())
    found = {}
    for path, own in titles.items():
        is_its_own = common[own] <= MOST_ALIKE and not own.startswith("Part of")
        name = own if is_its_own and words(own) else " ".join(words(path.stem))
        folders = " ".join(words(str(path.parent.relative_to(root))))
        if words(name):
            found[path] = f"{name}, {folders}"
    common = Counter(found.values())
    return {path: caption for path, caption in found.items() if common[caption] <= MOST_ALIKE}


def title(path: Path) -> str:
    """The title in a file, empty without one; nothing is decoded for it."""
    content = path.read_bytes()
    found = re.search(
        rb"tEXtTitle\0(.*?).{8}(?:tEXt|IDAT|IEND|zTXt|pHYs|PLTE|tRNS|bKGD)", content[:8192], re.DOTALL
    )
    return html.unescape(found[1].decode("latin-1")).strip() if found else ""


def words(text: str) -> list[str]:
    """Runs of letters, in small letters.

    >>> words("folder_sent-mail2")
    ['folder', 'sent', 'mail']
    """
    return re.findall(r"[^\W\d_]+", text.lower())


def write(found: dict[Path, str], root: Path, folder: Path, say: Callable[[str], None]) -> None:
    """The pictures, made small, and the metadata; a picture that is none, or is too large, is left out."""
    folder.mkdir()
    rows, bad = [HEAD], 0
    for number, (path, caption) in enumerate(found.items()):
        try:
            picture = decoded(path.read_bytes())
        except BadPicture:
            bad += 1
            continue
        picture.thumbnail((SIDE, SIDE))
        picture.save(folder / f"{number:04}.png")
        rows.append((f"{number:04}.png", caption, path.relative_to(root).parts[0]))
    with (folder / METADATA).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    say(
        f"{len(rows) - 1:,} pictures of {len(found):,} with a caption of their own, {bad} too large or damaged"
    )


if __name__ == "__main__":
    main()
