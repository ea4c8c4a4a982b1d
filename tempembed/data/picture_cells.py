"""Cells that are pictures: bytes, {bytes, path} as the Image feature of datasets has them, or the path of a file beside the data.

A picture goes to the store of the cache, and its name takes its place in the row (`inputs.picture_store`).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tempembed.data.bad_rows import BadRow
from tempembed.data.columns import Columns
from tempembed.inputs.picture_store import MARK, PictureStore, is_picture
from tempembed.inputs.pictures import MOST_BYTES, SUFFIXES, BadPicture
from tempembed.system.errors import UserError
from tempembed.system.wording import shown

TODO = "write bytes, {bytes, path}, or a path from the file's own folder"


class PictureCells:
    """Finds out which columns of a file are pictures, by the first cell of each, and gives their cells names.

    Args:
        folder: of the file, in which paths are looked up; None: of no file, paths are refused.
        store: takes the pictures; default that of the cache, opened once there is a picture.
    """

    def __init__(self, folder: Path | None, store: PictureStore | None = None) -> None:
        self._folder, self._store = folder, store
        self._is_picture: dict[str, bool] = {}

    def add(self, values: Mapping[str, Any], columns: Columns) -> Mapping[str, Any]:
        """The row with names in place of its pictures.

        Raises:
            BadRow: a picture that cannot be read, or a text among pictures.
        """
        if not self.look(values, columns):
            return values
        named = dict(values)
        for column in columns.embedded:
            cell = values.get(column)
            cells = cell if isinstance(cell, list) else [cell]
            if self._is_picture.get(column):
                names = [None if _is_absent(each) else self.name(each, column) for each in cells]
                named[column] = names if isinstance(cell, list) else names[0]
            elif any(isinstance(each, bytes) or _holds_bytes(each) for each in cells):
                raise _mixed(column, "text", "a picture")
        return named

    def look(self, values: Mapping[str, Any], columns: Columns) -> bool:
        """Whether a column has pictures, as far as this row and those before it say."""
        return any(
            [
                self.decide(column, values.get(column), must=column == columns.image)
                for column in columns.embedded
            ]
        )

    def decide(self, column: str, cell: Any, *, must: bool = False) -> bool:
        """Whether a column has pictures, as its first cell that holds something says, or its name."""
        if column not in self._is_picture:
            given = next(
                (each for each in (cell if isinstance(cell, list) else [cell]) if not _is_absent(each)), None
            )
            if given is None:
                return False
            self._is_picture[column] = must or self._looks_like_one(given)
        return self._is_picture[column]

    def flush(self) -> None:
        """Keep what was read."""
        if self._store:
            self._store.flush()

    def _looks_like_one(self, cell: Any) -> bool:
        if isinstance(cell, bytes) or _holds_bytes(cell):
            return True
        if not isinstance(cell, str) or not cell.lower().endswith(SUFFIXES) or self._folder is None:
            return False
        return not any(map(str.isspace, cell)) or os.path.exists(self._folder / cell)

    def name(self, cell: Any, column: str) -> str:
        """The name of a cell's picture, which is kept.

        Raises:
            BadRow: it cannot be read, or is none.
        """
        try:
            if isinstance(cell, bytes):
                content = cell
            elif _holds_bytes(cell):
                content = cell["bytes"]
                if content is None:
                    content = self._read(cell.get("path"), column)
            else:
                content = self._read(cell, column)
            if not isinstance(content, bytes):
                raise _mixed(column, "a picture", shown(cell))
            self._store = self._store or PictureStore()
            return self._store.name(content)
        except BadPicture as bad:
            raise BadRow(bad.reason, bad.expected, bad.found, bad.todo, column=column) from bad

    def _read(self, cell: Any, column: str) -> bytes:
        """The file at a path of a cell, which may not leave the folder of the data."""
        if not isinstance(cell, str) or not cell.lower().endswith(SUFFIXES):
            raise _mixed(column, "a picture", shown(cell))
        if self._folder is None:
            raise BadRow("wrong path", "a picture's bytes", shown(cell), TODO, column=column)
        try:
            path = (self._folder / cell).resolve()
            if not path.is_relative_to(self._folder.resolve()):
                raise BadRow(
                    "wrong path",
                    f"a path inside {self._folder}",
                    shown(cell),
                    "copy the picture there",
                    column=column,
                )
            if not path.is_file():
                raise BadRow(
                    "no picture", f"a picture in {self._folder}", f"{shown(cell)}, which is not there",
                    "check the path, or rename the column if it holds texts", column=column,
                )  # fmt: skip
            if (size := path.stat().st_size) > MOST_BYTES:
                raise BadPicture(
                    "picture too large", f"at most {MOST_BYTES:,} bytes", f"{size:,}", "save it smaller"
                )
            return path.read_bytes()
        except (OSError, ValueError, RuntimeError) as error:  # a NUL, links in a circle
            raise BadRow(
                "no picture", "a picture that can be read", str(error)[:200], "check it", column=column
            ) from error


def title_of_cell(cell: Any, row: int) -> str:
    """What a reader knows a cell's picture by: its path, or its row."""
    path = cell.get("path") if isinstance(cell, Mapping) else cell
    return path if isinstance(path, str) and path.strip() else f"row {row}"


def _is_absent(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _holds_bytes(cell: Any) -> bool:
    return isinstance(cell, Mapping) and "bytes" in cell


def _mixed(column: str, expected: str, found: str) -> BadRow:
    return BadRow("mixed column", f"{expected} in every row, as in the first", found, TODO, column=column)


def of_pictures(column: pa.ChunkedArray, what: str) -> bool:
    """Whether a column of pairs holds pictures.

    Raises:
        UserError: pictures and texts in one column.
    """
    named = pc.sum(pc.starts_with(column, MARK)).as_py() or 0
    total = len(column) - column.null_count
    if named and named < total:
        raise UserError(
            f"{what}: expected pictures only or texts only, got {named:,} pictures and {total - named:,} texts; split the data, or write "
            "one kind"
        )
    return bool(named)


def modalities(*columns: pa.ChunkedArray) -> tuple[str, ...]:
    """What columns of pairs hold, by the first row of each: image, text, or both."""
    return tuple(
        sorted({"image" if is_picture(column[0].as_py()) else "text" for column in columns if len(column)})
    )
