"""The machines that the cluster's tests run on are machines."""

import os
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.network import machines, why_not

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]
SERVE = "import socket; s = socket.create_server(('{}', 5000))\nwhile True: c, _ = s.accept(); c.sendall(b'hello'); c.close()"
ASK = "import socket; c = socket.create_connection(('{}', 5000), 2); print(c.recv(9))"


def test_two_machines_talk_while_the_cable_is_in(tmp_path):
    with machines(2) as (one, two):
        one.start([sys.executable, "-c", SERVE.format(one.address)], dict(os.environ), tmp_path / "log")

        def answers():
            return (
                "hello"
                in two.run([sys.executable, "-c", ASK.format(one.address)], dict(os.environ), 20).stdout
            )

        def within(seconds):
            deadline = time.monotonic() + seconds
            while not (found := answers()) and time.monotonic() < deadline:
                time.sleep(0.2)
            return found

        assert within(20)
        assert one.named("create_server")
        assert not two.processes()
        before = two.received_bytes()
        two.plug(in_=False)
        assert not answers()
        assert two.received_bytes() == before
        two.plug(in_=True)
        assert within(20)
        one.power_off()
        assert not one.processes()
        assert not answers()


MEMBER = """
import sys
from datetime import timedelta
import psutil, torch, torch.distributed as dist
from tempembed.parallel.listening import listen_on
rank, address, first = int(sys.argv[1]), sys.argv[2], sys.argv[3]
listen_on(address)
dist.init_process_group("gloo", init_method=f"tcp://{first}:5001", rank=rank, world_size=2, timeout=timedelta(seconds=40))
total = torch.full((1000,), rank + 1.0)
dist.all_reduce(total)
listening = {c.laddr.ip for c in psutil.Process().net_connections("tcp") if c.status == "LISTEN"}
print(total[0].item(), *listening)
"""


def test_a_process_group_spans_two_machines_and_listens_on_their_addresses(tmp_path):
    """The host's name stands for 127.0.0.1 here, as on many machines: by itself gloo would not find the other one."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with machines(2) as (one, two):
        log = tmp_path / "log"
        first = one.start([sys.executable, "-c", MEMBER, "0", one.address, one.address], env, log)
        done = two.run([sys.executable, "-c", MEMBER, "1", two.address, one.address], env, 120)
        assert first.wait(60) == 0, log.read_text()
        assert done.stdout.split() == ["3.0", two.address], done.stderr[-2000:]
        assert log.read_text().split()[-2:] == ["3.0", one.address]
