"""Alignment and uniformity (Wang & Isola 2020, arXiv:2005.10242)."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def alignment(queries_BD: Float[Tensor, "B D"], documents_BD: Float[Tensor, "B D"]) -> float:
    """`E || f(x) - f(y) ||^2` over positive pairs of unit vectors; 0 is perfect, 2 is unrelated."""
    return (queries_BD - documents_BD).pow(2).sum(1).mean().item()


def uniformity(embeddings_MD: Float[Tensor, "M D"]) -> float:
    """`log E exp(-2 || f(x) - f(y) ||^2)` over distinct pairs of unit vectors; 0 collapsed, near -4 uniform.

    The signed loss: smaller is more uniform. A zero vector stays one. Blocks of rows, so memory is 1024·M.
    """
    total, num = 0.0, len(embeddings_MD)
    norms_M = embeddings_MD.pow(2).sum(1)
    for start in range(0, num, 1024):
        rows_BD = embeddings_MD[start : start + 1024]
        products_BM = rows_BD @ embeddings_MD[start:].T
        squared_BM = norms_M[start : start + 1024, None] + norms_M[None, start:] - 2 * products_BM
        pairs_BM = (
            squared_BM.clamp_min(0).mul(-2).exp().triu(diagonal=1)
        )  # each pair once, no row with itself
        total += pairs_BM.sum(dtype=torch.float64).item()
    pairs = num * (num - 1) / 2
    return math.log(total / pairs) if total else -math.inf


def tolerance(embeddings_MD: Float[Tensor, "M D"], labels: Sequence[str | None]) -> float:
    """Mean of `f(x) . f(y)` over pairs of different rows with one label (Wang & Liu 2021); nan without such a pair.

    By sums of classes: the sum over a class's pairs is `|sum f|^2 - sum |f|^2`. None is no label.
    """
    classes: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        if label is not None:
            classes.setdefault(label, []).append(row)
    total, pairs = 0.0, 0
    for rows in classes.values():
        members = embeddings_MD[rows].double()
        total += (members.sum(0).square().sum() - members.square().sum()).item()
        pairs += len(rows) * (len(rows) - 1)
    return total / pairs if pairs else math.nan
