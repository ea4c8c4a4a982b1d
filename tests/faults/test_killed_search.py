"""A search with early stopping whose driver is killed, and that goes on."""

import json

import pytest
from mlflow import MlflowClient

from tests.faults.harness import Job, kill, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.mlflow]
NUM_TRIALS = 4


def records(output):
    return {path.parent.name: json.loads(path.read_text()) for path in output.glob("trials/*/trial.json")}


@pytest.mark.parametrize("num_workers", [2, 0])
def test_a_killed_search_goes_on_with_the_same_trials_and_runs(stack, data_dir, tmp_path, num_workers):
    name = f"search-{num_workers}"
    output = tmp_path / name
    flags = ("--data", data_dir / "train.parquet", "--eval-data", data_dir / "test.parquet", "--width", 64,
             "--vocabulary", 400, "--batch-size", 32, "--steps", 27, "--log-every", 3, "--search", "tpe",
             "--num-trials", NUM_TRIALS, "--early-stop", "--num-workers", num_workers,
             "--experiment", name, "--mlflow-uri", stack.mlflow_url)  # fmt: skip
    search = Job(stack, output, flags, module="ray_jobs.tune").submit()
    # one trial has finished, another one is running
    wait_for(lambda: {"FINISHED", "RUNNING"} <= {r["status"] for r in records(output).values()}, 240, 0.1)
    kill(search.driver())
    before = records(output)
    assert search.end(60) != 0
    num_ended = sum(r["status"] != "RUNNING" for r in before.values())
    assert num_ended < NUM_TRIALS
    ended = next(name for name, r in before.items() if r["status"] == "FINISHED")
    evaluation = output / "trials" / ended / "evaluation.json"
    stamp = evaluation.stat().st_mtime_ns

    again = Job(stack, output, ("--resume", output, "--mlflow-uri", stack.mlflow_url), module="ray_jobs.tune")
    assert again.submit().end(500) == 0, again.said[-6000:]
    log = again.said
    assert f"going on after {num_ended} that ended" in log
    after = records(output)
    assert len(after) == NUM_TRIALS
    assert {r["status"] for r in after.values()} <= {"FINISHED", "STOPPED"}
    assert {r["stopped_at"] for r in after.values() if r["status"] == "STOPPED"} <= {3, 9}
    assert {name: r["settings"] for name, r in before.items()}.items() <= {
        name: r["settings"] for name, r in after.items()
    }.items()
    assert evaluation.stat().st_mtime_ns == stamp

    client = MlflowClient(stack.mlflow_url)
    experiment = client.get_experiment_by_name(name).experiment_id
    runs = [r for r in client.search_runs([experiment]) if r.data.tags.get("tempembed.trial")]
    assert sorted(r.data.tags["tempembed.trial"] for r in runs) == sorted(after)
    assert {r.info.run_id for r in runs} == {r["mlflow_run_id"] for r in after.values()}
    for run in runs:
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")]
        assert sorted(set(steps)) == steps  # none twice
        rungs = [m.step for m in client.get_metric_history(run.info.run_id, "probe/score_at_128_bytes")]
        assert rungs in ([3], [3, 9])
    assert len([r for r in client.search_runs([experiment]) if r.info.run_name == f"sweep {name}"]) == 1

    # other settings under the same name, or beside --resume, are refused and nothing changes
    for wrong, why in (
        ((*flags, "--seed", 1), "seed: 0 there, 1 here"),
        (("--resume", output, "--seed", 1), "expected no other settings than the sweep's own, got --seed"),
        (("--resume", tmp_path / "none"), "found no sweep.json in"),
    ):
        refused = Job(stack, output, wrong, module="ray_jobs.tune")
        assert refused.submit().end(200) != 0
        assert why in refused.said
    assert records(output) == after
