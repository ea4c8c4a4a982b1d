"""Process groups of one machine that no other machine can reach."""

import os
import socket
import sys
from datetime import timedelta
from typing import Any

import psutil
import torch.distributed as dist

ADDRESS = "127.0.0.1"


def loopback_interface() -> str:
    """Its name, `lo` on Linux."""
    return next(
        name
        for name, addresses in psutil.net_if_addrs().items()
        if any(address.address == ADDRESS for address in addresses)
    )


def keep_to_loopback() -> None:
    """Process groups that this process makes from now on listen on loopback only, with gloo and the TCP store.

    Neither asks who connects. gloo takes an interface; torch's store listens on all of them, but takes a socket that listens
    already.
    """
    os.environ["GLOO_SOCKET_IFNAME"] = loopback_interface()
    # by its name: the package has a function of the same name in front of the module
    module: Any = sys.modules["torch.distributed.rendezvous"]
    module._create_c10d_store = _store


def _store(
    hostname: str, port: int, rank: int, world_size: int, timeout: timedelta, use_libuv: bool = True
) -> dist.TCPStore:
    """As torch's own function of that name, which it replaces."""
    options: dict[str, Any] = {"multi_tenant": True, "use_libuv": use_libuv}
    if rank == 0:
        options["master_listen_fd"] = socket.create_server((ADDRESS, port)).detach()
    return dist.TCPStore(hostname, port, world_size, rank == 0, timeout, **options)
