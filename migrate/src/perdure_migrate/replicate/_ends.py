"""What history is copied from and to: stores by their hooks, and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import perdure
from perdure import (
    Branch,
    ChangeBatch,
    Checkpoint,
    Context,
    Counter,
    HistoryEvent,
    HistoryExpired,
    InvalidInput,
    Key,
    NotFound,
    Point,
    Space,
    StorageError,
    parse_ref,
)
from perdure.history import export, os_errors, read_archive

from perdure_migrate.replicate._portable_read import PortableFile, is_portable

__all__ = [
    "FileSource",
    "Source",
    "StoreSource",
    "is_backup",
    "is_history",
    "is_store",
    "namespaces_of",
    "open_source",
    "open_store",
    "portable_path",
    "shown_place",
]

#: In whose name stores are opened; commits keep the authors that they have.
_PRINCIPAL = "perdure sync"
_BACKUP = b"perdure-history "


@dataclass
class Facts:
    """What a source holds beside its commits, as it was when it was asked."""

    branches: list[Branch] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    spaces: list[Space] = field(default_factory=list)


class Source(Protocol):
    """One namespace to copy from.

    Attributes:
        hook: The hooks of a store; None for a file, which cannot be asked for single rows.
        name: For messages.
    """

    hook: Any
    name: str

    def facts(self) -> Facts:
        """What is there now."""
        ...

    def events(self, since: Mapping[str, int]) -> Iterator[HistoryEvent]:
        """History that is newer than `since`: branch id → the number up to which the target has it."""
        ...

    def commits_at(self, heads: Mapping[str, Point]) -> dict[str, str | None]:
        """For each branch id the id of the commit that this source has at the point; None: it has none there."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


class StoreSource:
    """A namespace of a store."""

    def __init__(self, hook: Any, ctx: Context, name: str) -> None:
        self.hook, self.ctx, self.name = hook, ctx, name

    def facts(self) -> Facts:
        """What is there now; what is asked first may refer only to what is asked later."""
        checkpoints = self.hook.list_checkpoints(ctx=self.ctx)
        branches = self.hook.list_branches(ctx=self.ctx)
        known = {branch.id for branch in branches}
        kept = [checkpoint for checkpoint in checkpoints if checkpoint.point.branch in known]
        return Facts(branches, kept, self.hook.list_spaces(ctx=self.ctx))

    def events(self, since: Mapping[str, int]) -> Iterator[HistoryEvent]:
        """What `export` gives since then."""
        return export(self.hook, self.ctx, since)

    def commits_at(self, heads: Mapping[str, Point]) -> dict[str, str | None]:
        """By asking for each point."""
        names = {branch.id: branch.name for branch in self.hook.list_branches(ctx=self.ctx)}
        found: dict[str, str | None] = {}
        for branch, point in heads.items():
            here = self.hook.resolve(ctx=self.ctx, ref=parse_ref(f"{names[branch]}@{point.seq}"))
            found[branch] = here.commit
        return found

    def counters(self, rows: Mapping[str, list[Key]]) -> Iterator[Counter]:
        """The read counters of rows that were ever read."""
        for table, keys in rows.items():
            for counter in self.hook.counters(ctx=self.ctx, table=table, keys=keys):
                if counter.access_count or counter.accessed_at is not None:
                    yield counter

    def check_floors(self, floors: Mapping[str, int]) -> None:
        """See that compaction dropped nothing since the floors were read.

        Raises:
            HistoryExpired: It did, so that what was read since may have holes.
        """
        for branch in self.hook.list_branches(ctx=self.ctx):
            if branch.floor > floors.get(branch.id, branch.floor):
                raise HistoryExpired(
                    f"compaction dropped history of branch {branch.name!r} while it was copied; run it again",
                    branch=branch.name,
                    floor=branch.floor,
                )

    def close(self) -> None:
        """Close the store."""
        self.hook.close(ctx=self.ctx)


class FileSource:
    """A namespace in a file, which is read from its beginning each time."""

    hook = None

    def __init__(self, name: str, read: Callable[[], Iterator[HistoryEvent]]) -> None:
        self.name, self._read = name, read

    def facts(self) -> Facts:
        """What is in it."""
        facts = Facts()
        for event in self._read():
            if isinstance(event, Branch):
                facts.branches.append(event)
            elif isinstance(event, Checkpoint):
                facts.checkpoints.append(event)
            elif isinstance(event, Space):
                facts.spaces.append(event)
        return facts

    def events(self, since: Mapping[str, int]) -> Iterator[HistoryEvent]:
        """All but the commits that the target has."""
        for event in self._read():
            if not isinstance(event, ChangeBatch) or event.commit.seq > since.get(event.commit.branch, -1):
                yield event

    def commits_at(self, heads: Mapping[str, Point]) -> dict[str, str | None]:
        """By looking through the commits."""
        found: dict[str, str | None] = dict.fromkeys(heads)
        for event in self._read():
            if isinstance(event, ChangeBatch) and event.commit.branch in heads:
                commit = event.commit
                if commit.seq == heads[commit.branch].seq:
                    found[commit.branch] = commit.id
        return found

    def close(self) -> None:
        """Nothing is kept open between two readings."""


# ------------------------------------------------------------------------------------------- opening


def is_store(place: str) -> bool:
    """Whether a place is the URL of a store, and no file."""
    return "://" in place


def shown_place(place: str) -> str:
    """A place as it may be told: without options and passwords."""
    if not is_store(place):
        return str(Path(place))
    scheme, _, rest = place.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def is_backup(path: Path) -> bool:
    """Whether a file is a backup, as `Store.backup` writes it."""
    with os_errors(str(path)):
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_BACKUP)) == _BACKUP


def is_history(place: str) -> bool:
    """Whether a place holds history of perdure: the URL of a store, a portable file, or a backup."""
    if is_store(place):
        return True
    try:
        return is_portable(Path(place)) or is_backup(Path(place))
    except StorageError:
        return False  # whoever reads it says what is wrong


def portable_path(place: str) -> Path:
    """The path of a file, named as such.

    Raises:
        InvalidInput: It is the URL of a store.
    """
    if is_store(place):
        raise InvalidInput(f"{shown_place(place)!r} is a store, and a file is wanted here")
    return Path(place)


def namespaces_of(place: str, wanted: list[str] | None) -> list[str]:
    """The namespaces to copy: those that are wanted, or all there are.

    Raises:
        NotFound: The source is not there, or has no namespace `default` to begin from.
    """
    if wanted:
        return list(dict.fromkeys(wanted))
    if not is_store(place):
        path = Path(place)
        if is_backup(path):
            return ["default"]
        with PortableFile(path) as file:
            return file.namespaces
    try:
        store = perdure.open(place, mode="r")
    except NotFound as error:
        raise NotFound(
            f"{error.message}; where a store has no namespace 'default', name those to copy with --namespace"
        ) from None
    with closing(store):
        return store.namespaces.list()


def open_source(place: str, namespace: str) -> Source:
    """Open a namespace to copy from; nothing is ever written to it."""
    if not is_store(place):
        path = Path(place)
        if is_backup(path):
            if namespace != "default":
                raise NotFound(
                    f"{place} is a backup, which holds one namespace; import it as 'default' --into {namespace}"
                )
            return FileSource(place, lambda: read_archive(path))
        file = PortableFile(path)
        try:
            file.counts(namespace)
        except BaseException:
            file.close()
            raise
        return _Portable(place, file, namespace)
    hook, ctx = open_store(place, namespace, "r")
    return StoreSource(hook, ctx, f"{shown_place(place)} namespace {namespace}")


class _Portable(FileSource):
    """A portable file, which stays open: it was checked as a whole only once."""

    def __init__(self, name: str, file: PortableFile, namespace: str) -> None:
        super().__init__(name, lambda: file.events(namespace))
        self._file = file

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_store(url: str, namespace: str, mode: Any) -> tuple[Any, Context]:
    """The hooks of a store, and the context for calling them."""
    ctx = Context(principal=_PRINCIPAL)
    return perdure.open_hooks(url, namespace=namespace, mode=mode, ctx=ctx), ctx
