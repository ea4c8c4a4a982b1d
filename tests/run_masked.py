"""What tests run on ranks; a module of its own, for each process imports it anew."""

from pathlib import Path

from torch import Tensor

from tempembed.inputs.token_shards import TokenShards
from tempembed.run.steps import on_ranks
from tempembed.stages.masked_language import MaskedLanguageStage, pretrain_text


def losses_and_gradients(settings, shards, output) -> tuple[list[float], dict[str, Tensor]]:
    """Loss, accuracy, norm of the gradient and tokens of each step, whose model is in `output`; the gradient of the first."""
    reports: list = []
    pretrain_text(settings, TokenShards.open(Path(shards)), Path(output), reports.append)
    names = ("train/loss", "train/masked_accuracy", "train/grad_norm", "train/tokens_per_step")
    stage = MaskedLanguageStage(settings, TokenShards.open(Path(shards)))
    trunk = on_ranks(stage, shard=False)
    stage.forward(stage.batch(0, stage.plan.rows(0)), 0.0, trunk).loss.backward()
    gradient = {name: p.grad.clone() for name, p in stage.masked.named_parameters() if p.grad is not None}
    return [report[name] for report in reports for name in names], gradient
