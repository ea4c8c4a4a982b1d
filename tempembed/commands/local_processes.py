"""The processes of this machine that a command's work is spread over."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LocalProcesses:
    """How many processes there are, and what they embed on."""

    processes: Annotated[int, tyro.conf.arg(help_behavior_hint="(default: all cores)")] = 0
    """Processes, each with the model and a core."""
    device: str = "auto"
    """Where texts are embedded: cpu, cuda (all GPUs of this machine, by a process for each unless --processes says another number),
    or auto."""

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda"):
            raise UserError(f"--device: expected cpu, cuda or auto, got {self.device!r}")
        if self.processes < 0:
            raise UserError(f"--processes: expected >= 1, got {self.processes}")

    def found_device(self) -> str:
        """Cpu or cuda.

        Raises:
            UserError: no GPU where one is asked for.
        """
        import torch

        has_gpu = torch.cuda.is_available()
        if self.device == "cuda" and not has_gpu:
            raise UserError("--device cuda: expected a GPU, found none; leave it out")
        return "cuda" if has_gpu and self.device != "cpu" else "cpu"

    def num_on(self, device: str) -> int:
        """Processes for work on a device."""
        import torch

        from tempembed.system.in_order import num_cpus

        return self.processes or (torch.cuda.device_count() if device == "cuda" else num_cpus())
