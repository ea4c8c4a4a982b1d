"""Training across two nodes, with a node that dies and a link that is cut.

A node or a link may go at any step; the run goes on from its newest checkpoint and ends with the bits of an undisturbed one, or
it says in bounded time why it cannot.
"""

import time

import pytest

from tests.cluster.conftest import START_SECONDS
from tests.cluster.network import FIGURES, why_not

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]
STEPS, KILL_AT, EVERY = 1200, 300, 10  # steps of some 20 ms
WORKER, RAYLET = "ray::RayTrainWorker", "/raylet --raylet_socket_name"


@pytest.fixture(scope="module")
def flags(data_dir):
    return ("--data", data_dir / "train.parquet", "--width", 64, "--vocabulary", 400, "--batch-size", 32, "--steps", STEPS,
            "--log-every", EVERY, "--checkpoint-every", 50)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(cluster, flags):
    """The run that nothing happens to; checks on the way that it takes both machines."""
    before = cluster.worker.received_bytes()
    run = cluster.submit("undisturbed", *flags)
    run.reach(20)
    assert len(cluster.head.named(WORKER)) == len(cluster.worker.named(WORKER)) == 1
    run.reach(STEPS // 2)
    received = cluster.worker.received_bytes() - before
    code, _ = run.end(180)
    assert code == 0, run.log()[-4000:]
    # every step exchanges the gradient, 400 x 64 float32, and the embeddings of half the batch
    assert received > STEPS // 2 * 400 * 64 * 4 * 0.5
    FIGURES.append(
        f"undisturbed: {time.monotonic() - run.began:.0f} s in all, {received / 1e6:.0f} MB to the worker's node in {STEPS // 2} steps"
    )
    return run


def test_a_run_takes_both_nodes(undisturbed):
    assert undisturbed.steps() == list(range(EVERY, STEPS + 1, EVERY))
    assert undisturbed.weights()


def test_a_node_that_dies_and_comes_back(cluster, flags, undisturbed):
    run = cluster.submit("node-back", *flags)
    run.reach(KILL_AT)
    cluster.worker.power_off()
    died, reports = time.monotonic(), len(run.steps())
    time.sleep(3)
    cluster.start_worker()
    cluster.wait(lambda: len(run.steps()) > reports + 1, 150, "training to go on")
    seconds = time.monotonic() - died
    code, _ = run.end(180)
    assert code == 0, run.log()[-4000:]
    assert run.weights() == undisturbed.weights()
    FIGURES.append(
        f"node killed, back after 3 s: training again {seconds:.0f} s after the kill; weights equal bit for bit"
    )


def test_a_link_that_is_cut_for_a_minute(cluster, flags, undisturbed):
    run = cluster.submit("link", *flags)
    run.reach(KILL_AT)
    cluster.worker.plug(in_=False)
    cut, reports = time.monotonic(), len(run.steps())
    time.sleep(60)
    during = len(run.steps()) - reports
    alive = bool(cluster.worker.named(RAYLET))
    cluster.worker.plug(in_=True)
    rejoined = time.monotonic()

    def on():
        # what a supervisor does (cluster.yaml's autoscaler, systemd, a pod's restart policy): Ray ends a node that was given up
        if not cluster.worker.named(RAYLET):
            cluster.worker.power_off()
            cluster.start_worker()
            cluster.wait(lambda: cluster.worker.named(RAYLET), 60, "a raylet")
        return len(run.steps()) > reports + during + 1

    cluster.wait(on, 240, "training to go on")
    seconds = time.monotonic() - rejoined
    code, _ = run.end(180)
    assert code == 0, run.log()[-4000:]
    assert run.weights() == undisturbed.weights()
    FIGURES.append(
        f"link cut for {rejoined - cut:.0f} s ({during} reports meanwhile, raylet alive at its end: {alive}): training again "
        f"{seconds:.0f} s after it was back; weights equal bit for bit"
    )


def test_a_node_that_never_comes_back(cluster, flags):
    run = cluster.submit("node-gone", *flags)
    run.reach(KILL_AT)
    cluster.worker.power_off()
    died = time.monotonic()
    code, _ = run.end(5 * START_SECONDS + 60)
    assert code != 0
    FIGURES.append(
        f"node killed for good: error after {time.monotonic() - died:.0f} s: {run.log().strip().splitlines()[-12:]}"
    )
    assert "error: " in run.log()
    assert "Traceback" not in run.log()
    assert list((run.output / "checkpoints").glob("step_*"))
