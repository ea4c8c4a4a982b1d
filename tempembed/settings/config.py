"""Settings in a file: `--config run.yaml`, whose names are those of the flags with underscores. Flags win over it.

learning_rate: 1.0e-4
data: [a.parquet:2, b.jsonl:1]
"""

import dataclasses
import difflib
import itertools
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tempembed.settings.flat import changed, flat, names
from tempembed.system.errors import UserError
from tempembed.system.typed import adapter
from tempembed.system.untrusted import require_file
from tempembed.system.wording import first_line, shown

FILE = "run.yaml"
"""What every run leaves of its settings in its folder."""
MOST_BYTES = 2**20
Command = TypeVar("Command")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configured:
    """A command whose flags may stand in a file."""

    config: str | None = None
    """A YAML file with settings, by the names of the flags with underscores, such as run.yaml of an earlier run. Flags win."""


def read_config(path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a file, by name.

    Args:
        path: YAML: an object whose values are texts, numbers, true, false, null, or lists of them.
        known: the type of each setting there is.

    Raises:
        UserError: no such file, no YAML, a setting that there is none of (with the nearest there is), or a value of another type.
    """
    import yaml

    if require_file(path).stat().st_size > MOST_BYTES:
        raise UserError(f"{path}: expected settings in YAML, got a file above 1 MiB: check the path")
    try:
        values = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:200] or first_line(error)
        raise UserError(f"{path}: expected settings in YAML, could not read it ({why}): mend it") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected lines like batch_size: 512, got {shown(values)}")
    return {str(name): _value(path, str(name), value, known) for name, value in values.items()}


def _value(path: Path, name: str, value: Any, known: Mapping[str, Any]) -> Any:
    """The value of a setting, checked."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise UserError(f"{path}: there is no setting {name!r}; the nearest is {near[0]!r}")
    kind = known[name]
    takes = {kind, *typing.get_args(kind)}
    if isinstance(value, list):
        value = tuple(value)
    elif value is not None and _is_several(kind):
        value = (value,)
    elif isinstance(value, str) and float in takes and str not in takes:
        value = _number(value)  # YAML reads 1e-5, which has no point, as text
    elif value is None and _is_several(kind):
        value = ()
    try:
        return adapter(kind).validate_python(value, strict=True)
    except ValueError:  # pydantic's
        raise UserError(
            f"{path}: expected {name} to be {_title(kind)}, got {shown(list(value) if isinstance(value, tuple) else value)}"
        ) from None


def _is_several(kind: Any) -> bool:
    return typing.get_origin(kind) is tuple


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _title(kind: Any) -> str:
    """A type in words.

    >>> _title(int | None), _title(tuple[str, ...])
    ('a whole number or null', 'a list of texts')
    """
    if options := [option for option in typing.get_args(kind) if typing.get_origin(kind) is typing.Literal]:
        return "one of " + ", ".join(map(str, options))
    if _is_several(kind):
        return "a list of " + {"int": "whole numbers", "float": "numbers"}.get(
            typing.get_args(kind)[0].__name__, "texts"
        )
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
        type(None): "null",
    }
    parts = typing.get_args(kind) or (kind,)
    return " or ".join(words.get(part) or _title(part) for part in parts)


def with_file(kind: type, arguments: Sequence[str]) -> dict[str, Any]:
    """What `tyro.cli` is to be told of the `--config` on a command line, if there is one: the default."""
    found = configured(kind, arguments)
    return {} if found is None else {"default": found}


def configured(kind: type[Command], arguments: Sequence[str]) -> Command | None:
    """A command with the settings of its `--config`; None where it has none.

    Args:
        kind: the command's class; what it requires and the file lacks is `tyro.MISSING`.
        arguments: its command line.

    Raises:
        UserError: as `read_config`; or values out of their range.
    """
    path = _given(arguments)
    if path is None:
        return None
    import tyro

    required = {
        field.name: tyro.MISSING
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    known = {name: hint for name, hint in names(kind).items() if name != "config"}
    values = read_config(Path(path).expanduser(), known)
    try:
        return changed(kind(**required), **values, config=path)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _given(arguments: Sequence[str]) -> str | None:
    found = None
    for argument, following in itertools.pairwise([*arguments, ""]):
        if argument == "--":
            break
        if argument == "--config":
            found = following or None
        elif argument.startswith("--config="):
            found = argument.partition("=")[2]
    return found


def write_config(path: Path, settings: Any, note: str = "", without: Sequence[str] = ()) -> None:
    """Write settings as `--config` reads them, in groups.

    Args:
        path: the file.
        settings: a dataclass, of groups of settings or of settings.
        note: the first line.
        without: names that are left out.
    """
    own = {name: value for name, value in flat(settings).items() if name not in without}
    lines = [f"# {note}"] if note else []
    for title, group in _groups(settings):
        inside = [name for name in flat(group) if name in own]
        lines += ["", f"# {title}", *(_line(name, own.pop(name)) for name in inside)]
    lines += ["", *(_line(name, value) for name, value in own.items())] if own else []
    path.write_text("\n".join(lines).lstrip("\n") + "\n", encoding="utf-8")


def _groups(settings: Any) -> list[tuple[str, Any]]:
    """The groups of settings, with their titles."""
    groups = [getattr(settings, field.name) for field in dataclasses.fields(settings)]
    return [(_title_of(group), group) for group in groups if dataclasses.is_dataclass(group)]


def _title_of(group: Any) -> str:
    return (type(group).__doc__ or "").strip().partition("\n")[0].rstrip(".")


def _line(name: str, value: Any) -> str:
    import yaml

    return yaml.safe_dump({name: value}, default_flow_style=False, allow_unicode=True, width=2**30).rstrip(
        "\n"
    )
