"""Writes `docs/reference/mutants.md` from the mutants of the suite. Run it when one is added or changed."""

from __future__ import annotations

import re
from pathlib import Path

from perdure_conformance import Specification
from perdure_conformance.mutants import MUTANTS, RACING, Mutant

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/mutants.md"

HEAD = """\
# Mutants

Each of these is a healthy backend with one thing broken, by a [wrapper](../../conformance/src/perdure_conformance/mutants).
A check that names the clause must notice: that is tried for every mutant, in every run of the tests. They show that a
green report means something. What can be broken only inside an engine is tried in that engine's own tests.

"""


def current() -> str:
    """What the page should say."""
    spec = Specification.load()
    clauses = sorted({mutant.clause for mutant in (*MUTANTS, *RACING)})
    texts = "".join(f"- **{clause}** {spec[clause].text}\n" for clause in clauses)
    return (
        f"{HEAD}{_table(MUTANTS)}\n"
        "These show only when several threads or processes work at once, or when one of them dies:\n\n"
        f"{_table(RACING)}\n"
        f"{len(MUTANTS)} and {len(RACING)} mutants. The clauses that they break:\n\n{texts}"
    )


def _table(mutants: tuple[Mutant, ...]) -> str:
    rows = "".join(f"| {_words(m.name)} | {m.summary} | `{m.clause}` |\n" for m in mutants)
    return f"| mutant | what is broken | clause |\n|---|---|---|\n{rows}"


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()


if __name__ == "__main__":
    PAGE.write_text(current(), encoding="utf-8")
