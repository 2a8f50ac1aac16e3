"""Copying: repeatable, stoppable, and never over what is there."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure import Conflict, Memory, NotFound
from perdure_migrate import migrate, verify

Write = Callable[..., Path]


def dump(url: str, branch: str = "main") -> dict[str, list[Any]]:
    with perdure.open(url, branch=branch) as store:
        found = {name: getattr(store, name).find() for name in perdure.TABLES}
        return {**found, "log": [commit.id for commit in store.log()]}


def test_twice_changes_nothing(samples: Path, url: str) -> None:
    for source in ("nexus.pkl", "aura_state"):
        first = migrate(samples / source, url)
        before = dump(url)
        second = migrate(samples / source, url)
        assert dump(url) == before
        assert (second.ok, second.written, second.commits) == (True, 0, [])
        assert second.present == first.planned == second.equal


def test_the_source_is_not_changed(samples: Path, url: str) -> None:
    files = [p for p in samples.rglob("*") if p.is_file()]
    before = [(p.read_bytes(), p.stat().st_mtime_ns) for p in files]
    migrate(samples / "nexus.pkl", url)
    migrate(samples / "aura_state", url)
    assert [(p.read_bytes(), p.stat().st_mtime_ns) for p in files] == before


def test_a_dry_run_writes_nothing(samples: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    report = migrate(samples / "nexus.pkl", f"sqlite:///{tmp_path / 'new.db'}", dry_run=True)
    assert report.action == "dry run"
    assert report.planned == {"memories": 200, "links": 597, "traces": 60, "vectors": 200}
    assert (report.present, report.written, report.equal) == ({}, 0, {})
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_tells_what_is_there(samples: Path, url: str) -> None:
    migrate(samples / "nexus.pkl", url)
    before = dump(url)
    report = migrate(samples / "nexus.pkl", url, dry_run=True)
    assert report.present == report.planned
    assert dump(url) == before


def test_rows_of_others_stay_and_clashes_are_refused(samples: Path, url: str) -> None:
    with perdure.open(url) as store:
        store.memories.put(Memory(id="mine", content=1))
    assert migrate(samples / "nexus.pkl", url).ok
    with perdure.open(url) as store:
        assert store.memories["mine"].content == 1
        store.memories.delete("mine")
        key = store.memories.find(limit=1)[0].id
        store.memories.update(key, content="mended since")
    before = dump(url)
    with pytest.raises(Conflict, match="differs in content") as caught:
        migrate(samples / "nexus.pkl", url)
    assert caught.value.detail["clashes"] == [f"memories {key!r} differs in content"]
    assert dump(url) == before


def test_a_space_of_another_definition_is_a_clash(samples: Path, url: str) -> None:
    with perdure.open(url) as store:
        store.spaces.create("nexus", 3)
    with pytest.raises(Conflict, match="space 'nexus'"):
        migrate(samples / "nexus.pkl", url)


def test_rows_removed_since_come_back(samples: Path, url: str) -> None:
    migrate(samples / "nexus.pkl", url)
    with perdure.open(url) as store:
        store.memories.delete([memory.id for memory in store.memories.find(limit=5)])
    assert not verify(samples / "nexus.pkl", url).ok
    report = migrate(samples / "nexus.pkl", url)
    assert report.ok
    assert report.written == 10  # five memories, and their five vectors
    with perdure.open(url) as store:
        store.memories.delete([memory.id for memory in store.memories.find()])
        store.traces.delete([trace.id for trace in store.traces.find()])
        store.links.delete([link.id for link in store.links.find()])
    assert migrate(samples / "nexus.pkl", url).ok  # the same rows as the first time, whose commit is known


def test_a_namespace_and_a_branch(samples: Path, url: str) -> None:
    report = migrate(samples / "nexus.pkl", url, namespace="team/a", branch="import")
    assert report.ok
    with perdure.open(url, namespace="team/a") as store:
        assert store.memories.count() == 0
        assert store.branch("import").memories.count() == 200
    with pytest.raises(NotFound):
        verify(samples / "nexus.pkl", url, namespace="team/b")
    assert verify(samples / "nexus.pkl", url, namespace="team/a", branch="import").ok


def test_a_store_with_other_rows_is_backed_up_first(samples: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'target.db'}"
    assert migrate(samples / "nexus.pkl", url).backup is None  # there was nothing
    report = migrate(samples / "aura_state", url)
    assert report.backup is not None
    perdure.restore(report.backup, f"sqlite:///{tmp_path / 'restored.db'}")
    with perdure.open(f"sqlite:///{tmp_path / 'restored.db'}") as store:
        assert (store.memories.count(), store.states.count()) == (200, 0)
    assert migrate(samples / "aura_state", url).backup is None  # there is nothing to write


def test_no_backup_where_none_is_wanted(samples: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'target.db'}"
    migrate(samples / "nexus.pkl", url)
    assert migrate(samples / "aura_state", url, backup=False).backup is None
    assert not list(tmp_path.glob("*.perdure"))


def test_killed_midway_it_completes_when_run_again(write: Write, tmp_path: Path) -> None:
    """The child is killed by SIGKILL once some, but not all, commits are there."""
    source, target = write(lambda old: old.many(3_000)), tmp_path / "target.db"
    program = textwrap.dedent(
        """
        import sys
        from perdure_migrate import migrate
        def progress(stage, done, total):
            print(stage, done, total, flush=True)
            sys.stdin.readline()
        migrate(sys.argv[1], sys.argv[2], progress=progress)
        """
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(source), f"sqlite:///{target}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == "copy 2000 9100\n"
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "copy 4000 9100\n"
        child.stdin.write("\n")
        child.stdin.flush()
        time.sleep(0.02)  # somewhere in the next commit
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    url = f"sqlite:///{target}"
    assert not verify(source, url).ok
    report = migrate(source, url)
    assert report.ok
    assert sum(report.present.values()) >= 4_000
    assert report.equal == {"memories": 3_000, "links": 3_000, "traces": 3_000, "vectors": 100}
    with perdure.open(url) as store:
        assert not store.verify().problems
