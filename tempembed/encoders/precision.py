"""Which precision the products of an encoder are in: float32, or bfloat16 where that is faster. Weights are float32 in both."""

import time

import torch
from torch import Tensor, nn

from tempembed.parallel.reduce import gathered_objects

GAIN = 1.4
"""How much faster a product in bfloat16, with the casts that it needs, has to be: the rest of a step gains nothing, or loses."""
SMALL = 2**16
"""Weights of a layer below which products are not what a step takes."""
OPERATIONS = 5e8
"""Multiply-adds of a product that is timed: milliseconds."""
REPEATS = 4
"""The fastest counts: what else a machine does only adds."""


def uses_bfloat16(precision: str, encoder: nn.Module, device: torch.device | None = None) -> bool:
    """What `auto` comes to for an encoder on the device that it is for, alike on all ranks; a precision that is asked for is what it says.

    A GPU has bfloat16 or not; a CPU may have it and multiply no faster, which the largest linear layer of the encoder tells.

    Cross-rank contract: every rank calls it; bfloat16 only where all find it faster.
    """
    device = device or next(encoder.parameters()).device
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return all(gathered_objects(device.type == "cpu" and _is_faster(encoder)))


@torch.no_grad()
def operations_per_second(model: nn.Module, tokens: int, *, bfloat16: bool) -> float:
    """What this process does of a model's largest layer, on its device: the three products of a forward and a backward.

    Args:
        model: of which one is taken, its table of tokens aside.
        tokens: rows of a product.
        bfloat16: in which type.
    """
    largest = max((m.weight for m in model.modules() if isinstance(m, nn.Linear)), key=Tensor.numel)
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    weight = torch.randn_like(largest, dtype=dtype)
    inputs, gradient = (
        weight.new_empty(tokens, size).normal_() for size in (weight.shape[1], weight.shape[0])
    )
    wait = torch.cuda.synchronize if weight.device.type == "cuda" else lambda: None
    fewest = float("inf")
    for _ in range(2 + REPEATS):
        wait()
        began = time.perf_counter()
        inputs @ weight.mT, gradient @ weight, gradient.mT @ inputs
        wait()
        fewest = min(fewest, time.perf_counter() - began)
    return 6 * tokens * weight.numel() / fewest


def _is_faster(encoder: nn.Module) -> bool:
    weights = [module.weight for module in encoder.modules() if isinstance(module, nn.Linear)]
    largest = max(weights, key=Tensor.numel, default=None)
    if largest is None or largest.numel() < SMALL:
        return False
    weight = torch.zeros_like(largest, requires_grad=True)
    inputs = torch.zeros(max(64, int(OPERATIONS / weight.numel())), weight.shape[1], requires_grad=True)
    seconds = {half: float("inf") for half in (False, True)}
    for _ in range(1 + REPEATS):  # in turn, so that what else the machine does meets both
        for half in seconds:
            seconds[half] = min(seconds[half], _seconds(inputs, weight, half=half))
    return seconds[False] > GAIN * seconds[True]


def _seconds(inputs: Tensor, weight: Tensor, *, half: bool) -> float:
    """Of the three products of a linear layer, with the casts of autocast."""
    began = time.perf_counter()
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        output = nn.functional.linear(inputs, weight)
    torch.autograd.grad(output, (inputs, weight), torch.zeros_like(output))
    return time.perf_counter() - began
