"""The flags of every command with their defaults, as `--help` shows them: they are a promise to users' scripts.

python -m tests.flags > tests/flags.json      # after a change that is meant
"""

import contextlib
import io
import json
import os
import re
import sys
from importlib import import_module

COMMANDS = [
    *(("tempembed.cli", name) for name in
      ("train", "evaluate", "codecs", "compare", "selfcheck", "plan", "recommend", "export", "search", "mine", "pretrain", "encode")),
    *((f"ray_jobs.{name}", "") for name in ("train", "pretrain", "tune", "reproduce", "demo", "prepare", "encode", "mine")),
]  # fmt: skip
FLAG = re.compile(r"^(?:[│|]| ) (--[a-z][a-z0-9-]*|-[a-z], --[a-z][a-z0-9-]*)", re.M)
DEFAULT = re.compile(r"\((default:[^()]*(?:\([^()]*\)[^()]*)*|required|repeatable)\)")


def flags(module: str, subcommand: str) -> dict[str, str]:
    """Each flag of a command and what its help says of its default."""
    os.environ["COLUMNS"] = "80"  # one column
    said, arguments = io.StringIO(), sys.argv
    sys.argv = [module, *filter(None, [subcommand]), "--help"]
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            import_module(module).main()
    finally:
        sys.argv = arguments
    text = re.sub(r"\x1b\[[0-9;]*m", "", said.getvalue())
    found = list(FLAG.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    shown = {}
    for match, end in zip(found, ends, strict=True):
        words = re.sub(r"[│|\s]+", " ", text[match.end() : end])
        default = DEFAULT.search(words)
        shown[match[1].split(",")[-1].strip()] = default[1].strip() if default else ""
    return shown


def all_flags() -> dict[str, dict[str, str]]:
    """Those of every command, by its name."""
    return {f"{module} {name}".strip(): flags(module, name) for module, name in COMMANDS}


if __name__ == "__main__":
    print(json.dumps(all_flags(), indent=1, sort_keys=True))
