"""Queries and documents in shards of codes on disk: the nearest documents of some queries, and scores of single pairs.

Shape legend: Q queries, P pairs of a query and a document, K kept coordinates, C candidates.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tempembed.codecs.bits import SignBits
from tempembed.codecs.numbers import NumberCodec
from tempembed.codecs.spec import Spec
from tempembed.index.encode import codec_of, one_thread
from tempembed.index.hamming import hamming_top_k
from tempembed.index.shards import SHARDS, Encoded, shard_name
from tempembed.index.top_k import decoded_top_k, merged_top_k, top_k
from tempembed.system.errors import UserError

SPAN_BYTES = 2**26
"""Codes that are in memory at a time."""
PAIR_ROWS = 1024
"""Pairs whose embeddings are: they fit a processor's cache."""


@dataclass(frozen=True, kw_only=True)
class Retriever:
    """Ranks documents as their codec does: by products with their codes, bits by Hamming distance and re-ranking with the float vectors beside
    them. The same bits on every machine of one kind: one thread, and nothing depends on which other queries are asked elsewhere.
    """

    queries: Encoded
    """As float32."""
    documents: Encoded

    def nearest(
        self, queries: Int[np.ndarray, " Q"], k: int
    ) -> tuple[Float[Tensor, "Q k"], Int[Tensor, "Q k"]]:
        """Scores and numbers of the k best documents of some queries, best first; of equal scores the higher number first.

        Memory: 64 MB of codes, and 12 bytes for each candidate.
        """
        codec = codec_of(self.documents)
        with one_thread():
            asked_QK = codec.cut(rows_of(self.queries, "code", queries))
            if not codec.spec.is_bits:
                asked, scored = codec.numbers.query(asked_QK), codec.numbers.scored
                parts = (
                    (scores, numbers + start)
                    for start, codes in _spans(self.documents)
                    for scores, numbers in [decoded_top_k(asked, codes, scored, k)]
                )
                return merged_top_k(parts, k)
            bits, depth = cast(SignBits, codec.numbers).encode(asked_QK), max(k, codec.spec.depth)
            near = (
                (-distances.float(), numbers + start)
                for start, codes in _spans(self.documents)
                for distances, numbers in [hamming_top_k(bits, codes, depth)]
            )
            _, found_QC = merged_top_k(near, depth)
        candidates = found_QC.sort(dim=1).values  # so that of equal scores top_k has the higher number first
        scores = self(queries.repeat(candidates.shape[1]), candidates.flatten().numpy())
        scores_QC = torch.from_numpy(scores).reshape(candidates.shape)
        best = top_k(scores_QC, k)
        return scores_QC.gather(1, best), candidates.gather(1, best)

    def __call__(
        self, queries: Int[np.ndarray, " P"], documents: Int[np.ndarray, " P"]
    ) -> Float[np.ndarray, " P"]:
        """Scores of pairs, by their numbers; a pair has one score, whatever others are asked for."""
        codec = codec_of(self.documents)
        own, place = np.unique(queries, return_inverse=True)
        found = np.empty(len(queries), np.float32)
        with one_thread():
            asked_QK = codec.cut(rows_of(self.queries, "code", own))
            asked = (asked_QK if codec.spec.rerank else codec.numbers.query(asked_QK)).numpy()
            for shard, pairs in _by_shard(self.documents, documents):
                codes = _mapped(self.documents, shard, "rerank" if codec.spec.rerank else "code")
                start = shard * self.documents.facts["shard_rows"]
                for some in np.split(pairs, range(PAIR_ROWS, len(pairs), PAIR_ROWS)):
                    vectors = torch.from_numpy(codes[documents[some] - start])
                    vectors = vectors if codec.spec.rerank else codec.numbers.scored(vectors)
                    found[some] = np.einsum("pk,pk->p", asked[place[some]], vectors.numpy())
        return found


def check_spec(spec: Spec) -> None:
    """Raise UserError unless a `Retriever` takes a codec: one that gives cosines, or bits that are re-ranked to cosines."""
    if spec.is_bits and spec.rerank != "float":
        raise UserError(
            f"--codec {spec}: expected bits to be re-ranked to cosines, which margins go by, got {spec.rerank or 'no re-ranking'}; "
            "write +rerank:float:1000"
        )
    if spec.codec.columns is not NumberCodec.columns:
        raise UserError(
            f"--codec {spec}: expected codes without corrections beside them; take float32, float16, int8, pq, or "
            "binary+rerank:float:1000"
        )


def rows_of(encoded: Encoded, column: str, numbers: Int[np.ndarray, " P"]) -> Tensor:
    """A column of some documents, by their numbers in any order."""
    some = _mapped(encoded, 0, column)
    found = np.empty((len(numbers), *some.shape[1:]), some.dtype)
    for shard, places in _by_shard(encoded, numbers):
        found[places] = _mapped(encoded, shard, column)[numbers[places] - shard * encoded.facts["shard_rows"]]
    return torch.from_numpy(found)


def _by_shard(encoded: Encoded, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(shard, places in `numbers` of its documents), the documents ascending."""
    order = np.argsort(numbers, kind="stable")
    bounds = np.searchsorted(numbers[order], np.arange(encoded.num_shards + 1) * encoded.facts["shard_rows"])
    for shard in np.flatnonzero(np.diff(bounds)).tolist():
        yield shard, order[bounds[shard] : bounds[shard + 1]]


def _spans(documents: Encoded) -> Iterator[tuple[int, Tensor]]:
    """(number of the first, codes) of all documents, as many shards at a time as memory is meant for."""
    held, start, num = list[np.ndarray](), 0, 0
    for shard in range(documents.num_shards):
        held.append(_mapped(documents, shard, "code"))
        num += len(held[-1])
        if sum(codes.nbytes for codes in held) >= SPAN_BYTES or shard == documents.num_shards - 1:
            yield start, torch.from_numpy(np.concatenate(held))
            held, start = [], num


def _mapped(encoded: Encoded, shard: int, column: str) -> np.ndarray:
    return np.load(encoded.folder / SHARDS / f"{shard_name(shard)}.{column}.npy", mmap_mode="r")
