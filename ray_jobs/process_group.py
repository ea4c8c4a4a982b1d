"""The workers' process group, listening on the address by which Ray knows the node: on loopback if that is where Ray is."""

from dataclasses import dataclass
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from tempembed.parallel.listening import listen_on


@dataclass
class NodeTorchConfig(TorchConfig):
    """Ray's `TorchConfig`, with the address to listen on chosen."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """Ray asks for it."""
        return _NodeBackend


class _NodeBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(_listen_on_node)
        super().on_start(worker_group, backend_config)


def _listen_on_node() -> None:
    listen_on(ray.util.get_node_ip_address())
