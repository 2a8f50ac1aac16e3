"""`Opaque`: an inert stand-in for an object whose class is not here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["Opaque"]


class Opaque:
    """What is known of an object of a class that is not here, or that must not run: data, never code.

    It mirrors what pickle says about an object: the named callable (``module``, ``qualname``), what it
    was called with, the state set afterwards, and the items appended or set. Nothing is ever imported,
    looked up or called. A stand-in is mutable, so that a reader may fill it as it goes along.

    Equality is structural and strict (see `perdure.values.equal`). The hash is by identity, on purpose:
    two stand-ins that look alike stay two in a set, or as keys, because their lost class may well have
    told them apart. Look them up by the object, or compare sets of them with `equal`.

    Attributes:
        module: The module that the name was to be imported from.
        qualname: The dotted name within the module.
        args: Positional arguments of the call, or None where the named thing itself is meant (a class
            or a function used as a value).
        kwargs: Keyword arguments of the call.
        state: What was handed to ``__setstate__`` or ``__dict__`` (pickle's BUILD), or None.
        items: List items appended (pickle's APPENDS and ADDITEMS).
        pairs: Key and value pairs set, in order (pickle's SETITEMS).
        order: A tie-breaker between otherwise alike stand-ins in a set, so that their text does not
            depend on memory addresses: whoever makes stand-ins from a stream numbers them in the order
            of the stream. Not part of equality, not stored.
    """

    __slots__ = ("args", "items", "kwargs", "module", "order", "pairs", "qualname", "state")

    def __init__(
        self,
        module: str,
        qualname: str,
        args: Iterable[object] | None = (),
        state: object = None,
        *,
        kwargs: Mapping[str, object] | None = None,
        items: Iterable[object] = (),
        pairs: Iterable[tuple[object, object]] = (),
        order: int = 0,
    ) -> None:
        self.module = module
        self.qualname = qualname
        self.args: tuple[object, ...] | None = None if args is None else tuple(args)
        self.state = state
        self.kwargs: dict[str, object] = dict(kwargs or {})
        self.items: list[object] = list(items)
        self.pairs: list[tuple[object, object]] = list(pairs)
        self.order = order

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not Opaque:
            return NotImplemented
        from perdure.values._equal import equal  # noqa: PLC0415 - equal must know Opaque

        return equal(self, other)

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __repr__(self) -> str:
        called = "" if self.args is None else f", {len(self.args)} args"
        return f"<Opaque {self.module}.{self.qualname}{called}>"
