"""How a driver connects to Ray: to the cluster of its job, or to one that starts here."""

import logging
import os
import secrets
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

import grpc
import ray
from ray._private import ray_constants, worker
from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from ray_jobs.alone import ALONE
from tempembed.parallel.listening import LOOPBACK
from tempembed.system.disk import is_full
from tempembed.system.errors import UserError
from tempembed.system.redact import redact

ALONE_FLAG = "=".join(next(iter(ALONE.items())))
ANSWER_SECONDS = 10
"""How long a head or a Jobs server may take to answer. Ray itself would wait for minutes, and say nothing."""
TOKEN = (
    "expected the cluster's token, got none or another one; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to a file with the token that "
    "the cluster was started with; without a path Ray looks in ~/.ray/auth_token"
)


def connect() -> None:
    """Connect to the cluster of the job, once; without a job Ray starts one on this machine, with a token that only its owner reads.

    Raises:
        UserError: there is no cluster at RAY_ADDRESS, or it does not take this driver.
    """
    if ray.is_initialized():
        return
    token = Path.home() / ".ray" / "auth_token"
    elsewhere = {"RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    address, shown = _address()
    if address:
        _check_head(address, shown)
    elif not elsewhere and not token.exists():
        new_token(token)  # Ray's own would be readable by all
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    except ray.exceptions.AuthenticationError as error:
        raise UserError(f"{shown}: {TOKEN}") from error
    except Exception as error:
        if is_full(error):
            raise
        text = redact(" ".join(str(error).split()))[:600]
        if "Version mismatch" in text:
            do = "use the same versions on both sides"
        elif address:
            do = "start the driver on a machine of the cluster, under the account that started Ray there, or submit it (ray job submit)"
        else:
            do = f"Ray's logs are in {temporary_folder()}"
        raise UserError(f"{shown}: expected to join it, got {type(error).__name__}: {text}; {do}") from error


def _address() -> tuple[str | None, str]:
    """host:port of the head that `ray.init` would join, None if it starts one here; and what messages call it.

    Raises:
        UserError: no address of a head.
    """
    given = os.environ.get("RAY_ADDRESS", "")
    scheme, found, _ = given.partition("://")
    shown = f"RAY_ADDRESS={redact(given)}"
    if found:
        raise UserError(
            f"{shown}: expected host:port of a cluster's head, or auto, got an address of {scheme}; submit the job to the cluster's Jobs "
            "server (ray job submit --address http://HOST:8265 -- python -m ...), or unset RAY_ADDRESS, and a Ray starts here"
        )
    try:
        address = canonicalize_bootstrap_address(given or None)  # type: ignore[arg-type]
    except ConnectionError as error:
        raise UserError(
            f"{shown}: expected a cluster on this machine, found none; start one (ray start --head), give its host:port, or unset "
            "RAY_ADDRESS, and a Ray starts here"
        ) from error
    except Exception as error:
        raise UserError(
            f"{shown}: expected host:port of a cluster's head, or auto, got {error}; correct it"
        ) from error
    if not address:
        return None, "Ray on this machine"
    return address, shown if given not in ("", "auto") else f"Ray at {address}, the latest on this machine"


def _check_head(address: str, shown: str) -> None:
    """Raise UserError unless a head answers there, of our version, that takes our token."""
    try:
        with init_grpc_channel(address, ray_constants.GLOBAL_GRPC_OPTIONS) as channel:
            head = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
            question = gcs_service_pb2.CheckAliveRequest()  # type: ignore[attr-defined]
            answer = head.CheckAlive(question, timeout=ANSWER_SECONDS)
    except ray.exceptions.AuthenticationError as error:  # there is no token here
        raise UserError(f"{shown}: {TOKEN}") from error
    except grpc.RpcError as error:
        code, details = error.code(), str(error.details())
        if code == grpc.StatusCode.UNAUTHENTICATED:
            raise UserError(f"{shown}: {TOKEN}") from error
        if "HTTP/2" in details or code == grpc.StatusCode.UNIMPLEMENTED:
            raise UserError(
                f"{shown}: expected the head of a Ray cluster, got another server; take the port of ray start --port (6379), not the "
                "dashboard's (8265) nor the client's (10001)"
            ) from error
        hint = ""
        if LOOPBACK in shown and address not in shown:  # Ray takes it for the address of the node
            hint = f"; a Ray that listens on {LOOPBACK} alone needs {ALONE_FLAG}"
        unknown = "errors resolving" in details or "DNS" in details
        refused = "connection refused" if "refused" in details else f"no answer within {ANSWER_SECONDS} s"
        raise UserError(
            f"{shown}: expected the head of a Ray cluster, got none ({'no such host' if unknown else refused}, {address}); start it, "
            f"correct RAY_ADDRESS, or unset it, and a Ray starts here (ray stop forgets a cluster that is gone){hint}"
        ) from error
    if answer.ray_version and answer.ray_version != ray.__version__:
        raise UserError(
            f"{shown}: expected a cluster of Ray {ray.__version__}, which is installed here, got Ray {answer.ray_version}; use the same "
            "version on both sides"
        )


def check_jobs_server(url: str) -> None:
    """Raise UserError unless Ray's Jobs server answers there and takes our token."""
    shown = f"RAY_ADDRESS={redact(url)}"
    if not url.startswith(("http://", "https://")):
        raise UserError(
            f"{shown}: expected the address of a Jobs server, http://HOST:8265, got another; give that of the cluster's dashboard"
        )
    answer = ""
    try:
        headers = get_auth_headers_if_auth_enabled({})
        request = urllib.request.Request(f"{url.rstrip('/')}/api/version", headers=headers)
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:
            answer = response.read(10_000).decode(errors="replace")
    except ray.exceptions.AuthenticationError as error:  # there is no token here
        raise UserError(f"{shown}: {TOKEN}") from error
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise UserError(f"{shown}: {TOKEN}") from error
    except (OSError, ValueError, HTTPException) as error:
        raise UserError(
            f"{shown}: expected Ray's Jobs server, got no answer ({redact(str(error))[:200]}); start the cluster, or correct the address"
        ) from error
    if "ray_version" not in answer:
        raise UserError(
            f"{shown}: expected Ray's Jobs server, got another server; take the port of the dashboard (8265)"
        )


def temporary_folder() -> Path:
    """Where Ray keeps its logs, its spilled objects and its sockets on this machine."""
    node = worker._global_node
    return Path(node.get_temp_dir_path() if node else "/tmp/ray")


def new_token(path: Path) -> str:
    """Write a new token, in a file that only its owner reads; an old one is thrown away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    token = secrets.token_hex(32)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return token
