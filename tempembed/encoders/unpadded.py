"""Texts one after the other in one row, so that no layer meets a padding token.

Linear layers, norms and activations take each token alone; attention is told where texts end (`attention`). Families whose
attention does not go through transformers' interface, or that mean something else by a place, are found out by a probe.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tempembed.encoders.attention import GROUPS, NAME, like_lengths, register
from tempembed.inputs.tokens import Tokens

LENGTHS = (1, 3, 3, 40, 160)
"""Tokens of the probe's texts: alike and unlike, one token, longer than half of the usual windows of local attention."""
TOLERANCE = 1e-5
"""Largest difference that another order of sums makes in float32, relative to the length of a token's vector."""


def row(tokens: Tokens, first_place: int, device: torch.device) -> dict[str, Any]:
    """What a transformer takes for texts that are not empty: ids and places [1, T], and where which text is.

    Args:
        tokens: T in all.
        first_place: of a text's first token, 0 but in RoBERTa's family, which counts on from its padding token.
        device: takes the tensors.
    """
    lengths = np.diff(tokens.offsets)
    places = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], lengths)
    if first_place:  # its padding token has a place of its own, and is not counted, in a text as well
        is_text = tokens.ids != first_place - 1
        counted = np.cumsum(is_text)
        before = np.append(0, counted)[tokens.offsets[:-1]]
        places = np.where(is_text, counted - np.repeat(before, lengths) - 1, -1)
    ids = np.ascontiguousarray(tokens.ids).astype(np.int64)
    return {
        "input_ids": torch.from_numpy(ids)[None].to(device),
        "position_ids": torch.from_numpy(places + first_place)[None].to(device),
        "cu_seq_lens_q": torch.from_numpy(np.ascontiguousarray(tokens.offsets)).to(device),  # what sentence-transformers pools by
        GROUPS: like_lengths(lengths),
    }  # fmt: skip


def padded(row_TD: Tensor, tokens: Tokens) -> Tensor:
    """Tokens of a row, each text on its own line [B, L, D], zeros behind it."""
    lengths = torch.from_numpy(np.diff(tokens.offsets)).to(row_TD.device)
    mask_BL = torch.arange(int(lengths.max()), device=row_TD.device) < lengths[:, None]
    lines_BLD = row_TD.new_zeros(*mask_BL.shape, row_TD.shape[-1])
    return lines_BLD.masked_scatter(mask_BL[..., None], row_TD)


def first_place(model: nn.Module) -> int:
    """The place of a text's first token: behind the padding token's, where the table of places counts that (RoBERTa)."""
    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and isinstance(
            getattr(module, "position_embeddings", None), nn.Embedding
        ):
            return padding + 1
    return 0


@torch.no_grad()
def takes_rows(transformer: Any, vocabulary: int, limit: int) -> bool:
    """Have a transformer of sentence-transformers take texts in a row, if that gives the same vectors as padded ones.

    Args:
        transformer: sentence-transformers' module, on the CPU.
        vocabulary: tokens that it knows.
        limit: most tokens of a text.
    """
    model = getattr(transformer, "auto_model", None)
    # the probe is of float32 on a CPU; other devices keep to padded texts, whose kernels take any length at once
    if not isinstance(model, PreTrainedModel) or model.config._attn_implementation != "sdpa":
        return False
    if not getattr(model, "is_backend_compatible", lambda: False)():
        return False
    draw = np.random.default_rng(0)
    texts = Tokens.from_lists(
        [draw.integers(0, vocabulary, min(length, limit)).tolist() for length in LENGTHS]
    )
    was_training = transformer.training
    transformer.eval()
    register()
    model.set_attn_implementation(NAME)
    try:
        in_row = _tokens_of(transformer, row(texts, first_place(model), torch.device("cpu")))
        each = [texts.select(np.array([i])) for i in range(len(texts))]
        alone = torch.cat([_tokens_of(transformer, _alone(text)) for text in each])
        largest = (in_row - alone).norm(dim=1).max() / alone.norm(dim=1).mean()
        is_exact = bool(largest <= TOLERANCE)
    except (
        Exception
    ):  # what layers raise has no common class; padded, it fails in the same way, and is told of
        is_exact = False
    if not is_exact:
        model.set_attn_implementation("sdpa")
    transformer.train(was_training)
    return is_exact


def _alone(text: Tokens) -> Mapping[str, Tensor]:
    ids = torch.from_numpy(text.ids.astype(np.int64))[None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _tokens_of(transformer: Any, features: Mapping[str, Any]) -> Tensor:
    return transformer(dict(features))["token_embeddings"][0].float()
