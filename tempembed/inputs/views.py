"""Views of pictures: moved and zoomed a little, as (seed, step, row, column) say and nothing else."""

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def words(*parts: np.ndarray | int) -> np.ndarray:
    """A random uint64 word for each tuple of integers: each part in turn is mixed in by SplitMix64 (Steele et al. 2014)."""
    state: np.ndarray = np.zeros(1, np.uint64)
    for part in parts:
        with np.errstate(over="ignore"):
            state = _mixed(state + _GOLDEN + np.asarray(part).astype(np.uint64))
    return state


def _mixed(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def random_views(rows: np.ndarray, strength: float, *, seed: int, step: int, column: int) -> np.ndarray:
    """float32 [rows, 2, 3] for `affine_grid`: a zoom between 1 - strength and 1 / (1 - strength), a move of up to half of
    `strength` of the side each way.

    Args:
        rows: of the data.
        strength: 0 to 1.
        seed: of the run.
        step: of the run.
        column: in which the picture stands, so that one picture on both sides has two views.
    """
    drawn = np.stack([words(seed, step, column, k, rows) for k in range(3)], axis=1)
    unit = (drawn >> np.uint64(11)) * 2.0**-53
    zoom = (1 - strength) ** (2 * unit[:, 0] - 1)
    views = np.zeros((len(rows), 2, 3), np.float32)
    views[:, 0, 0] = views[:, 1, 1] = zoom
    views[:, :, 2] = strength * (2 * unit[:, 1:] - 1)
    return views
