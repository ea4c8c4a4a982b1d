"""What a training step would cost, before it is run: bytes and seconds of four ways to take it.

Small real steps run on this machine and are scaled up, with the tokens and with the places of the loss.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from tempembed.diagnostics.real_step import RealStep, sample_texts, saved_bytes
from tempembed.diagnostics.request import Request
from tempembed.encoders.text import TextEncoder
from tempembed.losses.nested import workspace_bytes
from tempembed.objectives.term import Terms
from tempembed.parallel.pool import run_on_ranks
from tempembed.system.memory import keep_freed_memory, peak_bytes, peak_growth, resident_bytes

SAMPLE_ROWS = 1024
SAMPLE_TOKENS = 65_536


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of one step on one worker."""

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
    """Measured on this machine, with real steps of one worker."""

    process: int
    """Bytes of a process beside model and data."""
    fixed: float
    """Seconds of a step with next to nothing in it: the optimiser's, for one."""
    token: float
    """Seconds for a token, forward and backward."""
    cached_token: float
    """The same with a gradient cache."""
    place: float
    """Seconds for a row and a column of the tiled loss, value and gradient."""
    dense_place: float
    dense_bytes: float
    """Bytes for a row and a column."""
    activations: float
    """Bytes for a token, kept for the backward."""


def measure_rates(encoder: TextEncoder, request: Request, process: int) -> Rates:
    """A step with long texts and few rows tells what a token costs, one with many rows of one token what a place of the loss costs."""
    per_row = 2 + request.hard_negatives
    budget = min(4 * encoder.micro_batch_tokens, SAMPLE_TOKENS)
    few, many = max(2, budget // (per_row * request.tokens)), SAMPLE_ROWS

    def seconds(strategy: str, rows: int, tokens: int) -> float:
        return RealStep(encoder, request, strategy).seconds(rows, tokens)

    fixed = seconds("tiled", 2, request.tokens)
    sizes = ((few, request.tokens), (many, 1))
    shapes = np.array(
        [[per_row * rows * tokens, rows**2 * (1 + request.hard_negatives)] for rows, tokens in sizes], float
    )
    both = np.array([max(0.0, seconds("tiled", rows, tokens) - fixed) for rows, tokens in sizes])
    token, place = np.linalg.solve(shapes, both).clip(0).tolist()
    dense = max(0.0, seconds("dense", many, 1) - fixed)
    cached = max(0.0, seconds("cached", few, request.tokens) - fixed)
    loss = RealStep(encoder, request, "dense")
    texts = sample_texts(encoder, few, request.tokens)
    return Rates(
        process=process,
        fixed=fixed,
        token=token,
        cached_token=max(token, (cached - place * shapes[0, 1]) / shapes[0, 0]),
        place=place,
        dense_place=max(place, (dense - token * shapes[1, 0]) / shapes[1, 1]),
        dense_bytes=peak_growth(partial(loss.loss_alone, many), encoder.device) / (many**2 * (1 + request.hard_negatives)),
        activations=saved_bytes(partial(encoder, [texts]), besides=encoder.parameters())
        / int(np.diff(texts.offsets).sum()),
    )  # fmt: skip


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
    encode = rates.fixed + rates.token * num_tokens
    moved = (2 * row * shape.columns + 8 * num_parameters) * (shape.num_workers - 1) / shape.num_workers
    moving = moved / network
    area, local_area = shape.rows * shape.columns, shape.rows * shape.rows * (1 + shape.hard_negatives)
    device = encoder.device.type
    blocks = workspace_bytes(shape.rows, shape.columns, terms, device=device)
    local_blocks = workspace_bytes(shape.rows, shape.columns // shape.num_workers, terms, device=device)
    negatives = shape.columns - 1
    chunk = min(num_tokens, max(budget, shape.tokens))
    one_chunk = fixed + embedded + max(blocks, round(rates.activations * chunk))
    return [
        Cost(
            strategy="dense",
            num_negatives=negatives,
            bytes=fixed + embedded + activations + round(rates.dense_bytes * area),
            seconds=encode + moving + rates.dense_place * area,
        ),
        Cost(
            strategy="local",
            num_negatives=negatives // shape.num_workers,
            bytes=fixed + embedded // shape.num_workers + activations + local_blocks,
            seconds=encode
            + 8 * num_parameters / network * (shape.num_workers > 1)
            + rates.place * local_area,
            exact=shape.num_workers == 1,
        ),
        Cost(
            strategy="tiled",
            num_negatives=negatives,
            bytes=fixed + embedded + activations + blocks,
            seconds=encode + moving + rates.place * area,
        ),
        Cost(
            strategy="cached",
            num_negatives=negatives,
            bytes=one_chunk,
            seconds=rates.fixed + rates.cached_token * num_tokens + moving + rates.place * area,
        ),
    ]


def state_bytes(num_parameters: int, *, num_trained: int | None = None, num_workers: int = 1) -> int:
    """Bytes of weights, and of what AdamW and the gradient take, on each of the workers that share them (`--shard`).

    Args:
        num_parameters: of the encoder, in float32.
        num_trained: of them; with an adapter, few; default all.
        num_workers: that hold a part each; 1: every worker holds all.

    >>> [round(state_bytes(8_000_000_000, num_workers=num) / 1e9, 1) for num in (1, 8)]
    [128.0, 16.0]
    >>> [round(state_bytes(8_000_000_000, num_trained=40_000_000, num_workers=num) / 1e9, 1) for num in (1, 8)]
    [32.5, 4.1]
    """
    trained = num_parameters if num_trained is None else num_trained
    return (4 * num_parameters + 12 * trained) // num_workers


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
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // request.num_workers))
    try:
        rates = measure_rates(encoder, request, process)
    finally:
        torch.set_num_threads(threads)
    return costs(encoder, request.settings.loss.resolved_terms(encoder.width), request, rates)


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
    encoder = request.model()
    if encoder.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = RealStep(encoder, request, strategy).seconds(request.rows, request.tokens)
    return seconds, torch.cuda.max_memory_allocated() if encoder.device.type == "cuda" else peak_bytes()
