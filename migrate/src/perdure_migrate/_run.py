"""The whole way: detect, plan, look, back up, copy, verify, report."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import perdure
from perdure import MAIN, NotFound, Store

from perdure_migrate._copy import Standing, copy_plan, look
from perdure_migrate._material import Material, gather
from perdure_migrate._plan import Plan
from perdure_migrate._report import Report
from perdure_migrate._settings import Settings
from perdure_migrate._sources import Detection, choose, detect
from perdure_migrate._verify import Progress, verify_plan
from perdure_migrate.inert import Limits, Seen

__all__ = ["Inspection", "inspect", "migrate", "verify"]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a source is, as far as it can be said without a target.

    Attributes:
        detections: What each source plugin makes of it, the surest first.
        found: What it holds, by its own words; empty where no plugin is sure.
        planned: Rows by table that a migration would write.
        checkpoints: Names of checkpoints.
        classes: The classes and functions that it names; none is imported.
        digest: The hash of its content.
        notes: How many notes of each kind a migration would make.
    """

    detections: list[Detection]
    found: dict[str, int]
    planned: dict[str, int]
    checkpoints: list[str]
    classes: list[Seen]
    digest: str
    notes: dict[str, int] = field(default_factory=dict)


def inspect(
    source: str | Path,
    *,
    kind: str | None = None,
    settings: Settings | None = None,
    limits: Limits | None = None,
) -> Inspection:
    """Say what a source is and what would become of it, without a target.

    Args:
        source: A file or a directory.
        kind: The name of the source plugin; None: found out.
        settings: What the mapping is told.
        limits: What reading may cost.

    Raises:
        NotFound, PermissionDenied, StorageError: The source cannot be read.
        InvalidRecord: A pickle is damaged, or passes a limit.
    """
    material = gather(source, limits)
    detections = detect(material)
    try:
        plan, _ = _plan(material, kind, settings)
    except perdure.InvalidRecord:
        raise
    except perdure.InvalidInput:
        return Inspection(detections, {}, {}, [], material.classes(), material.digest)
    report = _report(plan, material, "", "", "", "", "")
    return Inspection(
        detections,
        report.found,
        report.planned,
        report.checkpoints,
        report.classes,
        plan.digest,
        report.note_counts,
    )


def migrate(
    source: str | Path,
    target: str,
    *,
    namespace: str = "default",
    branch: str = MAIN,
    kind: str | None = None,
    dry_run: bool = False,
    backup: bool = True,
    settings: Settings | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Report:
    """Bring a legacy store in, and read everything back.

    It may be stopped at any point and run again; once it is through, running it again changes nothing.
    Nothing that the target holds is ever changed.

    Args:
        source: A file or a directory; it is only read.
        target: The URL of a store, which is created where it is missing.
        namespace: Whose memory it becomes.
        branch: The branch to write to, forked from main where it is missing.
        kind: The name of the source plugin; None: found out.
        dry_run: Only say what would be written.
        backup: Back up a file-like target that holds other rows, beside it, before anything is written.
        settings: What the mapping is told.
        limits: What reading the source may cost.
        progress: Called with "copy" or "verify", how many rows are done, and how many there are.

    Returns:
        The report; `ok` says whether all is equal.

    Raises:
        NotFound, PermissionDenied, StorageError: The source or the target cannot be read or written.
        InvalidInput: No source plugin recognises it, or a pickle is damaged; nothing was written.
        Conflict: The target holds something else under a key to be written; nothing was written.
    """
    material = gather(source, limits)
    plan, why = _plan(material, kind, settings)
    report = _report(plan, material, why, target, namespace, branch, "dry run" if dry_run else "migrate")
    tell = progress or _silent
    standing = _look(plan, target, namespace, branch)
    report.present = standing.present
    if dry_run:
        return report
    with closing(perdure.open(target, namespace=namespace, principal="perdure migrate")) as main:
        if backup and not standing.complete:
            report.backup = _back_up(plan, standing, main, target)
        store = main if branch == MAIN else main.branch(branch)
        report.commits = copy_plan(plan, standing, store, tell)
        report.written = len(standing.missing)
        _verify(plan, report, store, tell)
    return report


def verify(
    source: str | Path,
    target: str,
    *,
    namespace: str = "default",
    branch: str = MAIN,
    kind: str | None = None,
    settings: Settings | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Report:
    """Compare a store with the source it was migrated from; neither is changed. See `migrate`.

    Raises:
        NotFound: The source, the store or the branch does not exist.
        InvalidInput: No source plugin recognises the source, or a pickle is damaged.
    """
    material = gather(source, limits)
    plan, why = _plan(material, kind, settings)
    report = _report(plan, material, why, target, namespace, branch, "verify")
    with closing(perdure.open(target, namespace=namespace, branch=branch, mode="r")) as store:
        _verify(plan, report, store, progress or _silent)
    return report


def _silent(stage: str, done: int, total: int) -> None:
    """The progress that nobody watches."""


def _plan(material: Material, kind: str | None, settings: Settings | None) -> tuple[Plan, str]:
    source, detections = choose(material, kind)
    return source.plan(material, settings or Settings()), detections[0].reason


def _report(
    plan: Plan, material: Material, why: str, target: str, namespace: str, branch: str, action: str
) -> Report:
    return Report(
        source=str(material.path),
        kind=plan.source,
        why=why,
        digest=plan.digest,
        target=target,
        namespace=namespace,
        branch=branch,
        action=action,
        found=dict(plan.found),
        planned=plan.counts(),
        checkpoints=[checkpoint.name for checkpoint in plan.checkpoints],
        notes=plan.notes,
        classes=material.classes(),
    )


def _reading(target: str, namespace: str, branch: str) -> Store | None:
    """The target as it is, or None where it, the namespace or the branch does not exist yet."""
    try:
        return perdure.open(target, namespace=namespace, branch=branch, mode="r")
    except NotFound:
        return None if branch == MAIN else _reading(target, namespace, MAIN)


def _look(plan: Plan, target: str, namespace: str, branch: str) -> Standing:
    """How far the target is, read before it is opened for writing, which may change the file."""
    store = _reading(target, namespace, branch)
    if store is None:
        return look(plan, None)
    with closing(store):
        return look(plan, store)


def _back_up(plan: Plan, standing: Standing, store: Store, target: str) -> str | None:
    """Back up a target that holds more than this migration wrote; None where there is no need, or no file."""
    path = _file_of(target)
    stats = store.stats()
    own = sum(standing.present.values())
    if path is None or (sum(stats.rows.values()) == own and stats.branches == 1 and not stats.checkpoints):
        return None
    name = f"{path.name}.{store.namespace.replace('/', '-')}.before-{plan.digest[:12]}.perdure"
    made = path.with_name(name)
    if not made.exists():  # one from a run that was stopped shows the store as it was before
        store.backup(made)
    return str(made)


def _file_of(url: str) -> Path | None:
    """The file or directory that a URL such as ``sqlite:///agent.db`` names, if it is there."""
    scheme, _, rest = url.partition("://")
    place = unquote(rest.partition("?")[0], errors="surrogateescape")
    if scheme == "memory" or len(place) < 2 or place[0] != "/":
        return None
    path = Path(place[1:])
    return path if path.exists() else None


def _verify(plan: Plan, report: Report, store: Store, progress: Any) -> None:
    verdict = verify_plan(plan, store, progress)
    report.equal, report.mismatches = verdict.equal, verdict.mismatches
