"""Everything that a run needs and that does not depend on its objective: read, split, tokenise. Once per data set."""

import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tempembed.data.overlap import check_overlap
from tempembed.data.pairs import Pairs, read_pairs, require_rows
from tempembed.data.partners import Partners
from tempembed.data.split import holdout
from tempembed.data.text_ids import text_ids
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.role import Role
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.evaluation.corpus import Corpus, corpus_from_pairs
from tempembed.objectives.term import blunt
from tempembed.settings.flat import fingerprint
from tempembed.settings.sources import parse_sources
from tempembed.settings.train import TrainSettings
from tempembed.stages.dev import dev_part
from tempembed.stages.initial_encoder import build_encoder, describe_roles, initial_encoder, training_role
from tempembed.stages.judges import (
    guide_fingerprint,
    load_guide,
    require_teacher,
    write_guide,
    write_teacher,
)
from tempembed.stages.prepared import CORPORA, Prepared
from tempembed.system.cache import INSTALLED_CODE, cache_dir
from tempembed.system.checksums import MANIFEST, checksums, is_intact, publish
from tempembed.system.disk import room_for

FORMAT = 7  # raise when what is prepared from the same input changes
FORGOTTEN_SECONDS = 24 * 3600
DEFAULT_MAX_QUERIES = 5_000  # of the embedded test split: +-0.012 on nDCG at 95 %, half the time of all of it


def training_pairs(settings: TrainSettings, say: Callable[[str], None] = lambda _: None) -> Pairs:
    """The pairs that --data names, of all its sources whose weight is not 0."""
    places = [source.place for source in parse_sources(settings.data.data)]
    if INSTALLED_CODE in places:
        from tempembed.data.installed_code import installed_code

        if len(places) == 1:
            return read_pairs(str(installed_code(progress=say).train))
        places[places.index(INSTALLED_CODE)] = str(installed_code(progress=say).train)
    return read_pairs(
        places,
        skip_bad_rows=settings.data.skip_bad_rows,
        min_score=settings.data.min_score,
        say=say,
    )


def evaluation_task(
    source: str | Sequence[str],
    *,
    max_queries: int | None = None,
    skip_bad_rows: bool = False,
    min_score: float | None = None,
    check: Callable[[Pairs], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Corpus:
    """The retrieval and clustering task of data sources, whose pairs `check` sees; of installed-code its test split."""
    places = (
        [source] if isinstance(source, str) else [each.place for each in parse_sources(source, "--eval-data")]
    )
    if INSTALLED_CODE in places:
        import pyarrow.parquet as pq

        from tempembed.data.installed_code import installed_code

        test = installed_code(progress=say).test
        if len(places) == 1:
            pairs = Pairs(table=pq.read_table(test), source=INSTALLED_CODE)
            return corpus_from_pairs(pairs, max_queries=max_queries or DEFAULT_MAX_QUERIES)
        places[places.index(INSTALLED_CODE)] = str(test)
    pairs = read_pairs(places, skip_bad_rows=skip_bad_rows, split="test", min_score=min_score, say=say)
    check(pairs)
    return corpus_from_pairs(pairs, max_queries=max_queries)


def prepare(settings: TrainSettings, say: Callable[[str], None] = lambda _: None) -> Prepared:
    """Read, check and tokenise the data of a run; found again by content, so the next run only opens it.

    Raises:
        UserError: bad data, fewer pairs than one batch, an objective that does not fit the encoder.
    """
    return prepare_with_encoder(settings, say)[0]


def prepare_with_encoder(
    settings: TrainSettings, say: Callable[[str], None] = lambda _: None
) -> tuple[Prepared, Encoder]:
    """As `prepare`, with the encoder before training, which was made for it: loading a model takes seconds."""
    pairs = training_pairs(settings, say)
    task = None
    if settings.data.test:
        task = evaluation_task(
            settings.data.test,
            skip_bad_rows=settings.data.skip_bad_rows,
            min_score=settings.data.min_score,
            check=lambda test: check_overlap(
                pairs.table,
                test.table,
                what=f"--eval-data {test.source}",
                allow=settings.data.allow_overlap,
                say=say,
            ),
            say=say,
        )
    elif settings.data.hold_out:
        train, test = holdout(pairs.table, max(2, round(settings.data.hold_out * len(pairs))), say=say)
        say(f"held out {len(test)} of {len(pairs)} pairs as the test")
        held = dataclasses.replace(pairs, table=test)
        task = corpus_from_pairs(held, max_queries=DEFAULT_MAX_QUERIES)
        pairs = dataclasses.replace(pairs, table=train)
    pairs, dev = dev_part(settings, pairs, task, say)
    require_rows(
        pairs, settings.batches.batch_size, f"one batch (--batch-size {settings.batches.batch_size})"
    )
    require_teacher(settings.loss, pairs)
    guide = load_guide(settings.loss)
    encoder = None if settings.model.own_encoder else build_encoder(settings, None)
    tokens = encoder.input_fingerprint() if encoder else [settings.model.encoder, settings.model.vocabulary]
    limits = [settings.model.limits, settings.model.max_tokens if settings.model.own_encoder else None]
    parts = [pairs.fingerprint, task and task.fingerprint, *([dev.fingerprint] if dev else [])]
    guided = [guide_fingerprint(guide)] if guide else []
    several = [*guided, *([pairs.groups] if pairs.groups else []), *_of_several(task, dev)]
    key = fingerprint([FORMAT, *parts, settings.model.prompts, limits, tokens, *several])
    folder = cache_dir() / "prepared" / key
    prepared = Prepared(folder=folder)
    if not is_intact(folder):
        if folder.exists():
            say(f"{folder} is damaged: prepared anew")
            shutil.rmtree(folder)
        with room_for("prepared data", cache_dir()):
            _write(settings, encoder, guide, pairs, {"test": task, "dev": dev}, folder, say)
    encoder = encoder or initial_encoder(settings, prepared)
    objective = settings.loss.resolved(encoder.width)  # one that does not fit: now
    for line in (*blunt(objective.terms), *describe_roles(settings, encoder)):
        say(line)
    for place, reasons in (pairs.left_out or {pairs.source: pairs.skip_reasons}).items():
        if reasons:
            say(f"left out {sum(reasons.values())} rows of {place}: {dict(reasons)}")
    if settings.batches.single_source:
        for line in _never_drawn(prepared, settings.batches.batch_size):
            say(line)
    return prepared, encoder


def _never_drawn(prepared: Prepared, batch_size: int) -> Iterator[str]:
    """The sources that fill no batch of their own, a line each."""
    for name, size in zip(prepared.source_names, prepared.sizes, strict=False):
        if size < batch_size:
            yield (
                f"--single-source: {name} has {size} pairs, fewer than a batch of {batch_size}: none of them is trained on; lower "
                "--batch-size, or leave --single-source out"
            )


def _of_several(*parts: Corpus | None) -> list[Any]:
    """Which query is of which source, where they are of several."""
    return [[part.source_names, part.sources] for part in parts if part and part.source_names]


def _write(
    settings: TrainSettings,
    encoder: Encoder | None,
    guide: Encoder | None,
    pairs: Pairs,
    parts: Mapping[str, Corpus | None],
    folder: Path,
    say: Callable[[str], None],
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_forgotten(folder.parent)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-"))
    try:
        if encoder is None:
            say(f"training a tokenizer of {settings.model.vocabulary} tokens on {len(pairs)} pairs")
            tokenizer = train_tokenizer(
                (t for c in (pairs.queries, pairs.documents) for t in c), settings.model.vocabulary
            )
            tokenizer.save(str(partial / "tokenizer.json"))
            encoder = build_encoder(settings, tokenizer)
        say(f"tokenising {len(pairs)} pairs")
        as_document = training_role(settings, encoder, "document")
        encoder.prepare(pairs.queries, training_role(settings, encoder, "query")).save(partial, "query")
        encoder.prepare(pairs.documents, as_document).save(partial, "document")
        _write_ids(pairs, partial)
        if pairs.sources is not None:
            np.save(partial / "sources.npy", pairs.sources)
        num_negatives = _write_negatives(encoder, as_document, pairs.hard_negatives, partial)
        write_teacher(pairs, num_negatives, partial)
        if guide:
            write_guide(guide, pairs, partial, say)
        for name, task in parts.items():
            if task:
                encoder.prepare(task.queries, encoder.role("query")).save(partial, f"{name}_query")
                encoder.prepare(task.documents, encoder.role("document")).save(partial, f"{name}_document")
                task.save(partial / CORPORA[name])
        meta = {
            "source": pairs.source,
            "fingerprint": pairs.fingerprint,
            "input_fingerprint": encoder.input_fingerprint(),
            **{name: part.fingerprint if part else "" for name, part in parts.items()},
            "num_pairs": len(pairs),
            "num_hard_negatives": num_negatives,
            "num_skipped": pairs.num_skipped,
            "skip_reasons": dict(pairs.skip_reasons),
            "source_names": pairs.source_names,
            "groups": pairs.groups,
            "guide": guide_fingerprint(guide),
        }
        (partial / "meta.json").write_text(json.dumps(meta, indent=1))
        sums = checksums(partial, sorted(path.name for path in partial.iterdir()))
        (partial / MANIFEST).write_text(json.dumps({"sha256": sums}, indent=1))
        publish(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_forgotten(folder: Path) -> None:
    """What processes left that were killed while they wrote."""
    for path in folder.glob(".partial-*"):
        with suppress(OSError):  # another process may remove it too
            if time.time() - path.stat().st_mtime > FORGOTTEN_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _write_ids(pairs: Pairs, folder: Path) -> None:
    """Which texts are the same, and which belong together, whatever row they are in."""
    queries, documents = text_ids(pairs.queries), text_ids(pairs.documents)
    np.save(folder / "query.text_ids.npy", queries)
    np.save(folder / "document.text_ids.npy", documents)
    Partners.of(queries, documents).save(folder, "answers")
    Partners.of(documents, queries).save(folder, "askers")


def _write_negatives(
    encoder: Encoder, role: Role, negatives: Sequence[Sequence[str]] | None, folder: Path
) -> int:
    """Only those that are there; returns how many the row with the most has."""
    counts = np.array([len(row) for row in negatives or ()])
    num = int(counts.max(initial=0))
    if not num:
        return 0
    assert negatives is not None
    has = np.arange(num)[:, None] < counts
    ids = np.zeros(has.shape, np.int64)
    for k in range(num):
        texts = [row[k] for row in negatives if k < len(row)]
        encoder.prepare(texts, role).at(has[k]).save(folder, f"negative_{k}")
        ids[k, has[k]] = text_ids(texts)
    np.save(folder / "hard_negatives.text_ids.npy", ids)
    np.save(folder / "has_negative.npy", has)
    return num
