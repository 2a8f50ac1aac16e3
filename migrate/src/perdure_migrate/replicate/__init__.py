"""History copied whole: from store to store, to and from portable files, at once or as it grows.

`copy` copies namespaces and compares both sides, `sync` copies what is new, `export_file` writes a portable
file, which `copy` reads; `verify` compares. All keep ids, times, authors and parents.
"""

from __future__ import annotations

from perdure_migrate.replicate._ends import is_history, is_store
from perdure_migrate.replicate._portable_read import PortableFile, is_portable
from perdure_migrate.replicate._portable_write import write_portable
from perdure_migrate.replicate._report import NamespaceReport, ReplicaReport
from perdure_migrate.replicate._run import copy, export_file, sync, verify
from perdure_migrate.replicate._slices import Limits

__all__ = [
    "Limits",
    "NamespaceReport",
    "PortableFile",
    "ReplicaReport",
    "copy",
    "export_file",
    "is_history",
    "is_portable",
    "is_store",
    "sync",
    "verify",
    "write_portable",
]
