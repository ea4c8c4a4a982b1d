"""Names that become paths, ids and search filters: one rule, checked before anything is made of them."""

import re

from tempembed.system.errors import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_name(name: str, what: str) -> str:
    """The name, if it can stand as one part of a path: it does not begin with a dot and holds no separator or quote.

    Args:
        name: of a run, a trial, a sweep, an alias, a registered model.
        what: how the error calls it.

    Raises:
        UserError: it cannot.

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
    """Any text as a name, what does not fit replaced by dashes; `unnamed` where nothing is left.

    >>> file_name("../all MiniLM/L6"), file_name("..")
    ('all-MiniLM-L6', 'unnamed')
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".-_")[:128] or "unnamed"
