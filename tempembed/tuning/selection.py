"""What a run with a goal chooses by: a probe on its dev pairs, and the metric of it that counts."""

from collections.abc import Sequence

from tempembed.evaluation.probe import Probe
from tempembed.run.best import Selection
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepared import Prepared
from tempembed.system.errors import UserError
from tempembed.tuning.goals import budget_of, check_goals, probe_metric

FEW_QUERIES = 100
"""With fewer dev queries a difference of two checkpoints is mostly chance."""


def dev_probe(prepared: Prepared, goal: str, budgets: Sequence[int] = ()) -> Probe:
    """The probe on the dev pairs.

    Args:
        prepared: the data.
        goal: what it must measure.
        budgets: bytes per vector that it measures besides.

    Raises:
        UserError: no dev pairs, or dev pairs that cannot measure the goal.
    """
    check_goals([goal], "--goal")
    dev = prepared.dev()
    if dev is None:
        raise UserError(f"--goal {goal}: expected dev pairs to measure it on, got none; give --dev-data")
    budget = budget_of(goal)
    probe = Probe(
        dev, list(dict.fromkeys([*([budget] if budget else []), *budgets])), () if budget else (goal,)
    )
    if not budget and goal not in probe.kinds:
        raise UserError(
            f"--goal {goal}: expected dev pairs with a column label that has from two to as many values as there are documents, got none; "
            "add it, or choose --goal retrieval"
        )
    return probe


def check_goal(settings: TrainSettings, prepared: Prepared) -> list[str]:
    """What a user should know of the goal, as lines, before the run; none without a goal.

    Raises:
        UserError: as `dev_probe`.
    """
    goal = settings.loop.goal
    if goal is None:
        return []
    corpus = dev_probe(prepared, goal).corpus
    num = len(corpus.queries)
    lines = [f"goal {goal}: measured on {num:,} dev queries in {len(corpus.documents):,} documents"]
    if num < FEW_QUERIES:
        lines.append(f"goal {goal}: {num} dev queries tell large differences only; give more dev pairs")
    return lines


def selection(settings: TrainSettings) -> Selection | None:
    """How the step that is handed over is chosen; None: it is the last."""
    loop = settings.loop
    if loop.goal is None:
        return None
    return Selection(
        metric=probe_metric(loop.goal), every=loop.evaluate_every, patience=loop.patience,
        with_start=not settings.model.own_encoder,
    )  # fmt: skip
