"""Encoders by folder or hub name; the library is imported only for those that need it."""

from pathlib import Path

from tempembed.encoders.encoder import Encoder
from tempembed.encoders.static import load_static
from tempembed.errors import UserError
from tempembed.untrusted import is_folder


def load_encoder(name: str, max_tokens: int | None = None) -> Encoder:
    """A sentence-transformers or transformers model, from a local folder or by hub name. Runs no code of the model's author.

    Args:
        name: of the folder or on the hub.
        max_tokens: where texts are cut, if the model does not cut them earlier.

    Raises:
        UserError: neither a model folder nor a model that the hub has, or damaged files.
    """
    folder = Path(name)
    if is_folder(folder):
        if not any((folder / file).exists() for file in ("modules.json", "config.json")):
            raise UserError(
                f"model {name!r}: expected a folder with modules.json (sentence-transformers) or config.json "
                f"(transformers), found {sorted(p.name for p in folder.iterdir())[:8]}"
            )
        if static := load_static(folder, max_tokens):
            return static
    from tempembed.encoders.pretrained import load_pretrained

    return load_pretrained(name, max_tokens)
