"""A flat map of an embedding space."""

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

LEAST_ROWS = 20


def frequent_rows(labels: Sequence[str | None], num_labels: int = 10, num_rows: int = 1500) -> list[int]:
    """Rows of the most frequent labels, of more than `num_rows` so many drawn at random, ascending."""
    counts = Counter(label for label in labels if label is not None)
    names = {name for name, _ in counts.most_common(num_labels)}
    rows = torch.tensor([row for row, label in enumerate(labels) if label in names])
    drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:num_rows]
    return rows[drawn].sort().values.tolist() if len(rows) else []


def tsne(rows_MD: Float[Tensor, "M D"]) -> Float[Tensor, "M 2"] | None:
    """t-SNE (van der Maaten & Hinton 2008) by scikit-learn, from principal components, seed 0; some seconds.

    None where there is nothing to see: fewer than 20 rows or 2 coordinates, all rows equal, or some no finite numbers.
    """
    from sklearn.manifold import TSNE

    spread = (rows_MD - rows_MD[:1]).abs().max() if rows_MD.numel() else torch.tensor(0.0)
    if (
        len(rows_MD) < LEAST_ROWS
        or rows_MD.shape[1] < 2
        or not torch.finfo(torch.float32).tiny < spread < torch.inf
    ):
        return None
    perplexity = min(30.0, (len(rows_MD) - 1) / 3)
    model = TSNE(perplexity=perplexity, init="pca", random_state=0)
    return torch.from_numpy(model.fit_transform(rows_MD.numpy()))
