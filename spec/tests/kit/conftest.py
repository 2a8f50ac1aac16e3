"""Two storages for the kit: a plain dict, and plain files; and a small driver of hooks."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from perdure._names import Ref, parse_ref, uuid7
from perdure._schema import TABLES, Row
from perdure._types import CommitRequest, Committed, Context, Operation, Point, Query
from perdure.kit import KitBackend, Storage

CTX = Context()


def load_files() -> ModuleType:
    """The example engine; test folders are no packages, so it is loaded by its path."""
    name = "perdure_test_file_engine"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("file_engine.py"))
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


class DictStorage(Storage):
    """The primitives at their simplest; `fail` makes a call raise, as a crash would."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.lock = threading.RLock()
        self.fail: Callable[[str, bytes], None] = lambda name, key: None

    def get(self, key: bytes) -> bytes | None:
        return self.data.get(key)

    def range(self, start: bytes, end: bytes, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        with self.lock:
            return iter(sorted(((k, v) for k, v in self.data.items() if start <= k < end), reverse=reverse))

    def put_if_absent(self, key: bytes, value: bytes) -> bool:
        self.fail("put", key)
        return self.data.setdefault(key, value) is value

    def delete(self, key: bytes) -> None:
        self.fail("delete", key)
        self.data.pop(key, None)

    def compare_and_swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        self.fail("swap", key)
        with self.lock:
            if self.data.get(key) != old:
                return False
            self.data[key] = new
            return True

    def close(self) -> None:
        pass


class Driver:
    """Calls hooks with short arguments."""

    def __init__(self, storage: Storage, namespace: str = "ns", mode: str = "rw") -> None:
        self.storage = storage
        self.hook = KitBackend(storage, namespace, mode=mode)

    def commit(self, *operations: Operation, branch: str = "main", **more: Any) -> Committed:
        more.setdefault("id", uuid7())
        return self.hook.commit(CTX, CommitRequest(branch=branch, operations=operations, **more))

    def at(self, ref: str | Point) -> Ref | Point:
        return ref if isinstance(ref, Point) else parse_ref(ref)

    def resolve(self, ref: str) -> Point:
        return self.hook.resolve(CTX, parse_ref(ref))

    def branch(self, name: str, at: str | Point = "main") -> Any:
        return self.hook.create_branch(CTX, name, self.at(at))

    def fetch(self, table: str, *keys: tuple[str, ...], at: str | Point = "main") -> list[Row | None]:
        return self.hook.fetch(CTX, table, list(keys), self.at(at))

    def ids(self, table: str = "memories", at: str | Point = "main", **query: Any) -> list[str]:
        place = len(TABLES[table].key) - 1
        return [row[place] for row in self.hook.select(CTX, Query(table, **query), self.at(at))]  # type: ignore[misc]

    def contents(self, at: str | Point = "main", table: str = "memories") -> dict[tuple[str, ...], Row]:
        rows = self.hook.select(CTX, Query(table), self.at(at))
        return {TABLES[table].key_of(row): row for row in rows}


def make_row(table: str, key: str | Sequence[str], **fields: Any) -> Row:
    """An encoded row with nothing but the given fields."""
    empty: dict[str, Any] = {"tags": (), "value": "null", "vector": b"", "int": None}
    definition = TABLES[table]
    key = (key,) if isinstance(key, str) else key
    cells = {c.name: 0 if c.counter else empty.get(c.kind) for c in definition.columns}
    cells.update(zip(definition.key, key, strict=True))
    cells.update(fields)
    return tuple(cells[name] for name in definition.names)


@pytest.fixture(params=["dict", "files"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return DictStorage() if request.param == "dict" else load_files().FileStorage(tmp_path / "store")


@pytest.fixture
def store(storage: Storage) -> Driver:
    return Driver(storage)


@pytest.fixture
def dict_store() -> Driver:
    return Driver(DictStorage())


@pytest.fixture
def driver() -> type[Driver]:
    return Driver


@pytest.fixture
def row() -> Callable[..., Row]:
    return make_row


@pytest.fixture
def dict_storage() -> type[DictStorage]:
    return DictStorage


@pytest.fixture
def files() -> ModuleType:
    return load_files()
