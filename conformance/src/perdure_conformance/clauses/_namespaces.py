"""Namespaces: what is in one is in no other; their names, their making and their end."""

from __future__ import annotations

from typing import Any

from perdure import Conflict, CorruptStore, InvalidRef, Memory, NotFound, State, Store

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.dump import dump
from perdure_conformance.expect import equal, holds, refused, unchanged

#: What no namespace, branch, checkpoint or space may be called.
BAD_NAMES: tuple[Any, ...] = (
    *("", "a b", "a\0", "a\n", "\ud800", "é", "a@b", "a:b", "a%b", "a\\b", "a?b", "a#b", "a*b", "x" * 201),
    *("x" * 100_000, None, 0, b"a", ["a"], ("a",), object()),
)

PAYLOAD = b"of one namespace " * 5_000


def fill(store: Store, text: str) -> str:
    """Put one thing of each sort into a namespace; the id of the commit of the row."""
    store.spaces.create("space", 2)
    done = store.memories.put(Memory(id="row", text=text), commit_id="commit")
    store.states.put(State(kind="k", id="state", payload=PAYLOAD + text.encode()))
    store.memories.touch("row")
    store.branches.create("branch")
    store.checkpoints.create("checkpoint")
    holds(done is not None and done.commit is not None, "a put makes a commit", done)
    return "commit"


@check("DM-001", "DM-002")
def nothing_shows_through_to_another_namespace(case: Case) -> None:
    """Rows, commits, branches, checkpoints, spaces, counters and payloads are in their namespace only."""
    store, other = case.store(), case.new_store()
    empty = dump(other)
    commit = fill(store, "here")
    manifest = next(iter(store.states.to_batches(columns=["payload"]))).column(0)[0].as_py()
    equal(dump(other), empty, "another namespace")
    equal(other.memories.counters("row").access_count, 0, "a read counter, seen from another namespace")
    for ref in ("branch", "checkpoint", f"@{commit}"):
        with refused(NotFound, what=f"{ref} in another namespace"):
            other.at(ref)
    with refused(CorruptStore, what="a payload piece of another namespace"):
        hooks = case.hooks(other.namespace)
        list(hooks.read_chunks(ctx=case.ctx, digests=[manifest.partition(":")[2].split(",")[0]]))


@check("DM-001", "DM-002")
def the_same_names_do_not_clash(case: Case) -> None:
    """Two namespaces hold the same keys, names and commit ids with other contents, and neither changes."""
    store, other = case.store(), case.new_store()
    fill(store, "here")
    with unchanged(store):
        other.spaces.create("space", 3)
        other.memories.put(Memory(id="row", text="there"), commit_id="commit")
        other.memories.put(Memory(id="more"))
        other.branches.create("branch")
        other.checkpoints.create("checkpoint")
        other.memories.delete("row")
    equal(store.memories["row"].text, "here", "the row")
    equal([memory.id for memory in other.memories.scan()], ["more"], "the rows of the other namespace")


@check("DM-002", "DM-003")
def names_that_look_alike_are_different_namespaces(case: Case) -> None:
    """Names that differ in case, or of which one begins like another, name different namespaces."""
    root = case.unique()
    names = [root, root.upper(), root + "0", root + "/", f"{root}/a", f"{root}.a", f"{root}_a", f"{root}-a"]
    for name in dict.fromkeys(names):
        case.store(name).memories.put(Memory(id="a", text=name))
    for name in names:
        texts = [memory.text for memory in case.store(name).memories.scan()]
        equal(texts, [name], f"the rows of namespace {name!r}")


@check("DM-003")
def a_namespace_may_have_any_name_of_the_alphabet(case: Case) -> None:
    """Names of 1 to 200 letters, digits, dots, slashes, hyphens and underscores are taken as they are."""
    word = case.unique()
    long = (word + "x" * 200)[:200]
    odd = [f"{word}/../{word}", f"./{word}", f"../{word}", f"/{word}", f"-{word}", f"{word}//", f".{word}."]
    for name in (long, *odd):
        case.store(name).memories.put(Memory(id="a", text=name))
        equal(case.store(name).memories["a"].text, name, f"the row of namespace {name!r}")


@check("DM-003", needs=("places",))
def a_namespace_may_be_named_by_one_sign(case: Case) -> None:
    """A dot, two dots, a slash, a hyphen, an underscore, a digit and a letter are names."""
    case.move()
    names = [".", "..", "/", "-", "_", "0", "a", "A"]
    for name in names:
        case.store(name).memories.put(Memory(id="a", text=name))
    for name in names:
        equal(case.store(name).memories["a"].text, name, f"the row of namespace {name!r}")


@check("DM-003")
def a_malformed_namespace_is_refused(case: Case) -> None:
    """Another name is refused with `InvalidRef`, by the store and by the hooks."""
    for name in BAD_NAMES:
        if name is not None:  # for `case`, None is its own namespace
            with refused(InvalidRef, what=f"opening namespace {name!r:.40}"):
                case.place.open(name)
            with refused(InvalidRef, what=f"the hooks of namespace {name!r:.40}"):
                case.place.hooks(name)


@check("DM-003", needs=("namespaces",))
def a_malformed_namespace_is_not_dropped(case: Case) -> None:
    """Dropping a namespace of a malformed name is refused with `InvalidRef`."""
    store, hooks = case.store(), case.hooks()
    for name in BAD_NAMES:
        with refused(InvalidRef, what=f"dropping namespace {name!r:.40}"):
            store.namespaces.drop(name)
        with refused(InvalidRef, what=f"the hook that drops namespace {name!r:.40}"):
            hooks.drop_namespace(ctx=case.ctx, name=name)


@check("DM-004")
def opening_for_writing_creates(case: Case) -> None:
    """A missing namespace is created with an empty main; opening it again leaves it as it is."""
    store = case.store()
    (main,) = store.branches.list()
    equal((main.name, main.parent, main.head.commit), ("main", None, None), "the branch of a new namespace")
    equal(sum(store.table(name).count() for name in ("memories", "skills", "states")), 0, "its rows")
    store.memories.put(Memory(id="a"))
    with unchanged(store):
        again = case.store()
        equal([branch.id for branch in again.branches.list()], [main.id], "the branches, opened again")


@check("DM-005", needs=("read_only",))
def opening_for_reading_creates_nothing(case: Case) -> None:
    """A missing namespace that is opened for reading only is refused with `NotFound`, each time."""
    case.store()
    missing = case.unique()
    for _ in range(2):
        with refused(NotFound, what="opening a missing namespace for reading"):
            case.place.open(missing, mode="r")
        with refused(NotFound, what="the hooks of a missing namespace for reading"):
            case.place.hooks(missing, mode="r")
    if case.supports("namespaces"):
        holds(missing not in case.store().namespaces.list(), "no namespace was created")


@check("DM-006", needs=("namespaces",))
def dropping_erases_all(case: Case) -> None:
    """A dropped namespace is gone, with rows, commits, names, counters and payloads; others stay."""
    store, other = case.store(), case.store(case.unique())
    fill(store, "stays")
    empty = dump(other)
    fill(other, "goes")
    piece = next(iter(other.states.to_batches(columns=["payload"]))).column(0)[0].as_py()
    other.close()
    with unchanged(store):
        store.namespaces.drop(other.namespace)
    holds(other.namespace not in store.namespaces.list(), "the dropped namespace is not listed")
    with refused(NotFound, what="dropping it once more"):
        store.namespaces.drop(other.namespace)
    again = case.store(other.namespace)
    equal(dump(again), empty, "the namespace, created again")
    equal(again.memories.counters("row").access_count, 0, "a read counter of the dropped namespace")
    with refused(CorruptStore, what="a payload piece of the dropped namespace"):
        hooks = case.hooks(other.namespace)
        list(hooks.read_chunks(ctx=case.ctx, digests=[piece.partition(":")[2].split(",")[0]]))


@check("DM-006", needs=("namespaces",))
def the_open_namespace_is_not_dropped(case: Case) -> None:
    """Dropping the namespace that is open is refused with `Conflict`, and it stays as it was."""
    store = case.store()
    fill(store, "stays")
    with unchanged(store):
        with refused(Conflict, what="dropping the open namespace"):
            store.namespaces.drop(store.namespace)
        with refused(Conflict, what="the hook that drops the open namespace"):
            case.hooks().drop_namespace(ctx=case.ctx, name=store.namespace)
