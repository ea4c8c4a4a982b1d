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
    from tempembed.evaluation.compare import differences, load_report
    from tempembed.reports.predictors import predictors
    from tempembed.reports.table import difference_table, predictor_table

    loaded = [load_report(Path(name)) for name in command.reports]
    if len(loaded) < 2:
        raise UserError(f"expected at least two reports, got {len(loaded)}")
    shown = {str(parse_spec(text, loaded[0][0]["width"])) for text in command.codecs}
    for other in loaded[1:]:
        common = differences(loaded[0], other)
        rows = [row for row in common if row["spec"] in shown]
        if not rows:
            raise UserError(
                f"--codecs: expected codecs that both reports have, got {sorted(shown)}; "
                f"they have {', '.join(dict.fromkeys(row['spec'] for row in common))}"
            )
        print(f"{other[0]['model']} - {loaded[0][0]['model']}\n{difference_table(rows)}")
    print(predictor_table(predictors([report for report, _ in loaded]), len(loaded)))
