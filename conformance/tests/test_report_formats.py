"""The report as JSON, JUnit and HTML, also where what it tells is hostile."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import perdure
import pytest
from perdure import InvalidInput
from perdure_conformance import Case, Check, Result, Status, Target, judge
from perdure_conformance.report import Entry, Report, to_html, to_junit

HOSTILE = "a\0b\x1b[31m \ud800 \uffff <script>alert(1)</script> & \"quoted\" 'single' ]]> [red] é😀"

DEEP = {"string": str, "boolean": bool, "object": dict, "array": list, "null": type(None)}


def nothing(case: Case) -> None:
    """Nothing is tried."""


def hostile() -> Report:
    """A report with every status, and hostile text wherever a backend can put some."""
    results, suite = [], []
    for number, status in enumerate(Status):
        check = Check(
            "made_up", f"check{number}", ("BR-005",), "core", frozenset(), "example", 0.0, HOSTILE, nothing
        )
        result = Result(
            check, status, reason=HOSTILE, what=HOSTILE, expected=HOSTILE, got=HOSTILE, trace=HOSTILE
        )
        result.notes, result.example, result.repro_note = [HOSTILE], (HOSTILE,), HOSTILE
        suite.append(check)
        results.append(result)
    began = datetime(2026, 11, 20, 12, tzinfo=UTC)
    target = Target.of("memory")
    return Report.of(results, target, suite=suite, profile="quick", seed=7, started=began, seconds=1.5)


@pytest.fixture(scope="module")
def real() -> Report:
    return judge("memory", only=["branches.main", "branches.a_fork"], seed=5)


# ------------------------------------------------------------------------------------------- JSON


def problems(schema: Any, document: Any, root: Any, at: str = "$") -> list[str]:
    """What a document has against the part of JSON Schema that the schema uses."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    found = []
    if "enum" in schema and document not in schema["enum"]:
        found.append(f"{at} is none of {schema['enum']}")
    if "const" in schema and document != schema["const"]:
        found.append(f"{at} is not {schema['const']}")
    if "type" in schema and not any(is_a(kind, document) for kind in _listed(schema["type"])):
        found.append(f"{at} is no {schema['type']}")
    if isinstance(document, dict):
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        found += [f"{at} lacks {name}" for name in schema.get("required", []) if name not in document]
        for name, item in document.items():
            if name not in properties and rest is False:
                found.append(f"{at} has {name}")
            inner = properties.get(name, rest)
            found += problems(inner, item, root, f"{at}.{name}") if isinstance(inner, dict) else []
    if isinstance(document, list) and "items" in schema:
        for number, item in enumerate(document):
            found += problems(schema["items"], item, root, f"{at}[{number}]")
    return found


def _listed(kind: Any) -> list[str]:
    return kind if isinstance(kind, list) else [kind]


def is_a(kind: str, document: Any) -> bool:
    if kind in ("integer", "number"):
        return isinstance(document, (int, float) if kind == "number" else int) and not isinstance(
            document, bool
        )
    return isinstance(document, DEEP[kind])


def test_reports_keep_to_the_schema_and_the_schema_bites(real: Report) -> None:
    text = files("perdure_conformance.report").joinpath("report.schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    for report in (real, hostile()):
        assert problems(schema, json.loads(report.to_json()), schema) == []
    broken = json.loads(real.to_json())
    broken["checks"][0]["status"] = "fine"
    broken["levels"][0]["extra"] = 1
    del broken["seed"]
    assert len(problems(schema, broken, schema)) == 3


def test_the_schema_is_explained() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs/reference/conformance-report.md").read_text(encoding="utf-8")
    schema = json.loads(files("perdure_conformance.report").joinpath("report.schema.json").read_text("utf-8"))
    names = {*schema["properties"], *schema["properties"]["checks"]["items"]["properties"]}
    names |= set(schema["$defs"]["counts"]["properties"])
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_json_goes_there_and_back_with_the_same_bytes(real: Report) -> None:
    for report in (real, hostile()):
        text = report.to_json()
        again = Report.from_json(text)
        assert (again, again.to_json()) == (report, text)
        assert text.isascii()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"format": 2}', '{"format": 1}', "[" * 100_000, b"\xff\xfe\xfa"]
)
def test_what_is_no_report_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidInput):
        Report.from_json(text)


def test_levels_that_do_not_follow_from_the_results_are_refused(real: Report) -> None:
    document = json.loads(real.to_json())
    document["levels"][0]["state"] = "granted"
    with pytest.raises(InvalidInput, match="do not follow"):
        Report.from_json(json.dumps(document))


def test_a_report_tells_nothing_of_the_machine(tmp_path: Path) -> None:
    secret = f"sqlite:///{tmp_path}/ann-{{unique}}.db"
    report = judge(secret, only=["branches.main"], seed=1)
    text = report.to_json() + to_html([report]) + to_junit(report)
    assert report.counts.passed == 1
    assert report.template == "sqlite://…/ann-{unique}.db"
    for private in (str(tmp_path), os.path.expanduser("~") + "/", str(Path(perdure.__file__).parents[1])):
        assert private not in text
    check = Check("made_up", "x", ("BR-001",), "core", frozenset(), "example", 0.0, "", nothing)
    trace = f'File "{perdure.__file__}", line 3; db://ann:secret@host/x; {Path.home()}/notes'
    told = Entry.of(Result(check, Status.FAILED, trace=trace)).trace
    assert "…/perdure/__init__.py" in told
    assert "secret" not in told
    assert str(Path.home()) not in told


# ------------------------------------------------------------------------------------------ JUnit


def test_junit_has_a_case_for_each_check_that_was_chosen(real: Report) -> None:
    root = ET.fromstring(to_junit(real).encode())
    cases = list(root.iter("testcase"))
    assert {case.get("classname") for case in cases} == {"branches"}
    assert len(cases) == real.counts.ran
    assert root.find(".//failure") is None


def test_junit_is_valid_with_hostile_text() -> None:
    text = to_junit(hostile())
    root = ET.fromstring(text.encode())
    checks = root.find("testsuite[@name='checks']")
    assert checks is not None
    assert [checks.get(name) for name in ("tests", "failures", "skipped", "errors")] == ["8", "2", "5", "0"]
    failure = checks.find(".//failure")
    assert failure is not None
    assert "\\x00" in (failure.get("message") or "")
    levels = {
        case.get("name"): case.find("failure")
        for case in root.iter("testcase")
        if case.get("classname") == "levels"
    }
    assert levels["core"] is not None


# ------------------------------------------------------------------------------------------- HTML


class Page(HTMLParser):
    """Checks that tags are closed, and collects them and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def test_the_page_stands_alone_and_is_escaped() -> None:
    report = replace(
        hostile(), template=HOSTILE, environment={"python": HOSTILE, "packages": {HOSTILE: HOSTILE}}
    )
    text = to_html([report, report])
    text.encode("utf-8")
    page = parsed(text)
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "link", "img", "iframe", "object", "a", "form"})
    assert not any(
        name in ("src", "href", "style") or name.startswith("on") for _, a in page.tags for name in a
    )
    assert "url(" not in text
    assert "<script>alert(1)</script>" in page.text
    assert not re.search("[\0-\x08\x0b-\x1f\x7f]", text)


def test_the_page_shows_backends_side_by_side(real: Report) -> None:
    other = judge("sqlite", only=["branches.main"], seed=5)
    page = parsed(to_html([real, other]))
    cells = [a for tag, a in page.tags if tag == "td" and "cell" in (a.get("class") or "")]
    clauses = [a for tag, a in page.tags if tag == "th" and a.get("class") == "clause"]
    assert len(cells) == 2 * len(clauses)
    assert {"memory", "sqlite"} <= set(re.findall(r"\w+", page.text))
    assert "Branches (BR)" in page.text
    assert any("passed" in (a.get("class") or "") for a in cells)


def test_the_same_reports_make_the_same_page(real: Report) -> None:
    assert to_html([real]) == to_html([Report.from_json(real.to_json())])
