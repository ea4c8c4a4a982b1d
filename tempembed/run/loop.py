"""The training loop. It knows neither Ray nor MLflow: it reports through a function that it is given."""

import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tempembed.encoders.encoder import Encoder
from tempembed.encoders.saved import save_checked
from tempembed.geometry.negatives import training_influence
from tempembed.geometry.streaming import SpectrumWatch
from tempembed.inputs.batches import BatchPlan
from tempembed.inputs.tokens import Tokens
from tempembed.losses.contrastive import Loss, TextIds, contrastive_loss
from tempembed.losses.temperature import Temperatures
from tempembed.objectives.objective import Hardness
from tempembed.parallel.gather import gather_seconds, rank_and_world_size
from tempembed.parallel.gradient_cache import cached_forward
from tempembed.run.checkpoint import disk_warning, load_checkpoint, remove_partial, save_checkpoint
from tempembed.run.nonfinite import NonFiniteWatch
from tempembed.run.stopwatch import Stopwatch
from tempembed.settings.places import cache_dir
from tempembed.settings.train import TrainSettings
from tempembed.stages.identity import Facts, count_steps, differences, restored_identity, run_identity
from tempembed.stages.prepare import Prepared, initial_encoder
from tempembed.system.atomic import write_json
from tempembed.system.disk import room_for
from tempembed.system.errors import UserError
from tempembed.system.memory import keep_freed_memory
from tempembed.system.untrusted import read_json

Report = Callable[[dict[str, Any]], None]
"""Takes the metrics of a step; all ranks call it at the same steps."""
TRAINED = "trained.json"
"""Written after the model: what it is the model of."""


class StepData:
    """The training texts as tokens and ids, read once; gives a rank its part of a step."""

    def __init__(self, settings: TrainSettings, prepared: Prepared, device: torch.device) -> None:
        self.columns = [prepared.queries, prepared.documents, *prepared.hard_negatives]
        self.num_negatives = len(self.columns) - 2
        has = prepared.has_negative
        self._has_negative = None if has is None or has.all() else has
        self._ids, self._device = prepared.text_ids, device
        answers, askers = prepared.answers, prepared.askers
        swapped = settings.direction == "document-to-query"
        self._asking, self._partners = ("document", askers) if swapped else ("query", answers)
        # that two rows of a batch without a text twice make a pair of a third asks for a text of several on both sides
        self._always_masks = bool(self.num_negatives or (len(answers) and len(askers)))
        sources = prepared.sources if settings.single_source else None
        self.plan = BatchPlan(
            num_rows=len(self.columns[0]), global_batch_size=settings.batch_size, seed=settings.seed,
            ids=(np.stack([self._ids["query"], self._ids["document"]]),), sources=sources,
        )  # fmt: skip
        self._repeats = (-1, 0)  # of an epoch

    def texts(self, rows: np.ndarray) -> Tokens:
        """Queries, then documents, then each column of hard negatives, without those that are absent."""
        pairs = [column.select(rows) for column in self.columns[:2]]
        present = self._present(rows)
        negatives = (column.select(rows[has]) for column, has in zip(self.columns[2:], present, strict=True))
        return Tokens.concatenate([*pairs, *negatives])

    def by_role(self, embeddings_MD: Tensor, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor | None]:
        """Queries [B, D], documents [B, D] and hard negatives [N, B, D], 0 where absent, from those of `texts(rows)`."""
        batch = len(rows)
        sizes = [batch, batch, len(embeddings_MD) - 2 * batch]
        queries_BD, documents_BD, negatives_MD = embeddings_MD.split(sizes)
        if not self.num_negatives:
            return queries_BD, documents_BD, None
        shape = self.num_negatives, batch
        if len(negatives_MD) == self.num_negatives * batch:
            return queries_BD, documents_BD, negatives_MD.unflatten(0, shape)
        places = tuple(torch.from_numpy(place).to(self._device) for place in np.nonzero(self._present(rows)))
        # out of place, so that a rank without any takes part in the gathers' backward all the same
        placed_NBD = negatives_MD.new_zeros(*shape, negatives_MD.shape[1]).index_put(places, negatives_MD)
        return queries_BD, documents_BD, placed_NBD

    def has_negative(self, rows: np.ndarray) -> Tensor | None:
        """Bool [N, rows], or None where all rows of the data have all."""
        return None if self._has_negative is None else torch.from_numpy(self._present(rows)).to(self._device)

    def _present(self, rows: np.ndarray) -> np.ndarray:
        if self._has_negative is None:
            return np.ones((self.num_negatives, len(rows)), bool)
        return self._has_negative[:, rows]

    def ids(self, step: int, rows: np.ndarray) -> TextIds | None:
        """For the masks; None in an epoch whose batches hold nothing to mask."""
        if not (self._always_masks or self.repeats(step)):
            return None
        query, document, *negatives = (
            torch.from_numpy(ids[..., rows]).to(self._device) for ids in self._ids.values()
        )
        places, partners = (
            torch.from_numpy(found).to(self._device)
            for found in self._partners.lookup(self._ids[self._asking][rows])
        )
        return TextIds(
            queries_B=query, documents_B=document, hard_negatives_NB=negatives[0] if negatives else None,
            known=(places, partners),
        )  # fmt: skip

    def repeats(self, step: int) -> int:
        """Rows of the step's epoch that share a text with an earlier row of their batch; counted once an epoch."""
        epoch = step // self.plan.steps_per_epoch
        if self._repeats[0] != epoch:
            self._repeats = epoch, self.plan.repeats(epoch)
        return self._repeats[1]

    def describe(self, step: int, rank: int, text: int, world_size: int) -> str:
        """Which text of the training data it is."""
        rows = self.plan.rows(step, rank, world_size)
        is_there = np.concatenate([np.ones((2, len(rows)), bool), self._present(rows)])
        column, place = (found[text] for found in np.nonzero(is_there))
        name = ("query", "document", *(f"hard negative {k + 1}" for k in range(self.num_negatives)))[column]
        return f"the {name} of pair {rows[place] + 1} of the training data"


def embed(encoder: Encoder, model: nn.Module, texts: Tokens, settings: TrainSettings) -> Tensor:
    """Embeddings of a step's texts in their order; `model` is the encoder or its DDP wrapper."""
    budget = settings.micro_batch_tokens or encoder.micro_batch_tokens
    chunks = encoder.chunks(texts, budget, split=settings.gradient_cache)
    order = np.concatenate(chunks)
    in_order = bool((order == np.arange(len(order))).all())
    parts = [texts] if len(chunks) == 1 and in_order else [texts.select(rows) for rows in chunks]
    embeddings_MD = cached_forward(model, parts) if settings.gradient_cache else model(parts)
    return (
        embeddings_MD
        if in_order
        else embeddings_MD[torch.from_numpy(np.argsort(order)).to(embeddings_MD.device)]
    )


def train(
    settings: TrainSettings,
    prepared: Prepared,
    output: Path,
    report: Report,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    probe: Callable[[Encoder], dict[str, float]] | None = None,
    probe_at: Collection[int] = (),
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
    device: str | torch.device | None = None,
) -> bool:
    """Train and save a sentence-transformers model in `output`; a pure function of settings, data and world size.

    All ranks of a process group call it with the same arguments. Batches depend on (seed, epoch, position)
    only, randomness inside a step on (seed, step, rank) only, so a run that was stopped after a checkpoint
    and resumed ends with the same bits as one that was not. Resumed on another number of workers it sees the same
    batches and differs by rounding, and by dropout where there is any.

    Args:
        settings: the run.
        prepared: its data.
        output: takes the model and `checkpoints/`; the same folder on all ranks.
        report: called every `log_every` steps and after the last with the step's metrics. `time/*` are seconds a step
            since the last report, as `Stopwatch` counts them: data, encode, gather (forward), loss, backward (the second
            forward of a gradient cache and DDP's reduction included), optimizer, and report with checkpoints and probes.
        resume: go on from the newest checkpoint in `output`, if there is one; if the run is done, nothing is left to do.
        stop_after: stop at this step as if interrupted, with a checkpoint and without a model.
        probe: measures the encoder in mid-training; called on rank 0, its metrics join the step's report.
        probe_at: the steps after which it does.
        stop: asked at every report; once a rank's says yes, all ranks stop there, with a checkpoint and without a model.
        device: default the GPU of this process; the CPU where there is none, or where ranks talk over gloo.
        say: takes warnings: a disk that is nearly full, a checkpoint that is damaged.

    Returns:
        Whether the model is there: false if the run was stopped.

    Raises:
        NonFiniteLossError: names the step and the term.
        DiskFullError: no room for a checkpoint; those before it are whole.
        DamagedError: no checkpoint to resume from is whole.
        UserError: a batch that does not divide over the ranks, a checkpoint of other settings.
    """
    rank, world_size = rank_and_world_size()
    keep_freed_memory()
    torch.manual_seed(settings.seed)
    encoder = initial_encoder(settings, prepared)
    device = torch.device(device) if device else _device()
    encoder.to(device)
    encoder.use_bfloat16 = _bfloat16(settings, device)
    if encoder.input_fingerprint() != prepared.meta["input_fingerprint"]:
        raise UserError(
            f"--encoder {settings.encoder}: expected the tokenizer, prompts and limits that the data was prepared with, got others: "
            "the model was changed meanwhile; give the same command again"
        )
    terms = settings.resolved_terms(encoder.width)
    temperatures = Temperatures(terms).to(device)
    weights = torch.tensor([term.weight for term in terms], device=device)
    hardness = Hardness(beta=settings.beta, tau_plus=settings.tau_plus)
    data = StepData(settings, prepared, device)
    plan = data.plan
    facts = Facts.of(prepared, settings, encoder)
    num_steps = count_steps(settings, facts)
    checkpoint_every = settings.checkpoint_every or plan.steps_per_epoch
    _freeze_unused(encoder, data.texts(np.arange(2)))
    optimizer = _optimizer(settings, encoder, temperatures)
    trained = nn.ModuleDict({"encoder": encoder, "temperatures": temperatures})
    identity = run_identity(settings, facts, bfloat16=encoder.use_bfloat16)
    folder = output / "checkpoints"
    done_before = resume and _is_trained(output, identity, facts)
    _agree_on(num_steps if done_before else 0)
    if done_before:
        return True
    if rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        remove_partial(folder)
        if warning := disk_warning(folder, trained):
            say(warning)
    start = (
        load_checkpoint(
            folder, trained, optimizer, identity, say if rank == 0 else lambda line: None,
            restore=partial(restored_identity, facts=facts),
        )
        if resume
        else 0
    )  # fmt: skip
    _agree_on(start)
    if rank == 0:
        (output / TRAINED).unlink(missing_ok=True)
    # No module here has buffers that change; without a broadcast a forward is free of collectives
    model = (
        DistributedDataParallel(encoder, gradient_as_bucket_view=True, broadcast_buffers=False)
        if world_size > 1
        else encoder
    )
    watch = NonFiniteWatch(terms, device)
    spectrum = SpectrumWatch(encoder.width, settings.batch_size, _sum_over_ranks)
    encoder.train()
    began, masked = time.monotonic(), torch.zeros((), device=device)
    stopwatch = Stopwatch()
    done, has_warned = start, False
    for step in range(start, num_steps if stop_after is None else min(stop_after, num_steps)):
        stopwatch.to("data")
        torch.manual_seed((settings.seed * 1_000_003 + step) * 1_009 + rank)
        rows = plan.rows(step, rank, world_size)
        texts, ids, has_negative_NB = data.texts(rows), data.ids(step, rows), data.has_negative(rows)
        stopwatch.to("encode")
        embeddings_MD = embed(encoder, model, texts, settings)
        queries_BD, documents_BD, hard_negatives_NBD = data.by_role(embeddings_MD, rows)
        stopwatch.to("loss")
        temperatures_T, gathered = temperatures(step / num_steps), gather_seconds()
        loss = contrastive_loss(
            queries_BD, documents_BD, terms,
            temperatures_T=temperatures_T,
            hard_negatives_NBD=hard_negatives_NBD,
            has_negative_NB=has_negative_NB,
            ids=ids,
            direction=settings.direction,
            hardness=hardness,
        )  # fmt: skip
        stopwatch.credit("gather", gather_seconds() - gathered)
        watch.observe(step, embeddings_MD, loss.terms_T)
        spectrum.observe(step, documents_BD)
        masked += loss.num_masked
        stopwatch.to("backward")
        loss.objective.backward()
        temperatures.average_gradient()
        stopwatch.to("optimizer")
        norm = torch.nn.utils.clip_grad_norm_(
            encoder.parameters(), settings.max_grad_norm or torch.inf, error_if_nonfinite=False
        )
        slope = _schedule(step, num_steps, settings.warmup)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * slope
        optimizer.step()
        optimizer.zero_grad()
        temperatures.clamp()
        stopwatch.to("report")
        done = step + 1
        at_checkpoint = done < num_steps and (done % checkpoint_every == 0 or done == stop_after)
        at_probe = done in probe_at
        at_report = done % settings.log_every == 0 or done == num_steps or at_probe
        if at_checkpoint or at_report:
            watch.check(lambda step, rank, text: data.describe(step, rank, text, world_size))
        if at_report:
            if norm.item() == 0.0 and not has_warned:
                has_warned = True
                say(
                    f"step {done}: the gradient is zero, nothing is learned; does every text of the batch have the same partner, so "
                    "that no negative is left?"
                )
            global_T, masked_places, stopping, seconds = _over_ranks(
                loss, masked, stop(), time.monotonic() - began
            )
            probed = probe(encoder) if probe and at_probe and rank == 0 else {}
            report(
                {
                    "step": done,
                    "num_steps": num_steps,
                    "epoch": done / plan.steps_per_epoch,
                    **({"stopping": True} if stopping and done < num_steps else {}),
                    "train/loss": (global_T * weights).sum().item(),
                    **{
                        f"train/loss/{term.label}": value
                        for term, value in zip(terms, global_T.tolist(), strict=True)
                    },
                    **{
                        f"train/temperature/{terms[t].label}": temperatures_T[t].item()
                        for t in temperatures.moving
                    },
                    **spectrum.report(),
                    **training_influence(queries_BD, documents_BD),
                    **probed,
                    "train/masked_negatives_per_step": masked_places / (done - start),
                    "train/repeats_per_epoch": data.repeats(step),
                    "train/learning_rate": optimizer.param_groups[0]["lr"],
                    "train/grad_norm": norm.item(),
                    "train/seconds": seconds,
                    "train/pairs_per_second": (done - start) * settings.batch_size / seconds,
                    "train/seconds_left": seconds / (done - start) * (num_steps - done),
                    **{f"time/{phase}": mean for phase, mean in stopwatch.seconds_per_lap().items()},
                }
            )
        stopped = at_report and stopping and done < num_steps
        if rank == 0 and (at_checkpoint or stopped):
            save_checkpoint(folder, done, trained, optimizer, identity)
        if stopped:
            break
    if rank == 0 and done == num_steps:
        with room_for("model", output, sum(p.nbytes for p in encoder.parameters())):
            save_checked(encoder, output, getattr(torch, settings.save_dtype), cache_dir() / "checked")
            write_json(output / "settings.json", settings.to_dict())
            write_json(output / TRAINED, identity)
    if world_size > 1:
        dist.barrier()
    return done == num_steps


def _is_trained(output: Path, identity: dict[str, Any], facts: Facts) -> bool:
    """Whether the folder has the whole model of this run."""
    try:
        there = restored_identity(read_json(output / TRAINED), facts)
    except (UserError, TypeError):
        return False
    is_intact = {"data", "num_steps", "seed"} <= there.keys() and (output / "modules.json").exists()
    return is_intact and not differences(there, identity)


def _device() -> torch.device:
    """The GPU of this process; the CPU where there is none, or where ranks talk over gloo."""
    over_gloo = dist.is_available() and dist.is_initialized() and dist.get_backend() == "gloo"
    return torch.device("cuda" if torch.cuda.is_available() and not over_gloo else "cpu")


def _bfloat16(settings: TrainSettings, device: torch.device) -> bool:
    if settings.precision != "auto":
        return settings.precision == "bfloat16"
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def _freeze_unused(encoder: Encoder, texts: Tokens) -> None:
    """Parameters that no embedding depends on (a pooler's, for one) get no gradient; DDP would wait for theirs."""
    encoder([texts]).sum().backward()
    for parameter in encoder.parameters():
        parameter.requires_grad_(parameter.grad is not None)
    encoder.zero_grad()


def _optimizer(
    settings: TrainSettings, encoder: Encoder, temperatures: Temperatures
) -> torch.optim.Optimizer:
    """AdamW; `peak` is a group's highest learning rate. Learned temperatures have their own, and no weight decay."""
    groups: list[dict[str, Any]] = [
        {
            "params": [p for p in encoder.parameters() if p.requires_grad],
            "peak": settings.peak_learning_rate(is_table=encoder.takes_bags),
            "weight_decay": settings.weight_decay,
        }
    ]
    if temperatures.is_learned:
        rate = settings.temperature_learning_rate
        groups.append({"params": list(temperatures.parameters()), "peak": rate, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def _over_ranks(loss: Loss, masked: Tensor, stop: bool, seconds: float) -> tuple[Tensor, float, bool, float]:
    """Mean of the losses, sum of the masked places, whether any rank is to stop, mean of the seconds: alike on all ranks."""
    _, world_size = rank_and_world_size()
    own = [torch.full_like(masked, value, dtype=torch.float64) for value in (masked.item(), stop, seconds)]
    all_T = torch.cat([loss.terms_T.double(), torch.stack(own)])
    _sum_over_ranks(all_T)
    masked_places, stopping, seconds = all_T[-3:].tolist()
    return all_T[:-3] / world_size, masked_places, stopping > 0, seconds / world_size


def _agree_on(start: int) -> None:
    """Refuse to train where ranks found unlike checkpoints, on a file system that shows them unlike things."""
    _, world_size = rank_and_world_size()
    if world_size > 1:
        starts: list[Any] = [None] * world_size
        dist.all_gather_object(starts, start)
        if len(set(starts)) > 1:
            raise UserError(
                f"resume: expected all ranks to find the same checkpoint, got steps {starts} by rank; "
                "--output must be one file system for all"
            )


def _sum_over_ranks(tensor: Tensor) -> None:
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(tensor)


def _schedule(step: int, num_steps: int, warmup: float) -> float:
    """Linear rise over the first `warmup` of the steps, then linear fall to zero."""
    rising = max(1, round(warmup * num_steps))
    if step < rising:
        return (step + 1) / rising
    return (num_steps - step) / max(1, num_steps - rising)
