"""Whether Hugging Face's hub can be reached; its client retries for minutes, file by file, where it cannot."""

import os
import socket
import urllib.request
from functools import cache
from urllib.parse import urlsplit

SECONDS = 5.0
"""Time-out."""


@cache
def is_reachable() -> bool:
    """Whether the hub's address answers; true behind a proxy, which is not probed, and false in offline mode."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return False
    if urllib.request.getproxies():
        return True
    place = urlsplit(os.environ.get("HF_ENDPOINT") or constants.ENDPOINT)
    try:
        address = place.hostname or "", place.port or (80 if place.scheme == "http" else 443)
        socket.create_connection(address, timeout=SECONDS).close()
    except OSError:
        return False
    return True
