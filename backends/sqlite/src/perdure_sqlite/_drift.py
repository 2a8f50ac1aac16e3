"""The SQL that brings a file's schema to the one that this version creates."""

from __future__ import annotations

import sqlite3

from perdure_sqlite._schema import Difference, differences

__all__ = ["mending"]


def mending(connection: sqlite3.Connection) -> list[str]:
    """Statements for what can be restored, in an order in which they can be run; comments for what cannot."""
    return [statement for each in differences(connection) for statement in _mended(each)]


def _mended(each: Difference) -> list[str]:
    drop = f'DROP {each.kind.upper()} IF EXISTS "{each.name.replace(chr(34), chr(34) * 2)}"'
    if each.expected is None:
        return [drop]
    if each.actual is None:
        return [each.expected]
    if each.kind == "index":
        return [drop, each.expected]
    # `!r`, so that no name ends the comment.
    return [
        f"-- {each.kind} {each.name!r} is defined otherwise, which SQL cannot mend in place: restore the file from "
        "a backup, or bring the rows over with perdure backup and perdure restore"
    ]
