"""The object that tells a store of ours, in a format that this version knows, from anything else."""

from __future__ import annotations

import re

from perdure import IncompatibleStore

__all__ = ["FORMAT", "MARKER", "check_format"]

MARKER = "format"
FORMAT = b"perdure-lancedb 1\n"


def check_format(found: bytes | None, place: str) -> None:
    """See that the marker is of this version's format.

    Raises:
        IncompatibleStore: It is another's, or a later one's.
    """
    if found == FORMAT:
        return
    other = re.fullmatch(rb"perdure-lancedb (\d{1,9})\n", found or b"")
    if other:
        raise IncompatibleStore(
            f"{place} has format {int(other[1])}, and this version of perdure-lancedb knows 1; install the version "
            "that wrote it",
            version=int(other[1]),
        )
    raise IncompatibleStore(
        f"{place} holds something else than a LanceDB store of perdure; choose another place"
    )
