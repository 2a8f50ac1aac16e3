"""Words of LanceDB's SQL, and ranges of keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

__all__ = ["after", "literal", "pieces", "stretches", "within"]

#: Keys in one condition.
_LISTED = 1_000


def literal(data: bytes) -> str:
    """Bytes as LanceDB's SQL writes them."""
    return f"X'{data.hex()}'"


def within(column: str, prefix: bytes) -> str:
    """A condition: the bytes of a column begin with a prefix, whose last byte is below 255."""
    return f"{column} >= {literal(prefix)} AND {column} < {literal(after(prefix))}"


def after(prefix: bytes) -> bytes:
    """The end of all keys that begin with a prefix, whose last byte is below 255."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def pieces(keys: Iterable[bytes]) -> Iterable[list[bytes]]:
    """Keys in lists that one condition can take."""
    rest = iter(keys)
    return iter(lambda: list(islice(rest, _LISTED)), [])


def stretches(
    page: Callable[[bytes, bytes, bool], tuple[list[tuple[bytes, bytes]], bytes]],
    start: bytes,
    end: bytes,
    reverse: bool,
) -> Iterator[tuple[bytes, bytes]]:
    """All items of a range in key order, or in reverse.

    Args:
        page: Reads its beginning (in reverse: its end), and says where the rest begins (ends).
    """
    while start < end:
        found, rest = page(start, end, reverse)
        yield from found
        if not reverse:
            start = rest
        elif rest > start:
            end = rest
        else:
            return
