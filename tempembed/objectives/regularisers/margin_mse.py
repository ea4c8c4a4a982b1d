"""Margin-MSE: the model's margins between a right and a wrong answer are a teacher's."""

from jaxtyping import Float
from torch import Tensor

from tempembed.objectives.regularisers.batch import EmbeddedBatch


def margin_mse(batch: EmbeddedBatch, divisor: float = 1.0) -> Float[Tensor, ""]:
    """Mean over all hard negatives of `((s+ - s-) - (t+ - t-) / divisor)^2`, s the model's cosines, t the teacher's scores.

    Args:
        batch: with teacher scores.
        divisor: brings the teacher's margins to those of cosines: 1 for cosines, some 10 for a cross-encoder's logits.

    Source: Hofstaetter et al. 2020 (arXiv:2010.02666), eq. 9, which takes inner products.
    """
    student_KB, teacher_KB, has_KB = batch.candidates()
    error_NB = (student_KB[:1] - student_KB[1:]) - (teacher_KB[:1] - teacher_KB[1:]) / divisor
    return batch.mean((error_NB.square() * has_KB[1:]).sum(), has_KB[1:].sum())
