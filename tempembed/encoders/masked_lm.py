"""A transformer with a head that predicts tokens, of any family: texts side by side that do not see each other, the head where it counts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import sdpa_kernel
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from tempembed.encoders.attention import NAME
from tempembed.encoders.encoder import moved
from tempembed.encoders.pretrained import ATTENTION
from tempembed.encoders.unpadded import LENGTHS, TOLERANCE, first_place, row, takes_rows
from tempembed.inputs.sequences import MaskedTexts
from tempembed.inputs.tokens import Tokens

Form = Literal["row", "masks", "lines"]
"""How texts go in: all in one row, without padding (`encoders.unpadded`); sequences of texts with a mask that keeps them apart; or a
text a line, which every family takes."""


class MaskedLM(nn.Module):
    """A masked language model of transformers, which is asked only at masked places.

    In which form it takes texts is found by a probe: the first that gives the vectors of each text alone.

    Args:
        model: with its head, in float32, on the CPU.
        limit: most tokens of a text.
        device: it is for; the model is moved there.
    """

    use_bfloat16 = False
    """Whether its products are in bfloat16."""
    masked_only = True
    """Whether the head is computed at masked places only; the model's own forward has it everywhere."""

    def __init__(self, model: PreTrainedModel, limit: int, device: torch.device | None = None) -> None:
        super().__init__()
        self.model = model.float()
        device = device or torch.device("cpu")
        model.eval()
        self._first_place = first_place(model)
        self.form: Form = self._found_form(min(limit, max(LENGTHS)), device)
        self.masked_only = self._has_head_apart()
        self.to(device)
        model.train()

    @property
    def base(self) -> PreTrainedModel:
        """The transformer without its head."""
        return getattr(self.model, self.model.base_model_prefix)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def _vocabulary(self) -> int:
        table: Any = self.model.get_input_embeddings()
        return table.weight.shape[0]

    def forward(self, texts: MaskedTexts) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
        """The sum of the cross-entropies at masked places, and how many are predicted rightly."""
        targets_M = moved(torch.from_numpy(texts.targets), self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.use_bfloat16):
            logits_MV = self.logits(texts)
        logits_MV = logits_MV.float()
        right = (logits_MV.detach().argmax(1) == targets_M).sum()
        return F.cross_entropy(logits_MV, targets_M, reduction="sum"), right

    def logits(self, texts: MaskedTexts) -> Float[Tensor, "M V"]:
        """Of all tokens at the masked places."""
        places_M = moved(torch.from_numpy(texts.places), self.device)
        if not self.masked_only:
            return self._head(self.states(texts.tokens, texts.per_row))[places_M]
        return self._head(self.states(texts.tokens, texts.per_row)[places_M])

    def states(self, tokens: Tokens, per_row: np.ndarray) -> Float[Tensor, "N D"]:
        """Last hidden state of each token, in their order.

        Args:
            tokens: texts that are not empty.
            per_row: how many neighbouring texts share a sequence; (): it does not matter.
        """
        if self.form == "row":
            return self.base(**row(tokens, self._first_place, self.device)).last_hidden_state[0]
        if self.form == "lines" or not len(per_row):
            per_row = np.ones(len(tokens), np.int64)
        ends = np.cumsum(per_row)
        lengths = tokens.offsets[ends] - tokens.offsets[ends - per_row]
        filled_RL = np.arange(lengths.max()) < lengths[:, None]
        ids_RL = np.full(filled_RL.shape, self.model.config.pad_token_id or 0, np.int64)
        ids_RL[filled_RL] = tokens.ids
        inputs = {"input_ids": moved(torch.from_numpy(ids_RL), self.device)}
        if self.form == "lines":
            inputs["attention_mask"] = moved(torch.from_numpy(filled_RL.astype(np.int64)), self.device)
        else:
            inputs |= self._apart(tokens, filled_RL)
        with sdpa_kernel(ATTENTION):
            states_RLD = self.base(**inputs).last_hidden_state
        return states_RLD[moved(torch.from_numpy(filled_RL), self.device)]

    def _apart(self, tokens: Tokens, filled_RL: np.ndarray) -> dict[str, Any]:
        """Positions that start again in each text, and a mask for each kind of layer, by which tokens of a text see each other."""
        sizes = np.diff(tokens.offsets)
        places = np.zeros(filled_RL.shape, np.int64)
        places[filled_RL] = np.arange(len(tokens.ids)) - np.repeat(tokens.offsets[:-1], sizes)
        text_RL = np.full(filled_RL.shape, -1)
        text_RL[filled_RL] = np.repeat(np.arange(len(sizes)), sizes)
        text = moved(torch.from_numpy(text_RL), self.device)
        same_RLL = (
            text[:, :, None] == text[:, None, :]
        )  # what is free sees what is free: attention to nothing is not defined
        kinds = sorted(set(getattr(self.model.config, "layer_types", None) or ()))
        masks: Any = same_RLL[:, None]
        if len(kinds) > 1:
            at = moved(torch.from_numpy(places), self.device)
            # transformers' convention: those so far apart, or farther, do not see each other
            width = self.model.config.sliding_window + 1
            near_RLL = (at[:, :, None] - at[:, None, :]).abs() < width
            masks = {
                kind: (same_RLL & near_RLL if "sliding" in kind else same_RLL)[:, None] for kind in kinds
            }
        place_RL = moved(torch.from_numpy(places + self._first_place), self.device)
        return {"position_ids": place_RL, "attention_mask": masks}

    def _head(self, states_ND: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]:
        """The family's own head: its forward, whose transformer is replaced by what it gave."""
        name = self.model.base_model_prefix
        base = self.model._modules[name]
        self.model._modules[name] = _Gave(base, states_ND[None])
        try:
            return self.model(input_ids=states_ND.new_zeros(1, len(states_ND), dtype=torch.long)).logits[0]
        finally:
            self.model._modules[name] = base

    @torch.no_grad()
    def _found_form(self, limit: int, device: torch.device) -> Form:
        vocabulary = self._vocabulary
        module = _AsModule(self.base)
        module.eval()
        if device.type == "cpu" and takes_rows(module, vocabulary, limit):
            return "row"
        if self.model.config._attn_implementation == NAME:
            self.model.set_attn_implementation("sdpa")
        tokens = _probe(vocabulary, limit, self.model.config.pad_token_id)
        self.form = "lines"
        want_ND = self.states(tokens, np.empty(0, np.int64))
        self.form = "masks"
        try:
            got_ND = self.states(tokens, np.array([2, 3]))
        except (
            Exception
        ):  # what layers raise has no common class; in lines it fails in the same way, and is told of
            return "lines"
        off = (got_ND - want_ND).norm(dim=1).max() / want_ND.norm(dim=1).mean()
        return "masks" if off <= TOLERANCE else "lines"

    @torch.no_grad()
    def _has_head_apart(self) -> bool:
        """Whether the head gives at some places what the whole model gives there."""
        vocabulary = self._vocabulary
        ids = torch.from_numpy(np.random.default_rng(1).integers(0, vocabulary, (1, 8)))
        try:
            states = self.base(input_ids=ids).last_hidden_state[0]
            want = self.model(input_ids=ids).logits[0, ::3]
            got = self._head(states[::3])
        except (AttributeError, TypeError, RuntimeError, ValueError, NotImplementedError):
            return False
        return bool((got - want).abs().max() <= TOLERANCE * want.abs().max())


class _Gave(nn.Module):
    """Stands where a transformer was and gives what that gave; what else is asked of it, that one tells."""

    def __init__(self, base: nn.Module | None, states: Tensor) -> None:
        super().__init__()
        self.__dict__["told_by"], self.__dict__["gives"] = base, states

    def forward(self, *_: Any, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.__dict__["gives"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["told_by"], name)


class _AsModule(nn.Module):
    """A transformer as `takes_rows` has it, of sentence-transformers."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.auto_model = model

    def forward(self, features: Mapping[str, Any]) -> dict[str, Any]:
        return {**features, "token_embeddings": self.auto_model(**features).last_hidden_state}


def _probe(vocabulary: int, limit: int, padding: int | None) -> Tokens:
    draw = np.random.default_rng(0)
    ordinary = np.delete(np.arange(vocabulary), [] if padding is None or padding >= vocabulary else [padding])
    return Tokens.from_lists([draw.choice(ordinary, min(length, limit)).tolist() for length in LENGTHS])


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Without gradient and dropout meanwhile."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
