"""Encoders that are made here, untrained: by name, each a function that builds one on a tokenizer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tempembed.system.plugins import find, names_code

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from tempembed.encoders.encoder import Encoder


@dataclass(frozen=True, kw_only=True)
class FromScratch:
    """How an encoder of a name is made."""

    build: "str | Callable[[Tokenizer, int, int, int, int], Encoder]"
    """(tokenizer, width, layers, max_tokens, seed) to the encoder; a MODULE:NAME is imported when it is needed."""
    width: int
    """Embedding width, if none is asked for."""
    is_table: bool = False
    """Whether it begins with a static table, which learns at a higher rate."""
    has_layers: bool = True
    """Whether `--layers` counts."""


FROM_SCRATCH: dict[str, FromScratch] = {
    "static": FromScratch(
        build="tempembed.encoders.static:build_static", width=1024, is_table=True, has_layers=False
    ),
    "transformer": FromScratch(build="tempembed.encoders.transformer:build_transformer", width=384),
}
"""By name. One of another package needs no entry: `--encoder MODULE:NAME` names a `FromScratch` in it."""


def from_scratch(name: str) -> FromScratch | None:
    """How the encoder of a name is made; None if the name is that of a model to load.

    Raises:
        UserError: a MODULE:NAME that cannot be imported.
    """
    if name in FROM_SCRATCH:
        return FROM_SCRATCH[name]
    return find("--encoder", name, FROM_SCRATCH) if names_code(name) else None


def is_from_scratch(name: str) -> bool:
    """Whether the name is that of an encoder that is made here; imports nothing."""
    return name in FROM_SCRATCH or names_code(name)


def build(
    made: FromScratch, tokenizer: "Tokenizer", *, width: int, layers: int, max_tokens: int, seed: int
) -> "Encoder":
    """The encoder, untrained."""
    function = find("--encoder", made.build, {}) if isinstance(made.build, str) else made.build
    return function(tokenizer, width, layers, max_tokens, seed)
