"""What a migration tells at its end, for people and for programs."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perdure import InvalidInput, StorageError

from perdure_migrate._plan import Note
from perdure_migrate._verify import Mismatch
from perdure_migrate.inert import Seen

__all__ = ["Report", "check_report_path", "save", "save_document"]


@dataclass(slots=True)
class Report:
    """Everything that happened, or would happen.

    Attributes:
        source: The file or directory.
        kind: The name of the source plugin.
        why: Why the source was taken for that.
        digest: The hash of its content.
        target: The URL.
        namespace: Whose memory.
        branch: The branch written to.
        action: "migrate", "verify" or "dry run".
        found: What the source holds, by its own words.
        planned: Rows by table.
        present: Rows that were there before, by table.
        written: Rows written now.
        commits: Ids of the commits made.
        backup: The backup made before, if there was one.
        checkpoints: Names of the checkpoints planned.
        equal: Rows read back and equal to the source, by table.
        mismatches: What is not equal.
        notes: What fits no typed field, has a derived key, is not mapped, or was left out.
        classes: The classes and functions that the source names; none was imported.
    """

    source: str
    kind: str
    why: str
    digest: str
    target: str
    namespace: str
    branch: str
    action: str
    found: dict[str, int]
    planned: dict[str, int]
    present: dict[str, int] = field(default_factory=dict)
    written: int = 0
    commits: list[str] = field(default_factory=list)
    backup: str | None = None
    checkpoints: list[str] = field(default_factory=list)
    equal: dict[str, int] = field(default_factory=dict)
    mismatches: list[Mismatch] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    classes: list[Seen] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything in the source is in the store, and equal."""
        return not self.mismatches and not any(note.kind == "left out" for note in self.notes)

    @property
    def note_counts(self) -> dict[str, int]:
        """Notes by kind."""
        return dict(Counter(note.kind for note in self.notes))

    def document(self) -> dict[str, Any]:
        """The report as plain data; lone surrogates are escaped."""
        plain: dict[str, Any] = _plain({**asdict(self), "ok": self.ok})
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def save(report: Report, path: Path, source: Path) -> None:
    """Write a report as JSON; the file appears when it is complete.

    Raises:
        InvalidInput: The file is the source, or in it.
        StorageError: It cannot be written.
    """
    check_report_path(path, source)
    save_document(report.document(), path)


def save_document(document: dict[str, Any], path: Path) -> None:
    """Write a document as JSON; the file appears when it is complete.

    Raises:
        StorageError: It cannot be written.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.absolute().parent, prefix=f".{path.name}-", delete=False
        ) as file:
            file.write(text.encode() + b"\n")
        os.replace(file.name, path)
    except OSError as error:
        raise StorageError(
            f"the report {str(path)!r} cannot be written: {error}", cause=str(error)
        ) from error


def check_report_path(path: Path, source: Path) -> None:
    """Refuse, before anything is done, a report that would be written over the source or into it.

    Raises:
        InvalidInput: It would.
    """
    mine, theirs = Path(os.path.realpath(path)), Path(os.path.realpath(source))
    if mine == theirs or theirs in mine.parents:
        raise InvalidInput("the report would be written into the source; choose another place")
