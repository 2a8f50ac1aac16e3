"""Reports as one page that needs nothing else: levels, the matrix of clauses and backends, and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from perdure_conformance._checks import LEVELS
from perdure_conformance._results import Status
from perdure_conformance._spec import Specification
from perdure_conformance.report._entry import Entry
from perdure_conformance.report._levels import Verdict
from perdure_conformance.report._report import Report
from perdure_conformance.report._text import clean

__all__ = ["to_html"]

#: The chapters of the specification, by the letters of their clauses.
CHAPTERS = {
    "DM": "The data model",
    "VA": "Values",
    "FI": "Filters",
    "CO": "Commits",
    "RE": "Refs",
    "BR": "Branches",
    "ME": "Merge, revert and what-if",
    "VE": "Vectors",
    "UP": "Upkeep",
    "ER": "Errors",
    "HK": "Hooks",
    "CA": "Capabilities and versions",
}

#: What a clause is, of the checks that try it: the first of these that one of them is.
_WEIGHTIEST = (
    Status.FAILED,
    Status.UNEXPECTED,
    Status.EXPECTED,
    Status.SKIPPED,
    Status.NOT_RUN,
    Status.PASSED,
    Status.INAPPLICABLE,
    Status.ABSENT,
    Status.PREVIEW,
)

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Conformance to the perdure specification</title>
<style>
"""


def to_html(reports: Sequence[Report]) -> str:
    """One page with all reports side by side, in the order given."""
    style = files("perdure_conformance.report").joinpath("page.css").read_text(encoding="utf-8")
    parts = [
        f"{_HEAD}{style}</style>\n</head>\n<body>\n<h1>Conformance to the perdure specification</h1>",
        _runs(reports),
        _levels(reports),
        _failures(reports),
        _untried(reports),
        _matrix(reports),
        "</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _text(text: object) -> str:
    return escape(clean(str(text)))


def _table(head: Iterable[str], rows: Iterable[str]) -> str:
    cells = "".join(f'<th scope="col">{name}</th>' for name in head)
    return f'<div class="wide"><table>\n<thead><tr>{cells}</tr></thead>\n<tbody>\n{"".join(rows)}</tbody></table></div>'


# ----------------------------------------------------------------------------------------- the top


def _runs(reports: Sequence[Report]) -> str:
    rows = []
    for report in reports:
        packages = report.environment.get("packages", {})
        versions = ", ".join(f"{name} {packages[name]}" for name in sorted(packages))
        surroundings = ", ".join(str(report.environment.get(n, "")) for n in ("python", "platform"))
        verdict = "good" if report.good else "; ".join(report.problems)
        facts = (
            f"{report.backend.version} at {report.template}",
            f"specification {report.backend.spec_version} of {report.spec}; suite {report.suite}",
            f"{report.profile}, seed {report.seed}, {report.started}, {report.seconds} s",
            f"{surroundings}, {report.environment.get('cpus', '?')} processors; {versions}",
        )
        kind = "granted" if report.good else "denied"
        cells = "".join(f"<td>{_text(fact)}</td>" for fact in facts)
        rows.append(
            f'<tr><th scope="row">{_text(report.name)}</th><td class="{kind}">{_text(verdict)}</td>{cells}</tr>\n'
        )
    head = ("Backend", "Verdict", "Version", "Judged by", "Run", "On")
    return f"<h2>Runs</h2>\n{_table(head, rows)}"


def _levels(reports: Sequence[Report]) -> str:
    columns = [{verdict.level: verdict for verdict in report.verdicts} for report in reports]
    rows = []
    for level in LEVELS:
        cells = "".join(_level(column[level]) for column in columns)
        rows.append(f'<tr><th scope="row">{level}</th>{cells}</tr>\n')
    return f"<h2>Levels</h2>\n{_table(['Level', *(_text(report.name) for report in reports)], rows)}"


def _level(verdict: Verdict) -> str:
    counts = verdict.counts
    told = [f"{counts.passed} of {counts.declared} passed"]
    told += [f"{number} {word}" for word, number in _numbers(verdict) if number]
    state = f"{verdict.state}, without {', '.join(verdict.without)}" if verdict.without else verdict.state
    claim = "" if verdict.claimed else ", not claimed"
    why = f"<br><small>{_text('; '.join(verdict.why))}</small>" if verdict.state == "denied" else ""
    kind = verdict.state.replace(" ", "-")
    return f'<td class="{kind}">{_text(state + claim)}<br><small>{_text(", ".join(told))}</small>{why}</td>'


def _numbers(verdict: Verdict) -> list[tuple[str, int]]:
    names = ("failed", "skipped", "absent", "inapplicable", "expected", "unexpected", "preview", "not_run")
    return [(name.replace("_", " "), getattr(verdict.counts, name)) for name in names]


# --------------------------------------------------------------------------------------- failures


def _failures(reports: Sequence[Report]) -> str:
    spec = Specification.load()
    parts = ["<h2>Failures</h2>"]
    for report in reports:
        parts += [_failure(report, entry, spec) for entry in report.failures]
    return "\n".join(parts if len(parts) > 1 else [*parts, "<p>None.</p>"])


def _failure(report: Report, entry: Entry, spec: Specification) -> str:
    target = f"{report.plugin} --url '{report.template}'" if report.plugin else f"'{report.template}'"
    again = f"perdure conformance {target} --profile {report.profile} --replay "
    facts = [(clause, spec[clause].text if clause in spec else "") for clause in entry.clauses]
    facts += [("looked at", entry.what), ("expected", entry.expected), ("got", entry.got)]
    facts += [("reason", entry.reason), ("example", entry.example), ("notes", "\n".join(entry.notes))]
    facts += [("again", f"{again}{entry.check}:{entry.seed}:{entry.round}"), ("program", entry.repro_note)]
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>\n" for name, text in facts if text)
    title = f"{_text(report.name)}: {_text(entry.check)} <span class='soft'>{_text(entry.status)}</span>"
    folded = "".join(
        f"<details><summary>{name}</summary><pre>{_text(text)}</pre></details>\n"
        for name, text in (("Program that shows it", entry.repro), ("Traceback", entry.trace))
        if text
    )
    return f"<article><h3>{title}</h3>\n<p>{_text(entry.summary)}</p>\n<dl>\n{rows}</dl>\n{folded}</article>"


#: What is named with its reason, besides failures: why a level is denied, or what it was granted without.
_TOLD = (Status.SKIPPED, Status.EXPECTED, Status.INAPPLICABLE, Status.NOT_RUN)


def _untried(reports: Sequence[Report]) -> str:
    rows = [
        f'<tr><th scope="row">{_text(report.name)}</th><td>{_text(entry.check)}</td>'
        f"<td>{_text(entry.status)}</td><td>{_text(entry.reason)}</td></tr>\n"
        for report in reports
        for entry in report.entries
        if entry.status in _TOLD and entry.reason
    ]
    if not rows:
        return ""
    return f"<h2>Not shown to hold</h2>\n{_table(('Backend', 'Check', 'Status', 'Reason'), rows)}"


# ----------------------------------------------------------------------------------------- matrix


def _matrix(reports: Sequence[Report]) -> str:
    spec = Specification.load()
    columns = [_by_clause(report) for report in reports]
    named = sorted({clause for column in columns for clause in column} | set(spec))
    order = [*CHAPTERS, *sorted({clause[:2] for clause in named} - CHAPTERS.keys())]
    rows = []
    for letters in order:
        clauses = [clause for clause in named if clause[:2] == letters]
        if clauses:
            title = f"{_text(CHAPTERS.get(letters, 'Others'))} ({_text(letters)})"
            rows.append(f'<tr class="chapter"><th colspan="{len(reports) + 1}">{title}</th></tr>\n')
        for clause in clauses:
            text = spec[clause].text if clause in spec else ""
            cells = "".join(_cell(column.get(clause, [])) for column in columns)
            rows.append(
                f'<tr><th class="clause" scope="row"><b>{_text(clause)}</b>{_text(text)}</th>{cells}</tr>\n'
            )
    return f"<h2>Clauses</h2>\n{_table(['Clause', *(_text(report.name) for report in reports)], rows)}"


def _by_clause(report: Report) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in report.entries:
        for clause in entry.clauses:
            found.setdefault(clause, []).append(entry)
    return found


def _cell(entries: list[Entry]) -> str:
    """What the checks of one clause came to on one backend."""
    if not entries:
        return '<td class="cell none">–</td>'
    found = Counter(entry.status for entry in entries)
    status = next(status for status in _WEIGHTIEST if found[status])
    part = f" <small>{found[status]} of {len(entries)}</small>" if found[status] < len(entries) else ""
    told = "\n".join(f"{entry.check}: {entry.status}" for entry in entries)
    return f'<td class="cell {status.replace(" ", "-")}" title="{_text(told)}">{_text(status)}{part}</td>'
