"""The backend: the kit's, with the parts that LanceDB's columns serve better than an ordered map."""

from __future__ import annotations

from perdure.kit import KitBackend

from perdure_lancedb._rows import LanceRows
from perdure_lancedb._writing import LanceWriter

__all__ = ["LanceBackend"]


class LanceBackend(KitBackend):
    """Keeps the contract over a `LanceStorage`."""

    rows_class = LanceRows
    writer_class = LanceWriter
