import errno
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from tempembed.run.checkpoint import (
    DamagedError,
    checkpoints,
    disk_warning,
    load_checkpoint,
    remove_partial,
    save_checkpoint,
)
from tempembed.system.disk import DiskFullError, is_full
from tempembed.system.errors import UserError
from tests.conftest import make_room, small_disk

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")


def trained(steps=1, size=8):
    torch.manual_seed(0)
    model = torch.nn.Linear(size, size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(steps):
        model(torch.randn(4, size)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


@pytest.fixture
def two(tmp_path):
    """Checkpoints of the steps 1 and 2."""
    for step in (1, 2):
        save_checkpoint(tmp_path, step, *trained(step), {"seed": 3})
    return tmp_path


def load(folder, **more):
    model, optimizer = trained(0)
    return load_checkpoint(folder, model, optimizer, {"seed": 3}, **more), model, optimizer


def test_comes_back_to_the_bit(two):
    step, model, optimizer = load(two)
    want, state = trained(2)
    assert step == 2
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), want.parameters(), strict=True))
    for mine, theirs in zip(optimizer.state.values(), state.state.values(), strict=True):
        assert all(torch.equal(mine[name], theirs[name]) for name in ("exp_avg", "exp_avg_sq", "step"))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage", [flip, cut, lambda path: path.unlink(), lambda path: path.write_bytes(b"")]
)
def test_a_damaged_newest_falls_back_and_says_so(two, name, damage):
    damage(two / "step_00000002" / name)
    lines = []
    step, model, _ = load(two, say=lines.append)
    assert step == 1
    assert torch.equal(model.weight, trained(1)[0].weight)
    assert len(lines) == 1
    assert "step_00000002 is damaged" in lines[0]


def test_none_that_is_whole_is_refused(two):
    for step in (1, 2):
        flip(two / f"step_0000000{step}" / "model.safetensors")
    with pytest.raises(
        DamagedError, match=r"found none \(.*00002 is damaged.*00001 is damaged.*remove the folder"
    ):
        load(two)


def test_nothing_there_is_the_start(tmp_path):
    assert load(tmp_path)[0] == 0


def test_another_model_is_refused(two):
    model, optimizer = trained(0, size=6)
    with pytest.raises(UserError, match="expected a checkpoint of this model"):
        load_checkpoint(two, model, optimizer, {"seed": 3})


def test_what_a_killed_writer_left_is_no_checkpoint(two):
    shutil.copytree(two / "step_00000002", two / ".partial-step_00000003")
    assert [path.name for path in checkpoints(two)] == ["step_00000001", "step_00000002"]
    remove_partial(two)
    assert not list(two.glob(".partial*"))


def test_the_warning_of_a_small_disk(tmp_path, monkeypatch):
    model, _ = trained(0)
    assert disk_warning(tmp_path, model) is None
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "0.0 MB are free" in disk_warning(tmp_path, model)


def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_of_the_next(tmp_path):
    with small_disk(tmp_path, "2m") as disk:
        large = trained(1, size=300)  # 1.1 MB of checkpoint
        first = save_checkpoint(disk, 1, *large, {"seed": 3})
        with pytest.raises(DiskFullError, match=r"step 2 .*expected 1.1 MB of disk, got .* make room"):
            save_checkpoint(disk, 2, *large, {"seed": 3})
        assert sorted(disk.iterdir()) == [first]
        model, optimizer = trained(0, size=300)
        assert load_checkpoint(disk, model, optimizer, {"seed": 3}) == 1
        make_room(disk, "4m")
        save_checkpoint(disk, 2, *large, {"seed": 3})
        assert len(checkpoints(disk)) == 2


def test_a_used_up_quota_is_a_full_disk():
    assert is_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert is_full(SafetensorError("I/O error: Disk quota exceeded (os error 122)"))
    assert not is_full(OSError(errno.EACCES, "Permission denied"))


def test_what_is_restored_holds_no_file_open(two):
    model, optimizer = trained(0)
    assert load_checkpoint(two, model, optimizer, {"seed": 3}) == 2
    assert str(two) not in Path("/proc/self/maps").read_text()
