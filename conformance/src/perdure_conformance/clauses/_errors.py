"""Errors: which ones there are, what they carry, and that nothing of a refused write is left."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import perdure
from perdure import (
    AlreadyExists,
    Conflict,
    InvalidFilter,
    InvalidInput,
    InvalidRecord,
    InvalidRef,
    InvalidURL,
    Link,
    Memory,
    MergeConflict,
    NotFound,
    PerdureError,
    PermissionDenied,
    Skill,
    StaleHead,
    State,
    Store,
    Unavailable,
    VersionConflict,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import Violation, equal, holds, refused, unchanged

#: The codes of the specification.
CODES = {
    "InvalidInput": "invalid_input",
    "InvalidRecord": "invalid_record",
    "InvalidFilter": "invalid_filter",
    "InvalidRef": "invalid_ref",
    "InvalidURL": "invalid_url",
    "NotFound": "not_found",
    "HistoryExpired": "history_expired",
    "Conflict": "conflict",
    "AlreadyExists": "already_exists",
    "StaleHead": "stale_head",
    "VersionConflict": "version_conflict",
    "MergeConflict": "merge_conflict",
    "Retryable": "retryable",
    "Busy": "busy",
    "Unavailable": "unavailable",
    "Unsupported": "unsupported",
    "PermissionDenied": "permission_denied",
    "StorageError": "storage_error",
    "CorruptStore": "corrupt_store",
    "IncompatibleStore": "incompatible_store",
    "PluginError": "plugin_error",
}

#: One call for each error that any store can be brought to raise. `filled` makes the store.
WRONG: dict[type[PerdureError], Callable[[Store], Any]] = {
    InvalidInput: lambda store: store.memories.find(limit=-1),
    InvalidRecord: lambda store: store.memories.put(Memory(id="b", importance=float("nan"))),
    InvalidFilter: lambda store: store.memories.find({"nope": 1}),
    InvalidRef: lambda store: store.at("main@yesterday"),
    NotFound: lambda store: store.memories.update("never", text="t"),
    Conflict: lambda store: store.branches.delete("main"),
    AlreadyExists: lambda store: store.memories.insert([Memory(id="new"), Memory(id="a")]),
    StaleHead: lambda store: store.memories.put(Memory(id="b"), expect_head="another"),
    VersionConflict: lambda store: store.memories.put(Memory(id="a", text="t"), if_version="another"),
    PermissionDenied: lambda store: store.snapshot().memories.put(Memory(id="b")),
}


def filled(case: Case) -> Store:
    """A store with rows, a space, a branch in conflict with main, and a checkpoint."""
    store = case.store()
    store.spaces.create("free", 2)
    store.memories.put(Memory(id="a", text="base"))
    store.skills.put(Skill(id="s", success_count=2**63 - 1))
    lab = store.branch("lab")
    lab.memories.put(Memory(id="a", text="lab"))
    store.memories.put(Memory(id="a", text="main"))
    store.checkpoints.create("mark")
    return store


def chain(error: BaseException) -> list[BaseException]:
    """An error and those that it came from."""
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in found:
        found.append(at)
        at = at.__cause__ or at.__context__
    return found


@check("ER-001", "ER-002")
def every_error_has_its_code(case: Case) -> None:
    """Each kind of error that a store can be brought to raise has its code, a message, and a message only for it."""
    store = filled(case)
    for kind, call in WRONG.items():
        try:
            call(store)
        except PerdureError as error:
            equal(type(error), kind, f"the type of the error of the call for {kind.__name__}")
            equal(error.code, CODES[kind.__name__], f"the code of {kind.__name__}")
            text = error.message
            holds(
                isinstance(text, str) and len(text) > 10 and text in str(error),
                "the message says something",
                text,
            )
        else:
            raise Violation(f"the call for {kind.__name__}", f"refused with {kind.__name__}", "no error")


@check("ER-002", "ER-005")
def the_errors_are_those_of_the_specification(case: Case) -> None:
    """The tree has the errors and codes of the specification; wrong arguments and missing keys are the language's."""
    found = {name: getattr(perdure, name).code for name in CODES}
    equal(found, CODES, "the codes of the errors")
    kinds: dict[type[PerdureError], tuple[type[PerdureError], ...]] = {
        InvalidInput: (InvalidRecord, InvalidFilter, InvalidRef, InvalidURL),
        Conflict: (AlreadyExists, StaleHead, VersionConflict, MergeConflict),
    }
    for general, special in kinds.items():
        for kind in special:
            holds(issubclass(kind, general), f"{kind.__name__} is a kind of {general.__name__}")
    store = case.store()
    for builtin, call in (
        (ValueError, lambda: store.memories.find(limit=-1)),
        (ValueError, lambda: store.memories.put(Memory(id=""))),
        (KeyError, lambda: store.memories["never"]),
        (KeyError, lambda: store.at("never")),
    ):
        try:
            call()
        except PerdureError as error:
            holds(
                isinstance(error, builtin),
                f"{error.code} is a kind of {builtin.__name__}",
                type(error).__mro__,
            )
        else:
            raise Violation("a wrong call", "an error", "none")


@check("ER-004", "CO-013")
def a_refused_write_leaves_nothing(case: Case) -> None:
    """Whatever a write is refused with, nothing of it is visible, on any branch."""
    store = filled(case)
    with unchanged(store):
        for kind, call in WRONG.items():
            with refused(kind, what=f"the call for {kind.__name__}"):
                call(store)
        late: list[tuple[type[PerdureError], Callable[[Any], Any]]] = [
            (AlreadyExists, lambda batch: batch.memories.insert(Memory(id="a"))),
            (NotFound, lambda batch: batch.memories.delete("never", missing_ok=False)),
            (InvalidRecord, lambda batch: batch.skills.increment("s", success_count=1)),
            (VersionConflict, lambda batch: batch.memories.update("a", if_version="another", text="t")),
            (NotFound, lambda batch: batch.vectors.put({"space": "none", "id": "v", "values": [1.0]})),
        ]
        for kind, last in late:
            with refused(kind, what=f"a batch that ends with {kind.__name__}"), store.batch() as batch:
                batch.memories.put([Memory(id="b"), Memory(id="a", text="changed")])
                batch.states.put(State(kind="k", id="x", payload=b"piece" * 50_000))
                batch.links.put(Link(id="l", source="a", target="b"))
                last(batch)


@check("ER-004", level="branches")
def a_refused_merge_leaves_nothing(case: Case) -> None:
    """A merge and a revert that find conflicts are refused with `MergeConflict`, and nothing is applied."""
    store = filled(case)
    store.branch("lab").memories.put(Memory(id="only-lab"))
    commit = store.memories.version("a") or ""
    store.memories.put(Memory(id="a", text="later"))
    with unchanged(store):
        with refused(MergeConflict, what="a merge of two changes of one field"):
            store.merge("lab")
        with refused(MergeConflict, what="a revert of what was changed later"):
            store.revert(commit)


@check("ER-001", "HK-007")
def a_closed_store_is_unavailable(case: Case) -> None:
    """Reads and writes of a closed store are refused with `Unavailable`; closing twice is no error."""
    store, other = case.store(), case.store()
    store.memories.put(Memory(id="a"))
    rest = store.memories.scan()
    store.close()
    store.close()
    for what, call in (
        ("get", lambda: store.memories.get("a")),
        ("find", store.memories.find),
        ("put", lambda: store.memories.put(Memory(id="b"))),
        ("head", store.head),
        ("branches", store.branches.list),
    ):
        with refused(Unavailable, what=f"{what} on a closed store"):
            call()
    with suppress(PerdureError):
        list(rest)
    equal([m.id for m in other.memories.scan()], ["a"], "the rows, by another handle")


@check("ER-001")
def a_broken_stream_leaves_nothing(case: Case) -> None:
    """An error of the caller's own while it gives records or bytes comes out as it is, and nothing is written."""
    store = filled(case)

    def broken(things: list[Any]) -> Any:
        yield from things
        raise ZeroDivisionError("the caller's own error")

    with unchanged(store):
        calls: list[Callable[[], Any]] = [
            lambda: store.memories.put(broken([Memory(id=f"n{i}") for i in range(3_000)])),
            lambda: store.states.put(State(kind="k", id="x", payload=broken([b"x" * 100_000] * 2))),
            lambda: store.ingest(broken(list(store.export()))),
        ]
        for call in calls:
            try:
                call()
            except ZeroDivisionError:
                continue
            raise Violation("a stream that breaks off", "the caller's error", "none")


@check("ER-003")
def passwords_are_not_shown(case: Case) -> None:
    """No error, and no representation of a store, shows a password of its URL."""
    secret = "p4ss-w0rd"
    for url in (f"nosuchscheme://user:{secret}@host/path", f"nosuchscheme://host/?password={secret}"):
        try:
            perdure.open(url)
        except InvalidURL as error:
            for part in chain(error):
                holds(
                    secret not in f"{part} {part.args} {getattr(part, 'detail', '')}",
                    "no password",
                    str(part),
                )
        else:
            raise Violation("a URL of an unknown scheme", "refused with InvalidURL", "no error")
