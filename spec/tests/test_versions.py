"""What the specification says of its own versions: SP-002, SP-003, SP-004, CA-005.

`spec/golden/interface.json` is the interface of version 1.0: the columns of each table, and the arguments of
each hook. Until 1.0 is released it is written anew with ``python spec/tests/test_versions.py``.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from perdure import SPEC_VERSION, TABLES, PersistenceBackend, hook_names

SPEC = Path(__file__).parents[1]
GOLDEN = SPEC / "golden" / "interface.json"

#: Each (hook, argument) that came after 1.0, with the test that shows that an older backend refuses it (CA-005).
REFUSED: dict[tuple[str, str], str] = {}


def interface() -> dict[str, dict[str, list[str]]]:
    hooks = {
        name: list(inspect.signature(getattr(PersistenceBackend, name)).parameters) for name in hook_names()
    }
    return {
        "tables": {name: [column.name for column in table.columns] for name, table in TABLES.items()},
        "hooks": {name: arguments[1:] for name, arguments in hooks.items()},
    }


def test_a_new_version_only_adds() -> None:
    """SP-002."""
    before, now = json.loads(GOLDEN.read_text("utf-8")), interface()
    for kind, entries in before.items():
        for name, parts in entries.items():
            assert name in now[kind], f"{name} is gone"
            assert [part for part in parts if part not in now[kind][name]] == [], f"{name} has lost something"


def test_each_addition_names_its_version() -> None:
    """SP-003."""
    before = json.loads(GOLDEN.read_text("utf-8"))
    for name, table in TABLES.items():
        for column in table.columns:
            known = column.name in before["tables"].get(name, ())
            assert (column.since == "1.0") == known, f"{name}.{column.name} says since {column.since}"
    for name, arguments in interface()["hooks"].items():
        added = [argument for argument in arguments if argument not in before["hooks"].get(name, ())]
        doc = inspect.getdoc(getattr(PersistenceBackend, name)) or ""
        assert [a for a in added if f"{a} (since " not in doc and name in before["hooks"]] == []
        assert name in before["hooks"] or "(since " in doc


def test_older_backends_refuse_each_argument_that_was_added() -> None:
    """CA-005."""
    before = json.loads(GOLDEN.read_text("utf-8"))["hooks"]
    added = {
        (n, a)
        for n, arguments in interface()["hooks"].items()
        for a in arguments
        if a not in before.get(n, ())
    }
    assert added == REFUSED.keys()


def test_versions_before_this_one_are_frozen() -> None:
    """SP-004."""
    text = (SPEC / "SPEC.md").read_text("utf-8")
    assert f"Version {SPEC_VERSION}." in text
    major, minor = map(int, SPEC_VERSION.split("."))
    for past in range(minor):
        assert (SPEC / "versions" / f"{major}.{past}" / "SPEC.md").exists()


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(interface(), indent=1) + "\n", encoding="utf-8")
