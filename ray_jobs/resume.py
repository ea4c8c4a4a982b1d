"""Which sweep a folder holds, and whether one that is asked for is the same: it may then be resumed, perhaps with more trials."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray_jobs.prepared import PreparedData
from ray_jobs.sweep import Sweep
from tempembed.run.identity import differences
from tempembed.settings.flat import changed, flag, restored
from tempembed.settings.loss import LossSettings
from tempembed.settings.train import TrainSettings
from tempembed.stages.identity import Facts, restored_settings, run_identity, settings_identity
from tempembed.system.errors import UserError
from tempembed.tuning.ledger import Ledger


def restored_sweep(stored: Mapping[str, Any], asked: Sweep | None = None) -> Sweep:
    """What `Sweep.stored` gave, perhaps that of an earlier version of us: what is not there has its default.

    Raises:
        UserError: no settings of a sweep, or code to import that `asked` does not name.
    """
    try:
        return restored(Sweep(), stored, asked)
    except UserError as error:
        raise UserError(
            f"sweep.json: expected the settings of a sweep ({error}); restore the file"
        ) from error


def shared_identity(sweep: Sweep, facts: Facts | None = None) -> dict[str, Any]:
    """What all its trials share and how they are measured; without facts, what can be told before the data is read."""
    base = changed(sweep.base, objective=LossSettings.objective, terms=())  # each trial has its own
    found = settings_identity(base) if facts is None else run_identity(base, facts)
    for name in ("terms", "seed" if sweep.search == "grid" else "beta"):
        found.pop(name, None)
    found |= {"search": sweep.search, "goals": list(sweep.goals), "budgets": sweep.budgets}
    if sweep.search != "grid":
        found["families"] = list(sweep.families)
    names = ("stop_bytes", "rungs", "reduction_factor") if sweep.early_stop else ()
    return found | {name: getattr(sweep, name) for name in ("early_stop", *names)}


def unlike(
    there: Mapping[str, Any], sweep: Sweep, prepared: PreparedData, trials: Mapping[str, TrainSettings]
) -> str:
    """What makes it another sweep than the one that is there; empty where it may be resumed, perhaps with more trials.

    Args:
        there: `sweep.json`.
        sweep: as asked for.
        prepared: its data.
        trials: those that it lists, by name.
    """
    stored = restored_sweep(there["settings"], sweep)
    noted = {"fingerprint": there.get("data"), "encoder_content": there.get("encoder_content")}
    facts = prepared.facts.restored(noted, stored.base)
    before = shared_identity(stored, facts) | {"test": there.get("test", prepared.test)}
    found = [differences(before, shared_identity(sweep, prepared.facts) | {"test": prepared.test})]
    if sweep.search != "grid":
        if sweep.num_trials < stored.num_trials:
            found.append(f"num_trials: {stored.num_trials} there, {sweep.num_trials} here, it may only grow")
    elif not any(found):
        wanted = {name: _key(each, prepared.facts) for name, each in trials.items()}
        if explicit := there.get("trials"):
            settings = {name: restored_settings(each, sweep.base) for name, each in explicit.items()}
            gone = [name for name, each in settings.items() if wanted.get(name) != _key(each, facts)]
        else:
            gone = [name for name, each in stored.grid().items() if _key(each, facts) not in wanted.values()]
        found += [f"trials: {', '.join(gone)} there, not here, others may be added"] if gone else []
    return "; ".join(filter(None, found))


def named_as_before(
    trials: Mapping[str, TrainSettings], records: Sequence[Mapping[str, Any]], facts: Facts
) -> dict[str, TrainSettings]:
    """The trials, each under the name that the same one has in the records: `tempagg` is `tempagg:0.03,0.06,0.1`."""
    asked = next(iter(trials.values()), None)
    known = {_key(restored_settings(record["settings"], asked), facts): record["name"] for record in records}
    return {known.get(_key(each, facts), name): each for name, each in trials.items()}


def _key(settings: TrainSettings, facts: Facts) -> str:
    return json.dumps(run_identity(settings, facts), sort_keys=True)


def folder_of(resume: str) -> Path:
    """The folder of the sweep that `--resume` names.

    Raises:
        UserError: it is not there.
    """
    places = [Path(resume).expanduser(), Path("results") / resume]
    folder = next((place for place in places if (place / Ledger.file).exists()), None)
    if folder is None:
        raise UserError(
            f"--resume {resume}: expected the folder of a sweep, or the name of one in results/, found no {Ledger.file} "
            f"in {' or '.join(map(str, places))}"
        )
    return folder.absolute()


def check_resumed(sweep: Sweep, stored: Sweep) -> None:
    """Raise UserError where flags beside `--resume` ask for another sweep, as far as can be told before the data is read."""
    before, now = shared_identity(stored), shared_identity(sweep)
    changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if changed or sweep.fresh:
        flags = ", ".join(map(flag, [*changed, *["fresh"] * sweep.fresh]))
        raise UserError(
            f"--resume {sweep.resume}: expected no other settings than the sweep's own, got {flags}; leave them out, or start "
            "another sweep"
        )
