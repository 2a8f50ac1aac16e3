"""The change feed: every committed change of every branch, once, resumable by a cursor."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from threading import Event
from typing import TypeAlias

import msgspec

from perdure._errors import InvalidInput
from perdure._show import shown
from perdure._types import Branch, ChangeBatch, Context
from perdure.history._dag import Hooks

__all__ = ["Cursor", "FeedItem", "check_cursor", "check_not_ahead", "feed", "heads", "parents_first"]

#: Branch id → the sequence number up to which its own commits were seen.
Cursor: TypeAlias = Mapping[str, int]


class FeedItem(msgspec.Struct, frozen=True):
    """One step of the feed.

    Attributes:
        batch: Changes of one commit; None where only branches came or went.
        cursor: Where to resume once this item is dealt with. Until the last batch of a commit it is the
            place before that commit, so that a resumed feed gives the whole commit again. Its keys are the
            branches that existed: compare with the cursor before to see one come or go.
    """

    batch: ChangeBatch | None
    cursor: dict[str, int]


def heads(hook: Hooks, ctx: Context) -> dict[str, int]:
    """The cursor of now: a feed from here gives only what is committed later."""
    return {branch.id: branch.head.seq for branch in hook.list_branches(ctx=ctx)}


def feed(
    hook: Hooks,
    ctx: Context,
    cursor: Cursor | None = None,
    follow: bool = False,
    *,
    poll: float = 0.2,
    stop: Event | None = None,
) -> Iterator[FeedItem]:
    """Every change that was committed after a cursor, each commit once.

    Along a branch, commits come in their order; between branches there is none.

    Args:
        cursor: The `cursor` of the last item that was dealt with; None: from the beginning.
        follow: Wait for more instead of ending.
        poll: Seconds between two looks for more.
        stop: Ends a feed that follows, at the next look.

    Raises:
        HistoryExpired: Compaction dropped some of the commits after the cursor; read the rows anew, and go
            on from `heads` as it was before that.
        InvalidInput: The cursor is malformed, or is ahead of a branch, so that it is of another store.
    """
    seen = check_cursor(cursor)
    if not poll > 0:
        raise InvalidInput(f"poll is a number of seconds above 0, not {shown(poll)}")
    return _feed(hook, ctx, seen, follow=follow, poll=poll, stop=stop)


def _feed(
    hook: Hooks, ctx: Context, seen: dict[str, int], *, follow: bool, poll: float, stop: Event | None
) -> Iterator[FeedItem]:
    while True:
        branches = parents_first(hook.list_branches(ctx=ctx))
        now = {branch.id: seen.get(branch.id, branch.fork_seq) for branch in branches}
        if now.keys() != seen.keys():
            yield FeedItem(None, dict(now))
        moved = False
        for branch in branches:
            after, upto = now[branch.id], branch.head.seq
            check_not_ahead(branch, after)
            if after < upto:
                moved = True
                yield from _own_commits(hook, ctx, branch, now)
        seen = now
        if not follow or (stop is not None and stop.is_set()):
            return
        if not moved:
            if stop is None:
                time.sleep(poll)
            elif stop.wait(poll):
                return


def _own_commits(hook: Hooks, ctx: Context, branch: Branch, now: dict[str, int]) -> Iterator[FeedItem]:
    upto = branch.head.seq
    batches = hook.changes(ctx=ctx, branch=branch.id, after=now[branch.id], upto=upto, compacted=False)
    for batch in batches:
        if batch.final:
            now[branch.id] = batch.commit.seq
        yield FeedItem(batch, dict(now))
    now[branch.id] = upto


def parents_first(branches: list[Branch]) -> list[Branch]:
    """Branches so that each comes after the one that it was forked from, else by id."""
    waiting = {branch.id: branch for branch in sorted(branches, key=lambda b: b.id)}
    out: list[Branch] = []
    while waiting:
        ready = [b for b in waiting.values() if b.parent not in waiting] or list(waiting.values())
        out.extend(ready)
        for branch in ready:
            del waiting[branch.id]
    return out


def check_not_ahead(branch: Branch, after: int) -> None:
    """Refuse a cursor that has seen more of a branch than there is.

    Raises:
        InvalidInput: It has.
    """
    if after > branch.head.seq:
        raise InvalidInput(
            f"the cursor is at {after} of branch {branch.name!r}, which is at {branch.head.seq}: it is of "
            "another store, or to one that was restored; start without a cursor",
            branch=branch.name,
        )


def check_cursor(cursor: Cursor | None) -> dict[str, int]:
    """A copy of a cursor; None is the empty one.

    Raises:
        InvalidInput: It is no map of branch ids to sequence numbers.
    """
    if cursor is None:
        return {}
    if not isinstance(cursor, Mapping):
        raise InvalidInput(
            f"a cursor is a map of branch ids to sequence numbers, not {type(cursor).__name__}"
        )
    for branch, seq in cursor.items():
        if not isinstance(branch, str) or not isinstance(seq, int) or isinstance(seq, bool) or seq < 0:
            raise InvalidInput(
                f"the cursor maps {shown(branch)} to {shown(seq)}; keys are branch ids, values are not negative"
            )
    return dict(cursor)
