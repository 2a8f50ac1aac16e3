"""Writes down the calls that are made of a store, as source text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import GeneratorType
from typing import Any

from perdure import PerdureError, Store

from perdure_conformance.repro._bundle import Bundle
from perdure_conformance.repro._literals import literal

__all__ = ["Calls"]


class Calls:
    """The calls so far.

    Attributes:
        lines: Of the program.
        muted: Whether calls are made without being written down.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.lines: list[str] = []
        self.muted = False
        self.indent = 0
        self._names = 0

    def opened(self, store: Store, source: str) -> Any:
        """A store whose calls are written down, as what an expression gives."""
        name = self.new_name()
        self.write(f"{name} = {source}")
        return Spy(store, name, self)

    def new_name(self) -> str:
        """A name for what a call returns."""
        self._names += 1
        return f"s{self._names}"

    def write(self, line: str) -> None:
        """Add a line."""
        if not self.muted:
            self.lines.append("    " * self.indent + line)

    def refused(self, start: int, error: PerdureError) -> None:
        """What was written since a line was refused, as it was when it was found."""
        if not self.muted:
            name = type(error).__name__
            self.bundle.add(("contextlib", "suppress"), "suppress")
            self.bundle.add(("perdure", name), name)
            here = "    " * self.indent
            self.lines[start:] = [
                f"{here}with suppress({name}):",
                *(f"    {line}" for line in self.lines[start:]),
            ]

    def text(self, argument: Any) -> str:
        """An argument as source."""
        return argument._source if isinstance(argument, Spy) else literal(argument, self.bundle)


class Spy:
    """Stands before a part of a store and writes down what is called."""

    def __init__(self, thing: Any, source: str, calls: Calls) -> None:
        self._thing, self._source, self._calls = thing, source, calls
        self._start = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        source = f"{self._source}.{name}"
        if callable(found):
            return self._called(found, source)
        return Spy(found, source, self._calls) if _is_part(found) else found

    def _called(self, method: Callable[..., Any], source: str) -> Callable[..., Any]:
        calls = self._calls

        def call(*args: Any, **named: Any) -> Any:
            words = [calls.text(argument) for argument in args]
            words += [
                f"{name}={calls.text(argument)}" for name, argument in named.items() if argument is not None
            ]
            line, start = f"{source}({', '.join(words)})", len(calls.lines)
            inner = [arg._thing if isinstance(arg, Spy) else arg for arg in args]
            try:
                result = method(*inner, **named)
            except PerdureError as error:
                calls.write(line)
                calls.refused(start, error)
                raise
            if isinstance(result, GeneratorType) or hasattr(result, "__next__"):
                return Spy(result, line, calls)
            if not _is_part(result):
                calls.write(line)
                return result
            if hasattr(result, "__enter__") and not isinstance(result, Store):
                return Spy(result, line, calls)
            if not hasattr(result, "at") and not isinstance(result, Store):
                return Spy(result, line, calls)
            return calls.opened(result, line)

        return call

    def __iter__(self) -> Iterator[Any]:
        self._calls.write(f"list({self._source})")
        return iter(self._thing)

    def __enter__(self) -> Spy:
        if isinstance(self._thing, Store):
            self._thing.__enter__()
            return self
        self._start, name = len(self._calls.lines), self._calls.new_name()
        self._calls.write(f"with {self._source} as {name}:")
        self._source = name
        self._calls.indent += 1
        entered = self._thing.__enter__()
        assert entered is self._thing
        return self

    def __exit__(self, *error: Any) -> Any:
        if isinstance(self._thing, Store):
            self._calls.write(f"{self._source}.close()")
            return self._thing.__exit__(*error)
        self._calls.indent -= 1
        try:
            return self._thing.__exit__(*error)
        except PerdureError as refusal:
            self._calls.refused(self._start, refusal)
            raise


def _is_part(thing: Any) -> bool:
    """Whether it is a part of a store, with calls of its own, and no data."""
    kind = type(thing)
    return kind.__module__.startswith("perdure.") and not (
        hasattr(kind, "__struct_fields__")
        or hasattr(kind, "__dataclass_fields__")
        or isinstance(thing, (list, tuple, str))
    )
