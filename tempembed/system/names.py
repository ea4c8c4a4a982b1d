"""Names that become paths, ids and search filters: one rule, checked before anything is made of them."""

import re
from collections.abc import Sequence

from tempembed.system.errors import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MOST_SOURCES = 32


def check_name(name: str, what: str) -> str:
    """Return the name if it can be one part of a path: no dot at its start, no separator, no quote.

    Args:
        name: the name of a run, a trial, a sweep, an alias or a registered model.
        what: what it names, for the message.

    Raises:
        UserError: it cannot be.

    >>> check_name("tempaggmrl-seed0", "trial")
    'tempaggmrl-seed0'
    """
    if not NAME.fullmatch(name):
        raise UserError(
            f"{what} {name[:60]!r}: expected a name of letters, digits, dot, dash and underscore that begins with a letter or "
            "digit, at most 128; choose another"
        )
    return name


def file_name(text: str) -> str:
    """Make a name of any text: dashes for what does not fit, `unnamed` where nothing is left.

    >>> file_name("../all MiniLM/L6"), file_name("..")
    ('all-MiniLM-L6', 'unnamed')
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".-_")[:128] or "unnamed"


def metric_names(names: Sequence[str]) -> list[str]:
    """Names of files as the last part of a metric's: without the suffix where that tells all apart, dashes for what trackers refuse.

    >>> metric_names(["a/x.parquet", "b/x.jsonl.gz", "c/y z.csv"])
    ['a-x', 'b-x', 'c-y-z']
    """
    short = [
        re.sub(r"[^A-Za-z0-9._-]+", "-", re.sub(r"\.\w+(\.gz)?$", "", name)).strip("-") for name in names
    ]
    if len(set(short)) == len(names) and all(short):
        return short
    return [f"{number}-{file_name(name)}" for number, name in enumerate(names)]


def source_metrics(names: Sequence[str]) -> list[str]:
    """`metric_names` of sources that have a loss and a score each; none of one, or of more than anybody would read the curves of."""
    return metric_names(names) if 1 < len(names) <= MOST_SOURCES else []
