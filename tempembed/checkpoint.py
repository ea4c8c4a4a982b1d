"""Checkpoints: everything that the next step depends on, as safetensors and JSON, complete or absent."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tempembed.errors import UserError


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict[str, Any],
    keep: int = 2,
) -> Path:
    """Write `folder/step_<step>`: to a temporary name, flushed, then renamed. Keeps the newest `keep`."""
    final, partial = folder / f"step_{step:08d}", folder / f".partial-step_{step:08d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, partial / "model.safetensors")
    state = optimizer.state_dict()["state"]
    flat = {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}
    save_file(flat, partial / "optimizer.safetensors")
    (partial / "state.json").write_text(json.dumps({"step": step, "settings": settings}, indent=1))
    for path in partial.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob("step_*"))


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any]
) -> int:
    """Restore the newest checkpoint in place and return its step; 0 where there is none.

    Raises:
        UserError: the checkpoint is of a run with other settings.
    """
    found = checkpoints(folder)
    if not found:
        return 0
    state = json.loads((found[-1] / "state.json").read_text())
    if changed := {k for k in settings if state["settings"].get(k) != settings[k]}:
        differences = ", ".join(
            f"{k}: {state['settings'].get(k)!r} there, {settings[k]!r} here" for k in sorted(changed)
        )
        raise UserError(
            f"resume from {found[-1]}: expected the settings of the run that wrote it, got {differences}; "
            "use the same settings, or another --output"
        )
    model.load_state_dict(load_file(found[-1] / "model.safetensors"))
    flat = load_file(found[-1] / "optimizer.safetensors")
    template = optimizer.state_dict()
    restored: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in flat.items():
        index, name = key.split(".", 1)
        restored.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**template, "state": restored})
    return state["step"]
