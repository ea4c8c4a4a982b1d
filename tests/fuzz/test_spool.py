"""The spool of a run, which whoever had its folder may have changed."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tempembed.tracking.courier import Courier
from tempembed.tracking.spool import Spool, read_records
from tests.fuzz.harness import changed, damaged, json_bytes, only_our_errors, profile

RECORDS = [
    {"run": "a", "kind": "start", "time": 1, "params": {"seed": 0}, "tags": {"x": "y"}},
    {
        "run": "a",
        "kind": "points",
        "time": 2,
        "log": 5,
        "points": [["train/loss", 0.5, 5], ["train/lr", 1, 5]],
    },
    {"run": "a", "kind": "points", "time": 3, "points": [["retention", 0.9, 64]]},
    {"run": "", "kind": "tag", "time": 4, "key": "k", "value": "v", "log": 3},
    {"run": "a", "kind": "file", "time": 5, "path": "evaluation.json"},
    {"run": "a", "kind": "finish", "time": 6, "status": "FINISHED"},
]
lines = st.lists(st.sampled_from(RECORDS).flatmap(changed).map(json_bytes), max_size=6).map(b"\n".join)
whole = b"\n".join(json.dumps(record).encode() for record in RECORDS)


@profile
@given(st.one_of(lines, damaged(whole)))
def test_spool(folder, content):
    path = folder / "mlflow.spool"
    path.write_bytes(content)
    with only_our_errors("test_spool", folder):
        spool = Spool(path)
        spool.log("b", {"step": 7, "train/loss": 0.25})
        told = [record for record, _ in read_records(path, 0)]
        assert told[-1]["points"] == [["train/loss", 0.25, 7]]
        for record in told:
            assert isinstance(record["run"], str)
            assert record["kind"] in ("start", "points", "tag", "file", "finish")


@profile
@given(damaged(json.dumps({"address": "http://127.0.0.1:5000", "offset": 3}).encode()))
def test_how_far_a_courier_came(folder, content):
    (folder / "mlflow.spool").write_bytes(whole + b"\n")
    (folder / "mlflow.sent").write_bytes(content)
    with only_our_errors("test_how_far_a_courier_came"):
        courier = Courier(Spool(folder / "mlflow.spool"), lambda record: None, "http://127.0.0.1:5000")
        assert courier.close(2.0) == 0
