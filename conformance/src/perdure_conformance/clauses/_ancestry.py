"""Ancestry: what merges record of where they come from, and which points are compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from perdure import Commit, HistoryExpired, Memory, MergeResult, Point, Store

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, holds, refused, unchanged

#: Times of rows that must be as at a base: a merge joins times that differ.
FIXED: dict[str, Any] = {
    "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    "updated_at": datetime(2026, 1, 1, tzinfo=UTC),
}


def wrote(store: Store, name: str, **fields: Any) -> Commit:
    """Put one memory; the commit that it made."""
    done = store.memories.put(Memory(id=name, **fields))
    if done is None or done.commit is None:
        raise AssertionError("a put that changes a row made no commit")
    return done.commit


def made(result: MergeResult) -> Commit:
    """The commit of a merge."""
    if result.commit is None:
        raise AssertionError("the merge made no commit")
    return result.commit


@check("ME-001", "ME-002", level="branches")
def a_merge_commit_records_all_that_its_source_descends_from(case: Case) -> None:
    """The vector of a merge has the source's own prefix, those of its forks, and what was merged into it."""
    store = case.store()
    first = wrote(store, "first")
    lab, side = store.branch("lab"), store.branch("side")
    aside = wrote(side, "aside")
    inside = made(lab.merge("side"))
    equal(
        {k: n for k, n in inside.vector.items() if n},
        {first.branch: first.seq, aside.branch: aside.seq},
        "the vector of the inner merge",
    )
    wrote(store, "meanwhile")
    outside = made(store.merge("lab"))
    want = {first.branch: first.seq, aside.branch: aside.seq, inside.branch: inside.seq}
    equal({k: n for k, n in outside.vector.items() if n}, want, "the vector of the outer merge")
    (logged,) = case.store().log("main", limit=1)
    equal(logged, outside, "the merge as another handle finds it in the log")


@check("ME-001", "ME-061", level="branches")
def what_was_merged_from_a_deleted_branch_still_counts(case: Case) -> None:
    """A vector keeps the ancestry of branches that are gone."""
    store = case.store()
    wrote(store, "first")
    side, lab = store.branch("side"), store.branch("lab")
    wrote(side, "aside")
    lab.merge("side")
    store.merge("lab")
    store.branches.delete("side")
    holds(store.merge("lab").already_merged, "main descends from lab, and from what lab merged")


@check("ME-003", level="branches", needs=("compact",))
def merges_stay_in_the_log_through_compaction(case: Case) -> None:
    """After a compaction that keeps heads only, merges and selective merges are in the log as they were."""
    store = case.store()
    wrote(store, "first")
    lab = store.branch("lab")
    wrote(lab, "one")
    kept = [made(store.merge("lab", keys={"memories": ["one"]})), made(store.merge("lab"))]
    for number in range(4):
        wrote(store, "later", tier=number)
    store.compact(lease=timedelta(0))
    logged = [commit for commit in store.log() if commit.vector or commit.picks]
    equal(logged, kept[::-1], "the merges in the log of main")
    holds(store.merge("lab").already_merged, "main still descends from lab")


@check("ME-004", "ME-005", level="branches")
def the_base_of_a_fork_is_where_it_was_taken(case: Case) -> None:
    """Two points are compared with the best of their common ancestors: the fork, then what was merged last."""
    store = case.store()
    wrote(store, "earlier")
    fork = wrote(store, "first")
    lab = store.branch("lab")
    tip = wrote(lab, "theirs")
    wrote(store, "ours")
    equal([base.commit for base in store.merge("lab").bases], [fork.id], "the base of the first merge")
    wrote(lab, "more")
    equal([base.commit for base in store.merge("lab").bases], [tip.id], "the base of the second merge")


@check("ME-005", "ME-025", level="branches")
def a_criss_cross_has_two_bases(case: Case) -> None:
    """Where each branch merged the other's earlier state, both are bases; a field on which they differ has none."""
    store = case.store()
    wrote(store, "row", tier=0, **FIXED)
    lab = store.branch("lab")
    mine, theirs = wrote(store, "row", tier=1, **FIXED), wrote(lab, "row", tier=2, **FIXED)
    store.merge(f"@{theirs.id}", strategy="ours")
    lab.merge(f"@{mine.id}", strategy="ours")
    result = store.merge("lab", dry_run=True)
    equal({base.commit for base in result.bases}, {mine.id, theirs.id}, "the bases")
    (conflict,) = result.conflicts or (None,)
    holds(conflict is not None, "the two tiers conflict", result)
    if conflict is not None:
        found = (conflict.table, conflict.key, conflict.kind, conflict.base, conflict.fields)
        equal(found, ("memories", ("row",), "both_changed", None, ("tier",)), "the conflict")


@check("ME-005", "ME-020", "ME-022", level="branches")
def a_side_that_is_as_at_any_base_is_unchanged(case: Case) -> None:
    """In a criss-cross, a row that one side left as at one base takes the other side's later change, either way."""
    for into in ("main", "lab"):
        with case.new_store() as store:
            wrote(store, "row", tier=0, **FIXED)
            lab = store.branch("lab")
            mine, theirs = wrote(store, "row", tier=1, **FIXED), wrote(lab, "row", tier=2, **FIXED)
            store.merge(f"@{theirs.id}", strategy="ours")
            lab.merge(f"@{mine.id}", strategy="ours")
            target, source = (store, lab) if into == "main" else (lab, store)
            wrote(source, "row", tier=3, **FIXED)
            result = target.merge("lab" if into == "main" else "main")
            equal(result.conflicts, (), f"the conflicts of a merge into {into}")
            equal(target.memories["row"].tier, 3, f"the tier on {into}, which left it alone since the bases")


@check("ME-006", level="branches")
def the_best_other_ancestor_stands_in_for_a_base_on_a_deleted_branch(case: Case) -> None:
    """What both sides merged from a branch that is gone is compared with the next best common ancestor."""
    store = case.store()
    fork = wrote(store, "first")
    lab, side = store.branch("lab"), store.branch("side")
    aside = wrote(side, "row", tier=1)
    store.merge("side")
    lab.merge("side")
    store.memories.update("row", tier=2)
    equal([b.commit for b in store.merge("lab", dry_run=True).bases], [aside.id], "the base while it exists")
    store.branches.delete("side")
    result = store.merge("lab", dry_run=True)
    equal([base.commit for base in result.bases], [fork.id], "the base when its branch is gone")
    equal([conflict.kind for conflict in result.conflicts], ["both_added"], "the conflicts then")


def compacted(store: Store, lab: Store) -> tuple[Commit, Point]:
    """Main and lab, which merged main twice, after a compaction that keeps only what it must; the checkpoint `mark`
    is on lab between the two merges. What was merged first, and the point of main at which it was."""
    merged = wrote(store, "early")
    point = store.head()
    lab.merge("main")
    wrote(lab, "theirs")
    lab.checkpoints.create("mark")
    wrote(store, "late", tier=1)
    lab.merge("main")
    wrote(lab, "more")
    for tier in range(3):
        wrote(store, "late", tier=tier)
    store.compact(lease=timedelta(0))
    return merged, point


@check("ME-006", level="branches", needs=("compact",))
def the_best_other_ancestor_stands_in_for_a_base_that_compaction_dropped(case: Case) -> None:
    """A merge goes on after a compaction that may have dropped its base, and is not compared with nothing."""
    store = case.store()
    wrote(store, "first")
    compacted(store, store.branch("lab"))
    store.memories.delete("first")
    equal(store.merge("mark").conflicts, (), "the conflicts")
    rows = [memory.id for memory in store.memories.scan()]
    equal(
        rows,
        ["early", "late", "theirs"],
        "the rows of main, which alone deleted the first one since the base",
    )


@check("ME-007", level="branches", needs=("compact",))
def a_merge_without_a_readable_base_is_refused(case: Case) -> None:
    """Where compaction dropped all that two points have in common, they cannot be merged."""
    store = case.store()
    lab = store.branch("lab")  # forked from nothing, so that no fork keeps what it shares with main
    common, point = compacted(store, lab)
    try:
        store.at(point).memories.get("early")
    except HistoryExpired:
        for dry_run in (False, True):
            with refused(HistoryExpired, what="a merge without a readable base"), unchanged(store):
                store.merge("mark", dry_run=dry_run)
    else:
        bases = [base.commit for base in store.merge("mark").bases]
        equal(bases, [common.id], "the base, which is still readable")


@check("ME-008", level="branches")
def without_a_common_ancestor_the_base_is_the_empty_store(case: Case) -> None:
    """Branches that share no commit are joined, and rows that both have are rows that both added."""
    store = case.store()
    lab = store.branch("lab")
    wrote(store, "ours")
    wrote(store, "both", tier=1)
    wrote(lab, "theirs")
    wrote(lab, "both", tier=2)
    result = store.merge("lab", strategy="ours")
    equal(result.bases, (), "the bases")
    equal([(c.key, c.kind, c.base) for c in result.conflicts], [(("both",), "both_added", None)], "conflicts")
    rows = [memory.id for memory in store.memories.scan()]
    equal(rows, ["both", "ours", "theirs"], "the rows of main")
