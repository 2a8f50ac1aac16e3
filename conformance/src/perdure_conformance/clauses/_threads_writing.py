"""Writers in the threads of one process, on one handle and on several."""

from __future__ import annotations

from collections.abc import Callable

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses import _races as races
from perdure_conformance.concurrency import Crew, Team, trials

#: A round of a race.
Attempt = Callable[[Case, Team], None]

#: The crews whose turns a check takes.
CREWS: tuple[Crew, ...] = ("threads", "handles")


def by_turns(case: Case, attempt: Attempt) -> None:
    """Race on one handle, and on several, in each round."""
    trials(case, on_each, attempt, [Team(case, crew) for crew in CREWS])


def on_each(case: Case, attempt: Attempt, teams: list[Team]) -> None:
    """One round for each team."""
    for team in teams:
        attempt(case, team)


@check("HK-003", "CO-002", "CO-006", "CO-007", "CO-009", "CO-010", kind="race", weight=0.3)
def calls_have_an_order(case: Case) -> None:
    """Calls of several threads on two branches can be put in an order that explains them, that of the sequence numbers."""
    by_turns(case, races.linearizable)


@check("DM-062", "HK-003", kind="race", weight=0.1)
def no_increment_is_lost(case: Case) -> None:
    """Increments by several threads add up."""
    by_turns(case, races.add_up)


@check("CO-011", "HK-003", kind="race", weight=0.1)
def no_transaction_is_lost(case: Case) -> None:
    """Transactions of several threads that read and write one row lose nothing."""
    by_turns(case, races.append_all)


@check("CO-011", "CO-013", "HK-003", kind="race", weight=0.1)
def one_writer_wins_each_head(case: Case) -> None:
    """Of several threads that expect one head, one commits, and the others write nothing."""
    by_turns(case, races.claim_heads)


@check("DM-064", "CO-013", "HK-003", kind="race", weight=0.1)
def one_writer_wins_each_version(case: Case) -> None:
    """Of several threads that expect one version of a row, one commits, and the others write nothing."""
    by_turns(case, races.claim_versions)


@check("DM-050", "HK-003", kind="race", weight=0.1)
def one_insert_of_a_key_wins(case: Case) -> None:
    """Of several threads that insert one key, one succeeds."""
    by_turns(case, races.insert_once)


@check("CO-005", "HK-003", kind="race", weight=0.1)
def a_commit_id_is_applied_once(case: Case) -> None:
    """A commit id that several threads submit at once is applied once, and all get one answer."""
    by_turns(case, races.apply_once)


@check("DM-070", "HK-003", kind="race", weight=0.1)
def no_touch_is_lost(case: Case) -> None:
    """Touches by several threads are all counted."""
    by_turns(case, races.count_touches)


@check("BR-008", "HK-003", level="branches", kind="race", weight=0.1)
def one_claim_of_a_name_wins(case: Case) -> None:
    """Of several threads that create branches and checkpoints of one name, one succeeds."""
    by_turns(case, races.claim_names)


@check("VE-003", "HK-003", level="vectors", kind="race", weight=0.1)
def all_get_the_first_space(case: Case) -> None:
    """Several threads that create a space get the first, or are refused if theirs differs."""
    by_turns(case, races.create_spaces)


@check("ME-062", "HK-003", level="branches", kind="race", weight=0.1)
def a_merge_loses_nothing(case: Case) -> None:
    """A merge loses nothing that other threads commit on its target meanwhile."""
    by_turns(case, races.merge_meanwhile)
