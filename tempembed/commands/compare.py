"""`tempembed compare`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from tempembed.system.errors import UserError

if TYPE_CHECKING:
    from tempembed.evaluation.compare import Difference
    from tempembed.evaluation.report import Evaluation


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare measured models: paired differences to the first, and what geometry predicts of retention.

    Example: tempembed compare one.json two.json
    """

    reports: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Reports of tempembed evaluate on the same data."""
    codecs: tuple[str, ...] = ("float32", "binary")
    """Codecs whose differences are shown."""


def compare_command(command: Compare) -> None:
    """`tempembed compare`."""
    from tempembed.evaluation.report_files import load_evaluation
    from tempembed.reports.predictors import predictors
    from tempembed.reports.report_text import difference_text, predictor_text

    loaded = [load_evaluation(Path(name)) for name in command.reports]
    first = loaded[0].report.model if loaded else ""
    for other, rows in compared(loaded, command.codecs):
        print(f"{other.report.model} - {first}\n{difference_text(rows)}")
    print(predictor_text(predictors([each.report for each in loaded]), len(loaded)))


def compared(
    evaluations: "Sequence[Evaluation]", codecs: Sequence[str]
) -> "Iterator[tuple[Evaluation, list[Difference]]]":
    """Each evaluation but the first, with its paired differences to the first under these codecs.

    Raises:
        UserError: one evaluation, or codecs that they do not share.
    """
    from tempembed.codecs.spec import parse_spec
    from tempembed.evaluation.compare import paired_differences

    if len(evaluations) < 2:
        raise UserError(f"expected at least two reports, got {len(evaluations)}")
    first, *others = evaluations
    shown = {str(parse_spec(text, first.report.width)) for text in codecs}
    for other in others:
        common = paired_differences(first, other)
        rows = [row for row in common if row.first.spec in shown]
        if not rows:
            raise UserError(
                f"--codecs: expected codecs that both reports have, got {sorted(shown)}; "
                f"they have {', '.join(dict.fromkeys(row.first.spec for row in common))}"
            )
        yield other, rows
