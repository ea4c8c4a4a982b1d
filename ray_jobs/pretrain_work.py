"""What one process does of a pre-training run."""

from dataclasses import dataclass
from pathlib import Path

from ray_jobs.capacity import Workers
from ray_jobs.worker import STOP, Assignment, Place, Reports, Tell
from tempembed.settings.pretrain import PretrainSettings


@dataclass(frozen=True, kw_only=True)
class PretrainAssignment(Assignment):
    """A pre-training run."""

    settings: PretrainSettings
    shards: Path
    """Folder of the tokens."""

    def begin(self, workers: Workers, place: Place) -> "PretrainWork":
        """The work of the process at `place`."""
        return PretrainWork(self, workers, place)


class PretrainWork:
    """The part of a pre-training run that one process does."""

    def __init__(self, assignment: PretrainAssignment, workers: Workers, place: Place) -> None:
        self._assignment, self._workers, self._place = assignment, workers, place

    def train(self, tell: Tell) -> None:
        """Train to the end, or until the run is asked to stop; `tell` takes the reports that are due."""
        from tempembed.inputs.token_shards import TokenShards
        from tempembed.stages.masked_language import pretrain_text

        assignment = self._assignment
        reports = Reports(assignment, self._place, tell)
        pretrain_text(
            assignment.settings, TokenShards.open(assignment.shards), assignment.output, reports,
            resume=assignment.resume, stop=(assignment.output / STOP).exists, say=reports.note,
            device=None if self._workers.use_gpu else "cpu",  # Ray shows a process without a GPU all there are
        )  # fmt: skip

    def measure(self) -> None:
        """Nothing is left: the stage measures the model on held-out documents as it trains."""
