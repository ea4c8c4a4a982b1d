"""A step of pictures with words: against the bare convolutions and products of its towers, and against a plain loop of the same towers.

Installed glyphs, 256 pairs, a convolution tower of 32 x 32 pixels and a static tower of words, 256 coordinates. All variants take
turns in one process, so that their ratios do not depend on what else the machine does; seconds are of the CPU and of the clock.

    python -m benchmarks.pictures float32
    python -m benchmarks.pictures auto --rounds 8
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tempembed.settings.flat import changed
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepare import prepare

BATCH, WIDTH = 256, 256
CASE = TrainSettings.of(data="installed-glyphs", width=WIDTH, batch_size=BATCH, direction="both", steps=500)
ONE, NINE = "infonce:0.1", "tempaggmrl"
"""Objectives: of one term, and of three widths at three temperatures."""
STEPS = 10
"""Of a turn, the metrics that the loop makes every so often with them."""
SCALE = (0.9, 1.0)
"""Area that open_clip's crop leaves of a picture, by its default."""
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's pictures."""
PRECISIONS = ("float32", "auto")
COMMAND = (
    "--data",
    "installed-glyphs",
    "--width",
    "256",
    "--batch-size",
    "256",
    "--direction",
    "both",
    "--steps",
    "500",
)
"""Of the run whose time is taken; its temperature and precision are the defaults."""

Step = Callable[[int], Tensor]
"""Takes a step's number, gives its loss."""


def main() -> None:
    """Print seconds a step of every variant, and the ratios, as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("precision", choices=(*PRECISIONS, "run"))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    found = whole_run() if arguments.precision == "run" else measure(arguments.precision, arguments.rounds)
    print(json.dumps(found, indent=1 if sys.stdout.isatty() else None))


def apart(precision: str, rounds: int) -> dict[str, Any]:
    """`measure` in a new process that sees no GPU; of `run`, `whole_run`."""
    command = [sys.executable, "-m", "benchmarks.pictures", precision, "--rounds", str(rounds)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def whole_run() -> dict[str, float]:
    """Seconds and CPU seconds of drawing and preparing into an empty cache, and of a run then, with imports and measurement."""
    draw = [sys.executable, "-c", "from benchmarks.pictures import CASE, prepare; prepare(CASE)"]
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as at:
        environment = {**os.environ, "TEMPEMBED_CACHE": f"{at}/cache"}
        train = [sys.executable, "-m", "tempembed.cli", "train", *COMMAND, "--output", f"{at}/run"]
        for name, command in (("draw", draw), ("run", train)):
            before, began = os.times(), time.perf_counter()
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            found[f"{name}_seconds"] = time.perf_counter() - began
            after = os.times()
            found[f"{name}_cpu"] = sum(after[2:4]) - sum(before[2:4])
    return found


def measure(precision: str, rounds: int) -> dict[str, Any]:
    """Seconds a step by variant, CPU and clock, medians over turns; ratios are medians over rounds."""
    from tempembed.system.memory import keep_freed_memory

    keep_freed_memory()
    settings = changed(CASE, precision=precision)
    prepared = prepare(settings)
    plain = changed(settings, augment=0.0)
    check = [
        ours(changed(plain, objective=ONE), prepared)(0),
        plain_loop(settings, prepared, decode=False)(0),
    ]
    variants: dict[str, Step] = {
        "ours_1": ours(changed(settings, objective=ONE), prepared),
        "ours_9": ours(changed(settings, objective=NINE), prepared),
        "loop": plain_loop(settings, prepared),
        "loop_in_memory": plain_loop(settings, prepared, decode=False),
        **{f"floor_{name}": floor(settings, prepared, layout) for name, layout in LAYOUTS.items()},
    }
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, step in variants.items():
            began = time.process_time(), time.perf_counter()
            for number in range(STEPS):
                step(turn * STEPS + number)
            ended = time.process_time(), time.perf_counter()
            if turn:  # the first fills caches
                turns[name].append(((ended[0] - began[0]) / STEPS, (ended[1] - began[1]) / STEPS))
    found = {
        name: dict(zip(("cpu", "clock"), np.median(each, axis=0).tolist(), strict=True))
        for name, each in turns.items()
    }
    best = min(LAYOUTS, key=lambda name: found[f"floor_{name}"]["cpu"])
    pairs = {
        "ours_1/floor": ("ours_1", f"floor_{best}"), "ours_9/floor": ("ours_9", f"floor_{best}"),
        "loop/ours_1": ("loop", "ours_1"), "loop/ours_9": ("loop", "ours_9"), "loop_in_memory/ours_9": ("loop_in_memory", "ours_9"),
    }  # fmt: skip
    ratios = {what: _ratio(turns[above], turns[below]) for what, (above, below) in pairs.items()}
    losses = {"first_loss": float(check[0]), "first_loss_of_loop": float(check[1])}
    return {"seconds": found, "ratios": ratios, **losses}


def _ratio(above: Sequence[tuple[float, float]], below: Sequence[tuple[float, float]]) -> dict[str, float]:
    """The median over rounds, each of neighbours in time."""
    each = np.array(above) / np.array(below)
    return dict(zip(("cpu", "clock"), np.median(each, axis=0).tolist(), strict=True))


def ours(settings: TrainSettings, prepared: Any) -> Step:
    """The steps of `run.loop.train`, with the metrics of its reports."""
    from tempembed.run.optimizer import adamw
    from tempembed.run.steps import Meter, Steps
    from tempembed.stages.contrastive import ContrastiveStage

    stage = ContrastiveStage(settings, prepared, "cpu")
    steps = Steps(stage, stage.trunk, adamw(stage.parameter_groups()), settings.optimizer, settings.loop.seed)
    meter = Meter(stage, stage.watches(), 0)
    stage.modules.train()

    def step(number: int) -> Tensor:
        output, _ = steps.take(number, meter)
        if (number + 1) % settings.loop.log_every == 0:
            meter.metrics(number + 1, output, False)
        return output.loss.detach()

    return step


def plain_loop(settings: TrainSettings, prepared: Any, *, decode: bool = True) -> Step:
    """A training loop as open_clip has it (`train_one_epoch`, `ClipLoss`, `image_transform`), of our towers, batches and rates.

    A row is a picture's file and a text: the file is decoded, cropped at random, scaled, normalised, the text is tokenised; a learned
    scale of the logits, both directions, autocast, AdamW with its default loop over parameters, a clipped gradient.

    Args:
        settings: of the run.
        prepared: its data.
        decode: as it is; else pictures are tensors and texts ids before the first step, and there are no views.
    """
    from tempembed.stages.contrastive import ContrastiveStage

    stage = ContrastiveStage(changed(settings, objective=ONE), prepared, "cpu")
    towers = stage.encoder.towers()
    texts, image = towers["text"], towers["image"]
    words = nn.EmbeddingBag.from_pretrained(texts.table.detach().clone(), freeze=False, mode="mean")
    log_scale = nn.Parameter(torch.tensor(1 / 0.1).log())
    rates = settings.peak_learning_rate(is_table=True), settings.peak_image_learning_rate
    optimizer = torch.optim.AdamW(
        [
            {"params": [*words.parameters(), log_scale], "lr": rates[0]},
            {"params": image.parameters(), "lr": rates[1]},
        ]
    )
    rows = Rows(texts, image) if decode else None
    image.train()
    parameters = [*words.parameters(), *image.parameters(), log_scale]

    def step(number: int) -> Tensor:
        places = stage.plan.rows(number, 0, 1)
        pictures, ids, offsets = rows.batch(places) if rows else in_memory(prepared, places, image)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=stage.use_bfloat16):
            found = image.embed_pictures(pictures)
        features = nn.functional.normalize(found.float(), dim=1)
        of_words = nn.functional.normalize(words(ids, offsets), dim=1)
        logits = log_scale.exp() * features @ of_words.T
        right = torch.arange(len(logits))
        cross_entropy = nn.functional.cross_entropy
        loss = (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.optimizer.max_grad_norm)
        optimizer.step()
        with torch.no_grad():
            log_scale.clamp_(0, np.log(100))
        return loss.detach()

    return step


class Rows:
    """The rows of the training data as files and texts."""

    def __init__(self, texts: Any, image: Any) -> None:
        import pyarrow.parquet as pq

        from tempembed.data.installed_glyphs import installed_glyphs

        table = pq.read_table(installed_glyphs().train)
        self.texts = table["query"].to_pylist()
        self.files = [cell["bytes"] for cell in table["document"].to_pylist()]
        self._tokens, self._side = texts, image.fit.side
        self._random = np.random.default_rng(0)

    def batch(self, places: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures, token ids, and where each text's begin."""
        pictures = torch.stack([self._picture(self.files[place]) for place in places])
        lists = [self._tokens.token_lists([self.texts[place]], None)[0] for place in places]
        return pictures, *_joined(lists)

    def _picture(self, content: bytes) -> Tensor:
        """RandomResizedCrop, ToTensor, Normalize."""
        from PIL import Image

        picture = Image.open(io.BytesIO(content)).convert("RGB")
        side = self._side
        size = max(1, round(side * np.sqrt(self._random.uniform(*SCALE))))
        left, top = self._random.integers(0, side - size + 1, 2)
        cropped = picture.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + size, top + size))
        tensor = torch.from_numpy(np.array(cropped)).permute(2, 0, 1).contiguous().float().div(255)
        return tensor.sub_(_column(MEAN)).div_(_column(STD))


def _column(values: Sequence[float]) -> Tensor:
    return torch.tensor(values)[:, None, None]


def _joined(lists: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(ids) for ids in lists])
    return torch.tensor([each for ids in lists for each in ids]), lengths.cumsum(0) - lengths


def in_memory(prepared: Any, places: np.ndarray, image: Any) -> tuple[Tensor, Tensor, Tensor]:
    """A batch of what was decoded and tokenised before."""
    pixels, tokens = prepared.documents.select(places), prepared.queries.select(places)
    pictures = torch.from_numpy(pixels.shown()).permute(0, 3, 1, 2).float().div(255)
    counts = torch.from_numpy(np.array(tokens.counts))
    lengths = torch.from_numpy(np.add.reduceat(tokens.counts, tokens.offsets[:-1]))
    ids = torch.from_numpy(np.array(tokens.ids)).long().repeat_interleave(counts)
    return pictures.sub_(_column(image.mean)).div_(_column(image.std)), ids, lengths.cumsum(0) - lengths


LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
"""The floor is the faster of the two."""


def floor(settings: TrainSettings, prepared: Any, layout: torch.memory_format) -> Step:
    """The convolutions and the product of the image tower, forward and backward, and nothing else: the other tower has no product.

    No activation functions, no views, no loss, no gradient of the pictures themselves.
    """
    from tempembed.stages.contrastive import ContrastiveStage

    stage = ContrastiveStage(settings, prepared, "cpu")
    image = stage.encoder.towers()["image"]
    dtype = torch.bfloat16 if stage.use_bfloat16 else torch.float32
    random = lambda *size: torch.randn(*size).to(dtype)  # noqa: E731
    convolutions = [module for module in image.modules() if isinstance(module, nn.Conv2d)]
    weights = [module.weight.detach().to(dtype).contiguous(memory_format=layout) for module in convolutions]
    biases = [module.bias.detach().to(dtype) for module in convolutions]
    linear = image.projection.weight.detach().to(dtype)
    pictures = random(BATCH, 3, image.fit.side, image.fit.side).contiguous(memory_format=layout)
    flat, gradient = random(BATCH, linear.shape[1]), random(BATCH, WIDTH)
    inputs, gradients = [pictures], list[Tensor]()
    for module, weight, bias in zip(convolutions, weights, biases, strict=True):
        inputs.append(nn.functional.conv2d(inputs[-1], weight, bias, module.stride, module.padding))
        gradients.append(torch.randn_like(inputs[-1]))

    def step(number: int) -> Tensor:
        for module, weight, bias, before in zip(convolutions, weights, biases, inputs, strict=False):
            nn.functional.conv2d(before, weight, bias, module.stride, module.padding)
        flat @ linear.T
        gradient.T @ flat
        gradient @ linear
        for k in reversed(range(len(convolutions))):
            of, (stride, padding) = (
                convolutions[k],
                (list(convolutions[k].stride), list(convolutions[k].padding)),
            )
            torch.ops.aten.convolution_backward(
                gradients[k], inputs[k], weights[k], [of.out_channels], stride, padding, [1, 1], False, [0, 0], 1,
                [k > 0, True, True],
            )  # fmt: skip
        return flat[0, 0]

    return step


if __name__ == "__main__":
    main()
