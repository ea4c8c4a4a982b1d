"""Flat maps of three embedding spaces, for Figure 3."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from tempembed.geometry.tsne import frequent_rows, tsne
from tempembed.reproduction.results import Line, Results

Maps = Mapping[str, tuple[Float[Tensor, "M 2"], Sequence[str]]]
"""By label of an entry: documents on a plane, and their labels."""


def map_lines(results: Results) -> list[Line]:
    """InfoNCE at the lowest, a middle and the highest temperature."""
    lines = results.role("single")
    return list(dict.fromkeys(lines[i] for i in (0, len(lines) // 2, -1))) if lines else []


def document_maps(
    results: Results, embed: Callable[[Path], Float[Tensor, "M D"]], labels: Sequence[str | None]
) -> Maps:
    """t-SNE of the documents with the most frequent labels, of the first seed of each of `map_lines`; seconds each.

    Args:
        results: of one encoder.
        embed: a model's folder to its embeddings of the test's documents.
        labels: of these documents; without labels there is nothing to see, and no map.
    """
    rows = frequent_rows(labels)
    found = {}
    for line in map_lines(results) if rows else ():
        points_M2 = tsne(embed(line.runs[0].folder)[rows])
        if points_M2 is not None:
            found[line.entry.label] = points_M2, [str(labels[row]) for row in rows]
    return found
