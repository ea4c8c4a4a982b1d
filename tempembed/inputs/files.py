"""Arrays in .npy files, put one behind the other without holding them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

BYTES = 2**26
"""Of an array that is held at a time."""


def join_arrays(paths: Sequence[Path], target: Path, *, axis: int = 0) -> None:
    """Write the arrays of files as one; along the last axis they are held, as they are small there.

    Raises:
        ValueError: they do not fit.
    """
    arrays = [np.load(path, mmap_mode="r") for path in paths]
    if axis:
        np.save(target, np.concatenate(arrays, axis))
        return
    if len({(array.dtype, array.shape[1:]) for array in arrays}) > 1:
        raise ValueError(f"{target.name}: parts of unlike types or shapes")
    first = arrays[0]
    shape = (sum(map(len, arrays)), *first.shape[1:])
    _write(target, shape, first.dtype, (part for array in arrays for part in _pieces(array)))


def join_offsets(paths: Sequence[Path], target: Path) -> None:
    """Write offsets, int64 from 0, of parts that follow one another."""
    arrays = [np.load(path, mmap_mode="r") for path in paths]
    starts = np.cumsum([0, *(int(array[-1]) for array in arrays)])
    shifted = (array[1:] + start for array, start in zip(arrays, starts, strict=False))
    shape = (1 + sum(len(array) - 1 for array in arrays),)
    _write(target, shape, np.dtype(np.int64), (part for part in (np.zeros(1, np.int64), *shifted)))


def _write(target: Path, shape: tuple[int, ...], dtype: np.dtype, parts: Iterable[np.ndarray]) -> None:
    with target.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).data)


def _pieces(array: np.ndarray) -> Iterable[np.ndarray]:
    rows = max(1, BYTES // max(1, array[:1].nbytes))
    return (array[start : start + rows] for start in range(0, len(array), rows))
