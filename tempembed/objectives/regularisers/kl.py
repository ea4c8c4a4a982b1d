"""KL divergence: the model orders a query's own candidates as a teacher does."""

from jaxtyping import Float
from torch import Tensor

from tempembed.objectives.regularisers.batch import EmbeddedBatch

ABSENT = -1e30
"""Logit of a candidate that is not there; finite, so that it times a zero share is zero."""


def kl(
    batch: EmbeddedBatch, temperature: float = 0.05, teacher_temperature: float | None = None
) -> Float[Tensor, ""]:
    """Mean over queries of `KL(softmax(t / teacher_temperature) | softmax(s / temperature))`, over the query's document and its own

    hard negatives; s the model's cosines, t the teacher's scores. Not scaled by the square of the temperature: its gradient is of
    one size with InfoNCE's at the same temperature. Queries with a single candidate do not count.

    Args:
        batch: with teacher scores.
        temperature: of the model.
        teacher_temperature: default the same, as for a teacher whose scores are cosines; 1 for a cross-encoder's logits.

    Source: Chen et al. 2024 (BGE-M3, arXiv:2402.03216), section 3.3, with the teacher's scores as given.
    """
    student_KB, teacher_KB, has_KB = batch.candidates()
    teacher_KB = (
        (teacher_KB / (teacher_temperature or temperature)).masked_fill(~has_KB, ABSENT).log_softmax(0)
    )
    student_KB = (student_KB / temperature).masked_fill(~has_KB, ABSENT).log_softmax(0)
    several_B = has_KB.sum(0) > 1
    divergence_B = (teacher_KB.exp() * (teacher_KB - student_KB)).sum(0)
    return batch.mean((divergence_B * several_B).sum(), several_B.sum())
