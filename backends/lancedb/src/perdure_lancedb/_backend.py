"""The backend: the kit's, with the parts that LanceDB's columns serve better than an ordered map."""

from __future__ import annotations

from perdure.kit import KitBackend

from perdure_lancedb._reading import LanceReader
from perdure_lancedb._rows import LanceRows
from perdure_lancedb._searching import LanceSearcher
from perdure_lancedb._writing import LanceWriter

__all__ = ["LanceBackend"]


class LanceBackend(KitBackend):
    """Keeps the contract over a `LanceStorage`."""

    rows_class = LanceRows
    reader_class = LanceReader
    searcher_class = LanceSearcher
    writer_class = LanceWriter
