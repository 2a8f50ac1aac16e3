"""JSON lines in: one record each, checked and turned into what `put` takes."""

from __future__ import annotations

import json
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, BinaryIO, NoReturn

import msgspec
import numpy as np

from perdure import InvalidRecord, Table, parse_time, values
from perdure._intake import BATCH_ROWS

__all__ = ["JsonLines"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class JsonLines:
    """The records of a stream of JSON lines, as mappings of fields; empty lines are passed over.

    Attributes:
        line: The number of the line that was read last, from 1.
        count: How many records there were so far.
        ended: Whether the stream has ended.
        recent: Line and fields of the last records: `put` encodes them in blocks of no more.
    """

    def __init__(self, stream: BinaryIO, table: Table, progress: Callable[[int], None] | None = None) -> None:
        self._stream = stream
        self._table = table
        self._progress = progress
        self.line = 0
        self.count = 0
        self.ended = False
        self.recent: deque[tuple[int, dict[str, Any]]] = deque(maxlen=BATCH_ROWS)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for raw in self._stream:
            self.line += 1
            text = raw.strip()
            if not text:
                continue
            try:
                fields = self._fields(text)
            except InvalidRecord as error:
                error.detail["line"] = self.line
                raise
            self.recent.append((self.line, fields))
            self.count += 1
            if self._progress is not None and not self.count % 256:
                self._progress(self.count)
            yield fields
        self.ended = True

    def _fields(self, text: bytes) -> dict[str, Any]:
        try:
            document = _decoder.decode(text.decode("utf-8-sig" if self.line == 1 else "utf-8"))
        except UnicodeDecodeError:
            raise InvalidRecord("it is not UTF-8") from None
        except RecursionError:
            raise InvalidRecord("it is nested too deep") from None
        except InvalidRecord:
            raise
        except ValueError as error:
            raise InvalidRecord(f"it is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise InvalidRecord('it is no JSON object such as {"id": "m1", "text": "…"}')
        fields = {}
        for name, cell in document.items():
            column = self._table.by_name.get(name)
            read = None if column is None or cell is None else _CELLS.get(column.kind)
            fields[name] = cell if read is None else read(f"{self._table.name}.{name}", cell)
        return fields


# ----------------------------------------------------------------------------------------------- cells


def _value(where: str, cell: Any) -> Any:
    """A plain value as it stands; one with tagged parts by way of the codec."""
    if isinstance(cell, str | int | float):
        return cell
    if not _tagged(cell):
        return cell
    try:
        return values.decode(msgspec.json.encode(_wide_tagged(cell)).decode())
    except InvalidRecord as error:
        reason = error.message
    except RecursionError:
        reason = "the value nests too deeply"
    except UnicodeEncodeError:
        reason = 'beside tagged parts, write text with lone surrogates as {"$str":"…"}'
    raise InvalidRecord(
        f'{where}: {reason}; an object with a key that starts with "$" is read as a tagged value'
    )


def _wide_tagged(cell: Any) -> Any:
    """The same JSON with integers beyond int64 in the codec's tagged form."""
    if isinstance(cell, dict):
        return {name: _wide_tagged(item) for name, item in cell.items()}
    if isinstance(cell, list):
        return [_wide_tagged(item) for item in cell]
    wide = isinstance(cell, int) and not -(2**63) <= cell < 2**63
    return {"$int": hex(cell)} if wide else cell


def _tagged(cell: Any) -> bool:
    waiting = [cell]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if any(name.startswith("$") for name in item):
                return True
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return False


def _time(where: str, cell: Any) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=parse_time(cell))
    except (TypeError, ValueError, OverflowError):
        raise InvalidRecord(
            f"{where} is {str(cell)[:80]!r}; write a time with its zone, such as 2026-11-20T12:00:00Z"
        ) from None


def _vector(where: str, cell: Any) -> Any:
    if not isinstance(cell, list) or any(isinstance(n, bool) or not isinstance(n, int | float) for n in cell):
        raise InvalidRecord(f"{where} is no list of numbers")
    return np.asarray(cell)


def _payload(where: str, cell: Any) -> bytes:
    try:
        return b64decode(cell, validate=True)
    except (TypeError, ValueError):
        raise InvalidRecord(f"{where} is no base64 text") from None


_CELLS: Mapping[str, Callable[[str, Any], Any]] = {
    "value": _value,
    "time": _time,
    "vector": _vector,
    "payload": _payload,
}


# ----------------------------------------------------------------------------------------------- JSON


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRecord(f"it names {twice[:80]!r} twice")
    return document


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise InvalidRecord(f'{text[:40]} is no float64; infinity is written {{"$float":"inf"}} in a value')
    return number


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidRecord(
            f'an integer of {len(text)} digits is too long; write {{"$int":"0x…"}} in a value'
        ) from None


def _constant(name: str) -> NoReturn:
    raise InvalidRecord(f'{name} is no JSON; in a value, write {{"$float":"nan"}}, "inf" or "-inf"')


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant
)
