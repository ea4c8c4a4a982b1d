"""The embedded corpus: installed Python code as pairs of a description and a source. No download."""

import ast
import gc
import hashlib
import importlib.metadata
import inspect
import json
import os
import platform
import re
import sysconfig
import textwrap
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tempembed.data.split import holdout, text_key
from tempembed.system.checksums import MANIFEST, appearing_folder, checksums, is_intact
from tempembed.system.errors import UserError
from tempembed.system.in_order import in_order, num_cpus

FORMAT = 1  # raise when the same packages give other pairs
MIN_WORDS = 6
MAX_QUERY, MAX_DOCUMENT = 2_000, 4_000  # characters
MAX_FILE_BYTES = 1_000_000  # larger ones are generated tables
MIN_CLUSTER = 25
SKIPPED_FOLDERS = {
    "tests",
    "test",
    "testing",
    "_vendor",
    "vendored",
    "site-packages",
    "idlelib",
    "lib2to3",
    "__pycache__",
}
PARTS = ("train.parquet", "test.parquet")
OWN_PACKAGES = {"tempembed", "ray_jobs"}


@dataclass(frozen=True, kw_only=True)
class InstalledCode:
    """Parquet files with query, document and label. In `test` a null label is not part of the clustering."""

    train: Path
    test: Path
    manifest: Path


def extract_pairs(source: str, module: str) -> list[tuple[str, str, str]]:
    """(query, document, label) of every documented function of a file, in the order of the file.

    The query is the first paragraph of the docstring; the document is the function from its `def` line, without
    docstring and decorators, dedented; the label is the module's package, to two levels (`torch.nn`).

    Raises:
        SyntaxError, ValueError, RecursionError: the file is no Python of this version.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    lines = source.splitlines(keepends=True)
    pairs = []
    for node in _functions(tree):
        query = _query(node)
        document = _document(node, lines) if query else None
        if query and document:
            pairs.append((node.lineno, query, document))
    label = ".".join(module.split(".")[:2])
    return [(query, document, label) for _, query, document in sorted(pairs)]


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions of a file; only statements are visited, since expressions are nine tenths of the nodes."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            left += getattr(node, block, ())


def _query(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    docstring = ast.get_docstring(node, clean=False)
    if not docstring:
        return None
    paragraph = re.split(r"\n\s*\n", inspect.cleandoc(docstring).strip(), maxsplit=1)[0]
    text = " ".join(paragraph.split())[:MAX_QUERY]
    if text.startswith((">>>", "..", ":param", "@")) or len(re.findall(r"[^\W\d_]{2,}", text)) < MIN_WORDS:
        return None
    return text


def _document(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str | None:
    rest = node.body[1:]
    if not any(not _is_empty(statement) for statement in rest):
        return None
    docstring = node.body[0]
    start, end = docstring.lineno - 1, docstring.end_lineno or docstring.lineno
    # a docstring that shares its line with code is rare: such functions are left out
    if lines[start][: docstring.col_offset].strip() or lines[end - 1].encode()[
        docstring.end_col_offset :
    ].strip(b" \t\r\n;"):
        return None
    body = lines[node.lineno - 1 : start] + lines[end : node.end_lineno]
    text = textwrap.dedent("".join(body)).strip()
    if len(text) > MAX_DOCUMENT:
        text = text[: text.rfind("\n", 0, MAX_DOCUMENT) if "\n" in text[:MAX_DOCUMENT] else MAX_DOCUMENT]
    return text


def _is_empty(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass):
        return True
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return True
    return isinstance(statement, ast.Raise) and "NotImplemented" in ast.dump(statement)


def _modules(root: Path) -> Iterator[tuple[Path, str]]:
    """(file, module name) of every source file below a folder that holds packages, sorted."""
    for folder, names, files in os.walk(root):
        names[:] = sorted(
            n for n in names if n not in SKIPPED_FOLDERS and not n.endswith((".dist-info", ".egg-info"))
        )
        relative = Path(folder).relative_to(root).parts
        if relative and relative[0] in OWN_PACKAGES:
            names[:] = []
            continue
        for name in sorted(files):
            if name.endswith(".py") and not name.startswith("test_"):
                # the label needs the package: a file counts by its folder, a top-level file by its own name
                yield Path(folder) / name, ".".join(relative) or name[:-3]


@contextmanager
def _without_collector() -> Iterator[None]:
    """A syntax tree has no cycles: looking for them takes a fifth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_without_collector()
def _extract_files(files: Sequence[tuple[Path, str]]) -> tuple[list[tuple[str, str, str]], Counter[str]]:
    pairs: list[tuple[str, str, str]] = []
    counts: Counter[str] = Counter()
    for path, module in files:
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                counts["files too large"] += 1
                continue
            pairs += extract_pairs(path.read_text(encoding="utf-8"), module)
            counts["files read"] += 1
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            counts["files that do not parse"] += 1
        except OSError:
            counts["files that cannot be read"] += 1
    return pairs, counts


def packages() -> list[list[str]]:
    """Name, version and checksum of each installed package; the checksum is one of its Python files' checksums.

    One version may be built twice with different content; pip's RECORD has a checksum for each file.
    """
    # of the folders that are read, not of sys.path: Ray puts packages of its own on that of a job
    paths = [str(path) for path in default_roots()]
    found = {
        (d.metadata["Name"] or "?", d.version, _content(d))
        for d in importlib.metadata.distributions(path=paths)
    }
    return sorted(list(package) for package in found if package[0] not in OWN_PACKAGES)


def _content(package: importlib.metadata.Distribution) -> str:
    lines = sorted(line for line in (package.read_text("RECORD") or "").splitlines() if ".py,sha256" in line)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def default_roots() -> list[Path]:
    """The folders of the standard library and of installed packages."""
    paths = sysconfig.get_paths()
    return list(dict.fromkeys(Path(paths[name]) for name in ("stdlib", "purelib", "platlib")))


def installed_code(
    cache_dir: Path | None = None,
    *,
    num_test: int = 10_000,
    progress: Callable[[str], None] | None = None,
    roots: Sequence[Path] | None = None,
    versions: list[list[str]] | None = None,
) -> InstalledCode:
    """The corpus of this environment, built by several processes and cached by the packages' content.

    Args:
        cache_dir: default `installed-code` in the cache of `tempembed.settings.places.cache_dir`.
        num_test: pairs held out; all their documents are the corpus of the retrieval task.
        progress: takes lines of progress.
        roots: folders that hold packages; default this interpreter's.
        versions: what identifies their content; default the installed distributions.

    Raises:
        UserError: too few functions to hold out `num_test`.
    """
    if cache_dir is None:
        from tempembed.system.cache import cache_dir as default_cache_dir

        cache_dir = default_cache_dir() / "installed-code"
    roots = list(roots or default_roots())
    identity: dict[str, Any] = {
        "format": FORMAT,
        "python": platform.python_version(),
        "num_test": num_test,
        "packages": versions if versions is not None else packages(),
    }
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    folder = cache_dir / key
    train, test = (folder / name for name in PARTS)
    code = InstalledCode(train=train, test=test, manifest=folder / MANIFEST)
    if is_intact(folder):
        return code
    with appearing_folder(folder) as partial:
        _build(roots, identity, partial, num_test, progress or (lambda _: None))
    return code


def _build(
    roots: Sequence[Path], identity: dict[str, Any], folder: Path, num_test: int, say: Callable[[str], None]
) -> None:
    files = [entry for root in roots for entry in _modules(root)]
    say(f"reading {len(files)} installed Python files")
    chunks = [files[i : i + 200] for i in range(0, len(files), 200)]
    pairs: list[tuple[str, str, str]] = []
    counts: Counter[str] = Counter()
    read = in_order(_extract_files, chunks, min(len(chunks) or 1, num_cpus()))
    for done, (_, (found, count)) in enumerate(read, 1):
        pairs += found
        counts += count
        if done % max(1, len(chunks) // 5) == 0:
            say(f"reading installed code: {100 * done // len(chunks)} %, {len(pairs)} pairs")
    table = _unique(pairs)
    train, test = holdout(table, num_test)
    sizes = Counter(test["label"].to_pylist())
    labels = [label if sizes[label] >= MIN_CLUSTER else None for label in test["label"].to_pylist()]
    test = test.set_column(2, "label", pa.array(labels, pa.large_string()))
    for name, part in zip(PARTS, (train, test), strict=True):
        pq.write_table(part, folder / name, compression="zstd")
    manifest = {
        **identity,
        "counts": {
            **counts,
            "pairs before duplicates": len(pairs),
            "training pairs": len(train),
            "test pairs": len(test),
            "labels in the test": len({label for label in labels if label}),
        },
        "sha256": checksums(folder, PARTS),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    say(f"installed code: {len(train)} training pairs, {len(test)} test pairs")


def _unique(pairs: Sequence[tuple[str, str, str]]) -> pa.Table:
    """The first pair of every normalised query and of every normalised document."""
    queries: set[bytes] = set()
    documents: set[bytes] = set()
    kept = []
    for pair in pairs:
        query, document = text_key(pair[0]), text_key(pair[1])
        if query not in queries and document not in documents:
            queries.add(query)
            documents.add(document)
            kept.append(pair)
    if not kept:
        raise UserError(
            "installed code: expected documented Python functions in this environment, found none"
        )
    columns = zip(*kept, strict=True)
    names = ("query", "document", "label")
    return pa.table({name: pa.array(c, pa.large_string()) for name, c in zip(names, columns, strict=True)})
