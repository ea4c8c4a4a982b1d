"""Why a run may have made its model worse: each cause has a measurement that it is named for, and is named for nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tempembed.evaluation.report import Number

UNRELATED = 0.8
"""Pairs belong together if the start puts the right document before this share of others, as it nearly does on the test."""
UNRELATED_GAP = 0.1
LOST = 0.02
"""The start's order of the training pairs is lost if the trained model puts this share fewer documents behind the right one."""
FAR, GONE = 0.5, 0.2
"""Mean cosines of a document's embeddings before and after, below which it is another model; and nothing of it is left."""
FEWEST_NEGATIVES = 2.0
"""Effective negatives below which a query learns from the nearest document only, and from its mistakes."""
FLATTEST = 0.97
"""Share of all negatives, from which on effective ones are all of them: none is harder than another."""
COPIES = 0.2
"""Share of documents with a near copy in the batch, or of negatives that had to be masked."""
MANY_PASSES, FEW_PAIRS = 10.0, 5_000
CUT = 0.5
"""Share of training documents that are cut."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A likely cause."""

    name: str
    """temperature, learning rate, pairs, copies, too few pairs, prompts, token limit."""
    text: str
    """For a person, with the figures and what to do."""
    figures: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was measured of a run; None: not measured."""

    right_before_train: float
    """Share of the other documents of a batch that the start puts behind the right one, on training pairs."""
    right_before_measured: float
    """The same on the pairs that the verdict is of."""
    right_after_train: float
    """The same of the trained model on training pairs."""
    kept_cosine: float
    """Mean cosine of a document's embedding before and after."""
    num_negatives: int
    """Negatives of a query in that batch."""
    effective: Mapping[float, float]
    """Effective negatives of the start at each temperature of the objective."""
    hardest_share: Mapping[float, float]
    """Share of the gradient that the hardest negative has there."""
    copies: float
    """Share of training documents that have another with a cosine above 0.95 in the batch."""
    masked: float
    """Share of the negatives that were masked in training, as copies or known answers."""
    num_pairs: int
    passes: float
    """How often each pair was seen."""
    cut: float
    """Share of training documents that were cut at a limit below the model's own."""
    limit: int | None = None
    """That limit."""
    own_prompts: tuple[float, float, float] | None = None
    """Score of the start with its own prompts less that with the run's: difference, low, high; None: they are the same."""
    learning_rate: float = 0.0
    """Peak."""


def causes(evidence: Evidence) -> tuple[Cause, ...]:
    """The causes that the evidence names."""
    rules: Sequence[Callable[[Evidence], Cause | None]] = (
        _pairs, _temperature, _learning_rate, _copies, _too_few_pairs, _prompts, _token_limit,
    )  # fmt: skip
    return tuple(cause for rule in rules if (cause := rule(evidence)))


def _pairs(e: Evidence) -> Cause | None:
    gap = e.right_before_measured - e.right_before_train
    if e.right_before_train >= UNRELATED or gap <= UNRELATED_GAP:
        return None
    return Cause(
        name="pairs",
        text=f"many pairs do not belong together: before training a right document came before {e.right_before_train:.0%} of "
        f"others in the training data (half is chance), {e.right_before_measured:.0%} in the measured data; look at the pairs, "
        "at a shift of rows for one",
        figures={
            "right_before_train": e.right_before_train,
            "right_before_measured": e.right_before_measured,
        },
    )


def _temperature(e: Evidence) -> Cause | None:
    low, high = min(e.effective), max(e.effective)
    if e.effective[low] < FEWEST_NEGATIVES:
        return Cause(
            name="temperature",
            text=f"the temperature {low:g} is too low for this model: of {e.num_negatives} negatives {e.effective[low]:.1f} count, the nearest "
            f"has {e.hardest_share[low]:.0%} of the gradient, wrong answers and right ones that nobody listed alike; --tau auto finds another",
            figures={"temperature": low, "effective_negatives": e.effective[low], "hardest_share": e.hardest_share[low]},
        )  # fmt: skip
    if e.effective[low] > FLATTEST * e.num_negatives:
        return Cause(
            name="temperature",
            text=f"the temperature {high:g} is too high for this model: {e.effective[low]:.0f} of {e.num_negatives} negatives count alike, "
            "so that near ones are pushed no more than far ones; --tau auto finds another",
            figures={"temperature": high, "effective_negatives": e.effective[low]},
        )  # fmt: skip
    return None


def _learning_rate(e: Evidence) -> Cause | None:
    lost = e.right_before_train - e.right_after_train
    is_gone = e.kept_cosine < GONE or (e.kept_cosine < FAR and lost > LOST)
    if not is_gone or _pairs(e):  # pairs that do not belong together lead there too
        return None
    return Cause(
        name="learning rate",
        text=f"the learning rate {e.learning_rate:g} is too high: embeddings kept a cosine of {e.kept_cosine:.2f} to what they were, and its "
        f"training pairs went from {e.right_before_train:.1%} to {e.right_after_train:.1%} in order; divide --learning-rate by ten",
        figures={
            "kept_cosine": e.kept_cosine, "right_before_train": e.right_before_train, "right_after_train": e.right_after_train,
        },
    )  # fmt: skip


def _copies(e: Evidence) -> Cause | None:
    if max(e.copies, e.masked) <= COPIES:
        return None
    return Cause(
        name="copies",
        text=f"{e.copies:.0%} of training documents have a near copy in a batch, which counts as a wrong answer, and {e.masked:.0%} of the "
        "negatives were masked as known ones; take copies out, or lower --batch-size",
        figures={"copies": e.copies, "masked": e.masked},
    )


def _too_few_pairs(e: Evidence) -> Cause | None:
    if e.num_pairs >= FEW_PAIRS or e.passes < MANY_PASSES or e.right_after_train < e.right_before_train:
        return None
    return Cause(
        name="too few pairs",
        text=f"{e.num_pairs:,} pairs were each seen {e.passes:.0f} times, and are ordered better than before "
        f"({e.right_before_train:.1%} -> {e.right_after_train:.1%}): they were learned by heart; fewer --epochs, more pairs, or --goal to "
        "stop at the best step",
        figures={"num_pairs": e.num_pairs, "passes": e.passes},
    )


def _prompts(e: Evidence) -> Cause | None:
    if e.own_prompts is None or e.own_prompts[1] <= 0:
        return None
    gain, low, high = e.own_prompts
    return Cause(
        name="prompts",
        text=f"the prompts are not the model's own, with which it scored {gain:+.3f} (95 % {low:+.3f} to {high:+.3f}) before training; leave "
        "--query-prompt and --document-prompt out",
        figures={"gain": gain, "low": low, "high": high},
    )


def _token_limit(e: Evidence) -> Cause | None:
    if e.limit is None or e.cut <= CUT:
        return None
    return Cause(
        name="token limit",
        text=f"{e.cut:.0%} of the training documents were cut after {e.limit} tokens, but whole documents are measured; raise "
        "--max-document-tokens",
        figures={"cut": e.cut, "limit": e.limit},
    )
