"""Several processes: what one of them commits, and another one sees."""

from __future__ import annotations

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses import _seeing as seeing
from perdure_conformance.clauses._processes_writing import PROCESSES


@check("CO-002", level="concurrent", needs=PROCESSES)
def another_process_sees_every_commit(case: Case) -> None:
    """A process that has read sees what another process commits, in every read."""
    seeing.see_commits(case, seeing.in_process, seeing.ROWS)


@check("VE-036", level="concurrent", needs=PROCESSES)
def another_process_finds_every_vector(case: Case) -> None:
    """A process that has searched finds what another process commits."""
    seeing.see_commits(case, seeing.in_process, seeing.SEARCHES)


@check("BR-010", "VE-004", level="concurrent", needs=PROCESSES)
def another_process_sees_what_has_a_name_anew(case: Case) -> None:
    """A process that has read sees that another one made a new branch, and a new space, of an old name."""
    seeing.renew(case, seeing.in_process)


@check("CO-011", "DM-064", "DM-050", level="concurrent", needs=PROCESSES)
def another_process_is_superseded(case: Case) -> None:
    """What a process computed on an older state is refused once another process has committed."""
    seeing.refuse_superseded(case, seeing.in_process)
