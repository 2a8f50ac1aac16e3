"""Refs and names: which are well formed, and which exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure import InvalidRef, Memory, NotFound

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._shown import ids
from perdure_conformance.expect import equal, refused, unchanged

#: Texts that are no refs.
MALFORMED = (
    "",
    "@",
    "main@",
    "main@@1",
    "main@-1",
    "main@+1",
    "main@1.0",
    "main@1e3",
    "main@0x10",
    "main@ 1",
    "main@1 ",
    "main@①",
    "main@1234567890123456789",
    "main@2026-01-01",
    "main@2026-01-01T00:00",
    "main@2026-13-01T00:00Z",
    "main@2026-01-01T25:00Z",
    "main@yesterday",
    "main@c1",
    "main@1@2",
    "@a b",
    "@a@b",
    "@é",
    "ma in",
    " main",
    "main\n",
    "mäin",
    "a*",
    "a:b",
    "a\\b",
    "a\0b",
    "x" * 201,
    "@" + "x" * 201,
)


@check("RE-002", "RE-003", level="branches")
def malformed_refs_are_refused(case: Case) -> None:
    """Text that is no ref is refused wherever a ref is taken, and nothing happens."""
    store = case.store()
    store.memories.put(Memory(id="a"), commit_id="c1")
    calls: dict[str, Callable[[Any], Any]] = {
        "at": store.at,
        "a fork": lambda ref: store.branches.create("new", ref),
        "a checkpoint": lambda ref: store.checkpoints.create("new", ref),
        "the log": store.log,
        "a diff": lambda ref: store.diff(ref, "main"),
        "a merge": store.merge,
    }
    with unchanged(store):
        for ref in (*MALFORMED, None, 1, b"main", ("main", 1)):
            for what, call in calls.items():
                if ref is None and what != "at":
                    continue
                with refused(InvalidRef, what=f"{what} of the ref {ref!r:.60}"):
                    call(ref)


@check("RE-003", level="branches")
def malformed_names_are_refused(case: Case) -> None:
    """Branches and checkpoints take no name with other characters, none at all, or one of over 200."""
    store = case.store()
    store.memories.put(Memory(id="a"))
    bad = (
        "",
        " ",
        "a b",
        "a@b",
        "@a",
        "a@1",
        "é",
        "a\n",
        "a\0",
        "a:b",
        "a*",
        "a,b",
        "a'b",
        "a%b",
        "~",
        "x" * 201,
    )
    with unchanged(store):
        for name in bad:
            with refused(InvalidRef, what=f"a branch {name!r:.60}"):
                store.branches.create(name)
            with refused(InvalidRef, what=f"a checkpoint {name!r:.60}"):
                store.checkpoints.create(name)


@check("RE-001", "RE-003", level="branches")
def odd_names_are_names(case: Case) -> None:
    """Names of all characters that are allowed, told apart by case, that look like numbers or paths, all work."""
    store = case.store()
    names = (
        "A",
        "a",
        "0",
        "12",
        "-",
        "-1",
        ".",
        "..",
        "/",
        "a/b",
        "a//b",
        "a/",
        "_",
        "MAIN",
        "2026-01-01",
        "head",
        "x" * 200,
    )
    for number, name in enumerate(names):
        with store.batch() as batch:
            batch.memories.delete(f"m{number - 1}")
            batch.memories.put(Memory(id=f"m{number}"))
        if number % 2:
            store.branches.create(name)
        else:
            store.checkpoints.create(name)
    for number, name in enumerate(names):
        equal(ids(store.at(name)), [f"m{number}"], f"the memories at {name!r:.20}")
    found = [*(b.name for b in store.branches.list()), *(c.name for c in store.checkpoints.list())]
    equal(sorted(found), sorted((*names, "main")), "all names")


@check("RE-004", level="branches")
def unknown_places_are_refused(case: Case) -> None:
    """A name or a commit id that does not exist is refused, and so is a name whose branch was deleted."""
    store = case.store()
    store.memories.put(Memory(id="a"), commit_id="c1")
    store.checkpoints.create("mark")
    store.branches.create("gone")
    store.branches.delete("gone")
    store.checkpoints.create("unmarked")
    store.checkpoints.delete("unmarked")
    absent = (
        "none",
        "gone",
        "unmarked",
        "Main",
        "main/",
        "@none",
        "@C1",
        "@c",
        "@c11",
        "@main",
        "none@1",
        "gone@0",
    )
    for ref in (*absent, "none@2026-01-01T00:00Z", "mark@1", "mark@2026-01-01T00:00Z", "c1"):
        with refused(NotFound, what=f"a read at {ref}"):
            store.at(ref)
        with refused(NotFound, what=f"a fork at {ref}"):
            store.branches.create("new", ref)
        with refused(NotFound, what=f"a diff with {ref}"):
            list(store.diff(ref, "main"))
    equal([branch.name for branch in store.branches.list()], ["main"], "the branches after that")
