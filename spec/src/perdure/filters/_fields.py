"""`F`: filters written as Python expressions, such as `(F.importance > 0.5) & F.tags.contains("db")`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from perdure._errors import InvalidFilter
from perdure.filters._tree import Compare, Contains, Filter, In, IsNull, Not, Op, Or, Path, StartsWith

__all__ = ["F", "Field", "Fields"]


class Field:
    """A field of a row, or a place inside a value: what comparisons start from.

    Reach into a value with attributes or items: `F.content.error.code`, `F.content["error"]["code"]`,
    `F.content.items[0]`. Keys that start with an underscore, or are called like a method of this class,
    need the item form.
    """

    __slots__ = ("_path",)
    _path: Path

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Field:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, step: str | int) -> Field:
        return Field(Path(self._path.column, (*self._path.steps, step)))

    def __eq__(self, value: object) -> Filter:  # type: ignore[override]
        return IsNull(self._path) if value is None else self._compare("eq", value)

    def __ne__(self, value: object) -> Filter:  # type: ignore[override]
        return Not(IsNull(self._path)) if value is None else self._compare("ne", value)

    def __lt__(self, value: object) -> Filter:
        return self._compare("lt", value)

    def __le__(self, value: object) -> Filter:
        return self._compare("le", value)

    def __gt__(self, value: object) -> Filter:
        return self._compare("gt", value)

    def __ge__(self, value: object) -> Filter:
        return self._compare("ge", value)

    def _compare(self, op: Op, value: Any) -> Filter:
        return Compare(self._path, op, value)

    def contains(self, value: Any) -> Filter:
        """The tags have the tag; the text has the substring; the value has the member, substring or key.

        Raises:
            InvalidFilter: The value is no literal.
        """
        return Contains(self._path, value)

    def starts_with(self, prefix: str) -> Filter:
        """The text, or the str in the value, starts with the prefix.

        Raises:
            InvalidFilter: The prefix is no str.
        """
        return StartsWith(self._path, prefix)

    def is_in(self, values: Iterable[Any]) -> Filter:
        """The field equals one of the values; None among them means that it is null.

        Raises:
            InvalidFilter: The values are a str, cannot be iterated, or hold something that is no literal.
        """
        return member_of(self._path, values)

    def is_null(self) -> Filter:
        """The field is null, or the path leads nowhere."""
        return IsNull(self._path)

    def __repr__(self) -> str:
        return f"F.{self._path.column}" + "".join(f"[{step!r}]" for step in self._path.steps)

    __hash__ = None  # type: ignore[assignment]
    __iter__ = None  # else `list(F.content)` would call __getitem__ for ever

    def __contains__(self, value: object) -> NoReturn:
        raise InvalidFilter(
            f"write {self!r}.contains(value), or {self!r}.is_in(values); Python's `in` has no filter"
        )

    def __call__(self, *args: object, **options: object) -> NoReturn:
        raise InvalidFilter(f"{self!r} is no method: fields have contains, starts_with, is_in and is_null")

    def __bool__(self) -> NoReturn:
        raise InvalidFilter(f"a field has no truth value; write {self!r} == True, or ~{self!r}.is_null()")

    def __and__(self, other: object) -> NoReturn:
        raise InvalidFilter(
            f"& and | join filters; put each comparison in parentheses: ({self!r} == 1) & (F.b > 2)"
        )

    __or__ = __rand__ = __ror__ = __and__


class Fields:
    """The root of field expressions: `F.kind`, or `F["kind"]`."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Field:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Field:
        return Field(Path(name))

    __iter__ = None

    def __repr__(self) -> str:
        return "F"


def member_of(path: Path, values: Iterable[Any]) -> Filter:
    """`In`, with None among the values taken apart, since `== None` is a null test.

    Raises:
        InvalidFilter: The values are a str, cannot be iterated, or hold something that is no literal.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidFilter(f"`in` takes a list of values, not {type(values).__name__}")
    items = tuple(values)
    rest = tuple(value for value in items if value is not None)
    found = In(path, rest)
    return found if len(rest) == len(items) else Or((found, IsNull(path)))


#: Where field expressions start.
F = Fields()
