"""Names, refs and ids: how a place in history is written down.

A *ref* is one of

=========================== ==============================================================
``main``                    the head of a branch, or a checkpoint
``main@123``                the branch as of sequence number 123
``main@2026-11-20T12:00Z``  the last commit of the branch at or before that time
``@<commit id>``            exactly that commit
=========================== ==============================================================
"""

from __future__ import annotations

import os
import re
import threading
import time
from datetime import UTC, datetime
from hashlib import blake2b
from uuid import UUID

import msgspec

from perdure._errors import InvalidInput, InvalidRecord, InvalidRef
from perdure._show import shown

__all__ = [
    "MAIN",
    "NAME_LIMIT",
    "Ref",
    "check_name",
    "format_time",
    "link_id",
    "now_us",
    "parse_ref",
    "parse_time",
    "uuid7",
]

#: The branch that every namespace starts with.
MAIN = "main"

#: The longest name of a branch, checkpoint, space or namespace, in characters.
NAME_LIMIT = 200

_NAME = re.compile(r"[A-Za-z0-9._/-]+")
_SEQ = re.compile(r"[0-9]{1,18}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Ref(msgspec.Struct, frozen=True):
    """A parsed ref; at most one of `seq`, `time` and `commit` is set.

    Attributes:
        name: Branch or checkpoint name; empty where `commit` is set.
        seq: Sequence number on the branch.
        time: Microseconds since the epoch: the last commit at or before it.
        commit: Commit id.
    """

    name: str
    seq: int | None = None
    time: int | None = None
    commit: str | None = None

    def __str__(self) -> str:
        if self.commit is not None:
            return f"@{self.commit}"
        if self.seq is not None:
            return f"{self.name}@{self.seq}"
        return self.name if self.time is None else f"{self.name}@{format_time(self.time)}"


def check_name(name: object, what: str = "name") -> str:
    """Return `name` if it may name a branch, checkpoint, space or namespace.

    Raises:
        InvalidRef: It is no text, is empty, over `NAME_LIMIT` characters, or has other characters
            than letters, digits, ``.``, ``_``, ``/`` and ``-``.
    """
    if not isinstance(name, str) or len(name) > NAME_LIMIT or not _NAME.fullmatch(name):
        raise InvalidRef(
            f"{what} {shown(name)} is not allowed: use 1 to {NAME_LIMIT} of the characters A-Z a-z 0-9 . _ / -"
        )
    return str.__str__(name)  # engines get no subclass of str


def parse_ref(text: str | Ref) -> Ref:
    """Parse a ref; see the module docstring for the forms.

    Raises:
        InvalidRef: It has none of the forms.
    """
    if isinstance(text, Ref):
        return _checked(text)
    if not isinstance(text, str):
        raise InvalidRef(f"a ref is text such as 'main' or 'main@12', not {type(text).__name__}")
    name, at, rest = text.partition("@")
    if not at:
        return Ref(check_name(name, "ref"))
    if not name:
        return Ref("", commit=check_name(rest, "commit id"))
    check_name(name, "ref")
    if _SEQ.fullmatch(rest):
        return Ref(name, seq=int(rest))
    try:
        return Ref(name, time=parse_time(rest))
    except InvalidInput:
        raise InvalidRef(
            f"ref {text[:80]!r} ends in neither a sequence number nor an ISO 8601 time with a zone; "
            "write it like 'main@12' or 'main@2026-11-20T12:00Z'"
        ) from None


def _checked(ref: Ref) -> Ref:
    """A ref that somebody built by hand."""
    numbers = [number for number in (ref.seq, ref.time) if number is not None]
    if any(type(number) is not int or not -(2**63) <= number < 2**63 for number in numbers) or (
        ref.seq is not None and ref.seq < 0
    ):
        raise InvalidRef("the sequence number and the time of a ref are ints of 64 bits")
    if ref.commit is not None:
        return Ref("", commit=check_name(ref.commit, "commit id"))
    return Ref(check_name(ref.name, "ref"), ref.seq, ref.time)


def parse_time(text: str) -> int:
    """ISO 8601 with a zone → microseconds since the epoch.

    Raises:
        InvalidInput: It is not such a time, or has no zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        raise InvalidInput(f"{shown(text)} is no ISO 8601 time; write it like 2026-11-20T12:00Z") from None
    if moment.tzinfo is None:
        raise InvalidInput(f"time {shown(text)} has no zone; add Z or an offset")
    return to_us(moment)


def to_us(moment: datetime) -> int:
    """An aware datetime → microseconds since the epoch, exactly (no float on the way)."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def format_time(us: int) -> str:
    """Microseconds since the epoch → ISO 8601 in UTC; the number itself where no datetime can hold it."""
    try:
        moment = datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)
    except (ValueError, OverflowError, OSError):
        return f"{us}us"
    return moment.isoformat().replace("+00:00", "Z")


def now_us() -> int:
    """The clock, in microseconds since the epoch."""
    return time.time_ns() // 1_000


class _Uuid7Clock:
    """Hands out UUIDv7 that increase within this process (RFC 9562, method 1: a counter in rand_a)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> str:
        stamp = (time.time_ns() // 1_000_000) << 12
        with self._lock:
            self._last = stamp = max(stamp, self._last + 1)
        tail = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
        number = ((stamp >> 12) << 80) | (0x7 << 76) | ((stamp & 0xFFF) << 64) | (0b10 << 62) | tail
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_clock = _Uuid7Clock()


def uuid7() -> str:
    """A new UUIDv7 (RFC 9562) as text: sortable by the time of its making, increasing within a process."""
    return _clock.next()


def link_id(source: str, target: str, relation: str | None) -> str:
    """The default id of a link: a UUIDv8 of BLAKE2b-128 over the length-prefixed parts.

    Adding the same edge twice is thereby one edge; a link with an explicit id may be parallel to it.
    """
    if not (isinstance(source, str) and isinstance(target, str) and isinstance(relation, (str, type(None)))):
        raise InvalidRecord("the source, the target and the relation of a link are text")
    digest = blake2b(digest_size=16, person=b"perdure.link")
    for part in (source, target, relation):
        data = b"" if part is None else part.encode("utf-8", "surrogatepass")
        digest.update((0 if part is None else len(data) + 1).to_bytes(8, "little") + data)
    number = int.from_bytes(digest.digest(), "big")
    number = number & ~(0xF << 76) | (0x8 << 76)
    number = number & ~(0x3 << 62) | (0x2 << 62)
    return str(UUID(int=number))
