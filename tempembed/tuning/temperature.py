"""`--tau auto`: short runs at a few temperatures, and the one that the goal on the dev pairs likes best."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from tempembed.encoders.encoder import Encoder
from tempembed.evaluation.report import Bounds, Count, Number
from tempembed.evaluation.statistics import interval, resample_counts
from tempembed.objectives.term import Terms
from tempembed.run.optimizer import adamw
from tempembed.run.steps import Meter, Steps
from tempembed.settings.flat import changed, fingerprint
from tempembed.settings.train import TrainSettings
from tempembed.stages.contrastive import ContrastiveStage
from tempembed.stages.prepared import Prepared
from tempembed.system.atomic import write_json
from tempembed.system.errors import UserError
from tempembed.system.in_order import Pool, in_order
from tempembed.system.typed import typed
from tempembed.system.untrusted import read_json
from tempembed.tuning.goals import probe_metric
from tempembed.tuning.selection import dev_probe

TAU = "tau.json"
"""In a run's folder: what was tried, and what was chosen."""
CANDIDATES = (0.02, 0.035, 0.06, 0.1, 0.18)
"""Where the best of published models and of ours lie, in equal ratios."""
SHARE, FEWEST, MOST = 1 / 20, 20, 100
"""Steps of a short run: a twentieth of the run's, but this few and this many."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A temperature that was tried."""

    temperature: Number
    score: Number
    """Of the goal on the dev pairs, after the short run."""
    seconds: Number
    replicates: tuple[Number, ...]
    """The score of each bootstrap sample; the samples are the same for all candidates."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A search for a temperature, perhaps unfinished."""

    key: str
    """Of all that its result depends on."""
    goal: str
    steps: Count
    """Of each short run."""
    candidates: tuple[Candidate, ...] = ()

    @property
    def best(self) -> Candidate:
        """The candidate of the highest score; of equals the first."""
        return max(self.candidates, key=lambda each: each.score)

    def behind(self, candidate: Candidate) -> Bounds:
        """95 % interval of a candidate's score less the best one's, paired."""
        return interval(torch.tensor(candidate.replicates) - torch.tensor(self.best.replicates))

    def lines(self) -> list[str]:
        """For the person who started the run."""
        found = []
        for each in self.candidates:
            low, high = self.behind(each)
            against = "the best" if each is self.best else f"{each.score - self.best.score:+.4f} ({low:+.4f} to {high:+.4f})"  # fmt: skip
            found.append(f"  {each.temperature:<6g} {self.goal} {each.score:.4f}  {against}")
        seconds = sum(each.seconds for each in self.candidates)
        total = self.steps * len(self.candidates)
        return [
            *found,
            f"--tau auto: {self.best.temperature:g}, after {total:,} steps of short runs, {seconds:.0f} s",
        ]


def short_steps(num_steps: int) -> int:
    """Steps of a short run, of a run of so many.

    >>> short_steps(1_000), short_steps(100_000), short_steps(60)
    (50, 100, 20)
    """
    return min(num_steps, MOST, max(FEWEST, round(SHARE * num_steps)))


def scaled(terms: Terms, temperature: float) -> tuple[str, ...]:
    """The terms at a temperature, as `--terms` takes them; several keep their ratios, and have it as their weighted geometric mean.

    Raises:
        UserError: a temperature that moves.
    """
    if moving := [term for term in terms if term.course]:
        raise UserError(
            f"--tau auto: expected temperatures that do not move, got {moving[0]}; leave --tau out, or the schedule"
        )
    total = sum(term.weight for term in terms)
    middle = math.exp(sum(term.weight * math.log(term.temperature) for term in terms) / total)
    return tuple(
        term.written(f"{term.temperature * temperature / middle:.4g}", repr(term.weight)) for term in terms
    )


def check_tau(settings: TrainSettings, width: int) -> None:
    """Raise UserError where `--tau auto` has nothing to choose."""
    if settings.loss.tau == "auto":
        scaled(settings.loss.resolved_terms(width), CANDIDATES[0])


@dataclass(frozen=True, kw_only=True)
class ShortRuns:
    """Trains and scores at a temperature, in any process that reads the data."""

    settings: TrainSettings
    """Of the run."""
    prepared: Path
    terms: Terms
    goal: str
    steps: int
    device: str | torch.device | None

    def __call__(self, temperature: float) -> Candidate:
        """What a short run at the temperature scores on the dev pairs."""
        began, prepared = time.monotonic(), Prepared(folder=self.prepared)
        # no goal: the run's own stop and evaluations are none of a short run's
        short = changed(
            self.settings, terms=scaled(self.terms, temperature), steps=self.steps, tau=None, goal=None, evaluate_every=0,
            patience=0,
        )  # fmt: skip
        encoder = trained(ContrastiveStage(short, prepared, self.device))
        statistic = dev_probe(prepared, self.goal).statistics(encoder)[probe_metric(self.goal)]
        replicates: Tensor = statistic.resampled(resample_counts("tau", statistic.num_items))
        return Candidate(
            temperature=temperature, score=statistic.value, seconds=time.monotonic() - began,
            replicates=tuple(round(value, 6) for value in replicates.tolist()),
        )  # fmt: skip


def with_chosen_temperature(
    settings: TrainSettings,
    prepared: Prepared,
    file: Path,
    say: Callable[[str], None],
    *,
    candidates: Sequence[float] = CANDIDATES,
    steps: int | None = None,
    device: str | torch.device | None = None,
    over: int | Pool = 1,
) -> TrainSettings:
    """The settings with explicit terms at the temperature that was chosen; as they are without `--tau auto`.

    Never looks at the test. What an earlier call with the same settings and data has in the file is not done again.

    Args:
        settings: of the run.
        prepared: its data, with dev pairs.
        file: takes what was tried, after each candidate.
        say: takes lines of progress.
        candidates: temperatures.
        steps: of each short run.
        device: as `ContrastiveStage` takes it.
        over: 1: one short run after the other, in this process; or a pool, which runs them side by side.

    Raises:
        UserError: dev pairs that cannot measure the goal, temperatures that move.
    """
    if settings.loss.tau != "auto":
        return settings
    goal = settings.loop.goal or "retrieval"
    dev_probe(prepared, goal)  # one that cannot be measured: now
    stage = ContrastiveStage(settings, prepared, device)
    terms, num = stage.terms, steps or short_steps(stage.num_steps)
    key = fingerprint([dict(stage.identity), prepared.meta.get("dev"), goal, num, list(candidates)])
    choice = read_choice(file, key) or Choice(key=key, goal=goal, steps=num)
    done = {each.temperature for each in choice.candidates}
    left = [temperature for temperature in candidates if temperature not in done]
    if left:
        say(f"--tau auto: {num} steps at {', '.join(f'{temperature:g}' for temperature in left)}")
    run = ShortRuns(
        settings=settings, prepared=prepared.folder, terms=terms, goal=goal, steps=num, device=device
    )
    for temperature, found in in_order(run, left, over):
        choice = Choice(key=key, goal=goal, steps=num, candidates=(*choice.candidates, found))
        write_json(file, {**asdict(choice), "chosen": choice.best.temperature})
        say(f"--tau auto: {temperature:g} gives {goal} {found.score:.4f}, {found.seconds:.0f} s")
    for line in choice.lines():
        say(line)
    return changed(settings, terms=scaled(terms, choice.best.temperature))


def trained(stage: ContrastiveStage) -> Encoder:
    """The encoder after the stage's steps; nothing is written."""
    steps = Steps(
        stage,
        stage.trunk,
        adamw(stage.parameter_groups()),
        stage.settings.optimizer,
        stage.settings.loop.seed,
    )
    meter = Meter(stage, (), 0)
    stage.modules.train()
    for step in range(stage.num_steps):
        steps.take(step, meter)
    return stage.encoder


def read_choice(file: Path, key: str | None = None) -> Choice | None:
    """What an earlier call has left; None if there is nothing, or if it is of something else than the key."""
    if not file.exists():
        return None
    try:
        found = typed(Choice, read_json(file))
    except (UserError, ValueError):
        return None
    return found if key in (None, found.key) else None
