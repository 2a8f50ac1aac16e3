"""The opcodes that point out of the stream: at buffers of protocol 5, and at persistent ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_migrate.inert._text import python2_text

if TYPE_CHECKING:
    from perdure_migrate.inert._machine import Machine

__all__ = ["binpersid", "next_buffer", "persid", "readonly_buffer"]


def next_buffer(m: Machine) -> None:
    """The bytes of an out-of-band buffer are in no pickle: they are given, or its number stands for it."""
    m.nodes += 1
    number, m.buffers = m.buffers, m.buffers + 1
    if m.out_of_band is None:
        m.stack.append(m.opaque(("pickle", "PickleBuffer"), (number,)))
        return
    if number >= len(m.out_of_band):
        raise m.fail(f"it asks for buffer {number + 1}, and {len(m.out_of_band)} were given")
    m.stack.append(bytearray(m.out_of_band[number]))


def readonly_buffer(m: Machine) -> None:
    """What is made read-only is bytes, as `pickle` writes them within the stream."""
    if type(m.stack[-1]) is bytearray:
        m.copies(len(m.stack[-1]))
        m.stack[-1] = bytes(m.stack[-1])


def persid(m: Machine) -> None:
    m.nodes += 1
    m.stack.append(_outside(m, python2_text(m.line())))


def binpersid(m: Machine) -> None:
    m.nodes += 1
    m.stack[-1] = _outside(m, m.stack[-1])


def _outside(m: Machine, key: object) -> object:
    """What a persistent id stands for, as far as the container of the pickle knows it."""
    found = NotImplemented if m.persistent is None else m.persistent(key)
    if found is NotImplemented:
        found = m.opaque(("pickle", "Unpickler.persistent_load"), (key,))
    return found
