"""The measured runs of a reproduction, read as samples over seeds and queries."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from tempembed.codecs.spec import Spec
from tempembed.evaluation.report import Evaluation, Report
from tempembed.reproduction.presets import BEST_MRL, BEST_SINGLE, Entry, Preset, Role
from tempembed.reproduction.sample import Sample, share
from tempembed.tuning.trial import Trial

RETRIEVAL, CLUSTERING = "retrieval", "clustering"
METRICS = {RETRIEVAL: "nDCG@10", CLUSTERING: "V-measure"}


class NotMeasured(Exception):
    """A claim or a table needs something that was not measured; the text says what."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A trial of a preset that ended well."""

    entry: Entry
    seed: int
    trial: Trial
    evaluation: Evaluation
    folder: Path
    """The folder of its model."""

    @property
    def report(self) -> Report:
        """The report of the run."""
        return self.evaluation.report

    @property
    def cost(self) -> dict[str, float]:
        """Seconds, bytes and throughput of the run."""
        return {**(self.trial.cost or {}), **(self.report.cost or {})}


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """An entry with its runs, by seed."""

    entry: Entry
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs that ended well."""
        return tuple(run.seed for run in self.runs)

    @property
    def tau(self) -> float:
        """The entry's one temperature; 0 where it has none or several."""
        return self.entry.temperature or 0.0

    @property
    def ended_at(self) -> tuple[float, ...]:
        """Final value of each learned temperature, mean over the seeds."""
        reached = [run.report.temperatures or {} for run in self.runs]
        if "learned" not in self.entry.objective:
            return ()
        return tuple(fmean(each[name] for each in reached) for name in reached[0])

    @property
    def width(self) -> int:
        """Width of its embeddings."""
        return self.runs[0].report.width

    def specs(self, task: str) -> list[Spec]:
        """The plain codecs that a task was measured under."""
        rows = self.runs[0].report.of_task(task)
        widths, there = sorted({row.dim for row in rows}), {row.spec for row in rows}
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
        rows = {
            run.seed: (run, row)
            for run in self.runs
            for row in run.report.of_task(task)
            if row.spec == str(spec)
        }
        if not rows:
            raise NotMeasured(f"{self.entry.label}: {task} under {spec}")
        return Sample(
            seeds=tuple(rows),
            values_S=torch.tensor([row.score for _, row in rows.values()], dtype=torch.float64),
            replicates_SR=torch.stack([run.evaluation.of(row) for run, row in rows.values()]).double(),
        )

    def kept(self, task: str, spec: Spec) -> Sample:
        """Share of the full score that a codec keeps."""
        return share(self.score(task, spec), self.score(task))

    def measure(self, name: str) -> Sample:
        """A measure of the geometry, such as pca95.

        Raises:
            NotMeasured: no run has it.
        """
        found = [(run.seed, run.report.geometry.get(name)) for run in self.runs]
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
    """All groups of a reproduction, in the preset's order."""

    preset: Preset
    groups: tuple[Group, ...]
    failed: tuple[Trial, ...]
    """The trials that did not end well."""

    def of(self, encoder: str) -> "Results":
        """The results of one encoder."""
        groups = tuple(group for group in self.groups if group.entry.encoder == encoder)
        return Results(preset=self.preset.of(encoder), groups=groups, failed=self.failed)

    def role(self, role: Role) -> list[Group]:
        """The groups of a role, by temperature if they have one."""
        chosen = [group for group in self.groups if group.entry.role == role]
        return sorted(chosen, key=lambda group: group.tau)

    def group(self, label: str) -> Group:
        """The group with a label, or the one that BEST_SINGLE or BEST_MRL stands for.

        Raises:
            NotMeasured: no trial of it ended well.
        """
        if label in (BEST_SINGLE, BEST_MRL):
            return self.best("single" if label == BEST_SINGLE else "mrl", RETRIEVAL)
        found = next((group for group in self.groups if group.entry.label == label), None)
        if found is None:
            raise NotMeasured(label)
        return found

    def best(self, role: Role, task: str) -> Group:
        """The group of a role with the best full score.

        Raises:
            NotMeasured: it has none.
        """
        groups = self.role(role)
        if not groups:
            raise NotMeasured(f"an entry of role {role}")
        return max(groups, key=lambda group: group.score(task).mean)
