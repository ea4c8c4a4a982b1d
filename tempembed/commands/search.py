"""`tempembed search`."""

import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from tempembed.data.bad_rows import BadRow
from tempembed.inputs.picture_store import title_of
from tempembed.system.console import say
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_file

if TYPE_CHECKING:
    from tempembed.index.nearest import Hit

SHOWN = 100  # characters of a text
MOST_BYTES = 1_000_000  # of a query: a model reads some hundred tokens


@dataclass(frozen=True, kw_only=True)
class Search:
    """Search in a file of texts with an exported model; the index is compressed by the model's codec.

    The index is built when there is none, or when the model, the codec or the texts are others than it was made of.

    Example: tempembed search model-128 "how to parse a date" --texts notes.txt --index notes.index

    Again: tempembed search model-128 "read an image" "close a socket" --index notes.index --top-k 3

    Piped: tempembed search model-128 - --index notes.index < queries.txt
    """

    model: Annotated[str, tyro.conf.Positional]
    """A folder that tempembed export wrote."""
    queries: Annotated[tuple[str, ...], tyro.conf.Positional]
    """What to look for: words, or the file of a picture; - reads queries from standard input, one a line."""
    index: str
    """The index's folder."""
    texts: str | None = None
    """The texts: .txt (one a line), JSON Lines, CSV or Parquet (a column text or document), or installed-code. Or pictures: a folder
    of them, a file with a column image, file_name or document, or installed-glyphs. May be left out once the index is built."""
    top_k: int = 5
    """Answers to a query."""
    page: str | None = None
    """Write the answers to this file too, an HTML page with pictures as thumbnails."""


def search_command(command: Search) -> None:
    """`tempembed search`."""
    queries = _queries(command.queries)
    hits = find(Path(command.model), queries, command.texts, Path(command.index), command.top_k, exported=True)  # fmt: skip
    if command.page:
        from tempembed.reports.retrievals import write_hits_page

        write_hits_page(queries, hits, Path(command.page))
        say(f"answers with their pictures: {command.page}")
    for query, found in zip(queries, hits, strict=True):
        print(answer(query, found))


def find(
    model: Path,
    queries: Sequence[str],
    texts: str | None,
    folder: Path,
    top_k: int,
    *,
    exported: bool = False,
) -> "list[list[Hit]]":
    """The best texts of each query, from an index that is built if there is none of these texts.

    Args:
        model: a folder that tempembed export wrote; or, unless `exported`, any model, which searches in float32.
        queries: what to look for.
        texts: as `open_texts` takes them; None: the index is there.
        folder: of the index.
        top_k: answers to a query.
        exported: whether the model must have a codec.

    Raises:
        UserError: a model or index that cannot be, or an empty query.
    """
    from tempembed.data.texts import open_texts
    from tempembed.index.compressed import build_index, mismatch, open_index
    from tempembed.index.exported import CODEC, load_exported, plain
    from tempembed.index.nearest import search_index

    has_codec = exported or (model / CODEC).is_dir()
    loaded = load_exported(model) if has_codec else plain(str(model))
    queries = [_named(query) for query in queries] if "image" in loaded.encoder.modalities else queries
    opened = open_texts(texts, say) if texts else None
    if why := mismatch(folder, loaded, opened):
        if opened is None:
            raise UserError(f"index {folder}: expected one of {model}; {why}; name the texts with --texts")
        say(f"building the index: {why}")
        build_index(loaded, opened, folder, say)
    return search_index(open_index(folder, loaded), queries, top_k)


def _named(query: str) -> str:
    """The name of the picture in the file that a query is; the query itself, if it is none."""
    from tempembed.data.picture_cells import PictureCells
    from tempembed.inputs.pictures import SUFFIXES

    path = Path(query)
    if not query.lower().endswith(SUFFIXES) or not is_file(path):
        return query
    cells = PictureCells(path.parent)
    try:
        found = cells.name(path.name, "query")
    except BadRow as bad:
        raise UserError(f"{query}: {bad.message}") from bad
    cells.flush()
    return found


def _queries(given: tuple[str, ...]) -> list[str]:
    queries = list(_piped()) if given == ("-",) else [checked_query(query) for query in given]
    if not (queries := [query for query in queries if query]):
        raise UserError("search: expected at least one query, got none")
    return queries


def _piped() -> Iterator[str]:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    while line := sys.stdin.readline(MOST_BYTES + 1):
        yield checked_query(line)


def checked_query(text: str) -> str:
    """Without the blanks around it.

    Raises:
        UserError: too long, or not UTF-8.
    """
    if len(text.encode("utf-8", "surrogateescape")) > MOST_BYTES:
        raise UserError(
            f"search: expected queries of at most {MOST_BYTES:,} bytes, got {text[:60]!r}…; shorten it"
        )
    try:
        return text.encode().decode().strip()
    except UnicodeEncodeError:
        raise UserError(
            f"search: expected queries in UTF-8, got {text[:60]!r}; convert them, or set the locale"
        ) from None


def answer(query: str, hits: "list[Hit]") -> str:
    """Rank, score, row and the beginning of each text."""
    lines = [query, f"{'rank':>6}{'score':>11}{'row':>9}  text"]
    for rank, hit in enumerate(hits, start=1):
        text = " ".join(title_of(hit.text)[: 8 * SHOWN].split())[:SHOWN]
        lines.append(f"{rank:>6}{hit.score:>11.4f}{hit.row + 1:>9}  {text}")
    return "\n".join(lines) + "\n"
