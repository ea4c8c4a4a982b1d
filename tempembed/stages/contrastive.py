"""Contrastive training on pairs: the stage that `tempembed train` runs."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tempembed.encoders.adapter_folder import FOLDER, save_adapter
from tempembed.encoders.encoder import Encoder
from tempembed.encoders.layers import checkpoint_activations, freeze_layers, layers_of, transformers_of
from tempembed.encoders.precision import uses_bfloat16
from tempembed.encoders.reached import reached
from tempembed.encoders.saved import save_checked
from tempembed.objectives.term import Terms
from tempembed.parallel.device import device_of_process
from tempembed.parallel.gather import rank_and_world_size
from tempembed.run.loop import Report, train
from tempembed.run.stage import Stage, StepOutput, Watch
from tempembed.run.watches import NegativeInfluence, NonFinite, SourceLoss, Spectrum
from tempembed.settings.config import FILE, write_config
from tempembed.settings.train import TrainSettings
from tempembed.stages.groups import groups_by_depth
from tempembed.stages.identity import Facts, count_steps, restored_identity, run_identity
from tempembed.stages.initial_encoder import initial_encoder
from tempembed.stages.pair_data import PairBatch, PairData
from tempembed.stages.pair_step import PairStep
from tempembed.stages.prepared import Prepared
from tempembed.system.atomic import write_json
from tempembed.system.cache import cache_dir
from tempembed.system.errors import UserError
from tempembed.system.names import source_metrics


class ContrastiveStage(Stage):
    """An encoder, the pairs that it learns from, and an objective.

    Args:
        settings: the run.
        prepared: its data.
        device: default the GPU of this process; the CPU where there is none, or where ranks talk over gloo.
        encoder: as `prepare_with_encoder` gave it; default: made, or loaded, anew.
        shard: it will be sharded over ranks, and stays on the CPU until then.

    Raises:
        UserError: the model is not the one that the data was prepared with, an objective that does not fit it.
    """

    unit = "pairs"
    if_no_gradient = "does every text of the batch have the same partner, so that no negative is left?"

    def __init__(
        self,
        settings: TrainSettings,
        prepared: Prepared,
        device: str | torch.device | None = None,
        encoder: Encoder | None = None,
        *,
        shard: bool = False,
    ) -> None:
        super().__init__()
        torch.manual_seed(settings.loop.seed)
        self.settings = settings
        self.encoder = encoder or initial_encoder(settings, prepared)
        self.device = torch.device(device) if device else device_of_process()
        if not shard:  # else part by part, as it is sharded
            self.encoder.to(self.device)
        self.encoder.use_bfloat16 = uses_bfloat16(settings.model.precision, self.encoder, self.device)
        if self.encoder.input_fingerprint() != prepared.meta["input_fingerprint"]:
            raise UserError(
                f"--encoder {settings.model.encoder}: expected the tokenizer, prompts and limits that the data was prepared with, got others: "
                "the model was changed meanwhile; give the same command again"
            )
        objective = settings.loss.resolved(self.encoder.width)
        self.step = PairStep(
            self.encoder, objective,
            micro_batch_tokens=settings.batches.micro_batch_tokens, gradient_cache=settings.batches.gradient_cache,
        )  # fmt: skip
        self.step.temperatures.to(self.device)
        self.data = PairData(settings, prepared, self.device)
        self.use_bfloat16 = self.encoder.use_bfloat16
        self.plan, self.trunk = self.data.plan, self.encoder
        self.modules = nn.ModuleDict({"encoder": self.encoder, "temperatures": self.step.temperatures})
        self._facts = Facts.of(prepared, settings, self.encoder)
        self.num_steps = count_steps(settings, self._facts)
        self.identity: dict[str, Any] = run_identity(
            settings, self._facts, bfloat16=self.encoder.use_bfloat16
        )
        self._choose_trained()
        if settings.batches.gradient_checkpointing:
            checkpoint_activations(self.encoder)

    @property
    def terms(self) -> Terms:
        """Terms of the objective."""
        return self.step.objective.terms

    def batch(self, step: int, rows: np.ndarray) -> PairBatch:
        """The pairs of these rows."""
        return self.data.batch(step, rows)

    def forward(self, batch: PairBatch, progress: float, trunk: nn.Module) -> StepOutput:
        """The step that `PairStep` takes."""
        return self.step(batch, progress, trunk, self.stopwatch)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups of the towers' parameters, by rate; learned temperatures have theirs, and no weight decay."""
        groups, seen = [], set[int]()
        for tower in self.encoder.towers().values():
            own = [p for p in tower.parameters() if p.requires_grad and id(p) not in seen]
            seen |= set(map(id, own))
            is_of_pictures = tower.modalities == {"image"}
            peak = (
                self.settings.peak_image_learning_rate
                if is_of_pictures
                else self.settings.peak_learning_rate(is_table=tower.is_table)
            )
            groups += groups_by_depth(tower, own, peak, self.settings.optimizer)
        if self.step.temperatures.is_learned:
            rate = self.settings.loss.temperature_learning_rate
            learned = list(self.step.temperatures.parameters())
            groups.append({"params": learned, "peak": rate, "weight_decay": 0.0})
        return groups

    def after_step(self) -> None:
        """Learned temperatures go back between their bounds."""
        self.step.temperatures.clamp()

    def facts(self, step: int) -> Mapping[str, float]:
        """Rows that share a text with another of their batch."""
        return {"repeats_per_epoch": self.data.repeats(step)}

    def blocks(self) -> Sequence[nn.Module]:
        """The layers of the transformer."""
        transformers = transformers_of(self.encoder, "--shard")
        if len(transformers) > 1:
            raise UserError(
                "--shard: expected one transformer for both roles, got a tower for each, whose layers would not be gathered by all "
                "ranks at once; leave --shard out"
            )
        return layers_of(transformers[0])  # type: ignore[return-value]

    def about(self) -> Mapping[str, Any]:
        """The fixed temperatures, by the label of their terms; those that move are metrics."""
        return {"temperatures": {term.label: term.temperature for term in self.terms if not term.course}}

    def watches(self) -> Sequence[Watch]:
        """Values that are not finite, the spectrum of documents, the influence of negatives."""
        names = [*map(str, self.terms), *(f"regulariser {each}" for each in self.step.objective.regularisers)]
        describe = partial(self.data.describe, world_size=rank_and_world_size()[1])
        sources = source_metrics(self.data.source_names)
        return (
            NonFinite(names, describe, self.device),
            Spectrum(self.encoder.width, self.plan.global_batch_size),
            NegativeInfluence(),
            *([SourceLoss(sources, self.device)] if sources else []),
        )

    def save(self, folder: Path) -> None:
        """The model, for sentence-transformers, and its settings."""
        model = self.settings.model
        save_checked(self.encoder, folder, getattr(torch, model.save_dtype), cache_dir() / "checked")
        if self.encoder.adapter_base:
            save_adapter(self.encoder, folder / FOLDER)
        write_json(folder / "settings.json", self.settings.to_dict())

    def is_saved(self, folder: Path) -> bool:
        """Whether the model is there."""
        return (folder / "modules.json").exists()

    def restored(self, identity: Mapping[str, Any]) -> Mapping[str, Any]:
        """The identity that an earlier version of us wrote, resolved as it would be here.

        Where the precision is ours to choose, a CPU goes on in the one that the run began in.
        """
        found = restored_identity(identity, self._facts)
        began_in = found.get("precision")
        if self.settings.model.precision == "auto" and self.device.type == "cpu" and began_in:
            self.encoder.use_bfloat16 = began_in == "bfloat16"
            self.identity["precision"] = began_in
        return found

    def _choose_trained(self) -> None:
        """Only what is to be trained gets a gradient: not what no embedding depends on (a pooler, for one), as DDP would wait for it."""
        if (num := self.settings.optimizer.freeze_layers) is not None:
            freeze_layers(self.encoder, num)
        trained = reached(self.encoder(self.data.inputs(np.arange(2))))
        for parameter in self.encoder.parameters():
            parameter.requires_grad_(parameter in trained)
        if not trained:
            raise UserError(
                "--freeze-layers: expected something to be left that is trained, got nothing; lower it"
            )


def train_pairs(
    settings: TrainSettings,
    prepared: Prepared,
    output: Path,
    report: Report,
    *,
    probe: Callable[[Encoder], Mapping[str, float]] | None = None,
    device: str | torch.device | None = None,
    encoder: Encoder | None = None,
    shard: bool = False,
    **options: Any,
) -> bool:
    """Train an encoder on prepared pairs and save it in `output`.

    Args:
        settings: the run.
        prepared: its data.
        output: takes the model and `checkpoints/`; the same folder on all ranks.
        report: takes metrics.
        probe: measures the encoder in mid-training.
        device: as `ContrastiveStage` takes it.
        encoder: as `ContrastiveStage` takes it.
        shard: keep a part of the weights on each rank, where there are several.
        options: those of `run.loop.train`.

    Returns:
        Whether the model is there: false if the run was stopped.

    Raises:
        UserError: as `ContrastiveStage` and `run.loop.train`.
    """
    shard = shard and rank_and_world_size()[1] > 1
    stage = ContrastiveStage(settings, prepared, device, encoder, shard=shard)
    stage.parameter_groups()  # what cannot be trained is said before anything is written
    if (
        rank_and_world_size()[0] == 0 and not (output / FILE).exists()
    ):  # of a run that is resumed, if it may be
        output.mkdir(parents=True, exist_ok=True)
        write_config(
            output / FILE, settings, "tempembed train --config run.yaml --output ... is this run again"
        )
    measure = partial(probe, stage.encoder) if probe else None
    return train(
        stage, settings.optimizer, settings.loop, output, report, probe=measure, shard=shard, **options
    )
