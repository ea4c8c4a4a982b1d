"""A compressed index on disk: codes, what re-ranking needs beside them, and the texts. Built and read in bounded memory."""

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor

from tempembed.codecs.integers import Int8
from tempembed.data.texts import CHUNK_TEXTS, Texts
from tempembed.index.exported import Exported
from tempembed.system.atomic import write_json
from tempembed.system.errors import UserError
from tempembed.system.untrusted import check_place, read_json, read_tensors, require_file, require_inside

FORMAT = 1
DESCRIPTION = "index.json"
CODES, RERANK, RANGES = "codes.bin", "rerank.bin", "rerank.safetensors"
TEXTS, OFFSETS = "texts.bin", "offsets.bin"
FILES = {DESCRIPTION, CODES, RERANK, RANGES, TEXTS, OFFSETS}
EVERY = 16  # chunks between lines of progress

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Index:
    """Codes and texts of an index, memory-mapped."""

    exported: Exported
    codes_MB: Tensor
    rerank_MR: Tensor | None
    """Beside the codes: float16 norms, int8 codes or float32 vectors."""
    ranges: Int8 | None
    """What int8 copies are dequantised by."""
    texts: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.codes_MB)

    def text(self, row: int) -> str:
        """The text of a row, from 0.

        Raises:
            UserError: it is damaged.
        """
        start, end = int(self.offsets[row]), int(self.offsets[row + 1])
        try:
            if not 0 <= start < end <= len(self.texts):
                raise ValueError(f"bytes {start:,} to {end:,} of {len(self.texts):,}")
            return self.texts[start:end].tobytes().decode()
        except ValueError as error:
            raise UserError(
                f"index: expected a text in row {row + 1}, it is damaged ({error}); build it again"
            ) from error

    def vectors(self, rows_C: Int[Tensor, " C"]) -> Float[Tensor, "C K"]:
        """Vectors of documents as the codec's re-ranking takes them (`tempembed.index.top_k.Reranker`)."""
        how = self.exported.codec.spec.rerank
        if self.rerank_MR is None:
            return self.exported.codec.numbers.decode(self.codes_MB[rows_C])
        beside = self.rerank_MR[rows_C]
        if how == "unbiased":
            tiny = torch.finfo(torch.float16).tiny
            signs = self.exported.codec.numbers.decode(self.codes_MB[rows_C])
            return signs / beside.float().clamp_min(tiny)
        return beside if self.ranges is None else self.ranges.decode(beside)


def build_index(exported: Exported, texts: Texts, output: Path, say: Say = lambda _: None) -> None:
    """Encode and compress all texts; the folder appears whole, in place of an index that was there.

    Memory: 4,096 texts, or 4 million characters of them, and their embeddings at a time.

    Raises:
        UserError: the folder holds something else, or a text that cannot be read.
    """
    _check_ours(output)
    output = output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.{uuid4().hex[:8]}")
    partial.mkdir()
    try:
        num = _write(exported, texts, partial, say)
        facts = {"texts": texts.source, "texts_fingerprint": texts.fingerprint, "num_texts": num}
        sizes = {file.name: file.stat().st_size for file in sorted(partial.iterdir())}
        write_json(partial / DESCRIPTION, {**_identity(exported), **facts, "bytes": sizes})
        if output.exists():
            old = partial.with_name(f"{partial.name}.old")
            output.rename(old)
            partial.rename(output)
            shutil.rmtree(old)
        else:
            partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(exported: Exported, texts: Texts, folder: Path, say: Say) -> int:
    spec, numbers = exported.codec.spec, exported.codec.numbers
    began, num, end = time.monotonic(), 0, 0
    with ExitStack() as stack:
        codes, rerank, text, offsets = (
            stack.enter_context((folder / name).open("wb")) for name in (CODES, RERANK, TEXTS, OFFSETS)
        )
        offsets.write(np.int64(0).tobytes())
        for i, chunk in enumerate(texts.chunks()):
            cut = exported.codec.cut(exported.embed(chunk, "document"))
            codes.write(_raw(numbers.encode(cut)))
            if (beside := exported.codec.beside(cut)) is not None:
                rerank.write(_raw(beside))
            encoded = [one.encode() for one in chunk]
            text.writelines(encoded)
            ends = end + np.cumsum([len(one) for one in encoded], dtype=np.int64)
            offsets.write(ends.tobytes())
            num, end = num + len(chunk), int(ends[-1])
            if i % EVERY == EVERY - 1:
                say(f"indexed {num:,} texts, {num / (time.monotonic() - began):,.0f} a second")
    if spec.rerank == "int8":
        _to_int8(folder, num, spec.width)
    if not spec.rerank_bytes:
        (folder / RERANK).unlink()
    say(
        f"indexed {num:,} texts in {time.monotonic() - began:.1f} s: {num * spec.bytes_per_vector:,} bytes of codes"
    )
    return num


def _raw(values: Tensor) -> memoryview:
    return values.contiguous().numpy().data


def _to_int8(folder: Path, num: int, width: int) -> None:
    """The float32 copies to int8 by the range of each dimension over all documents, through the disk."""
    floats = _map(folder / RERANK, (num, width), np.float32)
    integers = Int8(width)
    integers.fit(floats)
    with (folder / f"{RERANK}.int8").open("wb") as file:
        for part in floats.split(CHUNK_TEXTS):
            file.write(_raw(integers.encode(part)))
    (folder / f"{RERANK}.int8").rename(folder / RERANK)
    save_file({name: tensor.contiguous() for name, tensor in integers.state.items()}, folder / RANGES)


def _map(path: Path, shape: tuple[int, ...], dtype: Any) -> Tensor:
    # copy on write: torch warns of memory that cannot be written, and nothing here writes
    return torch.from_numpy(np.memmap(path, dtype, "c", shape=shape))


def _identity(exported: Exported) -> dict[str, Any]:
    return {
        "format": FORMAT, "codec": str(exported.codec.spec), "coordinates": exported.codec.full,
        "model_fingerprint": exported.model_fingerprint, "codec_fingerprint": exported.codec_fingerprint,
    }  # fmt: skip


def _check_ours(folder: Path) -> None:
    """Only an index, and nothing beside its files, is ever written over."""
    check_place(folder, "index")
    inside = list(folder.iterdir()) if folder.is_dir() else []
    require_inside(folder, inside)
    names = {path.name for path in inside}
    if (folder.exists() and not folder.is_dir()) or (names and not (DESCRIPTION in names and names <= FILES)):
        raise UserError(
            f"index {folder}: expected a new folder or an index, found something else there; choose another"
        )


def mismatch(folder: Path, exported: Exported, texts: Texts | None = None) -> str | None:
    """Why an index cannot answer for a model, a codec and (if given) texts; None: it can.

    Raises:
        UserError: the folder holds something else than an index.
    """
    _check_ours(folder)
    if not (folder / DESCRIPTION).is_file():
        return f"there is none in {folder}"
    try:
        there = read_json(folder / DESCRIPTION)
        want = {**_identity(exported), **({"texts_fingerprint": texts.fingerprint} if texts else {})}
        for key, value in want.items():
            if there[key] != value:
                return f"its {key.replace('_', ' ')} is {there[key]}, now it is {value}"
        want_files = _sizes(exported, there["num_texts"])
        if there["bytes"].keys() != want_files.keys():
            return f"it is damaged: expected the files {', '.join(want_files)}"
        for name, size in there["bytes"].items():
            if (found := require_file(folder / name).stat().st_size) != size:
                return f"it is damaged: expected {size:,} bytes in {name}, got {found:,}"
            if found != (want_files[name] or found):
                return f"it is damaged: expected {want_files[name]:,} bytes in {name}, got {found:,}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it is damaged ({type(error).__name__}: {str(error)[:100]})"
    return None


def _sizes(exported: Exported, num: int) -> dict[str, int | None]:
    """Bytes of each file of an index of so many texts; None: any number."""
    spec = exported.codec.spec
    if not isinstance(num, int) or num < 1:
        raise ValueError(f"num_texts is {str(num)[:60]}")
    sizes: dict[str, int | None] = {CODES: num * spec.search_bytes, OFFSETS: 8 * (num + 1), TEXTS: None}
    if spec.rerank_bytes:
        sizes[RERANK] = num * spec.rerank_bytes
    if spec.rerank == "int8":
        sizes[RANGES] = None
    return dict(sorted(sizes.items()))


def open_index(folder: Path, exported: Exported) -> Index:
    """Map an index into memory.

    Raises:
        UserError: not an index, damaged, or of another model or codec.
    """
    if why := mismatch(folder, exported):
        raise UserError(f"index {folder}: expected one of this model and codec; {why}; build it again")
    spec, num = exported.codec.spec, read_json(folder / DESCRIPTION)["num_texts"]
    kind = torch.empty(0, dtype=spec.codec.dtype).numpy().dtype
    codes = _map(folder / CODES, (num, spec.search_bytes // kind.itemsize), kind)
    rerank, ranges = None, None
    if spec.rerank_bytes:
        dtypes: dict[str | None, Any] = {"unbiased": np.float16, "int8": np.uint8, "float": np.float32}
        width = 1 if spec.rerank == "unbiased" else spec.width
        rerank = _map(folder / RERANK, (num, width), dtypes[spec.rerank])
    if spec.rerank == "int8":
        ranges = Int8(spec.width)
        ranges.state = read_tensors(folder / RANGES)
        found = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in ranges.state.items()}
        if found != {name: (torch.float32, shape) for name, shape in ranges.shapes.items()}:
            raise UserError(
                f"index {folder}: expected {ranges.shapes} in {RANGES}, got {found}; build it again"
            )
    texts = np.memmap(folder / TEXTS, np.uint8, "r")
    return Index(
        exported=exported, codes_MB=codes, rerank_MR=rerank, ranges=ranges, texts=texts,
        offsets=np.memmap(folder / OFFSETS, np.int64, "r"),
    )  # fmt: skip
