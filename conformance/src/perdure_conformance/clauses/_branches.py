"""Branches: forks, what they see, names and deletion."""

from __future__ import annotations

from perdure import Conflict, Memory

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, refused


def ids(store: object) -> list[str]:
    """The ids of all memories that a store or a snapshot shows."""
    return [memory.id for memory in store.memories.scan()]  # type: ignore[attr-defined]


@check("BR-001", level="branches")
def main_is_there_and_stays(case: Case) -> None:
    """A new namespace has a branch main without a parent, which cannot be deleted."""
    store = case.store()
    (main,) = store.branches.list()
    equal((main.name, main.parent), ("main", None), "the branch of a new namespace")
    for cascade in (False, True):
        with refused(Conflict, what="deleting main"):
            store.branches.delete("main", cascade=cascade)
    equal([branch.id for branch in store.branches.list()], [main.id], "the branches after that")


@check("BR-004", "BR-005", level="branches")
def a_fork_and_its_parent_do_not_see_each_other(case: Case) -> None:
    """What is committed after a fork, on either side, is not seen on the other."""
    store = case.store()
    store.memories.put(Memory(id="before"))
    lab = store.branch("lab")
    store.memories.put(Memory(id="on-main"))
    lab.memories.put(Memory(id="on-lab"))
    equal(ids(store), ["before", "on-main"], "the rows of main")
    equal(ids(lab), ["before", "on-lab"], "the rows of the branch")
