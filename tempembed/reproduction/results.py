"""The measured trials of a reproduction: loaded, checked to be paired, and read as samples over seeds and queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from tempembed.codecs.spec import Spec
from tempembed.evaluation.compare import load_report
from tempembed.reproduction.presets import BEST_MRL, BEST_SINGLE, Entry, Preset, Role
from tempembed.reproduction.sample import Sample, share
from tempembed.system.errors import UserError
from tempembed.system.untrusted import read_json

RETRIEVAL, CLUSTERING = "retrieval", "clustering"
METRICS = {RETRIEVAL: "nDCG@10", CLUSTERING: "V-measure"}
TRIALS = "trials.json"


class NotMeasured(Exception):
    """What a claim or a table needs is not among the results; the text says what."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A run that ended well."""

    entry: Entry
    seed: int
    record: dict[str, Any]
    """As in trials.json, and the report."""
    replicates: Mapping[str, Tensor]
    """By `task|codec`."""
    folder: Path
    """Of its model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """An entry with its trials, by seed."""

    entry: Entry
    trials: tuple[Trial, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those that ended well."""
        return tuple(trial.seed for trial in self.trials)

    @property
    def tau(self) -> float:
        """The entry's one temperature; 0 where it has none or several."""
        return self.entry.temperature or 0.0

    @property
    def ended_at(self) -> tuple[float, ...]:
        """What each temperature that is learned ended at, mean over the seeds."""
        reached = [trial.record.get("temperatures", {}) for trial in self.trials]
        if "learned" not in self.entry.objective:
            return ()
        return tuple(fmean(each[name] for each in reached) for name in reached[0])

    @property
    def width(self) -> int:
        """Of its embeddings."""
        return self.trials[0].record["width"]

    def specs(self, task: str) -> list[Spec]:
        """The plain codecs that a task was measured under."""
        rows = [row for row in self.trials[0].record["scores"] if row["task"] == task]
        widths, there = sorted({row["dim"] for row in rows}), {row["spec"] for row in rows}
        every = [
            spec
            for width in widths
            for spec in (
                Spec(width=width),
                Spec(width=width, numbers="binary"),
                Spec(width=width, numbers="binary", rerank="bits"),
            )
        ]
        return [spec for spec in every if str(spec) in there]

    def score(self, task: str, spec: Spec | None = None) -> Sample:
        """A task's score under a codec, full float32 by default.

        Raises:
            NotMeasured: no such row.
        """
        spec = spec or Spec(width=self.width)
        rows = [
            next((r for r in t.record["scores"] if (r["task"], r["spec"]) == (task, str(spec))), None)
            for t in self.trials
        ]
        found = [(trial, row) for trial, row in zip(self.trials, rows, strict=True) if row]
        if not found:
            raise NotMeasured(f"{self.entry.label}: {task} under {spec}")
        return Sample(
            seeds=tuple(trial.seed for trial, _ in found),
            values_S=torch.tensor([row["score"] for _, row in found], dtype=torch.float64),
            replicates_SR=torch.stack([t.replicates[f"{task}|{spec}"] for t, _ in found]).double(),
        )

    def kept(self, task: str, spec: Spec) -> Sample:
        """Share of the full score that a codec keeps."""
        return share(self.score(task, spec), self.score(task))

    def measure(self, name: str) -> Sample:
        """A measure of the geometry, such as pca95.

        Raises:
            NotMeasured: no trial has it.
        """
        found = [(trial.seed, trial.record["geometry"].get(name)) for trial in self.trials]
        there = [(seed, float(value)) for seed, value in found if value is not None]
        if not there:
            raise NotMeasured(f"{self.entry.label}: {name}")
        return Sample(
            seeds=tuple(seed for seed, _ in there),
            values_S=torch.tensor([value for _, value in there], dtype=torch.float64),
            replicates_SR=None,
        )


@dataclass(frozen=True, kw_only=True)
class Results:
    """All lines of a reproduction, in the preset's order."""

    preset: Preset
    lines: tuple[Line, ...]
    failed: tuple[dict[str, Any], ...]
    """Records of the trials that did not end well."""

    def of(self, encoder: str) -> "Results":
        """Those of one encoder."""
        lines = tuple(line for line in self.lines if line.entry.encoder == encoder)
        return Results(preset=self.preset.of(encoder), lines=lines, failed=self.failed)

    def role(self, role: Role) -> list[Line]:
        """By temperature, where they have one."""
        chosen = [line for line in self.lines if line.entry.role == role]
        return sorted(chosen, key=lambda line: line.tau)

    def line(self, label: str) -> Line:
        """By its label, or the one that BEST_SINGLE or BEST_MRL stands for.

        Raises:
            NotMeasured: no trial of it ended well.
        """
        if label in (BEST_SINGLE, BEST_MRL):
            return self.best("single" if label == BEST_SINGLE else "mrl", RETRIEVAL)
        found = next((line for line in self.lines if line.entry.label == label), None)
        if found is None:
            raise NotMeasured(label)
        return found

    def best(self, role: Role, task: str) -> Line:
        """Of a role, the line with the best full score.

        Raises:
            NotMeasured: it has none.
        """
        lines = self.role(role)
        if not lines:
            raise NotMeasured(f"an entry of role {role}")
        return max(lines, key=lambda line: line.score(task).mean)


def load_results(folders: Sequence[Path], preset: Preset) -> Results:
    """Read the sweeps that ran a preset; together they hold its trials.

    Args:
        folders: each with trials.json and trials/NAME/.
        preset: what was run.

    Raises:
        UserError: a sweep or a trial that is missing or damaged, no trial that ended well, or trials that were measured
            on different data and cannot be paired.
    """
    records: dict[str, tuple[Path, dict[str, Any]]] = {}
    for folder in folders:
        for record in _records(folder / TRIALS):
            records[record["name"]] = folder / "trials" / record["name"], record
    wanted = {entry.name(seed): (entry, seed) for entry in preset.entries for seed in preset.seeds}
    if missing := [name for name in wanted if name not in records]:
        raise UserError(
            f"{' '.join(map(str, folders))}: expected all {len(wanted)} trials of the preset {preset.name}, {len(missing)} "
            f"are missing, the first is {missing[0]}; run it to its end"
        )
    lines: dict[Entry, list[Trial]] = {}
    failed = []
    for name, (entry, seed) in wanted.items():
        folder, record = records[name]
        if record["status"] != "FINISHED":
            failed.append(record)
            continue
        report, replicates = load_report(folder / "evaluation.json")
        rows = {f"{row['task']}|{row['spec']}" for row in report["scores"]}
        if absent := sorted(rows - set(replicates)):
            raise UserError(
                f"{folder}: expected replicates of each score, got none of {absent[0]}; measure it again"
            )
        trial = Trial(
            entry=entry,
            seed=seed,
            record={**record, **report, "cost": {**record.get("cost", {}), **report.get("cost", {})}},
            replicates=replicates,
            folder=folder,
        )
        lines.setdefault(entry, []).append(trial)
    if not lines:
        raise UserError(
            f"{' '.join(map(str, folders))}: expected at least one trial that ended well, all {len(failed)} failed"
        )
    found = Results(
        preset=preset,
        lines=tuple(Line(entry=entry, trials=tuple(trials)) for entry, trials in lines.items()),
        failed=tuple(failed),
    )
    _check_paired(found)
    return found


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        records = read_json(path)
    except UserError as error:
        raise UserError(
            f"{path}: expected the trials of a sweep and could not read them ({error}); run the sweep to its end"
        ) from error
    if not isinstance(records, list) or not all(map(_is_record, records)):
        raise UserError(
            f"{path}: expected a list of trials, each with its name, status and terms, got something else; "
            "run the sweep to its end"
        )
    return records


def _is_record(record: Any) -> bool:
    match record:
        case {"name": str(), "status": "FINISHED", "terms": list()}:
            cost = record.get("cost", {})
            return isinstance(cost, dict) and all(isinstance(v, int | float) for v in cost.values())
        case {"name": str(), "status": str(status)}:
            return status != "FINISHED"
    return False


def _check_paired(results: Results) -> None:
    first: dict[str, tuple[str, str, int]] = {}
    for line in results.lines:
        for trial in line.trials:
            name = trial.entry.name(trial.seed)
            for task, facts in trial.record["data"]["tasks"].items():
                num = next(len(v) for key, v in trial.replicates.items() if key.startswith(f"{task}|"))
                known, print_, count = first.setdefault(task, (name, facts["fingerprint"], num))
                if (print_, count) != (facts["fingerprint"], num):
                    raise UserError(
                        f"task {task}: expected the same queries, documents and answers, and as many resamples, in all "
                        f"trials, got fingerprints {print_} ({known}, {count}) and {facts['fingerprint']} ({name}, {num}); "
                        "measure all on the same data"
                    )
