"""What checks say: what they expected and what they got, in a form that a report can show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from perdure import PerdureError, Store
from perdure.values import equal as equal_values

from perdure_conformance.dump import dump

__all__ = [
    "Inapplicable",
    "Skipped",
    "Violation",
    "equal",
    "holds",
    "refused",
    "same_value",
    "shown",
    "unchanged",
]


class Violation(AssertionError):
    """A clause does not hold.

    Attributes:
        what: What was looked at.
        expected: What the specification says.
        got: What the backend did.
    """

    def __init__(self, what: str, expected: Any, got: Any) -> None:
        self.what = what
        self.expected = shown(expected)
        self.got = shown(got)
        super().__init__(f"{what}: expected {self.expected}, got {self.got}")


class Skipped(Exception):
    """A check could not run here, but could elsewhere; the level that it belongs to is not granted."""


class Inapplicable(Exception):
    """There is nothing on this backend that the check could try, wherever it runs.

    It counts neither for the level nor against it, and the report names it: a check raises it for what the
    backend is or how it was given, never for what the machine lacks. That is `Skipped`.
    """


def shown(thing: Any) -> str:
    """A thing as text, for a report; long ones are cut."""
    text = thing if isinstance(thing, str) and "\n" in thing else repr(thing)
    return text if len(text) <= 2_000 else f"{text[:2_000]}… ({len(text)} characters)"


def equal(got: Any, expected: Any, what: str) -> None:
    """Plain equality; for values, whose types matter too, see `same_value`."""
    if got != expected:
        raise Violation(what, expected, got)


def same_value(got: Any, expected: Any, what: str) -> None:
    """Equal and of the same types all through, NaN, order, identity and cycles included."""
    if not equal_values(got, expected):
        raise Violation(what, expected, got)


def holds(condition: object, what: str, got: Any = None) -> None:
    """Something is true; `what` says it as the specification does, `got` is what speaks against it."""
    if not condition:
        raise Violation(what, "it holds", "it does not" if got is None else got)


@contextmanager
def refused(*errors: type[PerdureError], what: str = "the call") -> Iterator[None]:
    """The block raises one of these errors, with a code and a message, and no other."""
    names = " or ".join(error.__name__ for error in errors)
    try:
        yield
    except errors as error:
        if not (error.code and error.message.strip()):
            raise Violation(f"the error of {what}", "a code and a message", repr(error)) from error
    except AssertionError:
        raise
    except Exception as error:
        raise Violation(what, f"refused with {names}", f"{type(error).__name__}: {error}") from error
    else:
        raise Violation(what, f"refused with {names}", "no error")


@contextmanager
def unchanged(store: Store) -> Iterator[None]:
    """The block leaves everything in the store as it was."""
    before = dump(store)
    yield
    after = dump(store)
    if before != after:
        raise Violation("the store after what was refused", before, after)
