"""The data that a run reads, as trackers are told of it."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from tempembed.settings.data import DataSettings
from tempembed.settings.sources import parse_sources
from tempembed.settings.text import TextSettings
from tempembed.tracking.tracker import TrackedDataset


def tracked_datasets(settings: DataSettings, meta: Mapping[str, Any]) -> list[TrackedDataset]:
    """Its training pairs, of all sources, and the test if there is one.

    Args:
        settings: which data it is.
        meta: of the prepared data (`Prepared.meta`).
    """
    test = meta["test"]
    name = PurePath(settings.name).name
    found = [
        TrackedDataset(
            context="training", name=name, source=_places(settings.data), digest=meta["fingerprint"], num_rows=meta["num_pairs"]
        )
    ]  # fmt: skip
    if test and settings.test:
        places = _places(settings.test)
        named = f"{PurePath(places).name} (test)"
        found.append(TrackedDataset(context="test", name=named, source=places, digest=test))
    elif test:
        held_out = f"{name} (held out)"
        found.append(
            TrackedDataset(context="test", name=held_out, source=_places(settings.data), digest=test)
        )
    return found


def tracked_text(settings: TextSettings, meta: Mapping[str, Any]) -> list[TrackedDataset]:
    """The raw text of a pre-training run.

    Args:
        settings: which text it is.
        meta: of its shards (`TokenShards.meta`).
    """
    names = "+".join(PurePath(place).name for place in settings.text)
    source = " ".join(settings.text)
    return [
        TrackedDataset(
            context="training", name=names, source=source, digest=meta["fingerprint"], num_rows=meta["num_documents"]
        )
    ]  # fmt: skip


def _places(data: tuple[str, ...]) -> str:
    return " ".join(source.place for source in parse_sources(data))
