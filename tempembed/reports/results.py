"""What the functions of `tempembed.api` return: values that show themselves as text, and as a table in a notebook."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from tempembed.codecs.sets import BUDGETS
from tempembed.evaluation.choice import Choice
from tempembed.evaluation.compare import Difference
from tempembed.evaluation.report import Evaluation, Report, ScoreRow
from tempembed.index.nearest import Hit
from tempembed.reports.codecs_page import budget_table, recommendation
from tempembed.reports.pages import render
from tempembed.reports.table import Table
from tempembed.tuning.verdict import Verdict

if TYPE_CHECKING:
    from tempembed.encoders.encoder import Encoder

HEAD = ("task", "codec", "bytes", "score", "95 % interval", "kept", "95 % interval")
SHOWN = 100
"""Characters of a text."""


class Shown:
    """A value that shows itself: a title, lines, a table."""

    def tables(self) -> tuple[str, Sequence[str], Sequence[Table]]:
        """A title, lines of text, tables."""
        raise NotImplementedError

    def __repr__(self) -> str:
        title, lines, tables = self.tables()
        return "\n".join([title, *lines, *(table.text() for table in tables)])

    def _repr_html_(self) -> str:
        title, lines, tables = self.tables()
        return render("results", title=title, lines=lines, tables=tables)


@dataclass(frozen=True, kw_only=True, repr=False)
class Results(Shown, Report):
    """A report, and what its intervals are made of; `scores` has every codec, the table the best of each size."""

    replicates_by_key: Mapping[str, Tensor] = field(default_factory=dict, compare=False)

    @staticmethod
    def of(evaluation: Evaluation) -> "Results":
        """The same with a face."""
        return Results(**vars(evaluation.report), replicates_by_key=evaluation.replicates)

    @property
    def evaluation(self) -> Evaluation:
        """For comparisons."""
        return Evaluation(report=self, replicates=self.replicates_by_key)

    def tables(self) -> tuple[str, Sequence[str], Sequence[Table]]:
        """The full score of each task, and the best codec of each size."""
        dimension = self.geometry.get("pca95")
        lines = (
            [f"{self.width} coordinates, intrinsic dimension {dimension} (PCA, 95 %)"] if dimension else []
        )
        return Path(self.model).name, lines, [summary_table(self)]


def summary_table(report: Report) -> Table:
    """For each task the full score and the best codec of each usual size; then the full score of each source's queries."""
    rows: list[tuple[str, ...]] = []
    for task in report.data.tasks:
        scores = report.of_task(task)
        full = [row for row in scores if report.is_full(row)]
        best = (
            max(able, key=lambda row: row.score)
            for budget in BUDGETS
            if (able := [row for row in scores if row.bytes_per_vector <= budget])
        )
        rows += map(_cells, dict.fromkeys([*full, *best]))
    full_specs = {(row.task, row.spec) for row in report.scores if report.is_full(row)}
    rows += [
        (f"{row.task} from {row.source}", row.spec, str(row.bytes_per_vector), f"{row.score:.4f}", _interval(row.ci_low, row.ci_high), "", "")
        for row in report.by_source or ()
        if (row.task, row.spec) in full_specs
    ]  # fmt: skip
    return Table(head=HEAD, rows=tuple(rows), prose=frozenset({1}))


def _cells(row: ScoreRow) -> tuple[str, ...]:
    kept, interval = "", ""
    if row.retention is not None and row.retention_ci_low is not None and row.retention_ci_high is not None:
        kept, interval = f"{row.retention:.3f}", _interval(row.retention_ci_low, row.retention_ci_high, 3)
    own = _interval(row.ci_low, row.ci_high)
    return row.task, row.spec, str(row.bytes_per_vector), f"{row.score:.4f}", own, kept, interval


def _interval(low: float, high: float, digits: int = 4, sign: str = "") -> str:
    return f"{low:{sign}.{digits}f} to {high:{sign}.{digits}f}"


@dataclass(frozen=True, kw_only=True, repr=False)
class TrainedModel(Shown):
    """What a run left."""

    folder: Path
    """Loads with `sentence_transformers.SentenceTransformer(str(folder))`."""
    report: Results | None
    """What was measured on the test data; None without any."""
    verdict: Verdict | None = None
    """Better, worse or undecided against the model that the run started from; None where it was not measured."""

    def encoder(self) -> "Encoder":
        """The model as tempembed's encoder."""
        from tempembed.encoders.load import load_encoder

        return load_encoder(str(self.folder))

    def __fspath__(self) -> str:
        return str(self.folder)

    def tables(self) -> tuple[str, Sequence[str], Sequence[Table]]:
        """The verdict, and what was measured."""
        lines = self.verdict.lines() if self.verdict else []
        if self.report is None:
            return f"model: {self.folder}", [*lines, "not measured: no test data (eval_data, hold_out)"], []
        return f"model: {self.folder}", [*lines, *self.report.tables()[1]], [summary_table(self.report)]


@dataclass(frozen=True, kw_only=True, repr=False)
class CodecChoice(Shown):
    """The best codec of each size, and the one that was asked for."""

    report: Results
    best: Choice
    budgets: Sequence[Choice]
    folder: Path | None = None
    """Holds the report, the plot and the fitted codec; None: no files were asked for."""

    @property
    def codec(self) -> str:
        """The recommended codec, as `export(codec=…)` takes it."""
        return self.best.best.spec

    def tables(self) -> tuple[str, Sequence[str], Sequence[Table]]:
        """The recommendation, and the best of each size."""
        return f"codecs of {Path(self.report.model).name}", [recommendation(self.best)], [budget_table(self.budgets)]  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Shown):
    """Paired differences of models to the first."""

    first: str
    differences: Mapping[str, Sequence[Difference]]
    """By model."""

    def __iter__(self) -> Iterator[Difference]:
        return (row for rows in self.differences.values() for row in rows)

    def tables(self) -> tuple[str, Sequence[str], Sequence[Table]]:
        """A row for each codec, task and model; better and worse where the interval leaves zero out."""
        head = ("model", "task", "codec", "first", "second", "difference", "95 % interval", "")
        rows = []
        for model, differences in self.differences.items():
            for row in differences:
                low, high = row.ci
                said = "better" if low > 0 else "worse" if high < 0 else "undecided"
                rows.append((
                    Path(model).name, row.first.task, row.first.spec, f"{row.first.score:.4f}", f"{row.second.score:.4f}",
                    f"{row.score:+.4f}", _interval(low, high, sign="+"), said,
                ))  # fmt: skip
        return f"compared with {self.first}", [], [Table(head=head, rows=tuple(rows), prose=frozenset({1, 2}))]  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class Answers(Shown):
    """The best texts of each query."""

    queries: Sequence[str]
    hits: Sequence[Sequence[Hit]]
    """Of each query, best first."""

    def __iter__(self) -> Iterator[Sequence[Hit]]:
        return iter(self.hits)

    def __getitem__(self, number: int) -> Sequence[Hit]:
        return self.hits[number]

    def __len__(self) -> int:
        return len(self.hits)

    def tables(self) -> tuple[str, Sequence[str], Sequence[Table]]:
        """A table for each query."""
        tables = []
        for query, hits in zip(self.queries, self.hits, strict=True):
            rows = tuple(
                (str(rank), f"{hit.score:.4f}", str(hit.row + 1), " ".join(hit.text[: 8 * SHOWN].split())[:SHOWN])
                for rank, hit in enumerate(hits, 1)
            )  # fmt: skip
            tables.append(
                Table(head=("rank", "score", "row", query[:SHOWN]), rows=rows, prose=frozenset({3}))
            )
        return f"{len(self.queries)} queries", [], tables
