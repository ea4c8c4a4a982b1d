"""The device that a process trains on."""

import torch
import torch.distributed as dist


def device_of_process() -> torch.device:
    """The GPU of this process; the CPU where there is none, or where ranks talk over gloo."""
    over_gloo = dist.is_available() and dist.is_initialized() and dist.get_backend() == "gloo"
    return torch.device("cuda" if torch.cuda.is_available() and not over_gloo else "cpu")
