"""Which files of a folder are for training and which for a test, by the names that `datasets` knows."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeVar

from tempembed.system.errors import UserError
from tempembed.system.wording import quoted

Split = Literal["train", "dev", "test"]
"""What data is read for: training, choosing or a test."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_KEYWORDS = {
    TRAIN: ("train", "training"),
    VALIDATION: ("validation", "valid", "dev", "val"),
    TEST: ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF = {keyword: split for split, keywords in _KEYWORDS.items() for keyword in keywords}
_KEYWORD = re.compile(rf"(?:^|[-._ 0-9/])({'|'.join(_SPLIT_OF)})(?=[-._ 0-9/]|$)", re.IGNORECASE)

Part = TypeVar("Part")


def split_of(name: str) -> str | None:
    """The split that a file or folder is named after, by the first such word in its name, or None.

    >>> split_of("train-00000-of-00002.parquet"), split_of("my_dev.jsonl"), split_of("latest.jsonl")
    ('train', 'validation', None)
    """
    found = _KEYWORD.search(name)
    return _SPLIT_OF[found[1].lower()] if found else None


def parts_for(
    wanted: Split,
    parts: Sequence[tuple[str, Part]],
    place: str,
    say: Callable[[str], None],
) -> list[Part]:
    """The parts of a folder to read for training, for choosing or for a test, by their names; all if no name says a split.

    Training takes what is named train, else what has no such name. Choosing takes validation. A test takes test, else
    validation, else all.

    Raises:
        UserError: training is wanted, and all parts are for tests; choosing is wanted, and none is for it.
    """
    splits = [split_of(name) for name, _ in parts]
    if not any(splits):
        return [part for _, part in parts]
    orders: dict[Split, tuple[str | None, ...]] = {
        "train": (TRAIN, None), "dev": (VALIDATION,), "test": (TEST, VALIDATION),
    }  # fmt: skip
    order = orders[wanted]
    chosen = next((split for split in order if split in splits), "none")
    if chosen == "none" and wanted == "train":
        raise UserError(
            f"{place}: expected data for training, got only {_named(set(splits))} files "
            f"({quoted(name for name, _ in parts)}): add train files, or name the one file that is meant"
        )
    if chosen == "none" and wanted == "dev":
        raise UserError(
            f"{place}: expected validation files for --dev-data, got only {_named(set(splits))} files "
            f"({quoted(name for name, _ in parts)}): name the one file that is meant, or let --dev-hold-out keep a share of --data"
        )
    if chosen == "none":
        say(f"{place}: no test or validation files: all are read ({_names(parts)})")
        return [part for _, part in parts]
    read = [part for part, split in zip(parts, splits, strict=True) if split == chosen]
    left = [part for part, split in zip(parts, splits, strict=True) if split != chosen]
    what = f"the {chosen} files" if chosen else "the files that are named after no split"
    say(f"{place}: reads {what} ({_names(read)})" + (f" and leaves out {_names(left)}" if left else ""))
    return [part for _, part in read]


def _named(splits: Iterable[str | None]) -> str:
    return " and ".join(sorted(split for split in splits if split))


def _names(parts: Sequence[tuple[str, Part]]) -> str:
    return quoted(name for name, _ in parts)
