"""Codes of many documents on disk, in shards of (id, code, scale ...): Parquet, and the same codes as .npy.

A shard is written whole or not at all, its .npy first: a Parquet file that is there says that its shard is. It holds the sums of
what is beside it, and its own pages have theirs.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tempembed.codecs.codec import Codec
from tempembed.index.exported import CODEC, check_width, codec_fingerprint
from tempembed.system.atomic import appearing, write_json
from tempembed.system.checksums import MANIFEST, check, checksums, sha256
from tempembed.system.disk import room_for
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_file, read_json, require_file
from tempembed.system.wording import first_line

DESCRIPTION = "encode.json"
SHARDS = "shards"
FORMAT = 1
FACTS = b"tempembed.shard"
"""Key in a Parquet file's metadata."""
SAME = {
    "format": "format", "model_fingerprint": "model", "role": "role", "codec": "codec", "codec_fingerprint": "codec's tensors",
    "documents_fingerprint": "data", "num_rows": "number of documents", "shard_rows": "--shard-rows",
}  # fmt: skip
"""What two encodes into one folder share, and what messages call it."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A shard that is on the disk."""

    number: int
    num_rows: int


def shard_name(number: int) -> str:
    """Name of a shard's files, without a suffix."""
    return f"{number:06d}"


def write_shard(folder: Path, number: int, ids: pa.Array, columns: Mapping[str, np.ndarray]) -> Written:
    """Write a shard, in place of one that is there: two processes that write the same one leave the same bytes.

    Args:
        folder: of all shards.
        number: from 0.
        ids: of its documents.
        columns: their codes and what is stored beside these, a row for each document.

    Raises:
        DiskFullError: no room; nothing of the shard is left.
    """
    name, sums = shard_name(number), {}
    with room_for(f"shard {number}", folder, sum(values.nbytes for values in columns.values())):
        for column, values in columns.items():
            with appearing(folder / f"{name}.{column}.npy") as partial:
                np.save(partial, values)
                sums[column] = sha256(partial)
        table = pa.table({"id": ids, **{column: _arrow(values) for column, values in columns.items()}})
        facts = {"number": number, "num_rows": len(table), "sha256": sums}
        table = table.replace_schema_metadata({FACTS: json.dumps(facts)})
        with appearing(folder / f"{name}.parquet") as partial:
            pq.write_table(table, partial, compression="zstd", use_dictionary=False, write_page_checksum=True)
    return Written(number=number, num_rows=len(table))


def read_shard(folder: Path, number: int) -> pa.Table:
    """A shard: id, code, and what is stored beside it.

    Raises:
        UserError: it is not there, cut off or damaged.
    """
    path = folder / f"{shard_name(number)}.parquet"
    require_file(path)
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
        facts = json.loads(table.schema.metadata[FACTS])
        if facts["number"] != number or facts["num_rows"] != len(table):
            raise ValueError(f"shard {facts['number']} of {facts['num_rows']} rows")
        for column, wanted in facts["sha256"].items():
            check(folder, [name := f"{shard_name(number)}.{column}.npy"], {name: wanted})
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: expected a whole shard, it is cut off or damaged ({first_line(error)}); give the same tempembed encode again, "
            "which writes it anew"
        ) from error
    return table.replace_schema_metadata()


def arrays(table: pa.Table) -> dict[str, np.ndarray]:
    """The columns of a shard as `write_shard` was given them, ids as text."""
    return {name: _numpy(table[name].combine_chunks()) for name in table.column_names}


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A folder of codes that `tempembed encode` has finished, or is at work on."""

    folder: Path
    facts: Mapping[str, Any]

    def __str__(self) -> str:
        codec = self.codec().spec
        size = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        return (
            f"{self.num_rows:,} documents in {self.num_shards:,} shards of {codec}: {self.num_rows * codec.bytes_per_vector:,} bytes of "
            f"codes, {size:,} bytes in {self.folder}"
        )

    @staticmethod
    def open(folder: Path) -> "Encoded":
        """A finished one.

        Raises:
            UserError: not such a folder, or one that is not finished.
        """
        found = Encoded.there(folder)
        if found is None:
            raise UserError(
                f"{folder}: expected a folder that tempembed encode wrote, found no {DESCRIPTION} in it; check the path"
            )
        if not is_file(folder / SHARDS / MANIFEST):
            done = len(list((folder / SHARDS).glob("*.parquet")))
            raise UserError(
                f"{folder}: expected all {found.num_shards:,} shards, got {done:,}: the encode was interrupted; give the same command again"
            )
        return found

    @staticmethod
    def there(folder: Path) -> "Encoded | None":
        """What an earlier command has begun; None where there is nothing.

        Raises:
            UserError: a file that is damaged.
        """
        if not is_file(folder / DESCRIPTION):
            return None
        facts = read_json(folder / DESCRIPTION)
        if not isinstance(facts, dict) or not {*SAME} <= facts.keys():
            raise UserError(
                f"{folder / DESCRIPTION}: expected what tempembed encode wrote, got something else; restore the file"
            )
        return Encoded(folder=folder, facts=facts)

    @property
    def num_rows(self) -> int:
        """Documents."""
        return self.facts["num_rows"]

    @property
    def num_shards(self) -> int:
        """Shards, once it is finished."""
        return -(-self.num_rows // self.facts["shard_rows"])

    def rows_of(self, number: int) -> int:
        """Documents of a shard."""
        return min(self.facts["shard_rows"], self.num_rows - number * self.facts["shard_rows"])

    def codec(self) -> Codec:
        """The codec of the codes."""
        return Codec.load(self.folder / CODEC)

    def tables(self) -> Iterator[pa.Table]:
        """All shards in order, each checked."""
        return (read_shard(self.folder / SHARDS, number) for number in range(self.num_shards))

    def is_done(self, number: int) -> bool:
        """Whether a shard is there and whole."""
        try:
            return len(read_shard(self.folder / SHARDS, number)) == self.rows_of(number)
        except UserError:
            return False

    def finish(self) -> None:
        """Write the sums of all files, which says that the folder is finished."""
        shards = self.folder / SHARDS
        names = sorted(
            path.name for path in shards.iterdir() if path.name[0] != "." and path.name != MANIFEST
        )
        write_json(shards / MANIFEST, {"num_rows": self.num_rows, "sha256": checksums(shards, names)})


def begin(folder: Path, facts: Mapping[str, Any], codec: Codec) -> Encoded:
    """Begin in a new or empty folder, or go on with the same encode.

    Raises:
        UserError: the folder holds something else, or another encode.
    """
    there = Encoded.there(folder)
    if there is None:
        left = (
            sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
        )
        if set(left) - {CODEC, SHARDS}:
            raise UserError(
                f"--output {folder}: expected a new or empty folder, found {', '.join(left[:5])}; choose another"
            )
        (folder / SHARDS).mkdir(parents=True, exist_ok=True)
        with room_for("codec", folder):
            codec.save(folder / CODEC)
            facts = {**facts, "codec_fingerprint": codec_fingerprint(folder / CODEC)}
            write_json(folder / DESCRIPTION, facts)
        return Encoded(folder=folder, facts=facts)
    refuse_other(there, facts)
    for partial in (folder / SHARDS).glob(".*"):  # of a process that was killed
        partial.unlink(missing_ok=True)
    return there


def refuse_other(there: Encoded, facts: Mapping[str, Any]) -> None:
    """Raise UserError if what is there is not of these facts, as far as they are given."""
    for key, what in SAME.items():
        if key in facts and facts[key] != there.facts[key]:
            raise UserError(
                f"--output {there.folder}: expected the {what} that its shards were made of, {there.facts[key]}, got {facts[key]}; "
                "choose another folder"
            )


def check_codec(codec: Codec, width: int, model: str) -> None:
    """Raise UserError unless the codec can be stored in shards, and takes the model's embeddings."""
    check_width(codec, width, model)
    if codec.spec.rerank == "int8":
        raise UserError(
            f"codec {codec.spec}: expected one whose second copy needs no look at all documents, got rerank:int8; take rerank:float, or "
            "bits"
        )


def _arrow(values: np.ndarray) -> pa.Array:
    """A matrix of bytes as fixed-size binary, one of numbers as fixed-size lists, a vector as it is."""
    if values.ndim == 1:
        return pa.array(values)
    values = np.ascontiguousarray(values)
    if values.dtype == np.uint8:
        return pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(values.shape[1]), len(values), [None, pa.py_buffer(values)]
        )
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _numpy(column: pa.Array) -> np.ndarray:
    if pa.types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        flat = np.frombuffer(column.buffers()[1], np.uint8)
        return flat[column.offset * width : (column.offset + len(column)) * width].reshape(-1, width)
    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy().reshape(len(column), -1)
    return column.to_numpy(zero_copy_only=False)
