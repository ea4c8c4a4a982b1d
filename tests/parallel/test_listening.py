"""Process groups of one machine listen on loopback only."""

import psutil
import pytest
import torch
import torch.distributed as dist

from tempembed.parallel.listening import interface_of
from tempembed.parallel.pool import run_on_ranks


def listening():
    """Addresses that a member of a working group listens on."""
    total = torch.ones(1)
    dist.all_reduce(total)
    found = [c.laddr.ip for c in psutil.Process().net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    dist.barrier()
    return total.item(), found


@pytest.mark.gloo
def test_a_process_group_of_this_machine_listens_on_loopback_only():
    (sum_0, rank_0), (sum_1, rank_1) = run_on_ranks(2, listening)
    assert sum_0 == sum_1 == 2
    assert len(rank_0) > len(rank_1) > 0  # gloo, and on rank 0 the store
    assert {*rank_0, *rank_1} == {"127.0.0.1"}


def test_interfaces_are_found_by_address():
    assert interface_of("127.0.0.1") in psutil.net_if_stats()
    assert interface_of("203.0.113.7") is None
