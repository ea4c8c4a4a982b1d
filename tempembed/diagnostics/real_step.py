"""A real training step on random texts, of any size, taken in any of the ways that `tempembed plan` compares."""

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from tempembed.diagnostics.request import Request
from tempembed.encoders.precision import uses_bfloat16
from tempembed.encoders.text import TextEncoder
from tempembed.inputs.tokens import Tokens
from tempembed.losses.contrastive import contrastive_loss
from tempembed.parallel.gather import rank_and_world_size
from tempembed.stages.pair_data import PairBatch
from tempembed.stages.pair_step import PairStep


class RealStep:
    """Forward, backward and optimiser's step on this process's part of a batch.

    Args:
        encoder: on its device.
        request: the objective, hard negatives and micro-batches.
        strategy: dense, tiled or cached.
    """

    def __init__(self, encoder: TextEncoder, request: Request, strategy: str) -> None:
        self._encoder, self._negatives = encoder.train(), request.hard_negatives
        encoder.use_bfloat16 = uses_bfloat16(request.settings.model.precision, encoder)
        self._step = PairStep(
            encoder, request.settings.loss.resolved(encoder.width), micro_batch_tokens=request.micro_batch_tokens,
            gradient_cache=strategy == "cached", dense=strategy == "dense",
        ).to(encoder.device)  # fmt: skip
        alone = rank_and_world_size()[1] == 1
        self._model = encoder if alone else DistributedDataParallel(encoder, find_unused_parameters=True)
        # with no rate nothing moves, and all is computed
        self._optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.0, weight_decay=0.0, fused=True)

    def seconds(self, rows: int, tokens: int, repeats: int = 2) -> float:
        """Seconds of the fastest step of a few.

        Args:
            rows: queries of this process.
            tokens: of each text.
            repeats: how many are taken, beside the first, which makes the optimiser's state.
        """
        batch = PairBatch(
            inputs=[sample_texts(self._encoder, rows * (2 + self._negatives), tokens)],
            present=np.ones((self._negatives, rows), bool),
        )
        best = float("inf")
        for _ in range(1 + repeats):
            began = time.perf_counter()
            self._step(batch, 0.0, self._model).loss.backward()
            self._optimizer.step()
            self._optimizer.zero_grad()
            if self._encoder.device.type == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - began)
        return best

    def loss_alone(self, rows: int) -> None:
        """The loss of random embeddings, with its backward."""
        generator = torch.Generator(self._encoder.device).manual_seed(0)
        shape = (2 + self._negatives, rows, self._encoder.width)
        sides = F.normalize(torch.randn(shape, generator=generator, device=self._encoder.device), dim=-1)
        queries, documents, *negatives = (side.clone().requires_grad_() for side in sides)
        objective = self._step.objective
        contrastive_loss(
            queries, documents, objective.terms, direction=objective.direction, dense=self._step.dense,
            hard_negatives_NBD=torch.stack(negatives) if negatives else None,
        ).objective.backward()  # fmt: skip


def sample_texts(encoder: TextEncoder, num: int, tokens: int) -> Tokens:
    """Random texts of so many tokens."""
    ids = np.random.default_rng(0).integers(5, encoder.num_tokens, num * tokens).astype(np.int32)
    texts = Tokens(ids=ids, offsets=np.arange(num + 1) * tokens)
    return texts.as_bags() if encoder.takes_bags else texts


def saved_bytes(run: Callable[[], object], besides: object = ()) -> int:
    """Bytes that autograd keeps for the backward, weights aside."""
    known = {parameter.data_ptr() for parameter in besides}  # type: ignore[attr-defined]
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        held = run()
    del held
    return sum(sizes.values())
