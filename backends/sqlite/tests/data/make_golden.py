"""Makes `golden-1.db` and `golden-1.json`: a small store with something of everything, and what it reads as.

Run it only for a new format, under a new number; what is committed stays as it is for ever::

    python backends/sqlite/tests/data/make_golden.py golden-2

Ids, times and secrets are counted, so that every run makes the same history. Tests load `build` and `dump`
from here too.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import numpy as np
import perdure
from perdure import F, Link, Memory, Skill, State, Store, Trace, Vector

BEGIN = 1_764_547_200_000_000  # 2025-12-01T00:00Z, in microseconds
MOMENT = datetime(2025, 12, 1, tzinfo=UTC)

PAYLOAD = bytes(range(256)) * 24

VALUES: dict[str, Any] = {
    "plain": {"a": [1, 2.5, None, True, "text"], "b": {}},
    "numbers": [2**80, -0.0, 1e308, 5e-324, Decimal("1.10"), Fraction(1, 3), 2 + 3j],
    "floats": [float("inf"), float("-inf")],
    "texts": ["", "nul \0 inside", "lone \ud800", "Ünïcödé 🦉"],
    "bytes": [b"\x00\xff", bytearray(b"abc")],
    "groups": [(1, (2,)), {3, 1}, frozenset({"x"}), {1: "int key", ("t",): "tuple key"}],
    "times": [MOMENT, datetime(2025, 1, 2, 3, 4, 5, 6), date(2025, 1, 2), timedelta(days=1, microseconds=1)],
    "zone": datetime(2025, 1, 2, 3, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "others": [UUID(int=7), range(1, 10, 3), Path("some/where")],
    "arrays": [np.arange(6, dtype="<i4").reshape(2, 3), np.float32(1.5)],
}


@contextmanager
def counted() -> Iterator[None]:
    """Ids, times and secrets that are the same on every run."""
    ids, ticks = count(1), count()

    def uuid7() -> str:
        return str(UUID(int=0x0193_7FFF_0000_7000_8000_0000_0000_0000 + next(ids)))

    def now_us() -> int:
        return BEGIN + 1_000_000 * next(ticks)

    fakes = {"uuid7": uuid7, "now_us": now_us}
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            for attribute, fake in fakes.items():
                if name.startswith("perdure") and hasattr(module, attribute):
                    stack.enter_context(patch.object(module, attribute, fake))
        stack.enter_context(patch("os.urandom", lambda size: bytes(range(size))))
        yield


def build(url: str) -> None:
    """Write the golden history."""
    with perdure.open(url, namespace="golden", principal="maker") as store:
        store.spaces.create("memo", 4, model="model-a", table="memories")
        store.spaces.create("free", 3, dtype="float64", metric="l2")
        _first(store)
        lab = store.branch("lab")
        _on_lab(lab)
        store.memories.update("m02", title="changed on main", options=perdure.Options(commit_id="main-2"))
        store.checkpoints.create("release/1", metrics={"score": 0.5, "n": [1, 2]}, message="the first one")
        store.skills.record_outcome(
            "s1", success=True, at=MOMENT, options=perdure.Options(commit_id="main-3")
        )
        store.merge("lab", strategy="field", commit_id="merge-1", message="bring the lab's work")
        store.memories.put(Memory(id="m02", kind="last", text="again"), commit_id="main-4")
        store.memories.put(Memory(id="m02", kind="last", text="and again"), commit_id="main-5")
        store.branch("later").memories.delete("m03", commit_id="later-1")
        store.memories.delete("m04", commit_id="main-6")
        store.memories.touch(["m01", "m02"])
        store.memories.touch("m01")
        store.purge("memories", ["secret"])
        store.compact(keep=2, lease=timedelta(0))
        lab.traces.put(Trace(id="t-after", intent="after compaction", session="z", step=9), commit_id="lab-9")
    with perdure.open(url, namespace="other") as store:
        store.memories.put(Memory(id="m01", text="another namespace's"), commit_id="c1")


def _first(store: Store) -> None:
    with store.batch(commit_id="main-1", message="the beginning") as batch:
        for i in range(12):
            memory = Memory(
                id=f"m{i:02}",
                kind="fact" if i % 2 else "episode",
                scope=f"area/{i % 3}",
                tier=i,
                text=f"memory {i}" * (1 if i < 11 else 500),  # the last one overflows its page
                tags=["a", f"t{i % 2}", "wéird \t tag"],
                importance=i / 12,
                expires_at=MOMENT + timedelta(days=i) if i > 8 else None,
            )
            batch.memories.put(memory, vector=[i + 1, 1, 0.5, -i])
        for i, (name, value) in enumerate(VALUES.items()):
            batch.memories.put(
                Memory(id=f"v-{name}", kind="value", tier=i, content=value, metadata={name: i})
            )
        batch.memories.put(Memory(id="secret", text="to be purged"), vector=[1, 2, 3, 4])
        batch.links.put(
            [Link(source=f"m{i:02}", target=f"m{i + 1:02}", relation="next", weight=i) for i in range(9)]
        )
        batch.skills.put(Skill(id="s1", name="mend", trigger=r"err(or)?\b", body=["do"], success_count=3))
        batch.traces.put(
            Trace(
                id="t1",
                agent="a",
                intent="long " * 300,
                session="z",
                step=1,
                steps=[1, {"x": 2}],
                skill_id="s1",
            )
        )
        batch.vectors.put(
            [Vector(space="free", id=f"f{i}", values=[i, i / 3, -i], text=f"f {i}") for i in range(5)]
        )
        batch.states.put(State(kind="weights", id="w1", data={"lr": 1e-3}, payload=PAYLOAD))


def _on_lab(lab: Store) -> None:
    with lab.batch(commit_id="lab-1", author="someone else") as batch:
        batch.memories.put(Memory(id="m01", kind="fact", text="lab's own"), vector={"memo": [9, 9, 9, 9]})
        batch.memories.delete("m05")
        batch.links.put(Link(source="m01", target="nowhere", relation="dangling"))
        batch.states.put(State(kind="weights", id="w2", parents=["w1"], payload=PAYLOAD + b"tail"))
    lab.skills.increment("s1", failure_count=2, options=perdure.Options(commit_id="lab-2"))
    lab.memories.put(Memory(id="m06", text="also here"), commit_id="lab-3")


# ------------------------------------------------------------------------------------------------ reading


def dump(store: Store) -> dict[str, Any]:
    """Everything that a store shows, by every way of reading, as JSON."""
    branches = store.branches.list()
    checkpoints = store.checkpoints.list()
    places = [*(branch.name for branch in branches), *(point.name for point in checkpoints)]
    return _plain(
        {
            "namespaces": store.namespaces.list(),
            "branches": branches,
            "checkpoints": checkpoints,
            "spaces": store.spaces.list(),
            "log": {branch.name: list(store.log(branch.name)) for branch in branches},
            "export": list(store.export()),
            "places": {place: _place(store.at(place)) for place in places},
            "counters": [store.memories.counters(f"m{i:02}") for i in range(12)],
            "expired": [ref for i in range(9) if not _readable(store, ref := f"main@{i}")],
        }
    )


def _place(here: Any) -> dict[str, Any]:
    tables = {name: here.table(name) for name in perdure.TABLES}
    rows = {name: table.to_arrow().to_pylist() for name, table in tables.items()}
    keys = {name: [perdure.TABLES[name].key for _ in found] for name, found in rows.items()}
    wanted = {
        name: [
            row[key[0]] if len(key) == 1 else tuple(row[part] for part in key)
            for row, key in zip(found, keys[name], strict=True)
        ]
        for name, found in rows.items()
    }
    for name, table in tables.items():  # by index and by key, one by one and together, it is the same
        assert len(table.get_many(wanted[name])) == table.count() == len(rows[name])
        assert all(table.get(key) is not None for key in wanted[name])
    return {
        "rows": rows,
        "versions": {name: [table.version(key) for key in wanted[name]] for name, table in tables.items()},
        "payloads": [state.payload for state in here.states.scan()],
        "by_kind": [row.id for row in here.memories.find(F.kind == "fact", order_by="-importance")],
        "by_scope": [row.id for row in here.memories.find(F.scope.starts_with("area"), order_by="scope")],
        "by_tier": [row.id for row in here.memories.find(F.tier > 3, order_by="tier")],
        "expiring": [row.id for row in here.memories.find(~F.expires_at.is_null(), order_by="expires_at")],
        "agents": [here.memories.count(F.agent == "a"), here.traces.count(F.agent == "a")],
        "links": [link.id for i in range(12) for link in here.links.neighbors(f"m{i:02}")],
        "skills": [skill.id for skill in here.skills.matching("an error here")],
        "sessions": [trace.id for trace in here.traces.find(F.session == "z", order_by="-step")],
        "nearest": [(f.record.id, round(f.score, 9)) for f in here.memories.search([1, 2, 3, 4], k=20)],
        "free": [(f.record.id, round(f.score, 9)) for f in here.vectors.search([1, 2, 3], k=5, space="free")],
    }


def _readable(store: Store, ref: str) -> bool:
    try:
        store.at(ref)
    except perdure.HistoryExpired:
        return False
    return True


def _plain(item: Any) -> Any:
    """JSON's own types: bytes as hex (long ones as size and hash), structs as lists with their type's name."""
    if isinstance(item, bytes):
        return item.hex() if len(item) <= 64 else [len(item), blake2b(item, digest_size=16).hexdigest()]
    if isinstance(item, datetime):
        return item.isoformat()
    if isinstance(item, dict):
        return {key: _plain(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [_plain(value) for value in item]
    if hasattr(item, "__struct_fields__"):
        return [type(item).__name__, *(_plain(getattr(item, name)) for name in item.__struct_fields__)]
    return item


if __name__ == "__main__":
    target = Path(__file__).with_name(sys.argv[1])
    database, text = target.with_suffix(".db"), target.with_suffix(".json")
    database.unlink(missing_ok=True)
    with counted():
        build(f"sqlite:///{database}")
    with perdure.open(f"sqlite:///{database}", namespace="golden") as golden:
        assert golden.verify().ok, golden.verify().problems
        text.write_text(json.dumps(dump(golden), indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"{database.stat().st_size:,} and {text.stat().st_size:,} bytes\n")
