"""`tempembed selfcheck`."""

import sys
import time
from dataclasses import dataclass

from tempembed.system.console import say


@dataclass(frozen=True, kw_only=True)
class SelfCheck:
    """Check the objective engine on this machine, in under a minute; exit with 1 if a promise does not hold.

    Tiled = dense, cached = plain, 2, 3 and 4 processes = one, over gloo (NCCL where there are GPUs enough), in every
    direction, with hard negatives, masks, beta, tau+ and learned temperatures, at tau = 0.03 and 0.4. The dense loss in
    float64 is the reference; errors are relative, of losses and gradients.
    """

    verbose: bool = False
    """Print every check, not only the worst of its kind."""


def selfcheck_command(command: SelfCheck) -> None:
    """`tempembed selfcheck`."""
    from tempembed.diagnostics.selfcheck import Check, selfcheck

    kinds: dict[str, list[Check]] = {}
    began = time.monotonic()
    for check in selfcheck():
        kinds.setdefault(check.kind, []).append(check)
        if command.verbose or not check.holds:
            say(f"{'ok  ' if check.holds else 'FAIL'} {check.error:8.1e} <= {check.bound:.0e}  {check.name}")
    print(f"{'promise':<44}{'checks':>7}{'worst error':>13}{'bound':>8}")
    for kind, checks in kinds.items():
        worst = max(checks, key=lambda check: check.error)
        verdict = "ok" if all(check.holds for check in checks) else "FAIL"
        print(f"{kind:<44}{len(checks):>7}{worst.error:>13.1e}{worst.bound:>8.0e}  {verdict}")
    failed = [check for checks in kinds.values() for check in checks if not check.holds]
    print(f"{sum(map(len, kinds.values()))} checks in {time.monotonic() - began:.0f} s, {len(failed)} failed")
    if failed:
        sys.exit(1)
