"""The process group of a run whose workers are all on this machine: it listens on loopback, as Ray does then."""

from dataclasses import dataclass
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from tempembed.parallel.loopback import ADDRESS, keep_to_loopback


def torch_config(timeout_s: int) -> TorchConfig:
    """On loopback if all of Ray is, else on the nodes' addresses."""
    addresses = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    return (_LocalTorchConfig if addresses == {ADDRESS} else TorchConfig)(timeout_s=timeout_s)


@dataclass
class _LocalTorchConfig(TorchConfig):
    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _LocalBackend


class _LocalBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(keep_to_loopback)
        super().on_start(worker_group, backend_config)
