"""What makes two runs unlike, in words."""

from collections.abc import Mapping
from typing import Any

_SHOWN = {
    "terms": "objective",
    "data": "content of --data",
    "encoder": "content of --encoder",
    "shares": "weights of --data",
    "dev": "content of --dev-data",
}
"""How a difference is called where it is not that of the setting of the same name."""


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What makes two identities unlike, for a person; empty where they are alike. What only one of them tells is no difference."""
    unlike = sorted(name for name in there.keys() & here.keys() if there[name] != here[name])
    return "; ".join(
        f"{_SHOWN.get(name, name)}: {_shown(there[name])} there, {_shown(here[name])} here" for name in unlike
    )


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else repr(value)
