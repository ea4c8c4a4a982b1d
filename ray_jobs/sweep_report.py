"""What a sweep leaves: its files, its printed table, and the model registry's decisions."""

import dataclasses
import shutil
from functools import partial

from ray_jobs.open_sweep import OpenSweep
from ray_jobs.prepared import save_codecs_in_subprocess
from ray_jobs.queue import is_unfinished
from tempembed.codecs.sets import ALIAS_BUDGETS
from tempembed.evaluation.report import read_report
from tempembed.evaluation.report_files import REPORT
from tempembed.reports.sweep_page import write_sweep_page
from tempembed.reports.trial_table import trial_text
from tempembed.settings.train import TrainSettings
from tempembed.system.atomic import write_json
from tempembed.system.errors import UserError
from tempembed.tracking.registry import Registry
from tempembed.tracking.spool import Spool, SpooledRun
from tempembed.tracking.winners import Candidate, promote
from tempembed.tuning.ledger import Ledger
from tempembed.tuning.stopping import savings
from tempembed.tuning.trial import Trial, TrialTerm, ranked, trial_of


def read_trials(ledger: Ledger, width: int) -> list[Trial]:
    """All trials as trials.json has them: what the ledger knows, and the reports of those that finished.

    Args:
        ledger: the sweep's.
        width: of the embeddings.

    Raises:
        UserError: a record that is damaged.
    """
    found = []
    for record in ledger.records():
        settings = TrainSettings.from_dict(record.pop("settings"))
        path = ledger.trial_folder(record["name"]) / REPORT
        facts = {
            "objective": settings.loss.objective_name, "seed": settings.loop.seed, "beta": settings.loss.beta, "encoder": settings.model.encoder,
            "terms": [dataclasses.asdict(TrialTerm.of(term)) for term in settings.loss.resolved_terms(width)],
        }  # fmt: skip
        try:
            trial = trial_of({**facts, **record})
        except ValueError as error:
            raise UserError(
                f"{path.parent}: expected the record of a trial, and could not read it ({error}); remove the trial's folder, and "
                "the same command trains it again"
            ) from error
        found.append(dataclasses.replace(trial, report=read_report(path) if trial.is_finished else None))
    return found


def remove_checkpoints(ledger: Ledger) -> None:
    """Remove the checkpoints of trials that will not be resumed; those that finished have none."""
    for record in ledger.records():
        if record["status"] != "FINISHED" and not is_unfinished(record):
            shutil.rmtree(ledger.trial_folder(record["name"]) / "checkpoints", ignore_errors=True)


def rank_finished(found: list[Trial], spool: Spool) -> list[Trial]:
    """The trials, those that finished with their Pareto ranks, which trackers are told."""
    found = ranked(found)
    for trial in found:
        if trial.is_finished:
            spool.run(trial.name).points([("pareto_rank", trial.pareto_rank or 0, 0)])
    return found


def write_report(found: list[Trial], opened: OpenSweep, parent: SpooledRun) -> None:
    """Write trials.json and report.html, print the table, and say what failed.

    Args:
        found: all trials, as trials.json has them.
        opened: the sweep.
        parent: its run, which takes the files.

    Raises:
        UserError: no trial finished, or none of a family.
    """
    output, prepared = opened.ledger.folder, opened.prepared
    write_json(output / "trials.json", [trial.to_json() for trial in found])
    finished = [trial for trial in found if trial.is_finished]
    saved = savings(found, prepared.num_steps)
    if finished:
        write_sweep_page(found, prepared.meta, output / "report.html", note=str(saved or ""))
        for name in ("report.html", "trials.json"):
            parent.file(output / name)
        print(trial_text(finished))
        if saved:
            print(saved)
        print(f"report: {output / 'report.html'}", flush=True)
    for trial in found:
        if trial.status == "FAILED":
            print(f"failed: {trial.name}: {trial.error}", flush=True)
    _check_families(found)
    if not finished:
        raise UserError(
            f"expected at least one trial to finish, got none of {len(found)}; lower --reduction-factor or --rungs, or add trials"
        )


def _check_families(found: list[Trial]) -> None:
    """Raise UserError if all trials of a family failed."""
    families: dict[str, list[Trial]] = {}
    for trial in found:
        families.setdefault(trial.family or trial.objective.split(":")[0], []).append(trial)
    for family, members in families.items():
        if all(trial.status == "FAILED" for trial in members):
            raise UserError(
                f"family {family}: expected at least one trial to finish, all {len(members)} failed, the first with: "
                f"{members[0].error}"
            )


def register_winners(finished: list[Trial], opened: OpenSweep, uri: str, parent: SpooledRun) -> None:
    """Let the model registry decide; print its decisions, and keep them as decisions.json and in the parent run.

    Args:
        finished: the candidates.
        opened: the sweep.
        uri: of MLflow.
        parent: the sweep's run.

    Raises:
        UnansweredError: MLflow does not answer.
    """
    ledger, prepared = opened.ledger, opened.prepared
    candidates = [
        Candidate(
            name=trial.name,
            folder=ledger.trial_folder(trial.name),
            run_id=trial.mlflow_run_id or "",
            trial=trial,
        )
        for trial in finished
    ]
    aliases = ("full", *(f"bytes-{budget}" for budget in ALIAS_BUDGETS))
    name, decisions = promote(
        Registry(uri), candidates, aliases, opened.sweep.base.data.name, prepared.meta["fingerprint"],
        partial(save_codecs_in_subprocess, prepared.folder),
    )  # fmt: skip
    for decision in decisions:
        print(f"registry: {decision.why}", flush=True)
    kept = {"name": name, "decisions": [dataclasses.asdict(decision) for decision in decisions]}
    write_json(ledger.folder / "decisions.json", kept)
    parent.file(ledger.folder / "decisions.json")
