"""Pairs to pairs with hard negatives, over any processes: texts embedded once into shards, searched, chosen from, written.

What is made on the way is kept in a folder under names that are sums of what it was made of, so whoever comes again finds it.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempembed.commands.encode import EncodeRun, Report, encode
from tempembed.encoders.role import RoleName
from tempembed.settings.flat import fingerprint
from tempembed.settings.places import located
from tempembed.system.atomic import appearing
from tempembed.system.errors import UserError
from tempembed.system.in_order import Over
from tempembed.tracking.settings import TrackingSettings

if TYPE_CHECKING:
    from pyarrow import Table

    from tempembed.commands.mine import MineRun
    from tempembed.data.candidates import Candidates
    from tempembed.data.numbered_texts import NumberedTexts
    from tempembed.data.pairs import Pairs
    from tempembed.encoders.encoder import Encoder
    from tempembed.index.mining import Negatives, Score
    from tempembed.index.retriever import Retriever
    from tempembed.index.shards import Encoded
    from tempembed.tracking.tracker import TrackedDataset

SHARD_ROWS = 4096
"""Texts that a process embeds at a time."""
JUDGED_QUERIES = 64
"""Queries whose candidates a cross-encoder judges at a time."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Processes that mining runs on, of this machine or of a cluster."""

    over: Over
    """Searches."""
    embed_over: Over
    """Embeds, and judges with a cross-encoder."""
    device: str
    """cpu or cuda, of what embeds."""


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


def mine_pairs(
    command: "MineRun", output: Path, machine: Machine, tracking: TrackingSettings, say: Callable[[str], None],
    report: Report = lambda _: None,
) -> Mined:  # fmt: skip
    """Search, choose, and write the file, whole or not at all.

    Args:
        command: what is mined.
        output: the new file.
        machine: what it runs on.
        tracking: resolved.
        say: takes lines of progress.
        report: takes metrics.

    Raises:
        UserError: bad data, a model that is none, a codec that cannot be searched, another process at work for this output or on these
            texts, or nothing found.
        DiskFullError: what is done stays.
    """
    from tempembed.data.candidates import Candidates
    from tempembed.data.columns import SCORES
    from tempembed.run.folder import hold
    from tempembed.settings.train import TrainSettings
    from tempembed.stages.prepare import training_pairs
    from tempembed.tracking.tracked import tracked

    own = command.place / "runs" / fingerprint(str(output))
    settings = command.settings
    with hold(own, "mine"):
        read = TrainSettings.of(
            data=command.data, skip_bad_rows=command.skip_bad_rows, min_score=command.min_score
        )
        pairs = training_pairs(read, say)
        if SCORES in pairs.table.column_names and not (command.judge or command.cross_encoder):
            raise UserError(
                f"--data {pairs.source}: it has teacher scores, which new hard negatives would lack; name the teacher with "
                "--judge or --cross-encoder, or take the column out"
            )
        run = own / fingerprint(settings) / output.stem
        run.mkdir(parents=True, exist_ok=True)
        with tracked(run, settings, [_dataset(command, pairs)], tracking, say, {}, output) as trackers:

            def log(metrics: dict[str, Any]) -> None:
                report(metrics)
                for tracker in trackers:
                    tracker.log("", metrics)

            candidates = Candidates.of(pairs, command.place / "texts")
            work = _Work(command=command, candidates=candidates, machine=machine, say=say, report=report)
            return work.mined(pairs, output, log)


@dataclass(frozen=True, kw_only=True)
class _Work:
    command: "MineRun"
    candidates: "Candidates"
    machine: Machine
    say: Callable[[str], None]
    report: Report
    """Takes metrics of an encode."""

    def mined(self, pairs: "Pairs", output: Path, log: Report) -> Mined:
        """Everything."""
        from tempembed.data.candidates import Scored, with_negatives
        from tempembed.index.mining import MOST_QUERIES, mine, scores_of

        command, candidates, over = self.command, self.candidates, self.machine.over
        retriever = self._retriever(command.model, command.codec, command.prompts)
        judge, judge_over = self._judge(), self.machine.embed_over if command.cross_encoder else over
        found = mine(
            retriever, candidates.known, command.rules, command.place / "nearest", over, judge=judge, judge_over=judge_over,
            judged=JUDGED_QUERIES if command.cross_encoder else MOST_QUERIES, say=self.say, report=log,
        )  # fmt: skip
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
            of_given = scores_of(judge, candidates.query_of[at], given, judge_over)
            scored = Scored(answers=found.answer_scores, given=of_given, found=found.scores)
        _write(mined, with_negatives(pairs, candidates, found.documents, scored))
        return mined

    def _retriever(self, model: str, codec: str, prompts: Mapping[RoleName, str]) -> "Retriever":
        """Queries and documents, embedded by a model."""
        from tempembed.codecs.spec import parse_spec
        from tempembed.encoders.load import load_encoder
        from tempembed.index.retriever import Retriever, check_spec

        encoder = load_encoder(model, prompts=prompts)
        spec = parse_spec(codec, encoder.width)
        check_spec(spec)
        for line in encoder.introduction():
            self.say(f"{model}: {line}")
        return Retriever(
            queries=self._encoded(model, encoder, "query", "float32"),
            documents=self._encoded(model, encoder, "document", str(spec)),
        )

    def _encoded(self, model: str, encoder: "Encoder", name: RoleName, codec: str) -> "Encoded":
        """The texts of a role in shards of codes, made once."""
        from tempembed.index.shards import SHARDS, Encoded
        from tempembed.run.folder import hold
        from tempembed.system.checksums import is_intact

        role = encoder.role(name)
        texts = self.candidates.queries if name == "query" else self.candidates.documents
        facts = [
            encoder.fingerprint(),
            name,
            role.prompt,
            role.max_tokens,
            codec,
            texts.path.stem,
            SHARD_ROWS,
        ]
        folder = self.command.place / "encoded" / fingerprint(facts)
        if is_intact(folder / SHARDS):
            return Encoded.open(folder)
        run = _EncodeTexts(
            model=model, data=(str(texts.path),), output=str(folder), codec=codec, role=name, prompt=role.prompt, shard_rows=SHARD_ROWS,
            texts=texts,
        )  # fmt: skip
        with hold(folder, "mine"):
            return encode(
                run,
                folder,
                self.machine.device,
                self.machine.embed_over,
                TrackingSettings(),
                self.say,
                self.report,
            )

    def _judge(self) -> "Score | None":
        """Scores by the second model, if one is named."""
        command, candidates = self.command, self.candidates
        if command.judge:
            return self._retriever(command.judge, "float32", {})
        if not command.cross_encoder:
            return None
        from tempembed.encoders.cross_encoder import load_cross_encoder
        from tempembed.evaluation.judged import KeptScores

        return KeptScores(
            model=located(command.cross_encoder), fingerprint=load_cross_encoder(command.cross_encoder).fingerprint,
            folder=command.place / "judged", queries=candidates.queries, documents=candidates.documents,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _EncodeTexts(EncodeRun):
    """An encode of texts of pairs."""

    texts: Any
    """NumberedTexts, by a name that the check of settings can find."""

    @property
    def what(self) -> str:
        return "queries" if self.role == "query" else "documents"

    def documents(self) -> "NumberedTexts":
        return self.texts

    def introduce(self, encoder: "Encoder", say: Callable[[str], None]) -> None:
        """It was said of both roles together."""


def _dataset(command: "MineRun", pairs: "Pairs") -> "TrackedDataset":
    from tempembed.tracking.tracker import TrackedDataset

    return TrackedDataset(
        context="training", name=Path(command.data[0]).name, source=" ".join(command.data), digest=pairs.fingerprint, num_rows=len(pairs)
    )  # fmt: skip


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
