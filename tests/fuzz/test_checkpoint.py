"""Checkpoints: damaged ones are refused or passed over, whatever is damaged in them."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tempembed.run.checkpoint import load_checkpoint, save_checkpoint
from tests.fuzz.harness import damaged, damaged_json, only_our_errors, profile

SETTINGS = {"seed": 0, "terms": ["16@0.05"], "data": "a"}


def model():
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    return net, torch.optim.AdamW(net.parameters(), lr=0.1)


@pytest.fixture
def steps(folder):
    """Two checkpoints, and the bytes of their files."""
    net, optimizer = model()
    for step in (1, 2):
        net(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        save_checkpoint(folder, step, net, optimizer, SETTINGS)
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@profile
@given(st.data())
def test_checkpoint(steps, folder, data):
    for path, content in steps.items():
        path.write_bytes(content)
    for path in data.draw(st.lists(st.sampled_from(list(steps)), min_size=1, max_size=3)):
        content = steps[path]
        path.write_bytes(
            data.draw(damaged_json(json.loads(content)) if path.suffix == ".json" else damaged(content))
        )
    net, optimizer = model()
    with only_our_errors("test_checkpoint", folder):
        assert load_checkpoint(folder, net, optimizer, SETTINGS) in (1, 2)
        assert all(weights.isfinite().all() for weights in net.parameters())
