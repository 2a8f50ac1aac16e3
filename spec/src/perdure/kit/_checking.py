"""The small checks that those of hooks and of batches are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from perdure._errors import InvalidInput, InvalidRecord, InvalidRef, NotFound
from perdure._names import Ref, check_name
from perdure._schema import KEY_LIMIT, TABLES, Table
from perdure._show import shown
from perdure._types import Point

__all__ = [
    "TOP",
    "check_flag",
    "check_keys",
    "check_kind",
    "check_list",
    "check_number",
    "check_parts",
    "check_place",
    "check_ref",
    "check_text",
    "check_tuple",
    "check_word",
    "known_table",
]

#: One more than the greatest sequence number, limit or time.
TOP = 2**63

#: Parts of keys that are looked at one by one.
_FEW = 8


def known_table(name: Any) -> Table:
    """The table of that name.

    Raises:
        NotFound: There is none.
    """
    found = TABLES.get(name) if type(name) is str else None
    if found is None:
        raise NotFound(f"there is no table {shown(name)}; the tables are {', '.join(TABLES)}", table=name)
    return found


def check_text(text: Any, what: str, error: type[InvalidInput] = InvalidInput) -> None:
    """Text that every engine can keep."""
    if type(text) is not str:
        raise error(f"{what} is text, not {type(text).__name__}")
    if "\0" in text:
        raise error(f"{what} holds a NUL character; leave it out")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise error(f"{what} holds a lone surrogate; leave it out") from None


def check_number(number: Any, what: str, least: int = 0, error: type[InvalidInput] = InvalidInput) -> None:
    if type(number) is not int or not least <= number < TOP:
        raise error(f"{what} is an int from {least} to 2**63 - 1, not {shown(number)}")


def check_flag(flag: Any, what: str, error: type[InvalidInput] = InvalidInput) -> None:
    if type(flag) is not bool:
        raise error(f"{what} is True or False, not {type(flag).__name__}")


def check_word(name: Any, what: str) -> None:
    """A name, as a plain str; most are told at a glance."""
    if type(name) is not str or len(name) > 100 or not (name.isascii() and name.isalnum()):
        check_text(name, what, InvalidRef)
        check_name(name, what)


def check_list(items: Any, what: str, error: type[InvalidInput] = InvalidInput) -> None:
    if type(items) is not list and type(items) is not tuple:
        raise error(f"{what} come in a list or a tuple, not in a {type(items).__name__}")


def check_tuple(items: Any, what: str) -> None:
    """What is kept as it comes is a tuple to the letter."""
    if type(items) is not tuple:
        raise InvalidRecord(f"{what} come in a tuple, not in a {type(items).__name__}")


def check_kind(item: Any, kind: type, what: str, error: type[InvalidInput] = InvalidInput) -> None:
    if not isinstance(item, kind):
        raise error(f"{what} is a perdure.{kind.__name__}, not {type(item).__name__}")


# ------------------------------------------------------------------------------------------ places, keys


def check_place(at: Any) -> None:
    """A ref or a point; whether it exists is another matter."""
    if isinstance(at, Ref):
        _check_parts_of(at)
    elif isinstance(at, Point):
        check_text(at.branch, "the branch of a point", InvalidRef)
        check_number(at.seq, "the sequence number of a point", 0, InvalidRef)
        check_number(at.time, "the time of a point", -TOP, InvalidRef)
        if at.commit is not None:
            check_text(at.commit, "the commit of a point", InvalidRef)
    else:
        raise InvalidRef(f"a place is a perdure.Ref or a perdure.Point, not {type(at).__name__}")


def check_ref(ref: Any) -> None:
    check_kind(ref, Ref, "a ref", InvalidRef)
    _check_parts_of(ref)


def _check_parts_of(ref: Ref) -> None:
    if ref.commit is not None:
        check_word(ref.commit, "commit id")
        return
    check_word(ref.name, "ref")
    if ref.seq is not None:
        check_number(ref.seq, "the sequence number of a ref", 0, InvalidRef)
    if ref.time is not None:
        check_number(ref.time, "the time of a ref", -TOP, InvalidRef)


def check_keys(table: Table, keys: Any) -> None:
    """Keys that a row of the table can have."""
    if type(keys) is not list:  # else not even the message is made
        check_list(keys, f"keys of {table.name}", InvalidRecord)
    width = len(table.key)
    for key in keys:
        if type(key) is not tuple or len(key) != width:
            raise InvalidRecord(f"a key of {table.name} is a tuple of its {', '.join(table.key)}")
    check_parts(table, keys[0] if len(keys) == 1 else [*chain.from_iterable(keys)])


def check_parts(table: Table, parts: Sequence[Any]) -> None:
    """Parts of keys; many are looked at together first."""
    if len(parts) > _FEW and _all_plain(parts):
        return
    for part in parts:
        # What most ids are needs no more than this.
        if type(part) is str and 0 < len(part) <= KEY_LIMIT and part.isascii() and "\0" not in part:
            continue
        check_text(part, f"a part of a key of {table.name}", InvalidRecord)
        if not 1 <= len(part.encode()) <= KEY_LIMIT:
            raise InvalidRecord(f"a part of a key of {table.name} has 1 to {KEY_LIMIT} bytes of UTF-8")


def _all_plain(parts: Sequence[Any]) -> bool:
    if set(map(type, parts)) != {str} or "" in parts:
        return False
    joined = "".join(parts)
    return joined.isascii() and "\0" not in joined and max(map(len, parts)) <= KEY_LIMIT
