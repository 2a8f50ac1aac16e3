"""Changing one of LanceDB's tables: versions that follow each other, with nobody else's between them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import lance
import pyarrow as pa

__all__ = ["Interfered", "Steps", "forget", "unused"]

#: Fragments from which on small ones are made one.
_FRAGMENTS = 16

#: From which the names of versions count downwards.
_LAST = 2**64 - 1

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


@dataclass
class _Change:
    """How many fragments more there are after a step."""

    fragments: int = 0


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
        self._table: Any = None
        self.version = version
        if not version:
            return
        table: Any = lance.dataset(self._uri, storage_options=self._options)
        newest = table.version
        if newest != version:
            table = table.checkout_version(version)
            with _alone():
                table.restore()
            self.version = newest
            self._check(table.version)
        self._table = table

    def open(self) -> Any:
        """The table as the steps have left it: one handle for all, as each new one asks the storage for it twice."""
        if self._table is None or self._table.version != self.version:  # a step that failed may have moved it
            self._table = lance.dataset(self._uri, version=self.version, storage_options=self._options)
        return self._table

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
        self._table = done

    def compact(self, **how: Any) -> None:
        """Write rows together, and without those that were deleted, as `how` says."""
        with self._reshaping(versions=2) as (table, change):
            done = table.optimize.compact_files(**how)
            change.fragments = done.fragments_added - done.fragments_removed

    def index(self, wanted: Collection[str], *, anew: bool) -> None:
        """See that indexes of columns have all rows; make them anew where so wished, or where there are none."""
        there = {name for index in self.open().describe_indices() for name in index.field_names}
        for column in wanted:
            if anew or column not in there:
                with self._reshaping() as (table, _):
                    table.create_scalar_index(column, "BTREE", _index_name(column), replace=True)
        with self._reshaping() as (table, _):
            table.optimize.optimize_indices(index_names=[_index_name(column) for column in wanted])

    def index_vectors(self, name: str, kind: str, partitions: int, metric: str, sample: int) -> None:
        """Make an index of the vectors, in place of one of the same name."""
        with self._reshaping() as (table, _):
            table.create_index(
                "values", kind, name, metric, replace=True, num_partitions=partitions, sample_rate=sample
            )

    def drop_index(self, name: str) -> None:
        """Remove an index."""
        with self._reshaping() as (table, _):
            table.drop_index(name)

    def tidy(self, indexed: Sequence[str]) -> None:
        """Fewer fragments, where there are many, and indexes of all."""
        if len(self.open().get_fragments()) > _FRAGMENTS:
            self.compact(target_rows_per_fragment=100_000)
        self.index(indexed, anew=False)

    @contextmanager
    def _reshaping(self, versions: int = 1) -> Iterator[tuple[Any, _Change]]:
        """A change of the table's files and of no rows, which makes at most so many versions.

        Raises:
            Interfered: Another process came between, or rows have changed.
        """
        table, change = self.open(), _Change()
        rows, fragments = table.count_rows(), len(table.get_fragments())
        with _alone():
            yield table, change
        same = table.count_rows() == rows and len(table.get_fragments()) == fragments + change.fragments
        if not same or table.version > self.version + versions:
            raise Interfered
        self.version = table.version

    def _check(self, version: int) -> None:
        if version != self.version + 1:
            raise Interfered
        self.version = version


def _index_name(column: str) -> str:
    return f"{column}_idx"


def forget(place: Place, versions: set[int]) -> None:
    """Remove all versions but these and later ones, with the files that only they have.

    LanceDB asks storage twice for each version, and removes file by file.
    """
    uri, options = place
    dataset = lance.dataset(uri, storage_options=options)
    found = {item["version"] for item in dataset.versions()} - versions
    gone = sorted(version for version in found if version < max(versions))  # others may have folded since
    if gone:
        dataset.cleanup_old_versions(versions=gone)


def unused(dataset: Any, files: Iterable[str]) -> list[str]:
    """Those of a table's files that neither its version at hand nor a later one needs."""
    fragments = dataset.get_fragments()
    needed = {f"data/{file.path}" for fragment in fragments for file in fragment.data_files()}
    needed |= {fragment.deletion_file() for fragment in fragments}
    indices = {str(part.uuid) for index in dataset.describe_indices() for part in index.segments}

    def is_needed(path: str) -> bool:
        folder, _, rest = path.partition("/")
        if folder in ("data", "_deletions"):
            return path in needed
        if folder == "_indices":
            return rest.partition("/")[0] in indices
        if folder == "_transactions":  # a name begins with the version that it is based on
            number = rest.partition("-")[0]
            return not number.isdecimal() or int(number) >= dataset.version - 1
        number = rest.removesuffix(".manifest")  # it counts downwards, so that the newest is listed first
        return folder != "_versions" or not number.isdecimal() or _LAST - int(number) >= dataset.version

    return [name for name in files if not is_needed(name.partition(".lance/")[2])]
