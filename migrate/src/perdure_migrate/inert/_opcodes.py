"""The opcodes of protocols 0 to 5, as functions on a `Machine`, in a table indexed by byte.

Where a real unpickler would look up, import or call, these write down what was asked for.
"""

from __future__ import annotations

import re
import struct
from codecs import raw_unicode_escape_decode
from collections.abc import Callable
from typing import TYPE_CHECKING

from perdure_migrate.inert._outside import binpersid, next_buffer, persid, readonly_buffer
from perdure_migrate.inert._text import python2_text, unescape

if TYPE_CHECKING:
    from perdure_migrate.inert._machine import Machine

__all__ = ["NAMES", "STOP", "TABLE"]

Opcode = Callable[["Machine"], None]

#: The byte of the STOP opcode, which the machine carries out itself.
STOP = ord(".")

_DECIMAL = re.compile(rb"[+-]?[0-9]+")
_FLOAT = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|inf|nan)")
_FLOAT64 = struct.Struct(">d")

#: Digits that `int` takes in one go, below the interpreter's own limit.
_CHUNK = 4_000


# -- numbers


def _decimal(m: Machine, text: bytes) -> int:
    if not _DECIMAL.fullmatch(text):
        raise m.fail("a decimal integer is malformed")
    m.check_digits(len(text))
    if len(text) <= _CHUNK:
        return int(text)
    digits, value = text.lstrip(b"+-"), 0
    for start in range(0, len(digits), _CHUNK):
        part = digits[start : start + _CHUNK]
        value = value * 10 ** len(part) + int(part)
    return -value if text[0] == ord("-") else value


def _int(m: Machine) -> None:
    text = m.line()
    m.stack.append(text == b"01" if text in (b"00", b"01") else _decimal(m, text))


def _long(m: Machine) -> None:
    text = m.line()
    m.stack.append(_decimal(m, text[:-1] if text.endswith(b"L") else text))


def _float(m: Machine) -> None:
    text = m.line()
    if not _FLOAT.fullmatch(text):
        raise m.fail("a decimal float is malformed")
    m.stack.append(float(text))


def _binint(m: Machine) -> None:
    m.stack.append(int.from_bytes(m.take(4), "little", signed=True))


def _binint1(m: Machine) -> None:
    m.stack.append(m.data[m.pos])
    m.pos += 1


def _binint2(m: Machine) -> None:
    m.stack.append(m.number(2))


def _binfloat(m: Machine) -> None:
    m.stack.append(_FLOAT64.unpack(m.take(8))[0])


def _binlong(m: Machine, count: int) -> None:
    m.check_digits(count * 2408 // 1000)  # log10(256), rounded down: never refuses what the limit admits
    m.stack.append(int.from_bytes(m.take(count), "little", signed=True))


def _long1(m: Machine) -> None:
    _binlong(m, m.number(1))


def _long4(m: Machine) -> None:
    _binlong(m, _signed4(m))


def _signed4(m: Machine) -> int:
    count = int.from_bytes(m.take(4), "little", signed=True)
    if count < 0:
        raise m.fail(f"a length is negative ({count})")
    return count


# -- text and bytes


def _string(m: Machine) -> None:
    text = m.line().rstrip(b"\r")
    if len(text) < 2 or text[0] != text[-1] or text[0] not in b"'\"":
        raise m.fail("a string has no matching quotes")
    m.stack.append(python2_text(unescape(text[1:-1])))


def _binstring(m: Machine) -> None:
    m.stack.append(python2_text(m.take(_signed4(m))))


def _short_binstring(m: Machine) -> None:
    m.stack.append(python2_text(m.take(m.number(1))))


def _unicode(m: Machine) -> None:
    m.stack.append(raw_unicode_escape_decode(m.line(), "strict", True)[0])


def _text(width: int) -> Opcode:
    def op(m: Machine) -> None:
        m.stack.append(str(m.take(m.number(width)), "utf-8", "surrogatepass"))

    return op


def _short_text(m: Machine) -> None:
    start = m.pos + 1
    end = start + m.data[m.pos]
    if end > m.size:
        raise m.truncated(end - m.pos)
    m.pos = end
    m.stack.append(str(m.data[start:end], "utf-8", "surrogatepass"))


def _bytes(width: int) -> Opcode:
    def op(m: Machine) -> None:
        m.stack.append(m.take(m.number(width)))

    return op


def _bytearray8(m: Machine) -> None:
    m.nodes += 1
    m.stack.append(bytearray(m.take(m.number(8))))


# -- constants and the stack


def _push(value: object) -> Opcode:
    def op(m: Machine) -> None:
        m.stack.append(value)

    return op


def _mark(m: Machine) -> None:
    m.marks.append(m.stack)
    m.held += len(m.stack)
    m.stack = []


def _pop_mark(m: Machine) -> list[object]:
    """The values above the last mark, which is taken off."""
    if not m.marks:
        raise m.fail("there is no mark")
    items = m.stack
    m.stack = m.marks.pop()
    m.held -= len(m.stack)
    return items


def _pop(m: Machine) -> None:
    if m.stack:
        m.dropped(m.stack.pop())
    else:
        _pop_mark(m)


def _drop_mark(m: Machine) -> None:
    _pop_mark(m)


def _dup(m: Machine) -> None:
    m.stack.append(m.shared(m.stack[-1]))


# -- the memo


def _memoize(m: Machine) -> None:
    memo = m.memo
    if m.waiting:
        m.remember(len(memo))
    else:
        memo[len(memo)] = m.stack[-1]


def _put(m: Machine) -> None:
    index = _decimal(m, m.line())
    if index < 0:
        raise m.fail(f"a memo index is negative ({index})")
    m.remember(index)


def _binput(width: int) -> Opcode:
    def op(m: Machine) -> None:
        m.remember(m.number(width))

    return op


def _get(m: Machine) -> None:
    m.stack.append(m.shared(m.memo[_decimal(m, m.line())]))


def _binget(m: Machine) -> None:
    value = m.memo[m.data[m.pos]]
    m.pos += 1
    m.stack.append(m.shared(value) if m.waiting else value)


def _long_binget(m: Machine) -> None:
    value = m.memo[m.number(4)]
    m.stack.append(m.shared(value) if m.waiting else value)


# -- containers


def _empty(kind: Callable[[], object]) -> Opcode:
    def op(m: Machine) -> None:
        m.nodes += 1
        m.stack.append(kind())

    return op


def _list(m: Machine) -> None:
    m.nodes += 1
    items = _pop_mark(m)
    m.stack.append(items)


def _tuple(m: Machine) -> None:
    m.nodes += 1
    items = _pop_mark(m)
    m.stack.append(tuple(items))


def _tuple_of(count: int) -> Opcode:
    def op(m: Machine) -> None:
        stack = m.stack
        if len(stack) < count:
            raise IndexError
        m.nodes += 1
        stack[-count:] = [tuple(stack[-count:])]

    return op


def _dict(m: Machine) -> None:
    m.nodes += 1
    items = _pop_mark(m)
    m.stack.append({})
    m.set_items(m.stack[-1], items)


def _frozenset(m: Machine) -> None:
    m.nodes += 1
    items = _pop_mark(m)
    made = frozenset(items) if m.hashable(items) else m.opaque(("builtins", "frozenset"), (items,))
    m.stack.append(made)


def _append(m: Machine) -> None:
    item = m.stack.pop()
    m.extend(m.stack[-1], [item])


def _appends(m: Machine) -> None:
    items = _pop_mark(m)
    m.extend(m.stack[-1], items)


def _setitem(m: Machine) -> None:
    value = m.stack.pop()
    key = m.stack.pop()
    m.set_items(m.stack[-1], [key, value])


def _setitems(m: Machine) -> None:
    items = _pop_mark(m)
    m.set_items(m.stack[-1], items)


def _additems(m: Machine) -> None:
    items = _pop_mark(m)
    m.add(m.stack[-1], items)


# -- names and calls


def _global(m: Machine) -> None:
    module, qualname = m.line(), m.line()
    m.stack.append(m.name(module.decode(), qualname.decode()))


def _stack_global(m: Machine) -> None:
    qualname, module = m.stack.pop(), m.stack.pop()
    if type(module) is not str or type(qualname) is not str:
        raise m.fail("a name is made of something else than text")
    m.stack.append(m.name(module, qualname))


def _extension(width: int) -> Opcode:
    """The registry that the number points into belongs to the program that wrote the file."""

    def op(m: Machine) -> None:
        m.nodes += 1
        m.stack.append(m.opaque(("copyreg", "_inverted_registry"), (m.number(width),)))

    return op


def _reduce(m: Machine) -> None:
    args = m.stack.pop()
    m.stack[-1] = m.call(m.stack[-1], args)


def _newobj(m: Machine) -> None:
    args = m.stack.pop()
    m.stack[-1] = m.call(m.stack[-1], args, new=True)


def _newobj_ex(m: Machine) -> None:
    kwargs, args = m.stack.pop(), m.stack.pop()
    if type(kwargs) is not dict:
        raise m.fail("named arguments are no dict")
    m.copies(len(kwargs))
    if any(type(key) is not str for key in kwargs):
        raise m.fail("a named argument has no name")
    m.stack[-1] = m.call(m.stack[-1], args, kwargs, new=True)


def _obj(m: Machine) -> None:
    items = _pop_mark(m)
    m.stack.append(m.call(items[0], tuple(items[1:])))


def _inst(m: Machine) -> None:
    module, qualname = m.line(), m.line()
    args = tuple(_pop_mark(m))
    m.stack.append(m.call(m.name(module.decode(), qualname.decode()), args))


def _build(m: Machine) -> None:
    state = m.stack.pop()
    m.build(m.stack[-1], state)


# -- the frame of a pickle


def _proto(m: Machine) -> None:
    protocol = m.number(1)
    if protocol > 5:
        raise m.fail(f"protocol {protocol} is not known", "Save it again with pickle protocol 5 or lower.")
    m.report.protocol = max(m.report.protocol, protocol)


def _frame(m: Machine) -> None:
    length = m.number(8)
    if length > m.size - m.pos:
        raise m.truncated(length)


def _unknown(m: Machine) -> None:
    raise m.fail(f"there is no opcode {m.data[m.at]:#04x}")


_OPCODES: tuple[tuple[str, str, Opcode], ...] = (
    ("I", "INT", _int),
    ("J", "BININT", _binint),
    ("K", "BININT1", _binint1),
    ("M", "BININT2", _binint2),
    ("L", "LONG", _long),
    ("\x8a", "LONG1", _long1),
    ("\x8b", "LONG4", _long4),
    ("S", "STRING", _string),
    ("T", "BINSTRING", _binstring),
    ("U", "SHORT_BINSTRING", _short_binstring),
    ("B", "BINBYTES", _bytes(4)),
    ("C", "SHORT_BINBYTES", _bytes(1)),
    ("\x8e", "BINBYTES8", _bytes(8)),
    ("\x96", "BYTEARRAY8", _bytearray8),
    ("\x97", "NEXT_BUFFER", next_buffer),
    ("\x98", "READONLY_BUFFER", readonly_buffer),
    ("N", "NONE", _push(None)),
    ("\x88", "NEWTRUE", _push(True)),
    ("\x89", "NEWFALSE", _push(False)),
    ("V", "UNICODE", _unicode),
    ("\x8c", "SHORT_BINUNICODE", _short_text),
    ("X", "BINUNICODE", _text(4)),
    ("\x8d", "BINUNICODE8", _text(8)),
    ("F", "FLOAT", _float),
    ("G", "BINFLOAT", _binfloat),
    ("]", "EMPTY_LIST", _empty(list)),
    ("a", "APPEND", _append),
    ("e", "APPENDS", _appends),
    ("l", "LIST", _list),
    (")", "EMPTY_TUPLE", _push(())),
    ("t", "TUPLE", _tuple),
    ("\x85", "TUPLE1", _tuple_of(1)),
    ("\x86", "TUPLE2", _tuple_of(2)),
    ("\x87", "TUPLE3", _tuple_of(3)),
    ("}", "EMPTY_DICT", _empty(dict)),
    ("d", "DICT", _dict),
    ("s", "SETITEM", _setitem),
    ("u", "SETITEMS", _setitems),
    ("\x8f", "EMPTY_SET", _empty(set)),
    ("\x90", "ADDITEMS", _additems),
    ("\x91", "FROZENSET", _frozenset),
    ("0", "POP", _pop),
    ("2", "DUP", _dup),
    ("(", "MARK", _mark),
    ("1", "POP_MARK", _drop_mark),
    ("g", "GET", _get),
    ("h", "BINGET", _binget),
    ("j", "LONG_BINGET", _long_binget),
    ("p", "PUT", _put),
    ("q", "BINPUT", _binput(1)),
    ("r", "LONG_BINPUT", _binput(4)),
    ("\x94", "MEMOIZE", _memoize),
    ("\x82", "EXT1", _extension(1)),
    ("\x83", "EXT2", _extension(2)),
    ("\x84", "EXT4", _extension(4)),
    ("c", "GLOBAL", _global),
    ("\x93", "STACK_GLOBAL", _stack_global),
    ("R", "REDUCE", _reduce),
    ("b", "BUILD", _build),
    ("i", "INST", _inst),
    ("o", "OBJ", _obj),
    ("\x81", "NEWOBJ", _newobj),
    ("\x92", "NEWOBJ_EX", _newobj_ex),
    ("\x80", "PROTO", _proto),
    (".", "STOP", _unknown),
    ("\x95", "FRAME", _frame),
    ("P", "PERSID", persid),
    ("Q", "BINPERSID", binpersid),
)

_BY_BYTE = {ord(char): (name, op) for char, name, op in _OPCODES}

#: What to do for each byte.
TABLE: tuple[Opcode, ...] = tuple(_BY_BYTE.get(code, ("", _unknown))[1] for code in range(256))

#: What each byte is called.
NAMES: tuple[str, ...] = tuple(_BY_BYTE.get(code, (f"byte {code:#04x}", _unknown))[0] for code in range(256))
