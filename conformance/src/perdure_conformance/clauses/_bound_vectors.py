"""Vectors of bound spaces: they come, stay and go with their rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure import InvalidRecord, Memory, NotFound, State, Store, Trace, Vector

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused, unchanged


def keys(view: Any) -> list[tuple[str, str]]:
    """The keys of all vectors that a store or a snapshot shows."""
    return [(vector.space, vector.id) for vector in view.vectors.scan()]


def numbers(view: Any, space: str, name: str) -> list[float]:
    """The numbers of one vector."""
    found: list[float] = view.vectors[space, name].values.tolist()
    return found


def two_spaces(store: Store) -> None:
    """Spaces `a` and `b` bound to memories, with rows `m` and `n` that have vectors in both."""
    for name in "ab":
        store.spaces.create(name, 2, metric="l2", table="memories")
    store.memories.put(Memory(id="m", tier=1), vector={"a": [1, 0], "b": [2, 0]})
    store.memories.put(Memory(id="n", tier=1), vector={"a": [0, 1], "b": [0, 2]})


#: Keys of states, and the ids of their vectors.
ESCAPED = {
    ("k", "s"): "k/s",
    ("k/1", "a~b"): "k~11/a~0b",
    ("~", "/"): "~0/~1",
    ("~1", "~0"): "~01/~00",
    ("a/b", "c"): "a~1b/c",
    ("a", "b/c"): "a/b~1c",
    ("ключ", "値"): "ключ/値",
}


@check("VE-020", level="vectors")
def the_vector_of_a_row_with_two_key_parts_has_both_in_its_id(case: Case) -> None:
    """The parts are joined by `/`, with `~` written `~0` and `/` written `~1`, so that no two keys are mixed up."""
    store = case.store()
    store.spaces.create("s", 2, metric="l2", table="states")
    for number, (kind, name) in enumerate(ESCAPED):
        store.states.put(State(kind=kind, id=name), vector=[number, 0])
    equal(keys(store), sorted(("s", name) for name in ESCAPED.values()), "the keys of the vectors")
    for number, (key, name) in enumerate(ESCAPED.items()):
        (found,) = store.states.search([number, 0], k=1, exact=True)
        equal(
            (found.record.key, found.score), (key, 0.0), f"the row that a search finds by the vector {name}"
        )
        store.vectors.put(Vector(space="s", id=name, values=[number, 1]))
    for wrong in ("k", "k/s/t", "k/~2", "k~/s", "/s", "k/", "nothing/there"):
        with refused(InvalidRecord, what=f"a vector of the id {wrong}"), unchanged(store):
            store.vectors.put(Vector(space="s", id=wrong, values=[0, 0]))
    store.states.delete([("k/1", "a~b"), ("a/b", "c")])
    left = sorted(("s", name) for key, name in ESCAPED.items() if key not in (("k/1", "a~b"), ("a/b", "c")))
    equal(keys(store), left, "the vectors after two rows were deleted")


@check("VE-020", level="vectors")
def the_vector_of_a_row_with_one_key_part_has_its_id(case: Case) -> None:
    """The id is the row's, whatever characters it has; in each table that has one key part."""
    names = ["plain", "with/slash", "~0", "~", "%", "ünïcode ☃"]
    store = case.store()
    records: dict[str, Callable[[str], Any]] = {
        "memories": lambda name: {"id": name},
        "links": lambda name: {"id": name, "source": "a", "target": "b"},
        "skills": lambda name: {"id": name},
        "traces": lambda name: {"id": name},
    }
    for table, record in records.items():
        store.spaces.create(table, 2, metric="l2", table=table)
        for number, name in enumerate(names):
            store.table(table).put(record(name), vector=[number, 0])
        equal(keys(store), sorted((table, name) for name in names), f"the keys of vectors of {table}")
        found = [f.record.id for f in store.table(table).search([0, 0], k=9)]
        equal(found, names, f"the rows of {table} that a search finds")
        store.table(table).delete(names)
        equal(keys(store), [], f"the vectors after all {table} were deleted")


@check("VE-021", level="vectors")
def deleting_a_row_deletes_its_vectors_in_the_same_commit(case: Case) -> None:
    """In all bound spaces, counted in the outcome and told by the feed; other rows keep theirs, the past keeps all."""
    store = case.store()
    two_spaces(store)
    then = store.head()
    done = store.memories.delete("m")
    equal(
        (done and done.deleted, keys(store)), (3, [("a", "n"), ("b", "n")]), "rows deleted, and vectors left"
    )
    made = None if done is None else done.commit
    told = [
        (change.table, change.key, change.row)
        for item in store.changes()
        if item.batch is not None and item.batch.commit == made
        for change in item.batch.changes
    ]
    want = [("memories", ("m",), None), ("vectors", ("a", "m"), None), ("vectors", ("b", "m"), None)]
    equal(told, want, "the changes of the commit")
    equal(keys(store.at(then)), [("a", "m"), ("a", "n"), ("b", "m"), ("b", "n")], "the vectors before it")
    equal([f.record.id for f in store.memories.search([1, 0], space="a")], ["n"], "what a search finds")


@check("VE-021", level="vectors")
def every_way_to_delete_a_row_deletes_its_vectors(case: Case) -> None:
    """In a batch, with others, by filter of expiry, on a branch; free vectors of the same id stay."""
    from_batch: list[Callable[[Store], Any]] = [delete_in_batch, delete_many, delete_on_branch]
    for delete in from_batch:
        with case.new_store() as store:
            two_spaces(store)
            store.spaces.create("free", 2, metric="l2")
            store.vectors.put(Vector(space="free", id="m", values=[1, 1]))
            view = delete(store)
            equal(keys(view), [("a", "n"), ("b", "n"), ("free", "m")], f"the vectors after {delete.__name__}")


def delete_in_batch(store: Store) -> Store:
    """Delete the memory `m` between other writes."""
    with store.batch() as batch:
        batch.traces.put(Trace(id="t"))
        batch.memories.delete("m")
        batch.memories.put(Memory(id="o"))
    return store


def delete_many(store: Store) -> Store:
    """Delete the memory `m` with one that is not there."""
    store.memories.delete(["nothing", "m"])
    return store


def delete_on_branch(store: Store) -> Store:
    """Delete the memory `m` on a branch; main keeps it."""
    lab = store.branch("lab").branch("deeper")
    lab.memories.delete("m")
    equal(len(keys(store)), 5, "the vectors of main, after a deletion on a branch")
    return lab


@check("VE-021", level="vectors")
def a_row_that_is_put_again_has_no_vectors(case: Case) -> None:
    """A key that was deleted and comes back does not get its old vectors."""
    store = case.store()
    two_spaces(store)
    store.memories.delete("m")
    store.memories.put(Memory(id="m"))
    equal(keys(store), [("a", "n"), ("b", "n")], "the vectors")
    equal([f.record.id for f in store.memories.search([1, 0], space="a")], ["n"], "what a search finds")
    store.memories.put(Memory(id="m"), vector={"b": [5, 5]})
    equal(keys(store), [("a", "n"), ("b", "m"), ("b", "n")], "the vectors after one was put")


@check("VE-022", level="vectors")
def changing_a_row_keeps_its_vectors(case: Case) -> None:
    """An update, an increment and a put of the row leave the vectors as they are, in the version they have."""
    store = case.store()
    two_spaces(store)
    store.spaces.create("s", 2, metric="l2", table="skills")
    store.skills.put({"id": "k"}, vector=[7, 7])
    version = store.vectors.version(("a", "m"))
    lab = store.branch("lab")
    for view in (store, lab):
        view.memories.update("m", tier=2)
        view.memories.put(Memory(id="m", tier=3))
        view.memories.put([Memory(id="m", tier=4), Memory(id="o")])
        view.skills.increment("k", success_count=1)
        view.skills.update("k", name="n")
        got = [numbers(view, "a", "m"), numbers(view, "b", "m"), numbers(view, "s", "k")]
        equal(got, [[1, 0], [2, 0], [7, 7]], "the vectors")
        equal(view.vectors.version(("a", "m")), version, "the version of a vector")
        (found,) = view.memories.search([1, 0], k=1, space="a", exact=True)
        equal((found.record.tier, found.score), (4, 0.0), "the row as it is, found by its vector")


@check("VE-022", "VE-024", level="vectors")
def a_vector_is_replaced_by_itself(case: Case) -> None:
    """A new vector in one space leaves those in others, and a vector that is deleted leaves its row."""
    store = case.store()
    two_spaces(store)
    store.memories.put(Memory(id="m", tier=2), vector={"a": [9, 9]})
    equal((numbers(store, "a", "m"), numbers(store, "b", "m")), ([9, 9], [2, 0]), "the vectors of m")
    store.vectors.delete(("a", "m"))
    equal(keys(store), [("a", "n"), ("b", "m"), ("b", "n")], "the vectors")
    equal(store.memories["m"].tier, 2, "the row")
    equal([f.record.id for f in store.memories.search([9, 9], space="a")], ["n"], "the hits in one space")
    equal(
        [f.record.id for f in store.memories.search([2, 0], space="b")], ["m", "n"], "the hits in the other"
    )


@check("VE-023", level="vectors")
def a_vector_without_its_row_is_refused(case: Case) -> None:
    """A put of a vector whose row is not there, or goes in the same batch, writes nothing of the batch."""
    store = case.store()
    two_spaces(store)
    store.memories.put(Memory(id="gone"))
    store.memories.delete("gone")
    lone = [Vector(space="a", id=name, values=[1, 1]) for name in ("nobody", "gone", "M")]
    for vector in lone:
        with refused(InvalidRecord, what=f"a vector of {vector.id}, which is no row"), unchanged(store):
            store.vectors.put(vector)
    new, late = (Vector(space="a", id=name, values=[1, 1]) for name in ("new", "m"))
    with unchanged(store), refused(InvalidRecord, what="a batch with a lone vector"), store.batch() as batch:
        batch.memories.put(Memory(id="new"))
        batch.vectors.put([new, lone[0]])
    with unchanged(store), refused(InvalidRecord, what="a vector of a deleted row"), store.batch() as batch:
        batch.memories.delete("m")
        batch.vectors.put(late)


@check("VE-023", "BR-004", level="vectors")
def the_row_of_a_vector_is_looked_for_on_its_branch(case: Case) -> None:
    """A row of another branch, or one that the branch deleted, is none; an inherited one is."""
    store = case.store()
    two_spaces(store)
    lab = store.branch("lab")
    store.memories.put(Memory(id="main-only"))
    lab.memories.delete("m")
    for name in ("main-only", "m"):
        with refused(InvalidRecord, what=f"a vector of {name} on the branch"), unchanged(store):
            lab.vectors.put(Vector(space="a", id=name, values=[1, 1]))
    lab.vectors.put(Vector(space="a", id="n", values=[3, 3]))
    equal(
        (numbers(lab, "a", "n"), numbers(store, "a", "n")), ([3, 3], [0, 1]), "the vector there and on main"
    )


@check("VE-023", level="vectors")
def a_vector_may_come_before_its_row_in_a_batch(case: Case) -> None:
    """Rows are looked for when the batch is done; a space may also be bound before its rows are there."""
    store = case.store()
    two_spaces(store)
    with store.batch() as batch:
        batch.vectors.put(Vector(space="a", id="new", values=[1, 1]))
        batch.memories.put(Memory(id="new"))
    equal(numbers(store, "a", "new"), [1, 1], "the vector")
    with store.batch() as batch:
        batch.vectors.put(Vector(space="b", id="new", values=[1, 1]))
        batch.vectors.put(Vector(space="b", id="n", values=[1, 1]))
        batch.memories.delete("n")
    holds(("b", "n") not in keys(store), "a row that is deleted after its vector was put takes it along")
    equal(numbers(store, "b", "new"), [1, 1], "the other vector")


@check("VE-024", level="vectors")
def a_row_has_vectors_in_several_spaces(case: Case) -> None:
    """Each space has its own dimension, metric and vectors; a change of model needs no outage."""
    store = case.store()
    store.spaces.create("old", 2, metric="l2", model="one", table="memories")
    store.memories.put(Memory(id="m"), vector=[1, 0], model="one")
    store.memories.put(Memory(id="n"), vector=[0, 1], model="one")
    store.spaces.create("new", 3, dtype="float16", metric="dot", model="two", table="memories")
    store.vectors.put(Vector(space="new", id="n", values=[1, 2, 3]), model="two")
    found = [f.record.id for f in store.memories.search([1, 0], space="old", model="one")]
    equal(found, ["m", "n"], "the hits in the old space")
    new = [(f.record.id, f.score) for f in store.memories.search([1, 1, 1], space="new", model="two")]
    equal(new, [("n", 6.0)], "the hits in the new space")


@check("VE-025", level="vectors")
def vectors_are_rows_of_branches_and_of_the_past(case: Case) -> None:
    """A vector is read as of its point: on a branch, at a past point, at a checkpoint, and without a commit."""
    store = case.store()
    two_spaces(store)
    store.checkpoints.create("mark")
    then, lab = store.head(), store.branch("lab")
    done = store.vectors.put(Vector(space="a", id="m", values=[5, 5]))
    lab.vectors.delete(("a", "m"))
    equal(numbers(store, "a", "m"), [5, 5], "the vector on main")
    equal(lab.vectors.get(("a", "m")), None, "the vector on the branch that deleted it")
    for ref in (then, "mark"):
        equal(numbers(store.at(ref), "a", "m"), [1, 0], f"the vector at {ref}")
    undone = done.commit.id if done and done.commit else ""
    view = store.at("main", without=undone)
    equal(numbers(view, "a", "m"), [1, 0], "the vector without the commit that changed it")
    (found,) = view.memories.search([1, 0], k=1, space="a", exact=True)
    equal((found.record.id, found.score), ("m", 0.0), "what a search without that commit finds")
    with refused(NotFound, what="a vector that is not there"):
        lab.vectors["a", "m"]
