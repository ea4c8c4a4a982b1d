"""Raw text made into shards of tokens: cleaned, without test texts, the same bytes whatever happens on the way."""

import itertools
import json
import re
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tempembed.data.cut_texts import words
from tempembed.settings.text import TextSettings
from tempembed.stages import prepare_text as module
from tempembed.stages import text_corpus
from tempembed.stages.prepare_text import prepare_text
from tempembed.system.checksums import is_intact
from tempembed.system.errors import UserError

NUM = 120


def document(i):
    body = "\n".join(
        f"    value_{j} = compute(value_{j - 1}, {i * j}, other=name_{i}_{j})" for j in range(1, 9)
    )
    return f'def task_{i}(value_0):\n    """Compute the value number {i} from the values of before."""\n{body}\n    return value_8\n'


def query(i):
    return f"Compute the value number {i} from the values of before."


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPEMBED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "SHARD_TOKENS", 3000)
    monkeypatch.setattr(text_corpus, "BATCH_DOCUMENTS", 8)
    folder = tmp_path / "text"
    folder.mkdir()
    for i in range(NUM):
        (folder / f"{i:03d}.py").write_text(document(i))
    (folder / "copy.py").write_text(document(0))
    return folder


def settings(source, **values):
    return TextSettings(**{"text": (str(source),), "exclude": (), "vocabulary": 400, **values})


def texts(shards):
    tokenizer = AutoTokenizer.from_pretrained(shards.folder)
    lengths = shards.lengths
    tokens = shards.spans(np.arange(len(lengths)), np.zeros(len(lengths), np.int64), lengths)
    ids, offsets = tokens.ids, tokens.offsets
    return [tokenizer.decode(ids[a:b]) for a, b in itertools.pairwise(offsets)]


def spaced(text):
    """Its words, each digit one, as the tokenizer has them."""
    apart = re.sub("([0-9])", r" \1 ", text)
    return f" {' '.join(words(apart))} "


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def test_documents_become_shards_that_are_found_again(source, tmp_path):
    said = []
    shards = prepare_text(settings(source), None, said.append, over=1)
    assert len(shards) == NUM
    assert len(shards.meta["shards"]) > 1
    assert shards.lengths.sum() == shards.meta["num_tokens"]
    assert shards.meta["counts"]["equal documents removed"] == 1
    assert shards.meta["methods"]["repeats"].startswith("exact")
    assert spaced(texts(shards)[3]) == spaced(document(3))
    tokenizer = AutoTokenizer.from_pretrained(shards.folder)
    assert None not in (
        tokenizer.mask_token_id,
        tokenizer.pad_token_id,
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
    )
    assert len(tokenizer) == shards.vocabulary
    assert not np.isin(tokenizer.all_special_ids, np.load(shards.folder / "00000.ids.npy")).any()
    stamp = (shards.folder / "00000.ids.npy").stat().st_mtime_ns
    assert prepare_text(settings(source), None).meta == shards.meta
    assert (shards.folder / "00000.ids.npy").stat().st_mtime_ns == stamp
    (source / "new.py").write_text("another_document = 1")
    assert prepare_text(settings(source), None, over=1).folder != shards.folder
    assert not [path for path in (tmp_path / "cache" / "text").glob(".*") if path.is_dir()]


def test_any_number_of_processes_makes_the_same_bytes(source, tmp_path):
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({"query": query(7), "document": document(8)}) + "\n")
    asked = settings(source, exclude=(str(test),))
    one = prepare_text(asked, None, over=1)
    before = contents(one.folder)
    assert is_intact(one.folder)
    (one.folder / "00000.ids.npy").write_bytes(b"damaged")
    two = prepare_text(asked, None, over=2)
    assert contents(two.folder) == before
    assert {**two.meta, "seconds": 0} == {**one.meta, "seconds": 0}
    assert two.meta["tests"][str(test)]["found and cut out"] == 2
    (one.folder / "00000.ids.npy").write_bytes(b"damaged")
    with Threads(2) as pool:
        assert contents(prepare_text(asked, None, over=pool).folder) == before
        assert pool.calls > 2


class Threads(ThreadPoolExecutor):
    """A pool that is no number of processes."""

    def __init__(self, num_workers: int) -> None:
        super().__init__(num_workers)
        self.num_workers, self.calls = num_workers, 0

    def submit(self, function, argument, /):
        self.calls += 1
        return super().submit(function, argument)


def test_no_test_text_is_left(source, tmp_path):
    rows = [
        {"query": query(i), "document": document(i).replace(f'    """{query(i)}"""\n', "")}
        for i in range(0, 40)
    ]
    rows.append(
        {"query": "A query about something that is not there", "document": "and an answer to it as well"}
    )
    test = tmp_path / "test.jsonl"
    test.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shards = prepare_text(settings(source, exclude=(str(test),)), None, over=1)
    assert shards.meta["tests"] == {str(test): {"texts": 82, "found and cut out": 80}}
    assert shards.meta["counts"]["characters of test texts cut out"] > 40 * 300
    left = [spaced(text) for text in texts(shards)]
    for row in rows:
        for text in row.values():
            assert not any(spaced(text) in each for each in left)
    assert any(spaced(query(41)) in each for each in left)
    task = tmp_path / "task"
    task.mkdir()
    (task / "test.jsonl").write_text(
        json.dumps({"sentence1": query(50), "sentence2": query(51), "score": 1}) + "\n"
    )
    shards = prepare_text(settings(source, exclude=(str(task),)), None, over=1)
    assert shards.meta["tests"][str(task)] == {"texts": 2, "found and cut out": 2}
    with pytest.raises(UserError, match=r"--exclude nowhere\.jsonl: expected a test set: "):
        prepare_text(settings(source, exclude=("nowhere.jsonl",)))


def test_a_call_that_was_killed_goes_on_where_it_was(source, monkeypatch, tmp_path):
    script = f"""
        import os, signal
        from tempembed.settings.text import TextSettings
        from tempembed.stages import prepare_text as module, text_corpus
        text_corpus.BATCH_DOCUMENTS = 8
        module.SHARD_TOKENS = 3000
        write = module.write_shard
        def dies(folder, number, *rest):
            if number == 2:
                (folder / "00002.ids.npy").write_bytes(b"half of a shard")
                os.kill(os.getpid(), signal.SIGKILL)
            return write(folder, number, *rest)
        module.write_shard = dies
        settings = TextSettings(text=({str(source)!r},), exclude=(), vocabulary=400)
        module.prepare_text(settings, None, over=1)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == -signal.SIGKILL
    said, written = [], []
    write = module.write_shard
    monkeypatch.setattr(
        module,
        "write_shard",
        lambda folder, number, *rest: written.append(number) or write(folder, number, *rest),
    )
    resumed = prepare_text(settings(source), None, said.append, over=1)
    assert any(line.startswith("goes on after 2 whole shards") for line in said)
    assert written == list(range(2, len(resumed.meta["shards"])))
    before = contents(resumed.folder)
    monkeypatch.setenv("TEMPEMBED_CACHE", str(tmp_path / "other"))
    whole = prepare_text(settings(source), None, over=1)
    assert contents(whole.folder) == before
    assert whole.meta["counts"] == resumed.meta["counts"]


def test_a_models_tokenizer_is_taken_if_it_has_a_mask_token(source, tmp_path):
    made = prepare_text(settings(source, vocabulary=300), None, over=1).folder
    taken = prepare_text(settings(source), made, over=1)
    assert taken.vocabulary == len(AutoTokenizer.from_pretrained(made))
    bare = tmp_path / "bare"
    PreTrainedTokenizerFast(tokenizer_file=str(made / "tokenizer.json"), pad_token="[PAD]").save_pretrained(
        bare
    )
    with pytest.raises(UserError, match=r"bare: expected a tokenizer with a mask token, .* got one without"):
        prepare_text(settings(source), bare, over=1)
    with pytest.raises(UserError, match="nothing: expected a model's folder with a tokenizer, found none"):
        prepare_text(settings(source), tmp_path / "nothing")


def test_so_many_tokens_are_of_documents_from_everywhere(source):
    everything = prepare_text(settings(source), None, over=1)
    some = prepare_text(settings(source, text_tokens=4000), None, over=1)
    assert 3000 < some.meta["num_tokens"] < 4400
    assert everything.meta["num_tokens"] > 4 * some.meta["num_tokens"]
    numbers = {int("".join(re.search(r"task ([0-9 ]+)", spaced(text))[1].split())) for text in texts(some)}
    assert min(numbers) < NUM / 2 < max(numbers)


def test_text_that_is_none_and_settings_that_are_none(source, tmp_path):
    for path in source.iterdir():
        path.write_text(" \n")
    with pytest.raises(UserError, match="--text: expected text, got none in 121 files"):
        prepare_text(settings(source), None, over=1)
    with pytest.raises(UserError, match="--text: expected a file, a folder or a hub name"):
        TextSettings(text=())
    with pytest.raises(UserError, match="--text-tokens: expected > 0, got 0"):
        TextSettings(text_tokens=0)
