"""What an engine is, for us: how it holds vectors, by which of our codecs its scores are predicted, and the script that loads it.

To add one, write a script with `TARGET`, `load` and `search` as those in `scripts/` have them, and `register` it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tempembed.codecs.builtin import number_codecs
from tempembed.codecs.sets import ways
from tempembed.codecs.spec import Spec
from tempembed.system.errors import UserError

SCRIPTS = Path(__file__).parent / "scripts"
BITS = "binary"
"""The storage of packed bits, whichever codec of ours made them."""
Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Storage:
    """A way in which an engine holds vectors."""

    loads: tuple[str, ...]
    """Number codecs of the shards that it is loaded from."""
    kept: str
    """What the engine keeps, in its own words."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine."""

    name: str
    title: str
    script: Path
    """Loads it, and asks it."""
    packages: tuple[str, ...]
    """What the script imports beside numpy and pyarrow, by pip's names."""
    storages: Mapping[str, Storage]
    """By the number codec of ours whose scores the engine's are."""
    files: Callable[[Settings], Mapping[str, str]] = field(default=lambda settings: {})
    """A schema or mapping, by the name of its file, from the settings of an export."""
    note: str = ""
    """What is to be known of it."""

    def holds(self, spec: Spec) -> bool:
        """Whether vectors of this codec can live in it, searched by their codes alone."""
        return spec.rerank is None and (
            spec.numbers in self.storages or (spec.is_bits and BITS in self.storages)
        )

    def storage(self, asked: str | None, shards: Spec) -> str:
        """How it is to hold the vectors of shards: as asked, or as they are.

        Raises:
            UserError: it cannot.
        """
        able = [name for name, storage in self.storages.items() if shards.numbers in storage.loads]
        own = BITS if shards.is_bits else shards.numbers
        found = asked or (own if own in able else None)
        if found not in able:
            made = ", ".join(
                f"{name} (from {' or '.join(each.loads)})" for name, each in self.storages.items()
            )
            got = f"--storage {asked}, and vectors of {shards}" if asked else f"vectors of {shards}"
            raise UserError(
                f"--engine {self.name}: expected what it holds, {made}, got {got}; encode with another codec, or set --storage"
            )
        return str(found)

    def predicted_by(self, storage: str, shards: Spec, argument: int) -> Spec:
        """The codec of ours whose scores those of the engine are.

        Raises:
            UserError: there is none with that number.
        """
        if shards.is_bits:
            return shards.search
        spec = replace(shards, numbers=storage, argument=argument)
        if argument and not spec.codec.takes_argument:
            raise UserError(
                f"--storage {storage}:{argument}: expected no number after {storage}; leave it out"
            )
        if why := spec.codec.refusal(spec.width, argument):
            raise UserError(
                f"--storage {storage}{f':{argument}' if argument else ''}: {why}; give it as {storage}:NUMBER"
            )
        return spec

    def specs(self, full: int, budgets: Sequence[int]) -> list[Spec]:
        """What it can hold within each budget, of the model's first coordinates or of its principal ones."""
        names = [name for name in number_codecs() if self.holds(Spec(width=full, numbers=name))]
        return ways(full, budgets, names, ("prefix", "pca"))


ENGINES: dict[str, Engine] = {}
"""By name: those of `tempembed.engines.builtin`, and what others have registered."""


def register(engine: Engine) -> None:
    """Let every command know an engine.

    Raises:
        ValueError: another one has the name.
    """
    if ENGINES.setdefault(engine.name, engine) is not engine:
        raise ValueError(f"engine {engine.name!r}: expected a new name, there is one")
