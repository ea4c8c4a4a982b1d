"""`tempembed mine`."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from annotated_types import Ge

from tempembed.encoders.role import RoleName, asked
from tempembed.settings.data import several
from tempembed.settings.flat import NotNegative, Positive, check_ranges
from tempembed.system.atomic import appearing
from tempembed.system.console import say
from tempembed.system.errors import UserError
from tempembed.system.untrusted import check_place

if TYPE_CHECKING:
    import numpy as np
    from pyarrow import Table
    from torch import Tensor

    from tempembed.data.candidates import Candidates
    from tempembed.data.pairs import Pairs
    from tempembed.index.mining import Negatives, Rules, Score


@dataclass(frozen=True, kw_only=True)
class Mine:
    """Find hard negatives for pairs: documents that a model ranks high for a query and that are no answers of it.

    Every document of the data is searched for every query, exactly. Never a negative: what the data lists anywhere as an answer of the
    query, and the query's own text, copies that differ in white space included. Among what is left are right answers that nobody
    listed: leave out the nearest (--ranks), what comes too near to the answer's score (--relative-margin 0.05), or ask a better
    model for the scores (--cross-encoder, --judge), whose scores are kept for --regularisers margin-mse and kl.

    Example: tempembed mine all-MiniLM-L6-v2 --data pairs.parquet --relative-margin 0.05 --output mined.parquet

    Then: tempembed train --data mined.parquet --encoder all-MiniLM-L6-v2 --output runs/one

    With a teacher: tempembed mine runs/one --data pairs.parquet --cross-encoder re-ranker --margin 0.1 --output mined.parquet

    Mine on training pairs alone: split test pairs off first. Embeddings and a cross-encoder's scores are kept: after Ctrl-C the
    same command goes on.
    """

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
    """Folder for embeddings, so that a text is encoded once per model; default: embeddings/ in tempembed's cache."""

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
class Mined:
    """What `tempembed mine` found; also in the metadata of the Parquet file, as JSON under `tempembed.mined`."""

    output: Path
    """The file."""
    num_pairs: int
    num_queries: int
    """Distinct ones."""
    num_documents: int
    """Distinct ones, in which was searched."""
    num_candidates: int
    """Documents within the ranks, over all queries."""
    num_negatives: int
    """Found, over all distinct queries."""
    num_without: int
    """Queries for which nothing was found."""
    left_out: Mapping[str, int]
    """Reason to number of candidates."""

    def __str__(self) -> str:
        lines = [
            f"{self.num_negatives:,} hard negatives for {self.num_queries - self.num_without:,} of {self.num_queries:,} queries "
            f"({self.num_negatives / self.num_queries:.2f} each), of {self.num_candidates:,} candidates among {self.num_documents:,} documents",
            *(f"{number:>12,}  left out: {reason}" for reason, number in self.left_out.items()),
            f"{self.num_without:>12,}  queries without any",
        ]
        return "\n".join(lines)


def mine_command(command: Mine) -> None:
    """`tempembed mine`."""
    print(mine(command))
    say(f"pairs with hard negatives: {command.output}")


def mine(command: Mine, say: Callable[[str], None] = say) -> Mined:
    """Search, choose, and write the file, whole or not at all.

    Raises:
        UserError: bad data, a model that is none, an output that is there, or nothing found.
    """
    output = _new_file(command.output)
    from tempembed.data.candidates import Candidates, Scored, with_negatives
    from tempembed.data.columns import SCORES
    from tempembed.index.mining import mine as search
    from tempembed.settings.train import TrainSettings
    from tempembed.stages.prepare import training_pairs
    from tempembed.system.cache import cache_dir

    settings = TrainSettings.of(
        data=command.data, skip_bad_rows=command.skip_bad_rows, min_score=command.min_score
    )
    pairs = training_pairs(settings, say)
    if SCORES in pairs.table.column_names and not (command.judge or command.cross_encoder):
        raise UserError(
            f"--data {pairs.source}: it has teacher scores, which new hard negatives would lack; name the teacher with "
            "--judge or --cross-encoder, or take the column out"
        )
    candidates = Candidates.of(pairs)
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="mine-") as scratch:
        queries, documents = _embedded(
            command.model, command, candidates, Path(scratch) / "own", say, command.prompts
        )
        judge = _judge(command, candidates, Path(scratch), say)
        found = search(queries, documents, candidates.known, command.rules, judge, say)
        mined = _mined(output, pairs, candidates, found)
        if not mined.num_negatives:
            reasons = ", ".join(f"{number:,} {reason}" for reason, number in found.left_out.items())
            raise UserError(
                f"mine: expected hard negatives, found none for any of {mined.num_queries:,} queries: of {mined.num_candidates:,} "
                f"candidates none is left ({reasons or 'there are no other documents'}); look deeper with --ranks, or lower the margins"
            )
        scored = None
        if judge is not None:
            at, given = candidates.given
            scored = Scored(
                answers=found.answer_scores, given=judge(candidates.query_of[at], given), found=found.scores
            )
        _write(mined, with_negatives(pairs, candidates, found.documents, scored))
    return mined


def _new_file(place: str) -> Path:
    output = Path(place).expanduser()
    check_place(output, "--output")
    if output.suffix != ".parquet":
        raise UserError(f"--output: expected a file name that ends in .parquet, got {place}")
    if output.exists():
        raise UserError(
            f"--output {output}: expected a new file, this one is there; remove it or choose another name"
        )
    return output


def _embedded(
    model: str, command: Mine, candidates: "Candidates", place: Path, say: Callable[[str], None],
    prompts: Mapping[RoleName, str],
) -> "tuple[Tensor, Tensor]":  # fmt: skip
    """Unit embeddings of queries and documents, memory-mapped; a text that the cache has is not embedded again."""
    from tempembed.encoders.load import load_encoder
    from tempembed.evaluation.store import EmbeddingStore
    from tempembed.system.cache import cache_dir

    encoder = load_encoder(model, prompts=prompts)
    for line in (*encoder.notes, encoder.prompts.describe()):
        say(f"{model}: {line}")
    store = EmbeddingStore(Path(command.cache or cache_dir() / "embeddings"), encoder, say)
    texts: Mapping[RoleName, list[str]] = {"query": candidates.queries, "document": candidates.documents}
    found = []
    for role, of_role in texts.items():
        found.append(store.embed_to(place.with_suffix(f".{role}"), of_role, role))
    return found[0], found[1]


def _judge(
    command: Mine, candidates: "Candidates", scratch: Path, say: Callable[[str], None]
) -> "Score | None":
    """Scores by the second model, if one is named."""
    if command.judge:
        from tempembed.index.mining import cosines

        return cosines(*_embedded(command.judge, command, candidates, scratch / "judge", say, {}))
    if not command.cross_encoder:
        return None
    from tempembed.encoders.cross_encoder import load_cross_encoder
    from tempembed.evaluation.judged import kept_scores
    from tempembed.system.cache import cache_dir

    model, place = load_cross_encoder(command.cross_encoder), cache_dir() / "judged"
    queries, documents = candidates.queries, candidates.documents

    def score(of_queries: "np.ndarray", of_documents: "np.ndarray") -> "np.ndarray":
        numbers = zip(of_queries.tolist(), of_documents.tolist(), strict=True)
        return kept_scores(model, place, [(queries[q], documents[d]) for q, d in numbers], say)

    return score


def _mined(output: Path, pairs: "Pairs", candidates: "Candidates", found: "Negatives") -> Mined:
    counts = (found.documents >= 0).sum(1)
    return Mined(
        output=output, num_pairs=len(pairs), num_queries=len(candidates.queries), num_documents=len(candidates.documents),
        num_candidates=found.num_seen, num_negatives=int(counts.sum()), num_without=int((counts == 0).sum()),
        left_out=dict(found.left_out),
    )  # fmt: skip


def _write(mined: Mined, tables: "Iterator[Table]") -> None:
    """The tables, through a file beside the output."""
    import pyarrow.parquet as pq

    output = mined.output
    facts = json.dumps({**asdict(mined), "output": output.name, "left_out": dict(mined.left_out)})
    output.parent.mkdir(parents=True, exist_ok=True)
    writer = None
    with appearing(output) as partial:
        for table in tables:
            schema = table.schema.with_metadata({"tempembed.mined": facts})
            writer = writer or pq.ParquetWriter(partial, schema)
            writer.write_table(table.cast(schema))
        assert writer is not None
        writer.close()
