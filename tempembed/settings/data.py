"""Settings of the data: which pairs are trained on, which choose, which are the test."""

import os
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Annotated, Any

from annotated_types import Interval

from tempembed.settings.flat import ONE_AS_ITSELF, check_ranges
from tempembed.settings.sources import parse_source
from tempembed.system.cache import EMBEDDED, INSTALLED_CODE
from tempembed.system.errors import UserError


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which pairs are trained on, which choose, which are the test."""

    data: tuple[str, ...] = field(default=(INSTALLED_CODE,), metadata=ONE_AS_ITSELF)
    """Training pairs, of texts or pictures: a Parquet, JSON Lines or CSV file, a folder of them, a datasets hub name, installed-code
    (the Python code of this environment) or installed-glyphs (pictures of characters and their names). Of several sources, a.parquet:2 b.jsonl:1 draws two rows of the first for each of the second."""
    eval_data: tuple[str, ...] = field(default=(), metadata=ONE_AS_ITSELF)
    """Test pairs, evaluated after training; of several sources each has a score too. installed-code and installed-glyphs bring a test of their own."""
    hold_out: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Without --eval-data: share of --data that is kept from training as the test; shares no text with the rest."""
    dev_data: tuple[str, ...] = field(default=(), metadata=ONE_AS_ITSELF)
    """Dev pairs, by which --goal chooses the checkpoint and --tau auto the temperature: neither trained on nor the test."""
    dev_hold_out: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Without --dev-data: share of --data that is kept from training as dev pairs; shares no text with the rest. Default: where
    something is chosen, a twentieth, at least 200 pairs (at most a fifth) and at most 2,000."""
    skip_bad_rows: bool = False
    """Leave bad rows of --data out and count them, instead of stopping at the first."""
    min_score: float | None = None
    """Least score of a pair, where the data has a column of scores."""
    allow_overlap: bool = False
    """Train although texts of --eval-data or --dev-data are in --data."""

    def __post_init__(self) -> None:
        for name in ("data", "eval_data", "dev_data"):
            object.__setattr__(self, name, several(getattr(self, name)))
        check_ranges(self)
        if not self.data:
            raise UserError("--data: expected a file, a folder or a hub name with pairs, got none")

    @property
    def name(self) -> str:
        """What --data is called in tables and tags: a place as it is given; of several the names without their folders."""
        places = [parse_source(text).place for text in self.data]
        return places[0] if len(places) == 1 else "+".join(PurePath(place).name for place in places)

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the sources that have one above 0; () where none has one."""
        return tuple(weight for text in self.data if (weight := parse_source(text).weight))

    @property
    def test(self) -> tuple[str, ...]:
        """Where the test pairs are; empty where they are held out, or there are none."""
        return self.eval_data or (self.data if len(self.data) == 1 and self.data[0] in EMBEDDED else ())


def several(value: Any) -> Any:
    """One source as a tuple of one; None as none."""
    if value is None:
        return ()
    if isinstance(value, str | os.PathLike):
        return (os.fspath(value),)
    return tuple(map(os.fspath, value)) if isinstance(value, list | tuple) else value
