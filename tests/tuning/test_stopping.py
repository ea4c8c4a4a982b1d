import pytest

from tempembed.tuning.stopping import savings
from tempembed.tuning.trial import Trial


def trial(status, seconds, stopped_at=None):
    return Trial(
        name="t", objective="infonce:0.1", terms=(), status=status, seconds=seconds, stopped_at=stopped_at
    )


FINISHED = trial("FINISHED", 30.0)


def test_savings_against_trials_run_to_their_end():
    records = [
        FINISHED,
        trial("FINISHED", 50.0),
        trial("STOPPED", 15.0, 11),
        trial("STOPPED", 25.0, 33),
        trial("FAILED", 3.0),
    ]
    found = savings(records, 99)
    assert (found.trials, found.stopped) == (4, 2)
    assert (found.steps_saved, found.steps) == (88 + 66, 4 * 99)
    assert found.seconds_saved == pytest.approx((40 - 15) + (40 - 25))
    assert str(found) == (
        "early stopping ended 2 of 4 trials: 154 of 396 steps not trained (39%), about 40 s of 160 s saved (25%)"
    )


@pytest.mark.parametrize("records", [[], [FINISHED], [trial("STOPPED", 1.0, 1)]])
def test_nothing_to_say(records):
    assert savings(records, 99) is None
