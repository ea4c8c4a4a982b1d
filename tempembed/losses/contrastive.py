"""The training objective over ranks: local rows against gathered columns, in one or both directions."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tempembed.losses.reference import nested_infonce
from tempembed.objective import Terms
from tempembed.parallel.gather import gather, rank_and_world_size


def contrastive_loss(
    queries_BD: Float[Tensor, "B D"],
    documents_BD: Float[Tensor, "B D"],
    terms: Terms,
    *,
    hard_negatives_NBD: Float[Tensor, "N B D"] | None = None,
    has_negative_NB: Bool[Tensor, "N B"] | None = None,
    symmetric: bool = False,
) -> Float[Tensor, " T"]:
    """Loss of each term for this rank's rows of the global batch, unweighted, in nats.

    Columns of query -> document are laid out `[P_0..P_{W-1} | N1_0..N1_{W-1} | ...]`: row i of rank r has its
    positive in column r·B + i, hard negative k of global row g stands at G·k + g.

    Args:
        queries_BD: this rank's queries.
        documents_BD: the document of each query.
        terms: the objective.
        hard_negatives_NBD: N hard negatives for each query; candidates of every row of the global batch.
        has_negative_NB: False where a row has fewer than N; such places are no candidates.
        symmetric: the mean of query -> document and document -> query (hard negatives only in the first).

    Cross-rank contract: every rank holds the same B. The mean over ranks of value and gradient is exactly the
    one-process result on the global batch, for the encoder and for anything else the loss depends on; there
    is no factor of the world size anywhere.

    Raises:
        RuntimeError: ranks that disagree on shapes.
    """
    rank, _ = rank_and_world_size()
    batch = queries_BD.shape[0]
    positive_B = torch.arange(batch, device=queries_BD.device) + rank * batch
    columns, valid = [gather(documents_BD)], None
    if hard_negatives_NBD is not None:
        columns += [gather(negatives_BD) for negatives_BD in hard_negatives_NBD]
        if has_negative_NB is not None:
            present = [gather(has_B.to(torch.uint8)).bool() for has_B in has_negative_NB]
            valid = torch.cat([torch.ones_like(present[0]), *present])
    losses_T = nested_infonce(queries_BD, torch.cat(columns), positive_B, terms, valid)
    if symmetric:
        backward_T = nested_infonce(documents_BD, gather(queries_BD), positive_B, terms)
        losses_T = (losses_T + backward_T) / 2
    return losses_T
