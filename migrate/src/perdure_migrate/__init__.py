"""Brings pickles and other stores into perdure, inertly and verified.

`migrate` does the whole way; `inspect` looks at a source, `verify` compares a store with one. The reader of
pickles, which never imports or calls what a file names, is `perdure_migrate.inert`.
"""

from __future__ import annotations

from perdure_migrate._material import FileMaterial, Material, gather
from perdure_migrate._plan import Note, Plan, Planned, PlannedCheckpoint, SpaceWanted
from perdure_migrate._report import Report
from perdure_migrate._run import Inspection, inspect, migrate, verify
from perdure_migrate._settings import Settings
from perdure_migrate._sources import SOURCES, Detection, Source, detect, sources
from perdure_migrate._verify import Mismatch
from perdure_migrate.inert import Limits

__all__ = [
    "SOURCES",
    "Detection",
    "FileMaterial",
    "Inspection",
    "Limits",
    "Material",
    "Mismatch",
    "Note",
    "Plan",
    "Planned",
    "PlannedCheckpoint",
    "Report",
    "Settings",
    "Source",
    "SpaceWanted",
    "detect",
    "gather",
    "inspect",
    "migrate",
    "sources",
    "verify",
]
