"""What is measured in mid-training on held-out documents: the task itself, and the space of their embeddings."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tempembed.encoders.masked_lm import MaskedLM, evaluating
from tempembed.geometry.alignment_uniformity import uniformity
from tempembed.geometry.moments import Moments
from tempembed.geometry.spectrum import isoscore, pca_count, spectrum
from tempembed.inputs.tokens import Tokens
from tempembed.stages.masked_data import MaskedData


class MaskedProbe:
    """Loss and accuracy at fixed masks of 15 %; PCA-95, isotropy and uniformity of embeddings; a document's half finds the other.

    Uses no random numbers: training is the same to the bit with and without it.

    Args:
        masked: the model, as it is when it is asked.
        data: with held-out documents.
        budget: tokens that go through at once.
        pooling: mean, cls or last.
    """

    def __init__(self, masked: MaskedLM, data: MaskedData, budget: int, pooling: str) -> None:
        self._masked, self._data, self._budget, self._pooling = masked, data, budget, pooling

    def __call__(self) -> dict[str, float]:
        """Metrics under `probe/`; none where nothing is held out."""
        with evaluating(self._masked):
            found = self._task()
            documents = self._embed(self._data.held_out_texts(self._budget))
            if len(documents) > 2:
                eigenvalues = spectrum(Moments.of(documents))
                found |= {
                    "probe/pca95": float(pca_count(eigenvalues)), "probe/isotropy": isoscore(eigenvalues),
                    "probe/uniformity": uniformity(documents), "probe/documents": float(len(documents)),
                }  # fmt: skip
            first, second = (
                self._embed(self._data.held_out_texts(self._budget, each)) for each in ("first", "second")
            )
            if len(first) > 1:
                found["probe/half_retrieval"] = _first_right(first, second)
        return found

    def _task(self) -> dict[str, float]:
        loss = right = num = 0.0
        for part in self._data.held_out(self._budget):
            losses, rights = self._masked(part)
            loss, right, num = loss + losses.item(), right + rights.item(), num + len(part.targets)
        return {"probe/masked_loss": loss / num, "probe/masked_accuracy": right / num} if num else {}

    def _embed(self, parts: Sequence[Tokens]) -> Tensor:
        """Unit vectors [M, D] on the CPU."""
        found = [self._pooled(part) for part in parts if len(part)]
        if not found:
            return torch.empty(0, 0)
        return torch.nn.functional.normalize(torch.cat(found), dim=1)

    def _pooled(self, tokens: Tokens) -> Tensor:
        states_ND = self._masked.states(tokens, np.empty(0, np.int64)).float().cpu()
        starts, ends = tokens.offsets[:-1], tokens.offsets[1:]
        if self._pooling != "mean":
            return states_ND[torch.from_numpy(starts if self._pooling == "cls" else ends - 1)]
        text_N = torch.from_numpy(np.repeat(np.arange(len(tokens)), ends - starts))
        sums = torch.zeros(len(tokens), states_ND.shape[1]).index_add_(0, text_N, states_ND)
        return sums / torch.from_numpy(ends - starts)[:, None]


def _first_right(first_MD: Tensor, second_MD: Tensor) -> float:
    """Share of first halves whose nearest second half is their own: accuracy at 1."""
    nearest_M = (first_MD @ second_MD.T).argmax(1)
    return (nearest_M == torch.arange(len(first_MD))).float().mean().item()
