"""Everything that a run needs and that does not depend on its objective: read, split, tokenise. Once per data set."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from tempembed.data.columns import DOCUMENT, QUERY
from tempembed.data.installed import installed
from tempembed.data.kept_rows import parts
from tempembed.data.overlap import check_overlap
from tempembed.data.pairs import Pairs, read_pairs, require_rows
from tempembed.data.picture_cells import modalities
from tempembed.data.split import holdout
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.evaluation.corpus import Corpus, corpus_from_pairs
from tempembed.inputs.picture_store import is_picture
from tempembed.objectives.term import blunt
from tempembed.settings.flat import fingerprint
from tempembed.settings.sources import parse_sources
from tempembed.settings.train import TrainSettings
from tempembed.stages.dev import dev_part
from tempembed.stages.initial_encoder import (
    build_encoder,
    describe_roles,
    image_encoder,
    initial_encoder,
    training_role,
)
from tempembed.stages.judges import (
    guide_fingerprint,
    load_guide,
    require_teacher,
    write_guide,
    write_teacher,
)
from tempembed.stages.pair_parts import PartOf, num_hard_negatives, write_parts
from tempembed.stages.prepared import CORPORA, Prepared
from tempembed.system.alone import alone
from tempembed.system.atomic import appearing
from tempembed.system.cache import INSTALLED_CODE, cache_dir
from tempembed.system.checksums import MANIFEST, checksums, is_intact, publish
from tempembed.system.disk import room_for
from tempembed.system.in_order import Pool

FORMAT = 7  # raise when what is prepared from the same input changes
TOKENIZER = "tokenizer.json"
DEFAULT_MAX_QUERIES = 5_000  # of the embedded test split: +-0.012 on nDCG at 95 %, half the time of all of it


def training_pairs(settings: TrainSettings, say: Callable[[str], None] = lambda _: None) -> Pairs:
    """The pairs that --data names, of all its sources whose weight is not 0."""
    places = [source.place for source in parse_sources(settings.data.data)]
    if len(places) == 1 and (found := installed(places[0], say)):
        return read_pairs(str(found.train))
    return read_pairs(
        [str(found.train) if (found := installed(place, say)) else place for place in places],
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
    flag: str = "--eval-data",
    say: Callable[[str], None] = lambda _: None,
) -> Corpus:
    """The retrieval and clustering task of data sources, whose pairs `check` sees; of what is installed its test split."""
    places = [source] if isinstance(source, str) else [each.place for each in parse_sources(source, flag)]
    tests = [found.test if (found := installed(place, say)) else None for place in places]
    if places == [INSTALLED_CODE]:  # some of its labels are null
        import pyarrow.parquet as pq

        pairs = Pairs(table=pq.read_table(tests[0]), source=INSTALLED_CODE)
        return corpus_from_pairs(pairs, max_queries=max_queries or DEFAULT_MAX_QUERIES)
    places = [str(test) if test else place for test, place in zip(tests, places, strict=True)]
    if all(tests):  # their own hold-out has no pair of training, though faces share names with it
        return corpus_from_pairs(read_pairs(places), max_queries=max_queries or DEFAULT_MAX_QUERIES)
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
    settings: TrainSettings, say: Callable[[str], None] = lambda _: None, *, pool: Pool | None = None
) -> tuple[Prepared, Encoder]:
    """As `prepare`, with the encoder before training, which was made for it: loading a model takes seconds.

    Args:
        settings: of the run.
        say: takes lines.
        pool: tokenises elsewhere; default: processes of this machine, where there is enough to do.
    """
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
    kinds = modalities(pairs.table[QUERY], pairs.table[DOCUMENT])
    needs_tokenizer = settings.model.own_encoder and "text" in kinds
    encoder = None if needs_tokenizer else build_encoder(settings, None, kinds)
    tokens = encoder.input_fingerprint() if encoder else [settings.model.encoder, settings.model.vocabulary]
    if "image" in kinds and encoder is None:
        tokens = [tokens, image_encoder(settings, 1).input_fingerprint()]
    limits = [settings.model.limits, settings.model.max_tokens if settings.model.own_encoder else None]
    contents = [pairs.fingerprint, task and task.fingerprint, *([dev.fingerprint] if dev else [])]
    guided = [guide_fingerprint(guide)] if guide else []
    several = [*guided, *([pairs.groups] if pairs.groups else []), *_of_several(task, dev)]
    key = fingerprint([FORMAT, *contents, settings.model.prompts, limits, tokens, *several])
    folder = cache_dir() / "prepared" / key
    prepared = Prepared(folder=folder)
    if not is_intact(folder):
        with alone(folder, say) as work, room_for("prepared data", cache_dir()):
            if not is_intact(folder):
                if folder.exists():
                    say(f"{folder} is damaged: prepared anew")
                    shutil.rmtree(folder)
                _write(
                    settings, encoder, guide, pairs, kinds, {"test": task, "dev": dev}, folder, work, say, pool
                )  # fmt: skip
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
    kinds: Sequence[str],
    tasks: Mapping[str, Corpus | None],
    folder: Path,
    work: Path,
    say: Callable[[str], None],
    pool: Pool | None,
) -> None:
    """Fill the folder from where an interrupted call left it."""
    partial = work / "whole"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if encoder is None:
        if not (tokenizer := work / TOKENIZER).exists():
            say(f"training a tokenizer of {settings.model.vocabulary} tokens on {len(pairs)} pairs")
            texts = (
                text
                for name in (QUERY, DOCUMENT)
                if not is_picture(pairs.table[name][0].as_py())
                for part in parts(pairs.table)
                for text in part[name].to_pylist()
            )
            with appearing(tokenizer) as new:
                train_tokenizer(texts, settings.model.vocabulary).save(str(new))
        shutil.copyfile(tokenizer, partial / TOKENIZER)
        encoder = build_encoder(settings, Tokenizer.from_file(str(tokenizer)), kinds)
    say(f"{'preparing' if 'image' in kinds else 'tokenising'} {len(pairs)} pairs")
    make = PartOf(
        encoder=encoder, query=training_role(settings, encoder, "query"),
        document=training_role(settings, encoder, "document"), num_negatives=num_hard_negatives(pairs.table),
    )  # fmt: skip
    write_parts(make, pairs.table, work / "parts", partial, say, pool=pool)
    if pairs.sources is not None:
        np.save(partial / "sources.npy", pairs.sources)
    if (groups := pairs.groups_of_rows) is not None:
        np.save(partial / "group_ids.npy", groups)
    write_teacher(pairs, make.num_negatives, partial)
    if guide:
        write_guide(guide, pairs, partial, say)
    for name, task in tasks.items():
        if task:
            encoder.prepare(task.queries, encoder.role("query")).save(partial, f"{name}_query")
            encoder.prepare(task.documents, encoder.role("document")).save(partial, f"{name}_document")
            task.save(partial / CORPORA[name])
    meta = {
        "source": pairs.source,
        "fingerprint": pairs.fingerprint,
        "input_fingerprint": encoder.input_fingerprint(),
        **{name: task.fingerprint if task else "" for name, task in tasks.items()},
        "num_pairs": len(pairs),
        **({} if kinds == ("text",) else {"modalities": kinds}),
        "num_hard_negatives": make.num_negatives,
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
    shutil.rmtree(work, ignore_errors=True)
