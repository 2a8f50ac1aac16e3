"""The steps of a history: plain data, without reference to a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from perdure.filters import Filter

__all__ = [
    "Changes",
    "Compact",
    "Copy",
    "CreateSpace",
    "Delete",
    "Diff",
    "DropBranch",
    "DropSpace",
    "Elsewhere",
    "Expire",
    "Fields",
    "Find",
    "Fork",
    "Increment",
    "Log",
    "Mark",
    "Merge",
    "Place",
    "Purge",
    "Put",
    "Reopen",
    "Revert",
    "Scene",
    "Search",
    "Second",
    "Step",
    "Sync",
    "Touch",
    "Unmark",
    "Update",
    "Without",
    "Write",
]

#: A record as a mapping of its fields.
Fields: TypeAlias = Mapping[str, Any]

#: What a write demands of the version of its row: nothing, no row, the version it has, or another one.
Condition: TypeAlias = Literal["none", "absent", "current", "other"]

#: What a commit demands of the head of its branch: nothing, the commit that it is at, or another one.
Expected: TypeAlias = Literal["none", "right", "stale"]

#: How a place in the past is named: by commit, by the branch and a number, or by the branch and a time.
Way: TypeAlias = Literal["commit", "number", "time"]

Strategy: TypeAlias = Literal["fail", "ours", "theirs", "field"]


@dataclass(frozen=True)
class Place:
    """A branch or a checkpoint; `back` commits before the head of the branch (at most all but the first)."""

    name: str
    back: int = 0
    way: Way = "commit"


# ------------------------------------------------------------------------------------- in a commit


@dataclass(frozen=True)
class Put:
    """Put or insert records."""

    table: str
    records: tuple[Fields, ...]
    insert: bool = False
    condition: Condition = "none"


@dataclass(frozen=True)
class Update:
    """Change fields of one record."""

    table: str
    key: tuple[str, ...]
    fields: Fields
    condition: Condition = "none"


@dataclass(frozen=True)
class Delete:
    """Delete records."""

    table: str
    keys: tuple[tuple[str, ...], ...]
    missing_ok: bool = True


@dataclass(frozen=True)
class Increment:
    """Add to the counters of a skill."""

    id: str
    amounts: Mapping[str, int]


@dataclass(frozen=True)
class Write:
    """One commit: a single write as a call of its own, several as a batch."""

    branch: str
    writes: tuple[Put | Update | Delete | Increment, ...]
    check_references: bool = False
    again: bool = False  #: submit it a second time under the same commit id
    expect: Expected = "none"


# ------------------------------------------------------------------------------------- other changes


@dataclass(frozen=True)
class Fork:
    """Create a branch."""

    name: str
    at: Place


@dataclass(frozen=True)
class DropBranch:
    """Delete a branch."""

    name: str
    cascade: bool = False


@dataclass(frozen=True)
class Mark:
    """Create a checkpoint."""

    name: str
    at: Place
    metrics: Any = None


@dataclass(frozen=True)
class Unmark:
    """Delete a checkpoint."""

    name: str


@dataclass(frozen=True)
class Merge:
    """Merge, whole or selective."""

    source: Place
    into: str
    strategy: Strategy = "fail"
    dry_run: bool = False
    tables: tuple[str, ...] | None = None
    keys: Mapping[str, tuple[tuple[str, ...], ...]] | None = None


@dataclass(frozen=True)
class Sync:
    """Merge the parent into a branch."""

    branch: str
    strategy: Strategy = "fail"


@dataclass(frozen=True)
class Revert:
    """Undo the commit at a place on a branch."""

    branch: str
    commit: Place
    parent: int | None = None
    strategy: Strategy = "fail"
    dry_run: bool = False


@dataclass(frozen=True)
class Expire:
    """Delete what has expired."""

    branch: str
    now: datetime


@dataclass(frozen=True)
class Touch:
    """Count reads."""

    table: str
    keys: tuple[tuple[str, ...], ...]
    at: datetime


@dataclass(frozen=True)
class CreateSpace:
    """Create a space."""

    name: str
    dim: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DropSpace:
    """Drop a space."""

    name: str


@dataclass(frozen=True)
class Compact:
    """Compact, without a lease or with the default one."""

    keep: int | None = None
    lease: bool = False


@dataclass(frozen=True)
class Purge:
    """Erase rows from all history."""

    table: str
    keys: tuple[tuple[str, ...], ...]


# --------------------------------------------------------------------------------------------- reads


@dataclass(frozen=True)
class Find:
    """Rows that match, in order, page by page; and their number."""

    at: Place
    table: str
    where: Filter | None = None
    order_by: list[str] | None = None
    page: int | None = None


@dataclass(frozen=True)
class Search:
    """The nearest vectors of a space."""

    at: Place
    space: str
    vector: tuple[float, ...]
    k: int
    where: Filter | None = None


@dataclass(frozen=True)
class Diff:
    """What differs between two places."""

    a: Place
    b: Place


@dataclass(frozen=True)
class Log:
    """The commits that lead to a place."""

    at: Place


@dataclass(frozen=True)
class Without:
    """All rows at a place, as if the commit at another had not been."""

    at: Place
    commit: Place


@dataclass(frozen=True)
class Changes:
    """What the feed has that was not seen yet, from the cursor of the time before."""


# ------------------------------------------------------------------------------ beyond one handle


@dataclass(frozen=True)
class Second:
    """A step through a second handle on the namespace."""

    step: Step


@dataclass(frozen=True)
class Elsewhere:
    """A step in another namespace of the same engine."""

    step: Step


@dataclass(frozen=True)
class Reopen:
    """Close the first handle, or every handle on the engine, and open what was closed again."""

    every: bool = False


@dataclass(frozen=True)
class Copy:
    """Export all history into an empty namespace, which must then hold the same."""


Step: TypeAlias = (
    Write
    | Fork
    | DropBranch
    | Mark
    | Unmark
    | Merge
    | Sync
    | Revert
    | Expire
    | Touch
    | CreateSpace
    | DropSpace
    | Compact
    | Purge
    | Find
    | Search
    | Diff
    | Log
    | Without
    | Changes
)

#: A step of a history that plays on several handles and namespaces.
Scene: TypeAlias = Step | Second | Elsewhere | Reopen | Copy
