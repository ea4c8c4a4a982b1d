"""The command line without Ray: train, evaluate, check and plan on this machine."""

import dataclasses
import importlib
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from tempembed.system.console import quietly, run

COMMANDS = {
    "train": ("Train", "Train an encoder on pairs and save it as a sentence-transformers model."),
    "evaluate": ("Evaluate", "Measure a model: every task under every codec, with intervals, and its geometry."),
    "codecs": ("Codecs", "Which codec for N bytes a vector? Measures them all on a model and recommends one for --bytes."),
    "compare": ("Compare", "Compare measured models: paired differences to the first, and what geometry predicts of retention."),
    "selfcheck": ("SelfCheck", "Check the objective engine on this machine, in under a minute; exit with 1 if a promise does not hold."),
    "pretrain": ("Pretrain", "Pre-train an encoder on raw text by masked language modelling: stage 1; `tempembed train` is stage 2."),
    "plan": ("Plan", "Predict what a training step would cost, on this machine, in four ways, and recommend one; or what a corpus costs."),
    "recommend": ("Recommend", "Which registered model and codec for N bytes a vector, what is lost, and what comes next."),
    "mine": ("Mine", "Find hard negatives for pairs: documents that a model ranks high for a query and that are no answers of it."),
    "export": ("Export", "Hand a model over as a folder that plain sentence-transformers loads, with its codec, a model card and an example."),
    "encode": ("Encode", "Encode a corpus: a model and a codec over any number of documents, into shards of (id, code, scale ...)."),
    "search": ("Search", "Search in a file of texts with an exported model; the index is compressed by the model's codec."),
}  # fmt: skip
"""Name of each command to its settings in `tempembed/commands/<name>.py`, and their first line.

Only the command that is asked for is imported: its settings, and with them torch, take seconds.
"""


def settings_of(name: str) -> type:
    """The class of a command's settings."""
    return getattr(importlib.import_module(f"tempembed.commands.{name}"), COMMANDS[name][0])


def main() -> None:
    """Entry point of `tempembed`."""
    # to end as Ctrl-C does: what is half written goes
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))

    def parse_and_run() -> None:
        asked = next((argument for argument in sys.argv[1:] if argument in COMMANDS), None)
        union: Any = None
        for name, (title, line) in COMMANDS.items():
            settings, options = _stand_in(title, line), dict[str, Any]()
            if name == asked:
                settings = settings_of(name)
                options = from_file(settings, sys.argv[1:])
            member: Any = Annotated[settings, tyro.conf.subcommand(name, **options)]
            union = member if union is None else union | member
        command = tyro.cli(union, prog="tempembed", description=__doc__, config=(tyro.conf.OmitArgPrefixes,))
        module = importlib.import_module(type(command).__module__)
        with quietly(getattr(command, "quiet", False)):
            getattr(module, f"{asked}_command")(command)

    run(parse_and_run)


def from_file(settings: type, arguments: Sequence[str]) -> dict[str, Any]:
    """A command with the settings of its --config, as its default; nothing where none is given."""
    if not any(argument.startswith("--config") for argument in arguments):
        return {}
    from tempembed.settings.config import Configured, with_file

    return with_file(settings, arguments) if issubclass(settings, Configured) else {}


def _stand_in(title: str, line: str) -> type:
    """What stands in the list of commands for one that was not asked for."""
    return dataclasses.make_dataclass(title, [], namespace={"__doc__": line})


if __name__ == "__main__":
    main()
