"""Checkpoints: everything that the next step depends on, as safetensors and JSON, complete, checked, or absent."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from tempembed.parallel.gather import rank_and_world_size
from tempembed.parallel.sharding import part_of, whole
from tempembed.run.identity import differences
from tempembed.system.checksums import MANIFEST, check, checksums
from tempembed.system.disk import room_for
from tempembed.system.errors import UserError
from tempembed.system.untrusted import read_json, read_tensors

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
PARTIAL = ".partial-"


class DamagedError(UserError):
    """A checkpoint is not what was written."""


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: dict[str, Any],
    keep: int = 2,
    *,
    notes: Mapping[str, Any] | None = None,
    also: Callable[[int], int | None] = lambda step: None,
) -> Path:
    """Write `folder/step_<step>`: to a temporary name, flushed, with checksums, then renamed. Keeps the newest `keep`.

    All ranks call it, and rank 0 writes: parts of one tensor on several ranks are put together, a tensor at a time.
    Parameters that are not trained are not in it: they are as they were before the first step, which the settings tell.

    Args:
        folder: of the checkpoints.
        step: steps that are done.
        model: its weights are saved.
        optimizer: its state is.
        settings: of the run.
        keep: how many of the newest stay.
        notes: JSON values that `read_notes` gives back.
        also: the step that one of these relies on, if there is one: it stays too.

    Raises:
        DiskFullError: no room for it. The checkpoints that are there stay, and nothing of this one does.
    """
    final = _folder(folder, step)
    partial = folder / f"{PARTIAL}{final.name}"
    fixed = _fixed(model)
    weights = {k: whole(v).contiguous() for k, v in model.state_dict().items() if k not in fixed}
    state = optimizer.state_dict()["state"]
    flat = {
        f"{index}.{name}": whole(value) for index, values in state.items() for name, value in values.items()
    }
    if rank_and_world_size()[0] > 0:
        return final
    shutil.rmtree(partial, ignore_errors=True)
    need = sum(t.nbytes for t in (*weights.values(), *flat.values()))
    try:
        with room_for(f"checkpoint of step {step}", folder, need):
            partial.mkdir(parents=True)
            save_file(weights, partial / MODEL)
            save_file(flat, partial / OPTIMIZER)
            state_of_run = {"step": step, "settings": settings, **({"notes": dict(notes)} if notes else {})}
            (partial / STATE).write_text(json.dumps(state_of_run, indent=1))
            sums = checksums(partial, (MODEL, OPTIMIZER, STATE))
            (partial / MANIFEST).write_text(json.dumps({"sha256": sums}, indent=1))
            for path in (*partial.iterdir(), partial):
                _flush(path)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            _flush(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    found = checkpoints(folder)
    needed = {also(_step(path)) for path in found[-keep:]}
    for old in found[:-keep]:
        if _step(old) not in needed:
            _remove(old)
    return final


def remove_after(folder: Path, step: int) -> None:
    """Remove the checkpoints behind a step."""
    for path in checkpoints(folder):
        if _step(path) > step:
            _remove(path)


def _remove(path: Path) -> None:
    doomed = path.with_name(f"{PARTIAL}{path.name}")
    path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)  # on NFS a file that somebody has open stays for a while


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob("step_*"))


def read_notes(folder: Path, step: int) -> dict[str, Any]:
    """What the checkpoint of a step noted; empty where it noted nothing.

    Raises:
        DamagedError: it is not what was written.
    """
    return _read(_folder(folder, step))[0]["notes"]


def newest_settings(folder: Path) -> dict[str, Any]:
    """The settings of the newest checkpoint whose state can be read; empty without any."""
    for path in reversed(checkpoints(folder)):
        try:
            return dict(read_json(path / STATE)["settings"])
        except (UserError, TypeError, KeyError, ValueError):
            continue
    return {}


def load_weights(folder: Path, step: int, model: nn.Module) -> None:
    """Restore the weights of a step alone, in place.

    Raises:
        DamagedError: it is not what was written, or is not there.
        UserError: it is of another model.
    """
    path = _folder(folder, step)
    _, weights, _ = _read(path)
    try:
        _put(model, weights)
    except (RuntimeError, KeyError) as error:
        raise _of_another_model(path, error) from error


def remove_partial(folder: Path) -> None:
    """Throw away what a writer that was killed left behind."""
    for path in folder.glob(f"{PARTIAL}*"):
        shutil.rmtree(path, ignore_errors=True)


def disk_warning(folder: Path, model: nn.Module, keep: int = 2) -> str | None:
    """What to say before training if the disk has no room for `keep` + 1 checkpoints (weights and two moments)."""
    need = (keep + 1) * 3 * sum(p.nbytes for p in model.parameters() if p.requires_grad)
    free = shutil.disk_usage(folder).free
    if free >= need:
        return None
    return (
        f"checkpoints in {folder} may need {need / 1e6:,.1f} MB of disk, {free / 1e6:,.1f} MB are free; make room, or "
        "choose another --output"
    )


def load_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: Mapping[str, Any],
    say: Callable[[str], None] = lambda line: None,
    *,
    restore: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    shares: Callable[[dict[str, Any], int], bool | None] = lambda settings, step: None,
) -> int:
    """Restore the newest checkpoint that is whole, in place, and return its step; 0 where there is none at all.

    Args:
        folder: of the checkpoints.
        model: takes the weights of what is trained; the rest is as it was before the first step.
        optimizer: takes its state.
        settings: of the run; where the checkpoint has others, it is that of another run. Looked at after `restore`, which may
            make it go on in what it began in.
        say: is told of each newer checkpoint that was damaged.
        restore: what was stored, as settings; for checkpoints that an earlier version of us wrote.
        shares: whether a run with another number of steps is, up to a step, this one; its checkpoints behind that are passed over.
            None: as it is.

    Raises:
        DamagedError: there are checkpoints, and none of them is whole.
        UserError: the checkpoint is of a run with other settings.
    """
    damaged, passed = [], []
    for path in reversed(checkpoints(folder)):
        try:
            state, weights, flat = _read(path)
        except DamagedError as error:
            damaged.append(str(error))
            say(f"{error}; falling back to the one before")
            continue
        stored = restore(state["settings"])
        is_shared = shares(stored, state["step"])
        if is_shared is not None:
            stored["num_steps"] = settings["num_steps"]
        if unlike := differences(stored, settings):
            raise UserError(
                f"resume from {path}: expected the settings of the run that wrote it, got {unlike}; use the same settings, or "
                "another --output"
            )
        if is_shared is False:
            passed.append(path)
            continue
        _restore(path, model, optimizer, weights, flat)
        if passed:
            say(
                f"goes on from step {state['step']}: those behind it are of a run with another number of steps"
            )
        return state["step"]
    if passed:
        raise UserError(
            f"resume from {folder}: expected a checkpoint from before the learning rate fell, found none; give the number of steps "
            "that the run had, or another --output"
        )
    if damaged:
        raise DamagedError(
            f"resume from {folder}: expected a checkpoint that is whole, found none ({'; '.join(damaged)}); remove the "
            "folder to train from the start"
        )
    return 0


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    try:
        check(path, (MODEL, OPTIMIZER, STATE), read_json(path / MANIFEST)["sha256"])
        state = read_json(path / STATE)
        return (
            {
                "step": int(state["step"]),
                "settings": dict(state["settings"]),
                "notes": dict(state.get("notes", {})),
            },
            read_tensors(path / MODEL),
            read_tensors(path / OPTIMIZER),
        )
    except (OSError, ValueError, TypeError, KeyError) as error:  # ValueError: a UserError as well
        raise DamagedError(
            f"checkpoint {path} is damaged ({type(error).__name__}: {str(error)[:200]})"
        ) from error


def _restore(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    weights: dict[str, torch.Tensor],
    flat: dict[str, torch.Tensor],
) -> None:
    restored: dict[int, dict[str, torch.Tensor]] = {}
    of_index = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    try:
        for key, value in flat.items():
            index, name = key.split(".", 1)
            # not the file, which is removed later
            restored.setdefault(int(index), {})[name] = part_of(value, of_index[int(index)]).clone()
        _put(model, weights)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": restored})
    except (RuntimeError, ValueError, KeyError, IndexError) as error:
        raise _of_another_model(path, error) from error


def _put(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Weights of what is trained into their modules."""
    own = model.state_dict()
    parts = {k: part_of(v, own[k]) if k in own else v for k, v in weights.items()}
    missing, unknown = model.load_state_dict(parts, strict=False)
    if unlike := sorted({*missing} - _fixed(model)) + unknown:
        raise KeyError(", ".join(unlike[:3]))


def _of_another_model(path: Path, error: Exception) -> UserError:
    return UserError(
        f"resume from {path}: expected a checkpoint of this model, got another ({str(error)[:300]}); use another --output"
    )


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step_"))


def _folder(folder: Path, step: int) -> Path:
    return folder / f"step_{step:08d}"


def _fixed(model: nn.Module) -> set[str]:
    """Names of what is not trained, and other names of what is: of a table that is the head's as well."""
    found, seen = set(), set[int]()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if not parameter.requires_grad or id(parameter) in seen:
            found.add(name)
        seen.add(id(parameter))
    return found


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
