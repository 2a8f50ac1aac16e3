"""Page cursors: where a page of results ended, as text that a client may keep.

A cursor names the point that the first page was read at, so that all pages show one state, and the
sort position of the last row. It is bound to its query, not signed: it grants nothing by itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from perdure._errors import InvalidInput
from perdure._schema import TABLES, Row
from perdure._types import Point
from perdure.filters import Filter, OrderTerm, to_dict

__all__ = ["Cursor", "decode_cursor", "encode_cursor"]


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """A decoded cursor; `after` is `Query.after`."""

    query: str
    point: Point
    after: tuple[Any, ...]


# Made at import: two threads at once must not be the first to decode a type.
_unpack = msgspec.msgpack.Decoder(Cursor).decode


def _digest(table: str, where: Filter | None, order: Sequence[OrderTerm], view: str) -> str:
    shape = repr((table, None if where is None else to_dict(where), [str(term) for term in order], view))
    return blake2b(shape.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def encode_cursor(
    table: str, where: Filter | None, order: Sequence[OrderTerm], view: str, point: Point, last: Row
) -> str:
    """The cursor after the row `last`; `view` is that of the reader."""
    spec = TABLES[table]
    after = (*(last[spec.position[term.column]] for term in order), *spec.key_of(last))
    packed = msgspec.msgpack.encode(Cursor(_digest(table, where, order, view), point, after))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode_cursor(
    text: str, table: str, where: Filter | None, order: Sequence[OrderTerm], view: str
) -> Cursor:
    """The inverse of `encode_cursor`.

    Raises:
        InvalidInput: It is no cursor, or one of another query.
    """
    try:
        if not isinstance(text, str):
            raise TypeError
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        cursor = _unpack(packed)
    except (ValueError, TypeError, binascii.Error, msgspec.MsgspecError):
        raise InvalidInput("this is no page cursor; pass the `cursor` of the page before") from None
    if cursor.query != _digest(table, where, order, view) or not _fits(cursor, table, order):
        raise InvalidInput(
            "this cursor belongs to another query; keep where and order_by the same from page to page"
        )
    return cursor


def _fits(cursor: Cursor, table: str, order: Sequence[OrderTerm]) -> bool:
    """Whether the position is one of such a query, and the point one that can be."""
    spec = TABLES[table]
    kinds = [_TYPES[spec.by_name[term.column].kind] for term in order]
    wanted = [*((*kind, type(None)) for kind in kinds), *((str,) for _ in spec.key)]
    return (
        len(cursor.after) == len(wanted)
        and all(type(part) in types for part, types in zip(cursor.after, wanted, strict=True))
        and 0 <= cursor.point.seq < 2**63
    )


_TYPES: dict[str, tuple[type, ...]] = {"text": (str,), "int": (int,), "float": (float,), "time": (int,)}
