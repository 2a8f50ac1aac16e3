"""Whole namespaces from store to store: equal dumps, again and again, and nothing overwritten."""

import itertools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure import Conflict, InvalidInput, Memory, NotFound, Store
from perdure_conformance.dump import dump, same_dump
from perdure_migrate.replicate import Limits, copy, export_file, verify

Fill = Callable[..., Store]
Fresh = Callable[[str], str]


def same(a: str, b: str, **options: Any) -> None:
    """Assert that two stores hold the same, read counters included."""
    with perdure.open(a, mode="r") as one, perdure.open(b, mode="r") as other:
        same_dump(dump(one, **options), dump(other, **options), f"{a} and {b}")
        for ref in [branch.name for branch in one.branches.list()]:
            for name in perdure.TABLES:
                there, here = one.at(ref).table(name), other.at(ref).table(name)
                keys = [record.key for record in there.scan()]
                assert there.get_many(keys) == here.get_many(keys)


def test_a_history_goes_around_all_engines_and_a_file(filled: Fill, fresh: Fresh, tmp_path: Path) -> None:
    start, end, file = fresh("memory"), fresh("memory"), str(tmp_path / "all.perdure")
    filled(start).close()
    way = [start, fresh("sqlite"), fresh("lancedb"), fresh("sqlite")]
    for source, target in itertools.pairwise(way):
        assert copy(source, target).ok
        same(start, target)
    assert export_file(way[-1], file).ok
    assert copy(file, end).ok
    same(start, end)


def test_to_postgres_and_back(filled: Fill, fresh: Fresh, postgres: str) -> None:
    start, end = fresh("sqlite"), fresh("sqlite")
    filled(start).close()
    assert copy(start, postgres, limits=Limits(commits=5)).ok
    same(start, postgres)
    assert copy(postgres, end).ok
    same(start, end)


@pytest.mark.parametrize("engine", ["sqlite", "lancedb"])
def test_ten_thousand_rows_come_whole(engine: str, filled: Fill, fresh: Fresh, tmp_path: Path) -> None:
    source, target, file = fresh("memory"), fresh(engine), str(tmp_path / "all.perdure")
    filled(source, rows=10_000).close()
    (found,) = copy(source, target).namespaces
    assert (found.ok, found.equal_commits, found.equal_rows) == (True, found.commits, found.rows)
    assert found.rows > 10_000
    assert export_file(target, file).namespaces[0].equal_rows == found.rows
    assert verify(file, source).namespaces[0].equal_rows == found.rows


def test_small_slices_make_the_same_copy(filled: Fill, fresh: Fresh) -> None:
    source, target = fresh("memory"), fresh("sqlite")
    filled(source).close()
    assert copy(source, target, limits=Limits(1, 1, 1)).ok
    same(source, target)


def test_a_second_run_changes_nothing(filled: Fill, fresh: Fresh) -> None:
    source, target = fresh("sqlite"), fresh("memory")
    filled(source).close()
    copy(source, target)
    (found,) = copy(source, target).namespaces
    assert (found.commits, found.branches, found.checkpoints, found.spaces, found.counters) == (0,) * 5
    assert found.equal_commits > 10
    same(source, target)


@pytest.mark.parametrize("engine", ["memory", "sqlite", "lancedb"])
def test_compacted_history_reads_the_same(engine: str, filled: Fill, fresh: Fresh) -> None:
    source, target = fresh("sqlite"), fresh(engine)
    with filled(source) as store:
        assert store.compact(1, lease=timedelta(0)).versions
        store.memories.put(Memory(id="after"))
    assert copy(source, target, limits=Limits(1, 1, 1)).ok
    same(source, target)
    assert verify(source, target).ok


def test_a_store_that_is_compacted_after_the_copy_still_compares(filled: Fill, fresh: Fresh) -> None:
    source, target = fresh("memory"), fresh("sqlite")
    store = filled(source)
    copy(source, target)
    store.compact(1, lease=timedelta(0))
    (found,) = copy(source, target).namespaces
    assert found.ok
    assert found.older


def test_all_namespaces_come_unless_one_is_named(filled: Fill, fresh: Fresh) -> None:
    source, target = fresh("sqlite"), fresh("memory")
    for name in ("default", "a/b", "c"):
        filled(source, namespace=name, rows=3).close()
    copy(source, target, namespaces=["c"], into="d")
    assert [found.source for found in copy(source, target).namespaces] == ["a/b", "c", "default"]
    with perdure.open(target) as store:
        assert store.namespaces.list() == ["a/b", "c", "d", "default"]


def test_namespaces_of_a_store_without_a_default_are_named(filled: Fill, fresh: Fresh) -> None:
    source, target = fresh("sqlite"), fresh("memory")
    filled(source, namespace="only").close()
    with pytest.raises(NotFound, match="--namespace"):
        copy(source, target)
    assert copy(source, target, namespaces=["only"]).ok


def test_a_file_has_the_namespaces_that_it_has(filled: Fill, fresh: Fresh, tmp_path: Path) -> None:
    source, target = fresh("memory"), fresh("memory")
    backup, file = str(tmp_path / "backup"), str(tmp_path / "x.perdure")
    with filled(source) as store:
        store.backup(backup)
    export_file(source, file)
    for place in (backup, file):
        with pytest.raises(NotFound, match="namespace"):
            copy(place, target, namespaces=["nobody"])
        assert copy(place, target, namespaces=["default"], into="other").ok


@pytest.mark.parametrize("engine", ["memory", "sqlite", "lancedb"])
def test_one_store_can_be_both_ends(engine: str, filled: Fill, fresh: Fresh) -> None:
    url = fresh(engine)
    filled(url).close()
    assert copy(url, url, namespaces=["default"], into="copy").ok
    with perdure.open(url) as one, perdure.open(url, namespace="copy") as other:
        same_dump(dump(one), dump(other), "the two namespaces")


def test_a_target_that_holds_something_else_is_refused_and_kept(filled: Fill, fresh: Fresh) -> None:
    source, target = fresh("memory"), fresh("sqlite")
    filled(source).close()
    with perdure.open(target) as store:
        store.memories.put(Memory(id="mine"))
        before = dump(store)
    with pytest.raises(Conflict, match="something else"):
        copy(source, target)
    with perdure.open(target) as store:
        same_dump(before, dump(store), "the target")


def test_a_target_with_more_than_the_source_is_refused(filled: Fill, fresh: Fresh) -> None:
    source, target = fresh("memory"), fresh("sqlite")
    filled(source).close()
    copy(source, target)
    with perdure.open(target) as store:
        store.branches.create("mine")
    with pytest.raises(Conflict, match="branch mine"):
        copy(source, target)


def test_a_dry_run_creates_nothing(filled: Fill, fresh: Fresh) -> None:
    source, target = fresh("memory"), fresh("sqlite")
    filled(source).close()
    report = copy(source, target, dry_run=True)
    assert (report.action, report.namespaces[0].commits > 10) == ("dry run", True)
    assert not Path(target.removeprefix("sqlite:///")).exists()


def test_what_was_changed_in_the_target_is_found(filled: Fill, fresh: Fresh, tmp_path: Path) -> None:
    source, other, file = fresh("memory"), fresh("memory"), str(tmp_path / "x.perdure")
    filled(source).close()
    export_file(source, file)
    copy(file, other)
    with perdure.open(other) as store:
        store.purge("memories", ["m1"])
    report = verify(source, other)
    assert not report.ok
    assert report.namespaces[0].missing == 1


def test_progress_is_told_by_stage(filled: Fill, fresh: Fresh) -> None:
    source, target = fresh("memory"), fresh("memory")
    filled(source).close()
    told: list[tuple[str, int, int]] = []
    copy(source, target, limits=Limits(commits=4), progress=lambda *step: told.append(step))
    assert {stage for stage, _, _ in told} == {"copy default", "compare default"}
    assert all(done <= total for _, done, total in told)
    (found,) = copy(source, target).namespaces
    assert told[-1][1] == found.equal_commits


def test_places_that_cannot_be_are_refused(filled: Fill, fresh: Fresh, tmp_path: Path) -> None:
    source = fresh("memory")
    filled(source).close()
    with pytest.raises(InvalidInput, match="same"):
        copy(source, source)
    with pytest.raises(InvalidInput, match="perdure export"):
        copy(source, str(tmp_path / "file.perdure"))
    with pytest.raises(NotFound):
        copy(fresh("sqlite"), source)
    with pytest.raises(NotFound):
        copy(source, fresh("memory"), namespaces=["nobody"])
    with pytest.raises(InvalidInput, match="one namespace"):
        copy(source, fresh("memory"), namespaces=["a", "b"], into="c")
