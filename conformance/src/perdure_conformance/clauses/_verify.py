"""Verification: whole stores pass, damage is reported and never raised, and foreign files are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from perdure import (
    CorruptStore,
    IncompatibleStore,
    Link,
    Memory,
    State,
    StorageError,
    Store,
    Trace,
    VerifyReport,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance._target import Place
from perdure_conformance.clauses._scene import scene
from perdure_conformance.expect import Inapplicable, Skipped, equal, holds, refused, unchanged


def errors(report: VerifyReport) -> list[Any]:
    """The problems that are damage."""
    return [problem for problem in report.problems if problem.severity == "error"]


@check("UP-060", "UP-061")
def a_whole_store_has_no_problems(case: Case) -> None:
    """Verify looks at rows, commits and payload pieces, finds nothing in a whole store, and changes nothing."""
    store = case.store()
    scene(store, case.namespace)
    with unchanged(store):
        report = store.verify()
    equal(report.problems, (), "the problems of a whole store")
    holds(report.ok, "the report says that all is well")
    before = sum(report.checked.values())
    store.memories.put([Memory(id=f"more{number}") for number in range(20)])
    after = sum(store.verify().checked.values())
    holds(after >= before + 20, "more was checked when more was there", (before, after))


@check("UP-062")
def absent_references_are_warnings(case: Case) -> None:
    """A reference to an absent row at a head is a warning: it is no damage, and goes with the reference."""
    store = case.store()
    store.memories.put(Memory(id="here"))
    store.links.put(
        [Link(id="good", source="here", target="here"), Link(id="bad", source="here", target="gone")]
    )
    store.traces.put(Trace(id="t", skill_id="absent"))
    with unchanged(store):
        report = store.verify()
    equal({problem.severity for problem in report.problems}, {"warning"}, "the severities")
    equal(len(report.problems), 2, "the warnings: one for each reference to an absent row")
    holds(report.ok, "a warning is no damage")
    for problem in report.problems:
        holds(problem.code and problem.where and problem.message, "a problem says what and where", problem)
    store.links.delete("bad")
    store.traces.delete("t")
    equal(store.verify().problems, (), "the problems after the references went")


@check("UP-062", level="branches")
def references_are_those_of_each_head(case: Case) -> None:
    """A row that is absent on one branch only is a warning of that branch; the past does not count."""
    store = case.store()
    store.links.put(Link(id="l", source="a", target="a"))
    store.memories.put(Memory(id="a"))
    equal(store.verify().problems, (), "the problems where only the past lacked the row")
    lab = store.branch("lab")
    lab.memories.delete("a")
    found = store.verify().problems
    equal({problem.severity for problem in found}, {"warning"}, "the severities where a branch lacks the row")


def replace_in(files: list[Path], old: bytes, new: bytes) -> int:
    """Put other bytes of the same length in place of some; how often."""
    count = 0
    for path in files:
        data = path.read_bytes()
        if old in data:
            count += data.count(old)
            path.write_bytes(data.replace(old, new))
    return count


def verified(case: Case) -> VerifyReport | None:
    """What verify says of the store; None where it cannot even be opened, which it says too."""
    try:
        store = case.store()
    except (CorruptStore, IncompatibleStore) as error:
        case.note(f"the damaged store is refused: {error}")
        return None
    return store.verify()


def files_of(case: Case, place: Place) -> list[Path]:
    """The files that the engine keeps at a place.

    Where the backend's own template has `{tmp}`, its files can be had, and this run was not given them: that is
    a skip. An engine that keeps no files, or keeps them behind a server, has none that a check may damage.
    """
    paths = place.files()
    if not paths and place.directory is None and "{tmp}" in case.description.template:
        raise Skipped(f"needs a URL with {{tmp}}, such as {case.description.template}, to damage files")
    if not paths:
        raise Inapplicable("the engine keeps no files that a check could damage")
    return paths


def damage(case: Case, fill: Any, old: bytes, new: bytes) -> VerifyReport | None:
    """Fill a store of its own, change bytes in its files, and verify it; None where it cannot be opened any more."""
    place = case.move()
    with case.store() as store:
        fill(store)
    if not replace_in(files_of(case, place), old, new):
        raise Inapplicable(
            "the engine does not keep rows in the clear, so that none can be damaged by its text"
        )
    report = verified(case)
    found = sum(path.read_bytes().count(new) for path in place.files())
    holds(found, "verify does not mend or remove what is damaged")
    return report


TEXT, CHANGED_TEXT = b"whole-text-6f1c", b"other-text-6f1c"
PIECE, CHANGED_PIECE = b"whole-piece-a20d", b"other-piece-a20d"


def with_text(store: Store) -> None:
    """A row with the text."""
    store.memories.put([Memory(id="a", text=TEXT.decode()), Memory(id="b")])


def with_old_text(store: Store) -> None:
    """An old version of a row with the text."""
    with_text(store)
    store.memories.update("a", text="new")


def with_piece(store: Store) -> None:
    """A payload with the piece."""
    store.states.put(State(kind="k", id="a", payload=PIECE + b"." * 1_000))


@check("UP-060", "UP-061", needs=("persistent", "places"))
def a_changed_row_is_reported(case: Case) -> None:
    """Where a byte of a row, or of an old version of it, changed in the files, verify reports an error, and raises none."""
    for what, fill in (("a row", with_text), ("an old version", with_old_text)):
        report = damage(case, fill, TEXT, CHANGED_TEXT)
        if report is not None:
            holds(errors(report) and not report.ok, f"{what} that changed on disk is an error", report)


@check("UP-060", "UP-061", needs=("persistent", "places"))
def a_changed_payload_piece_is_reported(case: Case) -> None:
    """Where a byte of a payload changed in the files, verify reports an error, and reading it is refused."""
    report = damage(case, with_piece, PIECE, CHANGED_PIECE)
    if report is None:
        return
    holds(errors(report) and not report.ok, "a payload piece that changed on disk is an error", report)
    with refused(CorruptStore, what="reading a payload that changed on disk"):
        _ = case.store().states[("k", "a")].payload


#: What may lie where a store should be.
FOREIGN = {
    "text": b"this is no store, but somebody's notes\n" * 300,
    "zeros": bytes(16_384),
    "random bytes": bytes((number * number * 31 + number // 7) % 256 for number in range(16_384)),
    "one byte": b"x",
}


@check("UP-083", needs=("persistent", "places"))
def what_is_no_store_is_refused_and_left_alone(case: Case) -> None:
    """Where the files are those of something else, opening is refused as incompatible or corrupt, and changes none."""
    for what, content in FOREIGN.items():
        place = case.move()
        with case.store() as store:
            with_text(store)
        paths = files_of(case, place)
        for path in paths:
            path.write_bytes(content)
        for mode in ("rw", "r") if case.supports("read_only") else ("rw",):
            with refused(IncompatibleStore, CorruptStore, what=f"opening {what} with mode {mode}"):
                place.open(case.namespace, mode=mode).memories.count()
        equal({path.read_bytes() for path in paths}, {content}, f"the files that hold {what}, after that")
        equal(place.files(), paths, f"the names of the files beside {what}, after that")


@check("UP-083", needs=("persistent", "places"))
def a_store_that_is_cut_short_is_not_taken_for_whole(case: Case) -> None:
    """Where files lost their second half, opening or a read is refused, or verify reports it."""
    place = case.move()
    with case.store() as store:
        store.memories.put([Memory(id=f"m{number}", text="x" * 500) for number in range(400)])
    paths = files_of(case, place)
    for path in paths:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    try:
        with place.open(case.namespace) as store:
            report = store.verify()
            whole = store.memories.count() == 400
    except StorageError as error:
        case.note(f"refused: {error}")
        return
    holds(whole or not report.ok, "a store that lost half of its bytes is not said to be well", report)
