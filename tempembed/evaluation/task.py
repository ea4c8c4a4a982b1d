"""What a task is: texts of two roles, and a score of any codec from their embeddings."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from tempembed.codecs.lab import Documents
from tempembed.codecs.spec import Spec
from tempembed.evaluation.statistics import Statistic
from tempembed.system.errors import UserError

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

    kind: ClassVar[str]
    metric: ClassVar[str]

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

    @property
    def fingerprint(self) -> str:
        """16 hex digits of texts and answers: scores of equal fingerprints may be compared in pairs."""
        digest = hashlib.sha256()
        for field in fields(self):
            if field.name not in ("num_own_texts", "query_prompt", "document_prompt"):
                digest.update(json.dumps(getattr(self, field.name), default=str).encode())
        return digest.hexdigest()[:16]
