"""Fewer coordinates: the prefix, or a random choice (the paper, section 4; paper.md 1.4)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def widths(full: int, smallest: int = 32) -> list[int]:
    """The full width and its halvings down to `smallest`, ascending.

    >>> widths(1024)
    [32, 64, 128, 256, 512, 1024]
    """
    found = [full]
    while found[0] // 2 >= min(smallest, full):
        found.insert(0, found[0] // 2)
    return found


def random_orders(full: int, draws: int, seed: int = 0) -> list[Int[Tensor, " D"]]:
    """Random permutations of the coordinates: the prefixes of a permuted vector are random choices of each width."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(full, generator=generator) for _ in range(draws)]


def cut(embeddings: Float[Tensor, "M D"], width: int) -> Float[Tensor, "M K"]:
    """The first `width` coordinates, re-normalised; a zero vector stays zero."""
    return torch.nn.functional.normalize(embeddings[:, :width], dim=-1)


def bytes_per_vector(dim: int) -> int:
    """float32."""
    return 4 * dim
