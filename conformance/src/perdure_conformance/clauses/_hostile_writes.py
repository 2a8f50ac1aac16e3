"""Writes and other calls of a store with malformed arguments: refused, with nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from math import inf, nan
from typing import Any

import perdure
from perdure import (
    InvalidInput,
    InvalidRecord,
    InvalidRef,
    InvalidURL,
    Memory,
    NotFound,
    Options,
    Point,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._hostile_calls import NO_FLAG, NO_LIMIT, NO_TEXT, filled, refuse
from perdure_conformance.clauses._hostile_hooks import NO_INT64, NO_NAME
from perdure_conformance.expect import equal, holds, unchanged


@check("ER-001", "ER-004")
def malformed_options_are_refused(case: Case) -> None:
    """Options of a commit that there are not, or that are malformed, are refused with `InvalidInput`."""
    store = filled(case)
    row = Memory(id="n")
    options: list[dict[str, Any]] = [{"nope": 1}, {"messages": "m"}, {"": 1}]
    options += [{"message": text} for text in (*NO_TEXT, None)] + [{"author": text} for text in NO_TEXT]
    options += [{"expect_head": head} for head in (1, b"a", ["a"], object())]
    options += [{"check_references": flag} for flag in NO_FLAG]
    calls: dict[str, Callable[[Any], Any]] = {
        "put": lambda words: store.memories.put(row, **words),
        "insert": lambda words: store.memories.insert(row, **words),
        "delete": lambda words: store.memories.delete("a", **words),
        "batch": lambda words: store.batch(**words),
        "transact": lambda words: store.transact(lambda t: t.memories.put(row), **words),
        "merge": lambda words: store.merge("lab", **words),
    }
    no_options: list[Any] = [{}, "message", 1, {"message": "m"}, object()]
    with unchanged(store):
        for what, call in calls.items():
            refuse(InvalidInput, what, call, options)
        refuse(InvalidInput, "update", lambda o: store.memories.update("a", options=o, title="x"), no_options)
        refuse(InvalidInput, "Options", lambda words: Options(**words), options[3:])


@check("ER-001", "ER-004", "DM-064")
def malformed_writes_are_refused(case: Case) -> None:
    """Arguments of writes that contradict each other, or are malformed, are refused with `InvalidInput`."""
    store = filled(case)
    row, many = Memory(id="n"), [Memory(id="n"), Memory(id="m")]
    memories = store.memories
    words: list[dict[str, Any]] = [{"if_version": v} for v in (1, b"v", ["v"], object(), True)]
    words += [{"if_absent": flag} for flag in NO_FLAG] + [{"if_absent": True, "if_version": "v"}]
    words += [{"chunk": size} for size in (0, *NO_LIMIT)] + [{"chunk": 1}]
    words += [{"progress": thing} for thing in (1, "f", [print], object())] + [{"model": "m"}]
    lists: list[dict[str, Any]] = [{"if_version": "v"}, {"if_absent": True}, {"vector": [1.0, 0.0]}]
    lists += [
        {"chunk": 1, "commit_id": "c"},
        {"chunk": 1, "expect_head": None},
        {"chunk": 1, "if_version": "v"},
    ]
    with unchanged(store):
        refuse(InvalidInput, "put of a row with", lambda w: memories.put(row, **w), words)
        refuse(InvalidInput, "put of rows with", lambda w: memories.put(many, **w), lists)
        refuse(InvalidInput, "delete with missing_ok", lambda f: memories.delete("a", missing_ok=f), NO_FLAG)
        refuse(
            InvalidInput,
            "delete with if_version",
            lambda v: memories.delete("a", if_version=v),
            [1, b"v", ["v"]],
        )
        refuse(
            InvalidRecord, "increment by", lambda n: store.skills.increment("s", success_count=n), NO_INT64
        )
        refuse(InvalidInput, "outcome", lambda f: store.skills.record_outcome("s", success=f), NO_FLAG)
        refuse(
            InvalidInput, "transact with attempts", lambda n: store.transact(repr, attempts=n), [0, *NO_LIMIT]
        )
        refuse(InvalidInput, "transact of", store.transact, [None, 1, "work", object()])
        refuse(InvalidInput, "cascade", lambda f: store.branches.delete("lab", cascade=f), NO_FLAG)
        refuse(
            InvalidInput,
            "checkpoint with",
            lambda m: store.checkpoints.create("n", message=m),
            [*NO_TEXT, None],
        )
        refuse(InvalidRecord, "metrics", lambda m: store.checkpoints.create("n", metrics=m), [iter([]), len])


@check("ER-001", level="branches")
def malformed_merges_are_refused(case: Case) -> None:
    """Strategies, tables, keys, flags and parents of merges and reverts that are malformed are refused."""
    store = filled(case)
    store.branch("lab").memories.put(Memory(id="only-lab"))
    commit = store.memories.version("a") or ""
    words: list[Any] = ["", "FAIL", "union", None, 1, b"ours", ["ours"], object()]
    keys: list[Any] = [1, "a", ["a"], object()]
    with unchanged(store):
        refuse(InvalidInput, "strategy", lambda s: store.merge("lab", strategy=s), words)
        refuse(InvalidInput, "strategy of sync", lambda s: store.branch("lab").sync(strategy=s), words)
        refuse(InvalidInput, "strategy of revert", lambda s: store.revert(commit, strategy=s), words)
        refuse(InvalidInput, "dry_run", lambda f: store.merge("lab", dry_run=f), NO_FLAG)
        refuse(InvalidInput, "tables", lambda t: store.merge("lab", tables=t), ["memories", 1, object()])
        refuse(NotFound, "tables", lambda t: store.merge("lab", tables=t), [["nope"], [1], ["memories", ""]])
        refuse(InvalidInput, "keys", lambda k: store.merge("lab", keys=k), keys)
        refuse(NotFound, "keys of", lambda t: store.merge("lab", keys={t: ["a"]}), ["nope", "", 1])
        refuse(
            InvalidRecord,
            "keys of memories",
            lambda k: store.merge("lab", keys={"memories": k}),
            [[""], [1], 1],
        )
        refuse(
            InvalidInput,
            "parent",
            lambda p: store.revert(commit, parent=p),
            [-1, 1.5, True, b"", "a b", object()],
        )


@check("CO-046", "ER-001", level="branches")
def malformed_cursors_of_the_feed_are_refused(case: Case) -> None:
    """A cursor that is no map from branch ids to sequence numbers, or ahead of a branch, is `InvalidInput`."""
    store = filled(case)
    branch = store.head().branch
    cursors: list[Any] = [
        1,
        "x",
        b"",
        [branch],
        object(),
        {1: 1},
        {branch: "1"},
        {branch: 1.0},
        {branch: True},
    ]
    cursors += [{branch: seq} for seq in (-1, 2**63, 2**80, None, store.head().seq + 1)]
    with unchanged(store):
        refuse(InvalidInput, "changes since", store.changes, cursors)
        refuse(InvalidInput, "poll", lambda n: store.changes(poll=n), [0, -1, nan, inf, True, "1", None])
        refuse(InvalidInput, "follow", lambda f: store.changes(follow=f), NO_FLAG)


@check("UP-045", "ER-001", "ER-004")
def what_is_no_history_is_refused(case: Case) -> None:
    """Events that are none, or whose parts are of other types, are refused with `InvalidRecord`."""
    store = filled(case)
    events: list[Any] = [
        None,
        1,
        "event",
        b"",
        {},
        [],
        object(),
        Memory(id="a"),
        Point("b", 0),
        ("branch", {}),
    ]
    with unchanged(store):
        refuse(InvalidRecord, "ingest of", store.ingest, [None, 1, "events", b"events", object()])
        refuse(InvalidRecord, "ingest of the event", lambda event: store.ingest([event]), events)


@check("ER-001", "ER-002")
def malformed_urls_are_refused(case: Case) -> None:
    """What is no URL, and one whose backend is not installed, is refused with `InvalidURL`."""
    urls: list[Any] = [
        "",
        "x",
        "memory",
        "://",
        "://x",
        "nosuchscheme://",
        "no such scheme://x",
        "\0://",
        "\ud800://x",
    ]
    urls += ["http:/x", "nosuchscheme://[", "é://x", None, 1, b"memory://", ["memory://"], object()]
    refuse(InvalidURL, "opening", perdure.open, urls)


@check("ER-001")
def malformed_ways_to_open_are_refused(case: Case) -> None:
    """Modes, branches and principals that are malformed are refused before anything is made."""
    case.store()
    place = case.place
    modes: list[Any] = ["", "w", "R", "rwx", None, 1, b"r", ["r"]]
    refuse(InvalidInput, "the mode", lambda mode: place.open(case.namespace, mode=mode), modes)
    names = [name for name in NO_NAME if name is not None]
    refuse(InvalidRef, "the branch", lambda name: place.open(case.namespace, branch=name), names)
    refuse(
        InvalidInput, "the principal", lambda who: place.open(case.namespace, principal=who), [*NO_TEXT, None]
    )
    refuse(NotFound, "the branch", lambda name: place.open(case.namespace, branch=name), ["never"])


@check("DM-033", "ER-001")
def great_numbers_are_taken(case: Case) -> None:
    """Limits, `k`s and depths beyond 64 bits ask for all there is, and are no error."""
    store = filled(case)
    for number in (2**31, 2**63 - 1, 2**63, 2**80):
        equal(len(store.memories.find(limit=number)), 3, f"the rows of a limit of {number}")
        equal(len(store.memories.search([1.0, 0.0], k=number)), 1, f"the hits of a k of {number}")
        equal(len(list(store.links.chain("a", max_depth=number))), 1, f"the links of a depth of {number}")
        holds(len(list(store.log(limit=number))) > 3, f"the commits of a limit of {number}")
    equal(store.expire(datetime(9999, 12, 31, tzinfo=UTC)), None, "nothing has an expiry")
