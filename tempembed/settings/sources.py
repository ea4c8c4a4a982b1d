"""Sources of pairs as settings name them: a place, and perhaps how often its rows are drawn."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tempembed.system.cache import EMBEDDED
from tempembed.system.errors import UserError

_WEIGHTED = re.compile(r"(?P<place>.+):(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))", re.DOTALL)
_DATA = re.compile(r"\.(parquet|jsonl|ndjson|json|csv|tsv)(\.gz)?$", re.IGNORECASE)
_REMOTE = re.compile(r"\w+://(?!.*[?&]endpoint_override=[^&:]*$).+")
"""An address; the number behind that of a server is its port."""
_SPLIT_OF_THE_HUB = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?:[^:/]*:[^:/]+")
"""org/name:config:split; the config may be empty."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A place of pairs, and how often its rows are drawn."""

    place: str
    """A path, a hub name, or installed-code."""
    weight: float | None = None
    """Its share of all rows that are drawn, over the sum of the weights; None: as many as it has."""


def parse_source(text: str) -> Source:
    """A place and its weight, PLACE:NUMBER.

    What is there under the whole text is a place. Else a number after the last colon is a weight behind a file or folder that is
    there, the name of a data file, installed-code, or a hub name with its split; behind anything else it belongs to the place,
    as in org/name:config.

    >>> parse_source("a.parquet:2"), parse_source("org/name:2")
    (Source(place='a.parquet', weight=2.0), Source(place='org/name:2', weight=None))
    >>> parse_source("org/name::train:0.5")
    Source(place='org/name::train', weight=0.5)
    """
    found = _WEIGHTED.fullmatch(text)
    if found and not is_place(text):
        place = found["place"]
        known = (
            _DATA.search(place)
            or _REMOTE.fullmatch(place)
            or place in EMBEDDED
            or _SPLIT_OF_THE_HUB.fullmatch(place)
        )
        if known or is_place(place):
            return Source(place=place, weight=float(found["weight"]))
    return Source(place=text)


def parse_sources(texts: Sequence[str], flag: str = "--data") -> tuple[Source, ...]:
    """The sources of a mixture; those of weight 0 are left out.

    Raises:
        UserError: none, one twice, weights for some of them only, a negative one, or weights that sum to nothing.
    """
    sources = [parse_source(text) for text in texts]
    if not sources:
        raise UserError(f"{flag}: expected a file, a folder or a hub name with pairs, got none")
    places = [source.place for source in sources]
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise UserError(
            f"{flag}: expected each source once, got {twice} twice; to draw it more often give it a weight, {twice}:2"
        )
    weights = [source.weight for source in sources if source.weight is not None]
    if not weights:
        return tuple(sources)
    if len(weights) < len(sources):
        without = next(source.place for source in sources if source.weight is None)
        raise UserError(
            f"{flag}: expected a weight for every source or for none, got none for {without}; write {without}:1"
        )
    if (least := min(weights)) < 0:
        raise UserError(f"{flag}: expected weights >= 0, got {least:g}")
    if not sum(weights):
        raise UserError(f"{flag}: expected weights that sum to more than 0, got {' '.join(texts)}")
    return tuple(source for source in sources if source.weight)


def is_place(place: str) -> bool:
    """Whether a file or folder of that name is there."""
    try:
        return os.path.exists(os.path.expanduser(place))
    except ValueError:  # a zero byte
        return False
