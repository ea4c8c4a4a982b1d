"""`tempembed compare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from tempembed.system.errors import UserError


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
    from tempembed.codecs.spec import parse_spec
    from tempembed.evaluation.compare import paired_differences
    from tempembed.evaluation.report_files import load_evaluation
    from tempembed.reports.predictors import predictors
    from tempembed.reports.report_text import difference_text, predictor_text

    loaded = [load_evaluation(Path(name)) for name in command.reports]
    if len(loaded) < 2:
        raise UserError(f"expected at least two reports, got {len(loaded)}")
    first, *others = loaded
    shown = {str(parse_spec(text, first.report.width)) for text in command.codecs}
    for other in others:
        common = paired_differences(first, other)
        rows = [row for row in common if row.first.spec in shown]
        if not rows:
            raise UserError(
                f"--codecs: expected codecs that both reports have, got {sorted(shown)}; "
                f"they have {', '.join(dict.fromkeys(row.first.spec for row in common))}"
            )
        print(f"{other.report.model} - {first.report.model}\n{difference_text(rows)}")
    print(predictor_text(predictors([each.report for each in loaded]), len(loaded)))
