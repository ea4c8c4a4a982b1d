"""Flat maps of three embedding spaces, for Figure 3."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from tempembed.geometry.tsne import frequent_rows, tsne
from tempembed.reproduction.results import Group, Results

Maps = Mapping[str, tuple[Float[Tensor, "M 2"], Sequence[str]]]
"""Documents on a plane and their labels, by label of an entry."""


def map_groups(results: Results) -> list[Group]:
    """InfoNCE at the lowest, a middle and the highest temperature."""
    groups = results.role("single")
    return list(dict.fromkeys(groups[i] for i in (0, len(groups) // 2, -1))) if groups else []


def document_maps(
    results: Results, embed: Callable[[Path], Float[Tensor, "M D"]], labels: Sequence[str | None]
) -> Maps:
    """t-SNE of the documents with the most frequent labels, of the first seed of each of `map_groups`; seconds each.

    Args:
        results: of one encoder.
        embed: a model's folder to its embeddings of the test's documents.
        labels: of these documents; without labels there is nothing to see, and no map.
    """
    rows = frequent_rows(labels)
    found = {}
    for group in map_groups(results) if rows else ():
        points_M2 = tsne(embed(group.runs[0].folder)[rows])
        if points_M2 is not None:
            found[group.entry.label] = points_M2, [str(labels[row]) for row in rows]
    return found
