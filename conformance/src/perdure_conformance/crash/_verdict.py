"""How what a failure left differs from what it may leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from perdure import Store

from perdure_conformance.expect import Violation

__all__ = ["Fault", "Finding", "compared", "problems", "rows_of", "said"]


class Fault(StrEnum):
    """What is wrong with a store after a failure."""

    LOST = "acknowledged-lost"  #: what was acknowledged is not there
    HALF = "half-applied"  #: a commit is there in part
    HOLE = "hole"  #: a later commit is there, an earlier acknowledged one is not
    PHANTOM = "phantom"  #: something that nobody submitted is there
    UNREADABLE = "unreadable"  #: it does not open, or `verify` reports an error
    TWICE = "applied-twice"  #: submitting the same again changed something
    REFUSED = "refused-yet-applied"  #: an error was raised, and what was refused is there
    ERROR = "wrong-error"  #: a failure of the disk was raised as something else
    STUCK = "stuck"  #: it can be read, but not written any more


@dataclass(frozen=True)
class Finding:
    """One fault, and what speaks for it."""

    fault: Fault
    text: str


def said(findings: list[Finding], when: str) -> None:
    """Raise a violation that names the faults, where there are any."""
    if findings:
        names = ", ".join(dict.fromkeys(finding.fault.value for finding in findings))
        raise Violation(
            f"the store after {when}",
            "all that was acknowledged, each commit whole or not at all, and nothing else",
            "\n".join([f"{names}:", *(f"{finding.fault.value}: {finding.text}" for finding in findings[:8])]),
        )


def problems(store: Store) -> list[Finding]:
    """The errors that `verify` reports."""
    return [
        Finding(Fault.UNREADABLE, f"verify reports {problem.code} at {problem.where}: {problem.message}")
        for problem in store.verify().problems
        if problem.severity == "error"
    ]


def rows_of(dump: Mapping[str, Any]) -> dict[tuple[str, str, str], Any]:
    """(branch or checkpoint, table, key) → row, of a dump."""
    return {
        (place, table, repr((row.get("space"), row.get("kind"), row["id"]))): row
        for where in ("branches", "checkpoints")
        for place, content in dump[where].items()
        for table, rows in content["rows"].items()
        for row in rows
    }


def compared(found: Any, before: Any, after: Any, *, acknowledged: bool) -> list[Finding]:
    """What is wrong with a dump that must be that of before or after an operation.

    Args:
        found: The dump of what is there.
        before: What was acknowledged before the operation.
        after: What there is once the operation is done.
        acknowledged: Whether the operation was; then only `after` is right.
    """
    if found == after or (found == before and not acknowledged):
        return []
    if found == before:
        return [
            Finding(Fault.LOST, f"the operation was acknowledged, and is not there: {_change(found, after)}")
        ]
    here, old, new = rows_of(found), rows_of(before), rows_of(after)
    strange = [key for key, row in here.items() if row not in (old.get(key), new.get(key))]
    gone = [key for key in old.keys() & new.keys() if key not in here]
    findings = [Finding(Fault.HALF, f"neither before nor after the operation: {_change(found, after)}")]
    if gone:
        findings.append(Finding(Fault.LOST, f"rows that were there before are gone: {sorted(gone)[:5]}"))
    if strange and all(key not in old and key not in new for key in strange):
        findings.append(Finding(Fault.PHANTOM, f"rows that nobody wrote: {sorted(strange)[:5]}"))
    return findings


def _change(found: Any, wanted: Any) -> str:
    """Where two dumps differ, in a few words."""
    here, there = rows_of(found), rows_of(wanted)
    rows = sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))
    parts = [part for part in wanted if found.get(part) != wanted[part]]
    return f"{', '.join(parts)} differ from what they are when it is done; rows: {rows[:6]}"
