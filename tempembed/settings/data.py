"""Settings of the data: which pairs are trained on, which choose, which are the test."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from tempembed.settings.flat import check_ranges
from tempembed.system.cache import INSTALLED_CODE


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which pairs are trained on, which choose, which are the test."""

    data: str = INSTALLED_CODE
    """Training pairs: a Parquet, JSON Lines or CSV file, a folder of them, a datasets hub name, or installed-code (the Python code of this environment)."""
    eval_data: str | None = None
    """Test pairs, evaluated after training. installed-code brings its own test split."""
    hold_out: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Without --eval-data: share of --data that is kept from training as the test; shares no text with the rest."""
    dev_data: str | None = None
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
        check_ranges(self)
