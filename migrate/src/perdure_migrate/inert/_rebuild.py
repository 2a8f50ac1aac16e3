"""The allowlist: which names of the standard library are made into real objects, and from what.

Each rebuilder is keyed by the exact (module, qualified name) that a pickle gives, checks the exact type and
the size of every argument before it allocates, and answers `NotImplemented` for anything that it does not
know for certain: the machine then keeps the call as an `Opaque`. Numbers from the file never size an
allocation.
"""

from __future__ import annotations

import pathlib
import re
import zoneinfo
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from uuid import UUID, SafeUUID

from perdure import PerdureError

from perdure_migrate.inert._joblib import CONSTRUCTORS as _JOBLIB_CONSTRUCTORS
from perdure_migrate.inert._numpy import REBUILDERS as _NUMPY_REBUILDERS
from perdure_migrate.inert._tensor import REBUILDERS as _TENSOR_REBUILDERS

if TYPE_CHECKING:
    from perdure_migrate.inert._machine import Machine

__all__ = ["CONSTRUCTORS", "REBUILDERS"]

Name = tuple[str, str]
Args = tuple[Any, ...]
Rebuilder = Callable[["Machine", Name, Args], Any]

_DECIMAL = re.compile(
    r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,19})?|Infinity|s?NaN[0-9]*)", re.A
)
_FRACTION = re.compile(r"[+-]?[0-9]{1,4000}(?:/[0-9]{1,4000})?", re.A)
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,3}", re.A)
_PART = re.compile(r"[^\W\d]\w*")

#: The longest integer of a fraction, in bits: reduction takes quadratic time.
_FRACTION_BITS = 1 << 15


def _types(args: Args, *kinds: type) -> bool:
    return len(args) == len(kinds) and all(type(a) is k for a, k in zip(args, kinds, strict=True))


def _raw(value: Any, length: int) -> bytes | None:
    """The bytes of a packed field; Python 2 wrote a `str`, which arrives as text where it is ASCII."""
    if type(value) is str and len(value) == length and value.isascii():
        value = value.encode("ascii")
    return value if type(value) is bytes and len(value) == length else None


# -- builtins


def _collection(kind: type[set[Any]] | type[frozenset[Any]]) -> Rebuilder:
    def rebuild(m: Machine, name: Name, args: Args) -> Any:
        if not args:
            return kind()
        if not (_types(args, list) or _types(args, tuple)):
            return NotImplemented
        m.copies(len(args[0]))
        return kind(args[0]) if m.hashable(args[0]) else NotImplemented

    return rebuild


def _bytes(m: Machine, name: Name, args: Args) -> Any:
    return NotImplemented if args else b""


def _bytearray(m: Machine, name: Name, args: Args) -> Any:
    if not args:
        return bytearray()
    data = _encode(m, name, args) if len(args) == 2 else args[0]
    if len(args) > 2 or type(data) is not bytes:
        return NotImplemented
    m.copies(len(data))
    return bytearray(data)


def _encode(m: Machine, name: Name, args: Args) -> Any:
    """The way in which protocols 0 to 2 write bytes."""
    if not _types(args, str, str) or args[1] not in ("latin1", "latin-1"):
        return NotImplemented
    m.copies(len(args[0]))
    try:
        return args[0].encode("latin-1")
    except UnicodeEncodeError:
        return NotImplemented


def _complex(m: Machine, name: Name, args: Args) -> Any:
    return complex(*args) if _types(args, float, float) else NotImplemented


def _range(m: Machine, name: Name, args: Args) -> Any:
    return range(*args) if _types(args, int, int, int) and args[2] else NotImplemented


def _getattr(m: Machine, name: Name, args: Args) -> Any:
    """How older protocols spell a nested name: the answer is the reference `Outer.inner`, a name still."""
    if not (len(args) == 2 and type(args[1]) is str and len(args[1]) <= 256 and _PART.fullmatch(args[1])):
        return NotImplemented
    outer = m.name_of(args[0])
    if outer is None or len(outer[1]) > 1024:
        return NotImplemented
    return m.name(outer[0], f"{outer[1]}.{args[1]}")


# -- copyreg


def _reconstructor(m: Machine, name: Name, args: Args) -> Any:
    """How protocols 0 and 1 write `cls.__new__(cls)`, or with a value of the builtin base."""
    if len(args) != 3:
        return NotImplemented
    if args[2] is None and m.name_of(args[1]) in (("builtins", "object"), ("__builtin__", "object")):
        return m.call(args[0], (), new=True)
    if type(args[2]) in (list, dict, tuple, set, str, bytes, int, float):
        return m.call(args[0], (args[2],), new=True)
    return NotImplemented


def _newobj(m: Machine, name: Name, args: Args) -> Any:
    return m.call(args[0], args[1:], new=True) if args else NotImplemented


# -- collections


def _ordered_dict(m: Machine, name: Name, args: Args) -> Any:
    """Empty, to be filled; Python 2 gave a list of pairs."""
    if not args:
        return OrderedDict()
    if not _types(args, list):
        return NotImplemented
    pairs = args[0]
    m.copies(len(pairs))
    if not all(type(p) in (list, tuple) and len(p) == 2 for p in pairs) or not m.hashable(
        [p[0] for p in pairs]
    ):
        return NotImplemented
    return OrderedDict((p[0], p[1]) for p in pairs)


def _deque(m: Machine, name: Name, args: Args) -> Any:
    if len(args) > 2 or (args and type(args[0]) not in (tuple, list)):
        return NotImplemented
    most = args[1] if len(args) == 2 else None
    if most is not None and not (type(most) is int and 0 <= most < 2**31):
        return NotImplemented
    m.copies(len(args[0]) if args else 0)
    return deque(*args)


# -- datetime


def _zone_of(args: Args) -> tzinfo | None:
    """The time zone among the arguments of a packed time.

    Raises:
        ValueError: It is of a class that is not rebuilt.
    """
    zone = args[1] if len(args) == 2 else None
    if zone is None or type(zone) in (timezone, zoneinfo.ZoneInfo):
        return zone
    raise ValueError("an unknown time zone")


def _checked(build: Rebuilder) -> Rebuilder:
    """Where the class itself refuses the fields, the call is kept as it is."""

    def rebuild(m: Machine, name: Name, args: Args) -> Any:
        try:
            return build(m, name, args)
        except PerdureError:  # a limit, which is a ValueError as well
            raise
        except (ValueError, ArithmeticError):
            return NotImplemented

    return rebuild


@_checked
def _datetime(m: Machine, name: Name, args: Args) -> Any:
    raw = _raw(args[0], 10) if 1 <= len(args) <= 2 else None
    if raw is None:
        return NotImplemented
    year, month, micro = int.from_bytes(raw[:2], "big"), raw[2] & 0x7F, int.from_bytes(raw[7:], "big")
    day, hour, minute, second = raw[3:7]
    zone, fold = _zone_of(args), raw[2] >> 7
    return datetime(year, month, day, hour, minute, second, micro, zone, fold=fold)


@_checked
def _date(m: Machine, name: Name, args: Args) -> Any:
    raw = _raw(args[0], 4) if len(args) == 1 else None
    return NotImplemented if raw is None else date(int.from_bytes(raw[:2], "big"), raw[2], raw[3])


@_checked
def _time(m: Machine, name: Name, args: Args) -> Any:
    raw = _raw(args[0], 6) if 1 <= len(args) <= 2 else None
    if raw is None:
        return NotImplemented
    micro = int.from_bytes(raw[3:], "big")
    return time(raw[0] & 0x7F, raw[1], raw[2], micro, _zone_of(args), fold=raw[0] >> 7)


@_checked
def _timedelta(m: Machine, name: Name, args: Args) -> Any:
    return timedelta(*args) if _types(args, int, int, int) else NotImplemented


@_checked
def _timezone(m: Machine, name: Name, args: Args) -> Any:
    known = _types(args, timedelta) or _types(args, timedelta, str)
    return timezone(*args) if known else NotImplemented


def _zone(m: Machine, name: Name, args: Args) -> Any:
    """A zone by its key, if the time zone database has it; a key is only ever a name in there."""
    if len(args) != 2 or type(args[0]) is not str or not _ZONE.fullmatch(args[0]):
        return NotImplemented
    found = m.zone(args[0])
    return NotImplemented if found is None else found


# -- numbers and names


@_checked
def _decimal(m: Machine, name: Name, args: Args) -> Any:
    if not _types(args, str) or not _DECIMAL.fullmatch(args[0]):
        return NotImplemented
    m.check_digits(len(args[0]))
    m.copies(len(args[0]))
    made = Decimal(args[0])
    return made if made.is_nan() == ("NaN" in args[0]) else NotImplemented


@_checked
def _fraction(m: Machine, name: Name, args: Args) -> Any:
    if _types(args, str) and _FRACTION.fullmatch(args[0]):
        args = tuple(int(part) for part in args[0].partition("/")[::2] if part)
    known = _types(args, int) or _types(args, int, int)
    if not known or max(n.bit_length() for n in args) > _FRACTION_BITS:
        return NotImplemented
    m.work(sum(n.bit_length() >> 6 for n in args) ** 2)
    return Fraction(*args)


def _uuid(m: Machine, name: Name, args: Args) -> Any:
    return NotImplemented if args else m.unfinished(name, args, _finish_uuid)


def _finish_uuid(m: Machine, target: Any, state: Any) -> Any:
    if type(state) is not dict or not 1 <= len(state) <= 2 or any(type(key) is not str for key in state):
        return NotImplemented
    if not {"int"} <= state.keys() <= {"int", "is_safe"}:
        return NotImplemented
    number, safe = state["int"], state.get("is_safe")
    if type(number) is not int or not 0 <= number < 2**128:
        return NotImplemented
    if "is_safe" not in state:
        return UUID(int=number)
    return (
        UUID(int=number, is_safe=SafeUUID(safe)) if type(safe) is int and safe in (0, -1) else NotImplemented
    )


def _path(kind: type[pathlib.PurePath]) -> Rebuilder:
    @_checked
    def rebuild(m: Machine, name: Name, args: Args) -> Any:
        if not all(type(part) is str for part in args):
            return NotImplemented
        m.copies(sum(map(len, args)) + len(args))
        try:
            return kind(*args)
        except NotImplementedError:  # a concrete path of the other system
            return NotImplemented

    return rebuild


def _both(python3: str, python2: str, qualname: str, rebuild: Rebuilder) -> dict[Name, Rebuilder]:
    return {(python3, qualname): rebuild, (python2, qualname): rebuild}


#: What REDUCE, INST and OBJ may make, by the exact name in the pickle.
REBUILDERS: dict[Name, Rebuilder] = {
    **_both("builtins", "__builtin__", "set", _collection(set)),
    **_both("builtins", "__builtin__", "frozenset", _collection(frozenset)),
    **_both("builtins", "__builtin__", "bytes", _bytes),
    **_both("builtins", "__builtin__", "bytearray", _bytearray),
    **_both("builtins", "__builtin__", "complex", _complex),
    **_both("builtins", "__builtin__", "range", _range),
    **_both("builtins", "__builtin__", "xrange", _range),
    **_both("builtins", "__builtin__", "getattr", _getattr),
    **_both("copyreg", "copy_reg", "_reconstructor", _reconstructor),
    **_both("copyreg", "copy_reg", "__newobj__", _newobj),
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _ordered_dict,
    ("collections", "deque"): _deque,
    ("datetime", "datetime"): _datetime,
    ("datetime", "date"): _date,
    ("datetime", "time"): _time,
    ("datetime", "timedelta"): _timedelta,
    ("datetime", "timezone"): _timezone,
    ("zoneinfo", "ZoneInfo._unpickle"): _zone,
    ("decimal", "Decimal"): _decimal,
    ("fractions", "Fraction"): _fraction,
    **{
        (module, kind.__name__): _path(kind)
        for module in ("pathlib", "pathlib._local")
        for kind in (
            pathlib.PurePosixPath,
            pathlib.PureWindowsPath,
            pathlib.PosixPath,
            pathlib.WindowsPath,
        )
    },
    **_NUMPY_REBUILDERS,
    **_TENSOR_REBUILDERS,
}

#: What NEWOBJ may make.
CONSTRUCTORS: dict[Name, Rebuilder] = {("uuid", "UUID"): _uuid, **_JOBLIB_CONSTRUCTORS}
