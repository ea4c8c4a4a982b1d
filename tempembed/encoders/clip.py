"""CLIP-type models of transformers as two towers: texts and pictures in the space that they were trained in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from tempembed.encoders.image import ImageEncoder
from tempembed.encoders.image_model import PROCESSOR, fit_of
from tempembed.encoders.multimodal import MultimodalEncoder
from tempembed.encoders.role import Prompts, RoleName
from tempembed.encoders.static import MODULES
from tempembed.encoders.text import TextEncoder, padded_inputs, tokenizer_as_text
from tempembed.encoders.transformers_log import no_bars, silence
from tempembed.inputs.tokens import Tokens
from tempembed.system.errors import UserError
from tempembed.system.untrusted import is_file, read_json
from tempembed.system.wording import first_line

MODULE = "sentence_transformers.sentence_transformer.modules.clip_model.CLIPModel"
CHUNK_TOKENS, CHUNK_PATCHES = 2048, 2048


class ClipText(TextEncoder):
    """The tower of texts."""

    def __init__(self, model: Any, tokenizer: Any, prompts: Prompts) -> None:
        super().__init__()
        self.text_model, self.projection = (
            model.text_model,
            getattr(model, "text_projection", None) or nn.Identity(),
        )
        self.tokenizer, self.prompts = tokenizer, prompts
        config = model.config.text_config
        self._limit, self._tokens = config.max_position_embeddings, config.vocab_size
        self._width = getattr(self.projection, "out_features", config.hidden_size)

    @property
    def width(self) -> int:
        """Coordinates of an embedding."""
        return self._width

    @property
    def num_tokens(self) -> int:
        """Size of the vocabulary."""
        return self._tokens

    @property
    def max_tokens(self) -> int | None:
        """Places of the model."""
        return self._limit

    def limit_to(self, max_tokens: int) -> None:
        """Make this the limit, if it is lower."""
        self._limit = min(self._limit, max_tokens)

    @property
    def micro_batch_tokens(self) -> int:
        """What a CPU's caches hold."""
        return CHUNK_TOKENS

    def token_lists(self, texts: list[str], limit: int | None) -> list[list[int]]:
        """Ids of each text, special tokens included."""
        most = min(limit or self._limit, self._limit)
        return self.tokenizer(texts, truncation=True, max_length=most, add_special_tokens=True)["input_ids"]

    def unpooled(self, prompt: str) -> int:
        """None: one token stands for all."""
        return 0

    def embed_chunk(self, tokens: Tokens) -> Float[Tensor, "B D"]:
        """The pooled text, projected."""
        output = self.text_model(**padded_inputs(tokens, self.tokenizer.pad_token_id, self.device))
        return self.projection(output.pooler_output)

    def preparation(self) -> str:
        """The tokenizer as JSON."""
        return tokenizer_as_text(self.tokenizer)

    def sentence_transformer(self) -> Any:
        """Is none by itself.

        Raises:
            UserError: always.
        """
        raise UserError(
            "expected a whole CLIP-type model, got its tower of texts; load the folder of the model"
        )

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Not by itself.

        Raises:
            UserError: always.
        """
        self.sentence_transformer()


class ClipImage(ImageEncoder):
    """The tower of pictures."""

    def __init__(self, model: Any, processor: Mapping[str, Any]) -> None:
        super().__init__(*fit_of(processor))
        self.vision_model = model.vision_model
        self.projection = getattr(model, "visual_projection", None) or nn.Identity()
        self._width = getattr(self.projection, "out_features", model.config.vision_config.hidden_size)

    @property
    def width(self) -> int:
        """Coordinates of an embedding."""
        return self._width

    @property
    def micro_batch_tokens(self) -> int:
        """What a CPU's caches hold."""
        return CHUNK_PATCHES

    def embed_pictures(self, pixels_BCHW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """The pooled picture, projected."""
        return self.projection(self.vision_model(pixel_values=pixels_BCHW).pooler_output)


class ClipEncoder(MultimodalEncoder):
    """Both towers; a folder of it is transformers' and sentence-transformers' own.

    Args:
        model: a `CLIPModel` or one like it.
        tokenizer: its own.
        processor: its `preprocessor_config.json`.
        prompts: of the roles.
    """

    def __init__(self, model: Any, tokenizer: Any, processor: Mapping[str, Any], prompts: Prompts) -> None:
        model = model.float()
        super().__init__(ClipText(model, tokenizer, prompts), ClipImage(model, processor))
        self._whole = (
            model,
        )  # not registered: its modules are the towers', but for the scale and bias of its own loss
        self._processor = dict(processor)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """A folder that transformers and sentence-transformers load, pictures included."""
        (model,) = self._whole
        folder.mkdir(parents=True, exist_ok=True)
        text: Any = self.text
        with no_bars():
            weights = {
                name: each.detach().to("cpu", dtype).contiguous() for name, each in model.state_dict().items()
            }
            model.save_pretrained(folder, state_dict=weights)
        text.tokenizer.save_pretrained(folder)
        (folder / PROCESSOR).write_text(json.dumps(self._processor, indent=1))
        modules = [{"idx": 0, "name": "0", "path": "", "type": MODULE}]
        (folder / MODULES).write_text(json.dumps(modules, indent=2))


def load_clip(folder: Path, asked: Mapping[RoleName, str]) -> ClipEncoder:
    """The model of a folder; runs no code of its author.

    Raises:
        UserError: damaged, or without its tokenizer or `preprocessor_config.json`.
    """
    if not is_file(folder / PROCESSOR):
        raise UserError(
            f"model {str(folder)!r}: expected {PROCESSOR}, which says how large its pictures are, found none; copy it into the folder"
        )
    try:
        with silence():
            model = AutoModel.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True, dtype=torch.float32
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
            return ClipEncoder(model, tokenizer, read_json(folder / PROCESSOR), Prompts.of_config({}, asked))
    except UserError:
        raise
    except Exception as error:  # what its format layers raise has no common class
        raise UserError(
            f"model {str(folder)!r}: expected a CLIP-type model of transformers, and could not load it ({type(error).__name__}: "
            f"{first_line(error)}); copy the whole model"
        ) from error
