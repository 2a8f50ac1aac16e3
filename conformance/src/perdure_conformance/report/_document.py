"""A report as JSON, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from perdure import Description, InvalidInput, Support

from perdure_conformance.report._entry import Entry
from perdure_conformance.report._levels import verdicts
from perdure_conformance.report._text import clean

if TYPE_CHECKING:
    from perdure_conformance.report._report import Report

__all__ = ["FORMAT", "declared", "read_report", "report_document", "to_text"]

#: The version of the form of reports.
FORMAT = 1

_PLAIN = ("template", "plugin", "profile", "seed", "interrupted", "started", "seconds", "environment")


def report_document(report: Report) -> dict[str, Any]:
    """The report as plain data. What follows from the results is said as well, for readers."""
    return {
        "format": FORMAT,
        "spec": report.spec,
        "suite": report.suite,
        "backend": _backend(report.backend),
        "wrap": list(report.wrap),
        **{name: getattr(report, name) for name in _PLAIN},
        "asked": list(report.asked),
        "only": list(report.only),
        "good": report.good,
        "problems": list(report.problems),
        "levels": [_plain(asdict(verdict)) for verdict in report.verdicts],
        "counts": asdict(report.counts),
        "areas": {name: asdict(counts) for name, counts in report.areas.items()},
        "checks": [entry.document() for entry in report.entries],
    }


def _backend(backend: Description) -> dict[str, Any]:
    return {
        "name": backend.name,
        "version": backend.version,
        "spec_version": backend.spec_version,
        "durability": backend.durability,
        "levels": list(backend.levels),
        "capabilities": {name: str(backend.capabilities[name]) for name in sorted(backend.capabilities)},
    }


def _read_backend(backend: dict[str, Any]) -> Description:
    return Description(
        name=str(backend["name"]),
        version=str(backend["version"]),
        spec_version=str(backend["spec_version"]),
        durability=str(backend["durability"]),
        levels=tuple(map(str, backend["levels"])),
        capabilities={str(name): Support(how) for name, how in backend["capabilities"].items()},
    )


def declared(backend: Description) -> Description:
    """Of what a backend declares, that which a report keeps."""
    return _read_backend(_backend(backend))


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    return {name: list(cell) if isinstance(cell, tuple) else cell for name, cell in document.items()}


def to_text(document: dict[str, Any]) -> str:
    """JSON in the order of the document, in ASCII, with a line for each item."""
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def read_report(text: str | bytes) -> dict[str, Any]:
    """The fields of a `Report`.

    Raises:
        InvalidInput: The text is no report, or was changed so that its conclusions do not follow.
    """
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise InvalidInput(f"a report of format {document['format']!r:.20}; this suite reads {FORMAT}")
        found = _fields(document)
        mine = [
            _plain(asdict(verdict))
            for verdict in verdicts(
                found["entries"], found["backend"], found["asked"], interrupted=found["interrupted"]
            )
        ]
    except InvalidInput:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        told = clean(f"{type(error).__name__}: {error}")
        raise InvalidInput(f"this is no report of perdure conformance: {told}") from error
    if document.get("levels") != mine:
        raise InvalidInput("the levels in this report do not follow from its results")
    return found


def _fields(document: dict[str, Any]) -> dict[str, Any]:
    found = {name: document[name] for name in (*_PLAIN, "spec", "suite")}
    texts = ("spec", "suite", "template", "profile", "started")
    if not all(isinstance(found[name], str) for name in texts):
        raise TypeError(f"{', '.join(texts)} are texts")
    if not (isinstance(found["interrupted"], bool) and isinstance(found["environment"], dict)):
        raise TypeError("interrupted is true or false, environment an object")
    found["seed"], found["seconds"] = int(found["seed"]), float(found["seconds"])
    found["backend"] = _read_backend(document["backend"])
    for name in ("wrap", "asked", "only"):
        found[name] = tuple(map(str, document[name]))
    found["entries"] = tuple(map(Entry.read, document["checks"]))
    return found
