"""Files of object stores and of the hub (s3://, gs://, hf://), copied to the cache once, and again when they change."""

import json
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import fs

from tempembed.system.atomic import write_json
from tempembed.system.cache import cache_dir
from tempembed.system.console import Progress
from tempembed.system.disk import room_for
from tempembed.system.errors import UserError
from tempembed.system.wording import first_line

REMOTE = re.compile(r"(s3|gs|gcs|hf)://")
STAMP = ".stamp.json"
"""Size and date of each file when it was copied."""
BYTES = 2**23
_PLAIN = re.compile(r"[\w.-]+")


def is_remote(place: str) -> bool:
    """Whether a place is on another machine.

    >>> is_remote("s3://bucket/pairs.parquet"), is_remote("org/name")
    (True, False)
    """
    return bool(REMOTE.match(place))


def local_copy(place: str, say: Callable[[str], None] = lambda _: None) -> str:
    """The path of a file or folder in the cache; a place that is here as it is.

    Files whose size and date are those of the copy are not copied again. Credentials, region and endpoint are those that
    Arrow and the hub's client find: AWS_ACCESS_KEY_ID and so on, or s3://bucket/path?region=...&endpoint_override=...

    Raises:
        UserError: nothing there, no permission, or a server that does not answer.
        DiskFullError: files that are whole stay.
    """
    if not is_remote(place):
        return place
    try:
        system, path = _file_system(place)
        found = system.get_file_info(path)
        files = [found]
        if found.type == fs.FileType.Directory:
            files = [
                each for each in system.get_file_info(fs.FileSelector(path, recursive=True)) if each.is_file
            ]
    except (OSError, pa.ArrowException, ValueError, ImportError) as error:
        raise _unreadable(place, error) from error
    if found.type == fs.FileType.NotFound or not files:
        raise UserError(
            f"{place}: expected a file or a folder with files, found none; check the name, and the region of the bucket"
        )
    target = cache_dir() / "remote" / _named(place)
    target.mkdir(parents=True, exist_ok=True)
    stamps = _stamps(target)
    names = {each.path: _inside(path, each.path) for each in files}
    stale = [
        each
        for each in files
        if stamps.get(names[each.path]) != _stamp(each) or not (target / names[each.path]).exists()
    ]
    _forget(target, keep=set(names.values()))
    progress = Progress("copied", "bytes", sum(each.size for each in stale), say)
    with room_for(f"a copy of {place}", target, sum(each.size for each in stale)):
        for each in stale:
            try:
                _copy(system, each.path, target / names[each.path], progress)
            except (pa.ArrowException, OSError) as error:
                if getattr(error, "errno", None):
                    raise
                raise _unreadable(place, error) from error
            stamps[names[each.path]] = _stamp(each)
            write_json(target / STAMP, {name: stamps[name] for name in names.values() if name in stamps})
    progress.close()
    return str(target / names[path] if found.is_file else target)


def _file_system(place: str) -> tuple[fs.FileSystem, str]:
    if place.startswith("hf://"):
        from huggingface_hub import HfFileSystem

        return fs.PyFileSystem(fs.FSSpecHandler(HfFileSystem())), place.removeprefix("hf://").rstrip("/")
    system, path = fs.FileSystem.from_uri(place)
    return system, path.rstrip("/")


def _named(place: str) -> str:
    """A folder that tells a user what it is a copy of."""
    scheme, rest = place.split("://", 1)
    return "/".join(part for part in (scheme, *_PLAIN.findall(rest)) if part not in (".", ".."))


def _inside(folder: str, path: str) -> str:
    """The path of a file below a folder, or its name."""
    relative = (
        PurePosixPath(path).relative_to(folder) if path != folder else PurePosixPath(PurePosixPath(path).name)
    )
    if ".." in relative.parts or str(relative) == STAMP:
        raise UserError(f"{path}: expected a plain name; rename it")
    return str(relative)


def _stamp(found: fs.FileInfo) -> list[Any]:
    return [found.size, found.mtime_ns]


def _stamps(target: Path) -> dict[str, Any]:
    try:
        found = json.loads((target / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _forget(target: Path, keep: set[str]) -> None:
    """Remove copies of what is no longer there: a folder is read whole."""
    for path in target.rglob("*"):
        if path.is_file() and path.name != STAMP and str(path.relative_to(target)) not in keep:
            path.unlink()


def _copy(system: fs.FileSystem, path: str, target: Path, progress: Progress) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".partial-", delete=False) as file:
        try:
            with system.open_input_stream(path, buffer_size=BYTES) as stream:
                while content := stream.read(BYTES):
                    file.write(content)
                    progress.add(len(content))
            file.close()
            shutil.move(file.name, target)
        finally:
            Path(file.name).unlink(missing_ok=True)


def _unreadable(place: str, error: BaseException) -> UserError:
    return UserError(
        f"{place}: expected to read it, and could not ({first_line(error)[:300]}); check the name, the credentials (AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION; GOOGLE_APPLICATION_CREDENTIALS; HF_TOKEN) and the network"
    )
