"""What was measured of a model: the scores of every task under every codec, with intervals, and the geometry."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval
from jaxtyping import Float
from torch import Tensor

from tempembed.system.errors import UserError
from tempembed.system.typed import typed
from tempembed.system.untrusted import read_json

Number = Annotated[float, Interval(gt=-1e300, lt=1e300)]
Count = Annotated[int, Interval(ge=0, lt=2**63)]
Amount = Count | Number
"""A whole number stays one."""
Bounds = tuple[Number, Number]
"""Ends of a 95 % interval."""
FULL_PRECISION = "float32"
"""The codec that keeps everything; what the others keep is a share of its score."""


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """The score of one task under one codec."""

    task: str
    kind: str = ""
    """The task's kind."""
    metric: str
    spec: str
    """The codec, as text: pca:128+int8."""
    codec: str
    """Its name at any width: pca_int8."""
    dim: Count
    """Coordinates that it keeps."""
    bytes_per_vector: Count
    """All that is stored for a document."""
    search_bytes_per_vector: Count = 0
    """The part of it that is searched before anything is re-ranked."""
    score: Number
    ci_low: Number
    ci_high: Number
    raw_score: Number | None = None
    """Score of the vectors as the model gives them, not normalised; None: not measured, or the same."""
    retention: Number | None
    """Share of the full float32 score; None: the model scores nothing even in full."""
    num_items: Count = 0
    """Queries, pairs or samples that the score is the mean of."""
    num_draws: Count = 1
    """Random codecs of this family that were averaged."""
    std_over_draws: Number | None = None
    retention_ci_low: Number | None
    retention_ci_high: Number | None

    @property
    def key(self) -> str:
        """The name of its replicates."""
        return f"{self.task}|{self.spec}"


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """The score of the items of one source, under one codec."""

    task: str
    source: str
    """As metrics have it."""
    spec: str
    metric: str
    bytes_per_vector: Count
    score: Number
    ci_low: Number
    ci_high: Number
    num_items: Count


@dataclass(frozen=True, kw_only=True)
class MeanRow:
    """The mean of one codec over the tasks of a kind."""

    kind: str
    spec: str
    codec: str
    dim: Count
    bytes_per_vector: Count
    num_tasks: Count
    score: Number
    ci: Bounds
    retention_of_means: Number
    """Mean score over mean full score."""
    retention_of_means_ci: Bounds
    mean_of_retentions: Number
    """Mean over the tasks of score over full score."""
    mean_of_retentions_ci: Bounds


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """The data of one task."""

    kind: str = ""
    fingerprint: str
    """Hash of texts and answers; scores with equal fingerprints may be compared in pairs."""
    part_of: str = ""
    """The task whose parts are averaged."""
    num_own_texts: Count = 0
    """Queries that are documents as well, and are left out of their own rankings."""


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The data of a report."""

    num_queries: Count = 0
    """Queries of the first task."""
    num_documents: Count = 0
    """Documents of the first task."""
    tasks: Mapping[str, TaskFacts]


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A codec that the documents of a task cannot have."""

    task: str
    spec: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was measured of one model. On disk: JSON with the same names; what is None is left out."""

    model: str
    data: DataFacts
    width: Count
    geometry: dict[str, Any]
    """Measures of the documents' embeddings by name, and curves for pictures; see `tempembed.geometry.measure`."""
    scores: tuple[ScoreRow, ...]
    means: tuple[MeanRow, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    by_source: tuple[SourceRow, ...] | None = None
    """Where the test is of several sources: the scores of the queries of each, which search in all documents."""
    temperatures: Mapping[str, Number] | None = None
    """What the temperatures that move ended at, by term."""
    cost: Mapping[str, Amount] | None = None
    """Cost of the training, and the seconds of the measurement."""
    mteb: Mapping[str, float] | None = None
    """mteb's own scores, by task; NaN where mteb has none."""
    model_fingerprint: str | None = None
    codec: str | None = None
    """The recommended one."""
    replicates: str | None = None
    """SHA-256 of the file of replicates."""

    def find(self, metric: str, codec: str, dim: int) -> ScoreRow | None:
        """The score by a metric under a codec at a width."""
        rows = (row for row in self.scores if (row.metric, row.codec, row.dim) == (metric, codec, dim))
        return next(rows, None)

    def of_task(self, task: str) -> list[ScoreRow]:
        """The scores of a task."""
        return [row for row in self.scores if row.task == task]

    def is_full(self, row: ScoreRow) -> bool:
        """Whether a score is that of all coordinates at full precision."""
        return row.codec == FULL_PRECISION and row.dim == self.width

    def to_json(self) -> dict[str, Any]:
        """JSON values as they stand on disk."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A report, and the bootstrap replicates that its intervals are made of."""

    report: Report
    replicates: Mapping[str, Float[Tensor, " R"]]
    """One row of resamples for each `ScoreRow.key`. Two models on one task share the resamples, so their difference is paired."""

    def of(self, row: ScoreRow) -> Float[Tensor, " R"]:
        """The replicates of a score."""
        return self.replicates[row.key]


def least_bytes(rows: Sequence[ScoreRow]) -> int:
    """The size of the smallest codec that was measured."""
    return min(row.bytes_per_vector for row in rows)


def read_report(path: Path) -> Report:
    """A report of `tempembed evaluate` or of a run, checked.

    Raises:
        UserError: not there, or not a report; names the first field that is not as it should be.
    """
    try:
        return report_of(read_json(path))
    except UserError as error:
        raise UserError(f"expected a report of tempembed evaluate, and could not read it: {error}") from error
    except ValueError as error:
        raise UserError(
            f"{path}: expected a report of tempembed evaluate, and could not read it ({error}); measure the model again"
        ) from error


def report_of(value: Any) -> Report:
    """A report from its JSON.

    Raises:
        ValueError: not a report; names the first field that is not as it should be.
    """
    report = typed(Report, value)
    for number, row in enumerate(report.scores):
        if row.task not in report.data.tasks:
            raise ValueError(f"scores.{number}.task: {row.task[:60]!r} is not in data.tasks")
    return report
