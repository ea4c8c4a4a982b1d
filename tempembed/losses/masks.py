"""False negatives: candidates that are as right as the positive, found by the identity of texts."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class FalseNegatives:
    """The places of a rows x candidates matrix that must not count as negatives.

    Candidate j is a false negative of row i if it is not i's positive, and either its text equals that of i's
    positive, or it is the positive of a query equal to i's. Sorted ids find the places of a block of rows without a
    matrix.
    """

    def __init__(
        self,
        query_ids_G: Int[Tensor, " G"],
        document_ids_C: Int[Tensor, " C"],
        positive_B: Int[Tensor, " B"],
    ) -> None:
        """Ids are 64-bit hashes of texts, over the gathered batch; the first G candidates are its positives.

        Args:
            query_ids_G: of all queries of the global batch.
            document_ids_C: of all candidates.
            positive_B: the column of each local row's positive, which is also the row's place among the queries.
        """
        self._positive_B = positive_B
        self._num_candidates = len(document_ids_C)
        self._keys = tuple((ids, *ids.sort()) for ids in (document_ids_C, query_ids_G))

    def places(self, start: int, stop: int) -> tuple[Int[Tensor, " F"], Int[Tensor, " F"]]:
        """(row - start, candidate) of those in rows start..stop, each once."""
        positive = self._positive_B[start:stop]
        flat = []
        for ids, ordered, order in self._keys:
            wanted = ids[positive]
            first = torch.searchsorted(ordered, wanted)
            counts = torch.searchsorted(ordered, wanted, right=True) - first
            rows = torch.repeat_interleave(counts)
            within = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
            flat.append(rows * self._num_candidates + order[first[rows] + within])
        places = torch.cat(flat).unique()
        rows, columns = places // self._num_candidates, places % self._num_candidates
        keep = columns != positive[rows]
        return rows[keep], columns[keep]

    def count(self) -> int:
        """How many places there are."""
        return sum(len(self.places(low, low + 1024)[0]) for low in range(0, len(self._positive_B), 1024))

    def matrix(self) -> Bool[Tensor, "B C"]:
        """As a matrix, for the dense loss."""
        matrix = torch.zeros(
            len(self._positive_B), self._num_candidates, dtype=torch.bool, device=self._positive_B.device
        )
        matrix[self.places(0, len(self._positive_B))] = True
        return matrix
