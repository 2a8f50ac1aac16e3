"""Copying history from place to place: look, prune, copy in slices, compare, tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from perdure import (
    MAIN,
    ChangeBatch,
    Conflict,
    Context,
    Counter,
    HistoryEvent,
    InvalidInput,
    NotFound,
    check_name,
    parse_ref,
)

from perdure_migrate.replicate._compare import Comparison, compare, first
from perdure_migrate.replicate._ends import (
    Facts,
    Source,
    is_store,
    namespaces_of,
    open_source,
    open_store,
    portable_path,
    shown_place,
)
from perdure_migrate.replicate._portable_write import write_portable
from perdure_migrate.replicate._report import NamespaceReport, ReplicaReport
from perdure_migrate.replicate._slices import Limits, slices
from perdure_migrate.replicate._standing import Standing, look

__all__ = ["Progress", "copy", "export_file", "sync", "verify"]

#: Told the stage ("copy …" or "compare …"), how many commits are done, and how many there are.
Progress = Callable[[str, int, int], None]

#: Read counters that are written at a time.
_COUNTERS = 1_000


def copy(
    source: str,
    target: str,
    *,
    namespaces: list[str] | None = None,
    into: str | None = None,
    dry_run: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> ReplicaReport:
    """Copy whole namespaces with all their history, and read both sides back to compare.

    It may be stopped at any point and run again; once it is through, running it again changes nothing.

    Args:
        source: The URL of a store, a portable file, or a backup; it is only read.
        target: The URL of a store, which is created where it is missing.
        namespaces: Those to copy; None: all.
        into: The target's name for it, where one namespace is copied.
        dry_run: Only say what would be copied.
        limits: How much is copied in one piece.
        progress: Told how far it is.

    Raises:
        Conflict: The target holds something that is not from this source; nothing was written.
        HistoryExpired: Compaction dropped what the target lacks, or overtook the copy.
        NotFound: The source, or a namespace, does not exist.
    """
    return _Copy("migrate", progress, limits, full=True, strict=True).all(
        source, target, namespaces, into, dry_run=dry_run
    )


def sync(
    source: str,
    target: str,
    *,
    namespaces: list[str] | None = None,
    into: str | None = None,
    prune: bool = False,
    full: bool = False,
    dry_run: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> ReplicaReport:
    """Copy what is new in the source since the target was last brought up to date.

    How far the target is says the target itself: its branches and their heads. What only the target has is
    kept, unless `prune`. Both sides are read in full only where their figures do not agree, or `full` asks.

    Args:
        prune: Delete branches, checkpoints and spaces that only the target has, and purge there what was
            purged in the source.
        full: Compare every row of every commit, and carry the read counters of all rows.
        source, target, namespaces, into, dry_run, limits, progress: As for `copy`.

    Raises:
        Conflict: The target has commits of its own, holds something else, or has rows that were purged in
            the source and `prune` was not given.
        HistoryExpired: Compaction dropped what the target lacks, or overtook the copy.
        NotFound: The source, or a namespace, does not exist.
    """
    return _Copy("sync", progress, limits, full=full, prune=prune).all(
        source, target, namespaces, into, dry_run=dry_run
    )


def verify(
    source: str,
    target: str,
    *,
    namespaces: list[str] | None = None,
    into: str | None = None,
    progress: Progress | None = None,
) -> ReplicaReport:
    """Compare a store with the one it was copied from, row by row; neither is changed.

    Raises:
        Conflict: The target is no copy of this source.
        NotFound: One of the two, or a namespace, does not exist.
    """
    return _Copy("verify", progress, None, full=True).all(source, target, namespaces, into, dry_run=False)


def export_file(
    source: str,
    file: str,
    *,
    namespaces: list[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ReplicaReport:
    """Write whole namespaces to one portable file, and compare the file with the source.

    Raises:
        AlreadyExists: The file is there, and `overwrite` is False.
        NotFound: The source, or a namespace, does not exist.
    """
    if not is_store(source):
        raise InvalidInput("an export is made of a store, and its source is a URL")
    path, names = portable_path(file), namespaces_of(source, namespaces)
    tell = progress or _silent

    def events(name: str) -> Iterator[HistoryEvent]:
        done = 0
        with closing(open_source(source, name)) as opened:
            total = _commits(opened)
            for event in opened.events({}):
                yield event
                if isinstance(event, ChangeBatch) and event.final:
                    done += 1
                    tell(f"export {name}", done, total)

    counts = write_portable(path, ((name, events(name)) for name in names), overwrite=overwrite)
    report = ReplicaReport(shown_place(source), str(path), "export")
    for name in names:
        found = NamespaceReport(name, name)
        with closing(open_source(str(path), name)) as written:
            hook, ctx = open_store(source, name, "r")
            try:
                _tell(found, compare(written, hook, ctx))
            finally:
                hook.close(ctx=ctx)
        found.branches = counts[name].get("branches", 0)
        found.checkpoints = counts[name].get("checkpoints", 0)
        found.spaces = counts[name].get("spaces", 0)
        found.commits, found.rows = found.equal_commits, found.equal_rows
        report.namespaces.append(found)
    return report


class _Copy:
    """One run over the namespaces of a source."""

    def __init__(
        self,
        action: str,
        progress: Progress | None,
        limits: Limits | None,
        *,
        full: bool,
        strict: bool = False,
        prune: bool = False,
    ) -> None:
        self._action, self._progress, self._limits = action, progress or _silent, limits
        self._full, self._strict, self._prune = full, strict, prune

    def all(
        self, source: str, target: str, namespaces: list[str] | None, into: str | None, *, dry_run: bool
    ) -> ReplicaReport:
        if not is_store(target):
            raise InvalidInput("history is copied into a store; write a file with `perdure export`")
        names = namespaces_of(source, namespaces)
        if into is not None and len(names) != 1:
            raise InvalidInput("a new name is for one namespace; name it with --namespace")
        if source == target and (into is None or into in names):
            raise InvalidInput("source and target are the same; nothing is to be copied")
        report = ReplicaReport(
            shown_place(source), shown_place(target), "dry run" if dry_run else self._action
        )
        for name in names:
            found = NamespaceReport(name, name if into is None else check_name(into, "namespace"))
            with closing(open_source(source, name)) as opened:
                self._namespace(opened, target, found, dry_run=dry_run)
            report.namespaces.append(found)
        return report

    def _namespace(self, source: Source, target: str, found: NamespaceReport, *, dry_run: bool) -> None:
        facts = source.facts()
        reading = self._action == "verify"
        try:
            hook, ctx = open_store(target, found.target, "r")
        except NotFound:
            if reading:
                raise
            hook, ctx = None, Context()
        try:
            standing = self._look(source, facts, hook, ctx)
            if dry_run:
                self._foretell(source, standing, found)
                return
            if reading:
                self._compare(source, facts, hook, ctx, found)
                return
        finally:
            if hook is not None:
                hook.close(ctx=ctx)
        hook, ctx = open_store(target, found.target, "rw")
        try:
            self._write(source, facts, hook, ctx, found)
        finally:
            hook.close(ctx=ctx)

    def _look(self, source: Source, facts: Facts, hook: Any, ctx: Context) -> Standing:
        standing = look(source, facts, hook, ctx, prune=self._prune)
        if self._strict and standing.extra:
            raise Conflict(
                f"the target holds what the source does not: {', '.join(standing.extra[:5])}; `perdure sync` "
                "keeps that, and --prune deletes it; or copy into an empty namespace (--into)",
                names=standing.extra,
            )
        return standing

    def _foretell(self, source: Source, standing: Standing, found: NamespaceReport) -> None:
        for event in source.events(standing.since):
            if isinstance(event, ChangeBatch):
                found.commits += event.final
                found.rows += len(event.changes)
        found.pruned = standing.extra if self._prune else []
        found.only_here = [] if self._prune else standing.extra

    def _write(self, source: Source, facts: Facts, hook: Any, ctx: Context, found: NamespaceReport) -> None:
        standing = self._look(source, facts, hook, ctx)
        if self._prune:
            _delete(standing, hook, ctx)
            found.pruned = standing.extra
        else:
            found.only_here = standing.extra
        total, stage, copied = _commits(source, standing), f"copy {found.source}", 0

        def done(commits: int) -> None:
            nonlocal copied
            copied += commits
            self._progress(stage, copied, max(copied, total))

        for slice_ in slices(source, standing.since, limits=self._limits, done=done):
            taken = hook.ingest(ctx=ctx, events=slice_)
            found.commits += taken.commits
            found.rows += taken.rows
            found.branches += taken.branches
            found.checkpoints += taken.checkpoints
            found.spaces += taken.spaces
            found.left_out += taken.purged
        if self._full or not _figures_agree(source, hook, ctx):
            self._compare(source, facts, hook, ctx, found)

    # ------------------------------------------------------------------------------------ comparing

    def _compare(self, source: Source, facts: Facts, hook: Any, ctx: Context, found: NamespaceReport) -> None:
        total, stage = _commits(source), f"compare {found.source}"
        writes = self._action != "verify"

        def done(commits: int) -> None:
            self._progress(stage, commits, max(commits, total))

        comparison = compare(source, hook, ctx, done=done)
        if comparison.gone and self._prune:
            self._purge(source, comparison, hook, ctx, found)
            comparison = compare(source, hook, ctx, done=done)
        _check_facts(facts, hook, ctx, comparison)
        if comparison.behind and writes:
            found.counters = len(comparison.behind)
            for start in range(0, len(comparison.behind), _COUNTERS):
                hook.ingest(ctx=ctx, events=comparison.behind[start : start + _COUNTERS])
            _check_counters(comparison, hook, ctx)
        _tell(found, comparison)
        if found.missing and found.missing == found.left_out:
            found.missing = 0  # those that were left out now
        if comparison.gone:
            raise Conflict(
                f"{len(comparison.gone)} rows that the target holds were purged in the source, such as "
                f"{first(comparison.gone, 1)[0]}; `perdure sync --prune` purges them in the target too",
                rows=first(comparison.gone),
                count=len(comparison.gone),
            )

    def _purge(
        self, source: Source, comparison: Comparison, hook: Any, ctx: Context, found: NamespaceReport
    ) -> None:
        """Carry purges of the source to the target."""
        again = {
            (change.table, change.key)
            for event in source.events({})
            if isinstance(event, ChangeBatch)
            for change in event.changes
            if (change.table, change.key) in comparison.gone
        }
        if again:
            raise Conflict(
                f"{len(again)} rows were purged in the source and written again, such as {first(again, 1)[0]}; "
                "the target cannot forget only what they were before: drop its namespace and copy anew",
                rows=first(again),
                count=len(again),
            )
        for table in sorted({table for table, _ in comparison.gone}):
            keys = sorted(key for name, key in comparison.gone if name == table)
            hook.purge(ctx=ctx, table=table, keys=keys)
            found.pruned.append(f"{len(keys)} purged rows of {table}")


def _silent(stage: str, done: int, total: int) -> None:
    """The progress that nobody watches."""


def _commits(source: Source, standing: Standing | None = None) -> int:
    """About how many commits there are to be copied, for showing progress; 0 where only reading would tell."""
    if source.hook is None:
        return 0
    ctx = Context()
    if standing is None or not standing.since:
        return int(source.hook.stats(ctx=ctx, at=parse_ref(MAIN)).commits)
    branches = source.hook.list_branches(ctx=ctx)
    return sum(branch.head.seq - standing.since.get(branch.id, branch.fork_seq) for branch in branches)


def _delete(standing: Standing, hook: Any, ctx: Context) -> None:
    for name in standing.checkpoints:
        hook.delete_checkpoint(ctx=ctx, name=name)
    for name in standing.branches:
        if any(branch.name == name for branch in hook.list_branches(ctx=ctx)):  # not gone with its parent
            hook.delete_branch(ctx=ctx, name=name, cascade=True)
    for name in standing.spaces:
        hook.drop_space(ctx=ctx, name=name)


def _figures_agree(source: Source, hook: Any, ctx: Context) -> bool:
    """Whether both sides count the same row versions, as they must where nothing was purged or compacted."""
    if source.hook is None:
        return False
    at = parse_ref(MAIN)
    there, here = source.hook.stats(ctx=ctx, at=at), hook.stats(ctx=ctx, at=at)
    return bool(there.versions == here.versions)


def _check_facts(facts: Facts, hook: Any, ctx: Context, comparison: Comparison) -> None:
    """Every branch, checkpoint and space that was there when the copy began must be in the target."""
    mine = {branch.id: branch for branch in hook.list_branches(ctx=ctx)}
    for branch in facts.branches:
        found = mine.get(branch.id)
        if found is None or (found.name, found.parent) != (branch.name, branch.parent):
            comparison.differs(f"branch {branch.name!r} is missing")
        elif found.head.seq < branch.head.seq:
            comparison.differs(f"branch {branch.name!r} is behind")
    checkpoints = {checkpoint.name: checkpoint for checkpoint in hook.list_checkpoints(ctx=ctx)}
    for checkpoint in facts.checkpoints:
        if checkpoints.get(checkpoint.name) != checkpoint:
            comparison.differs(f"checkpoint {checkpoint.name!r} is missing, or is another here")
    spaces = {space.name for space in hook.list_spaces(ctx=ctx)}
    for space in facts.spaces:
        if space.name not in spaces:
            comparison.differs(f"space {space.name!r} is missing")


def _check_counters(comparison: Comparison, hook: Any, ctx: Context) -> None:
    """Those that were carried on must have arrived, but for rows that were purged in the target."""
    left: list[Counter] = []
    for counter in comparison.behind:
        here = hook.counters(ctx=ctx, table=counter.table, keys=[counter.key])[0]
        if here.access_count < counter.access_count:
            left.append(counter)
    for counter in left:
        if (counter.table, counter.key) not in comparison.lacking:
            comparison.differs(f"the read counter of {counter.table} {counter.key!r} is behind")


def _tell(found: NamespaceReport, comparison: Comparison) -> None:
    found.compared = True
    found.equal_commits, found.equal_rows = comparison.commits, comparison.rows
    found.equal_pieces, found.older = comparison.pieces, comparison.older
    found.missing = comparison.missing
    found.mismatches, found.mismatched = comparison.mismatches, comparison.mismatched
