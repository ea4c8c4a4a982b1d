"""What others say of the training pairs, prepared once: a guide's embeddings of their texts, a teacher's scores of candidates."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.data.columns import SCORES
from tempembed.data.pairs import Pairs
from tempembed.data.text_ids import text_ids
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.load import load_encoder
from tempembed.encoders.role import ROLES, RoleName
from tempembed.evaluation.store import EmbeddingStore
from tempembed.losses.margins import Guide
from tempembed.objectives.margin import Margin
from tempembed.settings.loss import LossSettings
from tempembed.system.cache import cache_dir
from tempembed.system.errors import UserError

TEACHER = "scores.npy"


def load_guide(settings: LossSettings) -> Encoder | None:
    """The model that --guide names.

    Raises:
        UserError: there is none of that name.
    """
    try:
        return load_encoder(settings.guide) if settings.guide else None
    except UserError as error:
        raise UserError(f"--guide: {error}") from error


def guide_fingerprint(guide: Encoder | None) -> str | None:
    """All that decides what a guide makes of a text."""
    return f"{guide.fingerprint()} {guide.input_fingerprint()}" if guide else None


def write_guide(guide: Encoder, pairs: Pairs, folder: Path, say: Callable[[str], None]) -> None:
    """Unit embeddings of each distinct text in its role; those that the store has are not made again."""
    store = EmbeddingStore(cache_dir() / "embeddings", guide, say)
    negatives = (text for row in pairs.hard_negatives or () for text in row)
    texts = {"query": pairs.queries, "document": [*pairs.documents, *negatives]}
    for role in ROLES:
        ids, first = np.unique(text_ids(texts[role]), return_index=True)
        np.save(folder / f"guide.{role}.ids.npy", ids)
        store.embed_to(folder / f"guide.{role}.rows", [texts[role][i] for i in first], role)


@dataclass(frozen=True, kw_only=True)
class GuideTexts:
    """What `write_guide` wrote, memory-mapped."""

    ids: dict[RoleName, np.ndarray]
    """Of the texts of a role, ascending."""
    rows: dict[RoleName, np.ndarray]
    """Their embeddings."""

    @staticmethod
    def load(folder: Path) -> "GuideTexts | None":
        """Those of prepared data; None without a guide."""
        if not (folder / "guide.query.ids.npy").exists():
            return None
        ids: dict[RoleName, np.ndarray] = {role: np.load(folder / f"guide.{role}.ids.npy") for role in ROLES}
        rows: dict[RoleName, np.ndarray] = {
            role: np.memmap(folder / f"guide.{role}.rows", np.float32, "r").reshape(len(ids[role]), -1)
            for role in ROLES
        }
        return GuideTexts(ids=ids, rows=rows)

    def of(
        self,
        queries_B: np.ndarray,
        documents_B: np.ndarray,
        negatives_NB: np.ndarray | None,
        margin: Margin,
        device: torch.device,
    ) -> Guide:
        """The embeddings of some rows, by the ids of their texts; an absent hard negative has any."""
        negatives = None if negatives_NB is None else self._rows("document", negatives_NB).to(device)
        return Guide(
            queries_BE=self._rows("query", queries_B).to(device), documents_BE=self._rows("document", documents_B).to(device),
            hard_negatives_NBE=negatives, margin=margin,
        )  # fmt: skip

    def _rows(self, role: RoleName, ids: np.ndarray) -> Float[Tensor, "... E"]:
        at = np.searchsorted(self.ids[role], ids).clip(max=len(self.ids[role]) - 1)
        return torch.from_numpy(self.rows[role][at])


def require_teacher(settings: LossSettings, pairs: Pairs) -> None:
    """Raise UserError if the objective has a regulariser that learns from a teacher, and the data has none."""
    from tempembed.objectives.regularisers.registry import parse_regulariser

    taught = [text for text in settings.regularisers if parse_regulariser(text).is_taught]
    if taught and SCORES not in pairs.table.column_names:
        raise UserError(
            f"--regularisers {taught[0]}: expected {pairs.source} to have a column {SCORES!r}, a teacher's scores of each document and "
            "its hard negatives, got none; tempembed mine --judge or --cross-encoder makes it"
        )
    if taught and not pairs.hard_negatives:
        raise UserError(
            f"--regularisers {taught[0]}: expected {pairs.source} to have hard negatives, between which and the document a teacher tells, "
            "got none; tempembed mine finds some"
        )


def write_teacher(pairs: Pairs, num_negatives: int, folder: Path) -> None:
    """float32 [1 + N, rows], NaN where there is no score; nothing where the data has none."""
    if SCORES not in pairs.table.column_names:
        return
    lists = pairs.table[SCORES].combine_chunks()
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    scores = np.full((1 + num_negatives, len(lengths)), np.nan, np.float32)
    scores[places, rows] = lists.flatten().to_numpy(zero_copy_only=False)
    np.save(folder / TEACHER, scores)
