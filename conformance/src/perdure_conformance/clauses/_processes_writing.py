"""Writers in several processes."""

from __future__ import annotations

from perdure_conformance._case import Case
from perdure_conformance._checks import Need, check
from perdure_conformance.clauses import _races as races
from perdure_conformance.concurrency import Team, trials

#: What it takes to write from several processes.
PROCESSES: tuple[Need, ...] = ("concurrent", "persistent", "processes")


@check(
    "CO-002",
    "CO-006",
    "CO-007",
    "CO-009",
    "CO-010",
    level="concurrent",
    needs=PROCESSES,
    kind="race",
    weight=0.5,
)
def calls_have_an_order(case: Case) -> None:
    """Calls of several processes on two branches can be put in an order that explains them, that of the sequence numbers."""
    trials(case, races.linearizable, Team(case, "processes"))


@check("DM-062", level="concurrent", needs=PROCESSES, kind="race", weight=0.2)
def no_increment_is_lost(case: Case) -> None:
    """Increments by several processes add up."""
    trials(case, races.add_up, Team(case, "processes"))


@check("CO-011", level="concurrent", needs=PROCESSES, kind="race", weight=0.2)
def no_transaction_is_lost(case: Case) -> None:
    """Transactions of several processes that read and write one row lose nothing."""
    trials(case, races.append_all, Team(case, "processes"))


@check("CO-011", "CO-013", level="concurrent", needs=PROCESSES, kind="race", weight=0.2)
def one_writer_wins_each_head(case: Case) -> None:
    """Of several processes that expect one head, one commits, and the others write nothing."""
    trials(case, races.claim_heads, Team(case, "processes"))


@check("DM-064", "CO-013", level="concurrent", needs=PROCESSES, kind="race", weight=0.2)
def one_writer_wins_each_version(case: Case) -> None:
    """Of several processes that expect one version of a row, one commits, and the others write nothing."""
    trials(case, races.claim_versions, Team(case, "processes"))


@check("DM-050", level="concurrent", needs=PROCESSES, kind="race", weight=0.2)
def one_insert_of_a_key_wins(case: Case) -> None:
    """Of several processes that insert one key, one succeeds."""
    trials(case, races.insert_once, Team(case, "processes"))


@check("CO-005", level="concurrent", needs=PROCESSES, kind="race", weight=0.2)
def a_commit_id_is_applied_once(case: Case) -> None:
    """A commit id that several processes submit at once is applied once, and all get one answer."""
    trials(case, races.apply_once, Team(case, "processes"))


@check("DM-070", level="concurrent", needs=PROCESSES, kind="race", weight=0.1)
def no_touch_is_lost(case: Case) -> None:
    """Touches by several processes are all counted."""
    trials(case, races.count_touches, Team(case, "processes"))


@check("BR-008", level="concurrent", needs=PROCESSES, kind="race", weight=0.1)
def one_claim_of_a_name_wins(case: Case) -> None:
    """Of several processes that create branches and checkpoints of one name, one succeeds."""
    trials(case, races.claim_names, Team(case, "processes"))


@check("VE-003", level="concurrent", needs=PROCESSES, kind="race", weight=0.1)
def all_get_the_first_space(case: Case) -> None:
    """Several processes that create a space get the first, or are refused if theirs differs."""
    trials(case, races.create_spaces, Team(case, "processes"))


@check("ME-062", "ME-060", level="concurrent", needs=PROCESSES, kind="race", weight=0.2)
def a_merge_loses_nothing(case: Case) -> None:
    """A merge loses nothing that other processes commit on its target meanwhile."""
    trials(case, races.merge_meanwhile, Team(case, "processes"))
