"""The prepared data of a run, read from its folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tempembed.data.partners import Partners
from tempembed.encoders.role import ROLES
from tempembed.evaluation.corpus import Corpus
from tempembed.inputs.inputs import Inputs
from tempembed.inputs.saved import load_inputs
from tempembed.stages.judges import TEACHER, GuideTexts

CORPORA = {"test": "task.json", "dev": "dev.json"}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A folder with tokens or pixels of the training pairs and of the test, shared by all trials and workers."""

    folder: Path

    @property
    def meta(self) -> dict[str, Any]:
        """Counts, fingerprints and names."""
        return json.loads((self.folder / "meta.json").read_text())

    @property
    def queries(self) -> Inputs:
        """Training queries."""
        return load_inputs(self.folder, "query")

    @property
    def documents(self) -> Inputs:
        """The document of each query."""
        return load_inputs(self.folder, "document")

    @property
    def hard_negatives(self) -> list[Inputs]:
        """One column per hard negative; an absent one is empty."""
        return [load_inputs(self.folder, f"negative_{k}") for k in range(self.meta["num_hard_negatives"])]

    @property
    def has_negative(self) -> np.ndarray | None:
        """Bool [N, rows]: which hard negatives exist; None where the data has none."""
        path = self.folder / "has_negative.npy"
        return np.load(path) if path.exists() else None

    @property
    def text_ids(self) -> dict[str, np.ndarray]:
        """int64 ids of the training texts: query and document [rows], hard_negatives [N, rows] where there are any.

        One space for all roles; an absent hard negative has 0.
        """
        names = ("query", "document", *(["hard_negatives"] if self.has_negative is not None else []))
        return {name: np.load(self.folder / f"{name}.text_ids.npy") for name in names}

    @property
    def answers(self) -> Partners:
        """The documents of a training query that has several."""
        return Partners.load(self.folder, "answers")

    @property
    def askers(self) -> Partners:
        """The queries of a training document that has several."""
        return Partners.load(self.folder, "askers")

    @property
    def guide(self) -> GuideTexts | None:
        """A second model's embeddings of the training texts."""
        return GuideTexts.load(self.folder)

    @property
    def scores(self) -> np.ndarray | None:
        """A teacher's float32 [1 + N, rows] of the document and each hard negative, NaN where it has none; None without a teacher."""
        path = self.folder / TEACHER
        return np.load(path) if path.exists() else None

    @property
    def sources(self) -> np.ndarray | None:
        """int32 number of the file that a training pair is from; None where all are of one."""
        path = self.folder / "sources.npy"
        return np.load(path) if path.exists() else None

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the training pairs are: text, image, or both."""
        return tuple(self.meta.get("modalities", ("text",)))

    @property
    def group_ids(self) -> np.ndarray | None:
        """int64 of each training pair: equal for pairs of a group; None where the data has no groups."""
        path = self.folder / "group_ids.npy"
        return np.load(path) if path.exists() else None

    @property
    def source_names(self) -> list[str]:
        """What the numbers in `sources` are called; empty where all pairs are of one file."""
        return self.meta.get("source_names", [])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Training pairs of each file that they are from."""
        sources, meta = self.sources, self.meta
        if sources is None:
            return (meta["num_pairs"],)
        return tuple(np.bincount(sources, minlength=len(self.source_names)).tolist())

    @property
    def groups(self) -> tuple[int, ...]:
        """For each file, which of several sources that were given it is of; empty where one was given."""
        return tuple(self.meta.get("groups", ()))

    @property
    def has_test(self) -> bool:
        """Whether there is a test task."""
        return (self.folder / "task.json").exists()

    def evaluation(self) -> tuple[Corpus, Inputs, Inputs] | None:
        """The test task with the inputs of its queries and documents, or None without test data."""
        return self._corpus("test")

    def dev(self) -> tuple[Corpus, Inputs, Inputs] | None:
        """What checkpoints and temperatures are chosen by, or None without dev data; shares no text with the others."""
        return self._corpus("dev")

    def _corpus(self, part: str) -> tuple[Corpus, Inputs, Inputs] | None:
        path = self.folder / CORPORA[part]
        if not path.exists():
            return None
        queries, documents = (load_inputs(self.folder, f"{part}_{role}") for role in ROLES)
        return Corpus.load(path), queries, documents
