"""Words of LanceDB's SQL."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

__all__ = ["literal", "pieces"]

#: Keys in one condition.
_LISTED = 1_000


def literal(data: bytes) -> str:
    """Bytes as LanceDB's SQL writes them."""
    return f"X'{data.hex()}'"


def pieces(keys: Iterable[bytes]) -> Iterable[list[bytes]]:
    """Keys in lists that one condition can take."""
    rest = iter(keys)
    return iter(lambda: list(islice(rest, _LISTED)), [])
