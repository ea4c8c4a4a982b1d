"""A task of a folder of local files, and the files that it is read from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempembed.data.bad_rows import Faults
from tempembed.data.bounds import is_packed
from tempembed.data.records import SUFFIXES, kind_of
from tempembed.data.splits import TEST, split_of
from tempembed.system.errors import UserError
from tempembed.system.untrusted import require_inside


@dataclass(frozen=True)
class FolderTask:
    """A task of a folder."""

    name: str
    kind: str
    """retrieval, reranking, clustering, clustering_sets, sts, pair_classification or classification."""
    columns: dict[str, dict[str, list[Any]]]
    """TaskFile (corpus, queries, train, test) to columns. Ids and labels are text; scores are numbers."""
    relevant: dict[str, dict[str, int]]
    """Query id to document id to gain, of retrieval."""
    candidates: dict[str, list[str]] | None = None
    """Query id to document ids, of reranking."""


@dataclass(frozen=True)
class ReadOptions:
    """How a folder is read."""

    faults: Faults
    """Bad rows, counted or raised."""
    say: Callable[[str], None]
    """Takes a line for what is left out."""


def find_file(folder: Path, stem: str, more: tuple[str, ...] = ()) -> Path | None:
    """`stem.suffix`, or the only such file in `stem/` (BEIR's qrels/test.tsv: of several the one named test)."""

    def data_files(place: Path) -> list[Path]:
        return sorted(
            path for path in place.iterdir() if path.is_file() and kind_of(path) in (*SUFFIXES, *more)
        )

    found = [path for path in data_files(folder) if _stem(path) == stem]
    if not found and (folder / stem).is_dir():
        found = data_files(folder / stem)
        found = [path for path in found if _stem(path) == "test"] or found
    if not found and more:  # test.qrels, run.trec, qrels.dev.small.tsv
        named = [path for path in data_files(folder) if path.name.lower().startswith(stem)]
        found = named or [path for path in data_files(folder) if kind_of(path) in (".qrels", ".trec")]
        found = [path for path in found if split_of(path.name) == TEST] or found
    if len(found) > 1:
        raise UserError(f"{folder}: expected one file {stem}, got {[path.name for path in found]}")
    require_inside(folder, found)
    return found[0] if found else None


def _stem(path: Path) -> str:
    return Path(path.stem).stem if is_packed(path) else path.stem
