"""What was found, with pictures as thumbnails: the answers of a search, and the best and the worst queries of a test."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from markupsafe import Markup
from torch import Tensor

from tempembed.codecs.basis import normalized
from tempembed.encoders.encoder import Encoder
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.retrieval import Gains
from tempembed.index.nearest import Hit
from tempembed.inputs.inputs import Inputs
from tempembed.reports.pages import write_page
from tempembed.reports.thumbnails import thumbnail

PAGE = "retrievals.html"
SHOWN = 12
"""Queries of each end."""
ANSWERS = 8
"""Answers of a query."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A document."""

    shown: Markup
    note: str
    is_right: bool = False


@dataclass(frozen=True, kw_only=True)
class Query:
    """A query with its answers, the best first."""

    shown: Markup
    answers: Sequence[Answer]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Queries under one title."""

    queries: Sequence[Query]
    title: str = ""


def write_hits_page(queries: Sequence[str], hits: Sequence[Sequence[Hit]], path: Path) -> None:
    """The answers of `tempembed search`."""
    found = [
        Query(
            shown=thumbnail(query),
            answers=[
                Answer(shown=thumbnail(hit.text), note=f"{hit.score:.3f}, row {hit.row + 1}")
                for hit in answers
            ],
        )
        for query, answers in zip(queries, hits, strict=True)
    ]
    write_page(
        path, "retrievals", title="Search", about="Answers, the best first.", parts=[Part(queries=found)]
    )


def write_retrievals_page(encoder: Encoder, part: tuple[Corpus, Inputs, Inputs], path: Path) -> None:
    """The queries of a test with the best and the worst nDCG@10, each with its right document and what came first.

    Args:
        encoder: the model.
        part: its test, with pictures among queries or documents.
        path: the file.
    """
    corpus, queries, documents = part
    queries_QD, documents_MD = (normalized(encoder.embed(each)) for each in (queries, documents))
    scores_QK, ids_QK = _nearest(queries_QD, documents_MD, max(10, ANSWERS))
    gains = Gains([dict.fromkeys(right, 1.0) for right in corpus.relevant], len(corpus.documents))
    ndcg = gains.ndcg(ids_QK[:, :10])
    order = torch.argsort(ndcg, descending=True, stable=True).tolist()

    def query(row: int) -> Query:
        right = set(corpus.relevant[row])
        answers = [
            Answer(shown=thumbnail(corpus.documents[i]), note=f"{score:.2f}", is_right=i in right)
            for i, score in zip(
                ids_QK[row, :ANSWERS].tolist(), scores_QK[row, :ANSWERS].tolist(), strict=True
            )
        ]
        missed = [] if any(answer.is_right for answer in answers) else corpus.relevant[row][:1]
        answers += [Answer(shown=thumbnail(corpus.documents[i]), note="right", is_right=True) for i in missed]
        return Query(shown=thumbnail(corpus.queries[row]), answers=answers, note=f"nDCG@10 {ndcg[row]:.2f}")

    ends = (("The best", order[:SHOWN]), ("The worst", order[-SHOWN:]))
    parts = [Part(title=title, queries=[query(row) for row in rows]) for title, rows in ends]
    about = f"nDCG@10 {ndcg.mean():.4f} over {len(ndcg):,} queries in {len(documents_MD):,} documents. A right answer has a green frame."
    write_page(path, "retrievals", title="What is found", about=about, parts=parts)


def _nearest(queries_QD: Tensor, documents_MD: Tensor, num: int) -> tuple[Tensor, Tensor]:
    num = min(num, len(documents_MD))
    found = [(part @ documents_MD.T).topk(num) for part in queries_QD.split(512)]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])
