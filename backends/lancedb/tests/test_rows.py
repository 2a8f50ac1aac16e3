"""Rows by key: what a point shows, and how little is read for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import perdure
from perdure import Memory
from perdure.kit import Rows
from perdure_lancedb import _rows
from perdure_lancedb._plugin import LancePlugin
from perdure_lancedb._tables import View


@contextmanager
def backend(url: str) -> Iterator[Any]:
    opened = LancePlugin(remote=False).open(url, "default", "rw")
    try:
        yield opened
    finally:
        opened.close(None)


def fold(engine: Any) -> None:
    with engine._storage._lease.use() as files:
        files.fold()


def test_a_row_with_many_versions_costs_what_one_costs(tmp_path: Path, monkeypatch: Any) -> None:
    url = f"lancedb:///{tmp_path}/store"
    with perdure.open(url) as store, backend(url) as engine:
        store.memories.put(Memory(id="often", tier=0))
        points = [store.head()]
        for number in range(1, 60):
            store.memories.update("often", tier=number)
            points.append(store.head())
        fold(engine)
        read: list[int] = []

        def counted(view: View, *arguments: Any, **options: Any) -> Any:
            found = scan(view, *arguments, **options)
            read.append(found.num_rows)
            return found

        scan = View.scan
        monkeypatch.setattr(View, "scan", counted)
        for number in (0, 30, 59):
            read.clear()
            assert engine._reader.fetch("memories", [("often",)], points[number])[0][4] == number
            assert sum(read) <= _rows._FEW + 1


def test_every_point_of_every_branch_shows_what_the_kit_finds(tmp_path: Path, monkeypatch: Any) -> None:
    """Rows that were folded, that came since, and that were deleted, on branches of branches."""
    url = f"lancedb:///{tmp_path}/store"
    keys = [(f"m{i}",) for i in range(6)]
    with perdure.open(url) as store, backend(url) as engine:
        place, points = store, []
        for level in range(5):
            for i in range(6):
                if (i + level) % 3:
                    place.memories.put(Memory(id=f"m{i}", tier=level))
                else:
                    place.memories.delete(f"m{i}")
                points.append(place.head())
            if level % 2 == 0:
                fold(engine)
            place = place.branch(f"b{level}")
        parts = engine._storage, engine._keys, engine._heads, engine._commits
        state, kit = engine._heads.load(), Rows(*parts)
        for most in (_rows.ANCESTORS, 2):
            monkeypatch.setattr(_rows, "ANCESTORS", most)
            for point in points:
                expected = list(kit.fetch(state, point, "memories", keys))
                assert list(engine._rows.fetch(state, point, "memories", keys)) == expected
                lineage = state.lineage(point)
                groups = [engine._keys.group("memories", key) for key in keys]
                assert engine._rows.find_many(state, lineage, groups) == kit.find_many(state, lineage, groups)
                for group in groups:
                    assert engine._rows.find(state, lineage, group) == kit.find(state, lineage, group)


def test_only_ancestors_of_which_the_table_has_something_are_asked_for(
    tmp_path: Path, monkeypatch: Any
) -> None:
    url = f"lancedb:///{tmp_path}/store"
    with perdure.open(url) as store, backend(url) as engine:
        store.memories.put([Memory(id="a"), Memory(id="b", kind="old")])
        fold(engine)
        deep = store.branch("one").branch("two")
        deep.memories.update("b", kind="new")
        asked: list[str] = []

        def counted(view: View, columns: Any, condition: str = "", **options: Any) -> Any:
            asked.append(condition)
            return scan(view, columns, condition, **options)

        scan = View.scan
        monkeypatch.setattr(View, "scan", counted)
        assert [memory.kind for memory in deep.memories.find(order_by="id", limit=9)] == [None, "new"]
        assert deep.memories.count() == 2
        assert not any("branch = 2" in condition for condition in asked), "nothing of it was folded"
        fold(engine)
        asked.clear()
        assert [memory.kind for memory in deep.memories.find(order_by="id", limit=9)] == [None, "new"]
        assert any("branch = 2" in condition for condition in asked)
        assert not any("branch = 1" in condition for condition in asked), "nothing was written there"
