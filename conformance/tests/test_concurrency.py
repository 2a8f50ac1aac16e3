"""The search for an order, and that the checks of threads and processes notice what is broken."""

from __future__ import annotations

from typing import Any

import pytest
from perdure_conformance import Runner, Site, Status, Target
from perdure_conformance.clauses import CHECKS
from perdure_conformance.concurrency import Call, Line, Stuck, linearize, told
from perdure_conformance.mutants import _concurrency as mutants

BY_ID = {check.id: check for check in CHECKS}

#: Mutant → the checks that must notice it: with threads on any engine, with processes where several may write.
NOTICED: list[tuple[Any, str]] = [
    (mutants.IncrementByReading, "writing.no_increment_is_lost"),
    (mutants.HeadsKept, "writing.calls_have_an_order"),
    (mutants.HeadCheckedEarly, "writing.one_writer_wins_each_head"),
    (mutants.HeadCheckedEarly, "writing.no_transaction_is_lost"),
    (mutants.HeadCheckedEarly, "writing.a_merge_loses_nothing"),
    (mutants.VersionCheckedEarly, "writing.one_writer_wins_each_version"),
    (mutants.InsertCheckedEarly, "writing.one_insert_of_a_key_wins"),
    (mutants.CommitIdsOfOneHandle, "writing.a_commit_id_is_applied_once"),
    (mutants.TablesOneByOne, "reading.no_batch_is_seen_in_part"),
    (mutants.ReadsKept, "seeing.another_{}_sees_every_commit"),
    (mutants.VectorsKept, "seeing.another_{}_finds_every_vector"),
    (mutants.HeadsKept, "reading.no_batch_is_seen_in_part"),
    (mutants.NamesCheckedEarly, "writing.one_claim_of_a_name_wins"),
    (mutants.SpaceOfOnesOwn, "writing.all_get_the_first_space"),
]

#: Only with one of them.
THREADS: list[tuple[Any, str]] = [
    (mutants.OneRequestAtATime, "threads_writing.no_increment_is_lost"),
    (mutants.ChangesPastTheEnd, "threads_reading.an_export_is_of_one_moment"),
]
PROCESSES: list[tuple[Any, str]] = [
    (mutants.LockOutlivesItsOwner, "processes_waiting.a_dead_writer_keeps_nobody_waiting")
]

CASES = [
    *(("memory", wrap, f"threads_{name}".format("handle")) for wrap, name in NOTICED),
    *(("sqlite", wrap, f"processes_{name}".format("process")) for wrap, name in NOTICED),
    *(("memory", wrap, name) for wrap, name in THREADS),
    *(("sqlite", wrap, name) for wrap, name in PROCESSES),
]


@pytest.mark.parametrize(
    ("scheme", "wrap", "name"), CASES, ids=[f"{name}-{wrap.__name__}" for _, wrap, name in CASES]
)
def test_the_check_notices(scheme: str, wrap: Any, name: str) -> None:
    check = BY_ID[name]
    with Site(Target.of(scheme, wrap=(wrap,))) as site:
        result = Runner(site, profile="quick", total=25 * (check.weight or 1) / 4).run_one(check)
    assert result.status is Status.FAILED, result.notes
    if check.kind == "race":
        assert "rounds failed, with seed 0" in result.got
        assert any("rounds failed" in note for note in result.notes)


def test_every_mutant_is_noticed_by_a_check_that_names_its_clause() -> None:
    for mutant in mutants.MUTANTS:
        names = [name for _, wrap, name in CASES if wrap is mutant.wrap]
        assert any(mutant.clause in BY_ID[name].clauses for name in names), mutant.name


# ----------------------------------------------------------------------------------- the search for an order


def call(name: str, *arguments: Any, at: tuple[int, int], outcome: Any, worker: str = "w") -> Call:
    return Call(worker, name, arguments, *at, outcome)


def committed(id_: str, seq: int, replayed: bool = False) -> tuple[Any, ...]:
    return ("committed", id_, seq, replayed)


PUT = call("put", "c1", "a", "x", at=(0, 10), outcome=committed("c1", 1))
ADD = call("increment", "c2", "a", 5, at=(5, 15), outcome=committed("c2", 2))


def test_overlapping_calls_may_come_in_either_order() -> None:
    for outcome in ((None,), ("c1", ("a", "x", 0)), ("c2", ("a", "x", 5))):
        read = call("read", at=(6, 9), outcome=outcome)
        order = linearize([read, ADD, PUT], Line(), Line.step)
        assert not isinstance(order, Stuck)
        assert {c.name for c in order} == {"read", "put", "increment"}


def test_a_call_sees_what_returned_before_it_began() -> None:
    late = call("read", at=(16, 20), outcome=("c1", ("a", "x", 0)))
    stuck = linearize([PUT, ADD, late], Line(), Line.step)
    assert isinstance(stuck, Stuck)
    assert (stuck.order, stuck.left) == ((PUT, ADD), (late,))


def test_the_order_is_that_of_the_sequence_numbers() -> None:
    swapped = call("increment", "c2", "a", 5, at=(5, 15), outcome=committed("c2", 1))
    other = call("put", "c1", "a", "x", at=(0, 10), outcome=committed("c1", 2))
    assert isinstance(linearize([swapped, other], Line(), Line.step), Stuck)


@pytest.mark.parametrize(
    ("second", "explained"),
    [
        (call("insert", "c2", "a", "y", at=(20, 30), outcome=("refused", "already_exists")), True),
        (call("insert", "c2", "a", "y", at=(20, 30), outcome=committed("c2", 2)), False),
        (call("claim", "c2", "a", "y", "c1", at=(20, 30), outcome=committed("c2", 2)), True),
        (call("claim", "c2", "a", "y", None, at=(20, 30), outcome=("refused", "stale_head")), True),
        (call("claim", "c2", "a", "y", None, at=(20, 30), outcome=committed("c2", 2)), False),
        (call("guard", "c2", "a", "y", "c1", at=(20, 30), outcome=committed("c2", 2)), True),
        (call("guard", "c2", "a", "y", "", at=(20, 30), outcome=("refused", "version_conflict")), True),
        (call("guard", "c2", "a", "y", "", at=(20, 30), outcome=("refused", "stale_head")), False),
        (call("delete", "c2", "b", at=(20, 30), outcome=("refused", "not_found")), True),
        (call("delete", "c1", "a", at=(20, 30), outcome=committed("c1", 1, replayed=True)), True),
        (call("delete", "c1", "a", at=(20, 30), outcome=committed("c1", 2)), False),
        (call("delete", "c2", "a", at=(20, 30), outcome=committed("c3", 2)), False),
    ],
    ids=repr,
)
def test_a_branch_answers(second: Call, explained: bool) -> None:
    assert isinstance(linearize([PUT, second], Line(), Line.step), Stuck) is not explained


def test_a_history_is_told_in_lines() -> None:
    assert told([ADD, PUT]).splitlines() == [
        "    0.000 –     0.000  w  main: put('c1', 'a', 'x') → ('committed', 'c1', 1, False)",
        "    0.000 –     0.000  w  main: increment('c2', 'a', 5) → ('committed', 'c2', 2, False)",
    ]
    assert told([]) == ""
