"""The same commit twice at the same time, as after a connection that broke: one is applied, the other is told so."""

import socket
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import perdure
import pytest
from perdure import Busy, CommitRequest, Context, Memory, Put
from perdure.kit import Shared
from perdure_postgres._dialect import Postgres
from perdure_postgres._options import parse_url
from perdure_postgres._pool import Pool
from perdure_sql import Database, Scope
from psycopg.errors import ConnectionTimeout

CTX = Context()
SKILLS = perdure.TABLES["skills"]


def row(id_: str) -> tuple[Any, ...]:
    cells = {"id": id_, "body": "null", "metadata": "null", "tags": ()}
    cells |= {"success_count": 0, "failure_count": 0}
    return tuple(cells.get(name) for name in SKILLS.names)


def waits(server: Any, commit: Future[Any]) -> bool:
    """True once a commit waits for its branch; False where it ended without."""
    # The server shows how a statement begins, not all of it.
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%SELECT b.no, b.id, b.name%%'"
    while not commit.done():
        if server.run(waiting):
            return True
    return False


@pytest.mark.parametrize(
    "asked",
    [
        CommitRequest("main", "same", [Put("skills", [row("same")])], expect_head=None),
        CommitRequest("main", "same", [Put("skills", [row("same")], "insert")]),
        CommitRequest("main", "same", [Put("skills", [row("same")])]),
        CommitRequest("main", "same", []),
    ],
    ids=["expects a head", "inserts", "writes what is there", "nothing"],
)
def test_a_commit_that_waited_for_itself_is_a_replay(server, url, hold, asked):
    with hold(url, "main", "same") as first, ThreadPoolExecutor(1) as thread:
        second = thread.submit(first.backend.commit, ctx=CTX, request=asked)
        assert waits(server, second)
        done = first.let_go()
        again = second.result(60)
        assert again.replayed
        assert (again.commit, again.point) == (done.commit, done.point)


def test_a_limit_of_the_server_is_told_as_one(server, hold):
    schema = server.schema()
    limited = (
        f"postgresql://postgres@/postgres?host={quote(str(server.directory), safe='')}&schema={schema}"
        f"&options={quote('-c statement_timeout=500')}"
    )
    with hold(server.url(schema=schema), "main", "late"), perdure.open(limited) as store:
        with pytest.raises(Busy, match="statement timeout.*raise that limit"):
            store.memories.put(Memory(id="a"))


def test_a_server_that_says_nothing_is_asked_once():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d?timeout=2"
        options = parse_url(url, "rw", embedded=False)
        database = Database(Postgres(options, Shared(Pool.close).lease(options, lambda: Pool(options))))
        with pytest.raises(ConnectionTimeout):
            database.write(None, 1, Scope.ROWS, lambda session: None)
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
        database.close()
