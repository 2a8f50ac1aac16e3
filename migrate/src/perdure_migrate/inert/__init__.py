"""Reads pickles, and files that hold pickles, without importing, calling or looking up anything that they name.

`Reader` reads files in a process of its own, with limits and under an audit hook; it knows streams of several
pickles, compression, shelves, and the files of joblib, NumPy and torch. `loads` and `load_all` read pickles here.
"""

from __future__ import annotations

from perdure_migrate.inert._frames import Frame, frame_of
from perdure_migrate.inert._limits import Limits
from perdure_migrate.inert._read import load_all, loads, loads_with_report
from perdure_migrate.inert._reader import Reader, Reading
from perdure_migrate.inert._report import Report, Seen

__all__ = [
    "Frame",
    "Limits",
    "Reader",
    "Reading",
    "Report",
    "Seen",
    "frame_of",
    "load_all",
    "loads",
    "loads_with_report",
]
