"""Search objectives: each trial is a Ray Train run, measured in full and at byte budgets, tracked in MLflow, compared in a report.

ray job submit -- python -m ray_jobs.tune --output /shared/sweep --objectives infonce:0.06 tempaggmrl

ray job submit -- python -m ray_jobs.tune --output /shared/search --search tpe --num-trials 30 --early-stop

ray job submit -- python -m ray_jobs.tune --resume /shared/search --num-trials 50

A sweep is identified by its settings and its folder: run the same command again to resume, however the last one ended. It may be
given more trials, objectives and seeds.
"""

import dataclasses
import sys
from collections.abc import Sequence
from functools import partial

import tyro

from ray_jobs.resume import check_resumed, folder_of, restored_sweep
from ray_jobs.sweep import Sweep
from tempembed.settings.config import with_file
from tempembed.settings.places import with_places
from tempembed.system.console import run
from tempembed.system.errors import UserError
from tempembed.tuning.ledger import Ledger


def main() -> None:
    """Entry point. What drives is imported here, because each subprocess of a driver imports this file again."""
    sweep = parsed()
    from ray_jobs.sweep_driver import sweep_trials

    sweep_trials(sweep)


def parsed(arguments: Sequence[str] | None = None) -> Sweep:
    """The sweep of a command line; with `--resume`, that of the folder, and what flags beside it change of it.

    Raises:
        UserError: the flags ask for another sweep.
    """
    parse = partial(
        tyro.cli,
        Sweep,
        prog="python -m ray_jobs.tune",
        description=__doc__,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    sweep = parse(**with_file(Sweep, sys.argv[1:] if arguments is None else arguments))
    if sweep.resume and sweep.config:
        raise UserError(
            "--config: expected none beside --resume, whose folder has the settings; leave one out"
        )
    if sweep.resume:
        folder = folder_of(sweep.resume)
        stored = restored_sweep((Ledger(folder).settings() or {}).get("settings", {}), sweep)
        sweep = dataclasses.replace(parse(default=stored), output=str(folder))
        check_resumed(sweep, stored)
    return with_places(sweep)


if __name__ == "__main__":
    run(main)
