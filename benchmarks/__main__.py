"""Run the benchmarks: ``python -m benchmarks [--engine NAME] [--rows N] [--only TEXT] [--json FILE]``."""

from __future__ import annotations

import argparse
import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from benchmarks.cases import BULK
from benchmarks.harness import Line, save, show

#: Each engine has a module of this name here, and needs the package.
ENGINES = {"sqlite": "perdure_sqlite", "postgres": "perdure_postgres", "lancedb": "perdure_lancedb"}


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--engine", choices=[*ENGINES, "all"], default="all", help="default: all that are installed"
    )
    parser.add_argument("--rows", type=int, default=200_000, help="memories in the store, at least 10,000")
    parser.add_argument(
        "--only",
        default="",
        help="only the cases whose names contain this text, or one of several (put,find)",
    )
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--folder", type=Path, help="where to put the files; default: a temporary folder")
    given = parser.parse_args()
    if given.rows < BULK:
        parser.error(f"--rows is at least {BULK}: so many are put at once")
    chosen = given.only.split(",")
    installed = [engine for engine, package in ENGINES.items() if find_spec(package) is not None]
    results: dict[str, list[Line]] = {}
    for engine in installed if given.engine == "all" else [given.engine]:
        measure = import_module(f"benchmarks.{engine}").run
        with tempfile.TemporaryDirectory(dir=given.folder, ignore_cleanup_errors=True) as folder:
            lines = measure(Path(folder), given.rows, lambda name: any(part in name for part in chosen))
            results[engine] = []
            for line in lines:  # told at once, for the whole takes minutes
                print(f"{line.name}: {line.ratio:.2f}x; {line.note}", flush=True)
                results[engine].append(line)
        show(engine, results[engine], Console(width=140))
    if given.json is not None:
        save(results, given.json)


if __name__ == "__main__":
    main()
