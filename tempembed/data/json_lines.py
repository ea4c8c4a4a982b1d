"""JSON Lines: one object a line."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tempembed.data.bad_rows import BadRow
from tempembed.data.bounds import LINE_BYTES, cut_lines, open_bytes
from tempembed.data.encoding import BOM, latin1_hint
from tempembed.system.errors import UserError
from tempembed.system.wording import quoted, shown


def json_records(path: Path, *, kept: bool) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """The object of each line that is not blank, or what is wrong with it, with the number of the line.

    Raises:
        UserError: a JSON array.
    """
    is_first, may_be_array = True, ".json" in path.suffixes[-2:]
    for line, content in byte_lines(path, kept=kept):
        if isinstance(content, BadRow):
            yield line, content
        else:
            is_array = content.lstrip().startswith(b"[") if may_be_array else content.strip() == b"["
            if is_first and is_array:
                raise UserError(
                    f"{path}: expected one JSON object per line, got a JSON array: write JSON Lines, for one "
                    f"with pandas.read_json(path).to_json('pairs.jsonl', orient='records', lines=True)"
                )
            try:
                yield line, _object(content)
            except BadRow as bad:
                yield line, bad
        is_first = False


def byte_lines(path: Path, *, kept: bool) -> Iterator[tuple[int, bytes | BadRow]]:
    """The lines that are not blank, with their numbers; one that is too long is a bad row."""
    with open_bytes(path, kept=kept) as file:
        for line, content in enumerate(cut_lines(file), start=1):
            content = content.removeprefix(BOM) if line == 1 else content
            if len(content) > LINE_BYTES:
                yield line, BadRow(
                    "line that is too long", f"lines of at most {LINE_BYTES:,} bytes", "a longer one",
                    "put one row on a line, or cut its texts",
                )  # fmt: skip
            elif content.strip():
                yield line, content


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(members)
    if len(values) < len(members):
        repeated = [name for name, count in Counter(name for name, _ in members).items() if count > 1]
        raise BadRow(
            "doubled name", "each name once in an object", f"{quoted(repeated)} more than once", "rename one"
        )
    return values


_JSON = json.JSONDecoder(object_pairs_hook=_unique)  # made once: json.loads with a hook makes one per line


def _object(line: bytes) -> dict[str, Any]:
    """The object of a line of JSON Lines, each name in it once; `BadRow` if the line is anything else."""
    try:
        value = _JSON.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        byte = line[error.start]
        found = f"byte 0x{byte:02x} at byte {error.start + 1} of the line"
        todo = f"save the file as UTF-8{latin1_hint(byte)}"
        raise BadRow("invalid UTF-8", "UTF-8", found, todo) from error
    except (ValueError, RecursionError) as error:
        cut = "" if line.endswith(b"\n") else " (the last line; the file may be cut off)"
        # Not str(error) of a JSONDecodeError: its "line 1" would be taken for a line of the file.
        why = (
            f"{error.msg} at character {error.pos + 1}"
            if isinstance(error, json.JSONDecodeError)
            else str(error)
        )
        found = f"{shown(line.decode().strip())}{cut}, {why}"
        raise BadRow("line that is not JSON", "one JSON object per line", found, "write it again") from error
    if not isinstance(value, dict):
        raise BadRow("line that is not an object", "one JSON object per line", shown(value), "write it again")
    return value
