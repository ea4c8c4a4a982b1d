"""What the loop trains: a stage owns its data, its modules, its loss, and what "done" means."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempembed.run.stopwatch import Stopwatch
from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """What a step gave on this rank."""

    loss: Float[Tensor, ""]
    """Carries the gradient. The mean over ranks is the objective of the global batch."""
    means: Mapping[str, Tensor] = field(default_factory=dict)
    """Scalars that are averaged over ranks at a report, by metric."""
    sums: Mapping[str, Tensor] = field(default_factory=dict)
    """Counts that are summed over ranks and over the steps of a run, and reported per step."""
    observed: Mapping[str, Tensor] = field(default_factory=dict)
    """For the watches: embeddings, losses of the parts; detached or not."""


class Watch(Protocol):
    """Looks at steps as they pass; changes nothing."""

    def observe(self, step: int, output: StepOutput) -> None:
        """A step, from 0; called on all ranks."""

    def check(self) -> None:
        """Raise what was found to be wrong; called where the host waits anyway, on all ranks at the same steps."""

    def report(self, output: StepOutput) -> Mapping[str, float]:
        """Metrics of what was seen, and of the newest step, which nobody holds for longer; called at every report, on all ranks."""


class Plan(Protocol):
    """Which rows a step trains on (`inputs.batches.BatchPlan`)."""

    @property
    def global_batch_size(self) -> int:
        """Rows of a step over all ranks."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the data."""

    def rows(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Row numbers of this rank's part of a step."""


class Stage(ABC):
    """One kind of training: contrastive, masked language modelling. The loop knows no more of it than this.

    A subclass sets the attributes. All ranks make the same stage.
    """

    trunk: nn.Module
    """What DDP wraps: its gradients are averaged over ranks by it."""
    modules: nn.ModuleDict
    """All that is trained, the trunk among it; what checkpoints hold. Gradients outside the trunk are averaged by the loop."""
    plan: Plan
    num_steps: int
    """Optimiser steps of the run."""
    identity: Mapping[str, Any]
    """What makes it this run, as JSON values: a checkpoint of another is refused."""
    device: torch.device = torch.device("cpu")
    """Where it computes."""
    use_bfloat16 = False
    """Whether the trunk's products are in bfloat16."""
    unit = "rows"
    """What a row of the plan is, plural, in metric names: pairs. Or what a step counts in `StepOutput.sums` under this name."""
    branch_at: int | None = None
    """A checkpoint after this step is written and kept: a run with another `num_steps` can go on from there."""
    if_no_gradient = "check the data and the objective"
    """What to say if a step's gradient is zero."""

    def __init__(self) -> None:
        self.stopwatch = Stopwatch()
        """Phases of a step; `forward` may name its own."""

    @abstractmethod
    def batch(self, step: int, rows: np.ndarray) -> Any:
        """This rank's part of a step, from the rows that the plan gives it."""

    @abstractmethod
    def forward(self, batch: Any, progress: float, trunk: nn.Module) -> StepOutput:
        """The loss of a batch.

        Args:
            batch: as `batch` gave it.
            progress: share of the run that is done, 0 to 1.
            trunk: `self.trunk`, or what DDP made of it; called at least once in training, and differentiated once.
        """

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW's groups: `params`, `weight_decay`, and `peak`, the highest learning rate of the schedule."""

    def after_step(self) -> None:  # noqa: B027  most stages have nothing to do
        """After the optimiser's step: bounds of a parameter, for one."""

    def facts(self, step: int) -> Mapping[str, float]:
        """Metrics of a step that are known without the device, alike on all ranks."""
        return {}

    def blocks(self) -> Sequence[nn.Module]:
        """The modules of the trunk whose weights are gathered together where it is sharded over ranks: its layers.

        Raises:
            UserError: it cannot be sharded.
        """
        raise UserError(
            "--shard: expected a transformer, got a model that cannot be sharded; leave --shard out"
        )

    def about(self) -> Mapping[str, Any]:
        """JSON values that go with each report and are no metrics: what its names stand for."""
        return {}

    def watches(self) -> Sequence[Watch]:
        """What looks at its steps."""
        return ()

    @abstractmethod
    def save(self, folder: Path) -> None:
        """What the run is for, complete; on rank 0, after the last step."""

    @abstractmethod
    def is_saved(self, folder: Path) -> bool:
        """Whether the folder holds what `save` writes."""

    def shares(self, identity: Mapping[str, Any], done: int) -> bool | None:
        """Whether a run with another `num_steps` is, up to this step, this run; None: it has the same, or may not differ in it.

        Args:
            identity: of the other.
            done: steps that it had done.
        """
        return None

    def restored(self, identity: Mapping[str, Any]) -> Mapping[str, Any]:
        """The identity in a checkpoint as this version would write it."""
        return identity
