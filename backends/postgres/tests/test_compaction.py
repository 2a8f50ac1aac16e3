"""Compaction beside readers: they go on, and what was purged is nowhere any more."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import perdure
import psycopg
import pytest
from perdure import Busy, F, Memory
from perdure_postgres import _upkeep

SECRET = "a secret that nobody may read again"


def old_snapshot(server: Any, schema: str, table: str | None) -> Any:
    """A transaction that still sees what was there; it has read a table, or none."""
    connection = psycopg.connect(server.conninfo)
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.execute(f'SELECT count(*) FROM "{schema}".{table}' if table else "SELECT 1")
    return connection


def found(directory: Path, text: str) -> list[str]:
    """The files of the cluster that hold a text."""
    wanted = text.encode()
    return [
        str(path.relative_to(directory))
        for path in (directory / "data").rglob("*")
        if path.is_file() and wanted in path.read_bytes()
    ]


def test_readers_go_on_during_compaction(server):
    with perdure.open(server.url()) as store:
        for round_ in range(4):
            store.memories.put(Memory(id=f"m{i:04}", kind=str(round_)) for i in range(3_000))
        snapshot = store.snapshot()
        rows = snapshot.memories.scan()
        read = [next(rows)]
        batches = snapshot.memories.to_batches()
        report = store.compact(lease=timedelta(0))
        assert report.versions == 9_000
        read += rows
        assert [row.id for row in read] == [f"m{i:04}" for i in range(3_000)]
        assert batches.read_all().num_rows == 3_000
        assert store.verify().problems == ()


def test_compaction_goes_on_beside_a_transaction_that_reads(server):
    """It has read the tables, and is not over."""
    schema = server.schema()
    with perdure.open(server.url(schema=schema, timeout=5)) as store:
        for round_ in range(3):
            store.memories.put(Memory(id=f"m{i}", kind=str(round_)) for i in range(50))
        with old_snapshot(server, schema, "memories") as reader:
            assert store.compact(lease=timedelta(0)).versions == 100
            assert store.memories.count(F.kind == "2") == 50
            assert reader.execute(f"SELECT count(*) FROM {schema}.memories").fetchone() == (150,)


@pytest.mark.parametrize("table", ["memories", None])
def test_purged_bytes_are_gone_once_no_older_transaction_is_left(server, table):
    schema = server.schema()
    url = server.url(schema=schema, timeout=0.5)
    with perdure.open(url) as store:
        store.memories.put([Memory(id="a", text=f"{SECRET} {schema}"), Memory(id="b", text="known to all")])
        server.run("CHECKPOINT")
        assert found(server.directory, f"{SECRET} {schema}")
        with old_snapshot(server, schema, table):
            store.purge("memories", "a")
            with pytest.raises(Busy, match="again"):
                store.compact(lease=timedelta(0))
            assert [row.id for row in store.memories.scan()] == ["b"]
        store.compact(lease=timedelta(0))
        assert found(server.directory, f"{SECRET} {schema}") == []
        assert store.verify().problems == ()


def test_a_purge_while_tables_are_rewritten_is_left_to_the_next_compaction(server, monkeypatch):
    schema = server.schema()
    rewrite = _upkeep._each
    with perdure.open(server.url(schema=schema)) as store:

        def purging(*args: Any) -> None:
            rewrite(*args)
            monkeypatch.undo()
            store.purge("memories", "b")

        store.memories.put([Memory(id="a"), Memory(id="b", text=f"{SECRET} {schema}"), Memory(id="c")])
        store.purge("memories", "a")
        monkeypatch.setattr(_upkeep, "_each", purging)
        store.compact(lease=timedelta(0))
        assert found(server.directory, f"{SECRET} {schema}")
        store.compact(lease=timedelta(0))
        assert found(server.directory, f"{SECRET} {schema}") == []


def test_a_purge_beside_a_scan(server):
    with perdure.open(server.url(timeout=5)) as store:
        store.memories.put(Memory(id=f"m{i:05}", text="x" * 50) for i in range(6_000))
        rows = store.memories.scan()
        read = [next(rows).id]
        store.purge("memories", ["m05000"])
        store.compact(lease=timedelta(0))
        read += [row.id for row in rows]
        assert read == [f"m{i:05}" for i in range(6_000) if i != 5_000]


def test_writers_wait_for_a_rewrite_no_longer_than_was_said(server):
    """A reader holds the table, the rewrite waits for the reader, and others wait for the rewrite."""
    schema = server.schema()
    with perdure.open(server.url(schema=schema, timeout=0.5)) as store:
        store.memories.put([Memory(id="a"), Memory(id="b")])
        store.purge("memories", "a")
        with old_snapshot(server, schema, "memories"):
            began = time.monotonic()
            with pytest.raises(Busy):
                store.compact(lease=timedelta(0))
            assert time.monotonic() - began >= 0.5
            store.memories.put(Memory(id="c"))
        store.compact(lease=timedelta(0))
        assert store.memories.count() == 2
