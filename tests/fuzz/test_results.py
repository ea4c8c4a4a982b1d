"""The trials of a reproduction, as its report reads them."""

import json

import pytest
from hypothesis import given
from safetensors.torch import save_file

from tempembed.reproduction.extras import COSTS, costs
from tempembed.reproduction.load_results import load_results
from tempembed.reproduction.presets import Entry, Preset
from tempembed.reproduction.results import RETRIEVAL
from tests.fuzz.harness import damaged_json, json_bytes, only_our_errors, profile
from tests.fuzz.test_report import REPORT, TENSORS

ENTRY = Entry(label="InfoNCE τ=0.1", role="single", objective="infonce:0.1", temperature=0.1)
PRESET = Preset(name="one", seeds=(0, 1), entries=(ENTRY,), encoders={"static": {}})
RECORDS = [
    {"name": ENTRY.name(seed), "status": "FINISHED", "objective": "infonce:0.1", "seed": seed, "terms": [{"dim": 64, "temperature": 0.1, "weight": 1.0, "course": None}],
     "cost": {"overhead_seconds": 2.5}, "temperatures": {}}
    for seed in PRESET.seeds
]  # fmt: skip


@pytest.fixture
def sweep(folder):
    for record in RECORDS:
        place = folder / "trials" / record["name"]
        place.mkdir(parents=True)
        (place / "evaluation.json").write_text(json.dumps(REPORT))
        save_file(TENSORS, place / "evaluation.replicates.safetensors")
    return folder


@profile
@given(damaged_json(RECORDS))
def test_results(sweep, content):
    (sweep / "trials.json").write_bytes(content)
    with only_our_errors("test_results", sweep):
        results = load_results([sweep], PRESET)
        for group in results.groups:
            assert group.score(RETRIEVAL).values_S.min() == 0.5
        for cost in costs(results):
            assert cost.values[COSTS.index("overhead_seconds")] in (None, 2.5) or content != json_bytes(
                RECORDS
            )
