"""Names that become paths, ids and search filters: one rule, checked before anything is made of them."""

import re

from tempembed.system.errors import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


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
