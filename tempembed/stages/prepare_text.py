"""Raw text made ready for pre-training: read, cleaned, tests cut out, tokenised into shards. Once per text and tokenizer."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tempembed.data import cut_texts, repeats
from tempembed.data.installed_text import installed_parts
from tempembed.data.raw_text import Part, text_parts
from tempembed.data.text_batches import (
    CHARACTERS,
    TESTS,
    TOKENIZER,
    TokenBatch,
    cutter_of,
    plain_tokenizer,
    token_batch,
)
from tempembed.encoders import tokenizer as special
from tempembed.inputs.token_shards import TokenShards, write_manifest, write_shard
from tempembed.settings.flat import fingerprint
from tempembed.settings.text import TextSettings
from tempembed.stages.excluded_texts import read_test_texts
from tempembed.stages.text_corpus import TextCorpus, trained_tokenizer
from tempembed.system.alone import alone
from tempembed.system.atomic import write_json
from tempembed.system.cache import INSTALLED_TEXT, cache_dir
from tempembed.system.checksums import checksums, is_intact, publish, sha256
from tempembed.system.console import Progress
from tempembed.system.disk import room_for
from tempembed.system.errors import UserError
from tempembed.system.in_order import Pool, in_order, num_cpus
from tempembed.system.wording import first_line

FORMAT = 1  # raise when the same text gives other shards
SHARD_TOKENS = 2**24
SAMPLE_CHARACTERS = 24_000_000
"""Text that a tokenizer is trained on."""
RATE_CHARACTERS = 1_000_000
"""Text by which the characters of a token are measured."""


def prepare_text(
    settings: TextSettings,
    tokenizer: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    *,
    over: int | Pool | None = None,
) -> TokenShards:
    """Tokens of raw text, in shards of the cache: found again by the text's files, test sets and tokenizer.

    A call that was interrupted, by kill -9 or a full disk, goes on after the last whole shard. The shards are the same on any
    number of processes, or machines.

    Args:
        settings: which text, and what is cut out of it.
        tokenizer: a model's folder; None: one is trained on the text.
        say: takes lines of progress.
        over: processes of this machine, default one for each CPU; or a pool, which reads the cache too.

    Raises:
        UserError: no text, bad text, a test set that cannot be read, a tokenizer without mask token.
        DiskFullError: what was done stays.
    """
    parts = _parts(settings)
    tests = {
        each: read_test_texts(each, say, skip_bad_rows=settings.skip_bad_rows) for each in settings.exclude
    }
    files = _tokenizer_files(tokenizer) if tokenizer else {}
    limits = [
        settings.column,
        settings.skip_bad_rows,
        settings.text_tokens,
        None if tokenizer else settings.vocabulary,
    ]
    stamps = [[part.kind, part.place, *part.stamp] for part in parts]
    key = fingerprint([FORMAT, stamps, list(tests.values()), limits, files])
    folder = cache_dir() / "text" / key
    if not is_intact(folder):
        with alone(folder, say) as work, room_for("tokens of text", folder.parent):
            if not is_intact(folder):
                shutil.rmtree(folder, ignore_errors=True)
                (work / "shards").mkdir(parents=True, exist_ok=True)
                corpus = TextCorpus(
                    parts=parts, settings=settings, work=work, over=over or num_cpus(), say=say
                )
                _prepare(corpus, tests, tokenizer)
                if _parts(settings) != parts:
                    shutil.rmtree(work)
                    raise UserError("--text: the text changed while it was read; give the same command again")
                publish(work / "shards", folder)
                shutil.rmtree(work)
    shards = TokenShards.open(folder)
    say(f"text: {len(shards):,} documents, {shards.meta['num_tokens'] / 1e6:,.1f} M tokens in {folder}")
    return shards


def _parts(settings: TextSettings) -> list[Part]:
    parts = [
        part
        for source in settings.text
        for part in (installed_parts() if source == INSTALLED_TEXT else text_parts(source))
    ]
    return list(dict.fromkeys(parts))


def _tokenizer_files(folder: Path) -> dict[str, str]:
    """Sums of the files that make a tokenizer."""
    named = ("*token*", "vocab*", "merges*", "spiece*", "sentencepiece*")
    names = sorted({path.name for pattern in named for path in folder.glob(pattern) if path.is_file()})
    if not names:
        raise UserError(f"{folder}: expected a model's folder with a tokenizer, found none; check the path")
    return checksums(folder, names)


def _prepare(corpus: TextCorpus, tests: Mapping[str, list[str]], tokenizer: Path | None) -> None:
    """Fill `shards` of the work folder, from where it was left."""
    began, work, say = time.monotonic(), corpus.work, corpus.say
    write_json(work / TESTS, [text for own in tests.values() for text in own])
    scan = corpus.scan()
    say(
        f"read {scan['documents']:,} documents, {scan['characters'] / 1e6:,.1f} M characters; {scan['equal']:,} are equal to earlier "
        f"ones, {scan['lines']:,} lines repeat in {repeats.LINE_DOCUMENTS} documents or more"
    )
    if scan["bad"]:
        say(
            f"left out {sum(scan['bad'].values())} bad rows or files: {scan['bad']}; the first: {scan['first']}"
        )
    if not (work / TOKENIZER).exists():
        _save_tokenizer(corpus, tokenizer)
    vocabulary = _vocabulary(work)
    counts, hits = _write_shards(corpus, vocabulary)
    cutter = cutter_of(work)
    found, start, test_sets = cutter.found(hits), 0, {}
    for name, own in tests.items():
        cut = int(found[start : start + len(own)].sum())
        test_sets[name] = {"texts": len(own), "found and cut out": cut}
        say(f"{name}: {cut:,} of {len(own):,} test texts were in the text, and were cut out")
        start += len(own)
    write_manifest(
        work / "shards",
        vocabulary=vocabulary,
        fingerprint=fingerprint(
            checksums(work / "shards", sorted(path.name for path in (work / "shards").iterdir()))
        ),
        sources=list(corpus.settings.text),
        counts={
            "documents read": scan["documents"],
            "equal documents removed": scan["equal"],
            "lines that repeat": scan["lines"],
            "bad rows and files": scan["bad"],
            **scan["read"],
            **counts,
        },
        tests=test_sets,
        test_texts_too_short=cutter.too_short,
        methods={"repeats": repeats.METHOD, "tests": cut_texts.METHOD},
        seconds=round(time.monotonic() - began, 1),
    )


def _save_tokenizer(corpus: TextCorpus, folder: Path | None) -> None:
    """The tokenizer's files among the shards, and `tokenizer.json` for the processes when these are whole."""
    from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

    fast: PreTrainedTokenizerBase
    if folder is None:
        vocabulary = corpus.settings.vocabulary
        corpus.say(f"training a tokenizer of {vocabulary:,} tokens")
        fast = PreTrainedTokenizerFast(
            tokenizer_object=trained_tokenizer(corpus.sample(SAMPLE_CHARACTERS), vocabulary),
            pad_token=special.PAD, unk_token=special.UNKNOWN, cls_token=special.START, sep_token=special.END,
            mask_token=special.MASK,
        )  # fmt: skip
    else:
        try:
            fast = AutoTokenizer.from_pretrained(folder, use_fast=True)
        except Exception as error:  # what transformers raises has no common class
            raise UserError(
                f"{folder}: expected a folder with a tokenizer, and could not read it ({type(error).__name__}: {first_line(error)})"
            ) from error
        if fast.mask_token is None:
            raise UserError(
                f"{folder}: expected a tokenizer with a mask token, as masked-language models have, got one without; "
                "take another model, or leave it out and a tokenizer is trained on the text"
            )
        if not fast.is_fast:
            raise UserError(
                f"{folder}: expected a tokenizer of the tokenizers library, got {type(fast).__name__}; convert it"
            )
    shards = corpus.work / "shards"
    fast.save_pretrained(shards)
    shutil.copyfile(shards / TOKENIZER, corpus.work / f".{TOKENIZER}")
    (corpus.work / f".{TOKENIZER}").rename(corpus.work / TOKENIZER)


def _vocabulary(work: Path) -> int:
    return 1 + max(plain_tokenizer(work / TOKENIZER).get_vocab(with_added_tokens=True).values())


def _share(corpus: TextCorpus) -> float:
    """Of the documents, how many give the tokens that are wanted, a tenth more to be sure."""
    wanted = corpus.settings.text_tokens
    if wanted is None:
        return 1.0
    texts = corpus.sample(RATE_CHARACTERS)
    encoded = plain_tokenizer(corpus.work / TOKENIZER).encode_batch_fast(texts, add_special_tokens=False)
    rate = sum(map(len, texts)) / max(1, sum(len(each.ids) for each in encoded))
    return 1.1 * wanted * rate / float(corpus.scan()["characters"])


def _write_shards(corpus: TextCorpus, vocabulary: int) -> tuple[Counter[str], np.ndarray]:
    """Tokenise what is left; (counts of all shards, which sequences of test texts were met)."""
    work, wanted = corpus.work, corpus.settings.text_tokens or np.inf
    notes = _whole_shards(work)
    tokens, first = sum(note["tokens"] for note in notes), notes[-1]["next"] if notes else 0
    if notes:
        corpus.say(f"goes on after {len(notes)} whole shards, {tokens / 1e6:,.1f} M tokens")
    batches, held, last = list[TokenBatch](), 0, first
    if tokens < wanted:
        share = _share(corpus)
        before = sum(note["counts"].get(CHARACTERS, 0) for note in notes)
        remaining = corpus.batches(corpus.chosen(share), first)
        with _progress(corpus, min(1.0, share), before) as say:
            for documents, batch in in_order(partial(token_batch, folder=work), remaining, corpus.over):
                batch = _at_most(batch, wanted - tokens)
                batches.append(batch)
                tokens, held, last = tokens + len(batch.ids), held + len(batch.ids), documents[-1][0] + 1
                say(batch, tokens)
                if held >= SHARD_TOKENS:
                    notes.append(_write_shard(work, len(notes), batches, last, vocabulary))
                    batches, held = [], 0
                if tokens >= wanted:
                    break
    if batches or not notes:
        notes.append(_write_shard(work, len(notes), batches, last, vocabulary))
    counts = sum((Counter[str](note["counts"]) for note in notes), Counter[str]())
    hits = np.zeros(cutter_of(work).num_sequences, bool)
    for number in range(len(notes)):
        hits[np.load(work / f"{number:05d}.hits.npy")] = True
    return counts, hits


@contextmanager
def _progress(corpus: TextCorpus, share: float, before: int) -> Iterator[Callable[[TokenBatch, int], None]]:
    """What says how far it is, by the characters that are read."""
    total = max(1, round(corpus.scan()["characters"] * share) - before)
    progress, began, done = Progress("tokenised", "characters", total, corpus.say), time.monotonic(), 0

    def add(batch: TokenBatch, tokens: int) -> None:
        nonlocal done
        done += batch.counts[CHARACTERS]
        left = (time.monotonic() - began) * max(0, total - done) / max(1, done)
        line = f"tokenised {done / 1e6:,.0f} of {total / 1e6:,.0f} M characters, {tokens / 1e6:,.1f} M tokens"
        progress.add(batch.counts[CHARACTERS], f"{line}, {left:,.0f} s left")

    yield add
    progress.close()


def _at_most(batch: TokenBatch, tokens: float) -> TokenBatch:
    """The first documents of a batch that have so many tokens."""
    ends = np.cumsum(batch.lengths)
    num = int(np.searchsorted(ends, tokens) + 1)
    if num >= len(ends):
        return batch
    return TokenBatch(
        ids=batch.ids[: ends[num - 1]], lengths=batch.lengths[:num], counts=batch.counts, hits=batch.hits
    )


def _whole_shards(work: Path) -> list[dict[str, Any]]:
    """Notes of the shards that an earlier call finished, as long as their files are what it wrote."""
    notes: list[dict[str, Any]] = []
    while (path := work / f"{len(notes):05d}.json").exists():
        note = json.loads(path.read_text())
        files = {work / "shards" / name: known for name, known in note["sha256"].items()}
        if not all(file.exists() and sha256(file) == known for file, known in files.items()):
            path.unlink()
            break
        notes.append(note)
    return notes


def _write_shard(
    work: Path, number: int, batches: list[TokenBatch], following: int, vocabulary: int
) -> dict[str, Any]:
    """Write a shard, and then the note that says it is whole."""
    documents = (
        part for batch in batches for part in np.split(batch.ids, np.cumsum(batch.lengths)[:-1]) if len(part)
    )
    write_shard(work / "shards", number, documents, vocabulary)
    hits = np.unique(np.concatenate([np.empty(0, np.int64), *(batch.hits for batch in batches)]))
    np.save(work / f"{number:05d}.hits.npy", hits)
    note = {
        "next": following,
        "tokens": sum(len(batch.ids) for batch in batches),
        "counts": dict(sum((batch.counts for batch in batches), Counter[str]())),
        "sha256": checksums(work / "shards", [f"{number:05d}.{kind}.npy" for kind in ("ids", "offsets")]),
    }
    write_json(work / f"{number:05d}.json", note)
    return note
