"""Results on stdout: JSON, a table on a terminal, or tab-separated text for other programs."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from typing import Any, Literal

import msgspec
import typer

from perdure.cli._forms import Document, printable, to_json

__all__ = ["Output", "output"]

#: The fraction of a second, which tables on a terminal leave out.
_TIME = re.compile(r"(?<=^....-..-..T..:..:..)\.[0-9]{6}Z$")
_STAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$")
#: Rows per table on a terminal: long streams come as several tables, in bounded memory.
ROWS_PER_TABLE = 500


class Output:
    """Prints the results of one command.

    Attributes:
        json: Whether ``--json`` was given.
    """

    def __init__(self, as_json: bool) -> None:
        self.json = as_json

    def document(self, document: Mapping[str, Any]) -> None:
        """Print one document; for people, one line for each field that is set.

        Nested mappings are told as ``outer.inner``.
        """
        if self.json:
            self._line(to_json(document))
            return
        pairs = [(name, text) for name, cell in _flat(document) if (text := _shown(cell))]
        width = max((len(name) for name, _ in pairs), default=0) if sys.stdout.isatty() else 0
        for name, text in pairs:
            self._line(f"{name:<{width}}  {text}" if width else f"{name}\t{text}")

    def rows(self, documents: Iterable[Document], columns: Sequence[str]) -> int:
        """Print a stream of documents: JSON lines, or a table of some of their fields.

        Args:
            documents: Taken one by one, so that a long stream needs no memory.
            columns: The fields that a table shows; ``outer.inner`` reaches into a nested mapping.

        Returns:
            How many there were.
        """
        count = 0
        if self.json:
            for count, document in enumerate(documents, 1):  # noqa: B007
                self._line(to_json(document))
            return count
        cells = ([_shown(_reach(document, name)) for name in columns] for document in documents)
        if sys.stdout.isatty():
            return _tables(([_TIME.sub("Z", cell) for cell in row] for row in cells), columns)
        first = next(cells, None)
        if first is None:
            return 0
        self._line("\t".join(columns))
        for count, row in enumerate(chain((first,), cells), 1):  # noqa: B007
            self._line("\t".join(row))
        return count

    def text(self, text: str, document: Mapping[str, Any]) -> None:
        """Print one plain answer: `text` for people, `document` under ``--json``."""
        self._line(to_json(document) if self.json else text)

    def notice(self, text: str, document: Mapping[str, Any] | None = None) -> None:
        """Say something beside the result, on stderr; under ``--json`` only where there is a `document`."""
        if not self.json:
            typer.echo(printable(text), err=True)
        elif document is not None:
            typer.echo(to_json(document), err=True)

    @contextmanager
    def progress(self, label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """A progress bar on stderr, if that is a terminal; gives a function that takes the number done.

        Args:
            label: What is going on.
            total: How many there will be, where that is known.
        """
        if self.json or not sys.stderr.isatty():
            yield lambda done: None
            return
        from rich.console import Console  # noqa: PLC0415 (slow to load, and seldom needed)
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda done: bar.update(task, completed=done)

    @contextmanager
    def stages(self) -> Iterator[Callable[[str, int, int], None]]:
        """A bar for each stage of a long work, one after the other.

        It gives a function that takes what is going on, how many are done, and how many there will be; 0 where
        nobody knows.
        """
        stage: str | None = None
        move: Callable[[int], None]

        def tell(what: str, done: int, total: int) -> None:
            nonlocal stage, move
            if what != stage:
                bars.close()
                stage, move = what, bars.enter_context(self.progress(what, total or None))
            move(done)

        with ExitStack() as bars:
            yield tell

    @staticmethod
    def _line(text: str) -> None:
        try:
            sys.stdout.write(text + "\n")
        except UnicodeEncodeError:  # a terminal or locale without Unicode
            encoding = sys.stdout.encoding
            sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def output(as_json: bool) -> Output:
    """Where a command prints its results."""
    return Output(as_json)


def _tables(rows: Iterator[list[str]], columns: Sequence[str]) -> int:
    from rich.console import Console  # noqa: PLC0415 (slow to load)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console, count = Console(), 0
    keys = {place for place, name in enumerate(columns) if place == 0 or name == "id"}
    while block := list(islice(rows, ROWS_PER_TABLE)):
        # Columns in which nothing stands would only take room. Text: stored brackets are no markup.
        shown = [
            place for place, _ in enumerate(columns) if place in keys or any(row[place] for row in block)
        ]
        cells = [[Text(row[place]) for place in shown] for row in block]
        longest = [max(text.cell_len for text in column) for column in zip(*cells, strict=True)]
        wanted = [max(width, len(columns[place])) for width, place in zip(longest, shown, strict=True)]
        table = Table(box=None, pad_edge=False, header_style="bold")
        least = [
            _least(width, place in keys, console.width, len(keys))
            if place in keys or not _STAMP.match(block[0][place])
            else 17  # to the minute
            for width, place in zip(wanted, shown, strict=True)
        ]
        widths = _widths(wanted, least, console.width - 2 * (len(shown) - 1))
        for place, width in zip(shown, widths, strict=True):
            # Keys are folded, never cut; the rest is cut to one line.
            key = place in keys
            overflow: Literal["fold", "ellipsis"] = "fold" if key else "ellipsis"
            table.add_column(columns[place], width=width, no_wrap=not key, overflow=overflow)
        for row in cells:
            table.add_row(*row)
        console.print(table)
        count += len(block)
    return count


def _least(wanted: int, key: bool, room: int, keys: int) -> int:
    """The width below which a column is not narrowed: for keys a share of half the room."""
    return min(wanted, max(4, room // 2 // keys) if key else 4)


def _widths(wanted: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Column widths that fit; those with the most to spare give way first."""
    widths = list(wanted)
    while sum(widths) > room:
        spare, place = max(
            (width - low, at) for at, (width, low) in enumerate(zip(widths, least, strict=True))
        )
        if spare <= 0:
            break
        widths[place] -= 1
    return widths


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, cell in document.items():
        if isinstance(cell, Mapping):
            yield from _flat(cell, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", cell


def _reach(document: Mapping[str, Any], path: str) -> Any:
    cell: Any = document
    for name in path.split("."):
        cell = cell.get(name) if isinstance(cell, Mapping) else None
    return cell


def _shown(cell: Any) -> str:
    """One cell for people, on one line."""
    if cell is None:
        return ""
    if isinstance(cell, msgspec.Raw):
        text = bytes(cell).decode()
        return "" if text == "null" else printable(text)
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, (list, tuple)):
        return ", ".join(_shown(item) for item in cell)
    return printable(cell if isinstance(cell, str) else str(cell))
