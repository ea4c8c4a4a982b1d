"""Documents of any number of files, one after the other, each with an id of its own; a batch at a time, never held in whole."""

import glob
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tempembed.data.bad_rows import BadRow
from tempembed.data.columns import is_text, one_spelling
from tempembed.data.kept_rows import several_times
from tempembed.data.parquet import open_parquet, parquet_batches
from tempembed.data.records import SUFFIXES, kind_of, open_table
from tempembed.data.remote import local_copy
from tempembed.data.values import as_text, checked_text, python_rows
from tempembed.system.console import Progress
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_folder, require_file
from tempembed.system.wording import quoted

COLUMNS = ("text", "document")
"""Names of the column of texts, where none is given."""
ID_COLUMNS = ("id", "_id", "doc_id")
"""Names of the column of ids, where none is given."""
KINDS = (*SUFFIXES, ".txt")
SCHEMA = pa.schema({"id": pa.string(), "text": pa.large_string()})
BATCH_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class Surveyed:
    """What all documents are, from one look at each."""

    num_rows: int
    fingerprint: str
    """16 hex digits of the files' bytes, and of which columns are read."""


class Corpus(Protocol):
    """Texts in a fixed order, each with an id, of which some are held at a time."""

    def survey(self, say: Callable[[str], None]) -> Surveyed:
        """What all of them are, once none can be wrong."""

    def shards(self, rows: int) -> Iterator[pa.Table]:
        """All as `SCHEMA`, `rows` at a time; the last may have fewer."""

    def sample(self, num: int, of: int) -> list[str]:
        """At most `num` texts, evenly spread over all `of` them."""


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Files of documents, in a fixed order. A document without an id has its number, from 0 over all files."""

    files: tuple[Path, ...]
    column: str | None = None
    """Of texts; None: text or document."""
    id_column: str | None = None
    """Of ids; None: id, _id or doc_id where there is one."""

    @staticmethod
    def of(sources: Sequence[str], column: str | None = None, id_column: str | None = None) -> "Documents":
        """Of files, folders and globs; those of object stores and of the hub (s3://, gs://, hf://) are copied to the cache first.

        Raises:
            UserError: nothing of such a name, or a file of another kind.
        """
        files = [path for source in sources for path in _files(local_copy(source))]
        for path in files:
            if kind_of(path) not in KINDS:
                raise UserError(
                    f"{path}: expected a file that ends in {', '.join(KINDS)}, got {path.suffix!r}; convert it"
                )
        if not files or len(set(files)) < len(files):
            found = "one of them twice" if files else "none"
            raise UserError(f"--data: expected files of documents, each once, got {found}; correct --data")
        return Documents(files=tuple(files), column=column, id_column=id_column)

    def batches(self) -> Iterator[pa.Table]:
        """All documents in order, as `SCHEMA`.

        Raises:
            UserError: a file or a row that cannot be read, or is no text; names the place.
        """
        numbers = count()
        for path in self.files:
            for batch in self._parquet(path) if kind_of(path) == ".parquet" else self._rows(path):
                if "id" not in batch.column_names:
                    ids = pa.array([str(number) for number in islice(numbers, len(batch))], pa.string())
                    batch = batch.add_column(0, "id", ids)
                yield batch.select(SCHEMA.names).cast(SCHEMA)

    def shards(self, rows: int) -> Iterator[pa.Table]:
        """The same, `rows` at a time; the last may have fewer."""
        held: list[pa.Table] = []
        num = 0
        for batch in self.batches():
            held.append(batch)
            num += len(batch)
            while num >= rows:
                whole = pa.concat_tables(held)
                yield whole.slice(0, rows).combine_chunks()
                held, num = [whole.slice(rows)], num - rows
        if num:
            yield pa.concat_tables(held).combine_chunks()

    def survey(self, say: Callable[[str], None]) -> Surveyed:
        """Read everything once: what is wrong with the data is found before hours of work, not after.

        Memory: 8 bytes a document.

        Raises:
            UserError: as `batches`; no documents, or an id that two of them have.
        """
        hashes, num = [], 0
        progress = Progress("checked", "documents", 0, say)
        for batch in self.batches():
            hashes.append(_hashes(batch["id"]))
            num += len(batch)
            progress.add(len(batch), f"checked {num:,} documents")
        if not num:
            raise UserError(f"{self.files[0]}: expected documents, got none; give files with at least one")
        if len(twice := several_times(np.concatenate(hashes))):
            self._require_unique(twice)
        digest = hashlib.sha256(repr((self.column, self.id_column)).encode())
        for path in self.files:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return Surveyed(num_rows=num, fingerprint=digest.hexdigest()[:16])

    def sample(self, num: int, of: int) -> list[str]:
        """At most `num` texts, evenly spread over all `of` them."""
        every, start, texts = max(1, of // num), 0, list[str]()
        for batch in self.batches():
            places = np.arange(-start % every, len(batch), every)
            texts += batch["text"].take(pa.array(places)).to_pylist()
            start += len(batch)
        return texts[:num]

    def _require_unique(self, hashes: np.ndarray) -> None:
        """Raise UserError for the first id that comes twice; different ids may share a hash."""
        seen: dict[str, int] = {}
        row = 0
        for batch in self.batches():
            for place in np.flatnonzero(np.isin(_hashes(batch["id"]), hashes)).tolist():
                name = batch["id"][place].as_py()
                if name in seen:
                    raise UserError(
                        f"--data: expected an id of its own for each document, got {name[:60]!r} for documents {seen[name] + 1:,} and "
                        f"{row + place + 1:,}; make ids unique, or name another column with --id-column"
                    )
                seen[name] = row + place
            row += len(batch)

    def _parquet(self, path: Path) -> Iterator[pa.Table]:
        with open_parquet(path) as parquet:
            schema = parquet.file.schema_arrow
            names = self._names(schema.names, path)
            if not is_text(kind := schema.field(names["text"]).type):
                raise UserError(
                    f"{path}, column {names['text']!r}: expected text, got {kind}; name another with --column"
                )
            row = 0
            for batch in parquet_batches(parquet, list(names.values()), BATCH_ROWS, kept=False):
                found = batch.select(list(names.values())).rename_columns(list(names))
                yield self._checked(found, path, row)
                row += len(batch)

    def _checked(self, batch: pa.Table, path: Path, row: int) -> pa.Table:
        """The batch with its ids as text, if nothing is wrong with it; a look at each row only where something is."""
        try:
            blank = pc.fill_null(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(batch["text"])), 0), True)
            good = not pc.any(blank).as_py()
            batch["text"].validate(full=True)
            if "id" in batch.column_names:
                is_plain = is_text(batch["id"].type) or pa.types.is_integer(batch["id"].type)
                good &= is_plain and not batch["id"].null_count
                ids = batch["id"].cast(pa.string())
                ids.validate(full=True)
                batch = batch.set_column(0, "id", ids) if good else batch
        except pa.ArrowException:  # bytes that are not UTF-8
            good = False
        if good:
            return batch
        rows = []
        for number, values in enumerate(python_rows(batch, batch.column_names), start=row + 1):
            try:
                rows.append(_row(values, {name: name for name in batch.column_names}))
            except BadRow as bad:
                raise UserError(bad.at(path, number, 0)) from bad
        return pa.Table.from_pylist(rows)

    def _rows(self, path: Path) -> Iterator[pa.Table]:
        with open_table(path, kept=False) as table:
            names = None if table.names is None else self._names(table.names, path, table.hint)
            rows: list[dict[str, str]] = []
            for row, line, values in table.rows(list(names.values()) if names else []):
                try:
                    if isinstance(values, BadRow):
                        raise values
                    names = names or self._names(list(values), path)
                    rows.append(_row(values, names))
                except BadRow as bad:
                    raise UserError(bad.at(path, row, line)) from bad
                if len(rows) == BATCH_ROWS:
                    yield pa.Table.from_pylist(rows)
                    rows = []
            if rows:
                yield pa.Table.from_pylist(rows)

    def _names(self, names: Sequence[str], path: Path, hint: str = "") -> dict[str, str]:
        """`id`, if there is one, and `text` to what the file calls them."""
        try:
            column = self.column or one_spelling(names, *COLUMNS)
            id_column = self.id_column or next((name for name in ID_COLUMNS if name in names), None)
        except BadRow as bad:
            raise UserError(f"{path}: {bad.message}; set --column") from bad
        wanted = {"id": id_column} if id_column else {}
        for what, name in {**wanted, "text": column}.items():
            if name is None or list(names).count(name) != 1:
                flag, of = ("--column", COLUMNS) if what == "text" else ("--id-column", ID_COLUMNS)
                raise UserError(
                    f"{path}: expected one column {' or '.join(map(repr, [name] if name else of))}, got {quoted(names)}{hint}; set {flag}"
                )
        return {**wanted, "text": str(column)}


def _files(source: str) -> list[Path]:
    """The files of a name, sorted: one, those of documents below a folder, or those that fit a pattern."""
    path = Path(source).expanduser()
    if is_folder(path):
        found = sorted(each for each in path.rglob("*") if kind_of(each) in KINDS and each.is_file())
    elif glob.has_magic(source) and not path.exists():
        found = sorted(Path(each) for each in glob.glob(str(path), recursive=True) if Path(each).is_file())
    else:
        return [require_file(path).absolute()]
    if not found:
        raise UserError(f"--data {source}: expected files of documents there, found none; check the path")
    return [each.absolute() for each in found]


def _row(values: dict, names: dict[str, str]) -> dict[str, str]:
    """A row as text, or `BadRow`."""
    row = {"text": checked_text(values.get(names["text"]), names["text"])}
    if "id" in names:
        name = as_text(values.get(names["id"]), names["id"])
        if not name:
            raise BadRow("missing id", "an id", "none", "fill it in", column=names["id"])
        row = {"id": name, **row}
    return row


def _hashes(ids: pa.ChunkedArray) -> np.ndarray:
    """64 bits of each id."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids.to_pylist())
    return np.frombuffer(b"".join(digests), np.uint64)
