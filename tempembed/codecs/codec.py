"""A codec: cut, re-normalise, quantise. Fitted on documents, saved with the model, loaded back to the same bits."""

import json
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from tempembed.codecs.basis import Bases, Basis, normalized
from tempembed.codecs.bits import SignBits
from tempembed.codecs.numbers import NumberCodec
from tempembed.codecs.spec import Spec, parse_spec
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_file, read_json, read_tensors

TENSORS, DESCRIPTION = "codec.safetensors", "codec.json"
WIDEST = 2**20
"""Coordinates that a saved codec may have."""


LEAST_LENGTH = 1e-12
"""Below it, nothing is scaled to unit length; squares would vanish."""


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
        documents = normalized(documents_MD)
        basis = Bases(documents).fit(spec.method, spec.seed, spec.width)
        numbers = spec.codec(spec.width, spec.argument)
        numbers.fit(normalized(basis.apply(documents, spec.width)))
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
        return normalized(self.basis.apply(normalized(embeddings_MD), self.spec.width))

    def encode(self, documents_MD: Float[Tensor, "M D"]) -> Tensor:
        """Codes as stored: `codes.nbytes == M * spec.search_bytes`."""
        return self.numbers.encode(self.cut(documents_MD))

    def beside(self, cut_MK: Float[Tensor, "M K"]) -> Tensor | None:
        """What re-ranking needs beside the codes of documents that were cut; None: nothing.

        A float16 norm each (`unbiased`), or their float32 vectors (`float`; `int8` until the range of all is known).
        """
        if self.spec.rerank == "unbiased":
            return cast(SignBits, self.numbers).project(cut_MK).abs().sum(1).half()
        return cut_MK if self.spec.rerank in ("int8", "float") else None

    def score(self, queries_QD: Float[Tensor, "Q D"], codes: Tensor) -> Float[Tensor, "Q M"]:
        """Inner products with the decoded documents. Bits: ±1 with ±1, that is K - 2 (Hamming distance)."""
        return self.numbers.query(self.cut(queries_QD)) @ self.numbers.scored(codes).T

    def searched(self, queries_QD: Float[Tensor, "Q D"]) -> Float[Tensor, "Q K"]:
        """Queries as an engine takes them that holds the codes: floats, whose signs are the bits of a codec of bits."""
        cut = self.cut(queries_QD)
        return self.numbers.project(cut) if isinstance(self.numbers, SignBits) else cut

    def reconstruct(self, embeddings_MD: Float[Tensor, "M D"]) -> Float[Tensor, "M K"]:
        """Embeddings encoded and decoded again."""
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
        if not is_file(folder / DESCRIPTION):
            raise UserError(
                f"codec {folder}: expected a folder with {DESCRIPTION} and {TENSORS} that tempembed wrote, found no {DESCRIPTION}"
            )
        description = read_json(folder / DESCRIPTION)
        try:
            full, text = description["coordinates"], str(description["codec"])
            fits = isinstance(full, int) and 1 <= full <= WIDEST
        except (TypeError, KeyError):
            fits = False
        if not fits:
            raise UserError(
                f"codec {folder}: expected codec and coordinates (1 to {WIDEST:,}) in {DESCRIPTION}, got "
                f"{str(description)[:100]}; save it again"
            )
        spec = parse_spec(text, full)
        numbers = spec.codec(spec.width, spec.argument)
        state = read_tensors(folder / TENSORS)
        shapes = {
            f"basis.{name}": shape for name, shape in Basis.shapes(spec.method, full, spec.width).items()
        }
        shapes |= {f"numbers.{name}": shape for name, shape in numbers.shapes.items()}
        if {name: tuple(tensor.shape) for name, tensor in state.items()} != shapes or not all(
            _fits(name, tensor, full) for name, tensor in state.items()
        ):
            found = {name: (tensor.dtype, *tensor.shape) for name, tensor in state.items()}
            raise UserError(
                f"codec {folder}: expected the tensors of {spec}, {shapes}, all finite, got {str(found)[:300]}; save it again"
            )
        parts: dict[str, dict[str, Tensor]] = {"basis": {}, "numbers": {}}
        for name, tensor in state.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        numbers.state = parts["numbers"]
        return Codec(spec, full, Basis.load(parts["basis"]), numbers)


def _fits(name: str, tensor: Tensor, full: int) -> bool:
    """Whether its values can be what a codec learned."""
    if name == "basis.order":
        return tensor.dtype == torch.int64 and bool(((tensor >= 0) & (tensor < full)).all())
    return tensor.dtype == torch.float32 and bool(tensor.isfinite().all())


def check_finite(embeddings_MD: Float[Tensor, "M D"]) -> None:
    """Raise UserError that names the first row with NaN or infinity, or whose length float32 cannot square."""
    lengths = torch.linalg.vector_norm(embeddings_MD, dim=1)
    bad = (~lengths.isfinite()).nonzero().flatten().tolist()
    if not bad:
        short = (lengths < LEAST_LENGTH).nonzero().flatten()
        bad = short[(embeddings_MD[short] != 0).any(1)].tolist()
    if bad:
        row = embeddings_MD[bad[0]]
        what = f"a largest coordinate of {row.abs().max():.2g}" if row.isfinite().all() else "NaN or infinity"
        raise UserError(
            f"expected finite embeddings of length 0 or {LEAST_LENGTH:g} to 1e19, got {what} in row {bad[0]} and {len(bad) - 1} more "
            "such rows; the model is damaged or diverged in training"
        )
