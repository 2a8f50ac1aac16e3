"""LanceDB's table of items: keys and values in bytes, an index on the key, one version pinned at a time."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import lance
import pyarrow as pa
from perdure.kit import group_of

from perdure_lancedb._entries import Fence, State

__all__ = ["TABLE", "Interfered", "Items", "fold", "forget", "shrink", "unused"]

TABLE = "items"

_SCHEMA = pa.schema(
    [
        pa.field("key", pa.large_binary(), nullable=False),
        pa.field("row", pa.large_binary()),  # what the versions of one row share
        pa.field("size", pa.int64(), nullable=False),
        pa.field("value", pa.large_binary(), nullable=False),
    ]
)

#: A stretch between two fences is cut where it has more items, or more bytes, than this.
_ITEMS, _BYTES = 2_000, 8_000_000

#: Keys in one condition.
_LISTED = 1_000

#: Fragments from which on small ones are made one.
_FRAGMENTS = 16

_CONFLICT = re.compile(r"[Cc]onflict|[Ii]ncompatible transaction|concurrent|already exists")

Place = tuple[str, dict[str, str] | None]


class Interfered(Exception):
    """Another process wrote to the table while it was folded; nothing that was done counts."""


class Items:
    """The table at one version. Safe from several threads."""

    def __init__(self, place: Place, state: State) -> None:
        uri, options = place
        self._dataset: Any = None
        if state.version:
            self._dataset = lance.dataset(uri, version=state.version, storage_options=options)
        self._fences = [fence.key for fence in state.fences]

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that are there."""
        found: dict[bytes, bytes] = {}
        for some in _pieces(keys):
            found.update(self._read(_among(some)))
        return found

    def present(self, keys: Iterable[bytes]) -> set[bytes]:
        """Those of the keys that are there."""
        found: set[bytes] = set()
        if self._dataset is not None:
            for some in _pieces(keys):
                found.update(
                    self._dataset.scanner(columns=["key"], filter=_among(some)).to_table()["key"].to_pylist()
                )
        return found

    def groups(self, prefixes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """All versions of several rows, in no order."""
        for some in _pieces(prefixes):
            yield from self._read(_among(some, "row"))

    def page(self, start: bytes, end: bytes, reverse: bool) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """The beginning of a range (in reverse: its end), in the order of keys.

        Returns:
            The items, ascending, and up to where they are all: the key before which none is missing, in
            reverse the one from which on none is.
        """
        if reverse:
            at = bisect_left(self._fences, end) - 1
            start = max(start, self._fences[at]) if at >= 0 else start
        else:
            at = bisect_right(self._fences, start)
            end = min(end, self._fences[at]) if at < len(self._fences) else end
        items = sorted(self._read(f"key >= {_literal(start)} AND key < {_literal(end)}"))
        return items, start if reverse else end

    def cut(self, start: bytes, end: bytes | None) -> list[Fence]:
        """Fences for a stretch of the table, from its first key on, each half as long as one may become."""
        upper = "" if end is None else f" AND key < {_literal(end)}"
        found = self._dataset.scanner(
            columns=["key", "size"], filter=f"key >= {_literal(start)}{upper}"
        ).to_table()
        fences: list[Fence] = []
        for key, size in sorted(zip(found["key"].to_pylist(), found["size"].to_pylist(), strict=True)):
            last = fences[-1] if fences else None
            if last is None or last.items >= _ITEMS // 2 or last.size + size > _BYTES // 2:
                fences.append(Fence(key, 1, size))
            else:
                fences[-1] = Fence(last.key, last.items + 1, last.size + size)
        return fences

    def _read(self, condition: str) -> list[tuple[bytes, bytes]]:
        if self._dataset is None:
            return []
        found = self._dataset.scanner(columns=["key", "value"], filter=condition).to_table()
        return list(zip(found["key"].to_pylist(), found["value"].to_pylist(), strict=True))


def fold(
    place: Place, state: State, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes]
) -> tuple[int, list[Fence]]:
    """Write items, whose keys are not in the table but where `deletes` has them, and delete others.

    Args:
        place: Where the table lies.
        state: What it is at.
        puts: Keys and values, in order.
        deletes: Keys to delete first; some may not be there.

    Returns:
        The table's new version, and its fences.

    Raises:
        Interfered: Another process did the same at the same time.
    """
    steps = _Steps(place, state.version)
    for some in _pieces(deletes) if state.version else ():
        steps.delete(some)
    if puts:
        keys, values = zip(*puts, strict=True)
        table = pa.table([keys, [*map(group_of, keys)], [*map(len, values)], values], schema=_SCHEMA)
        steps.append(table)
    steps.tidy()
    fences = _fenced(Items(place, State(version=steps.version)), state.fences, puts)
    return steps.version, fences


def shrink(place: Place, state: State) -> tuple[int, list[Fence]]:
    """Rewrite the table so that its newest version has nothing of what was deleted; that version, and its fences."""
    steps = _Steps(place, state.version)
    steps.compact(materialize_deletions=True, materialize_deletions_threshold=0.0)
    steps.index(True)  # the old one has keys of what was deleted
    items = Items(place, State(version=steps.version))
    starts = [fence.key for fence in state.fences]
    fences: list[Fence] = []
    for start, end in zip(starts, [*starts[1:], None], strict=False):  # none where all was deleted
        fences += items.cut(start, end)
    return steps.version, fences


def forget(place: Place, versions: set[int]) -> None:
    """Remove all versions but these and later ones, with the files that only they have."""
    uri, options = place
    dataset = lance.dataset(uri, storage_options=options)
    found = {item["version"] for item in dataset.versions()} - versions
    gone = sorted(version for version in found if version < max(versions))  # others may have folded since
    if gone:
        dataset.cleanup_old_versions(versions=gone)


def unused(place: Place, version: int, files: Iterable[str]) -> list[str]:
    """Those of the table's files that a version does not need, and that hold keys or values."""
    uri, options = place
    dataset = lance.dataset(uri, version=version, storage_options=options)
    data = {file.path for fragment in dataset.get_fragments() for file in fragment.data_files()}
    indices = {index["uuid"] for index in dataset.list_indices()}
    found = []
    for name in files:
        _, folder, *rest = name.split("/")
        if folder == "data":
            needed = "/".join(rest) in data
        elif folder == "_indices":
            needed = rest[0] in indices
        else:  # a transaction's name begins with the version that it is based on
            number = rest[0].partition("-")[0] if folder == "_transactions" else ""
            needed = not number.isdecimal() or int(number) >= version - 1
        if not needed:
            found.append(name)
    return found


@contextmanager
def _alone() -> Iterator[None]:
    """What LanceDB says where another process was faster, and the two cannot be one after the other.

    It has no type for it, only words.

    Raises:
        Interfered: It said so.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        if _CONFLICT.search(str(error)):
            raise Interfered from error
        raise


class _Steps:
    """Versions that follow each other, with nobody else's between them.

    LanceDB would put another writer's step between two of ours without a word, and what it wrote would be in
    ours; what a fold that died had done comes after the version that counts, and is undone first.
    """

    def __init__(self, place: Place, version: int) -> None:
        self._uri, self._options = place
        self.version = version
        if not version:
            return
        newest = lance.dataset(self._uri, storage_options=self._options).version
        if newest != version:
            with _alone():
                self._open().restore()
            self.version = newest
            self._check(lance.dataset(self._uri, storage_options=self._options).version)

    def _open(self) -> Any:
        return lance.dataset(self._uri, version=self.version, storage_options=self._options)

    def delete(self, keys: Sequence[bytes]) -> None:
        """Remove items."""
        dataset = self._open()
        with _alone():
            dataset.delete(_among(keys))
        if dataset.version != self.version:  # some were there
            self._check(dataset.version)

    def compact(self, **how: Any) -> None:
        """Write rows together, and without those that were deleted, as `how` says."""
        dataset = self._open()
        with _alone():
            done = dataset.optimize.compact_files(**how)
        self._unchanged(dataset.version, 2, done.fragments_added - done.fragments_removed)

    def index(self, anew: bool) -> None:
        """See that the index has all rows; make it anew where so wished, or where there is none."""
        there = {field for index in self._open().list_indices() for field in index["fields"]}
        for column in ("key", "row"):
            if anew or column not in there:
                dataset = self._open()
                with _alone():
                    dataset.create_scalar_index(column, "BTREE", replace=True)
                self._unchanged(dataset.version, 1, 0)
        dataset = self._open()
        with _alone():
            dataset.optimize.optimize_indices()
        self._unchanged(dataset.version, 1, 0)

    def _unchanged(self, version: int, steps: int, fragments: int) -> None:
        """Go on from a version that has the rows that there were, at most so many versions and fragments on."""
        before, after = self._open(), lance.dataset(self._uri, version=version, storage_options=self._options)
        grown = len(after.get_fragments()) - len(before.get_fragments())
        same = grown == fragments and after.count_rows() == before.count_rows()
        if not same or version > self.version + steps:
            raise Interfered
        self.version = version

    def append(self, table: pa.Table) -> None:
        """Add rows; make the table where there is none that counts."""
        if self.version:
            with _alone():
                done = lance.write_dataset(table, self._open(), mode="append", storage_options=self._options)
            self._check(done.version)
            return
        try:
            lance.dataset(self._uri, storage_options=self._options)
            mode = "overwrite"  # what a fold that died has left
        except ValueError:  # so LanceDB says that there is none
            mode = "create"
        with _alone():
            done = lance.write_dataset(table, self._uri, mode=mode, storage_options=self._options)
        self.version = done.version  # whatever was there is not in it

    def tidy(self) -> None:
        """Fewer fragments, where there are many, and an index of all."""
        if self.version:
            if len(self._open().get_fragments()) > _FRAGMENTS:
                self.compact(target_rows_per_fragment=100_000)
            self.index(False)

    def _check(self, version: int) -> None:
        if version != self.version + 1:
            raise Interfered
        self.version = version


def _fenced(items: Items, fences: Sequence[Fence], puts: Sequence[tuple[bytes, bytes]]) -> list[Fence]:
    """The fences once `puts` have come, with new ones where a stretch has become too long."""
    old = [Fence(b"", 0, 0), *fences]  # what comes before the first fence is a stretch as well
    starts = [fence.key for fence in old]
    counts = [[fence.items, fence.size] for fence in old]
    for key, value in puts:
        count = counts[max(0, bisect_right(starts, key) - 1)]
        count[0] += 1
        count[1] += len(value)
    new: list[Fence] = []
    for i, (start, (number, size)) in enumerate(zip(starts, counts, strict=True)):
        if number <= _ITEMS and size <= _BYTES:
            if number:
                new.append(Fence(start, number, size))
        else:
            new += items.cut(start, starts[i + 1] if i + 1 < len(starts) else None)
    return new


def _pieces(keys: Iterable[bytes]) -> Iterable[list[bytes]]:
    rest = iter(keys)
    return iter(lambda: list(islice(rest, _LISTED)), [])


def _literal(data: bytes) -> str:
    return f"X'{data.hex()}'"


def _among(keys: Sequence[bytes], column: str = "key") -> str:
    """A condition, in LanceDB's SQL; `row` is a name that needs marks."""
    if len(keys) == 1:
        return f"`{column}` = {_literal(keys[0])}"
    return f"`{column}` IN ({', '.join(map(_literal, keys))})"
