"""The machines that the cluster's tests run on are machines."""

import os
import sys
import time

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
