"""nDCG@10 of a search in all documents, under any codec and re-ranking, from embeddings that were made once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tempembed.codecs.basis import normalized
from tempembed.codecs.codec import check_finite
from tempembed.codecs.lab import Documents, Fitted
from tempembed.codecs.spec import Spec
from tempembed.evaluation.statistics import Mean
from tempembed.evaluation.task import Measured, Task
from tempembed.index.hamming import hamming_top_k
from tempembed.index.top_k import Reranker, decoded_top_k, nested_similarity, top_k
from tempembed.system.errors import UserError

if TYPE_CHECKING:
    from tempembed.evaluation.corpus import Corpus

CUTOFF = 10
BLOCK_ELEMENTS = 2**24
"""Scores at a time: 64 MB."""


@dataclass(frozen=True, kw_only=True)
class Retrieval(Task):
    """Queries, a corpus, and the gain of each right document of each query."""

    relevant: Sequence[Mapping[int, float]]
    """For each query, its right documents and their gains."""
    excluded: Sequence[Sequence[int]] = ()
    """For each query, the documents that are no part of its ranking (the query itself); empty: none of any."""

    kind: ClassVar[str] = "retrieval"
    metric: ClassVar[str] = "ndcg_at_10"
    metric_title: ClassVar[str] = "nDCG@10"
    items: ClassVar[str] = "queries"
    in_runs: ClassVar[bool] = True

    @classmethod
    def of_corpus(cls, corpus: "Corpus") -> Self:
        """Search in all documents."""
        return cls(
            name=cls.kind, queries=corpus.queries, documents=corpus.documents,
            relevant=[dict.fromkeys(r, 1.0) for r in corpus.relevant],
            excluded=corpus.own_texts, num_own_texts=sum(map(bool, corpus.own_texts)),
            sources=corpus.sources, source_names=corpus.source_names,
        )  # fmt: skip

    def measure(
        self,
        queries_QD: Float[Tensor, "Q D"],
        documents: Documents,
        specs: Sequence[Spec],
    ) -> Measured:
        """float32 widths share one product, bits are searched by popcount, the rest has a product each."""
        check_finite(queries_QD)
        gains, race = Gains(self.relevant, len(self.documents)), Race(self.excluded, len(self.documents))

        def scored(ids_QK: Tensor) -> Mean:
            return Mean(gains.ndcg(race.best(ids_QK, CUTOFF)))

        floats = [spec for spec in specs if spec.numbers == "float32"]
        for spec, found in _float_rankings(floats, queries_QD, documents, CUTOFF + race.most):
            yield spec, found if isinstance(found, UserError) else scored(found)
        for same, fitted in documents.fit_all([s for s in specs if s.numbers != "float32"]):
            for spec in same:
                if isinstance(fitted, UserError):
                    yield spec, fitted
                    continue
            if not isinstance(fitted, UserError):
                for spec, ids in _rankings(same, fitted, queries_QD, race):
                    yield spec, scored(ids)

    def positives(self) -> Mapping[int, int]:
        """As in Task; a document that answers several queries must not be a negative of one of them."""
        pairs: dict[int, int] = {}
        for query, relevant in enumerate(self.relevant):
            if relevant:
                pairs.setdefault(next(iter(relevant)), query)
        return pairs


class Race:
    """Which documents take part in the ranking of a query."""

    def __init__(self, excluded: Sequence[Sequence[int]], num_documents: int) -> None:
        self.most = max(map(len, excluded), default=0)
        """Documents that a query leaves out at most: so many more must be found."""
        self._num_documents = num_documents
        self._out = torch.tensor([row * num_documents + i for row, out in enumerate(excluded) for i in out])

    def best(self, ids_QK: Int[Tensor, "Q K"], k: int) -> Int[Tensor, "Q K2"]:
        """The first k of each query that take part; where fewer do, others at the end."""
        if not self.most:
            return ids_QK[:, :k]
        keys = torch.arange(len(ids_QK))[:, None] * self._num_documents + ids_QK
        is_out = torch.isin(keys, self._out)
        return ids_QK.gather(1, is_out.int().argsort(dim=1, stable=True))[:, :k]


class Gains:
    """The gain of any document for any query, without a matrix of all of them."""

    def __init__(self, relevant: Sequence[Mapping[int, float]], num_documents: int) -> None:
        pairs = [
            (row * num_documents + document, gain)
            for row, gains in enumerate(relevant)
            for document, gain in gains.items()
        ]
        pairs.sort()
        self._num_documents = num_documents
        self._keys = torch.tensor([key for key, _ in pairs] + [torch.iinfo(torch.int64).max])
        self._gains = torch.tensor([gain for _, gain in pairs] + [0.0], dtype=torch.float64)
        self._discounts = 1 / torch.log2(torch.arange(2, CUTOFF + 2, dtype=torch.float64))
        best = torch.zeros(len(relevant), CUTOFF, dtype=torch.float64)
        for row, gains in enumerate(relevant):
            top = sorted(gains.values(), reverse=True)[:CUTOFF]
            best[row, : len(top)] = torch.tensor(top, dtype=torch.float64)
        self._ideal = best @ self._discounts

    def of(self, ids_QK: Int[Tensor, "Q K"]) -> Float[Tensor, "Q K"]:
        """Gains of documents; row i are answers to query i."""
        keys = torch.arange(len(ids_QK))[:, None] * self._num_documents + ids_QK
        places = torch.searchsorted(self._keys, keys)
        return torch.where(self._keys[places] == keys, self._gains[places], 0.0)

    def ndcg(self, ids_QK: Int[Tensor, "Q K"]) -> Float[Tensor, " Q"]:
        """`DCG / IDCG`, `DCG = sum over ranks r <= 10 of gain / log2(r + 1)`, as trec_eval's ndcg_cut_10."""
        gains = self.of(ids_QK[:, :CUTOFF])
        found = gains @ self._discounts[: gains.shape[1]]
        return found / self._ideal.clamp_min(1e-300)


def _blocks(num: int, num_documents: int) -> list[slice]:
    rows = min(512, max(16, BLOCK_ELEMENTS // num_documents))
    return [slice(start, min(start + rows, num)) for start in range(0, num, rows)]


def _float_rankings(
    specs: Sequence[Spec], queries_QD: Tensor, searched: Documents, kept: int
) -> Iterator[tuple[Spec, Tensor | UserError]]:
    """Cosine of float32 prefixes: all widths of a basis cost one full-width product."""
    unit_queries = normalized(queries_QD)
    ordered = sorted(specs, key=lambda s: (s.method, s.seed, s.width))
    for _, group in groupby(ordered, lambda s: (s.method, s.seed)):
        able = []
        for spec in group:
            try:
                basis = searched.basis(spec)
                able.append(spec)
            except UserError as error:
                yield spec, error
        if not able:
            continue
        widths = [spec.width for spec in able]
        documents = basis.apply(searched.unit_MD, widths[-1])
        queries = basis.apply(unit_queries, widths[-1])
        inverse = [1 / documents[:, :width].norm(dim=1).clamp_min(1e-12) for width in widths]
        parts: list[list[Tensor]] = [[] for _ in widths]
        for block in _blocks(len(queries), len(documents)):
            for i, (_, products) in enumerate(nested_similarity(queries[block], documents, widths)):
                parts[i].append(top_k(products * inverse[i], kept))
        yield from zip(able, (torch.cat(part) for part in parts), strict=True)


def _rankings(
    specs: Sequence[Spec], fitted: Fitted, queries_QD: Tensor, race: Race
) -> Iterator[tuple[Spec, Tensor]]:
    """One codec, searched; and re-ranked in every way that is asked."""
    codec, kept = fitted.codec, CUTOFF + race.most
    queries, codes = codec.cut(queries_QD), codec.numbers.encode(fitted.documents_MK)
    if codec.spec.is_bits:
        deepest = max(spec.depth if spec.rerank else kept for spec in specs)
        _, candidates = hamming_top_k(codec.numbers.encode(queries), codes, deepest + race.most)
        candidates = race.best(candidates, deepest)
        rerankers: dict[str, Reranker] = {}
        for spec in specs:
            if not spec.rerank:
                yield spec, candidates[:, :kept]
                continue
            if spec.rerank not in rerankers:
                rerankers[spec.rerank] = Reranker(spec.rerank, codec.numbers, fitted.documents_MK)  # type: ignore[arg-type]
            yield spec, rerankers[spec.rerank](queries, candidates[:, : spec.depth])[:, :kept]
        return
    _, best = decoded_top_k(codec.numbers.query(queries), codes, codec.numbers.scored, kept)
    for spec in specs:
        yield spec, best
