"""An encoder of texts and one of pictures in one space: what a row is, and not its role, says which takes it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tempembed.encoders.encoder import Encoder
from tempembed.encoders.image import IMAGE, TEXT, ImageEncoder, write_modules
from tempembed.encoders.role import Role
from tempembed.encoders.text import TextEncoder
from tempembed.inputs.inputs import Inputs
from tempembed.inputs.picture_store import is_picture
from tempembed.system.errors import UserError


class MultimodalEncoder(Encoder):
    """Two towers of one width.

    Args:
        text: takes texts, with the prompts of their roles.
        image: takes pictures.

    Raises:
        UserError: towers of unlike widths.
    """

    modalities = frozenset({TEXT, IMAGE})

    def __init__(self, text: TextEncoder, image: ImageEncoder) -> None:
        super().__init__()
        if text.width != image.width:
            raise UserError(
                f"expected towers of one width, got {text.width} for texts and {image.width} for pictures"
            )
        self.text, self.image = text, image
        self.prompts, self.limits = text.prompts, text.limits

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("limits", "prompts"):
            setattr(self.text, name, value)
        super().__setattr__(name, value)

    def towers(self) -> Mapping[str, Encoder]:
        """By what they take."""
        return {TEXT: self.text, IMAGE: self.image}

    @property
    def width(self) -> int:
        """Coordinates of an embedding."""
        return self.text.width

    @property
    def max_tokens(self) -> int | None:
        """That of texts."""
        return self.text.max_tokens

    def limit_to(self, max_tokens: int) -> None:
        """Make this the limit of texts, if it is lower."""
        self.text.limit_to(max_tokens)

    @property
    def micro_batch_tokens(self) -> int:
        """What suits the tower that takes fewer; each is given its own."""
        return min(self.text.micro_batch_tokens, self.image.micro_batch_tokens)

    def prepare(self, rows: Sequence[str], role: Role) -> Inputs:
        """Tokens or pixels, which carry the name of their tower.

        Raises:
            UserError: texts and pictures together.
        """
        pictures = sum(map(is_picture, rows))
        if 0 < pictures < len(rows):
            raise UserError(
                f"expected texts only or pictures only, got {pictures} pictures among {len(rows)} rows"
            )
        name = IMAGE if pictures else TEXT
        inputs: Any = self.towers()[name].prepare(rows, role)
        return replace(inputs, tower=name)

    def chunks(self, inputs: Inputs, budget: int = 0, *, split: bool = True) -> list[np.ndarray]:
        """The rows that go through their tower together."""
        return self.towers()[inputs.tower].chunks(inputs, budget, split=split)

    def embed_chunk(self, chunk: Any) -> Float[Tensor, "B D"]:
        """Embeddings by the tower that the inputs are for."""
        return self.towers()[chunk.tower].embed_chunk(chunk)

    def preparation(self) -> str:
        """That of both."""
        return f"{self.text.preparation()}\n{self.image.preparation()}"

    def role_rules(self) -> str:
        """That of both."""
        return f"{self.text.role_rules()} {self.image.role_rules()}"

    def sentence_transformer(self) -> Any:
        """Is none; the folder in it that is called text is one, of the texts.

        Raises:
            UserError: always.
        """
        return self.image.sentence_transformer()

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """A folder for each tower, and what says so (`encoders.image_folder`)."""
        self.text.save(folder / TEXT, dtype)
        self.image.save_tower(folder / IMAGE, dtype)
        write_modules(folder, self.prompts)
