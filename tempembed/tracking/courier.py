"""Delivers a spool to a tracker in the background, in order, each record until it is taken."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tempembed.system.redact import redact
from tempembed.tracking.spool import Spool, read_records
from tempembed.tracking.tracker import UnreachableError

BACKOFF = (0.5, 1.0, 2.0, 5.0)
"""Seconds between tries at a server that does not answer."""
POLL = 0.5
AWAY_SECONDS = 3.0
"""How long an end waits for a server that did not answer the last time."""


class Courier(threading.Thread):
    """Continues where the last courier to the same run ended; a new address or run is told everything."""

    def __init__(
        self,
        spool: Spool,
        deliver: Callable[[dict[str, Any]], None],
        address: str,
        say: Callable[[str], None] = lambda line: None,
        *,
        run_id: str = "",
        name: str = "",
    ) -> None:
        """Start delivering.

        Args:
            spool: what is delivered.
            deliver: takes a record; raises UnreachableError or RefusedError. Taking a record twice must do no harm: one that was
                taken just before the process died comes again.
            address: of the server.
            say: takes a line when an outage begins and when it ends.
            run_id: the root run's there; one that is new, after the old one was deleted, is told everything.
            name: of the tracker; names the files beside the spool. Default: the spool's.
        """
        super().__init__(daemon=True, name="courier")
        self._path, self._deliver, self._address, self._run_id = spool.path, deliver, redact(address), run_id
        self._say = say
        stem = name.replace(":", ".") or spool.path.stem
        self._sent, self._refused = (spool.path.with_name(f"{stem}.{kind}") for kind in ("sent", "refused"))
        self._offset = self._counted = self._load()
        self._found = self._taken = 0
        self._counting = threading.RLock()  # a signal may come within
        self._closing = threading.Event()
        self._is_away = False
        self._reasons: set[str] = set()
        """Why records were refused; each is said once."""
        self.start()

    @property
    def depth(self) -> int:
        """The delivery backlog: records that were not taken yet."""
        with self._counting:  # on from the last count: an outage of a day leaves a long file
            for _, after in read_records(self._path, self._counted):
                self._counted, self._found = after, self._found + 1
        return max(0, self._found - self._taken)

    def drain(self, seconds: float) -> int:
        """Wait until all is delivered, at most so long, less if the server is away; how many records are left."""
        began = time.monotonic()
        while (left := self.depth) and self.is_alive():
            if time.monotonic() - began > (min(AWAY_SECONDS, seconds) if self._is_away else seconds):
                break
            time.sleep(0.05)
        return left

    def close(self, seconds: float = 8.0) -> int:
        """Deliver what can be delivered within so many seconds, and end; how many records stay in the spool. Once is enough."""
        if self._closing.is_set():
            return self.depth
        left = self.drain(seconds)
        self._closing.set()
        self.join(0.5)
        if left:
            self._say(
                f"{self._address} did not take {left} records: they wait in {self._path}, and the same command again delivers them"
            )
        return left

    def run(self) -> None:
        """Until it is closed."""
        tries, since = 0, 0.0
        while not self._closing.is_set():
            try:
                before = self._offset
                for record, after in read_records(self._path, self._offset):
                    self._take(record)
                    self._offset, tries = after, self._answered(tries, since)
                    self._taken += 1
                    if self._closing.is_set():
                        break
                if self._offset == before:
                    self._closing.wait(POLL)
                    continue
            except UnreachableError as error:
                if not tries:
                    since = time.monotonic()
                    self._say(
                        f"{self._address} does not answer ({str(error)[:160]}); records are kept in {self._path}"
                    )
                self._is_away = True
                self._save()
                self._closing.wait(BACKOFF[min(tries, len(BACKOFF) - 1)])
                tries += 1
                continue
            self._save()

    def _answered(self, tries: int, since: float) -> int:
        self._is_away = False
        if tries:
            self._say(f"{self._address} answers again after {time.monotonic() - since:.0f} s")
        return 0

    def _take(self, record: dict[str, Any]) -> None:
        try:
            self._deliver(record)
        except UnreachableError:
            raise
        except Exception as error:  # one that nobody can take must not hold up the others
            with self._refused.open("a") as file:
                file.write(json.dumps({"why": str(error), **record}) + "\n")
            if (why := str(error)[:200]) not in self._reasons:
                self._reasons.add(why)
                self._say(
                    f"{self._address} refused a record ({why}); it is kept in {self._refused}, and others like it"
                )

    def _load(self) -> int:
        try:
            known = json.loads(self._sent.read_text())
            same = known["address"] == self._address and known.get("run_id", self._run_id) == self._run_id
            offset = int(known["offset"])
            return offset if same and 0 <= offset <= self._path.stat().st_size else 0
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return 0

    def _save(self) -> None:
        partial = Path(f"{self._sent}.partial")
        try:
            partial.write_text(
                json.dumps({"address": self._address, "run_id": self._run_id, "offset": self._offset})
            )
            partial.replace(self._sent)
        except OSError:
            pass  # what was taken is told again; that does no harm
