"""Random histories against a naive model that keeps a whole snapshot for every commit."""

from __future__ import annotations

import random
from typing import Any

import pytest
from perdure._errors import HistoryExpired
from perdure._types import Checkpoint, CompactRequest, Context, Delete, Point, Put

CTX = Context()


class Model:
    """Branch name → [(seq, snapshot)], the first of them the fork."""

    def __init__(self) -> None:
        self.branches: dict[str, list[tuple[int, dict[Any, Any]]]] = {"main": [(0, {})]}
        self.parent: dict[str, str | None] = {"main": None}
        self.checkpoints: dict[str, tuple[str, int, dict[Any, Any]]] = {}

    def at(self, branch: str, seq: int) -> dict[Any, Any]:
        snapshots = self.branches[branch]
        if seq < snapshots[0][0]:
            parent = self.parent[branch]
            assert parent is not None
            return self.at(parent, seq)
        return [held for at, held in snapshots if at <= seq][-1]

    def head(self, branch: str) -> tuple[int, dict[Any, Any]]:
        return self.branches[branch][-1]


class Run:
    def __init__(self, store: Any, row: Any, seed: int) -> None:
        self.store, self.row, self.random = store, row, random.Random(seed)
        self.model = Model()
        self.names = 0
        self.floors: dict[str, int] = {}

    def step(self) -> None:
        pick = self.random.choices(
            [self.commit, self.fork, self.checkpoint, self.delete, self.compact, self.purge, self.reopen],
            [60, 10, 6, 3, 4, 2, 4],
        )[0]
        pick()

    def any_branch(self) -> str:
        return self.random.choice(sorted(self.model.branches))

    def commit(self) -> None:
        branch, r = self.any_branch(), self.random
        seq, held = self.model.head(branch)
        held = dict(held)
        operations: list[Any] = []
        for _ in range(r.randrange(1, 4)):
            key = (r.choice("abcdefgh"),)
            if r.random() < 0.3:
                operations.append(Delete("memories", [key]))
                held.pop(key, None)
            else:
                text = str(r.randrange(3))
                operations.append(Put("memories", [self.row("memories", key, text=text)]))
                held[key] = text
        done = self.store.commit(*operations, branch=branch)
        if done.commit is None:
            assert held == self.model.head(branch)[1]
        else:
            assert done.commit.seq > seq
            self.model.branches[branch].append((done.commit.seq, held))

    def fork(self) -> None:
        branch = self.any_branch()
        seq, held = self.random.choice(self.model.branches[branch])
        self.names += 1
        name = f"b{self.names}"
        try:
            self.store.branch(name, f"{branch}@{seq}")
        except HistoryExpired:
            assert seq < self.floors.get(branch, 0) or self.model.parent[branch] is not None
            return
        self.model.branches[name] = [(seq, held)]
        while seq <= self.model.branches[branch][0][0] and self.model.parent[branch] is not None:
            branch = self.model.parent[branch]  # type: ignore[assignment]
        self.model.parent[name] = branch

    def checkpoint(self) -> None:
        branch = self.any_branch()
        self.names += 1
        seq, held = self.model.head(branch)
        point = self.store.resolve(branch)
        self.store.hook.create_checkpoint(CTX, Checkpoint(f"c{self.names}", point))
        self.model.checkpoints[f"c{self.names}"] = (branch, seq, held)

    def delete(self) -> None:
        branch = self.any_branch()
        if branch != "main":
            before = {b.name for b in self.store.hook.list_branches(CTX)}
            self.store.hook.delete_branch(CTX, branch, True)
            gone = before - {b.name for b in self.store.hook.list_branches(CTX)}
            for name in gone:
                del self.model.branches[name]
            checkpoints = {c.name for c in self.store.hook.list_checkpoints(CTX)}
            self.model.checkpoints = {n: c for n, c in self.model.checkpoints.items() if n in checkpoints}

    def compact(self) -> None:
        self.store.hook.compact(CTX, CompactRequest(keep_commits=self.random.choice([None, 1, 3]), lease=0))
        self.floors = {b.name: b.floor for b in self.store.hook.list_branches(CTX)}

    def purge(self) -> None:
        key = (self.random.choice("abcdefgh"),)
        self.store.hook.purge(CTX, "memories", [key])
        for snapshots in self.model.branches.values():
            for _, held in snapshots:
                held.pop(key, None)
        for _, _, held in self.model.checkpoints.values():
            held.pop(key, None)

    def reopen(self) -> None:
        self.store.hook = type(self.store)(self.store.storage).hook

    def seen(self, at: Any) -> dict[Any, Any]:
        return {key: row[6] for key, row in self.store.contents(at).items()}

    def check(self) -> None:
        heads = {b.name: b for b in self.store.hook.list_branches(CTX)}
        for name, snapshots in self.model.branches.items():
            assert self.seen(name) == self.model.head(name)[1]
            for seq, held in snapshots:
                try:
                    assert self.seen(f"{name}@{seq}") == held
                    keys = [(c,) for c in "abcdefgh"]
                    rows = self.store.fetch("memories", *keys, at=Point(heads[name].id, seq))
                    assert {k: r[6] for k, r in zip(keys, rows, strict=True) if r} == held
                except HistoryExpired:
                    assert seq < max(b.floor for b in heads.values())
        for name, (_, _, held) in self.model.checkpoints.items():
            assert self.seen(name) == held
        report = self.store.hook.verify(CTX)
        assert report.ok, report.problems


@pytest.mark.parametrize("seed", range(12))
def test_dict(dict_store: Any, row: Any, seed: int) -> None:
    run = Run(dict_store, row, seed)
    for number in range(120):
        run.step()
        if number % 20 == 19:
            run.check()


def test_files(store: Any, row: Any) -> None:
    run = Run(store, row, 99)
    for _ in range(40):
        run.step()
    run.check()


def test_nothing_is_left_of_what_compaction_drops(dict_store: Any, row: Any) -> None:
    run = Run(dict_store, row, 7)
    for _ in range(100):
        run.commit()
    dict_store.hook.compact(CTX, CompactRequest(keep_commits=1, lease=0))
    log = list(dict_store.hook.log(CTX, dict_store.resolve("main").branch, 0, 10**9, False, False))
    live = len(dict_store.contents())
    assert len(log) <= live + 1
    letters = [key[3:4] for key in dict_store.storage.data]
    assert letters.count(b"r") == live
    assert letters.count(b"c") == letters.count(b"i") == len(log)
