"""What is read off a group of the results: scores and kept shares in the forms of the paper's Table 2, and dimensions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy import stats

from tempembed.codecs.spec import Spec
from tempembed.reproduction.finding import Unit
from tempembed.reproduction.results import CLUSTERING, METRICS, RETRIEVAL, Group
from tempembed.reproduction.sample import Sample


@dataclass(frozen=True, kw_only=True)
class Form:
    """A way to store an embedding, for any width."""

    name: str
    times: str
    """How much smaller."""
    spec: Callable[[int], Spec]


FULL = Form(name="full", times="1x", spec=lambda width: Spec(width=width))
TRUNCATED = Form(name="a quarter of the width", times="4x", spec=lambda width: Spec(width=width // 4))
BINARY = Form(name="binary", times="32x", spec=lambda width: Spec(width=width, numbers="binary"))
RERANKED = Form(
    name="binary, re-ranked",
    times="32x",
    spec=lambda width: Spec(width=width, numbers="binary", rerank="bits"),
)
HALF_RERANKED = Form(
    name="a half, binary, re-ranked", times="64x",
    spec=lambda width: Spec(width=width // 2, numbers="binary", rerank="bits"),
)  # fmt: skip
BOTH = Form(
    name="a quarter, binary", times="128x", spec=lambda width: Spec(width=width // 4, numbers="binary")
)
BOTH_RERANKED = Form(
    name="a quarter, binary, re-ranked", times="128x",
    spec=lambda width: Spec(width=width // 4, numbers="binary", rerank="bits"),
)  # fmt: skip
EQUAL = Form(name="float32 prefix of as many bytes", times="32x", spec=lambda width: Spec(width=width // 32))
FORMS = (FULL, TRUNCATED, BINARY, RERANKED, BOTH)


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number of a group."""

    name: str
    unit: Unit
    """Unit of its differences."""
    of: Callable[[Group], Sample]

    def text(self, value: float) -> str:
        """The number itself, without a sign."""
        return {"score": f"{value:.3f}", "share": f"{100 * value:.1f} %"}.get(self.unit, f"{value:.0f}")


def score(task: str, form: Form = FULL) -> Quantity:
    """A task's score."""
    name = METRICS[task] if form is FULL else f"{METRICS[task]}, {form.name}"
    return Quantity(name=name, unit="score", of=lambda group: group.score(task, form.spec(group.width)))


def kept(task: str, form: Form) -> Quantity:
    """Share of the full score that a form keeps."""
    name = f"{METRICS[task]} kept, {form.name} ({form.times})"
    return Quantity(name=name, unit="share", of=lambda group: group.kept(task, form.spec(group.width)))


DIMENSION = Quantity(name="PCA-95", unit="components", of=lambda group: group.measure("pca95"))
SPREAD = Quantity(
    name="spread of the coordinates' variances",
    unit="score",
    of=lambda group: group.measure("variance_spread"),
)
COMPARED = (
    score(RETRIEVAL), score(CLUSTERING), DIMENSION, kept(RETRIEVAL, TRUNCATED), kept(RETRIEVAL, BINARY),
    kept(RETRIEVAL, RERANKED), kept(RETRIEVAL, BOTH),
)  # fmt: skip
"""What two objectives are compared in."""


def curve(groups: Sequence[Group], quantity: Quantity) -> str:
    """A quantity over the temperatures, with Spearman's rank correlation of its means with them."""
    means = [quantity.of(group).mean for group in groups]
    temperatures = [group.tau for group in groups]
    taus = ", ".join(f"{tau:g}" for tau in temperatures)
    text = f"{', '.join(map(quantity.text, means))} at τ = {taus}"
    if len(set(means)) < 2 or len(groups) < 3:
        return text
    return f"{text}; Spearman's ρ with τ {stats.spearmanr(temperatures, means).statistic:+.2f}"
