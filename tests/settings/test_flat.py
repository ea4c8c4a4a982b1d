"""Nested settings under flat names."""

import pytest

from tempembed.settings.flat import changed, flat, from_flat, names, restored
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import UserError


def test_flat_and_back():
    settings = TrainSettings.of(steps=7, terms=("16@0.05",), learning_rate=0.1, encoder="transformer")
    assert from_flat(TrainSettings(), flat(settings)) == settings
    assert flat(settings).keys() == names(TrainSettings).keys()
    assert (settings.loop.steps, settings.loss.terms, settings.model.encoder) == (
        7,
        ("16@0.05",),
        "transformer",
    )


def test_names_are_unique_among_the_groups():
    groups = [field for field in vars(TrainSettings()).values()]
    assert sum(len(names(type(group))) for group in groups) == len(names(TrainSettings))


def test_changed_leaves_the_rest():
    before = TrainSettings.of(steps=7)
    after = changed(before, batch_size=64, steps=8)
    assert after.batches.batch_size == 64
    assert after.model is before.model
    with pytest.raises(TypeError, match="got \\['colour'\\]"):
        changed(before, colour="red")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("steps", 0, "--steps: expected > 0, got 0"),
        ("warmup", 1.5, "--warmup: expected >= 0 and <= 1, got 1.5"),
        ("hold_out", 1.0, "--hold-out: expected >= 0 and < 1, got 1.0"),
        ("epochs", float("nan"), "--epochs: expected a finite number, got nan"),
        ("seed", 2**40, "--seed: expected at most"),
        ("max_query_tokens", -1, "--max-query-tokens: expected > 0, got -1"),
    ],
)
def test_declared_ranges_are_kept(name, value, said):
    with pytest.raises(UserError, match=said):
        TrainSettings.of(**{name: value})


def test_an_older_file_lacks_some_and_has_others():
    stored = {**flat(TrainSettings.of(steps=7)), "forgotten": 1}
    del stored["regularisers"]
    assert restored(TrainSettings(), stored) == TrainSettings.of(steps=7)
    with pytest.raises(UserError, match="unknown \\['forgotten'\\]"):
        from_flat(TrainSettings(), stored)


@pytest.mark.parametrize("foreign", [{"encoder": "os:system"}, {"regularisers": ("os:system:0.1",)}])
def test_a_folder_of_somebody_else_names_no_code_that_is_imported(foreign):
    theirs = flat(TrainSettings.of(**foreign))
    for asked in (None, TrainSettings(), TrainSettings.of(encoder="my:own", regularisers=("my:own:1",))):
        with pytest.raises(UserError, match="name code to import, os:system"):
            restored(TrainSettings(), theirs, asked)
    assert restored(TrainSettings(), theirs, TrainSettings.of(**foreign)) == TrainSettings.of(**foreign)
