"""Masked-language-model pre-training, 4 layers of 256, sequences of 256: against bare products and against transformers' Trainer.

Documents are pieces of Python code, of about 96 tokens, some of 20, some of 256 and more.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np

from tempembed.settings.flat import changed
from tempembed.settings.pretrain import PretrainSettings

CASE = PretrainSettings.of(
    width=256, layers=4, max_tokens=256, batch_tokens=16_384, head="tied", held_out=0, log_every=1, checkpoint_every=10**9,
    checkpoint_minutes=0.0, warmup_steps=1,
)  # fmt: skip
MEAN, SPREAD = 96, 0.5
"""Tokens of a document, and the spread of their logarithm."""
VOCABULARY = 8192
NUM_TOKENS = 600_000
SKIP = 1
"""First steps, which do not count where there are others."""
VARIANTS = ("floor", "ours", "ours_full_head", "peer", "floor_auto", "ours_auto", "ours_full_head_auto")
"""`auto`: the precision that is chosen, else float32; `full_head`: the head at all places, as the model's own forward has it."""


def main() -> None:
    """Print what one variant gave as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch-tokens", type=int, default=CASE.task.batch_tokens)
    print(json.dumps(measure(**vars(parser.parse_args()))))


def apart(variant: str, steps: int) -> dict[str, float]:
    """`measure` in a new process that sees no GPU."""
    command = [sys.executable, "-m", "benchmarks.pretrain", variant, "--steps", str(steps)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure(variant: str, steps: int, batch_tokens: int) -> dict[str, float]:
    """Tokens/s of a variant, padding not counted, and what else it knows."""
    precision: Any = "auto" if variant.endswith("_auto") else "float32"
    settings = changed(CASE, steps=max(1, steps), precision=precision, batch_tokens=batch_tokens)
    with tempfile.TemporaryDirectory() as at:
        shards = toy_corpus(Path(at) / "shards")
        if variant.startswith("floor"):
            return floor(settings, shards)
        if variant == "peer":
            return peer(settings, shards)
        return ours(settings, shards, Path(at) / "run", masked_only="full_head" not in variant)


def toy_corpus(folder: Path) -> Any:
    """Shards of transformers' code."""
    import transformers

    from tempembed.encoders.tokenizer import END, MASK, PAD, START, UNKNOWN, train_tokenizer
    from tempembed.inputs.token_shards import TokenShards, write_manifest, write_shard

    folder.mkdir()
    files = sorted((Path(transformers.__file__).parent / "models").glob("[a-e]*/modeling_*.py"))
    texts = [path.read_text(encoding="utf-8") for path in files[:60]]
    tokenizer = train_tokenizer(texts, VOCABULARY)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=START,
        sep_token=END,
        mask_token=MASK,
    )
    fast.save_pretrained(folder)
    ids = np.concatenate([tokenizer.encode(text, add_special_tokens=False).ids for text in texts])[
        :NUM_TOKENS
    ]
    draw = np.random.default_rng(0).lognormal(np.log(MEAN) - SPREAD**2 / 2, SPREAD, NUM_TOKENS // 40)
    ends = np.cumsum(np.maximum(5, draw.astype(int)))
    documents = np.split(ids, ends[ends < len(ids)])
    write_shard(folder, 0, documents, len(fast))
    write_manifest(folder, vocabulary=len(fast), fingerprint="benchmark")
    return TokenShards.open(folder)


def ours(settings: PretrainSettings, shards: Any, folder: Path, *, masked_only: bool) -> dict[str, float]:
    """Our loop; a report is made at each step."""
    from tempembed.run.loop import train
    from tempembed.stages.masked_language import MaskedLanguageStage

    folder.mkdir()
    stage = MaskedLanguageStage(settings, shards, "cpu")
    stage.masked.masked_only = masked_only
    reports: list[dict[str, Any]] = []
    optimizer = settings.with_warmup_steps(stage.data.warmups.learning_rate).optimizer
    train(stage, optimizer, settings.loop.settings(stage.num_steps), folder, reports.append)
    seconds = np.diff([0.0, *(report["train/seconds"] for report in reports)])[min(SKIP, len(reports) - 1) :]
    last = reports[-1]
    times = {name: value for name, value in last.items() if name.startswith("time/")}
    return {
        "tokens_per_second": last["train/tokens_per_step"] / float(np.median(seconds)), "mfu": last["train/mfu"],
        "text_share": last["train/text_share"], "data_share": times["time/data"] / sum(times.values()),
        "first_loss": reports[0]["train/loss"], "last_loss": last["train/loss"],
    }  # fmt: skip


def floor(settings: PretrainSettings, shards: Any) -> dict[str, float]:
    """Tokens/s if a step were its counted operations alone, at the rate of bare products."""
    from tempembed.stages.masked_language import MaskedLanguageStage

    stage = MaskedLanguageStage(settings, shards, "cpu")
    batch = stage.batch(0, stage.plan.rows(0))
    tokens = sum(len(part.tokens.ids) for part in batch.parts)
    rate = stage.utilisation.rate
    return {
        "tokens_per_second": rate * tokens / batch.operations, "flop_per_token": batch.operations / tokens,
        "flop_per_second": rate, "is_bfloat16": float(stage.use_bfloat16),
    }  # fmt: skip


def peer(settings: PretrainSettings, shards: Any) -> dict[str, float]:
    """transformers' Trainer and its collator with their defaults: as many tokens a step, a document a line, padded."""
    from transformers import (
        AutoTokenizer,
        DataCollatorForLanguageModeling,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from tempembed.encoders.load_masked_lm import masked_lm

    model, length = settings.model, settings.model.max_tokens
    loaded = masked_lm(
        model.encoder, shards.folder, vocabulary=shards.vocabulary, width=model.width, layers=model.layers,
        max_tokens=length, tied=model.head == "tied", seed=settings.loop.seed,
    )  # fmt: skip
    rows = np.arange(len(shards))
    tokens = shards.spans(rows, np.zeros_like(rows), np.minimum(shards.lengths, length - 2))
    texts = np.split(tokens.ids, tokens.offsets[1:-1])
    examples = [{"input_ids": [*loaded.before, *ids.tolist(), *loaded.after]} for ids in texts if len(ids)]
    counts, times = list[int](), list[float]()
    collate = DataCollatorForLanguageModeling(
        AutoTokenizer.from_pretrained(shards.folder), mlm_probability=settings.task.mask_share
    )

    def counted(batch: Any) -> Any:
        counts.append(sum(len(example["input_ids"]) for example in batch))
        return collate(batch)

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: object, **__: object) -> None:
            times.append(time.perf_counter())

    mean = sum(len(example["input_ids"]) for example in examples) / len(examples)
    with tempfile.TemporaryDirectory() as at:
        arguments = TrainingArguments(
            output_dir=at, per_device_train_batch_size=round(settings.task.batch_tokens / mean), max_steps=settings.loop.steps,
            learning_rate=settings.peak_learning_rate, optim="adamw_torch_fused", report_to="none", use_cpu=True,
            save_strategy="no", logging_strategy="steps", logging_steps=1, disable_tqdm=True, seed=0,
        )  # fmt: skip
        dataset: Any = _Examples(examples)
        trainer = Trainer(
            model=loaded.model,
            args=arguments,
            data_collator=counted,
            train_dataset=dataset,
            callbacks=[Clock()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    times.append(time.perf_counter())
    rates = np.array(counts[: len(times) - 1]) / np.diff(times)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "tokens_per_second": float(np.median(rates[min(SKIP, len(rates) - 1) :])), "first_loss": losses[0], "last_loss": losses[-1],
    }  # fmt: skip


class _Examples:
    """A dataset of torch, of a list."""

    def __init__(self, examples: list[dict[str, list[int]]]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, at: int) -> dict[str, list[int]]:
        return self._examples[at]

    def __iter__(self) -> Iterator[dict[str, list[int]]]:
        return iter(self._examples)


if __name__ == "__main__":
    main()
