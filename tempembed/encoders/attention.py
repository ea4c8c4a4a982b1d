"""Attention within each text of a row, for every model that goes through transformers' attention interface."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tempembed.encoders.products import Groups, attend, is_faster

NAME = "tempembed_rows"
"""What transformers calls it."""
GROUPS = "text_groups"
"""The argument that says where texts are; without it, attention is transformers' own."""
INERT = frozenset({"position_ids", "use_cache", "output_attentions", "output_hidden_states", "deterministic", "is_causal",
                   "cu_seq_lens_q", "return_dict", "cache_position", "num_items_in_batch"})  # fmt: skip
"""Arguments that change nothing here."""


def register() -> None:
    """Make it known to transformers; again does no harm."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, _mask)


def like_lengths(lengths: np.ndarray) -> Groups:
    """Runs of one length: texts that are sorted by length are few."""
    if not len(lengths):
        return ()
    ends = np.append(np.flatnonzero(np.diff(lengths)), len(lengths) - 1)
    return tuple(zip(np.diff(ends, prepend=-1).tolist(), lengths[ends].tolist(), strict=True))


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    text_groups: Groups | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention of the texts of a row, each by itself.

    Args:
        module: the layer; says whether it is causal.
        query: [1, H, T, D], all texts one after the other; so are key and value, perhaps of fewer heads.
        key: see query.
        value: see query.
        attention_mask: of padded texts; none in a row.
        dropout: share of the weights that is left out.
        scaling: of the products.
        sliding_window: tokens so far apart, or farther, do not see each other.
        text_groups: where texts are; None: padded texts.
        others: what a family asks for besides: biases, sinks.

    Returns:
        [1, T, H, D], and no weights.

    Raises:
        NotImplementedError: something that is asked for besides would be left out in silence.
    """
    if text_groups is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling,
            sliding_window=sliding_window, **others,
        )  # fmt: skip
    unknown = [name for name, asked in others.items() if asked is not None and name not in INERT]
    if unknown or attention_mask is not None:
        raise NotImplementedError(f"attention in a row with {', '.join(unknown) or 'a mask'}")
    asked = others.get("is_causal")
    causal = bool(getattr(module, "is_causal", True) if asked is None else asked)
    shared = query.shape[1] != key.shape[1]
    longest = max(length for _, length in text_groups)
    if not causal and not shared and (sliding_window is None or longest <= sliding_window):
        if is_faster(query, longest, dropout):
            scale = query.shape[-1] ** -0.5 if scaling is None else scaling
            return attend(query[0], key[0], value[0], text_groups, scale, dropout)[None], None
    sizes = [num * length for num, length in text_groups]
    parts = []
    for (num, _), *each in zip(
        text_groups, *(x[0].split(sizes, 1) for x in (query, key, value)), strict=True
    ):
        q, k, v = (x.unflatten(1, (num, -1)).transpose(0, 1) for x in each)  # [num, H, L, D]
        window = _window(q.shape[2], sliding_window, causal=causal, device=q.device)
        found = F.scaled_dot_product_attention(
            q, k, v, window, dropout, is_causal=causal and window is None and q.shape[2] > 1, scale=scaling, enable_gqa=shared
        )  # fmt: skip
        parts.append(found.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)[None], None


def _window(length: int, width: int | None, *, causal: bool, device: torch.device) -> Tensor | None:
    """Which tokens see each other, by transformers' convention (its flash attention's); None: all that may."""
    if width is None or length <= width:
        return None
    places = torch.arange(length, device=device)
    distance = places[:, None] - places
    return (distance < width) & (distance >= (0 if causal else 1 - width))


def _mask(*, attention_mask: Tensor | None = None, **others: Any) -> Tensor | None:
    """Transformers' own; none for a row, which has `text_groups`."""
    return None if attention_mask is None else sdpa_mask(attention_mask=attention_mask, **others)
