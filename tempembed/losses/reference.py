"""The dense loss, straight from the formulas: the oracle for every faster engine."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempembed.losses.views import BITS, SIDES, Kind, as_integers
from tempembed.objectives.term import INFONCE, Hardness, Terms


def nested_infonce(
    queries_BD: Float[Tensor, "B D"],
    candidates_CD: Float[Tensor, "C D"],
    positive_B: Int[Tensor, " B"],
    terms: Terms,
    *,
    temperatures_T: Float[Tensor, " T"] | None = None,
    masked_BC: Bool[Tensor, "B C"] | None = None,
    hardness: Hardness = INFONCE,
    turned: bool = False,
    documents_MD: Float[Tensor, "M D"] | None = None,
) -> Float[Tensor, " T"]:
    """InfoNCE of every term, unweighted, each on a view of its re-normalised prefix.

    For a term (d, tau): `mean_i [ logsumexp_j(s_ij / tau) - s_i,p(i) / tau ]`, s = cosine of the first d
    coordinates, of their signs or of what integers leave of them where the view has those; with `hardness` the negatives' sum is replaced, see there. Sums run in float32 (float64 if the
    embeddings are).

    Args:
        queries_BD: rows; need not be normalised.
        candidates_CD: the columns that all rows share: positives, other rows' positives, hard negatives.
        positive_B: the column of each row's positive.
        terms: the list of terms.
        temperatures_T: in place of those in `terms`; may carry a gradient.
        masked_BC: True where a column is no negative of the row. Never the positive.
        hardness: beta and tau_plus.
        turned: the rows are documents, the columns queries.
        documents_MD: those in whose ranges integers lie; by default the columns.

    Returns:
        One loss per term, in nats, mean over the rows; 0 for a row without negatives. With rows local to a rank
        and columns gathered over ranks, the mean over ranks (which DDP takes) is the loss of the global batch;
        do not rescale.

    Source: van den Oord et al. 2018 (arXiv:1807.03748) eq. 4; the paper's eqs. 1, 5-8; Robinson et al. 2021
    (arXiv:2010.04592).
    """
    dtype = torch.promote_types(queries_BD.dtype, torch.float32)
    is_positive_BC = F.one_hot(positive_B, len(candidates_CD)).bool()
    left_out_BC = is_positive_BC if masked_BC is None else is_positive_BC | masked_BC
    num_B = (~left_out_BC).sum(1).to(dtype)
    losses, widest = [], max(term.dim for term in terms)
    for t, term in enumerate(terms):
        of_rows, of_columns = SIDES[term.view][::-1] if turned else SIDES[term.view]
        documents = (candidates_CD if documents_MD is None else documents_MD)[:, :widest].to(dtype).detach()
        rows = _prefix(queries_BD[:, :widest].to(dtype), term.dim, of_rows, documents)
        columns = _prefix(candidates_CD[:, :widest].to(dtype), term.dim, of_columns, documents)
        tau = torch.tensor(term.temperature, dtype=dtype) if temperatures_T is None else temperatures_T[t]
        logits_BC = rows @ columns.T / tau
        positive = logits_BC[is_positive_BC]
        negative_BC = logits_BC.masked_fill(left_out_BC, -torch.inf)
        log_negatives = _log_sum(negative_BC, left_out_BC, num_B, positive, 1 / tau, hardness)
        loss_B = torch.where(num_B > 0, torch.logaddexp(positive, log_negatives) - positive, 0.0)
        losses.append(loss_B.mean())
    return torch.stack(losses)


def _prefix(embeddings: Tensor, dim: int, kind: Kind, documents: Tensor) -> Tensor:
    """The first coordinates as a unit vector; of their signs, whose gradient is that of a clipped line; of integers, straight through."""
    if kind == "float":
        return F.normalize(embeddings[:, :dim], dim=-1)
    unit, width = F.normalize(embeddings, dim=-1), embeddings.shape[1]
    if kind != "sign":
        values, passes = as_integers(unit.detach(), F.normalize(documents, dim=-1), BITS[kind])
        straight = torch.where(passes, unit, unit.detach())
        return F.normalize((straight + (values - unit).detach())[:, :dim], dim=-1)
    line = (unit * math.sqrt(width)).clamp(-1, 1)[:, :dim]
    sign = torch.where(embeddings[:, :dim] > 0, 1.0, -1.0)
    return (line + (sign - line).detach()) / math.sqrt(dim)


def _log_sum(
    negative_BC: Tensor,
    left_out_BC: Tensor,
    num_B: Tensor,
    positive: Tensor,
    scale: Tensor,
    hardness: Hardness,
) -> Tensor:
    if not (hardness.beta or hardness.tau_plus):
        return _safe_logsumexp(negative_BC)
    weights_BC = (negative_BC * hardness.beta).masked_fill(left_out_BC, -torch.inf)
    ratio = _safe_logsumexp(negative_BC * (1 + hardness.beta)) - _safe_logsumexp(weights_BC)
    raw = num_B * (ratio.exp() - hardness.tau_plus * positive.exp()) / (1 - hardness.tau_plus)
    if hardness.tau_plus == 0:
        return num_B.clamp_min(1).log() + ratio
    return (
        torch.maximum(raw, num_B * (-scale).exp())
        .clamp_min(math.exp(-700 if raw.dtype == torch.float64 else -80))
        .log()
    )


def _safe_logsumexp(x: Tensor) -> Tensor:
    """Finite gradient where all entries are -inf."""
    none = torch.isneginf(x).all(1, keepdim=True)
    return torch.where(none[:, 0], -1e9, torch.where(none, 0.0, x).logsumexp(1))
