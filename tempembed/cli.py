"""The command line without Ray: train, evaluate, check and plan on this machine."""

import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

import tyro

from tempembed.commands.codecs import Codecs, codecs_command
from tempembed.commands.compare import Compare, compare_command
from tempembed.commands.evaluate import Evaluate, evaluate_command
from tempembed.commands.export import Export, export_command
from tempembed.commands.plan import Plan, plan_command
from tempembed.commands.recommend import Recommend, recommend_command
from tempembed.commands.search import Search, search_command
from tempembed.commands.selfcheck import SelfCheck, selfcheck_command
from tempembed.commands.train import Train, train_command
from tempembed.system.console import run

COMMANDS: dict[str, tuple[type, Callable[[Any], None]]] = {
    "train": (Train, train_command),
    "evaluate": (Evaluate, evaluate_command),
    "codecs": (Codecs, codecs_command),
    "compare": (Compare, compare_command),
    "selfcheck": (SelfCheck, selfcheck_command),
    "plan": (Plan, plan_command),
    "recommend": (Recommend, recommend_command),
    "export": (Export, export_command),
    "search": (Search, search_command),
}


def main() -> None:
    """Entry point of `tempembed`."""
    union: Any = None
    for name, (settings, _) in COMMANDS.items():
        member: Any = Annotated[settings, tyro.conf.subcommand(name)]
        union = member if union is None else union | member

    # to end as Ctrl-C does: what is half written goes
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))

    def parse_and_run() -> None:
        command = tyro.cli(union, prog="tempembed", description=__doc__, config=(tyro.conf.OmitArgPrefixes,))
        dict(COMMANDS.values())[type(command)](command)

    run(parse_and_run)


if __name__ == "__main__":
    main()
