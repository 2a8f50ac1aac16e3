"""URLs of Postgres stores: options, what goes to libpq, and servers that are not there or turn the user away."""

import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import perdure
import pytest
from perdure import InvalidURL, Memory, NotFound, PerdureError, PermissionDenied, Unavailable
from perdure_postgres import embedded, plugin
from perdure_postgres._options import parse_url

BASE = "postgresql://u@127.0.0.1:1/d"


@pytest.mark.parametrize(
    "options",
    [
        "nonsense=1",
        "pool=0",
        "pool=many",
        "pool=10001",
        "timeout=soon",
        "timeout=nan",
        "timeout=-1",
        "timeout=inf",
        "mode=r",
        "mode=ro&mode=rw",
        "cache=-1",
        "schema=",
        "schema=pg_toast",
        "schema=information_schema",
        f"schema={'s' * 64}",
        f"schema={'%C3%A9' * 32}",
        "schema=a%00b",
        "connect_timeout=5&connect_timeout=6",
        "connect_timeout=soon",
        "port=5432,many",
        "port=65536",
    ],
)
def test_malformed_options(options):
    with pytest.raises(InvalidURL):
        plugin.open(f"{BASE}?{options}", "n", "rw")


@pytest.mark.parametrize(
    "url", ["postgresql+embedded://", "postgresql+embedded:///", "postgresql+embedded://host/d"]
)
def test_malformed_embedded_urls(url):
    with pytest.raises(InvalidURL, match="directory"):
        embedded.open(url, "n", "rw")


@pytest.mark.parametrize("option", ["sslmode=require", "host=elsewhere", "connect_timeout=5"])
def test_an_embedded_server_takes_no_options_of_libpq(option, tmp_path):
    with pytest.raises(InvalidURL, match="no option"):
        embedded.open(f"postgresql+embedded:///{tmp_path}/server?{option}", "n", "rw")
    assert list(tmp_path.iterdir()) == []


def test_each_option_has_an_effect(server, url):
    with perdure.open(url) as store:
        store.memories.put(Memory(id="a"))
    with perdure.open(f"{url}&mode=ro") as store:
        assert store.memories.count() == 1
        with pytest.raises(PermissionDenied, match="read-only"):
            store.memories.put(Memory(id="b"))
    with perdure.open(f"{url}&timeout=1.5&cache=0&pool=1") as store:
        store.memories.put(Memory(id="b"))
        assert store.memories.count() == 2


@pytest.mark.parametrize(
    "schema", ["With Space", "ünïcode", 'quo"te', "se;mi'", "%", "CamelCase", "é" * 31, "select"]
)
def test_schemas_of_any_name(server, schema):
    url = server.url(schema=schema)
    with perdure.open(url) as store:
        store.memories.put(Memory(id="a"))
        store.purge("memories", "a")
        store.compact()
        assert store.verify().problems == ()
    assert server.run("SELECT count(*) FROM information_schema.tables WHERE table_schema = %s", schema) > [
        (10,)
    ]


def test_the_description_needs_no_server():
    for found in (plugin, embedded):
        description = found.describe()
        assert description.supports("concurrent")
        assert description.durability == "power"
        assert set(description.options) >= {"schema", "pool", "timeout", "mode", "cache"}


# ------------------------------------------------------------------------------------------ real servers


@pytest.fixture(scope="module")
def plain(servers: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, cluster: Path) -> Any:
    with servers.server(tmp_path_factory.mktemp("plain"), cluster, access=servers.PASSWORD) as server:
        server.run("CREATE ROLE agent LOGIN PASSWORD 'p@ss: /?#%25 word'")
        server.run("CREATE ROLE retired NOLOGIN PASSWORD 'x'")
        server.run('CREATE DATABASE "odd /?#% name" OWNER agent')
        yield server


SECRET = "p@ss: /?#%25 word"


def test_percent_encoded_parts(plain):
    url = plain.url("odd /?#% name", "agent", SECRET, application_name="the agent's")
    with perdure.open(url) as store:
        store.memories.put(Memory(id="a"))
        assert store.memories.count() == 1
        names = plain.run("SELECT DISTINCT application_name FROM pg_stat_activity WHERE usename = 'agent'")
        assert names == [("the agent's",)]
        assert "p@ss" not in repr(store) + str(store.stats())


def test_what_the_environment_says(plain, monkeypatch, tmp_path):
    for name, value in {"PGHOST": "127.0.0.1", "PGPORT": str(plain.port), "PGUSER": "agent"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGPASSWORD", SECRET)
    monkeypatch.setenv("PGDATABASE", "odd /?#% name")
    with perdure.open("postgresql://?schema=env") as store:
        store.memories.put(Memory(id="a"))
    (tmp_path / "services").write_text(
        f"[agents]\nhost=127.0.0.1\nport={plain.port}\nuser=agent\npassword={SECRET}\ndbname=odd /?#% name\n"
    )
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    with perdure.open("postgresql://?service=agents&schema=env") as store:
        assert store.memories.count() == 1


def turned_away(url: str, kind: type[PerdureError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        perdure.open(url)
    assert type(caught.value) is kind
    assert "p@ss" not in f"{caught.value!r} {caught.value.detail} {caught.value.__cause__!r}"


def test_who_is_turned_away_and_why(plain):
    turned_away(
        plain.url("postgres", "agent", "p@sswrong"), PermissionDenied, "password authentication failed"
    )
    turned_away(plain.url("postgres", "agent"), PermissionDenied, "no password supplied")
    turned_away(plain.url("postgres", "nobody", "p@ss"), PermissionDenied, "nobody")
    turned_away(plain.url("postgres", "retired", "x"), PermissionDenied, "not permitted to log in")
    turned_away(plain.url("absent", "agent", SECRET), NotFound, "does not exist.*create the database")
    turned_away(plain.url("postgres", "agent", SECRET, sslmode="require"), PermissionDenied, "SSL")
    turned_away(plain.url("postgres", "agent", SECRET, sslmode="nonsense"), InvalidURL, "sslmode.*correct")
    turned_away(plain.url("postgres", "agent", SECRET, options="-c work_mem=x"), InvalidURL, "work_mem")
    turned_away(plain.url("postgres", "agent", SECRET), PermissionDenied, "permission denied")


def test_servers_that_are_not_there(servers):
    turned_away(f"postgresql://agent:p%40ss@127.0.0.1:{servers.free_port()}/d", Unavailable, "refused")
    turned_away("postgresql://agent:p%40ss@no-such-host.invalid/d", Unavailable, "no-such-host")
    turned_away("postgresql:///d?host=/no/such/directory", Unavailable, "No such file")


def test_a_server_that_does_not_answer(servers):
    """It takes the connection, and says nothing: the wait ends when it was said to."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        turned_away(f"postgresql://a:p%40ss@127.0.0.1:{port}/d?connect_timeout=2", Unavailable, "timeout")
        turned_away(f"postgresql://a:p%40ss@127.0.0.1:{port}/d?timeout=1", Unavailable, "timeout")


def test_defaults_leave_what_was_said(monkeypatch):
    from perdure_postgres._pool import _defaults

    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    said = _defaults(parse_url(f"{BASE}?keepalives_idle=5", "rw", embedded=False))
    assert (said["connect_timeout"], "keepalives_idle" in said) == (10, False)
    assert "connect_timeout" not in _defaults(parse_url(f"{BASE}?connect_timeout=3", "rw", embedded=False))
    assert _defaults(parse_url(f"{BASE}?service=x", "rw", embedded=False)) == {}
    monkeypatch.setitem(os.environ, "PGCONNECT_TIMEOUT", "7")
    assert "connect_timeout" not in _defaults(parse_url(BASE, "rw", embedded=False))
