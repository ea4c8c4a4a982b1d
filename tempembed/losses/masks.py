"""False negatives: candidates that are as right as the positive, found by the identity of texts."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class FalseNegatives:
    """The places of a rows x candidates matrix that must not count as negatives.

    Candidate j is a false negative of row i if it is not i's positive, and its text is that of i's positive, i's own,
    or one that the data lists as an answer of i anywhere; or if it is the positive of a row with i's own text. Texts of
    all roles share one space of ids; the candidate may be another row's positive or any row's hard negative. Sorted ids
    find the places of a block of rows without a matrix.
    """

    def __init__(
        self,
        query_ids_G: Int[Tensor, " G"],
        document_ids_C: Int[Tensor, " C"],
        positive_B: Int[Tensor, " B"],
        known: tuple[Int[Tensor, " F"], Int[Tensor, " F"]] | None = None,
    ) -> None:
        """Ids are 64-bit hashes of texts, over the gathered batch; the first G candidates are its positives.

        Args:
            query_ids_G: of all queries of the global batch.
            document_ids_C: of all candidates.
            positive_B: the column of each local row's positive, which is also the row's place among the queries.
            known: (local row, id of a text) of further answers, rows ascending; need not be among the candidates.
        """
        self._positive_B = positive_B
        self._num_candidates = len(document_ids_C)
        self._queries, self._documents = query_ids_G, document_ids_C
        self._sorted_queries, self._sorted_documents = query_ids_G.sort(), document_ids_C.sort()
        self._known = known

    def places(self, start: int, stop: int) -> tuple[Int[Tensor, " F"], Int[Tensor, " F"]]:
        """(row - start, candidate) of those in rows start..stop, each once."""
        positive = self._positive_B[start:stop]
        own, right = self._queries[positive], self._documents[positive]
        local = torch.arange(len(positive), device=positive.device)
        rows, texts = [local, local], [own, right]
        if self._known is not None:
            of_rows, answers = self._known
            low, high = torch.searchsorted(of_rows, of_rows.new_tensor([start, stop])).tolist()
            rows.append(of_rows[low:high] - start)
            texts.append(answers[low:high])
        found = [
            _equal(torch.cat(rows), torch.cat(texts), *self._sorted_documents),
            _equal(local, own, *self._sorted_queries),
        ]
        places = torch.cat([at * self._num_candidates + columns for at, columns in found]).unique()
        at, columns = places // self._num_candidates, places % self._num_candidates
        keep = columns != positive[at]
        return at[keep], columns[keep]

    def count(self) -> int:
        """How many places there are."""
        return sum(len(self.places(low, low + 1024)[0]) for low in range(0, len(self._positive_B), 1024))

    def matrix(self) -> Bool[Tensor, "B C"]:
        """The masks as a matrix, for the dense loss."""
        matrix = torch.zeros(
            len(self._positive_B), self._num_candidates, dtype=torch.bool, device=self._positive_B.device
        )
        matrix[self.places(0, len(self._positive_B))] = True
        return matrix


def _equal(rows: Tensor, wanted: Tensor, ordered: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """(row, column) of every column whose id is that which a row wants; `ordered` are the columns' ids, sorted."""
    first = torch.searchsorted(ordered, wanted)
    counts = torch.searchsorted(ordered, wanted, right=True) - first
    which = torch.repeat_interleave(counts)
    within = torch.arange(len(which), device=which.device) - (counts.cumsum(0) - counts)[which]
    return rows[which], order[first[which] + within]
