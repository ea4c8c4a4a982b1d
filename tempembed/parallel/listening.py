"""Process groups that listen on one address, not on whichever the host's name stands for, or on all."""

import os
import socket
import sys
from datetime import timedelta
from functools import partial
from typing import Any

import psutil
import torch.distributed as dist

LOOPBACK = "127.0.0.1"


def interface_of(address: str) -> str | None:
    """The network interface of this machine that has the address, `lo` for 127.0.0.1 on Linux; None: none has."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == address for one in addresses):
            return name
    return None


def listen_on(address: str) -> None:
    """Process groups that this process makes from now on listen there, with gloo and with torch's TCP store.

    Neither asks who connects. gloo takes the address that the host's name stands for, often 127.0.0.1, which no other machine
    reaches; the store listens on all interfaces, but takes a socket that listens already. An address that is not of this
    machine (a container's outer one) changes nothing. GLOO_SOCKET_IFNAME, where it is set, is kept.
    """
    if interface := interface_of(address):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        # by its name: the package has a function of the same name in front of the module
        module: Any = sys.modules["torch.distributed.rendezvous"]
        module._create_c10d_store = partial(_store, address)


def _store(
    address: str,
    hostname: str,
    port: int,
    rank: int,
    world_size: int,
    timeout: timedelta,
    use_libuv: bool = True,
) -> dist.TCPStore:
    """As torch's own function, which it replaces."""
    options: dict[str, Any] = {"multi_tenant": True, "use_libuv": use_libuv}
    if rank == 0:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        options["master_listen_fd"] = socket.create_server((address, port), family=family).detach()
    return dist.TCPStore(hostname, port, world_size, rank == 0, timeout, **options)
