"""Readers in threads beside writers in threads, on one handle and on several."""

from __future__ import annotations

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses import _races_reading as races
from perdure_conformance.clauses._threads_writing import by_turns


@check("CO-001", "CO-003", "CO-002", "VE-036", "HK-003", kind="race", weight=0.3)
def no_batch_is_seen_in_part(case: Case) -> None:
    """Readers see whole batches only, and never less than before, while threads write."""
    by_turns(case, races.whole_batches)


@check("UP-001", "UP-003", "BR-012", "HK-003", level="branches", needs=("compact",), kind="race", weight=0.1)
def compaction_leaves_what_is_read(case: Case) -> None:
    """Compaction leaves what other threads read at heads, checkpoints and leased points."""
    by_turns(case, races.compacted_meanwhile)


@check("UP-020", "VE-036", "HK-003", level="vectors", needs=("purge",), kind="race", weight=0.1)
def what_is_purged_is_read_no_more(case: Case) -> None:
    """What was purged is in no read that begins after that, while threads write and read."""
    by_turns(case, races.purged_meanwhile)


@check("BR-007", "BR-005", "CO-007", "RE-009", level="branches", kind="race", weight=0.1)
def a_fork_stays_as_it_was_taken(case: Case) -> None:
    """A fork that is taken while threads commit reads the same ever after."""
    by_turns(case, races.forked_meanwhile)


@check("CO-040", "CO-041", "CO-043", level="branches", kind="race", weight=0.1)
def the_feed_has_every_commit_once(case: Case) -> None:
    """A feed that is resumed while threads commit has every commit once, in order."""
    by_turns(case, races.followed_meanwhile)


@check("CO-064", level="branches", kind="race", weight=0.1)
def an_export_is_of_one_moment(case: Case) -> None:
    """An export while threads commit is what the namespace held at one moment."""
    by_turns(case, races.exported_meanwhile)
