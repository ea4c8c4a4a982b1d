"""What a task measures of one codec: a value, and the same value on every bootstrap sample of its items."""

import zlib
from abc import ABC, abstractmethod
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

RESAMPLES = 1000
BLOCK = 100  # resamples at a time, for the memory


@lru_cache(maxsize=4)
def resample_counts(name: str, num: int, resamples: int = RESAMPLES) -> Float[Tensor, "R N"]:
    """How often each item is in each bootstrap sample (Efron & Tibshirani 1993, chapter 13).

    The same for all codecs and models on a task, so that every difference and ratio is paired; other tasks have others.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    picks = torch.randint(num, (resamples, num), generator=generator)
    found = torch.zeros(resamples, num)
    return found.scatter_add_(1, picks, torch.ones_like(picks, dtype=torch.float32))


def interval(replicates_R: Float[Tensor, " R"]) -> tuple[float, float]:
    """95 %, by percentiles."""
    low, high = replicates_R.double().quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def ratio(part_R: Float[Tensor, "*R"], whole_R: Float[Tensor, "*R"]) -> Float[Tensor, "*R"]:
    """Retention of each replicate."""
    return part_R / whole_R.clamp_min(1e-12)


class Statistic(ABC):
    """A score and its bootstrap."""

    num_items: int

    @property
    @abstractmethod
    def value(self) -> float:
        """The score of the items as they are."""

    @abstractmethod
    def resampled(self, counts_RN: Float[Tensor, "R N"]) -> Float[Tensor, " R"]:
        """The score of each bootstrap sample."""


class Mean(Statistic):
    """The mean of a score that every item has: a query's nDCG, a clustering's V-measure."""

    def __init__(self, items_N: Float[Tensor, " N"]) -> None:
        self._items = items_N.double()
        self.num_items = len(items_N)

    @property
    def value(self) -> float:
        """The mean."""
        return self._items.mean().item()

    def part(self, items_M: Int[Tensor, " M"]) -> "Mean":
        """The mean of these items."""
        return Mean(self._items[items_M])

    def resampled(self, counts_RN: Float[Tensor, "R N"]) -> Float[Tensor, " R"]:
        """The means."""
        # single precision for the product, on values around zero: its rounding is below 1e-7
        centre = self._items.mean()
        return (counts_RN @ (self._items - centre).float()).double() / self.num_items + centre


class Spearman(Statistic):
    """Rank correlation over pairs of texts, ties at their mean rank."""

    def __init__(self, predicted_N: Float[Tensor, " N"], gold_N: Float[Tensor, " N"]) -> None:
        self._columns = [_Ties(predicted_N), _Ties(gold_N)]
        self.num_items = len(gold_N)

    @property
    def value(self) -> float:
        """Spearman's rho; 0 where either side is constant."""
        return self.resampled(torch.ones(1, self.num_items)).item()

    def resampled(self, counts_RN: Float[Tensor, "R N"]) -> Float[Tensor, " R"]:
        """Exact: the ranks are those within the sample."""
        parts = []
        for block in counts_RN.split(BLOCK):
            weights = block.double()
            x, y = (column.ranks(weights) for column in self._columns)
            total = weights.sum(1, keepdim=True)
            x, y = (v - (weights * v).sum(1, keepdim=True) / total for v in (x, y))
            spread = ((weights * x * x).sum(1) * (weights * y * y).sum(1)).sqrt()
            parts.append(torch.where(spread > 0, (weights * x * y).sum(1) / spread.clamp_min(1e-300), 0))
        return torch.cat(parts)


class AveragePrecision(Statistic):
    """Area under precision over recall, equal scores together, as scikit-learn's average_precision_score."""

    def __init__(self, scores_N: Float[Tensor, " N"], positive_N: Bool[Tensor, " N"]) -> None:
        self._ties = _Ties(-scores_N)
        self._positive = positive_N.double()
        self.num_items = len(scores_N)

    @property
    def value(self) -> float:
        """The average precision."""
        return self.resampled(torch.ones(1, self.num_items)).item()

    def resampled(self, counts_RN: Float[Tensor, "R N"]) -> Float[Tensor, " R"]:
        """0 for a sample without positives."""
        parts = []
        for block in counts_RN.split(BLOCK):
            weights = block.double()
            all_RG = self._ties.totals(weights).cumsum(1)
            right_RG = self._ties.totals(weights * self._positive)
            precision_RG = right_RG.cumsum(1) / all_RG.clamp_min(1e-300)
            parts.append((precision_RG * right_RG).sum(1) / right_RG.sum(1).clamp_min(1e-300))
        return torch.cat(parts)


class _Ties:
    """Items in groups of equal value, groups ascending."""

    def __init__(self, values_N: Tensor) -> None:
        _, self._group = values_N.unique(return_inverse=True)
        self._num = int(self._group.max()) + 1

    def totals(self, weights_RN: Tensor) -> Tensor:
        """Sum of the weights in each group, [R, G]."""
        totals = torch.zeros(len(weights_RN), self._num, dtype=weights_RN.dtype)
        return totals.index_add_(1, self._group, weights_RN)

    def ranks(self, weights_RN: Tensor) -> Tensor:
        """Mean rank of each item, where an item stands as often as its weight, [R, N]."""
        totals = self.totals(weights_RN)
        return (totals.cumsum(1) - totals / 2)[:, self._group]
