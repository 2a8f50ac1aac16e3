"""TLS: libpq's options go through from the URL, and what they ask for is kept.

The server of the wheel is built without TLS. So a proxy of Python's own `ssl`, as people put one before a
server, takes the place of one that has it; certificates are made by the program openssl.
"""

import runpy
import select
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import perdure
import pytest

servers = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("servers.py"))))

#: What a client sends first to ask for TLS.
ASKED = struct.pack("!II", 8, 80877103)

#: What a socket that does not block says where it could only wait.
LATER = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)

REFUSED = (perdure.Unavailable, perdure.PermissionDenied)


def openssl(directory: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)


def certificate(directory: Path, name: str, subject: str, extension: str) -> None:
    """``name.crt`` and ``name.key``, signed by ``ca.crt``; the first one is that itself."""
    (directory / f"{name}.ext").write_text(extension)
    new = (
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        f"/CN={subject}",
    )
    if name == "ca":
        openssl(directory, *new, "-x509", "-keyout", "ca.key", "-out", "ca.crt", "-days", "2")
        return
    openssl(directory, *new, "-keyout", f"{name}.key", "-out", f"{name}.csr")
    signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    openssl(
        directory,
        "x509",
        "-req",
        "-in",
        f"{name}.csr",
        *signer,
        "-extfile",
        f"{name}.ext",
        "-out",
        f"{name}.crt",
    )


class Proxy:
    """Speaks TLS with clients and hands on what they say to a server that speaks none.

    Attributes:
        port: Its port on 127.0.0.1.
        seen: For each client that came through, the version of TLS and the name in its certificate.
        heard: Bytes that clients said inside.
    """

    def __init__(self, directory: Path, server_port: int, wants: ssl.VerifyMode) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(directory / "server.crt", directory / "server.key")
        self._context.load_verify_locations(directory / "ca.crt")
        self._context.verify_mode = wants
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.seen: list[tuple[str | None, str]] = []
        self.heard = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                if client.recv(8, socket.MSG_WAITALL) != ASKED:
                    return  # who asks for no TLS is turned away
                client.sendall(b"S")
                with self._context.wrap_socket(client, server_side=True) as secure:
                    names = dict(
                        pair for part in (secure.getpeercert() or {}).get("subject", ()) for pair in part
                    )
                    self.seen.append((secure.version(), names.get("commonName", "")))
                    self._relay(secure)
        except OSError:
            return

    def _relay(self, secure: ssl.SSLSocket) -> None:
        """Both directions in one thread, since OpenSSL lets only one at a time use a connection.

        A side is read again once the other has taken all that it said before, so that each direction goes on
        while the other stands still.
        """
        with socket.create_connection(("127.0.0.1", self._server_port)) as server:
            secure.setblocking(False)
            server.setblocking(False)
            unsent: dict[socket.socket, bytes] = {secure: b"", server: b""}
            while True:
                senders = [side for side, other in ((secure, server), (server, secure)) if not unsent[other]]
                takers = [side for side in unsent if unsent[side]]
                at_hand = secure in senders and secure.pending()  # was read from the network, and not by us
                readable, writable, _ = select.select(senders, takers, [], 0 if at_hand else None)
                for side in writable:
                    with suppress(*LATER):
                        unsent[side] = unsent[side][side.send(unsent[side]) :]
                for side in {*readable, *([secure] if at_hand else [])}:
                    with suppress(*LATER):
                        data = side.recv(65_536)
                        if not data:
                            return
                        self.heard += len(data) if side is secure else 0
                        unsent[server if side is secure else secure] = data

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or the thread would wait for a client for ever
        self._listener.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority, a server's certificate, a client's, and another authority."""
    directory: Path = tmp_path_factory.mktemp("certificates")
    certificate(directory, "ca", "Test CA", "")
    certificate(directory, "server", "localhost", "subjectAltName=DNS:localhost")
    certificate(directory, "client", "app", "extendedKeyUsage=clientAuth")
    other = directory / "other"
    other.mkdir()
    certificate(other, "ca", "Another CA", "")
    return directory


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cluster: Path) -> Iterator[Any]:
    with servers.server(tmp_path_factory.mktemp("tls"), cluster) as started:
        started.run("CREATE ROLE app LOGIN SUPERUSER")
        yield started


@pytest.fixture
def proxy(files: Path, server: Any) -> Iterator[Proxy]:
    made = Proxy(files, server.port, ssl.CERT_OPTIONAL)
    yield made
    made.close()


def url(proxy: Proxy, host: str = "localhost", **options: Any) -> str:
    query = "&".join(f"{name}={servers.quote(str(value), safe='')}" for name, value in options.items())
    return f"postgresql://app@{host}:{proxy.port}/postgres?timeout=1&{query}"


def test_a_verified_server_is_talked_to_over_tls(proxy, files):
    with perdure.open(url(proxy, sslmode="verify-full", sslrootcert=files / "ca.crt")) as store:
        store.memories.put([perdure.Memory(id=f"m{i}", text="x" * 1_000) for i in range(200)])
        assert store.memories.count() == 200
        assert store.verify().ok
    assert proxy.seen
    assert set(proxy.seen) == {("TLSv1.3", "")}


def test_a_client_shows_its_certificate(proxy, files):
    (files / "client.key").chmod(0o600)
    mine = {"sslcert": files / "client.crt", "sslkey": files / "client.key"}
    perdure.open(url(proxy, sslmode="require", **mine)).close()
    assert set(proxy.seen) == {("TLSv1.3", "app")}


@pytest.mark.parametrize(
    ("host", "options", "says"),
    [
        ("127.0.0.1", {"sslmode": "verify-full", "sslrootcert": "ca.crt"}, "does not match host name"),
        ("localhost", {"sslmode": "verify-ca", "sslrootcert": "other/ca.crt"}, "certificate verify failed"),
        ("localhost", {"sslmode": "verify-full", "sslrootcert": "missing.crt"}, "does not exist"),
        (
            "localhost",
            {"sslmode": "require", "sslcert": "client.crt", "sslkey": "missing.key"},
            "missing.key",
        ),
        ("localhost", {"sslmode": "require", "ssl_max_protocol_version": "TLSv1.1"}, "SSL"),
    ],
)
def test_what_cannot_be_verified_is_not_talked_to(proxy, files, host, options, says):
    paths = {
        name: files / value if name.startswith("ssl") and "." in value and "TLS" not in value else value
        for name, value in options.items()
    }
    with pytest.raises(REFUSED, match=says):
        perdure.open(url(proxy, host, **paths))
    assert proxy.heard == 0


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_a_server_without_tls_is_refused_where_tls_is_asked_for(server, files, mode):
    with pytest.raises(REFUSED, match="SSL"):
        perdure.open(server.url(sslmode=mode, sslrootcert=files / "ca.crt", timeout=1))
