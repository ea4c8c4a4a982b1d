"""`tempembed mine`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro
from annotated_types import Ge

from tempembed.commands.local_processes import LocalProcesses
from tempembed.commands.mine_pairs import Machine, Mined, mine_pairs
from tempembed.encoders.role import RoleName, asked
from tempembed.settings.config import Configured
from tempembed.settings.data import several
from tempembed.settings.flat import NotNegative, Positive, check_ranges
from tempembed.settings.places import output_place
from tempembed.system.cache import cache_dir
from tempembed.system.console import say
from tempembed.system.errors import UserError
from tempembed.system.in_order import Over
from tempembed.tracking.settings import TrackingSettings

if TYPE_CHECKING:
    from tempembed.index.mining import Rules

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class MineRun(Configured):
    """What is mined, and by which rules."""

    model: Annotated[str, tyro.conf.Positional]
    """The model that searches: a sentence-transformers or transformers model, a local folder or a hub name."""
    data: tuple[str, ...]
    """Training pairs of one source or several, as tempembed train takes them. Hard negatives that they have are candidates for all queries, and stay with their own."""
    output: str
    """A new Parquet file with query, document, hard_negatives, with a judge scores, and the other columns of the data."""
    num_negatives: Annotated[int, Positive] = 4
    """Hard negatives of a query, at most."""
    ranks: tuple[int, int] = (0, 50)
    """Leave out so many of the nearest candidates, and look no further than this rank; known answers have no rank."""
    margin: float | None = None
    """Leave out what does not score at least so much less than the query's answer; of several answers the lowest counts."""
    relative_margin: Annotated[float | None, NotNegative] = None
    """The same as a share of the answer's score: 0.05 keeps what scores at most 95 % of it."""
    max_score: float | None = None
    """Leave out what scores more than this."""
    choice: Literal["top", "random"] = "top"
    """Of what is left, take the nearest, or a random choice."""
    seed: Annotated[int, Ge(0)] = 0
    """Of the random choice."""
    codec: str = "float32"
    """How documents are stored and searched. float32 finds the nearest exactly; binary+rerank:float:1000 compares bits and
    re-ranks the best 1,000 by their float vectors; int8 and others are searched and scored by their codes."""
    cross_encoder: str | None = None
    """A cross-encoder whose scores the margins go by, and which are written: a folder or a hub name."""
    judge: str | None = None
    """The same with a second embedding model."""
    query_prompt: str | None = None
    """Put before each query by the model that searches; default: its own, as encode_query has it."""
    document_prompt: str | None = None
    """The same for documents and encode_document."""
    skip_bad_rows: bool = False
    """Leave bad rows of --data out and count them, instead of stopping at the first."""
    min_score: float | None = None
    """Least score of a pair, where the data has a column of scores."""
    cache: str | None = None
    """Folder for texts, embeddings, what was found and judged, so that nothing is done twice; default: mined/ in tempembed's cache."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", several(self.data))
        check_ranges(self)
        low, high = self.ranks
        if not 0 <= low < high:
            raise UserError(
                f"--ranks: expected two numbers, the first >= 0 and smaller than the second, got {low} {high}"
            )
        if self.cross_encoder and self.judge:
            raise UserError("mine: expected --cross-encoder or --judge, got both; leave one out")

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the negatives, as plain values."""
        names = (each.name for each in fields(MineRun) if each.name not in ("config", "cache"))
        return {name: getattr(self, name) for name in names}

    @property
    def place(self) -> Path:
        """Folder for what is kept, absolute."""
        return output_place("--cache", self.cache) if self.cache else cache_dir() / "mined"

    @property
    def prompts(self) -> dict[RoleName, str]:
        """Prompts that are asked for, by role."""
        return asked(self.query_prompt, self.document_prompt)

    @property
    def rules(self) -> "Rules":
        """What the search takes of it."""
        from tempembed.index.mining import Rules

        return Rules(
            skip=self.ranks[0], depth=self.ranks[1], margin=self.margin, relative_margin=self.relative_margin,
            max_score=self.max_score, num=self.num_negatives, choice=self.choice, seed=self.seed,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Mine(LocalProcesses, MineRun):
    """Find hard negatives for pairs: documents that a model ranks high for a query and that are no answers of it.

    Every document of the data is searched for every query, exactly unless --codec says otherwise. Never a negative: what the data
    lists anywhere as an answer of the query, and the query's own text, copies that differ in white space included. Among what is left
    are right answers that nobody listed: leave out the nearest (--ranks), what comes too near to the answer's score
    (--relative-margin 0.05), or ask a better model for the scores (--cross-encoder, --judge), whose scores are kept for
    --regularisers margin-mse and kl.

    Example: tempembed mine all-MiniLM-L6-v2 --data pairs.parquet --relative-margin 0.05 --output mined.parquet

    Then: tempembed train --data mined.parquet --encoder all-MiniLM-L6-v2 --output runs/one

    With a teacher: tempembed mine runs/one --data pairs.parquet --cross-encoder re-ranker --margin 0.1 --output mined.parquet

    Mine on training pairs alone: split test pairs off first. All cores work; embeddings, what was found and a cross-encoder's scores are
    kept: killed or interrupted, the same command goes on, and other margins cost next to nothing. ray_jobs.mine does the same on a
    cluster, with the same negatives.
    """

    tracking: TrackingSettings = field(default_factory=TrackingSettings)

    def __post_init__(self) -> None:
        MineRun.__post_init__(self)
        LocalProcesses.__post_init__(self)


def mine_command(command: Mine) -> None:
    """`tempembed mine`."""
    print(mine(command))
    say(f"pairs with hard negatives: {command.output}")


def mine(command: Mine, say: Callable[[str], None] = say) -> Mined:
    """Mine on this machine.

    Raises:
        UserError: as `mine_pairs`; an output that is there, or no GPU.
    """
    output = new_file(command.output)
    from tempembed.system.disk import blamed_on_disk
    from tempembed.system.in_order import Processes, in_order

    device, cores = command.found_device(), command.num_on("cpu")
    with (
        Processes(cores) as pool,
        Processes(command.num_on(device)) as on_gpus,
        blamed_on_disk(output.parent, command.place),
    ):
        over = partial(_apart, partial(in_order, over=pool if cores > 1 else 1))
        embed_over = partial(_apart, partial(in_order, over=on_gpus)) if device == "cuda" else over
        machine = Machine(over=over, embed_over=embed_over, device=device)
        return mine_pairs(command, output, machine, command.tracking.resolved(), say)


def new_file(place: str) -> Path:
    """Where the pairs go, absolute.

    Raises:
        UserError: no name of a Parquet file, or one that is there.
    """
    output = output_place("--output", place)
    if output.suffix != ".parquet":
        raise UserError(f"--output: expected a file name that ends in .parquet, got {place}")
    if output.exists():
        raise UserError(
            f"--output {output}: expected a new file, this one is there; remove it or choose another name"
        )
    return output


def _apart(over: Over, function: Callable[[T], R], inputs: Iterable[T]) -> Iterator[tuple[T, R]]:
    """In other processes where there is more than one input: to start them takes longer than a single one takes here."""
    left = iter(inputs)
    if len(first := list(islice(left, 2))) > 1:
        yield from over(function, chain(first, left))
    else:
        yield from ((each, function(each)) for each in first)
