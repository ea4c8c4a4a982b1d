"""What a codec is, as text: `pca:128+int8`, `prefix:256+binary+rerank:bits:100`."""

import re
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from tempembed.codecs.basis import METHODS
from tempembed.codecs.builtin import number_codecs
from tempembed.codecs.numbers import NUMBERS, NumberCodec
from tempembed.system.errors import UserError

Rerank = Literal["bits", "unbiased", "int8", "float"]
RERANKS: tuple[str, ...] = get_args(Rerank)
PLACES = ("method", "numbers", "rerank")
"""The order of a codec's parts."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A codec by name: which coordinates, how many, in which numbers; and what re-ranks its search."""

    method: str = "prefix"
    """How coordinates are chosen: a name from METHODS."""
    width: int
    """Coordinates that are kept."""
    seed: int = 0
    """Seed of the random choice of coordinates."""
    numbers: str = "float32"
    """The number codec: a name from NUMBERS."""
    argument: int = 0
    """The number codec's own number (pq: the bytes of a vector)."""
    rerank: Rerank | None = None
    """What orders the best `depth` of a Hamming search; see tempembed.index.top_k.Reranker."""
    depth: int = 100
    """Candidates that are re-ranked; the paper's Table 2 takes 100."""

    def __str__(self) -> str:
        seed = f":{self.seed}" if METHODS[self.method].takes_seed and self.seed else ""
        argument = f":{self.argument}" if self.codec.takes_argument else ""
        parts = [f"{self.method}:{self.width}{seed}", f"{self.numbers}{argument}"]
        if self.rerank:
            parts.append(f"rerank:{self.rerank}:{self.depth}")
        return "+".join(parts)

    @property
    def codec(self) -> type[NumberCodec]:
        """The class of its number codec."""
        return NUMBERS[self.numbers]

    @property
    def name(self) -> str:
        """Short name at any width: float32, random, binary, binary_rerank (the paper's), pca_int8, pq128 ..."""
        if self.method == "random" and self.numbers == "float32":
            return "random"
        numbers = f"{self.numbers}{self.argument or ''}"
        name = numbers if self.method == "prefix" else f"{self.method}_{numbers}"
        if self.rerank:
            paper = self.rerank == "bits" and self.depth == 100
            name += "_rerank" if paper else f"_rerank_{self.rerank}_{self.depth}"
        return name

    @property
    def title(self) -> str:
        """The name in words, for pictures."""
        if self.name == "random":
            return "random coordinates"
        title = (self.codec.title or self.numbers) + (f" ({self.argument})" if self.argument else "")
        title = title if self.method == "prefix" else f"{self.method} {title}"
        by = "" if self.rerank == "bits" else f" by {self.rerank}"
        return title + (f", top {self.depth} re-ranked{by}" if self.rerank else "")

    @property
    def without_seed(self) -> "Spec":
        """The family of random draws, which are averaged."""
        return replace(self, seed=0)

    @property
    def search(self) -> "Spec":
        """Without the re-ranking."""
        return replace(self, rerank=None, depth=100)

    @property
    def learns(self) -> bool:
        """Whether it must be fitted on documents; others are the same for all."""
        return METHODS[self.method].learns or self.codec.learns

    @property
    def is_bits(self) -> bool:
        """One bit a coordinate."""
        return self.codec.is_bits

    @property
    def bytes_per_vector(self) -> int:
        """Stored for a document, with what its re-ranking needs beside the code that is searched."""
        return self.search_bytes + self.rerank_bytes

    @property
    def search_bytes(self) -> int:
        """Bytes of the code that is searched."""
        return self.codec.size(self.width, self.argument)

    @property
    def rerank_bytes(self) -> int:
        """Beside it: nothing for `bits`, a float16 norm for `unbiased`, a second copy for `int8` and `float`."""
        sizes = {"bits": 0, "unbiased": 2, "int8": self.width, "float": 4 * self.width}
        return sizes[self.rerank] if self.rerank else 0


def grammar() -> str:
    """How a codec is written."""
    numbers = "|".join(
        f"{name}:NUMBER" if codec.takes_argument else name for name, codec in number_codecs().items()
    )
    return (
        f"[{'|'.join(METHODS)}:WIDTH][+{numbers}][+rerank:{'|'.join(RERANKS)}[:DEPTH]], for example pca:128+int8 or "
        "binary+rerank:bits:100"
    )


def parse_spec(text: str, full: int) -> Spec:
    """Read `[METHOD:WIDTH[:SEED]][+NUMBERS][+rerank:HOW[:DEPTH]]`; what is left out is the full width, float32.

    >>> str(parse_spec("binary", 1024)), parse_spec("prefix:256+binary", 1024).bytes_per_vector
    ('prefix:1024+binary', 32)

    Raises:
        UserError: not of that form, or a width, byte count or depth that cannot be.
    """

    def refuse(why: str) -> UserError:
        return UserError(f"codec {text[:80]!r}: expected {grammar()}; {why}")

    spec, last = Spec(width=full), ""
    for part in text.strip().split("+"):
        name, *numbers = part.split(":")
        place = "rerank" if name == "rerank" else "method" if name in METHODS else "numbers"
        if last and PLACES.index(place) <= PLACES.index(last):
            raise refuse(f"got {part[:40]!r} after {last}: the order is cut, then numbers, then rerank")
        last = place
        how = numbers.pop(0) if place == "rerank" and numbers else ""
        values = [int(n) for n in numbers if re.fullmatch(r"\d{1,9}", n)]
        changed = _part(spec, name, how, values) if len(values) == len(numbers) else None
        if changed is None:
            raise refuse(f"got {part[:40]!r}")
        spec = changed
    if not 1 <= spec.width <= full:
        raise refuse(f"the model has {full} coordinates, got width {spec.width}")
    if why := spec.codec.refusal(spec.width, spec.argument):
        raise refuse(why)
    if spec.rerank and not spec.is_bits:
        bits = ", ".join(name for name, codec in number_codecs().items() if codec.is_bits)
        raise refuse(f"re-ranking follows a codec of bits ({bits}), got {spec.numbers}")
    if spec.rerank and spec.depth < 1:
        raise refuse("got depth 0")
    return spec


def _part(spec: Spec, name: str, how: str, values: list[int]) -> Spec | None:
    """The codec with one part of its text; None if the part is not well formed."""
    if name in METHODS:
        if not 1 <= len(values) <= 1 + METHODS[name].takes_seed:
            return None
        return replace(spec, method=name, width=values[0], seed=values[1] if len(values) > 1 else 0)
    if name == "rerank":
        if how not in RERANKS or len(values) > 1:
            return None
        return replace(spec, rerank=cast(Rerank, how), depth=values[0] if values else 100)
    codec = number_codecs().get(name)
    if codec is None or len(values) != codec.takes_argument:
        return None
    return replace(spec, numbers=name, argument=values[0] if values else 0)


def codec_title(text: str, otherwise: str) -> str:
    """The title of a codec in a report, which may name a number codec that is not registered here."""
    spec = _known(text)
    return spec.title if spec else otherwise.replace("_", " ")


def codec_family(text: str) -> str:
    """The family of a codec in a report, which may name a number codec that is not registered here."""
    spec = _known(text)
    return spec.codec.family if spec else NumberCodec.family


def _known(text: str) -> Spec | None:
    try:
        return parse_spec(text, int(text.split("+")[0].split(":")[1]))
    except (UserError, ValueError, IndexError):
        return None
