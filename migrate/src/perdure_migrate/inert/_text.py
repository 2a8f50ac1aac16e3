"""What a Python 2 `str` was, and how protocol 0 spells it."""

from __future__ import annotations

import re

__all__ = ["python2_text", "unescape"]

_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))", re.DOTALL)
_SIMPLE = {b"\\": b"\\", b"'": b"'", b'"': b'"', b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_SIMPLE |= {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"\n": b""}


def python2_text(text: bytes) -> str | bytes:
    """A Python 2 `str`: text where it is ASCII, else the bytes themselves, so that nothing is guessed."""
    return text.decode("ascii") if text.isascii() else text


def _unescape(match: re.Match[bytes]) -> bytes:
    hexadecimal, octal, other = match.groups()
    if hexadecimal is not None:
        return bytes((int(hexadecimal, 16),))
    if octal is not None:
        return bytes((int(octal, 8) & 0xFF,))
    return _SIMPLE.get(other, match[0])


def unescape(text: bytes) -> bytes:
    """The bytes that a Python 2 string literal stands for; unknown escapes stay as they are."""
    return _ESCAPE.sub(_unescape, text)
