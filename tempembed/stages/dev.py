"""Dev pairs: what a run chooses by. They are no training pairs and no part of the test, so that both stay honest."""

import dataclasses
from collections.abc import Callable

import pyarrow as pa

from tempembed.data.columns import QUERY, TEXT
from tempembed.data.overlap import check_overlap
from tempembed.data.pairs import Pairs, read_pairs
from tempembed.data.split import holdout
from tempembed.evaluation.corpus import Corpus, corpus_from_pairs
from tempembed.settings.sources import parse_sources
from tempembed.settings.train import TrainSettings

SHARE, FEWEST, MOST, LARGEST_SHARE = 1 / 20, 200, 2_000, 1 / 5
"""What is held out if a user asks for no share: a twentieth of the pairs, but this few and this many, and no more than a fifth."""
SEED = 1
"""Of the hold-out; the test's is another."""


def dev_part(
    settings: TrainSettings, pairs: Pairs, test: Corpus | None, say: Callable[[str], None]
) -> tuple[Pairs, Corpus | None]:
    """The pairs that are left for training, and the dev corpus; none where nothing is chosen and no dev data is asked for.

    Args:
        settings: of the run.
        pairs: for training, without the test.
        test: the test, if there is one.
        say: is told what is held out.

    Raises:
        UserError: dev data that shares a text with training or with the test, or too few pairs to hold some out.
    """
    data = settings.data
    if data.dev_data:
        places = [source.place for source in parse_sources(data.dev_data, "--dev-data")]
        dev = read_pairs(
            places, skip_bad_rows=data.skip_bad_rows, split="dev", min_score=data.min_score, say=say
        )
        tables = {"the training data": pairs.table}
        if test:  # roles do not matter: no text may be in both
            tables["the test data"] = pa.table({QUERY: pa.array([*test.queries, *test.documents], TEXT)})
        for than, table in tables.items():
            what = f"--dev-data {dev.source}"
            check_overlap(table, dev.table, what=what, than=than, allow=data.allow_overlap, say=say)
        return pairs, corpus_from_pairs(dev)
    if not (data.dev_hold_out or settings.chooses):
        return pairs, None
    num = round(data.dev_hold_out * len(pairs)) or default_size(len(pairs))
    train, table = holdout(
        pairs.table, max(2, num), seed=SEED, instead="dev pairs of your own (--dev-data)", say=say
    )
    say(f"held out {len(table):,} of {len(pairs):,} pairs to choose by (--dev-hold-out, --dev-data)")
    return dataclasses.replace(pairs, table=train), corpus_from_pairs(Pairs(table=table, source=pairs.source))


def default_size(num_pairs: int) -> int:
    """Pairs that are held out where a user asks for no share.

    >>> default_size(1_000), default_size(20_000), default_size(1_000_000)
    (200, 1000, 2000)
    """
    return min(MOST, max(FEWEST, round(SHARE * num_pairs)), round(LARGEST_SHARE * num_pairs))
