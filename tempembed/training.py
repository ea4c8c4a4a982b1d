"""The training loop. It knows neither Ray nor MLflow: it reports through a function that it is given."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from tempembed.checkpoint import load_checkpoint, save_checkpoint
from tempembed.data.batches import BatchPlan
from tempembed.errors import UserError
from tempembed.losses.contrastive import contrastive_loss
from tempembed.parallel.gather import rank_and_world_size
from tempembed.prepare import Prepared, initial_encoder
from tempembed.settings import TrainSettings

Report = Callable[[dict[str, Any]], None]
"""Takes the metrics of a step; all ranks call it at the same steps."""


class NonFiniteLossError(UserError):
    """The loss became NaN or infinite."""


def train(
    settings: TrainSettings,
    prepared: Prepared,
    output: Path,
    report: Report,
    *,
    resume: bool = False,
    stop_after: int | None = None,
) -> Path:
    """Train and save a sentence-transformers model in `output`; a pure function of settings, data and world size.

    All ranks of a process group call it with the same arguments. Batches depend on (seed, epoch, position)
    only, randomness inside a step on (seed, step, rank) only, so a run that was stopped after a checkpoint
    and resumed ends with the same bits as one that was not.

    Args:
        settings: the run.
        prepared: its data.
        output: takes the model and `checkpoints/`; the same folder on all ranks.
        report: called every `log_every` steps and after the last with the step's metrics.
        resume: go on from the newest checkpoint in `output`, if there is one.
        stop_after: stop at this step as if interrupted, with a checkpoint and without a model.

    Raises:
        NonFiniteLossError: names the step and the term.
        UserError: a batch that does not divide over the ranks, a checkpoint of other settings.
    """
    rank, world_size = rank_and_world_size()
    torch.manual_seed(settings.seed)
    encoder = initial_encoder(settings, prepared)
    device = _device()
    encoder.model.to(device)
    terms = settings.resolved_terms(encoder.width)
    weights = torch.tensor([term.weight for term in terms], device=device)
    queries, documents, negatives = prepared.queries, prepared.documents, prepared.hard_negatives
    has_negative = prepared.has_negative
    plan = BatchPlan(num_rows=len(queries), global_batch_size=settings.batch_size, seed=settings.seed)
    num_steps = settings.steps or max(1, round(settings.epochs * plan.steps_per_epoch))
    checkpoint_every = settings.checkpoint_every or plan.steps_per_epoch
    optimizer = torch.optim.AdamW(
        encoder.parameters(),
        lr=settings.resolved_learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    identity = {**settings.to_dict(), "world_size": world_size, "num_steps": num_steps}
    folder = output / "checkpoints"
    start = load_checkpoint(folder, encoder, optimizer, identity) if resume else 0
    model = DistributedDataParallel(encoder, gradient_as_bucket_view=True) if world_size > 1 else encoder
    encoder.train()
    began = time.monotonic()
    step = start
    for step in range(start, num_steps if stop_after is None else min(stop_after, num_steps)):
        torch.manual_seed((settings.seed * 1_000_003 + step) * 1_009 + rank)
        rows = plan.rows(step, rank, world_size)
        columns = [tokens.select(rows) for tokens in (queries, documents, *negatives)]
        query_BD, document_BD, *negative_BD = model(columns)
        losses_T = contrastive_loss(
            query_BD,
            document_BD,
            terms,
            hard_negatives_NBD=torch.stack(negative_BD) if negative_BD else None,
            has_negative_NB=None
            if has_negative is None
            else torch.from_numpy(has_negative[:, rows]).to(device),
            symmetric=settings.symmetric,
        )
        global_T = _mean_over_ranks(losses_T.detach())
        _check_finite(global_T, terms, step)
        (losses_T * weights).sum().backward()
        norm = torch.nn.utils.clip_grad_norm_(
            encoder.parameters(), settings.max_grad_norm or torch.inf, error_if_nonfinite=False
        )
        rate = settings.resolved_learning_rate * _schedule(step, num_steps, settings.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        done = step + 1
        if done % settings.log_every == 0 or done == num_steps:
            seconds = time.monotonic() - began
            report(
                {
                    "step": done,
                    "num_steps": num_steps,
                    "epoch": done / plan.steps_per_epoch,
                    "train/loss": (global_T * weights).sum().item(),
                    **{
                        f"train/loss/dim_{t.dim}_temperature_{t.temperature:g}": value
                        for t, value in zip(terms, global_T.tolist(), strict=True)
                    },
                    "train/learning_rate": rate,
                    "train/grad_norm": norm.item(),
                    "train/pairs_per_second": (done - start) * settings.batch_size / seconds,
                    "train/seconds_left": seconds / (done - start) * (num_steps - done),
                }
            )
        if rank == 0 and done < num_steps and (done % checkpoint_every == 0 or done == stop_after):
            save_checkpoint(folder, done, encoder, optimizer, identity)
    if rank == 0 and (stop_after is None or stop_after >= num_steps):
        encoder.save(output)
        (output / "settings.json").write_text(json.dumps(settings.to_dict(), indent=1))
    if world_size > 1:
        dist.barrier()
    return output


def _device() -> torch.device:
    """The GPU of this process; the CPU where there is none, or where ranks talk over gloo."""
    over_gloo = dist.is_available() and dist.is_initialized() and dist.get_backend() == "gloo"
    return torch.device("cuda" if torch.cuda.is_available() and not over_gloo else "cpu")


def _mean_over_ranks(losses_T: Tensor) -> Tensor:
    _, world_size = rank_and_world_size()
    if world_size > 1:
        dist.all_reduce(losses_T)
        losses_T /= world_size
    return losses_T


def _check_finite(losses_T: Tensor, terms: Any, step: int) -> None:
    finite = losses_T.isfinite()
    if not finite.all():
        index = int(finite.long().argmin())
        raise NonFiniteLossError(
            f"step {step + 1}: expected a finite loss, got {losses_T[index].item()} for the term {terms[index]}; "
            "lower --learning-rate, raise the temperature, or look for damaged data"
        )


def _schedule(step: int, num_steps: int, warmup: float) -> float:
    """Linear rise over the first `warmup` of the steps, then linear fall to zero."""
    rising = max(1, round(warmup * num_steps))
    if step < rising:
        return (step + 1) / rising
    return (num_steps - step) / max(1, num_steps - rising)
