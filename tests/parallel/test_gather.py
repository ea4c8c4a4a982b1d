"""W ranks give the gradient of one process (gradients.md, convention A)."""

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tempembed.losses.contrastive import contrastive_loss
from tempembed.objective import Term
from tempembed.parallel.gather import gather, rank_and_world_size

GLOBAL_BATCH = 12


def gradients(tau: float, symmetric: bool, num_negatives: int) -> list[torch.Tensor]:
    """Loss and gradients of a two-layer encoder on this rank's rows of a fixed global batch."""
    rank, world_size = rank_and_world_size()
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 8)).double()
    inputs = torch.randn(2 + num_negatives, GLOBAL_BATCH, 6, dtype=torch.float64)
    has = torch.rand(num_negatives, GLOBAL_BATCH) < 0.7
    local = GLOBAL_BATCH // world_size
    mine = slice(rank * local, (rank + 1) * local)
    model = DistributedDataParallel(encoder) if world_size > 1 else encoder
    embeddings = model(inputs[:, mine])
    terms = (Term(dim=3, temperature=tau), Term(dim=8, temperature=tau), Term(dim=8, temperature=2 * tau))
    losses = contrastive_loss(
        embeddings[0],
        embeddings[1],
        terms,
        hard_negatives_NBD=embeddings[2:] if num_negatives else None,
        has_negative_NB=has[:, mine] if num_negatives else None,
        symmetric=symmetric,
    )
    (losses * torch.tensor([1.0, 0.5, 2.0])).sum().backward()
    return [p.grad.clone() for p in encoder.parameters()] + [losses.detach()]


@pytest.mark.gloo
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_give_the_one_process_gradient(gloo, world_size):
    for tau in (0.03, 0.4):
        for symmetric, num_negatives in ((False, 0), (True, 2)):
            if tau == 0.4 and not symmetric:
                continue
            want = gradients(tau, symmetric, num_negatives)
            got = gloo(world_size, gradients, tau, symmetric, num_negatives)
            for rank in range(world_size):
                for a, b in zip(got[rank][:-1], want[:-1], strict=True):
                    error = (a - b).norm() / b.norm()
                    assert error < 1e-10, f"W={world_size} tau={tau} rank={rank}: relative error {error}"
            mean = torch.stack([result[-1] for result in got]).mean(0)
            torch.testing.assert_close(mean, want[-1], rtol=1e-12, atol=0)


def without_gradient() -> list[torch.Tensor]:
    """The same with a gather that drops the remote gradient: must not pass for the exact one."""
    import tempembed.losses.contrastive as module

    module.gather = lambda local: torch.cat(
        [
            local if r == rank_and_world_size()[0] else part
            for r, part in enumerate(gather(local.detach()).chunk(2))
        ]
    )
    return gradients(0.03, False, 0)


@pytest.mark.gloo
def test_the_check_can_fail(gloo):
    want = gradients(0.03, False, 0)
    got = gloo(2, without_gradient)[0]
    assert max(((a - b).norm() / b.norm()).item() for a, b in zip(got[:-1], want[:-1], strict=True)) > 0.05
