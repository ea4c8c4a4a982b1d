"""What a training step would cost, before it is run: bytes and seconds of four ways to take it.

A small piece of each part runs on this machine and is scaled up: the loss with rows x columns, the encoder with tokens.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from tempembed.encoders.text import TextEncoder
from tempembed.encoders.tokenizer import END, MASK, PAD, START, UNKNOWN
from tempembed.inputs.tokens import Tokens
from tempembed.losses.contrastive import contrastive_loss
from tempembed.losses.nested import workspace_bytes
from tempembed.objectives.term import Terms
from tempembed.parallel.gather import rank_and_world_size
from tempembed.parallel.pool import run_on_ranks
from tempembed.settings.train import TrainSettings
from tempembed.stages.pair_data import PairBatch
from tempembed.stages.pair_step import PairStep
from tempembed.stages.prepare import build_encoder
from tempembed.system.errors import UserError
from tempembed.system.memory import keep_freed_memory, peak_bytes, peak_growth, resident_bytes

SAMPLE_ROWS = 2048
SAMPLE_TOKENS = 65_536


@dataclass(frozen=True, kw_only=True)
class Request:
    """A step to plan; the names are those of `tempembed plan`."""

    encoder: str
    width: int | None
    layers: int
    vocabulary: int
    tokens: int
    """Of an average text."""
    batch_size: int
    """Global batch, in pairs."""
    num_workers: int
    hard_negatives: int
    objective: str
    terms: tuple[str, ...]
    direction: str
    micro_batch_tokens: int
    network_gb_per_second: float

    def __post_init__(self) -> None:
        for name in ("tokens", "num_workers", "network_gb_per_second"):
            if not getattr(self, name) > 0:
                raise UserError(f"--{name.replace('_', '-')}: expected > 0, got {getattr(self, name)}")
        if self.vocabulary < 6:
            raise UserError(f"--vocabulary: expected >= 6, five of them are not words, got {self.vocabulary}")
        if self.batch_size % self.num_workers or self.hard_negatives < 0:
            raise UserError(
                f"--batch-size, --hard-negatives: expected a multiple of the {self.num_workers} workers and 0 or more, "
                f"got {self.batch_size} and {self.hard_negatives}"
            )

    @property
    def settings(self) -> TrainSettings:
        """Of a training run with this step; checks what is left."""
        return TrainSettings.of(
            encoder=self.encoder, width=self.width, layers=self.layers, vocabulary=self.vocabulary,
            max_tokens=max(self.tokens, 8), objective=self.objective, terms=self.terms, batch_size=self.batch_size,
            micro_batch_tokens=self.micro_batch_tokens, direction=self.direction,
        )  # fmt: skip

    @property
    def rows(self) -> int:
        """Queries of a worker."""
        return self.batch_size // self.num_workers

    @property
    def texts(self) -> int:
        """Texts that a worker encodes."""
        return self.rows * (2 + self.hard_negatives)

    @property
    def columns(self) -> int:
        """Candidates of a query."""
        return self.batch_size * (1 + self.hard_negatives)

    def model(self) -> TextEncoder:
        """The encoder on this worker's device, with random weights if it is made here."""
        encoder = build_encoder(self.settings, word_tokenizer(self.vocabulary))
        if not isinstance(encoder, TextEncoder):
            raise UserError(
                f"--encoder {self.encoder}: expected one encoder for all texts, got a Router; plan its towers one by one"
            )
        return encoder.to("cuda" if torch.cuda.is_available() else "cpu")


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
class Line:
    """Seconds = fixed + per_token x tokens, of a micro-batch."""

    fixed: float
    per_token: float

    def of(self, tokens: int, chunks: int) -> float:
        """Of so many tokens in so many micro-batches."""
        return self.fixed * chunks + self.per_token * tokens

    @staticmethod
    def through(small: tuple[int, float], large: tuple[int, float]) -> "Line":
        """Two measurements (tokens, seconds)."""
        slope = max(0.0, (large[1] - small[1]) / (large[0] - small[0]))
        return Line(fixed=max(0.0, small[1] - slope * small[0]), per_token=slope)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Measured on this machine."""

    process: int
    """Bytes of a process beside model and data."""
    tiled: float
    """Seconds for a row and a column, value and gradient."""
    dense: float
    dense_bytes: float
    """Bytes for a row and a column."""
    forward: "Line"
    """Seconds of a micro-batch over its tokens."""
    step: "Line"
    """The same for forward and backward."""
    activations: float
    """Bytes for a token, kept for the backward."""


def measure_rates(encoder: TextEncoder, terms: Terms, direction: str, tokens: int, process: int) -> Rates:
    """About ten seconds for small encoders."""
    generator = torch.Generator(encoder.device).manual_seed(0)
    width = encoder.width

    def embeddings(rows: int) -> tuple[Tensor, Tensor]:
        shape = (2, rows, width)
        both = F.normalize(torch.randn(shape, generator=generator, device=encoder.device), dim=-1)
        return both[0].clone().requires_grad_(), both[1].clone().requires_grad_()

    def loss(dense: bool, rows: int = SAMPLE_ROWS) -> None:
        contrastive_loss(*embeddings(rows), terms, direction=direction, dense=dense).objective.backward()

    area = SAMPLE_ROWS**2
    loss(True, 8)  # imports and thread pools are not the loss's memory
    dense_bytes = peak_growth(lambda: loss(True), encoder.device)
    encoder.train()
    forward, step = [], []
    budget = min(encoder.micro_batch_tokens, SAMPLE_TOKENS)
    few = max(2, budget // 2 // tokens)
    for num in (few, max(few + 2, budget // tokens)):
        texts = sample_texts(encoder, num, tokens)
        num_tokens = int(np.diff(texts.offsets).sum())
        forward.append((num_tokens, _seconds(partial(encoder, [texts]))))
        step.append((num_tokens, _seconds(lambda texts=texts: encoder([texts]).sum().backward())))  # type: ignore[misc]
    activations = _saved_bytes(partial(encoder, [texts]), besides=encoder.parameters())
    encoder.zero_grad()
    return Rates(
        tiled=_seconds(lambda: loss(False)) / area,
        dense=_seconds(lambda: loss(True), repeats=1) / area,
        dense_bytes=dense_bytes / area,
        process=process,
        forward=Line.through(*forward),
        step=Line.through(*step),
        activations=activations / num_tokens,
    )


def costs(encoder: TextEncoder, terms: Terms, shape: Request, rates: Rates) -> list[Cost]:
    """dense, local, tiled, cached.

    Args:
        encoder: counts its parameters.
        terms: the objective.
        shape: the step.
        rates: of this machine.
    """
    network = shape.network_gb_per_second * 1e9
    num_parameters = sum(parameter.numel() for parameter in encoder.parameters())
    fixed = rates.process + 16 * num_parameters  # weights, gradients, two moments
    row = 4 * encoder.width
    # embeddings, unit vectors and their gradients; columns that are gathered or joined, and their gradients
    embedded = row * (
        3 * shape.texts + 2 * (shape.columns if shape.num_workers > 1 or shape.hard_negatives else 0)
    )
    num_tokens = shape.texts * shape.tokens
    activations = round(rates.activations * num_tokens)
    budget = shape.micro_batch_tokens or encoder.micro_batch_tokens
    split = max(1, -(-num_tokens // max(budget, shape.tokens)))
    chunks = 1 if encoder.takes_bags else split
    encode = rates.step.of(num_tokens, chunks)
    moved = (2 * row * shape.columns + 8 * num_parameters) * (shape.num_workers - 1) / shape.num_workers
    moving = moved / network
    area, local_area = shape.rows * shape.columns, shape.rows * shape.rows * (1 + shape.hard_negatives)
    dims = [term.dim for term in terms]
    device = encoder.device.type
    blocks = workspace_bytes(shape.rows, shape.columns, dims, device=device)
    local_blocks = workspace_bytes(shape.rows, shape.columns // shape.num_workers, dims, device=device)
    negatives = shape.columns - 1
    chunk = min(num_tokens, max(budget, shape.tokens))
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
            + 8 * num_parameters / network * (shape.num_workers > 1)
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
            seconds=rates.step.of(num_tokens, split)
            + rates.forward.of(num_tokens, split)
            + moving
            + rates.tiled * area,
        ),
    ]


def recommend(found: Sequence[Cost], available: int) -> Cost | None:
    """The fastest that trains the objective and fits; None if none does."""
    fitting = [cost for cost in found if cost.strategy != "local" and cost.bytes <= available]
    return min(fitting, key=lambda cost: cost.seconds, default=None)


def predict(request: Request) -> list[Cost]:
    """Costs on a worker that has its share of this machine's threads."""
    keep_freed_memory()
    encoder = request.model()
    encoder(
        [sample_texts(encoder, 2, request.tokens)]
    ).sum().backward()  # libraries and thread pools are in memory now
    process = resident_bytes() - 8 * sum(parameter.numel() for parameter in encoder.parameters())
    encoder.zero_grad()
    terms = request.settings.loss.resolved_terms(encoder.width)
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // request.num_workers))
    try:
        rates = measure_rates(encoder, terms, request.direction, request.tokens, process)
    finally:
        torch.set_num_threads(threads)
    return costs(encoder, terms, request, rates)


def available_bytes(num_workers: int) -> int:
    """Memory that a worker may take: what its GPU has free, or its share of what this machine has."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // num_workers


def check_step(request: Request, strategy: str) -> tuple[float, int]:
    """(seconds, peak bytes of a worker) of a real step, on as many new processes of this machine as it has workers."""
    measured = run_on_ranks(request.num_workers, _step, request, strategy, timeout=900)
    return max(seconds for seconds, _ in measured), max(peak for _, peak in measured)


def _step(request: Request, strategy: str) -> tuple[float, int]:
    keep_freed_memory()
    encoder = request.model().train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-4, fused=True)
    _, world_size = rank_and_world_size()
    model = encoder if world_size == 1 else DistributedDataParallel(encoder, find_unused_parameters=True)
    step = PairStep(
        encoder, request.settings.loss.resolved(encoder.width), micro_batch_tokens=request.micro_batch_tokens,
        gradient_cache=strategy == "cached", dense=strategy == "dense",
    ).to(encoder.device)  # fmt: skip
    batch = PairBatch(
        inputs=[sample_texts(encoder, request.texts, request.tokens)],
        num_pairs=request.rows,
        present=np.ones((request.hard_negatives, request.rows), bool),
    )
    if encoder.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = float("inf")
    for _ in range(2):  # the first also makes the optimiser's state
        began = time.perf_counter()
        step(batch, 0.0, model).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds = min(seconds, time.perf_counter() - began)
    if encoder.device.type == "cuda":
        torch.cuda.synchronize()
        return seconds, torch.cuda.max_memory_allocated()
    return seconds, peak_bytes()


def sample_texts(encoder: TextEncoder, num: int, tokens: int) -> Tokens:
    """Random texts of so many tokens."""
    ids = np.random.default_rng(0).integers(5, encoder.num_tokens, num * tokens).astype(np.int32)
    texts = Tokens(ids=ids, offsets=np.arange(num + 1) * tokens)
    return texts.as_bags() if encoder.takes_bags else texts


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
