"""What a sweep leaves: its files, its printed table, and the model registry's decisions."""

import dataclasses
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from ray_jobs.open_sweep import OpenSweep
from ray_jobs.prepared import save_codecs_in_subprocess
from ray_jobs.queue import is_unfinished
from tempembed.codecs.spec import ALIAS_BUDGETS
from tempembed.reports.html import write_html
from tempembed.reports.table import result_table
from tempembed.system.atomic import write_json
from tempembed.system.errors import UserError
from tempembed.tracking.registry import Registry
from tempembed.tracking.spool import Spool, SpooledRun
from tempembed.tracking.winners import Candidate, promote
from tempembed.tuning.ledger import Ledger
from tempembed.tuning.pareto import pareto_ranks
from tempembed.tuning.stopping import savings


def remove_checkpoints(ledger: Ledger) -> None:
    """Remove the checkpoints of trials that will not be resumed; those that finished have none."""
    for record in ledger.records():
        if record["status"] != "FINISHED" and not is_unfinished(record):
            shutil.rmtree(ledger.trial_folder(record["name"]) / "checkpoints", ignore_errors=True)


def rank_finished(found: list[dict[str, Any]], spool: Spool) -> list[dict[str, Any]]:
    """The trials that finished, each with its Pareto rank, which trackers are told."""
    finished = [result for result in found if result["status"] == "FINISHED"]
    ranks = pareto_ranks([list(result["goals"].values()) for result in finished])
    for result, rank in zip(finished, ranks, strict=True):
        result["pareto_rank"] = rank
        spool.run(result["name"]).points([("pareto_rank", rank, 0)])
    return finished


def write_report(found: list[dict[str, Any]], opened: OpenSweep, parent: SpooledRun) -> None:
    """Write trials.json and report.html, print the table, and say what failed.

    Args:
        found: all trials, as trials.json has them.
        opened: the sweep.
        parent: its run, which takes the files.

    Raises:
        UserError: no trial finished, or none of a family.
    """
    output, prepared = opened.ledger.folder, opened.prepared
    write_json(output / "trials.json", found)
    finished = [result for result in found if result["status"] == "FINISHED"]
    saved = savings(found, prepared.num_steps)
    if finished:
        write_html(found, prepared.meta, output / "report.html", note=str(saved or ""))
        for name in ("report.html", "trials.json"):
            parent.file(output / name)
        print(result_table(finished))
        if saved:
            print(saved)
        print(f"report: {output / 'report.html'}", flush=True)
    for result in found:
        if result["status"] == "FAILED":
            print(f"failed: {result['name']}: {result['error']}", flush=True)
    _check_families(found)
    if not finished:
        raise UserError(
            f"expected at least one trial to finish, got none of {len(found)}; lower --reduction-factor or --rungs, or add trials"
        )


def _check_families(found: list[dict[str, Any]]) -> None:
    """Raise UserError if all trials of a family failed."""
    families: dict[str, list[dict[str, Any]]] = {}
    for result in found:
        families.setdefault(result.get("family") or result["objective"].split(":")[0], []).append(result)
    for family, members in families.items():
        if all(result["status"] == "FAILED" for result in members):
            raise UserError(
                f"family {family}: expected at least one trial to finish, all {len(members)} failed, the first with: "
                f"{members[0]['error']}"
            )


def register_winners(finished: list[dict[str, Any]], opened: OpenSweep, uri: str, parent: SpooledRun) -> None:
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

    def folder_of(result: dict[str, Any]) -> Path:
        return ledger.trial_folder(result["name"])

    candidates = [
        Candidate(
            name=result["name"], folder=folder_of(result), run_id=result["mlflow_run_id"], result=result
        )
        for result in finished
    ]
    aliases = ("full", *(f"bytes-{budget}" for budget in ALIAS_BUDGETS))
    name, decisions = promote(
        Registry(uri), candidates, aliases, opened.sweep.base.data.data, prepared.meta["fingerprint"],
        partial(save_codecs_in_subprocess, prepared.folder),
    )  # fmt: skip
    for decision in decisions:
        print(f"registry: {decision.why}", flush=True)
    kept = {"name": name, "decisions": [dataclasses.asdict(decision) for decision in decisions]}
    write_json(ledger.folder / "decisions.json", kept)
    parent.file(ledger.folder / "decisions.json")
