"""No password in an error, a repr, a log, what a command prints, or a report."""

import logging
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import perdure
import pytest
from perdure_postgres._options import parse_url
from perdure_postgres._pool import Pool

servers = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("servers.py"))))

#: Every part of it that is a word is looked for, so that no encoding and no cut hides it.
WORDS = ("Zq9Alpha", "Zq9Beta", "Zq9Gamma")
PASSWORD = "Zq9Alpha/Zq9Beta@%s:Zq9Gamma%"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cluster: Path) -> Iterator[Any]:
    """A server that asks `app` for the password, and lets `look` in with it but not write."""
    with servers.server(tmp_path_factory.mktemp("secrets"), cluster, servers.PASSWORD) as started:
        for login in ("app", "look"):
            name = f"CREATE ROLE {login} LOGIN PASSWORD %s"
            with started.connect() as connection:
                connection.execute("SET password_encryption = 'scram-sha-256'")
                connection.execute(name.replace("%s", "'" + PASSWORD + "'"))
        url = started.database("agents")
        perdure.open(url).close()
        started.run(
            "GRANT USAGE ON SCHEMA perdure TO app, look; GRANT SELECT ON ALL TABLES IN SCHEMA perdure TO look; "
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA perdure TO app",
            database="agents",
        )
        yield started


def quiet(text: str) -> None:
    """The text holds nothing of the password."""
    assert not [word for word in WORDS if word in text], text


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and all that it came from, shown or not."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def told(error: BaseException) -> str:
    """All that can be printed of an error."""
    parts = [f"{each!r} {each} {each.args} {getattr(each, 'detail', '')}" for each in chain(error)]
    return "\n".join(parts)


def test_the_password_is_taken_in_every_way(server, tmp_path, monkeypatch):
    def opens(url: str) -> None:
        with perdure.open(url) as store:
            store.memories.put(perdure.Memory(id="a"))
            quiet(repr(store))
            quiet(f"{store!s} {store.snapshot()!r} {store.memories!r} {store.branches!r} {vars(store)!r}")

    opens(server.url("agents", "app", PASSWORD))
    opens(server.url("agents", "app", password=None) + "?" + "password=" + servers.quote(PASSWORD, safe=""))
    passfile = tmp_path / "pass"
    escaped = PASSWORD.replace(":", "\\:")
    passfile.write_text(f"127.0.0.1:*:*:app:{escaped}\n")
    passfile.chmod(0o600)
    opens(server.url("agents", "app", passfile=passfile))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    opens(server.url("agents", "app"))


def refused(server: Any) -> list[str]:
    """URLs that do not open a store, for each way in which that can be."""
    port = servers.free_port()
    wrong = PASSWORD + "x"
    encoded = servers.quote(wrong, safe="")
    base = server.url("agents", "app")
    return [
        server.url("agents", "app", wrong),
        f"{base}?password={encoded}",
        server.url("no-such-database", "app", PASSWORD),
        server.url("agents", "app", wrong).replace(str(server.port), str(port)),
        f"postgresql://app:{encoded}@no-such-host.invalid/agents?connect_timeout=1",
        f"postgresql://app:{encoded}@127.0.0.1:port/agents",
        f"postgresql://app:{encoded}@127.0.0.1:99999/agents",
        f"postgresql://app:{encoded}@[::1/agents",
        f"postgresql://app:{encoded}%zz@127.0.0.1/agents",
        f"postgresql://app:{encoded}@127.0.0.1/agents?bogus=1",
        f"postgresql://app:{encoded}@127.0.0.1/agents?pool=many",
        f"postgresql://app:{encoded}@127.0.0.1/agents?password={encoded}&password={encoded}",
        f"postgresql://app@127.0.0.1/agents?Password={encoded}",
        f"postgresql://app:{encoded}@127.0.0.1/agents%00",
        f"postgresql://app:{encoded}@127.0.0.1/agents?sslmode=bogus",
        f"postgresql://app:{wrong}@127.0.0.1/agents",
        "postgresql://app:Zq9Alpha/Zq9Beta@127.0.0.1/agents",
        "postgresql://app:Zq9Alpha?Zq9Beta@127.0.0.1/agents",
        "postgresql://app:Zq9Alpha@Zq9Beta@127.0.0.1/agents",
        "postgresql://app:Zq9 Alpha\nZq9Beta@127.0.0.1:1/agents",
        f"postgresq://app:{encoded}@127.0.0.1/agents",
        f"postgresql:app:{encoded}@127.0.0.1/agents",
        f"app:{encoded}@127.0.0.1/agents",
        f"host=127.0.0.1 user=app password={encoded}?",
    ]


def hasty(urls: list[str]) -> Iterator[str]:
    """The URLs, with next to no patience where they can have options."""
    for url in urls:
        yield f"{url}{'&' if '?' in url else '?'}timeout=0.1" if url.startswith("postgresql://") else url


def test_errors_are_quiet(server, caplog, capfd):
    """Also at the level of logs at which drivers tell all."""
    caplog.set_level(logging.DEBUG)
    for url in hasty(refused(server)):
        for mode in ("r", "rw"):
            with pytest.raises(perdure.PerdureError) as refusal:
                perdure.open(url, mode=mode)
            quiet(told(refusal.value))
    with perdure.open(server.url("agents", "app", PASSWORD)) as store:
        store.memories.put(perdure.Memory(id="a"))
        server.run("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'app'")
        assert store.memories.count() == 1
    with perdure.open(server.url("agents", "look", PASSWORD)) as store:
        with pytest.raises(perdure.PermissionDenied) as denied:
            store.memories.put(perdure.Memory(id="b"))
        quiet(told(denied.value))
    quiet(caplog.text)
    quiet("".join(capfd.readouterr()))


def test_what_holds_the_password_does_not_show_it(server):
    options = parse_url(server.url("agents", "app", PASSWORD), "rw", embedded=False)
    pool = Pool(options)
    connection = pool.take()
    for thing in (options, pool, connection, connection.info.dsn):
        quiet(f"{thing!r} {thing}")
    pool.give(connection)
    pool.close()


def test_the_servers_log_is_quiet(server):
    quiet(server.log.read_text())


@pytest.mark.parametrize("words", [["info"], ["info", "--json"], ["grants"], ["grants", "--apply", "--json"]])
def test_commands_are_quiet(command, capfd, server, words):
    name, *options = words
    for url in (server.url("agents", "look", PASSWORD), *hasty(refused(server)[:1]), refused(server)[-2]):
        done = command(name, url, *options)
        assert done.stdout or done.stderr
        quiet(done.stdout + done.stderr + "".join(capfd.readouterr()))  # also what a library says by itself


def test_archives_are_quiet(command, capfd, server, tmp_path):
    archive = tmp_path / "backup.perdure"
    done = command("backup", server.url("agents", "app", PASSWORD), str(archive))
    assert done.returncode == 0, done.stderr
    quiet(done.stdout + done.stderr + "".join(capfd.readouterr()) + archive.read_bytes().decode("latin-1"))


def test_reports_are_quiet(command, capfd, server, tmp_path):
    """The role may not write, so that checks fail, and everything is told of each."""
    forms = {form: tmp_path / f"report.{form}" for form in ("json", "html", "junit")}
    options = [word for form, path in forms.items() for word in (f"--{form}", str(path))]
    for url in (
        server.url("agents", "look", PASSWORD),
        server.url("agents", "look") + "?password=" + servers.quote(PASSWORD, safe=""),
    ):
        done = command(
            *(
                "conformance",
                url,
                "--only",
                "hostile_writes.malformed_writes",
                "--repro",
                str(tmp_path / "repro"),
            ),
            *("--seed", "1", *options),
        )
        assert done.returncode == 1, done.stderr
        assert "perdure conformance" in done.stdout
        quiet(done.stdout + done.stderr + "".join(capfd.readouterr()))
        for path in (*forms.values(), *tmp_path.glob("repro/*")):
            quiet(path.read_text())
    assert len(list(tmp_path.glob("repro/*"))) > 0
