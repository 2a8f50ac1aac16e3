"""What the tests of the inert reader share."""

from __future__ import annotations

import math
import uuid
from collections import OrderedDict, deque
from datetime import datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import pytest


def _same(a: Any, b: Any, seen: dict[int, int]) -> bool:
    """Equal, of the same types, in the same order, shared and cyclic in the same way."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple, dict, set, deque)) or (isinstance(a, np.ndarray) and a.dtype == object):
        if id(a) in seen:
            return seen[id(a)] == id(b)
        if type(a) is not tuple or a:
            seen[id(a)] = id(b)
    if isinstance(a, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        if a.dtype == object:
            return all(_same(x, y, seen) for x, y in zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
        return a.tobytes() == b.tobytes() and (a.flags.c_contiguous, a.flags.f_contiguous) == (
            b.flags.c_contiguous,
            b.flags.f_contiguous,
        )
    if isinstance(a, np.generic):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, (dict, OrderedDict)):
        return len(a) == len(b) and all(
            _same(k, j, seen) and _same(v, w, seen)
            for (k, v), (j, w) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, deque):
        return a.maxlen == b.maxlen and _same(list(a), list(b), seen)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(_same(x, y, seen) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, (datetime, time)):
        return a == b and a.fold == b.fold and repr(a) == repr(b)
    if isinstance(a, uuid.UUID):
        return a == b and a.is_safe == b.is_safe
    if isinstance(a, Decimal):
        return a.as_tuple() == b.as_tuple()
    return bool(a == b)


@pytest.fixture
def same() -> Any:
    """`same(a, b)`: strict equality of values, types, order, sharing and cycles."""
    return lambda a, b: _same(a, b, {})
