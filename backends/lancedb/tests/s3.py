"""Object storage for tests: moto's server in a process of its own, and a small one that fails as it is told.

As a program it serves until its input ends, on two ports with the same buckets; the second is behind a proxy
that drops the header of conditional writes. It prints both. With a command it serves while that runs, and tells
it in the environment where, so that it can open stores in any bucket::

    python s3.py perdure conformance 'lancedb+s3://{unique}/store'
"""

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import count
from typing import Any
from urllib.parse import urlencode, urlsplit

KEY, SECRET = "AKIATESTTESTTEST", "Zq9Alpha/Zq9Beta+Zq9Gamma"
CREDENTIALS = "AKIATESTTESTTEST:Zq9Alpha%2FZq9Beta%2BZq9Gamma"

_NO_SUCH_KEY = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
_ABSENT = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s"

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def url_of(bucket: str, prefix: str, endpoint: str, **options: Any) -> str:
    """The URL of a store on loopback."""
    query = {"endpoint": endpoint, "allow_http": "true"} | options
    return f"lancedb+s3://{CREDENTIALS}@{bucket}/{prefix}?{urlencode(query)}"


class Server:
    """moto's server, where each `url` is a store in a bucket that nobody else has.

    Attributes:
        endpoint: Where it is.
        stripping: The same behind the proxy that drops conditions.
    """

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        direct, stripping = json.loads(self._process.stdout.readline())
        self.endpoint, self.stripping = f"http://127.0.0.1:{direct}", f"http://127.0.0.1:{stripping}"
        self._numbers = count(1)

    @cached_property
    def client(self) -> Any:
        """A client of boto3's."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def bucket(self) -> str:
        """The name of a new bucket."""
        name = f"bucket-{next(self._numbers)}"
        self.client.create_bucket(Bucket=name)
        return name

    def url(self, **options: Any) -> str:
        """The URL of a new store, with options."""
        return url_of(self.bucket(), "agents/store", self.endpoint, **options)

    def keys(self, bucket: str) -> list[str]:
        """All keys in a bucket."""
        found = self.client.list_objects_v2(Bucket=bucket)
        return [each["Key"] for each in found.get("Contents", ())]

    def close(self) -> None:
        """End it."""
        self._process.communicate()


class Stub:
    """A bucket that answers each PUT by the next fault it was given, and else as it should.

    A fault is a status, with or without what is stored before it is told: `409`, `"stored 500"`,
    `"stored drop"`, `"drop"`, `"stored hang"`, `"other 412"` (another's object is stored).
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: list[str | int] = []
        self.requests: list[tuple[str, str]] = []
        self.released = threading.Event()
        self.connections: list[socket.socket] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def puts(self, name: str) -> int:
        """How often an object was sent."""
        return sum(method == "PUT" and path.endswith(name) for method, path in self.requests)

    def close(self) -> None:
        """End it."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in self.connections:  # which clients keep open for their next request
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _handler(stub: Stub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            stub.connections.append(self.connection)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("ETag", '"e"')
            self.send_header("Last-Modified", "Sat, 21 Nov 2026 00:00:00 GMT")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def received(self) -> tuple[str, bytes]:
            path = urlsplit(self.path).path
            stub.requests.append((self.command, path))
            return path, self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_GET(self) -> None:
            path, _ = self.received()
            if "list-type" in self.path:
                return self.answer(200, b"<ListBucketResult></ListBucketResult>")
            return self.answer(200, stub.objects[path]) if path in stub.objects else self.answer(404)

        def do_PUT(self) -> None:
            path, body = self.received()
            stored, _, how = str(stub.faults.pop(0) if stub.faults else "").rpartition(" ")
            if stored or not how:
                if path in stub.objects:
                    return self.answer(412)
                stub.objects[path] = b"another's" if stored == "other" else body
            if how == "drop":
                self.close_connection = True
                return self.connection.shutdown(socket.SHUT_RDWR)
            if how == "hang":
                self.close_connection = True
                stub.released.wait()
                return None
            return self.answer(int(how or 200))

        def do_POST(self) -> None:  # removes objects
            path, body = self.received()
            keys = re.findall("<Key>(.*?)</Key>", body.decode())
            for key in keys:
                stub.objects.pop(f"{path.rstrip('/')}/{key}", None)
            deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            self.answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    return Handler


def _application(moto: Application, strip: bool, lock: threading.Lock) -> Application:
    def serve(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if strip:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        with lock:  # moto looks at a condition first and writes then, and lists what others remove meanwhile
            return list(moto(environ, start))

    return serve


def _absent() -> Callable[[bytes], bool]:
    """Tells by the first line of a request whether it is for an object that is not there."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    buckets = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets
    line = re.compile(r"GET /([^/?%]+)/([^?%]+) HTTP/1\.1\r\n")

    def is_absent(first: bytes) -> bool:
        found = line.fullmatch(first.decode("latin-1"))
        return found is not None and found[1] in buckets and found[2] not in buckets[found[1]].keys

    return is_absent


def _made(moto: Application, put: Callable[[str], Any]) -> Application:
    known: set[str] = set()

    def serve(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        bucket = environ["PATH_INFO"].split("/")[1]
        if bucket not in known:
            put(f"/{bucket}")
            known.add(bucket)
        return moto(environ, start)

    return serve


@contextmanager
def serving(*, lenient: bool = False, seen: list[str] | None = None) -> Iterator[list[int]]:
    """Serve from this process: the ports of the server, and of the one that drops conditions.

    Without moto's choice between all services of AWS, which takes half of a request's time.

    Args:
        lenient: Whether a bucket is there once it is asked for. moto lists one by going through all of its
            keys, so that many stores are faster in a bucket each.
        seen: Takes the first line of each request.
    """
    from moto.server import create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections
        wbufsize = 1 << 16

        def handle_one_request(self) -> None:
            """Tell what is not there without moto, which takes 50 times as long: that is most requests."""
            self.raw_requestline = self.rfile.readline()
            if seen is not None and self.raw_requestline:
                seen.append(self.raw_requestline.decode("latin-1"))
            if is_absent(self.raw_requestline):
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(_ABSENT % (len(_NO_SUCH_KEY), _NO_SUCH_KEY))
                self.wfile.flush()
                self.close_connection = False
            elif not self.raw_requestline:
                self.close_connection = True
            elif self.parse_request():
                self.run_wsgi()

        def handle_expect_100(self) -> bool:
            """Say at once to go on, for which boto3 waits."""
            go_on = super().handle_expect_100()
            self.wfile.flush()
            return go_on

        def log(self, *_: Any) -> None:
            """Say nothing."""

    moto, lock, is_absent = create_backend_app("s3"), threading.Lock(), _absent()
    application = _made(moto, moto.test_client().put) if lenient else moto
    servers = [
        make_server(
            "127.0.0.1", 0, _application(application, strip, lock), threaded=True, request_handler=Handler
        )
        for strip in (False, True)
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [server.server_port for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


def main(*command: str) -> int:
    """Serve until the input ends; or while a command runs, to which the environment says where."""
    with serving(lenient=bool(command)) as ports:
        if not command:
            print(json.dumps(ports), flush=True)
            sys.stdin.read()
            return 0
        endpoint = f"http://127.0.0.1:{ports[0]}"
        said = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "NO_PROXY": "127.0.0.1"}
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        return subprocess.run(command, env=os.environ | said | keys, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
