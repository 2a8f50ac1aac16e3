"""Plain Postgres servers for tests, on a free loopback port, from the programs of the wheel.

Load it with `runpy.run_path`, like the other helpers here::

    with servers.server(tmp_path, cluster) as server:
        perdure.open(server.database())                            # as the superuser, trusted
        server.run("CREATE ROLE writer LOGIN PASSWORD 'secret'")
        perdure.open(server.url(user="writer", password="secret"))
"""

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from perdure_postgres._embedded_cluster import Home

#: Who may connect, and how; the superuser always may.
TRUST = ("host all all 127.0.0.1/32 trust",)
PASSWORD = ("host all all 127.0.0.1/32 scram-sha-256",)

SUPERUSER = "postgres"

_PATIENCE = 120.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "lc_messages": "C",
    "log_destination": "stderr",
    "logging_collector": "off",
}

_numbers = count(1)


class Server:
    """A running server.

    Attributes:
        home: Its directory; `home.data` is the cluster.
        port: Its port on 127.0.0.1.
        log: Its log file.
    """

    def __init__(self, home: Home, port: int) -> None:
        self.home = home
        self.port = port
        self.log = home.directory / "log"

    def url(
        self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None, **query: Any
    ) -> str:
        """A URL of it, each part percent-encoded."""
        secret = "" if password is None else f":{quote(password, safe='')}"
        options = f"?{urlencode(query)}" if query else ""
        return f"postgresql://{quote(user, safe='')}{secret}@127.0.0.1:{self.port}/{quote(database, safe='')}{options}"

    def database(self, name: str | None = None, **options: Any) -> str:
        """The URL of a new, empty database."""
        name = name or f"db{next(_numbers)}"
        self.run(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return self.url(name, **options)

    def connect(self, database: str = "postgres", user: str = SUPERUSER, **options: Any) -> Any:
        """A connection of psycopg, in autocommit mode."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, dbname=database, user=user, autocommit=True, **options
        )

    def run(self, statement: Any, *values: Any, database: str = "postgres") -> list[Any]:
        """The rows that a statement of the superuser returns."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def server(
    directory: Path, cluster: Path, access: Sequence[str] = TRUST, settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server of a cluster and a directory of its own, stopped at the end.

    Args:
        directory: Where it makes a directory ``server``.
        cluster: The directory of a server that is stopped, with a fresh cluster, which is copied.
        access: Lines of pg_hba.conf for all but the superuser, who is trusted.
        settings: More lines of postgresql.conf.
    """
    home = Home(directory / "server")
    home.prepare()
    until = time.monotonic() + _PATIENCE
    subprocess.run(["cp", "-a", cluster / "data", home.data], check=True)
    (home.data / "pg_hba.conf").write_text(
        "\n".join((f"host all,replication {SUPERUSER} 127.0.0.1/32 trust", *access, ""))
    )
    lines = [f"{name} = '{value}'" for name, value in {**_SETTINGS, **(settings or {})}.items()]
    with (home.data / "postgresql.conf").open("a") as config:
        config.write("\n".join((*lines, "")))
    started = Server(home, start(home, until))
    try:
        yield started
    finally:
        stop(home)


def start(home: Home, until: float, port: int | None = None) -> int:
    """Start the server of a cluster; the port, which is `port` or a free one."""
    while True:
        chosen = port or free_port()
        words = ("start", "-D", home.here, "-l", "../log", "-w", "-s", "-o", f"-p {chosen}")
        code, output = home.run("pg_ctl", words, home.data, until)
        if not code:
            return chosen
        text = (home.directory / "log").read_text(errors="replace")
        if "could not create any TCP/IP sockets" not in text or time.monotonic() > until:
            raise AssertionError(f"the server does not start: {output}\n{text}")


def stop(home: Home, mode: str = "immediate") -> None:
    """Stop the server of a cluster; "immediate" is as if it had crashed, but takes no time."""
    words = ("stop", "-D", home.here, "-m", mode, "-s", "-w")
    home.run("pg_ctl", words, home.data, time.monotonic() + _PATIENCE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
