"""Delivers the spool of a run to its trackers, each by a courier of its own, as long as the run lasts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from tempembed.tracking.courier import Courier
from tempembed.tracking.spool import Spool, replay
from tempembed.tracking.tracker import TrackedRun, Tracker, find_tracker


@contextmanager
def delivery(spool: Spool, run: TrackedRun, trackers: Sequence[str]) -> Iterator[dict[str, Courier]]:
    """Within it, what is written into the spool is delivered; at its end what can be delivered within seconds.

    Args:
        spool: of the run.
        run: for the trackers that are opened.
        trackers: their names.

    Yields:
        The couriers by the names of their trackers.

    Raises:
        UserError: a tracker cannot be opened.
    """
    couriers: dict[str, Courier] = {}
    opened: dict[str, Tracker] = {}
    try:
        for name in trackers:
            opened[name] = tracker = find_tracker(name)(run)
            couriers[name] = Courier(
                spool, partial(replay, tracker=tracker), tracker.address or name, run.say,
                run_id=tracker.run_id, name=name,
            )  # fmt: skip
        yield couriers
    finally:
        for name, courier in couriers.items():
            courier.close()
            if not courier.is_alive():  # else it waits for a server
                opened[name].close()
