"""Checks of arguments that are no records: so that a wrong one is refused, and never a puzzle deep inside."""

from __future__ import annotations

from collections.abc import Iterable
from os import fsencode
from pathlib import Path
from typing import Any

import numpy as np

from perdure._errors import InvalidInput, NotFound
from perdure._schema import TABLES
from perdure._show import shown

__all__ = ["check_choice", "check_flag", "check_path", "check_tables", "check_text", "check_whole"]

#: A number beyond this means the same as this, in every engine.
_ENOUGH = 2**62


def check_whole(number: Any, what: str, least: int = 0) -> int:
    """An int (numpy's too, no bool) of at least `least`, cut to what an engine can take."""
    if isinstance(number, (bool, np.bool_)) or not isinstance(number, (int, np.integer)) or number < least:
        raise InvalidInput(f"{what} is a whole number from {least}, not {shown(number)}")
    return min(int(number), _ENOUGH)


def check_text(text: Any, what: str) -> str:
    """A text, as a plain str: engines get no subclass of it."""
    if not isinstance(text, str):
        raise InvalidInput(f"{what} is text, not {type(text).__name__}")
    return str.__str__(text)


def check_flag(flag: Any, what: str) -> bool:
    """True or False."""
    if not isinstance(flag, (bool, np.bool_)):
        raise InvalidInput(f"{what} is True or False, not {type(flag).__name__}")
    return bool(flag)


def check_choice(word: Any, what: str, known: Iterable[str]) -> str:
    """One of some words."""
    known = tuple(known)
    if not isinstance(word, str) or word not in known:
        raise InvalidInput(f"{what} is one of {', '.join(map(repr, known))}, not {shown(word)}")
    return str.__str__(word)


def check_path(path: Any, what: str) -> Path:
    """The path of a file."""
    try:
        found = Path(path)
        plain = b"\0" not in fsencode(found)
    except TypeError:
        raise InvalidInput(f"{what} is a path, not {type(path).__name__}") from None
    except UnicodeEncodeError:
        plain = False
    if not plain:
        raise InvalidInput(f"{what} {shown(path)} holds a character that no file name may hold")
    return found


def check_tables(names: Any) -> tuple[str, ...] | None:
    """Names of tables; None means all.

    Raises:
        NotFound: One of them is no table.
    """
    if names is None:
        return None
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise InvalidInput(f"tables are names in a list, not {type(names).__name__}")
    found = tuple(names)
    for name in found:
        if not isinstance(name, str) or name not in TABLES:
            raise NotFound(f"there is no table {shown(name)}; the tables are {', '.join(TABLES)}")
    return tuple(map(str.__str__, found))
