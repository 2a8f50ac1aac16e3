"""Changing one of LanceDB's tables: versions that follow each other, with nobody else's between them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import lance
import pyarrow as pa

__all__ = ["Interfered", "Steps", "forget", "unused"]

#: Fragments from which on small ones are made one.
_FRAGMENTS = 16

_CONFLICT = re.compile(r"[Cc]onflict|[Ii]ncompatible transaction|concurrent|already exists")

Place = tuple[str, dict[str, str] | None]


class Interfered(Exception):
    """Another process wrote to the table while it was folded; nothing that was done counts."""


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


class Steps:
    """Steps from one version of a table to another.

    LanceDB would put another writer's step between two of ours without a word, and what it wrote would be in
    ours; what a fold that died had done comes after the version that counts, and is undone first.

    Args:
        place: Where the table lies.
        version: What it is at; 0: it is not there.
    """

    def __init__(self, place: Place, version: int) -> None:
        self._uri, self._options = place
        self.version = version
        if not version:
            return
        newest = lance.dataset(self._uri, storage_options=self._options).version
        if newest != version:
            with _alone():
                self.open().restore()
            self.version = newest
            self._check(lance.dataset(self._uri, storage_options=self._options).version)

    def open(self) -> Any:
        """The table as the steps have left it."""
        return lance.dataset(self._uri, version=self.version, storage_options=self._options)

    def delete(self, condition: str) -> None:
        """Remove what meets a condition."""
        dataset = self.open()
        with _alone():
            dataset.delete(condition)
        if dataset.version != self.version:  # some were there
            self._check(dataset.version)

    def append(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
        """Add rows, if there are any; make the table where there is none."""
        first = next((batch for batch in batches if batch.num_rows), None)
        if first is None:
            return
        rows = pa.RecordBatchReader.from_batches(schema, chain([first], batches))
        with _alone():
            if self.version:
                done = lance.write_dataset(rows, self.open(), mode="append", storage_options=self._options)
                self._check(done.version)
            else:
                done = lance.write_dataset(rows, self._uri, mode="create", storage_options=self._options)
                self.version = done.version

    def compact(self, **how: Any) -> None:
        """Write rows together, and without those that were deleted, as `how` says."""
        dataset = self.open()
        with _alone():
            done = dataset.optimize.compact_files(**how)
        self._unchanged(dataset.version, 2, done.fragments_added - done.fragments_removed)

    def index(self, wanted: Collection[str], *, anew: bool) -> None:
        """See that indexes of columns have all rows; make them anew where so wished, or where there are none."""
        there = {name for index in self.open().describe_indices() for name in index.field_names}
        for column in wanted:
            if anew or column not in there:
                dataset = self.open()
                with _alone():
                    dataset.create_scalar_index(column, "BTREE", _index_name(column), replace=True)
                self._unchanged(dataset.version, 1, 0)
        dataset = self.open()
        with _alone():
            dataset.optimize.optimize_indices(index_names=[_index_name(column) for column in wanted])
        self._unchanged(dataset.version, 1, 0)

    def index_vectors(self, name: str, kind: str, partitions: int, metric: str, sample: int) -> None:
        """Make an index of the vectors, in place of one of the same name."""
        dataset = self.open()
        with _alone():
            dataset.create_index(
                "values", kind, name, metric, replace=True, num_partitions=partitions, sample_rate=sample
            )
        self._unchanged(dataset.version, 1, 0)

    def drop_index(self, name: str) -> None:
        """Remove an index."""
        dataset = self.open()
        with _alone():
            dataset.drop_index(name)
        self._unchanged(dataset.version, 1, 0)

    def tidy(self, indexed: Sequence[str]) -> None:
        """Fewer fragments, where there are many, and indexes of all."""
        if len(self.open().get_fragments()) > _FRAGMENTS:
            self.compact(target_rows_per_fragment=100_000)
        self.index(indexed, anew=False)

    def _unchanged(self, version: int, steps: int, fragments: int) -> None:
        """Go on from a version that has the rows that there were, at most so many versions and fragments on."""
        before, after = self.open(), lance.dataset(self._uri, version=version, storage_options=self._options)
        grown = len(after.get_fragments()) - len(before.get_fragments())
        same = grown == fragments and after.count_rows() == before.count_rows()
        if not same or version > self.version + steps:
            raise Interfered
        self.version = version

    def _check(self, version: int) -> None:
        if version != self.version + 1:
            raise Interfered
        self.version = version


def _index_name(column: str) -> str:
    return f"{column}_idx"


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
    indices = {str(part.uuid) for index in dataset.describe_indices() for part in index.segments}
    found = []
    for name in files:
        folder, *rest = name.partition(".lance/")[2].split("/")
        if folder == "data":
            needed = "/".join(rest) in data
        elif folder == "_indices":
            needed = rest[0] in indices
        else:  # a transaction's name begins with the version that it is based on
            number = rest[0].partition("-")[0] if folder == "_transactions" and rest else ""
            needed = not number.isdecimal() or int(number) >= version - 1
        if not needed:
            found.append(name)
    return found
