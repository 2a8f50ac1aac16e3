"""Connections: as many as was said, none lost, none left over, and clear words where there is none to be had."""

import os
import runpy
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import perdure
import psycopg
import pytest
from perdure import Busy, CommitRequest, Context, Memory, Unavailable
from perdure_postgres import embedded

CTX = Context()
PROGRAM = Path(__file__).parents[3] / "tests" / "test_program.py"


def backends(server: Any) -> dict[int, Any]:
    """The connections of others to the server, by process id, with when each began."""
    return dict(
        server.run(
            "SELECT pid, backend_start FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND pid <> pg_backend_pid()"
        )
    )


@pytest.fixture
def quiet(server: Any, kit: SimpleNamespace) -> Any:
    """The server, once nobody is connected."""
    kit.until(lambda: not backends(server))
    return server


# ------------------------------------------------------------------------------------------- exhaustion


def test_all_connections_in_use(hold, server):
    url = server.url(pool=2, timeout=0.2)
    with perdure.open(url) as store:
        lab = store.branch("lab")
        store.memories.put(Memory(id="a"))
        with hold(url, "main", "one") as first, hold(url, "lab", "two") as second:
            with pytest.raises(
                Busy, match=r"all 2 connections .* 0\.2 s; try again, or open with a larger \?pool="
            ):
                store.memories.count()
            with pytest.raises(Busy, match="all 2 connections"):
                lab.memories.put(Memory(id="b"))
            soon = Context(deadline=time.monotonic() + 0.02)
            with pytest.raises(Busy, match="all 2 connections"):
                first.backend.commit(ctx=soon, request=CommitRequest("main", "soon", [], force=True))
            first.let_go()
            assert store.memories.count() == 1
            second.let_go()
        assert (store.skills.count(), lab.skills.count()) == (1, 1)


def test_a_waiting_call_goes_on_as_soon_as_a_connection_is_free(hold, server):
    url = server.url(pool=1, timeout=60)
    with perdure.open(url) as store, hold(url, "main", "one") as held, ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(store.skills.count) for _ in range(4)]
        held.let_go()
        assert [each.result(30) for each in waiting] == [1] * 4


def test_a_waiting_call_is_told_when_the_store_is_closed(hold, server):
    url = server.url(pool=1, timeout=60)
    store = perdure.open(url)
    with hold(url, "main", "one") as held, ThreadPoolExecutor(1) as threads:
        held.backend.close(ctx=None)
        waiting = threads.submit(store.skills.count)
        store.close()
        with pytest.raises(Unavailable, match="closed"):
            waiting.result(30)
        assert held.let_go().point.seq == 1


def test_no_call_needs_two_connections(server, tmp_path):
    """With one, a call that took a second would never get it."""
    program = runpy.run_path(str(PROGRAM))
    url = server.url(pool=1, timeout=5)
    used = program["program"](url, program["close_and_open"](url), tmp_path)
    assert used >= program["public_methods"]() - {"Store.close"}


def test_copies_within_one_server_at_once(server):
    """Each writes what it reads through another store of the same pool."""
    url = server.url(pool=2, timeout=5)
    with perdure.open(url, namespace="source") as source:
        source.memories.put(Memory(id=f"m{i}") for i in range(50))

        def copy(number: int) -> int:
            with perdure.open(url, namespace=f"copy-{number}") as target:
                target.ingest(source.export())
                return target.memories.count()

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(copy, range(4))) == [50] * 4


def test_threads_share_one_connection(server):
    with perdure.open(server.url(pool=1)) as store, ThreadPoolExecutor(8) as threads:
        store.memories.put(Memory(id=f"m{i}", text="x" * 100) for i in range(3_000))
        counted = [threads.submit(lambda: sum(1 for _ in store.memories.scan())) for _ in range(8)]
        written = [threads.submit(store.memories.put, Memory(id=f"m{i}")) for i in range(8)]
        assert [each.result(60) for each in counted] == [3_000] * 8
        assert sorted(each.result(60).point.seq for each in written) == list(range(2, 10))


# ------------------------------------------------------------------------------------------------ leaks


def failing(store: perdure.Store, number: int) -> None:
    """Four calls that fail, or that nobody sees to the end."""
    with pytest.raises(perdure.AlreadyExists):
        store.memories.insert(Memory(id="there"))
    with pytest.raises(ZeroDivisionError), store.batch() as batch:
        batch.memories.put(Memory(id="never"))
        raise ZeroDivisionError
    rows = store.memories.scan()
    next(rows)
    del rows
    with pytest.raises(perdure.InvalidRecord), store.batch() as batch:
        batch.memories.put(Memory(id=f"new-{number}"))
        batch.memories.put([{"id": "x", "nonsense": 1}])


class Broken:
    """Payload pieces that cannot be read."""

    def __iter__(self) -> Iterator[Any]:
        raise ZeroDivisionError


def test_a_thousand_calls_that_fail_lose_no_connection(hold, quiet):
    url = quiet.url(pool=2, timeout=5)
    with perdure.open(url) as store:
        backend = embedded.open(url, "default", "rw")
        store.branches.create("lab")
        store.memories.put(Memory(id=f"there{i or ''}") for i in range(600))
        for number in range(200):
            failing(store, number)
            with pytest.raises(ZeroDivisionError):
                request = CommitRequest("main", f"c{number}", [], force=True, chunks=Broken())
                backend.commit(ctx=CTX, request=request)
        for _ in range(20):
            with ThreadPoolExecutor(1) as thread:
                assert isinstance(thread.submit(dies, store).exception(), SystemExit)
        assert store.memories.count() == 600
        assert len(backends(quiet)) <= 2
        with hold(url, "main", "one"), hold(url, "lab", "two"):
            assert len(backends(quiet)) == 2
        backend.close(ctx=None)


def dies(store: perdure.Store) -> None:
    """End a thread in the middle of what it does."""
    rows = store.memories.scan()
    next(rows)
    with store.batch() as batch:
        batch.memories.put(Memory(id="never"))
        raise SystemExit


# ----------------------------------------------------------------------------------------- shared pools


def test_stores_of_one_url_share_connections(quiet, kit):
    url = quiet.url(pool=2)
    first, second = perdure.open(url), perdure.open(url, namespace="other")
    for number in range(5):
        first.memories.put(Memory(id=f"m{number}"))
        second.memories.put(Memory(id=f"m{number}"))
    assert len(backends(quiet)) == 1
    first.close()
    first.close()
    with pytest.raises(Unavailable, match="closed"):
        first.memories.count()
    assert second.memories.count() == 5
    second.close()
    kit.until(lambda: not backends(quiet))


def test_a_store_that_is_closed_while_it_commits(hold, kit, tmp_path):
    """The last store of an embedded server: the server waits for the commit."""
    url = f"postgresql+embedded:///{tmp_path}/server"
    perdure.open(url).close()
    assert kit.processes(tmp_path) == []
    with hold(url, "main", "one") as held:
        held.backend.close(ctx=None)
        assert kit.processes(tmp_path)
        assert held.let_go().point.seq == 1
        kit.until(lambda: not kit.processes(tmp_path))
    with perdure.open(url) as store:
        assert store.skills.count() == 1


def test_connections_that_the_server_ended_meanwhile(quiet):
    with perdure.open(quiet.url(pool=3)) as store:
        store.memories.put(Memory(id="a"))
        before = backends(quiet)
        quiet.run(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid = ANY(%s)", list(before)
        )
        assert store.memories.count() == 1  # not even a reader notices
        assert not backends(quiet).keys() & before.keys()


def test_old_connections_are_made_anew(quiet, monkeypatch):
    with perdure.open(quiet.url()) as store:
        store.memories.put(Memory(id="a"))
        before = backends(quiet)
        assert store.memories.count() == 1
        assert backends(quiet) == before
        monkeypatch.setattr("perdure_postgres._pool._RECYCLE", 0)
        assert store.memories.count() == 1
        assert not backends(quiet).keys() & before.keys()


def test_a_forked_child_uses_connections_of_its_own(quiet):
    with perdure.open(quiet.url()) as store:
        store.memories.put(Memory(id="before"))
        mine = backends(quiet)
        child = os.fork()
        if not child:
            code = 1
            with suppress(BaseException):
                store.memories.put(Memory(id="child"))
                assert store.memories.count() == 2
                assert store.verify().ok
                store.close()
                code = 0
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        store.memories.put(Memory(id="after"))
        assert {row.id for row in store.memories.scan()} == {"before", "child", "after"}
        assert mine.items() <= backends(quiet).items()


# ---------------------------------------------------------------------------------------- a crowded server


def test_a_server_that_takes_no_more_connections(servers, kit, cluster, tmp_path):
    with servers.server(
        tmp_path, cluster, settings={"max_connections": "8", "reserved_connections": "0"}
    ) as plain:
        url, others = plain.database(), []
        with perdure.open(url) as store:
            store.memories.put(Memory(id="a"))
            backend = perdure.open(url + "?pool=5")
            plain.run(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname LIKE 'db%'"
            )
            with suppress(psycopg.OperationalError):
                while True:
                    others.append(plain.connect())
            for call in (store.memories.count, lambda: perdure.open(url + "?pool=3"), backend.branches.list):
                with pytest.raises(
                    Unavailable, match="takes no more connections; try again, lower .* max_connections"
                ):
                    call()
            for other in others:
                other.close()
            kit.until(lambda: able(store))
            store.memories.put(Memory(id="b"))
            assert backend.memories.count() == 2
            backend.close()


def able(store: perdure.Store) -> bool:
    try:
        return store.memories.count() > 0
    except Unavailable:
        return False
