"""Links lead somewhere, clause numbers are unique, and decisions keep to their form."""

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["uv"]["workspace"][
    "members"
]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(page for room in ROOMS for page in (ROOT / room).glob("*.md")),
]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
SPEC = ROOT / "spec" / "SPEC.md"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The text of a page without code, which holds no links, on the same lines."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(
        r"^(`{3,}|~{3,})[^\n]*\n.*?^\1\s*$", lambda m: "\n" * m[0].count("\n"), text, flags=re.M | re.S
    )
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    """The fragments that a page offers: explicit ids, and the slugs that GitHub makes of headings."""
    text = page.read_text(encoding="utf-8")
    found = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))
    seen: Counter[str] = Counter()
    body = re.sub(r"^(`{3,}|~{3,})[^\n]*\n.*?^\1\s*$", "", text, flags=re.M | re.S)
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", body, flags=re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for number, line in enumerate(prose(page).splitlines(), 1):
        for target in re.findall(r"\]\(\s*<?([^)\s>]+)", line) + re.findall(r"^\[[^\]]+\]:\s*(\S+)", line):
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue  # another site: no test depends on a network
            path, _, fragment = target.partition("#")
            goal = (page.parent / path).resolve() if path else page
            if not goal.exists():
                broken.append(f"{name_of(page)}:{number}: {target} is not there")
            elif fragment and goal.suffix == ".md" and fragment not in anchors(goal):
                broken.append(f"{name_of(page)}:{number}: {name_of(goal)} has no heading #{fragment}")
    assert not broken, "\n".join(broken)


def test_every_page_of_the_documentation_is_reachable() -> None:
    start = ROOT / "docs" / "index.md"
    seen, waiting = {start}, [start]
    while waiting:
        page = waiting.pop()
        for target in re.findall(r"\]\(([^)#\s]+\.md)", prose(page)):
            goal = (page.parent / target).resolve()
            if goal.exists() and goal not in seen:
                seen.add(goal)
                waiting.append(goal)
    lost = set((ROOT / "docs").rglob("*.md")) - seen
    assert not lost, f"no way leads from docs/index.md to {sorted(map(name_of, lost))}"


def test_clause_numbers_of_the_specification_are_unique() -> None:
    clauses = re.findall(
        r"^\s*(?:[-*]\s*)?\*\*([A-Z]{2,4}-\d{3})\*\*", SPEC.read_text(encoding="utf-8"), flags=re.M
    )
    assert clauses, (
        "spec/SPEC.md defines no clause; a clause begins a line or an item with its number, as **BR-014**"
    )
    twice = sorted(clause for clause, count in Counter(clauses).items() if count > 1)
    assert not twice, f"spec/SPEC.md defines {twice} more than once"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_clauses_that_a_page_cites_exist(page: Path) -> None:
    spec = SPEC.read_text(encoding="utf-8")
    defined = set(re.findall(r"\*\*([A-Z]{2,4}-\d{3})\*\*", spec))
    families = {clause.partition("-")[0] for clause in defined}
    cited = {c for c in re.findall(r"\b[A-Z]{2,4}-\d{3}\b", prose(page)) if c.partition("-")[0] in families}
    assert cited <= defined, (
        f"{name_of(page)} cites {sorted(cited - defined)}, which spec/SPEC.md does not define"
    )


@pytest.mark.parametrize("page", DECISIONS, ids=name_of)
def test_a_decision_keeps_to_the_form(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {page.name[:4]}: ")
    assert re.search(r"^- Status: (proposed|accepted|replaced by \[?\d{4})", text, flags=re.M)
    assert re.search(r"^- Date: \d{4}-\d{2}-\d{2}$", text, flags=re.M)
    headings = re.findall(r"^## (.+)$", text, flags=re.M)
    assert headings == ["Context", "Decision", "Consequences", "Rejected"]
    assert page.name in (page.parent / "index.md").read_text(encoding="utf-8")


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
