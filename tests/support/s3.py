"""A server on this machine that speaks as much of S3 as reading takes: HEAD, GET with ranges, and lists."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

DATE = "2026-01-0{}T00:00:00.000Z"


class Store:
    """Objects of one bucket by their key; `day` of a change is that of each."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.days: dict[str, int] = {}
        self.requests: list[str] = []
        self.denies = False

    def put(self, key: str, content: bytes, day: int = 1) -> None:
        self.objects[key], self.days[key] = content, day


@contextmanager
def s3_server() -> Iterator[tuple[str, Store]]:
    """(what stands behind s3://bucket/key?, the objects)."""
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            _, _, key = url.path.lstrip("/").partition("/")
            store.requests.append(f"{self.command} {key}")
            query = parse_qs(url.query, keep_blank_values=True)
            if store.denies or not self.headers.get("Authorization"):
                return self.answer(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
            if not key:
                return self.answer(
                    200, self.listing(query.get("prefix", [""])[0]), {"Content-Type": "application/xml"}
                )
            if key not in store.objects:
                return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            content, status, more = (
                store.objects[key],
                200,
                {"Last-Modified": f"Thu, 0{store.days[key]} Jan 2026 00:00:00 GMT"},
            )
            if asked := self.headers.get("Range"):
                first, _, last = asked.removeprefix("bytes=").partition("-")
                end = min(int(last or len(content)) + 1, len(content))
                more["Content-Range"] = f"bytes {first}-{end - 1}/{len(content)}"
                content, status = content[int(first) : end], 206
            return self.answer(status, content, more)

        def listing(self, prefix: str) -> bytes:
            found = [
                f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size><LastModified>{DATE.format(store.days[key])}"
                f"</LastModified><ETag>x</ETag></Contents>"
                for key, content in sorted(store.objects.items())
                if key.startswith(prefix)
            ]
            return (
                '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>'
                f"<Prefix>{prefix}</Prefix><KeyCount>{len(found)}</KeyCount><IsTruncated>false</IsTruncated>{''.join(found)}"
                "</ListBucketResult>"
            ).encode()

        def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"endpoint_override=127.0.0.1:{server.server_port}&scheme=http&region=here", store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
