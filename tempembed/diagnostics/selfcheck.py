"""The promises of the objective engine, checked on the machine at hand."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from tempembed.inputs.inputs import Inputs
from tempembed.losses.contrastive import DIRECTIONS, TextIds
from tempembed.losses.margins import Guide
from tempembed.objectives.margin import Margin
from tempembed.objectives.objective import Objective
from tempembed.objectives.regularisers.registry import parse_regulariser
from tempembed.objectives.temperature import Course
from tempembed.objectives.term import INFONCE, Hardness, Term, Terms, View
from tempembed.parallel.gather import rank_and_world_size
from tempembed.parallel.pool import run_on_ranks
from tempembed.parallel.reduce import average_gradients, sum_over_ranks
from tempembed.stages.pair_data import PairBatch
from tempembed.stages.pair_step import PairStep

GLOBAL_BATCH = 24  # 2, 3 and 4 ranks divide it
INPUTS, WIDTH, GUIDE_WIDTH = 10, 16, 6
BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-5}
CACHED_BOUND = 1e-6  # in float32
HARD = Hardness(beta=1.0, tau_plus=0.05)
WORLD_SIZES = (2, 3, 4)
CHUNK = 5
"""Rows that go through the encoder together."""
TOWERS = ("query", "document")
REGULARISERS = ("uniformity:0.5", "koleo:0.1", "cos2:0.7", "decorrelation:0.3", "balance:0.2")
TAUGHT = ("margin-mse(2):0.5", "kl(0.1,1):0.3")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One promise, measured."""

    kind: str
    name: str
    error: float
    """Largest relative error, in the Euclidean norm, of the losses and of each gradient."""
    bound: float

    @property
    def holds(self) -> bool:
        """Whether the error is within its bound."""
        return self.error <= self.bound


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training step on a fixed global batch."""

    tau: float = 0.03
    direction: str = "query-to-document"
    num_negatives: int = 0
    masks: bool = False
    hardness: Hardness = INFONCE
    learned: bool = False
    dtype: torch.dtype = torch.float64
    towers: tuple[str, ...] = ("",)
    """Towers of the encoder; with two, that of the documents has more chunks."""
    regularisers: tuple[str, ...] = ()
    margin: float | None = None
    """Masks by similarity: of the model itself, and with another of a second model."""
    guided: bool = False
    views: bool = False
    """With terms on signs, and on bits where the direction has them; no term on floats at the widest dim."""
    integers: bool = False
    """With terms on integers. In float64 alone: in float32 a number near the middle of two steps is rounded to either."""

    def __str__(self) -> str:
        parts = [f"tau {self.tau:g}", self.direction]
        parts += [f"{self.num_negatives} hard negatives"] * bool(self.num_negatives)
        parts += ["masks"] * self.masks + ["learned tau"] * self.learned
        parts += [f"beta {self.hardness.beta:g} tau+ {self.hardness.tau_plus:g}"] * (self.hardness != INFONCE)
        parts += ["two towers"] * (len(self.towers) > 1) + list(self.regularisers)
        parts += [f"margin {self.margin}"] * (self.margin is not None) + ["guided"] * self.guided
        parts += ["views"] * self.views + ["integers"] * self.integers
        return ", ".join([*parts, _name(self.dtype)])

    @property
    def taught(self) -> bool:
        """Whether a regulariser needs a teacher's scores."""
        return any(parse_regulariser(each).is_taught for each in self.regularisers)

    @property
    def objective(self) -> Objective:
        """The terms and all else."""
        return Objective(
            terms=self.terms, direction=self.direction, hardness=self.hardness,  # type: ignore[arg-type]
            regularisers=tuple(map(parse_regulariser, self.regularisers)),
            margin=None if self.margin is None else Margin(absolute=-self.margin),
        )  # fmt: skip

    @property
    def terms(self) -> Terms:
        """Three prefixes, two temperatures, unequal weights."""
        course = Course("learned", (self.tau,)) if self.learned else None
        if self.integers:
            return (
                Term(dim=8, temperature=2 * self.tau, weight=0.5),
                Term(dim=4, temperature=self.tau, view="int8", weight=1.5),
                Term(dim=WIDTH, temperature=self.tau, view="int8", course=course),
                Term(dim=4, temperature=self.tau, view="int4"),
                Term(dim=WIDTH, temperature=2 * self.tau, view="int4", weight=2.0, course=course),
                Term(dim=WIDTH, temperature=self.tau, view="sign"),
            )
        if self.views:
            asked: tuple[View, ...] = ("sign",) if self.direction == "document-to-query" else ("sign", "bits")
            return (
                Term(dim=8, temperature=2 * self.tau, weight=0.5),
                *(
                    Term(dim=dim, temperature=tau, weight=weight, course=moves, view=view)
                    for view in asked
                    for dim, tau, weight, moves in (
                        (4, self.tau, 1.0, None), (WIDTH, self.tau, 2.0, course), (WIDTH, 2 * self.tau, 0.5, None)
                    )
                ),
            )  # fmt: skip
        return (
            Term(dim=4, temperature=self.tau, course=course),
            Term(dim=8, temperature=2 * self.tau, weight=0.5),
            Term(dim=WIDTH, temperature=self.tau, weight=2.0, course=course),
            Term(dim=WIDTH, temperature=2 * self.tau),
        )


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Inputs of a tiny encoder."""

    values: Tensor
    """[N, INPUTS]."""
    tower: str = ""

    def __len__(self) -> int:
        return len(self.values)

    def select(self, rows: np.ndarray) -> "Vectors":
        """These rows."""
        return replace(self, values=self.values[torch.from_numpy(rows)])

    def chunks(self, budget: int, *, split: bool = True) -> list[np.ndarray]:
        """`budget` rows at a time, in order."""
        return np.array_split(np.arange(len(self)), range(budget, len(self), budget))


class TinyEncoder(nn.Module):
    """Two layers with dropout between them, for each tower; takes a list of chunks, as `Encoder` does."""

    def __init__(self, dropout: float = 0.0, towers: Sequence[str] = ("",)) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(INPUTS, 20), nn.Tanh(), nn.Dropout(dropout), nn.Linear(20, WIDTH))
            for _ in towers
        )
        self._towers = tuple(towers)

    def chunks(self, inputs: Inputs, budget: int = 0, *, split: bool = True) -> list[np.ndarray]:
        """Rows that go through the encoder together."""
        return inputs.chunks(budget, split=split)

    def forward(self, chunks: Sequence[Vectors]) -> Tensor:
        """Embeddings of all chunks' rows."""
        return torch.cat([self.layers[self._towers.index(each.tower)](each.values) for each in chunks])


def gradients(
    case: Case, *, dense: bool = False, dropout: float = 0.0, cached: bool = False, device: str = "cpu"
) -> tuple[list[Tensor], int]:
    """Mean losses over ranks and gradients of one step on this rank's part of the batch; DDP's all-reduces.

    On the CPU unless `device` says otherwise or the ranks talk over NCCL.
    """
    rank, world_size = rank_and_world_size()
    device = "cuda" if _over_nccl() else device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        encoder = TinyEncoder(dropout, case.towers).to(device, case.dtype)
    model: nn.Module = encoder
    reduced: list[int] = []
    if world_size > 1:
        model = DistributedDataParallel(encoder)
        model.register_comm_hook(reduced, _counting_all_reduce)
    step = PairStep(
        encoder, case.objective, micro_batch_tokens=CHUNK, gradient_cache=cached, dense=dense
    ).to(device, case.dtype)  # fmt: skip
    torch.manual_seed(7 + rank)
    output = step(_batch(case, rank, world_size, device), 0.0, model)
    output.loss.backward()
    average_gradients(step.temperatures.parameters())
    losses_T = output.observed["losses"].clone()
    sum_over_ranks(losses_T)
    found = [losses_T / world_size, *(p.grad for p in encoder.parameters())]
    if case.learned:
        found.append(step.temperatures.log_scale.grad)
    return [tensor.detach().cpu() for tensor in found if tensor is not None], len(reduced)


def _batch(case: Case, rank: int, world_size: int, device: str) -> PairBatch:
    """This rank's part of the fixed global batch."""
    generator = torch.Generator().manual_seed(0)
    num_columns = 2 + case.num_negatives
    inputs = torch.randn(num_columns, GLOBAL_BATCH, INPUTS, generator=generator)
    inputs[1] = 0.6 * inputs[0] + 0.4 * inputs[1]
    has = torch.rand(case.num_negatives, GLOBAL_BATCH, generator=generator) < 0.7
    ids = torch.randint(0, 18, (num_columns, GLOBAL_BATCH), generator=generator)  # roles share texts
    known = torch.randint(0, 18, (GLOBAL_BATCH, 2), generator=generator)
    local = GLOBAL_BATCH // world_size
    mine = slice(rank * local, (rank + 1) * local)
    seen = torch.randn(num_columns, GLOBAL_BATCH, GUIDE_WIDTH, generator=generator)
    seen[1] += seen[0]
    scores = torch.randn(1 + case.num_negatives, GLOBAL_BATCH, generator=generator)
    scores = scores[:, mine].to(device, case.dtype)
    seen = seen[:, mine].to(device, case.dtype)
    ids, has = ids[:, mine].to(device), has[:, mine].to(device)
    rows = torch.arange(local, device=device).repeat_interleave(2)
    values = inputs[:, mine].to(device, case.dtype)
    query, document = case.towers[0], case.towers[-1]
    columns = [
        Vectors(values=values[0], tower=query),
        Vectors(values=values[1:].flatten(0, 1), tower=document),
    ]
    if query == document:
        columns = [Vectors(values=values.flatten(0, 1), tower=query)]
    return PairBatch(
        inputs=columns,  # type: ignore[arg-type]
        present=np.ones((case.num_negatives, local), bool),  # absent ones are embedded here, and left out
        has_negative_NB=has if case.num_negatives else None,
        ids=TextIds(
            queries_B=ids[0],
            documents_B=ids[1],
            hard_negatives_NB=ids[2:] if case.num_negatives else None,
            known=(rows, known[mine].flatten().to(device)),
        )
        if case.masks
        else None,
        guide=Guide(
            queries_BE=seen[0], documents_BE=seen[1],
            hard_negatives_NBE=seen[2:] if case.num_negatives else None,
            margin=Margin(absolute=0.2, relative=0.05),
        ) if case.guided else None,
        scores_KB=scores.masked_fill(scores.abs() > 1.5, torch.nan) if case.taught else None,
    )  # fmt: skip


def _over_nccl() -> bool:
    return dist.is_initialized() and dist.get_backend() == "nccl"


def _counting_all_reduce(calls: list[int], bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    calls.append(bucket.index())
    return allreduce_hook(None, bucket)  # type: ignore[arg-type]


def error(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    """Largest relative error of the tensors; infinite if one is not finite or absent."""
    if len(got) != len(want):
        return float("inf")
    errors = [((a - b).norm() / b.norm().clamp_min(1e-30)).item() for a, b in zip(got, want, strict=True)]
    return max(e if e == e else float("inf") for e in errors)


def tiled_cases() -> list[Case]:
    """Every direction, with and without everything else, at a small and a large temperature."""
    options = itertools.product(
        (0.03, 0.4), DIRECTIONS, (0, 2), (False, True), (INFONCE, HARD), (False, True)
    )
    cases = [
        Case(tau=tau, direction=direction, num_negatives=num, masks=masks, hardness=hardness, learned=learned)
        for tau, direction, num, masks, hardness, learned in options
        if not (direction == "document-to-query" and num)
    ]
    near = [
        replace(case, margin=margin, guided=guided)
        for case in cases
        if case.learned and case.tau == 0.03
        for margin, guided in ((-0.1, False), (None, True), (0.05, True))
    ]
    views = [replace(case, views=True) for case in (*cases, *near) if case.learned and case.masks]
    integers = [
        replace(case, integers=True) for case in (*cases, *near)
        if case.learned and case.masks and case.num_negatives and case.hardness == HARD
    ]  # fmt: skip
    single = [replace(case, dtype=torch.float32) for case in (*cases, *views) if case.masks and case.learned]
    return cases + near + views + integers + single


def rank_cases() -> list[Case]:
    """Fewer: each costs a step on every rank."""
    cases = [
        Case(tau=tau, direction=direction, num_negatives=num, masks=masks, hardness=hardness, learned=learned)
        for tau in (0.03, 0.4)
        for direction, num, masks, hardness, learned in (
            ("query-to-document", 0, False, INFONCE, False),
            ("query-to-document", 2, True, HARD, True),
            ("document-to-query", 0, True, INFONCE, True),
            ("both", 0, False, HARD, True),
            ("both", 2, True, INFONCE, True),
        )
    ]
    cases += [replace(case, margin=-0.1, guided=True) for case in cases if case.learned and case.tau == 0.03]
    cases += [replace(case, views=True) for case in cases if case.learned and case.tau == 0.03]
    integers = [
        replace(case, integers=True) for case in cases
        if case.views and not case.guided and case.direction != "document-to-query"
    ]  # fmt: skip
    cases += [replace(case, dtype=torch.float32) for case in cases if case.learned] + integers
    taught = Case(regularisers=TAUGHT, num_negatives=3)
    return [*cases, Case(towers=TOWERS, num_negatives=2, masks=True), Case(regularisers=REGULARISERS), taught]


def cached_cases() -> list[Case]:
    """For gradient caching: float32, dropout on, one tower and two, regularisers."""
    case = Case(tau=0.05, direction="both", num_negatives=1, masks=True, learned=True, dtype=torch.float32)
    return [
        case, replace(case, towers=TOWERS), replace(case, regularisers=REGULARISERS), replace(case, views=True),
        replace(case, integers=True, dtype=torch.float64),
    ]  # fmt: skip


def one_process() -> Iterator[Check]:
    """Tiled = dense, on a GPU as well where there is one; cached = plain."""
    devices = {"cpu": "", **({"cuda": " on the GPU"} if torch.cuda.is_available() else {})}
    for case in tiled_cases():
        want, _ = gradients(replace(case, dtype=torch.float64), dense=True)
        for device, where in devices.items():
            yield Check(
                kind=f"tiled = dense, {_name(case.dtype)}{where}",
                name=str(case),
                error=error(gradients(case, device=device)[0], want),
                bound=BOUNDS[case.dtype],
            )
    for case in cached_cases():
        want, _ = gradients(case, dropout=0.3)
        got, _ = gradients(case, dropout=0.3, cached=True)
        yield Check(
            kind="cached = plain, dropout on", name=str(case), error=error(got, want), bound=CACHED_BOUND
        )


def ranks(world_size: int) -> Iterator[Check]:
    """W ranks = one process, cached = plain on them, one all-reduce a step."""
    plain, cached = run_on_ranks(world_size, _on_a_rank)[0]
    for case, got in zip(rank_cases(), plain, strict=True):
        want, _ = gradients(replace(case, dtype=torch.float64), dense=True)
        yield Check(
            kind=f"{world_size} processes = one, {_name(case.dtype)}",
            name=str(case),
            error=error(got, want),
            bound=BOUNDS[case.dtype],
        )
    for case, (again, got, reduced) in zip(cached_cases(), cached, strict=True):
        kind = f"{world_size} processes, cached = plain, dropout on"
        yield Check(kind=kind, name=str(case), error=error(got, again), bound=CACHED_BOUND)
        kind = f"{world_size} processes, cached: more all-reduces than 1"
        yield Check(kind=kind, name=f"{case}: {reduced} in a step", error=abs(reduced - 1), bound=0)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _on_a_rank() -> tuple[list[list[Tensor]], list[tuple[list[Tensor], list[Tensor], int]]]:
    plain = [gradients(case)[0] for case in rank_cases()]
    cached = []
    for case in cached_cases():
        again, _ = gradients(case, dropout=0.3)
        cached.append((again, *gradients(case, dropout=0.3, cached=True)))
    return plain, cached


def selfcheck() -> Iterator[Check]:
    """All checks, as they are done."""
    yield from one_process()
    for world_size in WORLD_SIZES:
        yield from ranks(world_size)
