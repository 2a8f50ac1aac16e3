"""Writes what the package carries of the specification: `clauses.json` and `golden_values.json`.

Run it when a clause or a golden vector changes.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from perdure_conformance._spec import clauses_of

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "conformance/src/perdure_conformance"
COPY = PACKAGE / "clauses.json"
GOLDEN = PACKAGE / "golden_values.json"


def current() -> str:
    """What `clauses.json` should hold: all clauses of all chapters, by id."""
    pages = [ROOT / "spec/SPEC.md", *sorted((ROOT / "spec/chapters").glob("*.md"))]
    found = [clause for page in pages for clause in clauses_of(page.read_text(encoding="utf-8"))]
    entries = [asdict(clause) for clause in sorted(found, key=lambda clause: clause.id)]
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


def current_golden() -> str:
    """What `golden_values.json` should hold: the golden vectors of values, as they are."""
    return (ROOT / "spec/golden/values.json").read_text(encoding="utf-8")


if __name__ == "__main__":
    COPY.write_text(current(), encoding="utf-8")
    GOLDEN.write_text(current_golden(), encoding="utf-8")
