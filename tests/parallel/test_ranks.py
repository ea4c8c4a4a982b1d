"""W ranks give the gradient of one process (docs/design/gradients.md, convention A), cached or not."""

import time

import pytest
import torch

from tempembed.diagnostics import selfcheck
from tempembed.losses.contrastive import contrastive_loss
from tempembed.objectives.term import Term
from tempembed.parallel.gather import gather, gather_seconds, rank_and_world_size
from tempembed.parallel.pool import run_on_ranks
from tempembed.system.errors import UserError

pytestmark = pytest.mark.gloo


def test_ranks_give_the_one_process_gradient():
    """Three: each has others before and after it, or two of them on one side. Two train in tests/stages."""
    checks = list(selfcheck.ranks(3))
    assert len(checks) == len(selfcheck.rank_cases()) + 2 * len(selfcheck.cached_cases())
    assert not [str(check) for check in checks if not check.holds]


def with_a_gather_that_drops_the_remote_gradient() -> list[torch.Tensor]:
    import tempembed.losses.contrastive as module

    module.gather = lambda local: torch.cat(
        [
            local if r == rank_and_world_size()[0] else part
            for r, part in enumerate(gather(local.detach()).chunk(2))
        ]
    )
    return selfcheck.gradients(selfcheck.Case())[0]


def test_the_check_can_fail():
    want, _ = selfcheck.gradients(selfcheck.Case(), dense=True)
    got = run_on_ranks(2, with_a_gather_that_drops_the_remote_gradient)[0]
    assert selfcheck.error(got, want) > 0.05


def waited_for_a_slow_rank() -> float:
    rank, _ = rank_and_world_size()
    gather(torch.ones(1))  # the first connects
    before = gather_seconds()
    time.sleep(0.3 * rank)
    gather(torch.ones(1))
    return gather_seconds() - before


def test_waiting_for_a_slow_rank_is_time_of_the_gather():
    fast, slow = run_on_ranks(2, waited_for_a_slow_rank)
    assert slow > 0
    assert fast - slow > 0.15  # 0.3 s, but for what the scheduler keeps both from


def unequal_batches() -> str:
    rank, _ = rank_and_world_size()
    x = torch.randn(3 + rank, 8)
    with pytest.raises(UserError) as caught:
        contrastive_loss(x, x, (Term(dim=8, temperature=0.1),))
    return str(caught.value)


def test_ranks_that_disagree_on_shapes_hear_it_all():
    messages = run_on_ranks(2, unequal_batches)
    assert messages[0] == messages[1]
    assert "{0: (3, 8, 0), 1: (4, 8, 0)}" in messages[0]


def failing() -> None:
    if rank_and_world_size()[0] == 1:
        raise ValueError("broken on purpose")


def test_a_failing_rank_is_named():
    with pytest.raises(RuntimeError, match=r"(?s)rank 1 of 2.*broken on purpose"):
        run_on_ranks(2, failing)
