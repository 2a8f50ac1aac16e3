"""Reads pickles without importing, calling or looking up anything that they name."""

from __future__ import annotations

from perdure_migrate.inert._limits import Limits
from perdure_migrate.inert._read import load_all, loads, loads_with_report
from perdure_migrate.inert._report import Report, Seen

__all__ = ["Limits", "Report", "Seen", "load_all", "loads", "loads_with_report"]
