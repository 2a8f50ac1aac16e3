"""Files that Python 2.7 wrote (see make_python2.py), by both of its picklers, in all of its protocols."""

from __future__ import annotations

from collections import OrderedDict
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from perdure_migrate.inert import loads

from .make_data import DATA

PLAIN = {
    "text": "café € 𝄞 \n \\",
    "ascii": "plain 'quoted' \\ \n",
    "bytes": b"\x00\xff\x80",
    "long": 2**70,
    "short": 5,
    "bools": [True, False, None],
    "float": [0.1, float("inf"), -0.0],
    "complex": 1 + 2j,
    "set": {1, 2},
    "when": datetime(2001, 2, 3, 4, 5, 6, 7),
    "day": date(1999, 12, 31),
    "delta": timedelta(1, 2, 3),
    "decimal": Decimal("1.50"),
    "ordered": OrderedDict([("b", 1), ("a", 2)]),
    "buffer": bytearray(b"\x00\xffz"),
    "range": range(2, 11, 3),
}


@pytest.mark.parametrize("path", sorted(DATA.glob("python2-*.pkl")), ids=lambda path: path.stem)
def test_what_python_2_wrote(same: Any, path: Path) -> None:
    found = loads(path.read_bytes())
    for key, value in PLAIN.items():
        assert same(found[key], value), key
    assert found["old"].qualname == "Old"
    assert found["old"].state == {"name": "old", "raw": b"caf\xe9"}
    assert found["array"].args == ("i", [1, 2, 3])
    assert found["rows"].state == {"extra": "€"}
    assert (found["rows"].pairs or list(found["rows"].args[0].items())) == [("a", 1)]
    assert [found[key].args for key in ("class", "function")] == [None, None]
    assert (found["function"].module, found["function"].qualname) == ("__builtin__", "len")


def test_every_protocol_is_there() -> None:
    assert len(list(DATA.glob("python2-*.pkl"))) == 6
