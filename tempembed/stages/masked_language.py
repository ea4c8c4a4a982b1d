"""Masked language modelling on raw text: the stage that `tempembed pretrain` runs."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tempembed.encoders.layers import freeze_layers
from tempembed.encoders.load_masked_lm import HEAD, masked_lm
from tempembed.encoders.masked_lm import MaskedLM
from tempembed.encoders.masked_shapes import FROM_HERE, SCRATCH
from tempembed.encoders.precision import operations_per_second, uses_bfloat16
from tempembed.encoders.reached import reached
from tempembed.encoders.saved_masked_lm import save_masked_lm
from tempembed.inputs.sequences import MaskedTexts
from tempembed.inputs.token_shards import TokenShards
from tempembed.parallel.device import device_of_process
from tempembed.parallel.gather import rank_and_world_size
from tempembed.parallel.reduce import sum_over_ranks
from tempembed.run.checkpoint import newest_settings
from tempembed.run.loop import CHECKPOINTS, Report, quiet, train
from tempembed.run.stage import Stage, StepOutput, Watch
from tempembed.settings.config import FILE, write_config
from tempembed.settings.optimizer import DECAY_SHARE
from tempembed.settings.pretrain import EVALUATIONS, PretrainSettings
from tempembed.stages.groups import groups_by_depth
from tempembed.stages.masked_data import MaskedData, Warmups
from tempembed.stages.masked_probe import MaskedProbe
from tempembed.stages.utilisation import Utilisation, operations
from tempembed.system.atomic import write_json
from tempembed.system.untrusted import is_file, read_json

RESUMABLE_SETTINGS = (
    "micro_batch_tokens",
    "evaluate_every",
    "checkpoint_every",
    "checkpoint_minutes",
    "log_every",
)
"""Settings that a run may go on with other values of."""
RESOLVED_SETTINGS = (
    "text", "column", "exclude", "skip_bad_rows", "text_tokens", "vocabulary", "encoder", "tokens", "steps", "learning_rate",
    "warmup", "warmup_steps", "batch_warmup", "length_warmup", "precision",
)  # fmt: skip
"""Settings that count as what they come to: the text by its content, shares as numbers of steps."""
AGAIN = "tempembed pretrain --config run.yaml --output ... is this run again"
CPU_TOKENS, GPU_TOKENS = 4096, 65_536
"""Tokens that are best taken at once, measured."""


@dataclass(frozen=True, kw_only=True)
class MaskedBatch:
    """This rank's part of a step."""

    parts: Sequence[MaskedTexts]
    operations: float
    """Counted, of a forward and a backward."""


class MaskedLanguageStage(Stage):
    """A masked language model and the text that it learns from.

    Args:
        settings: the run.
        shards: its text, and the tokenizer.
        device: default the GPU of this process; the CPU where there is none, or where ranks talk over gloo.
        warmups: of the run that this one makes longer.

    Raises:
        UserError: a model that does not fit, text for less than a batch.
    """

    unit = "tokens"
    if_no_gradient = "is there a token in the text that is not special?"

    def __init__(
        self,
        settings: PretrainSettings,
        shards: TokenShards,
        device: str | torch.device | None = None,
        warmups: Warmups | None = None,
    ) -> None:
        super().__init__()
        torch.manual_seed(settings.loop.seed)
        self.settings, self.shards, model = settings, shards, settings.model
        self.device = torch.device(device) if device else device_of_process()
        self.loaded = masked_lm(
            model.encoder, shards.folder, vocabulary=shards.vocabulary, width=model.width, layers=model.layers,
            max_tokens=model.max_tokens, tied=None if model.head is None else model.head == "tied", dropout=model.dropout,
            seed=settings.loop.seed,
        )  # fmt: skip
        content = model.encoder if model.is_made_here else _content(self.loaded.model)
        self.data = MaskedData(settings, shards, self.loaded, warmups)
        self.masked = MaskedLM(self.loaded.model, model.max_tokens, self.device)
        self.use_bfloat16 = uses_bfloat16(model.precision, self.masked, self.device)
        self.masked.use_bfloat16 = self.use_bfloat16
        self.trunk, self.plan = self.masked, self.data.plan
        self.modules = nn.ModuleDict({"model": self.masked})
        self.num_steps = self.data.num_steps
        self._budget = settings.task.micro_batch_tokens or (
            GPU_TOKENS if self.device.type == "cuda" else CPU_TOKENS
        )
        self.branch_at = self._stable(self.num_steps)
        self.identity = self._identity(content)
        self._choose_trained()
        self.probe = MaskedProbe(self.masked, self.data, self._budget, model.pooling or "mean")
        rate = operations_per_second(self.masked.base, self._budget, bfloat16=self.use_bfloat16)
        self.utilisation = Utilisation(rate, self.device)

    def batch(self, step: int, rows: np.ndarray) -> MaskedBatch:
        """The sequences of this rank, masked."""
        by_length = self.masked.form == "row"
        parts = self.data.batch(step, *rank_and_world_size(), self._budget, by_length=by_length)
        return MaskedBatch(parts=parts, operations=sum(operations(self.masked, part) for part in parts))

    def forward(self, batch: MaskedBatch, progress: float, trunk: nn.Module) -> StepOutput:
        """The mean cross-entropy of the masked tokens of the global batch.

        All parts but the last are differentiated here, without a reduction over ranks; the loss has the value of all of them and
        the gradient of the last.
        """
        world_size = rank_and_world_size()[1]
        self.stopwatch.to("count")
        masked = torch.tensor(sum(len(part.targets) for part in batch.parts), device=self.device)
        count = masked.clone()
        sum_over_ranks(count)
        scale = world_size / count.clamp_min(1)
        losses, rights = [], []
        for number, part in enumerate(batch.parts):
            is_last = number == len(batch.parts) - 1
            self.stopwatch.to("forward")
            with _unsynchronised(trunk) if not is_last else nullcontext():
                loss, right = trunk(part)
                loss = loss * scale
                if not is_last:
                    self.stopwatch.to("backward")
                    loss.backward()
            losses.append(loss)
            rights.append(right)
        before = torch.stack(losses).detach()[:-1].sum()
        tokens = sum(len(part.tokens.ids) for part in batch.parts)
        return StepOutput(
            loss=losses[-1] + before,
            means={"masked_accuracy": torch.stack(rights).sum() * scale},
            sums={"tokens": torch.tensor(tokens, device=self.device), "masked_tokens": masked},
            observed={"operations": torch.tensor(batch.operations, dtype=torch.float64)},
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        """By depth and weight decay."""
        own = [p for p in self.masked.parameters() if p.requires_grad]
        return groups_by_depth(self.masked, own, self.settings.peak_learning_rate, self.settings.optimizer)

    def facts(self, step: int) -> Mapping[str, float]:
        """Sequences of the step, their length, and their share of text."""
        found = {"sequences": self.data.plan.size(step), "max_tokens": self.data.length(step)}
        return {
            **found,
            "text_share": self.data.packing.text_share,
            "tokens_seen": self.tokens_seen(step + 1),
        }

    def tokens_seen(self, steps: int) -> float:
        """Positions with text in the first steps of the run."""
        return self.data.plan.start(steps) * self.data.positions

    def watches(self) -> Sequence[Watch]:
        """Model FLOP utilisation."""
        self.utilisation.begin()
        return (self.utilisation,)

    def save(self, folder: Path) -> None:
        """The encoder, the model with its head, settings, and where it is from."""
        model = self.settings.model
        limit = model.max_tokens if model.is_made_here else None
        notes = {
            "start": SCRATCH if model.is_made_here else model.encoder, "tokens": round(self.tokens_seen(self.num_steps)),
            "text": self.shards.fingerprint, "steps": self.num_steps, "settings": self.settings.to_dict(),
        }  # fmt: skip
        if not model.is_made_here and is_file(before := Path(model.encoder) / FROM_HERE):
            earlier = read_json(before)
            notes |= {
                "start": earlier["start"],
                "tokens": notes["tokens"] + earlier["tokens"],
                "before": earlier,
            }
        save_masked_lm(self.masked, self.loaded, folder, pooling=model.pooling, max_tokens=limit, notes=notes)
        write_json(folder / "settings.json", self.settings.to_dict())
        write_config(folder / FILE, self.settings, AGAIN)  # a longer run than it began as

    def is_saved(self, folder: Path) -> bool:
        """Whether the encoder and the model are there."""
        files = ("modules.json", FROM_HERE, f"{HEAD}/config.json")
        return all((folder / file).exists() for file in files)

    def shares(self, identity: Mapping[str, Any], done: int) -> bool | None:
        """Another number of steps is the same run until its learning rate, or that of the other, falls."""
        other = identity.get("num_steps")
        if self.branch_at is None or other == self.num_steps or not isinstance(other, int):
            return None
        return done <= min(self.branch_at, self._stable(other) or 0)

    def restored(self, identity: Mapping[str, Any]) -> Mapping[str, Any]:
        """Where the precision is ours to choose, a CPU goes on in the one that the run began in."""
        began_in = identity.get("precision")
        if self.settings.model.precision == "auto" and self.device.type == "cpu" and began_in:
            self.use_bfloat16 = self.masked.use_bfloat16 = began_in == "bfloat16"
            self.identity = {**self.identity, "precision": began_in}
        return identity

    def _stable(self, num_steps: int) -> int | None:
        """The last step before the learning rate falls."""
        optimizer = self.settings.optimizer
        if optimizer.schedule != "wsd":
            return None
        return num_steps - max(1, round((optimizer.decay_share or DECAY_SHARE) * num_steps))

    def _identity(self, content: str) -> dict[str, Any]:
        apart = {*RESUMABLE_SETTINGS, *RESOLVED_SETTINGS}
        return {
            **{name: value for name, value in self.settings.to_dict().items() if name not in apart},
            "data": self.shards.fingerprint, "encoder": content, "num_steps": self.num_steps,
            "learning_rate": self.settings.peak_learning_rate, "warmups": asdict(self.data.warmups),
            "precision": "bfloat16" if self.use_bfloat16 else "float32",
        }  # fmt: skip

    def _choose_trained(self) -> None:
        """Only what a loss depends on gets a gradient, for DDP would wait for it."""
        if (num := self.settings.optimizer.freeze_layers) is not None:
            freeze_layers(self.masked, num)
        parts = self.data.batch(0, 0, 1, 1, by_length=self.masked.form == "row")
        trained = reached(self.masked(parts[0])[0])
        for parameter in self.masked.parameters():
            parameter.requires_grad_(parameter in trained)


def _unsynchronised(trunk: nn.Module) -> Any:
    return trunk.no_sync() if isinstance(trunk, DistributedDataParallel) else nullcontext()


def _content(model: nn.Module) -> str:
    """16 hex digits of the weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def pretrain_text(
    settings: PretrainSettings,
    shards: TokenShards,
    output: Path,
    report: Report,
    *,
    device: str | torch.device | None = None,
    resume: bool = False,
    say: Callable[[str], None] = quiet,
    **options: Any,
) -> bool:
    """Pre-train a masked language model on shards of text, and save it in `output` as an encoder.

    Args:
        settings: the run.
        shards: its text.
        output: takes the model and `checkpoints/`; the same folder on all ranks.
        report: takes metrics.
        device: as `MaskedLanguageStage` takes it.
        resume: go on from the newest checkpoint. With the wsd schedule the number of steps may be another than it was: the run goes
            on from before its learning rate fell, with the warm-ups that it had.
        say: takes what was decided for the user, and warnings.
        options: those of `run.loop.train`.

    Returns:
        Whether the model is there: false if the run was stopped.

    Raises:
        UserError: as `MaskedLanguageStage` and `run.loop.train`.
    """
    warmups = None
    if resume and settings.optimizer.schedule == "wsd":
        stored = newest_settings(output / CHECKPOINTS).get("warmups")
        warmups = Warmups(**stored) if stored else None
    stage = MaskedLanguageStage(settings, shards, device, warmups)
    if rank_and_world_size()[0] == 0 and not (output / FILE).exists():  # a run that is refused keeps its own
        output.mkdir(parents=True, exist_ok=True)
        write_config(output / FILE, settings, AGAIN)
        for line in stage.loaded.notes:
            say(line)
    optimizer = settings.with_warmup_steps(stage.data.warmups.learning_rate).optimizer
    return train(
        stage, optimizer, settings.loop.settings(stage.num_steps), output, report, resume=resume, say=say, probe=stage.probe,
        probe_at=evaluated_steps(settings, stage.num_steps), **options,
    )  # fmt: skip


def evaluated_steps(settings: PretrainSettings, num_steps: int) -> set[int]:
    """After which steps held-out documents are measured; the last among them."""
    every = settings.task.evaluate_every or max(1, round(num_steps / EVALUATIONS))
    return {*range(every, num_steps, every), num_steps}
