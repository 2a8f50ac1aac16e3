"""Reading portable files: checked as a whole, then event by event."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from perdure import (
    TABLES,
    Branch,
    Change,
    ChangeBatch,
    Checkpoint,
    Chunk,
    Commit,
    CorruptStore,
    Counter,
    HistoryEvent,
    IncompatibleStore,
    NotFound,
    Pick,
    Point,
    Space,
)
from perdure.history import os_errors
from perdure.kit import rows_of

from perdure_migrate.replicate._portable_schema import (
    COMMENT,
    FORMAT,
    KINDS,
    MANIFEST,
    MEMBER_LIMIT,
    SCHEMAS,
    VERSION,
    member,
)

__all__ = ["PortableFile", "is_portable"]

_NAME_AT = 30  # where a ZIP file has the name of its first member
_BLOCK = 1 << 20


def is_portable(path: Path) -> bool:
    """Whether a file begins as a portable one does."""
    with os_errors(str(path)):
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(_NAME_AT + len(FORMAT))
    return start.startswith(b"PK\x03\x04") and start[_NAME_AT:] == FORMAT.encode()


class PortableFile:
    """A portable file that is open to read. Everything in it was compared with its digests.

    Raises:
        NotFound: There is no such file.
        IncompatibleStore: It is no portable file, or of a newer version.
        CorruptStore: It is cut short, or not what was written.
        StorageError: It could not be read.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        with os_errors(self.name):
            if not path.is_file():
                raise NotFound(f"there is no file {self.name!r}", path=self.name)
            if not is_portable(path):
                raise IncompatibleStore(f"{self.name} is no portable file; `perdure export` writes them")
            try:
                self._archive = zipfile.ZipFile(path)
            except zipfile.BadZipFile as error:
                raise self._damaged(str(error)) from error
        try:
            with os_errors(self.name):
                manifest = self._manifest()
                self._check(manifest["members"])
            self._namespaces = {found["name"]: (n, found) for n, found in enumerate(manifest["namespaces"])}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.close()
            raise self._damaged("its manifest does not say what it should") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    @property
    def namespaces(self) -> list[str]:
        """The names of the namespaces in it."""
        return list(self._namespaces)

    def counts(self, namespace: str) -> dict[str, int]:
        """The number of events of a namespace by kind."""
        return dict(self._find(namespace)[1]["events"])

    def _find(self, namespace: str) -> tuple[int, dict[str, Any]]:
        found = self._namespaces.get(namespace)
        if found is None:
            known = ", ".join(self._namespaces) or "none"
            raise NotFound(f"{self.name} has no namespace {namespace!r} (it has: {known})")
        return found

    def events(self, namespace: str) -> Iterator[HistoryEvent]:
        """The events of a namespace, as `ingest` takes them."""
        number, found = self._find(namespace)
        with os_errors(self.name):
            for segment in range(found["segments"]):
                try:
                    yield from self._segment(number, segment)
                except (pa.ArrowException, zipfile.BadZipFile, EOFError) as error:
                    raise self._damaged(str(error)) from error
                except (TypeError, ValueError, KeyError) as error:
                    raise self._damaged(f"segment {segment} has a cell that no writer makes") from error

    # ------------------------------------------------------------------------------------ checking

    def _manifest(self) -> dict[str, Any]:
        version = self._whole(FORMAT, _BLOCK).strip()
        if version != str(VERSION).encode():
            raise IncompatibleStore(
                f"{self.name} is a portable file of version {version[:20].decode(errors='replace')}, but this "
                f"program reads only {VERSION}; upgrade perdure"
            )
        data = self._whole(MANIFEST, MEMBER_LIMIT)
        digest = blake2b(data, digest_size=32).hexdigest()
        if self._archive.comment != COMMENT.format(version=VERSION, digest=digest).encode():
            raise self._damaged("its manifest is not the one that was sealed")
        manifest: dict[str, Any] = json.loads(data)
        return manifest

    def _check(self, members: list[dict[str, Any]]) -> None:
        names = [FORMAT, *(one["name"] for one in members), MANIFEST]
        if self._archive.namelist() != names:
            raise self._damaged("its members are not those of its manifest")
        if any(info.compress_type != zipfile.ZIP_STORED for info in self._archive.infolist()):
            raise self._damaged("it has members that are not stored as they are")
        for one in members:
            digest = blake2b(digest_size=32)
            try:
                with self._archive.open(one["name"]) as file:
                    while block := file.read(_BLOCK):
                        digest.update(block)
            except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
                raise self._damaged(str(error)) from error
            if digest.hexdigest() != one["blake2b"]:
                raise self._damaged(f"the digest of {one['name']} does not match")

    def _whole(self, name: str, limit: int) -> bytes:
        try:
            if self._archive.getinfo(name).file_size > limit:
                raise self._damaged(f"{name} is too large")
            return self._archive.read(name)
        except KeyError:
            raise self._damaged(f"it lacks {name}") from None
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> CorruptStore:
        return CorruptStore(
            f"{self.name} is damaged: {why}. Nothing in it was trusted; use another copy", reason=why
        )

    # -------------------------------------------------------------------------------------- events

    def _segment(self, namespace: int, segment: int) -> Iterator[HistoryEvent]:
        known = self._archive.NameToInfo
        rows = {
            kind: self._rows(member(namespace, segment, kind), kind)
            for kind in KINDS
            if member(namespace, segment, kind) in known
        }
        for name, dim, dtype, metric, model, table, created_at in rows.get("spaces", ()):
            yield Space(name, dim, dtype, metric, model, table, created_at)
        for digest, data in rows.get("chunks", ()):
            yield Chunk(digest, data)
        yield from self._ordered(rows)
        for name, point, metrics, message, created_at in rows.get("checkpoints", ()):
            yield Checkpoint(name, _point(point), metrics, message, created_at)
        for table, key, accessed_at, access_count in rows.get("counters", ()):
            yield Counter(table, tuple(key), accessed_at, access_count)

    def _rows(self, name: str, kind: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a member; times and lists come as rows hold them."""
        with pa.ipc.open_stream(self._whole(name, MEMBER_LIMIT)) as reader:
            if not reader.schema.equals(SCHEMAS[kind]):
                raise self._damaged(f"{name} has other columns than its kind has")
            for batch in reader:
                batch.validate(full=True)
                yield from rows_of(batch)

    def _ordered(self, rows: dict[str, Iterator[tuple[Any, ...]]]) -> Iterator[HistoryEvent]:
        """Branches and commits, in the order in which they were written."""
        tables = {name: _Peeking(rows[name]) for name in sorted(TABLES) if name in rows}
        branches, commits = _Peeking(rows.get("branches", iter(()))), _Peeking(rows.get("commits", iter(())))
        while branches.next is not None or commits.next is not None:
            if commits.next is None or (branches.next is not None and branches.next[0] < commits.next[0]):
                yield _branch(branches.take())
                continue
            place, *fields, final, expected = commits.take()
            changes = tuple(
                change for name, table in tables.items() for change in _changes(name, table, place)
            )
            if len(changes) != expected:
                raise self._damaged(f"commit {fields[0]} has {len(changes)} changes of {expected}")
            yield ChangeBatch(_commit(fields), changes, final)
        if any(table.next is not None for table in tables.values()):
            raise self._damaged("it has rows of no commit")


class _Peeking:
    """Rows, looked at one ahead."""

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._rows = rows
        self.next = next(rows, None)

    def take(self) -> tuple[Any, ...]:
        taken = self.next
        assert taken is not None
        self.next = next(self._rows, None)
        return taken


def _changes(name: str, rows: _Peeking, place: int) -> Iterator[Change]:
    table = TABLES[name]
    while rows.next is not None and rows.next[0] == place:
        _, deleted, *cells = rows.take()
        row = tuple(cells)
        yield Change(name, table.key_of(row), None if deleted else row)


def _branch(row: tuple[Any, ...]) -> Branch:
    _, id_, name, parent, fork_seq, head, floor, created_at, pins = row
    return Branch(id_, name, parent, fork_seq, _point(head), floor, created_at, tuple(pins))


def _commit(fields: list[Any]) -> Commit:
    id_, branch, seq, time, author, message, parents, vector, picks, reverts = fields
    return Commit(
        id_,
        branch,
        seq,
        time,
        author,
        message,
        tuple(parents),
        {entry["branch"]: entry["seq"] for entry in vector},
        tuple(
            Pick(
                _point(pick["source"]),
                pick["table"],
                None if pick["keys"] is None else tuple(tuple(key) for key in pick["keys"]),
            )
            for pick in picks
        ),
        reverts,
    )


def _point(found: dict[str, Any]) -> Point:
    return Point(found["branch"], found["seq"], found["commit"], found["time"])
