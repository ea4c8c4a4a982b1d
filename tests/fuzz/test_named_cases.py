"""Bad input with a name: what a person, a broken disk or somebody hostile hands over."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tempembed.codecs.codec import Codec
from tempembed.codecs.spec import parse_spec
from tempembed.commands.local_run import check_output
from tempembed.data.pairs import read_pairs
from tempembed.data.texts import open_texts
from tempembed.encoders.static import static_encoder
from tempembed.encoders.tokenizer import train_tokenizer
from tempembed.evaluation.folder import read_folder
from tempembed.evaluation.report import read_report
from tempembed.evaluation.report_files import load_evaluation
from tempembed.export.export import FitOn, Source, check_target, export
from tempembed.export.provenance import Provenance
from tempembed.index.compressed import build_index, open_index
from tempembed.index.exported import load_exported
from tempembed.objectives.parse import parse_objective, parse_terms
from tempembed.settings.train import TrainSettings
from tempembed.system.atomic import write_json
from tempembed.system.errors import UserError
from tempembed.system.untrusted import read_json
from tempembed.tuning.ledger import Ledger
from tests.fuzz.harness import profile


def refused(match, call, seconds=20):
    """It raises a UserError that says so, and does not hang."""

    def hung(number, frame):
        raise TimeoutError("it hangs")

    signal.signal(signal.SIGALRM, hung)
    signal.alarm(seconds)
    try:
        with pytest.raises(UserError, match=match):
            call()
    finally:
        signal.alarm(0)


def texts(path):
    return [text for chunk in open_texts(str(path)).chunks() for text in chunk]


def task(path):
    """The file as the corpus of a search."""
    return read_folder(rest_of_a_task(path.parent))


def rest_of_a_task(folder):
    """All but the corpus."""
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "z"}')
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1")
    return folder


PAIR, TEXT = '{"query": "%s", "document": "d"}\n', '{"text": "%s"}\n'
READERS = {
    "pairs.jsonl": lambda path: read_pairs(str(path)),
    "pairs.csv": lambda path: read_pairs(str(path)),
    "pairs.parquet": lambda path: read_pairs(str(path)),
    "texts.txt": texts,
    "texts.jsonl": texts,
    "texts.csv": texts,
    "texts.parquet": texts,
    "corpus.jsonl": task,
    "corpus.tsv": task,
    "corpus.parquet": task,
    "codec.json": lambda path: Codec.load(path.parent),
    "report.json": load_evaluation,
    "evaluation.json": read_report,
    "sweep.json": lambda path: Ledger(path.parent).settings(),
    "settings.json": lambda path: TrainSettings.from_dict(read_json(path)),
}
TEXTUAL = [name for name in READERS if not name.endswith(".parquet")]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_does_not_hang(name, place):
    os.mkfifo(place / name)
    refused("expected", lambda: READERS[name](place / name))


def test_a_pipe_in_a_folder_of_pairs_does_not_hang(place):
    (place / "a.jsonl").write_text(PAIR % "q")
    os.mkfifo(place / "b.jsonl")
    refused(r"b\.jsonl: expected a file, got a pipe", lambda: read_pairs(str(place)))


@pytest.mark.parametrize("name", READERS)
def test_a_folder_in_place_of_a_file(name, place):
    (place / name).mkdir()
    refused("expected", lambda: READERS[name](place / name))


@pytest.mark.parametrize("name", READERS)
def test_an_empty_file(name, place):
    (place / name).touch()
    refused("expected", lambda: READERS[name](place / name))


@pytest.mark.parametrize("name", READERS)
def test_nul_bytes_alone(name, place):
    (place / name).write_bytes(b"\0" * 5000)
    if name == "texts.txt":  # a text like any other
        assert READERS[name](place / name) == ["\0" * 5000]
    else:
        refused("expected", lambda: READERS[name](place / name))


@pytest.mark.parametrize("name", READERS)
def test_invalid_utf8(name, place):
    (place / name).write_bytes(
        b'{"query": "\xff\xfe\xc3", "document": "d", "text": "\xc3"}\n,\xed\xa0\x80\t\n'
    )
    refused("expected", lambda: READERS[name](place / name))


@pytest.mark.parametrize("name", TEXTUAL)
@pytest.mark.parametrize("opening", ["[", '{"a":', '{"text": [', '{"query": "q", "document": [['])
def test_deep_json(name, opening, place):
    """`corpus.jsonl` ended the process: pyarrow's reader calls itself for each level."""
    (place / name).write_text(opening * 100_000)
    if name == "texts.txt":
        assert len(READERS[name](place / name)) == 1
    else:
        refused("expected", lambda: READERS[name](place / name))


@pytest.mark.parametrize("name", [name for name in TEXTUAL if name.endswith((".json", ".jsonl"))])
def test_a_name_twice_in_an_object(name, place):
    (place / name).write_text('{"query": "a", "query": "b", "document": "d", "text": "a", "text": "b"}')
    refused("twice|more than once", lambda: READERS[name](place / name))


@pytest.mark.parametrize("name", [name for name in READERS if name.endswith((".parquet", ".csv", ".tsv"))])
def test_a_column_twice(name, place):
    names = ["_id", "text", "text"] if "pairs" not in name else ["query", "query", "document"]
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_arrays([pa.array(["a", "b"])] * 3, names=names), place / name)
    else:
        comma = "\t" if name.endswith(".tsv") else ","
        (place / name).write_text(comma.join(names) + "\n" + comma.join("abc") + "\n")
    refused("more than once", lambda: READERS[name](place / name))


def test_a_column_name_that_is_not_utf8(place):
    (place / "corpus.tsv").write_bytes(b"_id\t\xff\na\tx\n")
    refused("could not read it", lambda: task(place / "corpus.tsv"))


def test_marks_and_line_ends_are_no_text(place):
    """A byte order mark, \\r\\n beside \\n, a last line without an end."""
    (place / "a.jsonl").write_bytes(
        b"\xef\xbb\xbf" + (PAIR % "one").encode() + b"\r\n" + (PAIR % "two").encode().replace(b"\n", b"\r\n")
    )
    assert read_pairs(str(place / "a.jsonl")).queries == ["one", "two"]
    (place / "a.csv").write_bytes(b"\xef\xbb\xbfquery,document\r\none,d\ntwo,d\r\n\r\nthree,d")
    assert read_pairs(str(place / "a.csv")).queries == ["one", "two", "three"]
    (place / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n\nthree")
    assert texts(place / "a.txt") == ["one", "two", "three"]
    (place / "corpus.jsonl").write_bytes(
        b'\xef\xbb\xbf{"_id": "a", "text": "x"}\r\n{"_id": "b", "text": "y"}'
    )
    assert task(place / "corpus.jsonl")[0].columns["corpus"]["text"] == ["x", "y"]


def peak_of(code, *arguments, memory=None):
    """(what it says, MB by which it grew) of a process whose address space may grow by `memory` bytes."""
    setup = f"""
import sys, resource, psutil, pyarrow.compute, numpy
from pathlib import Path
from tempembed.data.pairs import read_pairs
from tempembed.data.texts import open_texts
from tempembed.evaluation.folder import read_folder
from tempembed.system.errors import UserError
me = psutil.Process()
if {memory}:
    resource.setrlimit(resource.RLIMIT_AS, (me.memory_info().vms + {memory or 0},) * 2)
Path("/proc/self/clear_refs").write_text("5")
before = me.memory_info().rss
try:
    {code}
    print("read")
except UserError as error:
    print(error)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print((peak * 1024 - before) // 10**6)
"""
    done = subprocess.run(
        [sys.executable, "-c", setup, *map(str, arguments)], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *said, grown = done.stdout.strip().splitlines()
    return "\n".join(said), int(grown)


@pytest.mark.parametrize(
    "name", ["pairs.jsonl", "pairs.csv", "texts.txt", "texts.jsonl", "texts.csv", "corpus.jsonl"]
)
def test_a_line_of_100_megabytes(name, place):
    path = place / name
    opening = {"pairs.jsonl": '{"query": "', "pairs.csv": "query,document\n", "texts.csv": "text\n"}
    with path.open("w") as file:
        file.write(opening.get(name, '{"text": "' if name.endswith("jsonl") else ""))
        for _ in range(100):
            file.write("x" * 10**6)
    began = time.monotonic()
    before = _peak()
    refused(r"line [12]\)?: expected lines of at most 16,777,216", lambda: READERS[name](path))
    assert _peak() - before < 200e6
    assert time.monotonic() - began < 20
    path.unlink()


def _peak():
    """Bytes held at most from the last call on."""
    peak = next(
        int(line.split()[1])
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    Path("/proc/self/clear_refs").write_text("5")
    return peak * 1024


long = pytest.mark.skipif(profile.max_examples < 10_000, reason="gigabytes to pack; make test-fuzz")


def dictionary_bomb(place, first, second):
    """A file of kilobytes with a text of 8 MB, which 500,000 rows name: 4 TB."""
    numbers = pa.array([str(i) for i in range(10)] * 50_000).dictionary_encode()
    named = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(numbers), np.int32)), ["x" * 8_000_000])
    pq.write_table(pa.table({first: numbers, second: named}), place, compression="zstd", store_schema=False)


def page_bomb(place, first, second):
    """A file of kilobytes with five pages that unpack to 1.3 GB."""
    page = pa.array(["x" * 4_000_000] * 64)
    schema = pa.schema({first: pa.string(), second: pa.string()})
    with pq.ParquetWriter(place, schema, compression="zstd", use_dictionary=False) as writer:
        for _ in range(5):
            writer.write_table(pa.table([pa.array([str(i) for i in range(64)]), page], schema=schema))


@pytest.mark.parametrize("make", [dictionary_bomb, pytest.param(page_bomb, marks=long)])
@pytest.mark.parametrize(
    ("columns", "code"),
    [
        (("query", "document"), "read_pairs(sys.argv[1])"),
        (("query", "document"), "read_pairs(sys.argv[1], skip_bad_rows=True)"),
        (("query", "document"), "[0 for _ in open_texts(sys.argv[1]).chunks()]"),
        (("_id", "text"), "read_folder(Path(sys.argv[1]).parent)"),
    ],
)
def test_a_bomb_of_a_parquet_file(make, columns, code, place):
    path = rest_of_a_task(place) / "corpus.parquet"
    make(path, *columns)
    assert path.stat().st_size < 1e6
    said, grown = peak_of(code, path)
    assert "corpus.parquet: expected data of at most" in said
    assert "split the file, or check where it comes from" in said
    assert grown < 800


@long
def test_texts_that_repeat_each_other_without_a_dictionary(place):
    """DELTA_BYTE_ARRAY stores what a text has that the one before it has not."""
    table = pa.table({"query": [str(i) for i in range(250)], "document": ["x" * 300_000] * 250})
    how = {
        "use_dictionary": False, "column_encoding": dict.fromkeys(table.column_names, "DELTA_BYTE_ARRAY"), "compression": "zstd",
    }  # fmt: skip
    pq.write_table(table.slice(0, 200), place / "good.parquet", **how)
    assert len(read_pairs(str(place / "good.parquet"))) == 200
    with pq.ParquetWriter(place / "bomb.parquet", table.schema, **how) as writer:
        for _ in range(16):
            writer.write_table(table)
    assert (place / "bomb.parquet").stat().st_size < 1e6
    said, grown = peak_of("read_pairs(sys.argv[1])", place / "bomb.parquet")
    assert "expected data of at most" in said
    assert grown < 800


def test_an_honest_file_of_repeated_texts_is_read(place):
    """One long text that many rows name, as far as it stays sane."""
    named = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int32)), ["x" * 20_000])
    pq.write_table(pa.table({"query": [str(i) for i in range(2000)], "document": named}), place / "a.parquet")
    pairs = read_pairs(str(place / "a.parquet"))
    assert len(pairs) == 2000
    assert set(map(len, pairs.documents)) == {20_000}


@long
def test_less_memory_than_the_data_needs(place):
    """What is said of the memory holds where the system sets a limit."""
    rng = random.Random(0)
    words = [f"{rng.getrandbits(64):x}" for _ in range(1000)]
    column = ["".join(rng.choices(words, k=600)) for _ in range(20_000)]
    pq.write_table(pa.table({"query": column, "document": column}), place / "a.parquet", compression="zstd")
    said, _ = peak_of("read_pairs(sys.argv[1])", place / "a.parquet", memory=400 * 10**6)
    assert "half of the free memory" in said


@pytest.fixture(scope="module")
def handed(tmp_path_factory):
    """An exported model and an index of it."""
    place = tmp_path_factory.mktemp("handed")
    found = [f"open the socket {i}" for i in range(30)]
    (place / "texts.txt").write_text("\n".join(found))
    static_encoder(train_tokenizer(found, 60), width=16, max_tokens=16, seed=0).save(place / "run")
    source = Source.of_folder(place / "run", Provenance(codec="binary", objective="infonce:0.06"))
    with torch.no_grad():
        model = export(source, place / "model", lambda: FitOn(texts=found))
        build_index(load_exported(model), open_texts(str(place / "texts.txt")), place / "index")
    return place


def test_a_link_out_of_a_task_folder(place):
    (place.parent / "secret.jsonl").write_text('{"_id": "a", "text": "x"}')
    (place / "corpus.jsonl").symlink_to(place.parent / "secret.jsonl")
    refused(
        r"corpus\.jsonl: expected a file inside .*, got a link to .*secret\.jsonl; put a copy",
        lambda: task(place / "corpus.jsonl"),
    )
    (place / "corpus.jsonl").unlink()
    (place / "inside.jsonl").write_text('{"_id": "a", "text": "x"}')
    (place / "corpus.jsonl").symlink_to("inside.jsonl")
    assert task(place / "corpus.jsonl")[0].kind == "retrieval"
    (place / "corpus.jsonl").unlink()
    (place / "corpus.jsonl").symlink_to("corpus.jsonl")
    refused("expected", lambda: task(place / "corpus.jsonl"))


def test_a_link_out_of_an_index(handed, tmp_path):
    exported = load_exported(handed / "model")
    shutil.copytree(handed / "index", tmp_path / "index")
    assert len(open_index(tmp_path / "index", exported)) == 30
    (tmp_path / "index" / "texts.bin").rename(tmp_path / "texts.bin")
    (tmp_path / "index" / "texts.bin").symlink_to(tmp_path / "texts.bin")
    refused(
        r"texts\.bin: expected a file inside .*, got a link to",
        lambda: open_index(tmp_path / "index", exported),
    )
    refused(
        "got a link to",
        lambda: build_index(exported, open_texts(str(handed / "texts.txt")), tmp_path / "index"),
    )


@pytest.mark.parametrize("name", ["codec/codec.json", "model.safetensors", "modules.json", "tokenizer.json"])
def test_a_link_or_a_pipe_in_an_exported_folder(name, handed, tmp_path):
    shutil.copytree(handed / "model", tmp_path / "model")
    path = next((tmp_path / "model").rglob(Path(name).name))
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    refused("expected a file inside .*, got a link to", lambda: load_exported(tmp_path / "model"))
    path.unlink()
    os.mkfifo(path)
    refused("expected", lambda: load_exported(tmp_path / "model"))


def test_no_module_of_the_folder_is_run(handed, tmp_path):
    shutil.copytree(handed / "model", tmp_path / "model")
    path = tmp_path / "model" / "modules.json"
    (tmp_path / "model" / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Mine: pass\n")
    modules = json.loads(path.read_text())
    for type_ in ("mine.Mine", "os.system", "subprocess.Popen"):
        path.write_text(json.dumps([{**modules[0], "type": type_}]))
        refused("expected a local model folder", lambda: load_exported(tmp_path / "model"))
    assert not (tmp_path / "ran").exists()


def test_a_saved_dataset_that_names_a_file_elsewhere(place):
    import datasets

    rows = {"query": ["a", "b"], "document": ["c", "d"]}
    datasets.Dataset.from_dict(rows).save_to_disk(place / "data")
    assert len(read_pairs(str(place / "data"))) == 2
    arrow = next((place / "data").glob("*.arrow"))
    arrow.rename(place / arrow.name)
    state = json.loads((place / "data" / "state.json").read_text())
    state["_data_files"][0]["filename"] = f"../{arrow.name}"
    (place / "data" / "state.json").write_text(json.dumps(state))
    refused("a file elsewhere", lambda: read_pairs(str(place / "data")))
    arrow.symlink_to(place / arrow.name)
    refused("got a link to", lambda: read_pairs(str(place / "data")))


BAD_NAMES = [
    "..",
    "../x",
    "/etc/x",
    "a/b",
    "a\\b",
    "",
    " ",
    ".hidden",
    "x" * 129,
    "a\0b",
    "a\nb",
    "-rf",
    "a'b",
    "é",
    "~",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_are_no_names(name, tmp_path):
    from tempembed.commands.export import Export, export_command

    ledger = Ledger(tmp_path / "sweep")
    refused("expected a name of letters", lambda: ledger.trial_folder(name))
    refused("expected a name of letters", lambda: ledger.record(name, number=0))
    refused(
        "expected a name of letters", lambda: export_command(Export(output=str(tmp_path / "out"), alias=name))
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 256, "a/" * 2500 + "a", "a\0b"])
def test_places_that_no_file_system_has(name, handed, tmp_path):
    path = tmp_path / name
    refused("expected", lambda: check_output(path, resume=False))
    refused("expected", lambda: check_target(path))
    refused("expected", lambda: Ledger(path))
    refused("expected|no such file", lambda: read_pairs(str(path)))
    refused("expected", lambda: open_texts(str(path)))
    refused("expected", lambda: read_folder(path))
    refused("expected", lambda: load_evaluation(path))
    refused("expected", lambda: Codec.load(path))
    refused(
        "expected",
        lambda: build_index(load_exported(handed / "model"), open_texts(str(handed / "texts.txt")), path),
    )
    assert list(tmp_path.iterdir()) == []


def test_ten_thousand_terms(tmp_path):
    began = time.monotonic()
    assert len(parse_terms([f"{dim}@0.05" for dim in range(1, 10_001)], 10_000)) == 10_000
    refused("got 10000", lambda: parse_terms(["10000@0.05"], 1024))
    refused("more than once", lambda: parse_terms(["7@0.05"] * 10_000, 64))
    refused("expected dim <= 64", lambda: parse_terms([f"{dim}@0.05" for dim in range(1, 10_001)], 64))
    assert (
        len(parse_objective("tempagg:" + ",".join(f"{0.01 + i / 1e5:.5f}" for i in range(10_000)), 64))
        == 10_000
    )
    refused("expected", lambda: parse_objective("tempagg:" + "(" * 50_000, 64))
    refused("expected", lambda: parse_objective("tempagg:" + "cosine(0.1," * 5000, 64))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "-1", "0", "-0.0", "9" * 5000, "0x1", "", " ", "1e-400", "cosine(nan,1)", "cosine(0.1,inf)",
    "cosine(0.1,0.2,1e308)", "cooldown(1e308,1e-308)", "linear(0.1,1e999)", "learned(1e-9)"])  # fmt: skip
def test_numbers_that_are_no_temperatures(value):
    refused("expected", lambda: parse_terms([f"16@{value}"], 64))
    refused("expected", lambda: parse_objective(f"infonce:{value}", 64))


@pytest.mark.parametrize(
    "term",
    [
        "nan@0.1",
        "1e3@0.1",
        "-1@0.1",
        "0@0.1",
        "9" * 5000 + "@0.1",
        "16@0.1*nan",
        "16@0.1*inf",
        "16@0.1*-1",
        "16@0.1*0",
        "1.5@0.1",
        "@",
        "16@0.1*",
    ],
)
def test_numbers_that_are_no_terms(term):
    refused("expected", lambda: parse_terms([term], 64))


@pytest.mark.parametrize(("name", "value"), [
    ("epochs", float("inf")), ("epochs", float("nan")), ("learning_rate", float("inf")), ("seed", 2**33), ("seed", -1), ("hold_out", float("nan")),
    ("batch_size", "512"), ("terms", 5), ("terms", [1]), ("precision", "int3"), ("steps", True), ("data", None), ("nonsense", 1), ("width", 10**400),
])  # fmt: skip
def test_settings_that_are_none(name, value):
    refused("expected", lambda: TrainSettings.from_dict({**TrainSettings().to_dict(), name: value}))


def test_a_codec_of_the_wrong_shape_reaches_no_library(tmp_path):
    """faiss would read beyond the end of centroids that are too few."""
    from safetensors.torch import load_file, save_file

    documents = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
    Codec.fit(parse_spec("pq:4", 16), documents).save(tmp_path)
    centroids = load_file(tmp_path / "codec.safetensors")["numbers.centroids"]
    for bad in (centroids[:1], centroids[:, :1], centroids.double(), centroids * float("nan")):
        save_file({"numbers.centroids": bad.contiguous()}, tmp_path / "codec.safetensors")
        refused("expected the tensors of prefix:16", lambda: Codec.load(tmp_path))
    (tmp_path / "codec.json").write_text(json.dumps({"codec": "float32", "coordinates": 10**10}))
    refused("expected codec and coordinates", lambda: Codec.load(tmp_path))


def test_arrow_data_whose_places_are_elsewhere():
    """A saved dataset is mapped into memory and believed: a place beyond its end ended the process."""
    from tempembed.data.arrow import validated

    def texts(*ends):
        buffers = [None, pa.py_buffer(np.array([0, *ends], np.int32)), pa.py_buffer(b"abcdef")]
        return pa.Array.from_buffers(pa.string(), len(ends), buffers)

    indices = [None, pa.py_buffer(np.array([0, 99], np.int32))]
    named = pa.DictionaryArray.from_buffers(
        pa.dictionary(pa.int32(), pa.string()), 2, indices, pa.array(["a"])
    )
    lists = [None, pa.py_buffer(np.array([0, 9, 2], np.int32))]
    listed = pa.ListArray.from_buffers(pa.list_(pa.string()), 2, lists, children=[pa.array(["a", "b"])])
    for bad in (texts(5, 4), texts(400, 2), texts(-3, 2), named, listed):
        refused("damaged from row 1 on", lambda bad=bad: list(validated([pa.table({"x": bad})], "data")))
    good = [
        texts(2, 4),
        pa.array([["a"], None, []]),
        pa.array(["a", None]).dictionary_encode(),
        pa.array([None]),
        texts(2, 4).slice(1),
    ]
    assert [len(list(validated([pa.table({"x": each})], "data"))) for each in good] == [1] * 5


def test_a_token_far_beyond_the_table(handed, tmp_path):
    """The tokenizer counted up to its id, for hours and in gigabytes."""
    shutil.copytree(handed / "model", tmp_path / "model")
    path = next((tmp_path / "model").rglob("tokenizer.json"))
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"] |= {"far": 2**31}
    path.write_text(json.dumps(tokenizer))
    refused(
        "expected a tokenizer with tokens up to .*, got 2,147,483,648",
        lambda: load_exported(tmp_path / "model"),
    )


def test_a_tokenizer_without_its_unknown_token(handed, tmp_path):
    shutil.copytree(handed / "model", tmp_path / "model")
    path = next((tmp_path / "model").rglob("tokenizer.json"))
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["unk_token"] = "gone"
    path.write_text(json.dumps(tokenizer))
    refused("tokenizer", lambda: load_exported(tmp_path / "model").embed(["\u0378 ☃"], "document"))


def test_messages_stay_short():
    refused("expected one of infonce.*--terms", lambda: parse_objective("x" * 100_000, 64))
    with pytest.raises(UserError) as error:
        parse_objective("x" * 100_000, 64)
    assert len(str(error.value)) < 5000


def test_what_is_no_folder_is_not_taken_for_an_index(handed, place):
    """As root, a rename would put a folder in the place of a device."""
    os.mkfifo(place / "pipe")
    refused(
        "expected a new folder or an index, found something else there",
        lambda: build_index(
            load_exported(handed / "model"), open_texts(str(handed / "texts.txt")), place / "pipe"
        ),
    )
    assert (place / "pipe").is_fifo()


def test_json_into_a_pipe_leaves_the_pipe(place):
    os.mkfifo(place / "pipe")
    reader = subprocess.Popen(["cat", place / "pipe"], stdout=subprocess.PIPE)
    write_json(place / "pipe", {"a": 1})
    assert json.loads(reader.communicate(timeout=20)[0]) == {"a": 1}
    assert (place / "pipe").is_fifo()
