"""A codec: cut, re-normalise, quantise. Fitted on documents, saved with the model, loaded back to the same bits."""

import json
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from tempembed.compression.basis import Bases, Basis, unit
from tempembed.compression.bits import ItqBits, MedianBits, RotatedBits, SignBits
from tempembed.compression.integers import Integers
from tempembed.compression.numbers import Floats, NumberCodec
from tempembed.compression.product import ProductQuantizer
from tempembed.compression.spec import Spec, parse_spec
from tempembed.errors import UserError

TENSORS, DESCRIPTION = "codec.safetensors", "codec.json"


def number_codec(spec: Spec) -> NumberCodec:
    """The number codec of a spec, not yet fitted."""
    bits = {"binary": SignBits, "median": MedianBits, "rotated": RotatedBits, "itq": ItqBits}
    if spec.numbers in bits:
        return bits[spec.numbers](spec.width)
    if spec.numbers == "pq":
        return ProductQuantizer(spec.width, spec.pq_bytes)
    if spec.numbers in ("int8", "int4"):
        return Integers(spec.width, int(spec.numbers[3:]))
    return Floats(spec.width, getattr(torch, spec.numbers))


class Codec:
    """Documents to codes of `spec.search_bytes` bytes each, and scores of float queries against them.

    Embeddings may have any length: they are normalised first, and again after the cut.
    """

    def __init__(self, spec: Spec, full: int, basis: Basis, numbers: NumberCodec) -> None:
        self.spec, self.full, self.numbers = spec, full, numbers
        # what is saved and nothing else: a product with a part of a larger matrix may round otherwise
        self.basis = Basis.load(basis.state(spec.width))

    @staticmethod
    def fit(spec: Spec, documents_MD: Float[Tensor, "M D"]) -> "Codec":
        """Learn what the codec needs from documents, never from queries.

        Raises:
            UserError: no documents, NaN or infinity in them, or too few for the codec.
        """
        check_finite(documents_MD)
        if not len(documents_MD):
            raise UserError(f"codec {spec}: expected documents to fit on, got none")
        documents = unit(documents_MD)
        basis = Bases(documents).fit(spec.method, spec.seed, spec.width)
        numbers = number_codec(spec)
        numbers.fit(unit(basis.apply(documents, spec.width)))
        return Codec(spec, documents_MD.shape[1], basis, numbers)

    def cut(self, embeddings_MD: Float[Tensor, "M D"]) -> Float[Tensor, "M K"]:
        """The kept coordinates, re-normalised, not yet quantised.

        Raises:
            UserError: embeddings of another width than the codec was fitted on, NaN or infinity.
        """
        if embeddings_MD.shape[1] != self.full:
            raise UserError(
                f"codec {self.spec}: expected embeddings with {self.full} coordinates (it was fitted on such), "
                f"got {embeddings_MD.shape[1]}; use the model that it was saved with"
            )
        check_finite(embeddings_MD)
        return unit(self.basis.apply(unit(embeddings_MD), self.spec.width))

    def encode(self, documents_MD: Float[Tensor, "M D"]) -> Tensor:
        """Codes as stored: `codes.nbytes == M * spec.search_bytes`."""
        return self.numbers.encode(self.cut(documents_MD))

    def score(self, queries_QD: Float[Tensor, "Q D"], codes: Tensor) -> Float[Tensor, "Q M"]:
        """Inner products with the decoded documents. Bits: ±1 with ±1, that is K - 2 (Hamming distance)."""
        return self.numbers.query(self.cut(queries_QD)) @ self.numbers.decode(codes).T

    def reconstruct(self, embeddings_MD: Float[Tensor, "M D"]) -> Float[Tensor, "M K"]:
        """What is left of embeddings that went through the codec."""
        return self.numbers.decode(self.encode(embeddings_MD))

    def save(self, folder: Path) -> None:
        """Write codec.safetensors and codec.json."""
        folder.mkdir(parents=True, exist_ok=True)
        basis = {f"basis.{name}": tensor for name, tensor in self.basis.state(self.spec.width).items()}
        numbers = {f"numbers.{name}": tensor.contiguous() for name, tensor in self.numbers.state.items()}
        save_file(basis | numbers, folder / TENSORS)
        description = {
            "format": 1, "codec": str(self.spec), "coordinates": self.full,
            "bytes_per_vector": self.spec.bytes_per_vector,
        }  # fmt: skip
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=1))

    @staticmethod
    def load(folder: Path) -> "Codec":
        """Read what `save` wrote; runs no code from the folder.

        Raises:
            UserError: not such a folder, or damaged.
        """
        try:
            description = json.loads((folder / DESCRIPTION).read_text())
            full = int(description["coordinates"])
            spec = parse_spec(description["codec"], full)
            state = load_file(folder / TENSORS)
        except UserError:
            raise
        except Exception as error:  # json, safetensors and the file system have an exception each
            raise UserError(
                f"codec {folder}: expected a folder with {DESCRIPTION} and {TENSORS} that tempembed wrote, and "
                f"could not read it ({type(error).__name__}: {str(error)[:200]})"
            ) from error
        parts: dict[str, dict[str, Tensor]] = {"basis": {}, "numbers": {}}
        for name, tensor in state.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
        codec = Codec(spec, full, Basis.load(parts["basis"]), number_codec(spec))
        codec.numbers.state = parts["numbers"]
        try:
            codec.reconstruct(torch.zeros(1, full))
        except (KeyError, RuntimeError, IndexError) as error:
            raise UserError(f"codec {folder}: expected the tensors of {spec}, got {sorted(state)}") from error
        return codec


def check_finite(embeddings_MD: Float[Tensor, "M D"]) -> None:
    """Raise UserError that names the first row with NaN or infinity."""
    # a sum is finite only if all is; summing rows costs one pass and no mask of the matrix
    bad = (~embeddings_MD.sum(1).isfinite()).nonzero().flatten().tolist()
    if bad:
        raise UserError(
            f"expected finite embeddings, got NaN or infinity in row {bad[0]} and {len(bad) - 1} more; "
            "the model is damaged or diverged in training"
        )
