"""What a backend declares: each capability works where it is there, and is refused where it is not."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from perdure import (
    CAPABILITIES,
    CORE,
    CompactRequest,
    F,
    Memory,
    NotFound,
    PermissionDenied,
    Store,
    Support,
    Unsupported,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import LEVELS, check
from perdure_conformance.clauses._scene import CALLS, OPTIONAL, WRITING, scene
from perdure_conformance.clauses._shown import ids
from perdure_conformance.expect import Inapplicable, equal, holds, refused, unchanged

#: The capabilities of version 1.0.
DECLARED = ("persistent", "concurrent", "approximate", "read_only", "compact", "purge", "namespaces")


def another(case: Case) -> str:
    """A namespace that nobody has open."""
    name = case.unique()
    case.store(name).close()
    return name


@check("SP-001", "CA-001", "CA-004")
def the_declaration_is_complete(case: Case) -> None:
    """The backend declares its version of the specification, each capability, its durability and its limits."""
    told = case.description
    holds(re.fullmatch(r"[0-9]+\.[0-9]+", told.spec_version), "the version is like 1.0", told.spec_version)
    for name in DECLARED:
        holds(name in told.capabilities, f"{name} is declared", told.capabilities)
    for name, support in told.capabilities.items():
        holds(name in CAPABILITIES, f"{name} is a capability", sorted(CAPABILITIES))
        holds(isinstance(support, Support), f"{name} is full, unsupported or missing", support)
    holds(
        told.durability in ("none", "crash", "power"), "the durability is one of the three", told.durability
    )
    holds(set(told.levels) <= set(LEVELS), "the levels are those of the suite", told.levels)
    for name, limit in told.limits.items():
        holds(type(name) is str and type(limit) is int, f"the limit {name} is a number", limit)
    equal(case.site.target.describe(), told, "what it declares the second time")


def write_and_read(store: Store) -> None:
    """A commit and a read."""
    store.memories.put(Memory(id="a", tier=1), vector=[1.0, 0.0])
    equal(store.memories["a"].tier, 1, "what was written")


def look_back(store: Store) -> None:
    """A read of the past."""
    before = store.head()
    store.memories.put(Memory(id="a", tier=2), vector=[1.0, 0.0])
    equal(store.at(before).memories["a"].tier, 1, "what was there before")


def fork(store: Store) -> None:
    """A branch."""
    equal(ids(store.branch("lab")), ids(store), "the rows of a new branch")


def mark(store: Store) -> None:
    """A checkpoint."""
    store.checkpoints.create("mark")
    equal(ids(store.at("mark")), ids(store), "the rows of a checkpoint")


def find_nearest(store: Store) -> None:
    """A search."""
    found = store.memories.search([1.0, 0.0], k=1)
    equal([hit.record.id for hit in found], ["a"], "the nearest memory")


def take_in(store: Store) -> None:
    """An ingest of what is there."""
    equal(store.ingest(store.export()).commits, 0, "the commits that are new")


#: What every backend has → a use of it, in an order in which they can be made.
CORE_USES: dict[str, Callable[[Store], None]] = {
    "commit": write_and_read,
    "read": write_and_read,
    "scan": lambda store: equal(ids(store), ["a"], "the rows of a scan"),
    "filter": lambda store: equal(store.memories.count(F.tier == 1), 1, "the rows that match"),
    "history": look_back,
    "branches": fork,
    "checkpoints": mark,
    "vectors": find_nearest,
    "ingest": take_in,
}


@check("CA-002")
def the_core_is_there_whatever_is_declared(case: Case) -> None:
    """Everything that belongs to the core works, and no declaration takes it away."""
    equal(set(CORE_USES), set(CORE), "the core that this check tries")
    store = case.store()
    store.spaces.create("mem", 2, table="memories")
    for name, use in CORE_USES.items():
        holds(case.supports(name), f"{name} is declared")
        use(store)


@check("CA-003")
def what_is_not_declared_is_refused(case: Case) -> None:
    """The hooks of a capability that is not declared in full are refused as unsupported, and do nothing."""
    store = case.store()
    found = scene(store, another(case))
    hooks = case.hooks()
    for call in CALLS:
        if call.hook in OPTIONAL and not case.supports(OPTIONAL[call.hook]):
            with unchanged(store), refused(Unsupported, what=f"{call.hook}, which is not declared"):
                call.run(hooks, case.ctx, found)
    equal(ids(case.store(found.other)), [], "the rows of the namespace that was not dropped")
    if not case.supports("read_only"):
        with refused(Unsupported, what="opening to read only, which is not declared"):
            case.store(mode="r")


@check("CA-001", needs=("persistent",))
def what_was_committed_outlives_the_handles(case: Case) -> None:
    """After all handles on a store were closed, what was committed is there."""
    first, second = case.store(), case.store()
    first.memories.put(Memory(id="a", text="kept"))
    second.branch("lab").memories.put(Memory(id="b"))
    first.close()
    second.close()
    again = case.store()
    equal(ids(again), ["a"], "the rows of main")
    equal(ids(case.store(branch="lab")), ["a", "b"], "the rows of the branch")


@check("CA-001", needs=("compact",))
def compaction_drops_old_versions(case: Case) -> None:
    """A compaction that need not keep any history drops versions of rows, and says how many."""
    store = case.store()
    for number in range(20):
        store.memories.put(Memory(id="a", tier=number))
    before = store.stats().versions["memories"]
    report = case.hooks().compact(ctx=case.ctx, request=CompactRequest(lease=0))
    after = store.stats().versions["memories"]
    holds(after < before, "there are fewer versions", (before, after))
    equal(report.versions, before - after, "the versions that the report says were dropped")


@check("CA-001", needs=("purge",))
def purge_erases_what_it_is_told(case: Case) -> None:
    """A purge erases the row, and says how many keys and versions it found."""
    store = case.store()
    for number in range(3):
        store.memories.put([Memory(id="a", tier=number), Memory(id="b", tier=number)])
    report = store.purge("memories", ["a", "absent"])
    equal((report.keys, report.versions), (1, 3), "the keys and the versions that were erased")
    equal(ids(store), ["b"], "the rows after that")


@check("CA-001", needs=("namespaces",))
def namespaces_are_listed_and_dropped(case: Case) -> None:
    """A namespace that is created shows in the list; one that is dropped does not, nor do its rows come back."""
    store, name = case.store(), case.unique()
    with case.store(name) as other:
        other.memories.put(Memory(id="a"))
    holds({case.namespace, name} <= set(store.namespaces.list()), "both namespaces are listed")
    store.namespaces.drop(name)
    names = store.namespaces.list()
    holds(name not in names and case.namespace in names, "only the dropped one is gone", names)
    equal(ids(case.store(name)), [], "the rows of a new namespace of that name")


@check("HK-011", "CA-001", needs=("read_only",))
def a_store_that_is_read_only_refuses_every_write(case: Case) -> None:
    """With mode "r", each hook that writes is refused, reads work, and the store is as it was."""
    store = case.store()
    found = scene(store, another(case))
    hooks = case.hooks(mode="r")
    counters = hooks.counters(ctx=case.ctx, table="memories", keys=[("a",)])
    for call in CALLS:
        missing = call.hook in OPTIONAL and not case.supports(OPTIONAL[call.hook])
        if call.hook in WRITING:
            errors = (PermissionDenied, Unsupported) if missing else (PermissionDenied,)
            with unchanged(store), refused(*errors, what=f"{call.hook} on a store that is read-only"):
                call.run(hooks, case.ctx, found)
        elif call.hook != "close" and not missing:
            result = call.run(hooks, case.ctx, found)
            holds(isinstance(result, call.gives), f"{call.hook} works on a store that is read-only", result)
    after = case.hooks().counters(ctx=case.ctx, table="memories", keys=[("a",)])
    equal(after, counters, "the read counters after that")
    equal(ids(case.store(mode="r")), ["a", "b", "c"], "what a second handle that is read-only shows")


@check("HK-011", "CA-001", needs=("read_only",))
def opening_to_read_makes_nothing(case: Case) -> None:
    """With mode "r", what is not there is not found, and not made; what is there shows new commits."""
    if case.site.target.many:
        case.move()
    for _ in range(2):
        with refused(NotFound, what="opening what is not there, to read only"):
            case.place.open(case.namespace, mode="r").close()
    if case.site.target.many:
        equal(case.place.files(), [], "the files after that")
    store = case.store()
    reader = case.store(mode="r")
    store.memories.put(Memory(id="a"))
    equal(ids(reader), ["a"], "what a handle that is read-only sees of a later commit")


# --------------------------------------------------------------------------------- finding a backend


#: Events that only I/O raises, other than the reading of files, which an import does too.
IO_EVENTS = frozenset(
    {
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.system",
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "sqlite3.connect",
        "subprocess.Popen",
    }
)


def import_backend(target: Any) -> None:
    """Import the module of a backend, so that what its import reads is not taken for what describing does."""
    if target.plugin is None:
        scheme = target.template.partition("://")[0]
        for point in entry_points(group="perdure.backends", name=scheme):
            importlib.import_module(point.module)
    elif isinstance(target.plugin, str):
        importlib.import_module(target.plugin.partition(":")[0])


def io_while_describing(target: Any) -> list[str]:
    """What a backend did while it described itself."""
    done: list[str] = []
    looking = True

    def watch(event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        if looking and (writes or event in IO_EVENTS):
            done.append(f"{event} {args!r:.200}")

    sys.addaudithook(watch)  # it cannot be taken away again
    target.describe()
    looking = False
    return list(done)


def io_in_a_new_process(pipe: Any, target: Any) -> list[str]:
    """In another process: what a backend did while it described itself for the first time."""
    sys.dont_write_bytecode = True
    import_backend(target)
    return io_while_describing(target)


@check("HK-021")
def describe_does_no_io(case: Case) -> None:
    """Describing the backend writes no file, and connects to nothing; an object is watched in this process."""
    target = case.site.target
    apart = target.portable
    done = case.spawn(io_in_a_new_process, target).result() if apart else io_while_describing(target)
    equal(done, [], "what the backend did while it described itself")


def others_installed(target: Any) -> set[str]:
    """The modules of the other backends that are installed; a module may have several backends."""
    scheme = target.template.partition("://")[0]
    points = entry_points(group="perdure.backends")
    return {point.module for point in points} - {point.module for point in points if point.name == scheme}


#: Prints which of some modules describing a backend imported.
DESCRIBE = """
import sys, perdure
perdure.describe_backend(sys.argv[1])
print(*sorted(set(sys.argv[2:]) & sys.modules.keys()))
"""


@check("HK-020")
def only_the_wanted_backend_is_imported(case: Case) -> None:
    """The backend is found by its name, and no other installed backend is imported for it.

    It does not apply to one that is given as an object or as ``pkg.mod:name``, which is not looked up, nor
    where no other is installed: neither says anything against the backend.
    """
    target = case.site.target
    if target.plugin is not None:
        raise Inapplicable("the backend was given by itself, so that no entry point was looked up")
    others = others_installed(target)
    if not others:
        raise Inapplicable("no other backend is installed that could be imported")
    # A new interpreter: one that the suite forks has loaded what this process had.
    command = [sys.executable, "-c", DESCRIBE, target.template.partition("://")[0], *others]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=path, capture_output=True, text=True, check=False)
    equal((done.stdout.split(), done.stderr), ([], ""), "the other backends that were imported")
