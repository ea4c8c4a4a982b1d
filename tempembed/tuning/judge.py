"""The verdict of a finished run: the start against the end, and the cause if it is worse."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tempembed.codecs.sets import ALIAS_BUDGETS
from tempembed.encoders.encoder import Encoder
from tempembed.evaluation.corpus import Corpus
from tempembed.evaluation.report import Evaluation
from tempembed.evaluation.report_files import REPORT, load_evaluation
from tempembed.evaluation.start import evaluate_start
from tempembed.inputs.inputs import Inputs
from tempembed.run.loop import TRAINED
from tempembed.settings.train import TrainSettings
from tempembed.stages.prepared import Prepared
from tempembed.tuning.causes import causes
from tempembed.tuning.evidence import gather_evidence, last_of
from tempembed.tuning.goals import full_goals
from tempembed.tuning.verdict import VERDICT, Verdict, compared

Part = tuple[Corpus, Inputs, Inputs]


def measured_part(prepared: Prepared) -> tuple[Part, Literal["test", "dev"]] | None:
    """What a finished model is measured on: the test, or without one the dev pairs; None without either."""
    if test := prepared.evaluation():
        return test, "test"
    if dev := prepared.dev():
        return dev, "dev"
    return None


def start_of(
    settings: TrainSettings,
    prepared: Prepared,
    encoder: Encoder,
    say: Callable[[str], None],
    budgets: Sequence[int] = ALIAS_BUDGETS,
) -> Evaluation | None:
    """What the model scores before it is trained; None where there is no such model, or nothing to measure it on."""
    part = measured_part(prepared)
    if not settings.loop.verdict:
        return None
    if settings.model.own_encoder:
        say(
            f"no verdict at the end: {settings.model.encoder} is made here, there is no start to compare with"
        )
        return None
    if part is None:
        say("no verdict at the end: no test and no dev pairs to measure on; --hold-out 0.1 keeps a tenth")
        return None
    return evaluate_start(encoder, part[0], model=settings.model.encoder, budgets=budgets, say=say)


def judge(
    settings: TrainSettings,
    prepared: Prepared,
    start: Evaluation,
    output: Path,
    *,
    metrics: Path,
    budgets: Sequence[int] = ALIAS_BUDGETS,
) -> Verdict:
    """The verdict of a run, which is written into its folder.

    Args:
        settings: of the run.
        prepared: its data.
        start: as `start_of` gave it.
        output: the model's folder, with its report.
        metrics: the file of its reports.
        budgets: bytes per vector that were measured.
    """
    found = measured_part(prepared)
    assert found is not None
    part, data = found
    end = load_evaluation(output / REPORT)
    goal = settings.loop.goal or "retrieval"
    goals = dict.fromkeys([goal, *full_goals(), *(f"bytes-{budget}" for budget in budgets)])
    step, words = handed_over(output)
    verdict = Verdict(
        data=data, goal=goal, comparisons=compared(start, end, list(goals)), model=words, step=step
    )
    if verdict.outcome == "worse":
        evidence = gather_evidence(
            settings, prepared, part, output,
            steps=step, masked_per_step=last_of(metrics, "train/masked_negatives_per_step"),
        )  # fmt: skip
        verdict = replace(verdict, causes=causes(evidence))
    verdict.write(output / VERDICT)
    return verdict


def handed_over(output: Path) -> tuple[int, str]:
    """Which step's weights a finished run has handed over, as a number and in words."""
    told = json.loads((output / TRAINED).read_text())
    chosen = told.get("selection")
    if chosen is None:
        return told["num_steps"], f"the model of the last step, {told['num_steps']}"
    words = f"the model of step {chosen['step']} of {chosen['num_steps']}, {chosen['why']}"
    if chosen["trained_steps"] < chosen["num_steps"]:
        words += f"; stopped early at step {chosen['trained_steps']}"
    return chosen["step"], words
