"""The engines that tempembed knows. Importing this registers them; others register theirs with `engine.register`."""

import difflib
import json
from collections.abc import Mapping

from tempembed.engines.engine import BITS, ENGINES, SCRIPTS, Engine, Settings, Storage, register
from tempembed.system.errors import UserError
from tempembed.system.plugins import load_plugins

FLOATS = ("float32", "float16")


def find_engine(name: str) -> Engine:
    """The engine of a name.

    Raises:
        UserError: there is none.
    """
    load_plugins()
    if name not in ENGINES:
        near = difflib.get_close_matches(name, ENGINES, 1)
        raise UserError(
            f"--engine {name[:60]}: expected one of {', '.join(ENGINES)}{f'; is it {near[0]}?' if near else ''}"
        )
    return ENGINES[name]


def _width(settings: Settings) -> int:
    """Coordinates, or bits in whole bytes."""
    return 8 * settings["bytes"] if settings["storage"] == BITS else settings["width"]


def _sqlite_schema(settings: Settings) -> Mapping[str, str]:
    width = _width(settings)
    kinds = {"float32": f"float[{width}] distance_metric=cosine", BITS: f"bit[{width}]"}
    columns = f"id text primary key, code {kinds[settings['storage']]}"
    return {"schema.sql": f"create virtual table {settings['name']} using vec0({columns});\n"}


def _postgres_schema(settings: Settings) -> Mapping[str, str]:
    kinds = {"float32": "vector", "float16": "halfvec", BITS: "bit"}
    kind, name = kinds[settings["storage"]], settings["name"]
    operators = "bit_hamming_ops" if kind == "bit" else f"{kind}_ip_ops"
    return {
        "schema.sql": f"create extension if not exists vector;\ndrop table if exists {name};\n"
        f"create table {name} (id text primary key, code {kind}({settings['width']}) not null);\n"
        "-- Every row is looked at, as long as there is no index. For millions, once they are loaded:\n"
        f"-- create index on {name} using hnsw (code {operators});\n"
    }


def _elastic_index(settings: Settings) -> Mapping[str, str]:
    is_bits = settings["storage"] == BITS
    kinds = {"float32": "flat", "bbq": "bbq_flat", BITS: "flat"}
    vector = {
        "type": "dense_vector", "dims": _width(settings), "index": True, "element_type": "bit" if is_bits else "float",
        "similarity": "l2_norm" if is_bits else "dot_product", "index_options": {"type": kinds[settings["storage"]]},
    }  # fmt: skip
    return {"index.json": json.dumps({"mappings": {"properties": {"code": vector}}}, indent=1)}


def _opensearch_index(settings: Settings) -> Mapping[str, str]:
    is_bits = settings["storage"] == BITS
    method = {"name": "hnsw", "engine": "faiss", "space_type": "hamming" if is_bits else "innerproduct"}
    vector = {
        "type": "knn_vector", "dimension": _width(settings), "data_type": "binary" if is_bits else "float", "method": method,
    }  # fmt: skip
    index = {"settings": {"index": {"knn": True}}, "mappings": {"properties": {"code": vector}}}
    return {"index.json": json.dumps(index, indent=1)}


def _bits(kept: str) -> Storage:
    return Storage(loads=("binary", "median", "rotated", "itq"), kept=kept)


for _engine in (
    Engine(
        name="faiss", title="faiss", script=SCRIPTS / "faiss.py", packages=("faiss-cpu",),
        storages={
            "float32": Storage(loads=("float32",), kept="IndexFlatIP"),
            "float16": Storage(loads=FLOATS, kept="IndexScalarQuantizer(QT_fp16)"),
            "sq8": Storage(loads=("float32",), kept="IndexScalarQuantizer(QT_8bit)"),
            "rabitq": Storage(loads=("float32",), kept="IndexRaBitQ after a random rotation, float queries"),
            BITS: _bits("IndexBinaryFlat"),
        },
    ),
    Engine(
        name="usearch", title="usearch", script=SCRIPTS / "usearch.py", packages=("usearch",),
        storages={
            "float32": Storage(loads=("float32",), kept="f32, ip"), "float16": Storage(loads=FLOATS, kept="f16, ip"),
            BITS: _bits("b1, hamming"),
        },
        note="search(..., exact=False) goes through the graph.",
    ),
    Engine(
        name="sqlite-vec", title="sqlite-vec", script=SCRIPTS / "sqlite_vec.py", packages=("sqlite-vec",),
        storages={"float32": Storage(loads=("float32",), kept="float[N], cosine"), BITS: _bits("bit[N]")},
        files=_sqlite_schema, note="It looks at every row.",
    ),
    Engine(
        name="lancedb", title="LanceDB", script=SCRIPTS / "lancedb.py", packages=("lancedb",),
        storages={
            "float32": Storage(loads=("float32",), kept="list of float, dot"), "float16": Storage(loads=FLOATS, kept="list of halffloat, dot"),
            BITS: _bits("list of uint8, hamming"),
        },
    ),
    Engine(
        name="qdrant", title="Qdrant", script=SCRIPTS / "qdrant.py", packages=("qdrant-client",),
        storages={
            "float32": Storage(loads=FLOATS, kept="float32, Dot"), "float16": Storage(loads=FLOATS, kept="float16, Dot"),
            "qdrant8": Storage(loads=FLOATS, kept="scalar quantisation, int8, quantile 0.99; searched without rescoring"),
            BITS: Storage(loads=FLOATS, kept="binary quantisation of floats; searched without rescoring"),
        },
        note="It takes no bits as they are; its local mode quantises nothing.",
    ),
    Engine(
        name="milvus", title="Milvus", script=SCRIPTS / "milvus.py", packages=("pymilvus", "milvus-lite"),
        storages={
            "float32": Storage(loads=("float32",), kept="FLOAT_VECTOR, FLAT, IP"), "float16": Storage(loads=("float16",), kept="FLOAT16_VECTOR, FLAT, IP"),
            BITS: _bits("BINARY_VECTOR, BIN_FLAT"),
        },
    ),
    Engine(
        name="pgvector", title="PostgreSQL with pgvector", script=SCRIPTS / "pgvector.py", packages=("psycopg[binary]",),
        storages={
            "float32": Storage(loads=("float32",), kept="vector(N)"), "float16": Storage(loads=FLOATS, kept="halfvec(N)"),
            BITS: _bits("bit(N)"),
        },
        files=_postgres_schema, note="An index takes at most 2,000 coordinates of a vector, 4,000 of a halfvec, 64,000 bits.",
    ),
    Engine(
        name="elasticsearch", title="Elasticsearch", script=SCRIPTS / "elastic.py", packages=(),
        storages={
            "float32": Storage(loads=FLOATS, kept="float, flat"), "bbq": Storage(loads=FLOATS, kept="float, bbq_flat; searched without rescoring"),
            BITS: _bits("bit, flat"),
        },
        files=_elastic_index, note="8.16 or newer.",
    ),
    Engine(
        name="opensearch", title="OpenSearch", script=SCRIPTS / "elastic.py", packages=(),
        storages={"float32": Storage(loads=FLOATS, kept="float, hnsw"), BITS: _bits("binary, hnsw")},
        files=_opensearch_index, note="2.17 or newer.",
    ),
):  # fmt: skip
    register(_engine)
