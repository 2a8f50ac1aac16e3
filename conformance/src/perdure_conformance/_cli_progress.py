"""What is shown on a terminal while checks run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from perdure_conformance._results import Result, Status

__all__ = ["progress"]


@contextmanager
def progress(total: int) -> Iterator[Callable[[Result], None]]:
    """A bar on stderr, if that is a terminal; gives a function that takes each result.

    Args:
        total: How many checks there are.
    """
    if not sys.stderr.isatty():
        yield lambda result: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("checks", total=total)

        def show(result: Result) -> None:
            bar.advance(task)
            if result.status in (Status.FAILED, Status.UNEXPECTED):
                bar.console.print(Text(f"{result.status}: {result.check.id}"))

        yield show
