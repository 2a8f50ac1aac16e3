"""Writes `clauses.json` from the chapters of the specification. Run it when a clause changes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from perdure_conformance._spec import clauses_of

ROOT = Path(__file__).parents[2]
COPY = ROOT / "conformance/src/perdure_conformance/clauses.json"


def current() -> str:
    """What the file should hold."""
    pages = [ROOT / "spec/SPEC.md", *sorted((ROOT / "spec/chapters").glob("*.md"))]
    clauses = [clause for page in pages for clause in clauses_of(page.read_text(encoding="utf-8"))]
    entries = [asdict(clause) for clause in sorted(clauses, key=lambda clause: clause.id)]
    return json.dumps(entries, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    COPY.write_text(current(), encoding="utf-8")
