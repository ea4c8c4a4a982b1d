import dataclasses

import pytest

from tempembed.reproduction.presets import PRESETS, PRETRAINED, STATIC, settings, single
from tempembed.settings.flat import changed as with_settings
from tempembed.settings.train import TrainSettings
from tempembed.system.errors import UserError
from tempembed.system.names import check_name

PAPER = [name for name in PRESETS if PRESETS[name]().study == "paper"]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("width", [512, 1024])
def test_every_run_is_valid_and_has_a_name_of_its_own(name, width):
    preset = PRESETS[name]()
    encoders = {**preset.encoders, STATIC: {**preset.encoders[STATIC], "width": width}}
    preset = dataclasses.replace(preset, encoders=encoders)
    runs = settings(preset, TrainSettings.of(data="x.parquet", hold_out=0.1))
    assert len(runs) == len(preset.entries) * len(preset.seeds) >= 3 * 5
    assert all(check_name(run, "trial") for run in runs)
    objectives = set()
    for run in runs.values():
        own = width if run.model.encoder == STATIC else run.model.width or 384  # a published model's own
        terms = run.loss.resolved_terms(own)
        assert max(term.dim for term in terms) == own
        assert run.data.data == ("x.parquet",)
        objectives.add((run.model.encoder, terms, run.loss.beta, run.loop.seed))
    assert len(objectives) == len(runs)
    # of one seed, nothing but the objective differs: the same data in the same order
    for encoder in (preset.overrides(encoder)["encoder"] for encoder in preset.encoders):
        same = {
            with_settings(run, objective="infonce:1", terms=(), beta=0.0)
            for run in runs.values()
            if run.model.encoder == encoder and run.loop.seed == 0
        }
        assert len(same) == 1


@pytest.mark.parametrize("name", PAPER)
def test_what_the_claims_need_is_run(name):
    preset = PRESETS[name]()
    taus = {e.temperature for e in preset.entries if e.role == "single" and e.encoder == STATIC}
    assert taus >= {0.04, 0.06, 0.1, 0.2, 0.4}
    prefixes = {e.temperature for e in preset.entries if e.role == "mrl" and e.encoder == STATIC}
    assert len(prefixes) >= 3
    assert prefixes <= taus
    assert len(preset.seeds) >= 3
    labels = {e.label for e in preset.entries if e.encoder == STATIC}
    assert {e.against for e in preset.entries} - {""} <= labels | {"best single τ", "best MRL τ"}


def test_views_are_added_to_their_baselines():
    preset = PRESETS["compression"]()
    runs = settings(preset, TrainSettings())
    by_label = {entry.label: runs[entry.name(0)].loss.resolved_terms(1024) for entry in preset.entries}
    quick = PRESETS["compression-quick"]()
    assert {*quick.entries} < {*preset.entries}
    assert quick.encoders == preset.encoders
    for entry in preset.entries:
        if entry.role == "views" and "+" in entry.label:
            own, base = by_label[entry.label], by_label[entry.against]
            assert own[: len(base)] == base
            assert all(term.view != "float" for term in own[len(base) :])
    signs, floats = by_label["TempAggMRL + signs"][9:], by_label["TempAggMRL + floats"][9:]
    assert [dataclasses.replace(term, view="float") for term in signs] == list(floats)
    assert preset.goals == ("retrieval", "bytes-512", "bytes-128", "bytes-64", "bytes-32")


def test_terms_scaled_by_tau_have_equal_prefactors():
    runs = settings(PRESETS["quick"](), TrainSettings())
    terms = runs["tempagg-terms-scaled-by-tau-seed0"].loss.resolved_terms(512)
    assert [term.weight / term.temperature for term in terms] == pytest.approx([3 / 0.19] * 3, rel=1e-3)


def test_a_name_twice_is_refused():
    preset = dataclasses.replace(PRESETS["quick"](), entries=(single(0.1), single(0.1)))
    with pytest.raises(UserError, match=r"expected each label and seed once, got infonce-0\.1-seed0 twice"):
        settings(preset, TrainSettings())


def test_a_part_of_a_preset():
    both = PRESETS["full"]()
    part = both.of("transformer")
    assert list(part.encoders) == ["transformer"]
    assert {entry.encoder for entry in part.entries} == {"transformer"}
    assert both.of(*both.encoders) == both
    for wrong in ((), ("bert",), ("static", "bert")):
        with pytest.raises(UserError, match="expected encoders of static, transformer"):
            both.of(*wrong)


def test_the_pretrained_model_is_a_published_one_or_the_one_that_is_named():
    preset = PRESETS["quick"]().of(PRETRAINED)
    runs = settings(preset.with_model("/models/mine"), TrainSettings())
    assert {run.model.encoder for run in runs.values()} == {"/models/mine"}
    assert len(runs) == 27  # five temperatures, prefixes and the three sets, with three seeds
    assert all(name.startswith("pretrained-") for name in runs)
    assert {run.model.encoder for run in settings(preset, TrainSettings()).values()} == {
        "sentence-transformers/all-MiniLM-L6-v2"
    }
