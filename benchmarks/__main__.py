"""Run the benchmarks: ``python -m benchmarks [--rows N] [--only TEXT] [--json FILE]``."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks import sqlite
from benchmarks.harness import save, show


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="memories in the store")
    parser.add_argument("--only", default="", help="only lines whose case contains this text")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--folder", type=Path, help="where to put the files; default: a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder, ignore_cleanup_errors=True) as folder:
        lines = list(sqlite.run(Path(folder), given.rows, lambda name: given.only in name))
    show(lines, Console(width=110))
    if given.json is not None:
        save(lines, given.json)


if __name__ == "__main__":
    main()
