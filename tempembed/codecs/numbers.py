"""What a number codec is: it turns the kept coordinates of a document into a stored code, and back into a vector.

Every score is an inner product with that vector, or with what `scored` makes of the code. Bits compare ±1 with ±1, which is the Hamming distance; of all others
the query stays float32.

All that the rest of the package knows of a codec stands in its class: to add one, write a subclass and `register` it.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor


class NumberCodec(ABC):
    """Fitted on documents; `state` is all that it learned."""

    name: ClassVar[str]
    """In the text of a codec: `pca:128+NAME`."""
    title: ClassVar[str] = ""
    """As pictures call it; default: the name."""
    family: ClassVar[str] = "others"
    """Codecs of one family have one colour where bytes are drawn against scores."""
    bits: ClassVar[int]
    """Stored for a coordinate; see `size`."""
    dtype: ClassVar[torch.dtype] = torch.uint8
    """Type of the codes, a matrix with a row for each document."""
    learns: ClassVar[bool] = True
    """Whether `fit` depends on the documents: then it needs some."""
    is_bits: ClassVar[bool] = False
    """Whether it is searched by Hamming distance: a subclass of SignBits. Such a search may be re-ranked."""
    takes_argument: ClassVar[bool] = False
    """Whether a number follows the name: `pq:BYTES`."""
    precision: ClassVar[str | None] = None
    """The `precision` of sentence-transformers' encode that gives the same codes, up to `dtype`; None: it has none."""
    lab_methods: ClassVar[tuple[str, ...]] = ("prefix",)
    """The choices of coordinates with which `tempembed codecs` measures it at a byte budget."""
    sweep_methods: ClassVar[tuple[str, ...]] = ()
    """Those with which every trial of a sweep measures it."""
    in_probe: ClassVar[bool] = False
    """Whether it is measured in mid-training, where it must cost next to nothing."""

    def __init__(self, width: int, argument: int = 0) -> None:
        self.width, self.argument = width, argument
        self.state: dict[str, Tensor] = {}

    @classmethod
    def size(cls, width: int, argument: int) -> int:
        """Bytes of a document's code."""
        return -(-width * cls.bits // 8)

    @classmethod
    def within(cls, budget: int, full: int) -> tuple[int, int] | None:
        """The width, and the argument, whose code takes `budget` bytes; None if no width up to `full` does."""
        width = 8 * budget // cls.bits
        return (width, 0) if 1 <= width <= full else None

    @classmethod
    def refusal(cls, width: int, argument: int) -> str | None:
        """Why there is no such codec of that width and argument; None: there is."""
        return None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors in `state`, once fitted; all are float32."""
        return {}

    def fit(self, documents_MK: Float[Tensor, "M K"]) -> None:  # noqa: B027 (many learn nothing)
        """Learn from documents, cut and re-normalised."""

    @abstractmethod
    def encode(self, documents_MK: Float[Tensor, "M K"]) -> Tensor:
        """Codes of M rows, as they are stored."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Float[Tensor, "M K"]:
        """The documents as they can be had back, float32."""

    def columns(self, codes: Tensor) -> dict[str, Tensor]:
        """The parts of codes by name, where a code has several: bits and a scale, for one."""
        return {"code": codes}

    def query(self, queries_QK: Float[Tensor, "Q K"]) -> Float[Tensor, "Q V"]:
        """The vector that a query is compared as; V as in `scored`."""
        return queries_QK

    def scored(self, codes: Tensor) -> Float[Tensor, "M V"]:
        """The vectors whose inner products with queries are scores. V is K, or more where a score has terms of its own."""
        return self.decode(codes)


NUMBERS: dict[str, type[NumberCodec]] = {}
"""The number codecs by name: those of `tempembed.codecs.builtin`, and what others have registered."""


def register(codec: type[NumberCodec]) -> None:
    """Let every command, plot, report and index know a number codec.

    Raises:
        ValueError: another codec has the name, or it cannot stand in the text of a codec.
    """
    if not codec.name.isidentifier() or codec.name == "rerank":
        raise ValueError(f"codec {codec.name!r}: expected letters, digits and underscores, and not rerank")
    if NUMBERS.setdefault(codec.name, codec) is not codec:
        raise ValueError(f"codec {codec.name!r}: expected a new name, {NUMBERS[codec.name].__name__} has it")


class Float32(NumberCodec):
    """The numbers as they are."""

    name = "float32"
    family = "float32, float16"
    bits = 32
    dtype = torch.float32
    learns = False
    precision = "float32"
    lab_methods: ClassVar[tuple[str, ...]] = ("prefix", "pca")

    def encode(self, documents_MK: Float[Tensor, "M K"]) -> Tensor:
        """Rounded to the type."""
        return documents_MK.to(self.dtype)

    def decode(self, codes: Tensor) -> Float[Tensor, "M K"]:
        """The same numbers as float32."""
        return codes.float()


class Float16(Float32):
    """Rounded to float16."""

    name = "float16"
    bits = 16
    dtype = torch.float16
    lab_methods = ("prefix",)
