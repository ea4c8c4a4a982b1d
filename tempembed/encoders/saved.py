"""A saved model is what was trained: plain sentence-transformers loads it, and says so."""

from pathlib import Path

import numpy as np
import torch

from tempembed.encoders.encoder import Encoder
from tempembed.encoders.role import ROLES
from tempembed.errors import UserError

TEXTS = ("open the file and read its lines", "Grüße, 世界!", "a " * 700)
"""One of them longer than most models take."""
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""By the type of the saved weights: largest difference of a coordinate, relative to the embedding's length."""


def save_checked(encoder: Encoder, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Save a model, load it by `SentenceTransformer(folder)`, and compare `encode_query` and `encode_document` with ours.

    Raises:
        UserError: the folder does not load, or holds another model than the one that was trained.
    """
    encoder.save(folder, dtype)
    from sentence_transformers import SentenceTransformer  # seconds of import, at the end of a run

    from tempembed.encoders.transformers_log import silence

    try:
        with silence():
            model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=False)
    except Exception as error:  # what its layers raise has no common class
        raise UserError(
            f"model {folder}: expected one that sentence-transformers loads, and it does not ({type(error).__name__}: "
            f"{str(error)[:200]}); the checkpoints are whole, please report this"
        ) from error
    model.truncate_dim = None
    encode = {"query": model.encode_query, "document": model.encode_document}
    for name in ROLES:
        # one at a time: padding may move the places of a model that pads on the left
        role = encoder.role(name)
        ours = np.concatenate([encoder.embed(encoder.tokenize([text], role)).numpy() for text in TEXTS])
        theirs = np.concatenate(
            [
                encode[name]([text], show_progress_bar=False, convert_to_tensor=True).float().numpy()
                for text in TEXTS
            ]
        )
        off = float((np.abs(ours - theirs).max(1) / np.linalg.norm(ours, axis=1).clip(1e-12)).max())
        if not off <= TOLERANCE[dtype]:
            raise UserError(
                f"model {folder}: expected encode_{name} of the saved model to give what was trained, its embeddings are off by "
                f"{off:.2g} of their length; the checkpoints are whole, please report this"
            )
