"""A report as JUnit XML, as build servers show it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from perdure_conformance._results import Status
from perdure_conformance.report._entry import BAD, Entry
from perdure_conformance.report._levels import Verdict
from perdure_conformance.report._report import Report
from perdure_conformance.report._text import clean

__all__ = ["to_junit"]


def to_junit(report: Report) -> str:
    """A test suite with a test case for each check that was chosen, and one with each level that was wanted.

    What did not run, what is absent or does not apply and what was expected to fail are skipped tests with a reason.
    """
    root = ET.Element("testsuites", name=clean(f"perdure conformance of {report.name}"))
    checks = [_check(entry) for entry in report.entries if entry.status is not Status.NOT_RUN]
    levels = [
        _level(verdict) for verdict in report.verdicts if verdict.claimed or verdict.asked or verdict.granted
    ]
    _suite(root, "checks", checks, report)
    if not report.only:
        _suite(root, "levels", levels, report)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(root: ET.Element, name: str, cases: list[ET.Element], report: Report) -> None:
    suite = ET.SubElement(
        root,
        "testsuite",
        name=name,
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
        errors="0",
        timestamp=clean(report.started.removesuffix("Z")),
        time=f"{report.seconds:.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    facts = {"backend": report.name, "spec": report.spec, "suite": report.suite, "profile": report.profile}
    for key, fact in (*facts.items(), ("seed", str(report.seed))):
        ET.SubElement(properties, "property", name=key, value=clean(fact))
    suite.extend(cases)


def _check(entry: Entry) -> ET.Element:
    name = entry.check.removeprefix(f"{entry.area}.")
    case = ET.Element("testcase", classname=clean(entry.area), name=clean(name), time=f"{entry.seconds:.3f}")
    if entry.status in BAD:
        failure = ET.SubElement(
            case, "failure", type=str(entry.status), message=clean(entry.what or entry.reason)
        )
        failure.text = clean(_told(entry))
    elif entry.status is not Status.PASSED:
        ET.SubElement(case, "skipped", message=clean(f"{entry.status}: {entry.reason}"))
    return case


def _told(entry: Entry) -> str:
    facts = (("expected", entry.expected), ("got", entry.got), ("reason", entry.reason))
    lines = [" ".join(entry.clauses), *(f"{name}: {text}" for name, text in facts if text)]
    lines.append(f"replay: {entry.check}:{entry.seed}:{entry.round}")
    return "\n".join((*lines, entry.trace))


def _level(verdict: Verdict) -> ET.Element:
    case = ET.Element("testcase", classname="levels", name=clean(verdict.title), time="0.000")
    wanted = verdict.claimed or verdict.asked
    if wanted != verdict.granted or (verdict.granted and not verdict.claimed):
        why = "; ".join(verdict.why) or "it is reached, but not claimed"
        ET.SubElement(case, "failure", type=verdict.state, message=clean(why))
    return case
