"""The sweeps that ran a preset, read from their folders and checked to be paired."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tempembed.evaluation.report_files import REPORT, load_evaluation
from tempembed.reproduction.presets import Entry, Preset
from tempembed.reproduction.results import Group, Results, Run
from tempembed.system.errors import UserError
from tempembed.system.untrusted import read_json
from tempembed.tuning.trial import Trial, trial_of

TRIALS = "trials.json"


def load_results(folders: Sequence[Path], preset: Preset) -> Results:
    """Read the sweeps that ran a preset; together they hold its trials.

    Args:
        folders: each with trials.json and trials/NAME/.
        preset: what was run.

    Raises:
        UserError: a sweep or a trial that is missing or damaged, no trial that ended well, or trials that were measured
            on different data and cannot be paired.
    """
    there = {
        trial.name: (folder / "trials" / trial.name, trial)
        for folder in folders
        for trial in _trials(folder / TRIALS)
    }
    wanted = {entry.name(seed): (entry, seed) for entry in preset.entries for seed in preset.seeds}
    places = " ".join(map(str, folders))
    if missing := [name for name in wanted if name not in there]:
        raise UserError(
            f"{places}: expected all {len(wanted)} trials of the preset {preset.name}, {len(missing)} are missing, the first is "
            f"{missing[0]}; run it to its end"
        )
    groups: dict[Entry, list[Run]] = {}
    failed = []
    for name, (entry, seed) in wanted.items():
        folder, trial = there[name]
        if not trial.is_finished:
            failed.append(trial)
            continue
        evaluation = load_evaluation(folder / REPORT)
        run = Run(entry=entry, seed=seed, trial=trial, evaluation=evaluation, folder=folder)
        groups.setdefault(entry, []).append(run)
    if not groups:
        raise UserError(f"{places}: expected at least one trial that ended well, all {len(failed)} failed")
    found = Results(
        preset=preset,
        groups=tuple(Group(entry=entry, runs=tuple(runs)) for entry, runs in groups.items()),
        failed=tuple(failed),
    )
    _check_paired(found)
    return found


def _trials(path: Path) -> list[Trial]:
    try:
        rows = read_json(path)
    except UserError as error:
        raise UserError(
            f"{path}: expected the trials of a sweep and could not read them ({error}); run the sweep to its end"
        ) from error

    def refused(why: Any) -> UserError:
        return UserError(
            f"{path}: expected a list of trials, each with its name, status and terms, got something else ({why}); run the sweep "
            "to its end"
        )

    if not isinstance(rows, list):
        raise refused(f"a {type(rows).__name__}")
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(trial_of(row))
        except ValueError as error:
            raise refused(f"trial {number}: {error}") from error
    return found


def _check_paired(results: Results) -> None:
    first: dict[str, tuple[str, str, int]] = {}
    for run in (run for group in results.groups for run in group.runs):
        name, num = run.entry.name(run.seed), len(next(iter(run.evaluation.replicates.values()), ()))
        for task, facts in run.report.data.tasks.items():
            known, print_, count = first.setdefault(task, (name, facts.fingerprint, num))
            if (print_, count) != (facts.fingerprint, num):
                raise UserError(
                    f"task {task}: expected the same queries, documents and answers, and as many resamples, in all "
                    f"trials, got fingerprints {print_} ({known}, {count}) and {facts.fingerprint} ({name}, {num}); "
                    "measure all on the same data"
                )
