"""The training objective over ranks: local rows against gathered columns, in one or both directions."""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempembed.losses.blocks import Problem, constant
from tempembed.losses.margins import Guide, Seen
from tempembed.losses.masks import FalseNegatives
from tempembed.losses.nested import nested_tiled
from tempembed.losses.reference import nested_infonce
from tempembed.losses.unit import unit
from tempembed.objectives.margin import Margin
from tempembed.objectives.term import INFONCE, Direction, Hardness, Terms, check_direction
from tempembed.parallel.gather import gather, rank_and_world_size, require_equal_shapes
from tempembed.system.errors import UserError

DIRECTIONS = get_args(Direction)


class Loss(NamedTuple):
    """What a step needs of its objective."""

    objective: Float[Tensor, ""]
    """Sum of weight x loss over the terms; carries the gradient."""
    terms_T: Float[Tensor, " T"]
    """Loss of each term, unweighted, in nats, of this rank's rows; no gradient."""
    num_masked: Int[Tensor, ""]
    """False negatives of this rank's rows that were left out."""
    rows_B: Float[Tensor, " B"] | None = None
    """Objective of each of this rank's rows, of its query (in document-to-query of its document); no gradient. None: not asked for."""


@dataclass(frozen=True, kw_only=True)
class TextIds:
    """64-bit ids of this rank's texts, by which false negatives are found; one space for all roles."""

    queries_B: Int[Tensor, " B"]
    documents_B: Int[Tensor, " B"]
    hard_negatives_NB: Int[Tensor, "N B"] | None = None
    known: tuple[Int[Tensor, " F"], Int[Tensor, " F"]] | None = None
    """(row, id of a text), rows ascending: what else the data lists as right for a row of this rank, in or out of the batch.

    Answers of its query; in document-to-query, queries that its document answers.
    """


def contrastive_loss(
    queries_BD: Float[Tensor, "B D"],
    documents_BD: Float[Tensor, "B D"],
    terms: Terms,
    *,
    temperatures_T: Float[Tensor, " T"] | None = None,
    hard_negatives_NBD: Float[Tensor, "N B D"] | None = None,
    has_negative_NB: Bool[Tensor, "N B"] | None = None,
    ids: TextIds | None = None,
    margin: Margin | None = None,
    guide: Guide | None = None,
    direction: str = "query-to-document",
    hardness: Hardness = INFONCE,
    rows: bool = False,
    dense: bool = False,
) -> Loss:
    """Loss of this rank's rows against the candidates of all ranks.

    Columns are laid out `[P_0..P_{W-1} | N1_0..N1_{W-1} | ...]`: row i of rank r has its positive in column
    r·B + i, hard negative k of global row g stands at G·k + g.

    Args:
        queries_BD: this rank's queries; need not be normalised.
        documents_BD: the document of each query.
        terms: the objective.
        temperatures_T: of this step, in place of those in `terms`; a learned one carries a gradient.
        hard_negatives_NBD: N hard negatives for each query; candidates of every row of the global batch.
        has_negative_NB: False where a row has fewer than N; such places are no candidates.
        ids: mask candidates that are as right as the positive, over the global batch (`FalseNegatives`): those that the
            data lists as answers of the row's query, and the query's own text. In the other direction a document's
            candidates are masked by the same rule.
        margin: mask candidates that are nearer than this to the row's positive, by the model's own cosines at the widest dim.
            Masks are constants: no gradient knows of them. In the other direction a document's positive is its query.
        guide: the same by the cosines of a second model.
        direction: query-to-document, document-to-query (without hard negatives), or the mean of both.
        hardness: beta and tau_plus.
        rows: give the objective of each row as well; not with `dense`.
        dense: the oracle in place of the tiled engine; memory C x B for every term.

    Cross-rank contract: every rank holds the same B. The mean over ranks of value and gradient is exactly the
    one-process result on the global batch, for the encoder and for the temperatures (average their gradients
    over ranks too); there is no factor of the world size anywhere. One gather of documents, one of each column of
    hard negatives, whatever the number of terms and directions.

    Raises:
        UserError: ranks that disagree on shapes (with the shapes), a global batch without negatives, a prefix
            that is wider than the embeddings, a view that has no such direction.
    """
    rank, world_size = rank_and_world_size()
    batch, width = queries_BD.shape
    if direction not in DIRECTIONS:
        raise UserError(f"--direction: expected one of {', '.join(DIRECTIONS)}, got {direction!r}")
    widest = max(term.dim for term in terms)
    if widest > width:
        raise UserError(f"terms: expected dims up to {width}, the width of the embeddings, got {widest}")
    num_negatives = 0 if hard_negatives_NBD is None else len(hard_negatives_NBD)
    require_equal_shapes((batch, width, num_negatives), "batch, width, hard negatives")
    if batch * world_size * (1 + num_negatives) < 2:
        raise UserError("a batch: expected at least one negative, got 1 pair and no hard negatives")
    check_direction(terms, direction)
    if direction == "document-to-query":
        if num_negatives:
            raise UserError("--direction document-to-query: expected no hard negatives, they are documents")
        queries_BD, documents_BD = documents_BD, queries_BD
        ids = ids and replace(ids, queries_B=ids.documents_B, documents_B=ids.queries_B)
        guide = guide and replace(guide, queries_BE=guide.documents_BE, documents_BE=guide.queries_BE)

    queries_BD = unit(queries_BD[:, :widest])
    positive_B = torch.arange(batch, device=queries_BD.device) + rank * batch
    columns = [gather(unit(documents_BD[:, :widest]))]
    if hard_negatives_NBD is not None:
        columns += [gather(unit(negatives_BD[:, :widest])) for negatives_BD in hard_negatives_NBD]
    candidates_CD = torch.cat(columns) if len(columns) > 1 else columns[0]
    seen = None if guide is None else Seen.of(guide)
    query_ids_G, candidate_ids_C = _gathered_ids(ids)
    if has_negative_NB is not None:
        present = torch.cat([gather(has_B.to(torch.uint8)) for has_B in has_negative_NB]).bool()
        if not present.all():
            valid = torch.cat([present.new_ones(batch * world_size), present])
            candidates_CD = candidates_CD[valid]
            candidate_ids_C = None if candidate_ids_C is None else candidate_ids_C[valid]
            seen = None if seen is None else replace(seen, columns_CE=seen.columns_CE[valid])
    masks = None
    if ids is not None and query_ids_G is not None and candidate_ids_C is not None:
        masks = FalseNegatives(query_ids_G, candidate_ids_C, positive_B, ids.known)
    if temperatures_T is None:
        dtype = torch.promote_types(queries_BD.dtype, torch.float32)
        temperatures_T = constant(tuple(term.temperature for term in terms), dtype, queries_BD.device)
    both = direction == "both"
    if not dense:
        rows_B = temperatures_T.new_zeros(batch) if rows else None
        problem = Problem(
            terms=terms, positive_B=positive_B, num_documents=batch * world_size, both=both, hardness=hardness,
            false_negatives=masks, margin=margin, guide=seen, row_losses_B=rows_B,
        )  # fmt: skip
        return Loss(*nested_tiled(queries_BD, candidates_CD, temperatures_T, problem), rows_B)
    judges = [] if margin is None else [Seen(rows_BE=queries_BD, columns_CE=candidates_CD, margin=margin)]
    judges += [] if seen is None else [seen]
    identical_BC = torch.zeros(
        len(queries_BD), len(candidates_CD), dtype=torch.bool, device=queries_BD.device
    )
    if masks is not None:
        identical_BC = masks.matrix()
    masked_BC = _union(identical_BC, [judge.matrix(positive_B) for judge in judges])
    oracle = partial(nested_infonce, temperatures_T=temperatures_T, hardness=hardness)
    losses_T = oracle(queries_BD, candidates_CD, positive_B, terms, masked_BC=masked_BC)
    if both:
        others = [judge.other_way(positive_B).matrix(positive_B) for judge in judges]
        backward_T = oracle(
            candidates_CD[positive_B], gather(queries_BD), positive_B, terms,
            masked_BC=_union(_other_way(identical_BC, positive_B), others), turned=True, documents_MD=candidates_CD,
        )  # fmt: skip
        losses_T = (losses_T + backward_T) / 2
    weights_T = losses_T.new_tensor([term.weight for term in terms])
    return Loss((losses_T * weights_T).sum(), losses_T.detach(), masked_BC.sum())


def _union(matrix: Tensor, others: list[Tensor]) -> Tensor:
    return torch.stack([matrix, *others]).any(0)


def _other_way(masked_BC: Bool[Tensor, "B C"], positive_B: Int[Tensor, " B"]) -> Bool[Tensor, "B G"]:
    """Masks of local documents against all queries: a query is as right for a document as the document for the query."""
    num = len(positive_B) * rank_and_world_size()[1]
    return gather(masked_BC[:, :num].to(torch.uint8)).bool()[:, positive_B].T


def _gathered_ids(ids: TextIds | None) -> tuple[Tensor | None, Tensor | None]:
    """Ids of all queries and of all candidates."""
    if ids is None:
        return None, None
    extra = [] if ids.hard_negatives_NB is None else [gather(row_B) for row_B in ids.hard_negatives_NB]
    return gather(ids.queries_B), torch.cat([gather(ids.documents_B), *extra])
