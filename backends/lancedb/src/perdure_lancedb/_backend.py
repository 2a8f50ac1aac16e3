"""The backend: the kit's, with the parts that LanceDB's columns serve better than an ordered map."""

from __future__ import annotations

from perdure import Context, hookimpl
from perdure.kit import KitBackend

from perdure_lancedb._reading import LanceReader
from perdure_lancedb._rows import LanceRows
from perdure_lancedb._searching import LanceSearcher
from perdure_lancedb._storage import LanceStorage
from perdure_lancedb._writing import LanceWriter

__all__ = ["LanceBackend"]


class LanceBackend(KitBackend):
    """Keeps the contract over a `LanceStorage`."""

    _storage: LanceStorage

    rows_class = LanceRows
    reader_class = LanceReader
    searcher_class = LanceSearcher
    writer_class = LanceWriter

    @hookimpl
    def list_namespaces(self, ctx: Context) -> list[str]:
        """The namespaces of the store: their heads are in memory, and the kit would read all tables for them."""
        self._heads.load()
        return self._storage.namespaces()
