"""Vectors in merges and reverts: with their rows, and never without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from perdure import Memory, MergeConflict, State, Store, Vector

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused, unchanged


def shape(view: Any) -> tuple[list[str], dict[tuple[str, str], list[float]]]:
    """The ids of all memories, and all vectors by key."""
    vectors = {(v.space, v.id): v.values.tolist() for v in view.vectors.scan()}
    return [memory.id for memory in view.memories.scan()], vectors


def forked(store: Store) -> Store:
    """A branch lab; memories `m` and `n` with a vector in space `a`, `m` also in `b`."""
    for name in "ab":
        store.spaces.create(name, 2, metric="l2", table="memories")
    store.memories.put(Memory(id="m", tier=0), vector={"a": [1, 0], "b": [2, 0]})
    store.memories.put(Memory(id="n", tier=0), vector={"a": [0, 1]})
    return store.branch("lab")


#: The vectors that `forked` writes.
START = {("a", "m"): [1.0, 0.0], ("a", "n"): [0.0, 1.0], ("b", "m"): [2.0, 0.0]}


@check("VE-025", "ME-022", "ME-052", level="vectors")
def a_merge_brings_vectors_as_it_brings_rows(case: Case) -> None:
    """New, changed and deleted vectors arrive, with rows and without, bit for bit."""
    store = case.store()
    lab = forked(store)
    lab.memories.put(Memory(id="new"), vector={"a": [5e-45, 5]})
    lab.vectors.put(Vector(space="a", id="m", values=[-0.0, 0.1]))
    lab.vectors.delete(("b", "m"))
    store.memories.update("m", tier=1)
    store.merge("lab")
    equal(shape(store), shape(lab), "the rows and vectors of main, and of the branch")
    for name in ("m", "new"):
        mine, theirs = (np.asarray(side.vectors["a", name].values) for side in (store, lab))
        equal(mine.tobytes(), theirs.tobytes(), f"the bytes of the vector of {name}")
    (found,) = store.memories.search([0, 0.1], k=1, space="a", exact=True)
    equal((found.record.id, found.record.tier), ("m", 1), "what a search on main finds")


@check("VE-025", "ME-029", level="vectors")
def different_changes_of_a_vector_conflict(case: Case) -> None:
    """A vector is one field: `field` cannot join it, a side can win; equal vectors do not conflict."""
    for strategy, want in (("ours", [7.0, 7.0]), ("theirs", [8.0, 8.0])):
        with case.new_store() as store:
            lab = forked(store)
            store.vectors.put(Vector(space="a", id="m", values=[7, 7]))
            lab.vectors.put(Vector(space="a", id="m", values=[8, 8]))
            for side in (store, lab):
                side.vectors.put(Vector(space="a", id="n", values=[9, 9]))
            told = store.merge("lab", strategy="field", dry_run=True).conflicts
            found = [(c.table, c.key, c.kind, c.fields) for c in told]
            equal(found, [("vectors", ("a", "m"), "both_changed", ("values",))], "the conflicts")
            store.merge("lab", strategy="ours" if strategy == "ours" else "theirs")
            equal(shape(store)[1]["a", "m"], want, f"the vector under {strategy}")
            equal(shape(store)[1]["a", "n"], [9.0, 9.0], "the vector that both sides changed alike")


@check("VE-021", "ME-022", "ME-052", level="vectors")
def a_deletion_that_is_merged_takes_the_vectors(case: Case) -> None:
    """A row that one side deleted and the other left alone is gone with its vectors, whichever side it was."""
    for mine in (True, False):
        with case.new_store() as store:
            lab = forked(store)
            (store if mine else lab).memories.delete("m")
            (lab if mine else store).memories.put(Memory(id="other"))
            store.merge("lab")
            want = (["n", "other"], {("a", "n"): [0.0, 1.0]})
            equal(shape(store), want, f"the rows and vectors, the target having deleted: {mine}")


def clash(store: Store, deleter: str, how: str) -> Store:
    """Main and lab, of which one deletes the memory `m` and the other changes a vector of it."""
    lab = forked(store)
    deleting, changing = (store, lab) if deleter == "ours" else (lab, store)
    deleting.memories.delete("m")
    if how == "changed":
        changing.vectors.put(Vector(space="a", id="m", values=[9, 9]))
    elif how == "added":
        changing.spaces.create("c", 2, metric="l2", table="memories")
        changing.vectors.put(Vector(space="c", id="m", values=[9, 9]))
    else:
        changing.memories.put(Memory(id="m", tier=9), vector={"a": [9, 9]})
    return lab


@check("ME-050", "ME-037", level="vectors")
def a_deletion_against_a_change_of_a_vector_conflicts(case: Case) -> None:
    """The conflict is told at the vector that was changed or added, and nothing is applied."""
    for deleter in ("ours", "theirs"):
        for how, key in (("changed", ("a", "m")), ("added", ("c", "m"))):
            with case.new_store() as store:
                clash(store, deleter, how)
                what = f"a vector {how} against a deletion by {deleter}"
                for strategy in ("fail", "field"):
                    with refused(MergeConflict, what=what), unchanged(store):
                        store.merge("lab", strategy="fail" if strategy == "fail" else "field")
                told = [(c.table, c.key, c.kind) for c in store.merge("lab", dry_run=True).conflicts]
                holds(("vectors", key, "vector") in told, f"{what} is a conflict at the vector", told)


@check("ME-051", "ME-052", level="vectors")
def the_winning_side_has_the_row_and_all_its_vectors(case: Case) -> None:
    """Where a strategy settles a deletion against a change, the row and its vectors are as that side has them."""
    for deleter in ("ours", "theirs"):
        for how in ("changed", "added", "both"):
            for strategy in ("ours", "theirs"):
                with case.new_store() as store:
                    lab = clash(store, deleter, how)
                    want = shape(store if strategy == "ours" else lab)
                    store.merge("lab", strategy="ours" if strategy == "ours" else "theirs")
                    what = f"the rows and vectors: {deleter} deleted, a vector was {how}, {strategy} wins"
                    equal(shape(store), want, what)


@check("ME-051", "ME-023", level="vectors")
def a_row_that_is_kept_keeps_vectors_that_nobody_changed(case: Case) -> None:
    """The deletion of a row loses against a change of the row itself: its vectors, which the deletion took, stay."""
    for deleter in ("ours", "theirs"):
        with case.new_store() as store:
            lab = forked(store)
            deleting, changing = (store, lab) if deleter == "ours" else (lab, store)
            deleting.memories.delete("m")
            changing.memories.update("m", tier=5)
            store.merge("lab", strategy="theirs" if deleter == "ours" else "ours")
            equal(
                shape(store),
                (["m", "n"], START),
                f"the rows and vectors, the deletion by {deleter} having lost",
            )


@check("ME-070", "ME-072", level="vectors")
def a_selective_merge_takes_the_vectors_of_its_rows(case: Case) -> None:
    """A row that is named comes with its bound vectors, by key and by table; those of other rows do not come."""
    choices: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
        ({"keys": {"memories": ["new"]}}, [("a", "new")]),
        ({"keys": {"states": [("k", "a/b")]}}, [("s", "k/a~1b")]),
        ({"tables": ["memories"]}, [("a", "new"), ("a", "too")]),
        ({"tables": ["vectors"], "keys": {"memories": ["new", "too"], "states": [("k", "a/b")]}}, []),
    ]
    for choice, new in choices:
        with case.new_store() as store:
            store.spaces.create("s", 2, metric="l2", table="states")
            lab = forked(store)
            lab.memories.put(Memory(id="new"), vector={"a": [3, 3]})
            lab.memories.put(Memory(id="too"), vector={"a": [4, 4]})
            lab.states.put(State(kind="k", id="a/b"), vector=[5, 5])
            store.merge("lab", **choice)
            want = set(START) | set(new or set(shape(lab)[1]))
            equal(set(shape(store)[1]), want, f"the vectors after a merge of {choice}")
            lab.vectors.put(Vector(space="a", id="new", values=[6, 6]))
            equal(store.merge("lab").conflicts, (), "the conflicts of a later, whole merge")
            equal(shape(store), shape(lab), "the rows and vectors after it")


@check("ME-072", level="vectors")
def a_vector_that_was_taken_with_its_row_has_it_as_base(case: Case) -> None:
    """The target's later change of a picked vector is no conflict, and stays."""
    store = case.store()
    lab = forked(store)
    lab.vectors.put(Vector(space="a", id="m", values=[3, 3]))
    store.merge("lab", keys={"memories": ["m"]})
    equal(shape(store)[1]["a", "m"], [3.0, 3.0], "the vector that was taken")
    store.vectors.put(Vector(space="a", id="m", values=[4, 4]))
    equal(store.merge("lab").conflicts, (), "the conflicts of the whole merge")
    equal(shape(store)[1]["a", "m"], [4.0, 4.0], "the vector, which only main changed since")


@check("ME-052", "ME-050", level="vectors")
def a_vector_that_is_taken_without_its_row_conflicts(case: Case) -> None:
    """Selecting vectors only, of a row that the target has not, leaves no vector without its row."""
    store = case.store()
    lab = forked(store)
    lab.memories.put(Memory(id="new"), vector={"a": [3, 3]})
    with refused(MergeConflict, what="a merge of a vector without its row"), unchanged(store):
        store.merge("lab", keys={"vectors": [("a", "new")]})
    store.merge("lab", keys={"vectors": [("a", "new")]}, strategy="ours")
    equal(shape(store), (["m", "n"], START), "the rows and vectors under ours")


@check("VE-025", "ME-080", level="vectors")
def a_revert_brings_vectors_back_and_takes_them_away(case: Case) -> None:
    """Undoing a deletion brings the row's vectors back bit for bit; undoing a put takes them away."""
    store = case.store()
    forked(store)
    before = shape(store)
    writes: list[Callable[[], Any]] = [
        lambda: store.memories.delete("m"),
        lambda: store.memories.put(Memory(id="new"), vector={"a": [3, 3]}),
        lambda: store.vectors.put(Vector(space="a", id="n", values=[8, 8])),
    ]
    undone = [write().commit.id for write in writes]
    for name in undone:
        store.revert(name)
    equal(shape(store), before, "the rows and vectors after all was undone")
    equal([f.record.id for f in store.memories.search([1, 0], space="a")], ["m", "n"], "what a search finds")


@check("ME-050", "ME-052", level="vectors")
def undoing_a_put_against_a_later_vector_conflicts(case: Case) -> None:
    """A row whose vector came later is not taken away from under it."""
    store = case.store()
    forked(store)
    done = store.memories.put(Memory(id="new"))
    store.vectors.put(Vector(space="a", id="new", values=[3, 3]))
    undone = done.commit.id if done and done.commit else ""
    with refused(MergeConflict, what="a revert that would leave a vector without its row"), unchanged(store):
        store.revert(undone)
    store.revert(undone, strategy="theirs")
    equal(shape(store), (["m", "n"], START), "the rows and vectors, the state before having won")


@check("ME-052", "ME-090", level="vectors")
def without_a_commit_a_row_keeps_a_later_vector(case: Case) -> None:
    """In a what-if read, too, no vector is without its row: what came later stays, with its row."""
    store = case.store()
    forked(store)
    done = store.memories.put(Memory(id="new"))
    store.vectors.put(Vector(space="a", id="new", values=[3, 3]))
    undone = done.commit.id if done and done.commit else ""
    rows, vectors = shape(store.at("main", without=undone))
    equal(
        (rows, sorted(vectors)), (["m", "n", "new"], sorted([*START, ("a", "new")])), "the rows and vectors"
    )


@check("VE-004", "ME-052", level="vectors")
def a_merge_after_a_space_was_dropped_goes_on(case: Case) -> None:
    """Vectors of a space that is gone do not come back by a merge, and do not stand in its way."""
    store = case.store()
    lab = forked(store)
    lab.vectors.put(Vector(space="a", id="m", values=[9, 9]))
    store.memories.delete("m")
    store.spaces.drop("a")
    store.spaces.drop("b")
    equal(store.merge("lab").conflicts, (), "the conflicts")
    equal(shape(store), (["n"], {}), "the rows and vectors")
