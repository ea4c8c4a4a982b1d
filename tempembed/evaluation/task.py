"""What a task is: texts of two roles, and a score of any codec from their embeddings."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Self

from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.lab import Documents
from tempembed.codecs.spec import Spec
from tempembed.evaluation.statistics import Statistic
from tempembed.system.errors import UserError

if TYPE_CHECKING:
    from tempembed.evaluation.corpus import Corpus

Measured = Iterator[tuple[Spec, Statistic | UserError]]
"""A statistic for each codec, or why these documents cannot have it."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """Codecs are fitted on the documents, never on the queries."""

    name: str
    """Unlike that of any other task."""
    queries: Sequence[str]
    documents: Sequence[str]
    part_of: str = ""
    """The task whose parts (languages, sub-forums) are averaged; default: itself."""
    num_own_texts: int = 0
    """Queries that are documents as well, and are left out of their own rankings."""
    query_prompt: str | None = None
    """Put before each query; None: what the model puts before queries."""
    document_prompt: str | None = None
    """Put before each document; None: what the model puts before documents."""
    sources: Sequence[int] = ()
    """For each item of a score, the number of the source that it is from; empty: all are of one."""
    source_names: Sequence[str] = ()
    """What these numbers are called."""

    kind: ClassVar[str]
    """What it is called in reports."""
    metric: ClassVar[str]
    """Its main score, as mteb names it."""
    metric_title: ClassVar[str] = ""
    """Its main score, as readers know it; default: `metric`."""
    items: ClassVar[str] = "samples"
    """What a score is the mean of."""
    fits_models: ClassVar[bool] = False
    """Fits a model for each codec: seconds each, on one core. It is measured beside the others, and runs measure few codecs."""
    in_runs: ClassVar[bool] = False
    """Measured at the end of every run; `tempembed evaluate` measures all kinds."""

    @classmethod
    def of_corpus(cls, corpus: "Corpus") -> Self | None:
        """The task of this kind on the test part of pairs; None where the data cannot have it."""
        return None

    @abstractmethod
    def measure(
        self,
        queries_QD: Float[Tensor, "Q D"],
        documents: Documents,
        specs: Sequence[Spec],
    ) -> Measured:
        """Score every codec that has a meaning here, in any order. Embeddings need not be normalised: codecs do it."""

    def measure_raw(self, documents: Documents) -> Statistic | None:
        """The score of the vectors as the model gives them, which is mteb's; None where their lengths do not matter."""
        return None

    def positives(self) -> Mapping[int, int]:
        """A document to a query that it answers, each document once: for the alignment, and the influence of negatives."""
        return {}

    def document_labels(self) -> Sequence[str | None]:
        """The label of each document, for a map of them; empty where they have none."""
        return ()

    @property
    def fingerprint(self) -> str:
        """16 hex digits of texts and answers: scores of equal fingerprints may be compared in pairs."""
        digest = hashlib.sha256()
        for field in fields(self):
            if field.name not in _NO_CONTENT:
                digest.update(json.dumps(getattr(self, field.name), default=str).encode())
        return digest.hexdigest()[:16]


_NO_CONTENT = ("num_own_texts", "query_prompt", "document_prompt", "sources", "source_names")
KINDS: dict[str, type[Task]] = {}
"""The kinds of tasks by name: those of `tempembed.evaluation.kinds`, and what others have registered."""


def register(kind: type[Task]) -> None:
    """Let corpora, reports and goals know a kind of task.

    Raises:
        ValueError: another kind has the name.
    """
    if KINDS.setdefault(kind.kind, kind) is not kind:
        raise ValueError(f"task kind {kind.kind!r}: expected a new name, {KINDS[kind.kind].__name__} has it")


def metric_title(metric: str) -> str:
    """A metric as readers know it."""
    return next(
        (kind.metric_title for kind in KINDS.values() if kind.metric == metric and kind.metric_title), metric
    )
