"""Pages from the templates beside this file: everything that is filled in is escaped, but for pictures (`Markup`)."""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("tempembed.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    )  # fmt: skip


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill a template in and write the page.

    Args:
        path: the file.
        template: a name in `templates/`, without its ending.
        values: what the template asks for; a value that it lacks is an error.
    """
    path.write_text(render(template, **values), encoding="utf-8")


def render(template: str, **values: Any) -> str:
    """A template in `templates/` (without its ending), filled in."""
    return _environment().get_template(f"{template}.html").render(**values)
