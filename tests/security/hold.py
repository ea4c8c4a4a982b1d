"""A job that holds two workers of a process group, so that every kind of port is open: hold.py FOLDER."""

import sys
import time
from pathlib import Path

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from ray_jobs.connect import connect
from ray_jobs.process_group import NodeTorchConfig


def hold(config):
    total = torch.ones(1)
    dist.all_reduce(total)
    folder = Path(config["folder"])
    (folder / f"ready-{ray.train.get_context().get_world_rank()}").write_text(str(total.item()))
    deadline = time.monotonic() + 120
    while not (folder / "stop").exists() and time.monotonic() < deadline:
        time.sleep(0.2)


if __name__ == "__main__":
    connect()
    TorchTrainer(
        hold,
        train_loop_config={"folder": sys.argv[1]},
        torch_config=NodeTorchConfig(timeout_s=60),
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name="hold", storage_path=sys.argv[1]),
    ).fit()
