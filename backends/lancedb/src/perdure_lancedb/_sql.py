"""Words of LanceDB's SQL."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

__all__ = ["literal", "pieces", "within"]

#: Keys in one condition.
_LISTED = 1_000


def literal(data: bytes) -> str:
    """Bytes as LanceDB's SQL writes them."""
    return f"X'{data.hex()}'"


def within(column: str, prefix: bytes) -> str:
    """A condition: the bytes of a column begin with a prefix, whose last byte is below 255."""
    end = prefix[:-1] + bytes((prefix[-1] + 1,))
    return f"{column} >= {literal(prefix)} AND {column} < {literal(end)}"


def pieces(keys: Iterable[bytes]) -> Iterable[list[bytes]]:
    """Keys in lists that one condition can take."""
    rest = iter(keys)
    return iter(lambda: list(islice(rest, _LISTED)), [])
