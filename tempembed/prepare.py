"""Everything that a run needs and that does not depend on its objective: read, split, tokenise. Once per data set."""

import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from tempembed.checksums import MANIFEST, checksums, is_whole
from tempembed.data.pairs import Pairs, read_pairs, require_rows
from tempembed.data.split import holdout
from tempembed.data.text_ids import text_ids
from tempembed.data.tokens import Tokens
from tempembed.disk import room_for
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.load import load_encoder
from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.evaluation.corpus import Corpus, corpus_from_pairs
from tempembed.places import cache_dir
from tempembed.settings import DEFAULT_WIDTH, INSTALLED_CODE, TrainSettings, fingerprint

FORMAT = 5  # raise when what is prepared from the same input changes
FORGOTTEN_SECONDS = 24 * 3600
DEFAULT_MAX_QUERIES = 5_000  # of the embedded test split: +-0.012 on nDCG at 95 %, half the time of all of it


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A folder with tokens of the training pairs and of the test texts, shared by all trials and workers."""

    folder: Path

    @property
    def meta(self) -> dict[str, Any]:
        """Counts, fingerprints and names."""
        return json.loads((self.folder / "meta.json").read_text())

    @property
    def queries(self) -> Tokens:
        """Training queries."""
        return Tokens.load(self.folder, "query")

    @property
    def documents(self) -> Tokens:
        """The document of each query."""
        return Tokens.load(self.folder, "document")

    @property
    def hard_negatives(self) -> list[Tokens]:
        """One column per hard negative; an absent one has no tokens."""
        return [Tokens.load(self.folder, f"negative_{k}") for k in range(self.meta["num_hard_negatives"])]

    @property
    def has_negative(self) -> np.ndarray | None:
        """Bool [N, rows]: which hard negatives exist; None where the data has none."""
        path = self.folder / "has_negative.npy"
        return np.load(path) if path.exists() else None

    @property
    def text_ids(self) -> dict[str, np.ndarray]:
        """int64 ids of the training texts: query and document [rows], hard_negatives [N, rows] where there are any."""
        names = ("query", "document", *(["hard_negatives"] if self.has_negative is not None else []))
        return {name: np.load(self.folder / f"{name}.text_ids.npy") for name in names}

    @property
    def sources(self) -> np.ndarray | None:
        """int32 number of the file that a training pair is from; None where all are of one."""
        path = self.folder / "sources.npy"
        return np.load(path) if path.exists() else None

    @property
    def has_test(self) -> bool:
        """Whether there is a test task."""
        return (self.folder / "task.json").exists()

    def evaluation(self) -> tuple[Corpus, Tokens, Tokens] | None:
        """The test task with tokens of its queries and documents, or None without test data."""
        if not self.has_test:
            return None
        task = Corpus.load(self.folder / "task.json")
        return task, Tokens.load(self.folder, "test_query"), Tokens.load(self.folder, "test_document")


def training_pairs(settings: TrainSettings, say: Callable[[str], None] = lambda _: None) -> Pairs:
    """The pairs that --data names."""
    if settings.data == INSTALLED_CODE:
        from tempembed.data.installed_code import installed_code

        return read_pairs(str(installed_code(progress=say).train))
    return read_pairs(settings.data, skip_bad_rows=settings.skip_bad_rows)


def evaluation_task(
    source: str,
    *,
    max_queries: int | None = None,
    skip_bad_rows: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Corpus:
    """The retrieval and clustering task of a data source; for installed-code its own test split."""
    if source == INSTALLED_CODE:
        import pyarrow.parquet as pq

        from tempembed.data.installed_code import installed_code

        test = installed_code(progress=say).test
        pairs = Pairs(table=pq.read_table(test), source=source)
        return corpus_from_pairs(pairs, max_queries=max_queries or DEFAULT_MAX_QUERIES)
    return corpus_from_pairs(read_pairs(source, skip_bad_rows=skip_bad_rows), max_queries=max_queries)


def build_encoder(settings: TrainSettings, tokenizer: Tokenizer | None) -> Encoder:
    """The encoder before training; `tokenizer` is needed by those from scratch."""
    if not settings.own_encoder:
        return load_encoder(settings.encoder, settings.max_tokens)
    assert tokenizer is not None
    width = settings.width or DEFAULT_WIDTH[settings.encoder]
    if settings.encoder == "static":
        return static_encoder(tokenizer, width=width, max_tokens=settings.max_tokens, seed=settings.seed)
    from tempembed.encoders.transformer import (
        transformer_encoder,  # imports the library, which a table does not need
    )

    return transformer_encoder(
        tokenizer, width=width, layers=settings.layers, max_tokens=settings.max_tokens, seed=settings.seed
    )


def initial_encoder(settings: TrainSettings, prepared: Prepared) -> Encoder:
    """The encoder before training, with the tokenizer of the prepared data."""
    path = prepared.folder / "tokenizer.json"
    return build_encoder(settings, Tokenizer.from_file(str(path)) if settings.own_encoder else None)


def prepare(settings: TrainSettings, say: Callable[[str], None] = lambda _: None) -> Prepared:
    """Read, check and tokenise the data of a run; found again by content, so the next run only opens it.

    Raises:
        UserError: bad data, fewer pairs than one batch, an objective that does not fit the encoder.
    """
    pairs = training_pairs(settings, say)
    eval_source = settings.eval_data or (INSTALLED_CODE if settings.data == INSTALLED_CODE else None)
    task = None
    if eval_source:
        task = evaluation_task(eval_source, skip_bad_rows=settings.skip_bad_rows, say=say)
    elif settings.hold_out:
        train, test = holdout(pairs.table, max(2, round(settings.hold_out * len(pairs))))
        say(f"held out {len(test)} of {len(pairs)} pairs as the test")
        task = corpus_from_pairs(Pairs(table=test, source=pairs.source), max_queries=DEFAULT_MAX_QUERIES)
        pairs = dataclasses.replace(pairs, table=train)
    require_rows(pairs, settings.batch_size, f"one batch (--batch-size {settings.batch_size})")
    key = fingerprint(
        [FORMAT, pairs.fingerprint, task and task.fingerprint, settings.encoder, settings.max_tokens]
        + ([settings.vocabulary] if settings.own_encoder else [])
    )
    folder = cache_dir() / "prepared" / key
    prepared = Prepared(folder=folder)
    if not is_whole(folder):
        if folder.exists():
            say(f"{folder} is damaged: prepared anew")
            shutil.rmtree(folder)
        with room_for("prepared data", cache_dir()):
            _write(settings, pairs, task, folder, say)
    settings.resolved_terms(initial_encoder(settings, prepared).width)  # an objective that does not fit: now
    if pairs.num_skipped:
        say(f"left out {pairs.num_skipped} rows of {pairs.source}: {dict(pairs.skip_reasons)}")
    return prepared


def _write(
    settings: TrainSettings,
    pairs: Pairs,
    task: Corpus | None,
    folder: Path,
    say: Callable[[str], None],
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_forgotten(folder.parent)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-"))
    try:
        tokenizer = None
        if settings.own_encoder:
            say(f"training a tokenizer of {settings.vocabulary} tokens on {len(pairs)} pairs")
            tokenizer = train_tokenizer(
                (t for c in (pairs.queries, pairs.documents) for t in c), settings.vocabulary
            )
            tokenizer.save(str(partial / "tokenizer.json"))
        encoder = build_encoder(settings, tokenizer)
        say(f"tokenising {len(pairs)} pairs")
        encoder.tokenize(pairs.queries).save(partial, "query")
        encoder.tokenize(pairs.documents).save(partial, "document")
        for name, texts in (("query", pairs.queries), ("document", pairs.documents)):
            np.save(partial / f"{name}.text_ids.npy", text_ids(texts))
        if pairs.sources is not None:
            np.save(partial / "sources.npy", pairs.sources)
        num_negatives = _write_negatives(encoder, pairs.hard_negatives, partial)
        if task:
            encoder.tokenize(task.queries).save(partial, "test_query")
            encoder.tokenize(task.documents).save(partial, "test_document")
            task.save(partial / "task.json")
        meta = {
            "source": pairs.source,
            "fingerprint": pairs.fingerprint,
            "num_pairs": len(pairs),
            "num_hard_negatives": num_negatives,
            "num_skipped": pairs.num_skipped,
            "skip_reasons": dict(pairs.skip_reasons),
        }
        (partial / "meta.json").write_text(json.dumps(meta, indent=1))
        sums = checksums(partial, sorted(path.name for path in partial.iterdir()))
        (partial / MANIFEST).write_text(json.dumps({"sha256": sums}, indent=1))
        try:
            partial.rename(folder)
        except OSError:  # another process was first, with the same content
            if not is_whole(folder):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_forgotten(folder: Path) -> None:
    """What processes left that were killed while they wrote."""
    for path in folder.glob(".partial-*"):
        with suppress(OSError):  # another process may remove it too
            if time.time() - path.stat().st_mtime > FORGOTTEN_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _write_negatives(encoder: Encoder, negatives: Sequence[Sequence[str]] | None, folder: Path) -> int:
    num = max(map(len, negatives), default=0) if negatives else 0
    if not num:
        return 0
    assert negatives is not None
    ids = []
    for k in range(num):
        column = [row[k] if k < len(row) else "" for row in negatives]
        encoder.tokenize(column).save(folder, f"negative_{k}")
        ids.append(text_ids(column))
    np.save(folder / "hard_negatives.text_ids.npy", np.stack(ids))
    np.save(folder / "has_negative.npy", np.array([[k < len(row) for row in negatives] for k in range(num)]))
    return num
