"""Where the time of a loop goes, on the host's clock."""

import time
from collections.abc import Callable


class Stopwatch:
    """Goes through named phases, one after the other; a lap begins where the first phase comes again.

    Waits for no device. On a GPU a phase is therefore what the host needs to queue its work: the phase in which the
    host waits for a value from the device holds the kernels' time too. The phases' sum is the wall time either way.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._first = self._phase = ""
        self._since = clock()
        self._laps = 0
        self._seconds: dict[str, float] = {}

    def to(self, phase: str) -> None:
        """Ends the running phase and begins this one."""
        self._end()
        self._first = self._first or phase
        self._laps += phase == self._first
        self._phase = phase

    def credit(self, phase: str, seconds: float) -> None:
        """This many seconds of the running phase were another's."""
        self._add(phase, seconds)
        self._add(self._phase, -seconds)

    def seconds_per_lap(self) -> dict[str, float]:
        """Mean seconds of each phase since the last call; the running one counts up to now."""
        self._end()
        means = {phase: seconds / max(1, self._laps) for phase, seconds in self._seconds.items() if phase}
        self._seconds, self._laps = {}, 0
        return means

    def _end(self) -> None:
        now = self._clock()
        self._add(self._phase, now - self._since)
        self._since = now

    def _add(self, phase: str, seconds: float) -> None:
        self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds
