"""Reports and their replicates."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from tempembed.evaluation.compare import paired_differences
from tempembed.evaluation.report_files import load_evaluation
from tests.fuzz.harness import damaged, damaged_json, only_our_errors, profile


def row(task, spec, codec, dim, size):
    return {
        "task": task, "spec": spec, "codec": codec, "metric": "ndcg_at_10", "dim": dim, "bytes_per_vector": size, "score": 0.5, "ci_low": 0.4,
        "ci_high": 0.6, "raw_score": None, "retention": 0.9, "retention_ci_low": 0.8, "retention_ci_high": 1.0,
    }  # fmt: skip


REPORT = {
    "model": "m", "width": 64, "geometry": {"pca95": 3}, "data": {"tasks": {"retrieval": {"kind": "retrieval", "fingerprint": "ab"}}},
    "scores": [row("retrieval", "prefix:64+float32", "float32", 64, 256), row("retrieval", "prefix:64+binary", "binary", 64, 8)],
}  # fmt: skip
TENSORS = {
    f"{r['task']}|{r['spec']}": torch.rand(20, generator=torch.Generator().manual_seed(0))
    for r in REPORT["scores"]
}
OTHERS = st.sampled_from([
    TENSORS, dict(list(TENSORS.items())[:1]), {name: t[:0] for name, t in TENSORS.items()}, {name: t.long() for name, t in TENSORS.items()},
    {name: t[None].clone() for name, t in TENSORS.items()}, {name: t[: 5 * i + 1].clone() for i, (name, t) in enumerate(TENSORS.items())},
    {name: t.double() * float("nan") for name, t in TENSORS.items()}, {name: t.half() for name, t in TENSORS.items()}, {},
])  # fmt: skip


@pytest.fixture
def whole(folder):
    path = folder / "whole.json"
    path.write_text(json.dumps(REPORT))
    path.with_suffix(".replicates.safetensors").write_bytes(save(TENSORS))
    return load_evaluation(path)


@profile
@given(damaged_json(REPORT), st.one_of(OTHERS.map(save), damaged(save(TENSORS))))
def test_report(whole, folder, report, replicates):
    path = folder / "report.json"
    path.write_bytes(report)
    path.with_suffix(".replicates.safetensors").write_bytes(replicates)
    with only_our_errors("test_report", folder):
        loaded = load_evaluation(path)
        for found in (
            paired_differences(whole, loaded),
            paired_differences(loaded, whole),
            paired_differences(loaded, loaded),
        ):
            assert all(len(one.ci) == 2 for one in found)
