"""Inputs of any modality, read from a folder that they were saved in."""

from collections.abc import Sequence
from pathlib import Path

from tempembed.inputs.inputs import Inputs
from tempembed.inputs.pixels import Pixels
from tempembed.inputs.tokens import Tokens


def load_inputs(folder: Path, name: str) -> Inputs:
    """Memory-map what `Inputs.save` wrote under this name: pictures if there are any, otherwise tokens."""
    return _kind(folder, name).load(folder, name)


def join_inputs(folders: Sequence[Path], target: Path, name: str) -> None:
    """What was saved under this name in several folders as one, without holding it."""
    _kind(folders[0], name).join(folders, target, name)


def _kind(folder: Path, name: str) -> type[Pixels] | type[Tokens]:
    return Pixels if (folder / f"{name}.pictures.npy").exists() else Tokens
