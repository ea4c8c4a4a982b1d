"""How a driver comes to its Ray: the cluster of its job, or one that starts here."""

import logging
import os
import secrets
from pathlib import Path

import ray


def connect() -> None:
    """To the cluster of the job, once; without a job Ray starts one on this machine, with a token that only its owner reads."""
    if ray.is_initialized():
        return
    token = Path.home() / ".ray" / "auth_token"
    elsewhere = {"RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if not elsewhere and not token.exists():
        new_token(token)  # Ray's own would be readable by all
    ray.init(log_to_driver=False, logging_level=logging.WARNING)


def new_token(path: Path) -> str:
    """Write a new token, in a file that only its owner reads; an old one is thrown away."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    token = secrets.token_hex(32)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return token
