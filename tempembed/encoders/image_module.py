"""Our encoders of pictures as a module of sentence-transformers, for those who load a folder of ours by that library.

    SentenceTransformer(folder, trust_remote_code=True).encode(["words", ...])   # or a list of PIL images

The library imports a class of another package only where the user allows it, and nothing is read from the folder but JSON, a
tokenizer and safetensors.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from sentence_transformers.base.modules import InputModule

from tempembed.encoders.encoder import Encoder
from tempembed.encoders.image import IMAGE, TEXT, ImageEncoder
from tempembed.encoders.load import load_encoder
from tempembed.encoders.role import Role
from tempembed.inputs.inputs import Inputs
from tempembed.inputs.pictures import fitted
from tempembed.inputs.pixels import Pixels
from tempembed.system.errors import UserError


class PictureModule(InputModule):
    """Texts or PIL images in, embeddings out.

    Args:
        encoder: takes pictures, and perhaps texts.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def modalities(self) -> list[Any]:
        """What it takes."""
        return sorted(self.encoder.modalities)

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Tokens of texts, or pixels of images.

        Raises:
            UserError: both together.
        """
        texts = [each for each in inputs if isinstance(each, str)]
        if texts and len(texts) < len(inputs):
            raise UserError("expected texts only or images only, got both; encode them one after the other")
        return {"prepared": self._texts(texts, prompt or "") if texts else self._images(inputs)}

    def _texts(self, texts: list[str], prompt: str) -> Inputs:
        return self.encoder.prepare(texts, Role(name="document", prompt=prompt))

    def _images(self, images: Sequence[Any]) -> Inputs:
        towers = self.encoder.towers()
        image: Any = towers.get(IMAGE, self.encoder)
        assert isinstance(image, ImageEncoder)
        pictures = np.stack([fitted(each.convert("RGB"), image.fit) for each in images])
        pixels = Pixels(pictures=pictures, index=np.arange(len(pictures)))
        return replace(pixels, tower=IMAGE) if TEXT in towers else pixels

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """The embeddings, as `sentence_embedding`."""
        return {**features, "sentence_embedding": self.encoder([features["prepared"]])}

    def get_embedding_dimension(self) -> int:
        """Coordinates of an embedding."""
        return self.encoder.width

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """The encoder's own files."""
        self.encoder.save(Path(output_path))

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Self:  # type: ignore[override]
        """From a folder of ours."""
        return cls(load_encoder(str(Path(model_name_or_path) / subfolder)))
