"""How busy the machine is, under the names that MLflow's page of system metrics draws."""

import sys
import time
from pathlib import Path

import psutil

EVERY_SECONDS = 10.0


class Machine:
    """Metrics of the machine of this process, at most every ten seconds; its load is the mean since the last ones.

    Args:
        disk: a folder of the disk that is watched.
    """

    def __init__(self, disk: Path) -> None:
        self._disk, self._due = disk, 0.0
        psutil.cpu_percent()  # from here on
        self._network = psutil.net_io_counters()

    def metrics(self) -> dict[str, float]:
        """Per cent and megabytes by name; nothing if the last were given just now."""
        if time.monotonic() < self._due:
            return {}
        self._due = time.monotonic() + EVERY_SECONDS
        memory, network = psutil.virtual_memory(), psutil.net_io_counters()
        found = {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/system_memory_usage_megabytes": memory.used / 1e6,
            "system/system_memory_usage_percentage": memory.percent,
            "system/disk_usage_percentage": psutil.disk_usage(str(self._disk)).percent,
            "system/network_receive_megabytes": (network.bytes_recv - self._network.bytes_recv) / 1e6,
            "system/network_transmit_megabytes": (network.bytes_sent - self._network.bytes_sent) / 1e6,
        }
        return found | _gpu()


def _gpu() -> dict[str, float]:
    """Memory of this process's GPU, and its load where NVIDIA's library can tell it."""
    torch = sys.modules.get("torch")  # who uses a GPU has it
    if torch is None or not torch.cuda.is_initialized():
        return {}
    number = torch.cuda.current_device()
    free, total = torch.cuda.mem_get_info()
    found = {
        f"system/gpu_{number}_memory_usage_megabytes": (total - free) / 1e6,
        f"system/gpu_{number}_memory_usage_percentage": 100 * (total - free) / total,
    }
    try:
        found[f"system/gpu_{number}_utilization_percentage"] = float(torch.cuda.utilization())
    except (ImportError, RuntimeError):  # without nvidia-ml-py
        pass
    return found
