import pytest
import torch

from tempembed.geometry.bits import bit_participation
from tempembed.geometry.intrinsic_dimension import pca95
from tempembed.geometry.streaming import STRIDE, SpectrumWatch
from tempembed.parallel.pool import run_on_ranks


def test_a_window_measures_the_rows_that_passed():
    watch = SpectrumWatch(16, 40, lambda tensor: None)
    assert watch.window == 2 * STRIDE
    generator = torch.Generator().manual_seed(0)
    seen = []
    for step in range(2 * STRIDE):
        rows = torch.randn(40, 16, generator=generator) * torch.logspace(0, -1, 16)
        if step % STRIDE == 0:
            seen.append(torch.nn.functional.normalize(rows, dim=1))
        assert not watch.report()
        watch.observe(step, rows)
        if step == STRIDE:
            found = watch.report()
    assert found["train/intrinsic_dimension"] == pca95(torch.cat(seen))
    assert found["train/intrinsic_dimension_rows"] == 80
    assert found["train/bit_participation"] == pytest.approx(bit_participation(torch.cat(seen)), rel=1e-5)
    assert (
        0 < found["train/spectrum/top_1"] < found["train/spectrum/top_10"] <= found["train/spectrum/top_100"]
    )
    assert found["train/spectrum/top_100"] == pytest.approx(1)


def _rank():
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    watch = SpectrumWatch(16, 40, torch.distributed.all_reduce)
    rows = torch.randn(2, 40, 16, generator=torch.Generator().manual_seed(0))
    for i in range(2):
        watch.observe(i * STRIDE, rows[i].chunk(world_size)[rank])
    return watch.report()


def test_ranks_measure_what_one_process_does():
    torch.testing.assert_close(run_on_ranks(2, _rank)[1], _alone(), rtol=1e-6, atol=1e-9)


def _alone():
    watch = SpectrumWatch(16, 40, lambda tensor: None)
    rows = torch.randn(2, 40, 16, generator=torch.Generator().manual_seed(0))
    for i in range(2):
        watch.observe(i * STRIDE, rows[i])
    return watch.report()
