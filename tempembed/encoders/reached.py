"""Which parameters a result depends on."""

from torch import Tensor, nn


def reached(output: Tensor) -> set[nn.Parameter]:
    """The leaves that a backward from here would give a gradient, found without one: no gradient takes memory."""
    found, seen, ahead = set(), set(), [output.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            found.add(leaf)
        ahead += [function for function, _ in node.next_functions]
    return found
