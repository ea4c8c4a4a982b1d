"""A Ray head and an MLflow server of our own on this machine: loopback only, token authentication, free ports."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from ray_jobs.alone import ALONE
from ray_jobs.connect import new_token
from tempembed.parallel.listening import LOOPBACK
from tempembed.system.atomic import write_json
from tempembed.system.errors import UserError

START_SECONDS = 90
RAY_PORTS = (
    "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port", "runtime-env-agent-port",
    "node-manager-port", "object-manager-port", "ray-client-server-port",
)  # fmt: skip
"""Flags of `ray start` for its ports beside the two that users see."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What runs, and how to end it."""

    ray_url: str
    mlflow_url: str
    token_path: str
    processes: tuple[tuple[int, float], ...]
    """(pid, creation time): a pid that was given to another process is left alone."""


def free_port(usual: int | None, taken: set[int], *, just_closed: bool = True) -> int:
    """The usual port, or any free one on loopback; never the same twice.

    Args:
        usual: taken if it is free.
        taken: those that were handed out; the new one joins them.
        just_closed: whether a port that was closed within the last minute is free. It is for most servers; Ray's GCS fails to
            bind one whose old connections are in TIME_WAIT.
    """
    for wanted in (usual, *[0] * 50):
        if wanted is None or wanted in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(just_closed))
            try:
                probe.bind((LOOPBACK, wanted))
            except OSError:
                continue
            port = probe.getsockname()[1]
        if port not in taken:
            taken.add(port)
            return port
    raise UserError(f"expected a free port on {LOOPBACK}, found none")


def environment(token_path: Path) -> dict[str, str]:
    """For everything that talks to our Ray. The token itself stands in a file, never in an argument."""
    bin_folder = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",  # jobs take `python` from the head's PATH
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path),
        **ALONE,
        "RAY_JOB_STOP_WAIT_TIME_S": "120",  # `ray job stop` kills after it; by itself after 3 s, too soon for a checkpoint
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # the dashboard's Train tab
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # six more processes of 260 MB, for jobs we do not have
        "PYTHONUNBUFFERED": "1",
    }


def start(folder: Path, *, need_ray: bool = True, need_mlflow: bool = True, num_cpus: int = 2) -> Stack:
    """Start what is needed; logs and the token go to `folder`. Ends what it started if any of it fails.

    Raises:
        UserError: a server that does not come up, with the end of its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    token_path = folder / "ray_token"
    token = new_token(token_path)
    env, taken, started = environment(token_path), set[int](), list[tuple[int, float]]()
    ray_url = mlflow_url = ""

    def note() -> Stack:
        """So that somebody can stop what is up, whatever happens to us."""
        stack = Stack(
            ray_url=ray_url, mlflow_url=mlflow_url, token_path=str(token_path), processes=tuple(started)
        )
        write_json(folder / "stack.json", asdict(stack))
        return stack

    try:
        if need_mlflow:
            port = free_port(5000, taken)
            mlflow_url = f"http://{LOOPBACK}:{port}"
            started.append(_spawn(mlflow_server(folder, port), env, folder / "mlflow.log"))
            note()
        if need_ray:
            gcs, dashboard = free_port(6379, taken, just_closed=False), free_port(8265, taken)
            ray_url = f"http://{LOOPBACK}:{dashboard}"
            command = [*ray_head(folder, num_cpus), f"--port={gcs}", f"--dashboard-port={dashboard}"]
            command += [f"--{name}={free_port(0, taken)}" for name in RAY_PORTS]
            ports = {
                f"{whose}_METRIC_PORT": str(free_port(0, taken)) for whose in ("AUTOSCALER", "DASHBOARD")
            }
            # no warning of trials whose processes start side by side
            ports["RAY_worker_maximum_startup_concurrency"] = str(4 * num_cpus)
            started.append(_spawn(command, env | ports, folder / "ray.log"))
        stack = note()
        if need_mlflow:
            _wait(f"{mlflow_url}/health", {}, started[0], folder / "mlflow.log")
        if need_ray:
            _wait(
                f"{ray_url}/api/jobs/", {"Authorization": f"Bearer {token}"}, started[-1], folder / "ray.log"
            )
    except BaseException:
        stop(tuple(started))
        (folder / "stack.json").unlink(missing_ok=True)
        raise
    return stack


def ray_head(folder: Path, num_cpus: int) -> list[str]:
    """Python's arguments for a Ray head on loopback, but for its ports; its logs are found at `folder/ray`."""
    # unix sockets allow 107 characters of path, so not below the repository
    # Ray opens its own folder, and the sockets in it, to every account: not the one around it
    ray_folder = Path(tempfile.mkdtemp(prefix="tempembed-ray-", dir="/tmp")) / "ray"
    (folder / "ray").unlink(missing_ok=True)
    (folder / "ray").symlink_to(ray_folder)  # where Prometheus looks for the metrics ports
    command = ["-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"--node-ip-address={LOOPBACK}", f"--dashboard-host={LOOPBACK}", "--include-dashboard=true"]
    return [*command, f"--num-cpus={num_cpus}", "--object-store-memory=300000000", f"--temp-dir={ray_folder}"]


def mlflow_server(folder: Path, port: int) -> list[str]:
    """Python's arguments for the MLflow server whose database is in `folder`."""
    command = ["-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    # artifacts by path, not through the server: the registry can be read when it is down
    return [*command, "--no-serve-artifacts", "--default-artifact-root", str(folder / "mlartifacts")]


def stop(processes: tuple[tuple[int, float], ...], grace_seconds: float = 8) -> None:
    """End these processes and all that they started, by id; nothing else on the machine."""
    family: list[psutil.Process] = []
    for pid, created in processes:
        try:
            root = psutil.Process(pid)
            if abs(root.create_time() - created) < 1:
                family += [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    for process in family:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            pass
    _, alive = psutil.wait_procs(family, timeout=grace_seconds)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(alive, timeout=5)


def _spawn(command: list[str], env: dict[str, str], log: Path) -> tuple[int, float]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *command],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us, and we end them in order
        )
    process.returncode = (
        0  # it outlives this object, and is ended by its id: Python would warn that it still runs
    )
    return process.pid, psutil.Process(process.pid).create_time()


def _wait(url: str, headers: dict[str, str], process: tuple[int, float], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        gone = (
            not psutil.pid_exists(process[0]) or psutil.Process(process[0]).status() == psutil.STATUS_ZOMBIE
        )
        if gone:
            break
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise UserError(
        f"expected {url} to answer within {START_SECONDS} s, it did not. The end of {log}:\n{end}"
    )
