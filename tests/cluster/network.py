"""Machines that are network namespaces: each has its own address and plugs into one switch, a bridge in a third namespace.

    n0 (10.77.0.1) --- switch --- n1 (10.77.0.2)

A port of the switch that is down is a cable that is pulled: the machine keeps its address, and nothing arrives any more.
They share the processes and the file system of the one real machine.
"""

import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

FIGURES: list[str] = []
"""What was measured; shown at the end of the session."""


def why_not():
    """Why namespaces cannot be made here; None: they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"probe{os.getpid()}"
    try:
        done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    except FileNotFoundError:
        return "there is no `ip` command (Debian: iproute2)"
    if done.returncode:
        return f"`ip netns add`: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return None


def _ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Machine:
    """One of them."""

    name: str
    address: str
    interface: str
    _switch: str

    def start(self, command, env, log: Path):
        """A process on it."""
        with log.open("ab") as file:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command], env=env, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def run(self, command, env, timeout):
        """A process on it, to its end."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def processes(self):
        """All that run on it."""
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=True)
        found = []
        for pid in pids.stdout.split():
            try:
                process = psutil.Process(int(pid))
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def named(self, part):
        """Those of its processes whose command line has this part."""
        found = []
        for process in self.processes():
            try:
                if part in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def power_off(self):
        """kill -9 everything on it at once."""
        for _ in range(50):
            alive = self.processes()
            if not alive:
                return
            for process in alive:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            psutil.wait_procs(alive, timeout=5)
        raise AssertionError(f"{self.name} does not die: {alive}")

    def plug(self, *, in_: bool):
        """Its cable, in or out."""
        _ip("-n", self._switch, "link", "set", f"{self.name}p", "up" if in_ else "down")

    def received_bytes(self):
        """Over the cable, so far."""
        path = f"/sys/class/net/{self.interface}/statistics/rx_bytes"
        return int(self.run(["cat", path], dict(os.environ), 10).stdout)


@contextmanager
def machines(number):
    """So many, on one switch; everything on them ends with them."""
    tag = f"te{os.getpid() % 10_000}"
    switch, made = f"{tag}s", []
    _ip("netns", "add", switch)
    try:
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for i in range(number):
            machine = Machine(f"{tag}n{i}", f"10.77.0.{i + 1}", "net0", switch)
            _ip("netns", "add", machine.name)
            made.append(machine)
            port = f"{machine.name}p"
            _ip(
                "link",
                "add",
                machine.interface,
                "netns",
                machine.name,
                "type",
                "veth",
                "peer",
                "name",
                port,
                "netns",
                switch,
            )
            _ip("-n", switch, "link", "set", port, "master", "bridge")
            _ip("-n", switch, "link", "set", port, "up")
            _ip("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", machine.interface)
            _ip("-n", machine.name, "link", "set", "lo", "up")
            _ip("-n", machine.name, "link", "set", machine.interface, "up")
        yield made
    finally:
        for machine in made:
            machine.power_off()
            _ip("netns", "delete", machine.name)
        _ip("netns", "delete", switch)
