"""What a training step would cost, before it is run: bytes and seconds of four ways to take it.

A small piece of each part runs on this machine and is scaled up: the loss with rows x columns, the encoder with tokens.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models
from torch import Tensor

from tempembed.data.tokens import Tokens
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.tokenizer import END, MASK, PAD, START, UNKNOWN
from tempembed.losses.contrastive import contrastive_loss
from tempembed.losses.nested import workspace_bytes
from tempembed.objective import Terms
from tempembed.parallel.gradient_cache import cached_forward

SAMPLE_ROWS = 1024
SAMPLE_TOKENS = 4096
OVERHEAD_BYTES = 300 * 2**20
"""Of a process with torch, measured: 0.25 to 0.35 GB."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a step."""

    batch_size: int
    """Global batch, in pairs."""
    num_workers: int
    num_hard_negatives: int
    tokens: int
    """Of an average text."""
    micro_batch_tokens: int

    @property
    def rows(self) -> int:
        """Queries of a worker."""
        return self.batch_size // self.num_workers

    @property
    def texts(self) -> int:
        """Texts that a worker encodes."""
        return self.rows * (2 + self.num_hard_negatives)

    @property
    def columns(self) -> int:
        """Candidates of a query."""
        return self.batch_size * (1 + self.num_hard_negatives)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one step on one worker."""

    strategy: str
    num_negatives: int
    """Per query."""
    bytes: int
    """Peak."""
    seconds: float
    exact: bool = True
    """Whether it trains the objective on the global batch."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Measured on this machine."""

    tiled: float
    """Seconds for a row and a column, value and gradient."""
    dense: float
    dense_bytes: float
    """Bytes for a row and a column."""
    forward: float
    """Seconds for a token."""
    backward: float
    activations: float
    """Bytes for a token, kept for the backward."""


def measure_rates(encoder: Encoder, terms: Terms, direction: str, tokens: int) -> Rates:
    """About ten seconds for small encoders."""
    generator = torch.Generator(encoder.device).manual_seed(0)
    width = encoder.width

    def embeddings() -> list[Tensor]:
        shape = (2, SAMPLE_ROWS, width)
        both = F.normalize(torch.randn(shape, generator=generator, device=encoder.device), dim=-1)
        return [each.clone().requires_grad_() for each in both]

    def loss(dense: bool) -> None:
        contrastive_loss(*embeddings(), terms, direction=direction, dense=dense).objective.backward()

    area = SAMPLE_ROWS**2
    kept = _saved_bytes(
        lambda: contrastive_loss(*embeddings(), terms, direction=direction, dense=True).objective
    )
    texts = sample_texts(encoder, max(2, SAMPLE_TOKENS // tokens), tokens)
    encoder.train()
    forward = _seconds(lambda: encoder([texts]))
    both = _seconds(lambda: encoder([texts]).sum().backward())
    activations = _saved_bytes(lambda: encoder([texts]), besides=encoder.parameters())
    encoder.zero_grad()
    num_tokens = int(np.diff(texts.offsets).sum())
    return Rates(
        tiled=_seconds(lambda: loss(False)) / area,
        dense=_seconds(lambda: loss(True)) / area,
        dense_bytes=kept / area + 2 * 4,  # and a gradient on its way, twice
        forward=forward / num_tokens,
        backward=max(0.0, both - forward) / num_tokens,
        activations=activations / num_tokens,
    )


def costs(encoder: Encoder, terms: Terms, shape: Shape, rates: Rates, bytes_per_second: float) -> list[Cost]:
    """dense, local, tiled, cached.

    Args:
        encoder: counts its parameters.
        terms: the objective.
        shape: the step.
        rates: of this machine.
        bytes_per_second: between workers.
    """
    num_parameters = sum(parameter.numel() for parameter in encoder.parameters())
    fixed = OVERHEAD_BYTES + 16 * num_parameters  # weights, gradients, two moments
    row = 4 * encoder.width
    # embeddings and their gradients; normalised once; gathered columns and their gradients
    embedded = row * (4 * shape.texts + 2 * shape.columns)
    num_tokens = shape.texts * shape.tokens
    activations = round(rates.activations * num_tokens)
    encode = num_tokens * (rates.forward + rates.backward)
    moved = (2 * row * shape.columns + 8 * num_parameters) * (shape.num_workers - 1) / shape.num_workers
    moving = moved / bytes_per_second
    area, local_area = shape.rows * shape.columns, shape.rows * shape.rows * (1 + shape.num_hard_negatives)
    dims = [term.dim for term in terms]
    blocks = workspace_bytes(shape.rows, shape.columns, dims)
    local_blocks = workspace_bytes(shape.rows, shape.columns // shape.num_workers, dims)
    negatives = shape.columns - 1
    chunk = min(num_tokens, max(shape.micro_batch_tokens, shape.tokens))
    one_chunk = fixed + embedded + max(blocks, round(rates.activations * chunk))
    return [
        Cost(
            strategy="dense",
            num_negatives=negatives,
            bytes=fixed + embedded + activations + round(rates.dense_bytes * area),
            seconds=encode + moving + rates.dense * area,
        ),
        Cost(
            strategy="local",
            num_negatives=negatives // shape.num_workers,
            bytes=fixed + embedded // shape.num_workers + activations + local_blocks,
            seconds=encode
            + 8 * num_parameters / bytes_per_second * (shape.num_workers > 1)
            + rates.tiled * local_area,
            exact=shape.num_workers == 1,
        ),
        Cost(
            strategy="tiled",
            num_negatives=negatives,
            bytes=fixed + embedded + activations + blocks,
            seconds=encode + moving + rates.tiled * area,
        ),
        Cost(
            strategy="cached",
            num_negatives=negatives,
            bytes=one_chunk,
            seconds=encode + num_tokens * rates.forward + moving + rates.tiled * area,
        ),
    ]


def recommend(found: Sequence[Cost], available: int) -> Cost | None:
    """The fastest that trains the objective and fits; None if none does."""
    fitting = [cost for cost in found if cost.exact and cost.bytes <= available]
    return min(fitting, key=lambda cost: cost.seconds, default=None)


def available_bytes(device: torch.device, num_workers: int) -> int:
    """Memory that a worker may take: of its GPU, or its share of this machine's free memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // num_workers


def run_step(encoder: Encoder, terms: Terms, shape: Shape, strategy: str, direction: str) -> float:
    """Seconds of a real step of one worker without the others: their columns are random and take no gradient home."""
    encoder.train()
    texts = sample_texts(encoder, shape.texts, shape.tokens)
    chunks = encoder.chunks(texts, shape.micro_batch_tokens, split=strategy == "cached")
    parts = [texts.select(rows) for rows in chunks]
    began = time.perf_counter()
    embeddings = cached_forward(encoder, parts) if strategy == "cached" else encoder(parts)
    queries, documents, *negatives = embeddings.split(shape.rows)
    contrastive_loss(
        queries, documents, terms, direction=direction, dense=strategy == "dense",
        hard_negatives_NBD=torch.stack(negatives) if negatives else None,
    ).objective.backward()  # fmt: skip
    return time.perf_counter() - began


def sample_texts(encoder: Encoder, num: int, tokens: int) -> Tokens:
    """Random texts of so many tokens."""
    vocabulary = getattr(encoder.model[0], "embedding", None)
    size = vocabulary.num_embeddings if vocabulary is not None else len(encoder.model.tokenizer)
    ids = np.random.default_rng(0).integers(5, size, num * tokens).astype(np.int32)
    texts = Tokens(ids=ids, offsets=np.arange(num + 1) * tokens)
    return texts.as_bags() if encoder.is_static else texts


def word_tokenizer(vocabulary: int) -> Tokenizer:
    """Any tokenizer with so many tokens: a plan has no texts."""
    names = [PAD, UNKNOWN, START, END, MASK, *(f"w{i}" for i in range(vocabulary - 5))]
    return Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=UNKNOWN))


def _seconds(run: Callable[[], object], repeats: int = 3) -> float:
    run()
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return best


def _saved_bytes(run: Callable[[], object], besides: object = ()) -> int:
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
