"""An extension of griffe, which reads the docstrings of the reference: examples with >>> become blocks of code."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class Fence(griffe.Extension):
    """Mkdocstrings makes one."""

    def on_object(self, *, obj: griffe.Object, **more: Any) -> None:
        """Fence the examples of a docstring."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
