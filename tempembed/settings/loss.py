"""Settings of the contrastive objective."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from tempembed.objectives.parse import parse_objective, parse_terms
from tempembed.objectives.term import Direction, Hardness, Terms, check_direction
from tempembed.settings.flat import NotNegative, Positive, check_ranges

if TYPE_CHECKING:
    from tempembed.objectives.margin import Margin
    from tempembed.objectives.objective import Objective


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """The contrastive objective."""

    objective: str = "infonce:0.06"
    """infonce:0.06, mrl:0.06, tempagg:0.03,0.06,0.1, tempaggmrl:0.03,0.06,0.1 or tempspecmrl; for an index of bits
    tempaggmrl-sign (tempaggmrl, and the signs of a quarter and of all at small temperatures) or tempspecbits (signs alone)."""
    terms: tuple[str, ...] = ()
    """Explicit terms dim@temperature[:view][*weight], e.g. 256@0.03 512@0.06*0.5 1024@0.02:sign*2; used in place of --objective. Views:
    float; sign, both sides as bits, as Hamming search sees them; bits, the query's numbers against the document's bits;
    int8, int4, against what integers leave of the document's."""
    tau: Literal["auto"] | None = None
    """auto: short runs at a few temperatures choose the objective's, by --goal on the dev pairs (--dev-data, --dev-hold-out);
    several temperatures keep their ratios. The choice stands in settings.json as terms, and in tau.json."""
    direction: Direction = "query-to-document"
    """Which side looks for the other: both is the mean of the two losses."""
    beta: float = 0.0
    """Concentration on hard negatives (Robinson et al. 2021); 0: all negatives count alike."""
    tau_plus: float = 0.0
    """Share of the negatives that are thought to be right answers, taken off their sum (debiasing)."""
    false_negative_margin: float | None = None
    """Mask a candidate that is nearer to the query than its positive by more than this, as the model itself has it in the step
    (Qwen3 Embedding: 0.1); none by default."""
    guide: str | None = None
    """Mask candidates by a second model, which embeds the training texts once, when they are prepared (GISTEmbed): a folder or hub
    name. A candidate is masked that it finds nearer to the query than the positive."""
    guide_margin: float = 0.0
    """Mask also what the guide finds farther than the positive by less than this."""
    guide_relative_margin: Annotated[float, NotNegative] = 0.0
    """The same as a share of the positive's similarity."""
    regularisers: tuple[str, ...] = ()
    """Added to the objective, each with its weight: of the global batch's embeddings uniformity:0.1, koleo:0.05,
    cos2:1, decorrelation:1, balance:1; of a teacher's scores in the data margin-mse:1 or margin-mse(DIVISOR):1, kl:0.5 or kl(TEMPERATURE,TEACHER'S):0.5."""
    temperature_learning_rate: Annotated[float, Positive] = 0.01
    """Peak learning rate of learned temperatures, on log(1/tau)."""

    def __post_init__(self) -> None:
        check_ranges(self)
        _ = self.hardness  # checks beta and tau_plus

    @property
    def hardness(self) -> Hardness:
        """How much hard negatives count."""
        return Hardness(beta=self.beta, tau_plus=self.tau_plus)

    def resolved_terms(self, width: int) -> Terms:
        """The objective as terms for an encoder of this width.

        Raises:
            UserError: terms that are none, or that have no such direction.
        """
        terms = parse_terms(self.terms, width) if self.terms else parse_objective(self.objective, width)
        check_direction(terms, self.direction)
        return terms

    def resolved(self, width: int) -> "Objective":
        """The objective for an encoder of this width.

        Raises:
            UserError: terms or regularisers that are none.
        """
        from tempembed.objectives.margin import Margin
        from tempembed.objectives.objective import (
            Objective,  # imports torch, which a command line does without
        )
        from tempembed.objectives.regularisers.registry import parse_regulariser

        return Objective(
            terms=self.resolved_terms(width),
            direction=self.direction,
            hardness=self.hardness,
            regularisers=tuple(map(parse_regulariser, self.regularisers)),
            margin=None
            if self.false_negative_margin is None
            else Margin(absolute=-self.false_negative_margin),
        )

    @property
    def guide_limit(self) -> "Margin":
        """How near the guide lets candidates come."""
        from tempembed.objectives.margin import Margin

        return Margin(absolute=self.guide_margin, relative=self.guide_relative_margin)

    @property
    def objective_name(self) -> str:
        """How the objective is called in tables: the name, or the terms."""
        return " ".join(self.terms) if self.terms else self.objective
