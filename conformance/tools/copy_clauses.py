"""Writes what the package carries of the specification: `clauses.json` and `golden_values.json`.

Run it when a clause or a golden vector changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from perdure_conformance._spec import clauses_of

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "conformance/src/perdure_conformance"


def clauses() -> str:
    """All clauses of all chapters, by id."""
    pages = [ROOT / "spec/SPEC.md", *sorted((ROOT / "spec/chapters").glob("*.md"))]
    found = [clause for page in pages for clause in clauses_of(page.read_text(encoding="utf-8"))]
    entries = [asdict(clause) for clause in sorted(found, key=lambda clause: clause.id)]
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def golden_values() -> str:
    """The golden vectors of values, as they are."""
    return (ROOT / "spec/golden/values.json").read_text(encoding="utf-8")


def current() -> Mapping[Path, str]:
    """What each file should hold."""
    return {PACKAGE / "clauses.json": clauses(), PACKAGE / "golden_values.json": golden_values()}


if __name__ == "__main__":
    for path, text in current().items():
        path.write_text(text, encoding="utf-8")
