"""tempembed: train text embeddings that stay good after compression, by controlling temperature.

    import tempembed as te

    run = te.train("pairs.parquet", encoder="all-MiniLM-L6-v2", objective="tempaggmrl", hold_out=0.1)

The functions are those of `tempembed.api`, imported when they are first asked for: this import takes no time.
"""

from typing import Any

__all__ = [
    "UserError", "codecs", "compare", "encode", "evaluate", "export", "load", "mine", "pretrain", "recommend", "search", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    import importlib

    if name not in __all__:
        raise AttributeError(f"module 'tempembed' has no attribute {name!r}")
    if name in ("codecs", "export"):  # rooms too, which take calls
        return importlib.import_module(f"tempembed.{name}")
    return getattr(importlib.import_module("tempembed.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
