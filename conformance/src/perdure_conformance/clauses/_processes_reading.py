"""Readers in several processes beside writers in others."""

from __future__ import annotations

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses import _races_reading as races
from perdure_conformance.clauses._processes_writing import PROCESSES
from perdure_conformance.concurrency import Team, trials


@check("CO-001", "CO-003", "CO-002", "VE-036", level="concurrent", needs=PROCESSES, kind="race", weight=0.4)
def no_batch_is_seen_in_part(case: Case) -> None:
    """Readers see whole batches only, and never less than before, while processes write."""
    trials(case, races.whole_batches, Team(case, "processes"))


@check(
    "UP-001", "UP-003", "BR-012", level="concurrent", needs=(*PROCESSES, "compact"), kind="race", weight=0.3
)
def compaction_leaves_what_is_read(case: Case) -> None:
    """Compaction leaves what other processes read at heads, checkpoints and leased points."""
    trials(case, races.compacted_meanwhile, Team(case, "processes"))


@check("UP-020", "VE-036", level="concurrent", needs=(*PROCESSES, "purge"), kind="race", weight=0.2)
def what_is_purged_is_read_no_more(case: Case) -> None:
    """What was purged is in no read that begins after that, while processes write and read."""
    trials(case, races.purged_meanwhile, Team(case, "processes"))


@check("BR-007", "BR-005", "CO-007", "RE-009", level="concurrent", needs=PROCESSES, kind="race", weight=0.3)
def a_fork_stays_as_it_was_taken(case: Case) -> None:
    """A fork that is taken while processes commit reads the same ever after."""
    trials(case, races.forked_meanwhile, Team(case, "processes"))


@check("CO-040", "CO-041", "CO-043", level="concurrent", needs=PROCESSES, kind="race", weight=0.2)
def the_feed_has_every_commit_once(case: Case) -> None:
    """A feed that is resumed while processes commit has every commit once, in order."""
    trials(case, races.followed_meanwhile, Team(case, "processes"))


@check("CO-064", level="concurrent", needs=PROCESSES, kind="race", weight=0.2)
def an_export_is_of_one_moment(case: Case) -> None:
    """An export while processes commit is what the namespace held at one moment."""
    trials(case, races.exported_meanwhile, Team(case, "processes"))
