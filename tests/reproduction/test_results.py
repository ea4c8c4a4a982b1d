import json
import shutil

import pytest
import torch

from tempembed.codecs.spec import Spec
from tempembed.evaluation.compare import paired_differences
from tempembed.evaluation.report_files import load_evaluation
from tempembed.reproduction.load_results import load_results
from tempembed.reproduction.presets import BEST_SINGLE
from tempembed.reproduction.results import RETRIEVAL, NotMeasured
from tempembed.reproduction.sample import difference
from tempembed.system.errors import UserError


@pytest.fixture
def copy(sweep_folder, tmp_path):
    return shutil.copytree(sweep_folder, tmp_path / "sweep")


def test_a_sweep_is_read(sweep_folder, tiny):
    results = load_results([sweep_folder], tiny)
    assert [group.entry for group in results.groups] == list(tiny.entries)
    assert [trial.name for trial in results.failed] == ["infonce-learned-tau-seed1"]
    assert results.group("InfoNCE, learned τ").seeds == (0,)
    main = results.of("static")
    assert [group.tau for group in main.role("single")] == [0.04, 0.1, 0.4]
    assert main.group(BEST_SINGLE).entry.role == "single"
    group = main.groups[0]
    rows = json.loads((group.runs[0].folder / "evaluation.json").read_text())["scores"]
    want = next(r for r in rows if r["task"] == "retrieval" and r["spec"] == "prefix:32+float32")
    found = group.kept(RETRIEVAL, Spec(width=32))
    assert found.values_S[0].item() == pytest.approx(want["retention"])
    assert found.replicates_SR.shape == (2, 1000)
    assert group.measure("pca95").values_S[0].item() == group.runs[0].report.geometry["pca95"]
    with pytest.raises(NotMeasured, match=r"InfoNCE τ=0\.04: retrieval under prefix:7"):
        group.score(RETRIEVAL, Spec(width=7))
    with pytest.raises(NotMeasured, match="no such label"):
        main.group("no such label")


def test_one_seed_gives_the_interval_of_compare(sweep_folder, tiny):
    results = load_results([sweep_folder], tiny).of("static")
    low, high = results.role("single")[0], results.role("single")[-1]
    reports = [load_evaluation(group.runs[0].folder / "evaluation.json") for group in (low, high)]
    spec = f"prefix:{low.width}+float32"
    want = next(
        r for r in paired_differences(*reports) if (r.first.task, r.first.spec) == ("retrieval", spec)
    )
    found = difference(high.score(RETRIEVAL), low.score(RETRIEVAL))
    assert found.values_S[0].item() == pytest.approx(want.score)
    first = torch.quantile(found.replicates_SR[0], torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    assert first == pytest.approx(want.ci, abs=1e-6)


def test_what_is_not_there_is_refused(copy, tiny, tmp_path):
    with pytest.raises(UserError, match="expected the trials of a sweep and could not read them"):
        load_results([tmp_path], tiny)
    records = json.loads((copy / "trials.json").read_text())
    (copy / "trials.json").write_text(json.dumps(records[2:]))
    with pytest.raises(
        UserError, match=r"2 are missing, the first is infonce-0\.04-seed0; run it to its end"
    ):
        load_results([copy], tiny)
    # the trials of a preset may lie in two sweeps
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "trials.json").write_text(json.dumps(records[:2]))
    shutil.move(copy / "trials" / "infonce-0.04-seed0", tmp_path / "other/trials/infonce-0.04-seed0")
    shutil.move(copy / "trials" / "infonce-0.04-seed1", tmp_path / "other/trials/infonce-0.04-seed1")
    assert len(load_results([copy, tmp_path / "other"], tiny).groups) == len(tiny.entries)


def test_damaged_replicates_are_refused(copy, tiny):
    path = copy / "trials" / "mrl-0.4-seed1" / "evaluation.replicates.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"mrl-0\.4-seed1.*could not read it"):
        load_results([copy], tiny)


def test_trials_on_other_data_are_refused(copy, tiny):
    path = copy / "trials" / "tempagg-seed0" / "evaluation.json"
    report = json.loads(path.read_text())
    records = json.loads((copy / "trials.json").read_text())
    for record in (report, next(r for r in records if r["name"] == "tempagg-seed0")):
        record["data"]["tasks"]["retrieval"]["fingerprint"] = "0123"
    path.write_text(json.dumps(report))
    (copy / "trials.json").write_text(json.dumps(records))
    with pytest.raises(UserError, match=r"task retrieval: expected the same queries.*0123 \(tempagg-seed0"):
        load_results([copy], tiny)


def test_no_trial_that_ended_well(copy, tiny):
    records = json.loads((copy / "trials.json").read_text())
    (copy / "trials.json").write_text(json.dumps([{**r, "status": "FAILED"} for r in records]))
    with pytest.raises(UserError, match="expected at least one trial that ended well, all 24 failed"):
        load_results([copy], tiny)
