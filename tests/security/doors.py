"""Which ports a family of processes listens on, and what a stranger gets there."""

import http.client
import importlib
import pkgutil
import socket
from dataclasses import dataclass, field

import grpc
import psutil
import ray.core.generated

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
REFUSED = grpc.StatusCode.UNAUTHENTICATED
ABSENT = {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE}
WRONG = "Bearer " + "0" * 64


@dataclass
class Door:
    """A port that is listened on."""

    ip: str
    port: int
    process: str
    """The command line."""
    http: "tuple[int, str] | None" = None
    """Status and server of `GET /` over HTTP/1.1."""
    services: dict = field(default_factory=dict)
    """gRPC services that answer there, with their methods."""


def family(roots):
    """The processes with these ids, and all that they started."""
    found = {}
    for pid in roots:
        try:
            root = psutil.Process(pid)
            found |= {p.pid: p for p in (root, *root.children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def doors(processes):
    """Every port that these processes listen on; UDP sockets too."""
    found = {}
    for process in processes:
        try:
            line = " ".join(process.cmdline())
            sockets = process.net_connections("inet")
        except psutil.NoSuchProcess:
            continue
        for one in sockets:
            if one.status == psutil.CONN_LISTEN or (one.type == socket.SOCK_DGRAM and not one.raddr):
                found.setdefault((one.laddr.ip, one.laddr.port), Door(one.laddr.ip, one.laddr.port, line))
    return list(found.values())


def known_services():
    """{service: methods} of everything that Ray's own protocol files define, and two that are in C++ alone."""
    found = {
        "ray.rpc.ObjectManagerService": ["Push", "Pull", "FreeObjects"],
        "opentelemetry.proto.collector.metrics.v1.MetricsService": ["Export"],
        "grpc.health.v1.Health": ["Check"],
    }
    for module in pkgutil.iter_modules(ray.core.generated.__path__):
        if module.name.endswith("_pb2"):
            generated = importlib.import_module(f"ray.core.generated.{module.name}")
            for service in generated.DESCRIPTOR.services_by_name.values():
                found[service.full_name] = [method.name for method in service.methods]
    return found


class Caller:
    """gRPC calls with an empty request to one door."""

    def __init__(self, door, authorization=None):
        self._metadata = [("authorization", authorization)] if authorization else []
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]
        self._channel = grpc.insecure_channel(f"{_host(door)}:{door.port}", options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._channel.close()

    def status(self, service, method, seconds=3.0):
        """The code that comes back; OK: the call was let in."""
        call = self._channel.unary_unary(f"/{service}/{method}", lambda _: b"", lambda answer: answer)
        try:
            call(None, timeout=seconds, metadata=self._metadata)
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()


def look(door):
    """Find out what is spoken behind a TCP door: fills `http` or `services`."""
    try:
        status, headers, _ = get(door, "/", seconds=2)
        door.http = status, headers.get("server", "")
        return door
    except (OSError, http.client.HTTPException):
        pass
    with Caller(door) as caller:
        for service, methods in known_services().items():
            code = caller.status(service, methods[0])
            if code is grpc.StatusCode.DEADLINE_EXCEEDED and not door.services:
                break  # no gRPC at all
            if code not in ABSENT:
                door.services[service] = methods
    return door


def get(door, path, headers=None, method="GET", body=None, seconds=10):
    """(status, headers in lower case, body)."""
    connection = http.client.HTTPConnection(_host(door), door.port, timeout=seconds)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def _host(door):
    return {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(door.ip, door.ip).removeprefix("::ffff:")
