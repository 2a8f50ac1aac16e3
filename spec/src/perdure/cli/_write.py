"""`put` and `delete`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Annotated, Any

import typer

from perdure import AlreadyExists, Collection, Committed, InvalidRecord, NotFound, PerdureError, Row, Store
from perdure._payload import PayloadWriter
from perdure._rows import codec
from perdure.cli._forms import Document
from perdure.cli._keys import keys_of, table_of
from perdure.cli._lines import JsonLines
from perdure.cli._opening import open_input, open_store
from perdure.cli._options import (
    AuthorOption,
    BranchOption,
    JsonOption,
    MessageOption,
    NamespaceOption,
    TableArgument,
    UrlArgument,
    UrlCommand,
)
from perdure.cli._output import output

__all__ = ["register"]

#: Records checked at a time by a dry run.
CHECKED_AT_ONCE = 1_000

Encode = Callable[[dict[str, Any]], Row]


def register(app: typer.Typer) -> None:
    """Add the commands that write records."""
    app.command("put", cls=UrlCommand)(put)
    app.command("delete", cls=UrlCommand)(delete)


def put(
    url: UrlArgument,
    table: TableArgument,
    source: Annotated[str, typer.Argument(metavar="[FILE|-]", help="JSON lines; - is standard input.")] = "-",
    insert: Annotated[
        bool, typer.Option("--insert", help="Refuse keys that exist, instead of replacing.")
    ] = False,
    chunk: Annotated[
        int | None,
        typer.Option("--chunk", min=1, metavar="N", help="Commit after each N records; else all or nothing."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    check_references: Annotated[
        bool, typer.Option("--check-references", help="Refuse rows that refer to absent rows.")
    ] = False,
    message: MessageOption = "",
    author: AuthorOption = "",
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """Write records from JSON lines, one object each, with the fields of the table.

    The store is created where it is missing. What `find --json` prints is taken back without loss.
    """
    schema, out = table_of(table), output(as_json)
    with open_input(source) as stream, out.progress(f"put {table}") as tell:
        lines = JsonLines(stream, schema, tell)
        if dry_run:
            found = _check(lines, table, insert, url, namespace, branch)
        else:
            options = {"message": message, "author": author or None, "check_references": check_references}
            with open_store(url, namespace=namespace, branch=branch, create=True) as store:
                records = store.table(table)
                write = records.insert if insert else records.put
                found = _put(lines, write, chunk, options, _encoder(table, store))
    out.document({"table": table, **found})


def _put(
    lines: JsonLines,
    write: Callable[..., Committed | None],
    chunk: int | None,
    options: dict[str, Any],
    encode: Encode,
) -> Document:
    written = commits = 0
    last: str | None = None
    records = iter(lines)
    while not lines.ended:
        with _line_told(lines, encode, chunk):
            result = write(islice(records, chunk), **options)
        if result is not None and result.commit is not None:
            written, commits, last = written + result.written, commits + 1, result.commit.id
    return {"read": lines.count, "written": written, "commits": commits, "commit": last}


@contextmanager
def _line_told(lines: JsonLines, encode: Encode, chunk: int | None = None) -> Iterator[None]:
    """Say in an error which line it is about, and how many records were committed before."""
    before = lines.count
    try:
        yield
    except PerdureError as error:
        if isinstance(error, InvalidRecord | NotFound):
            line = error.detail.get("line") or _faulty(lines, encode, error.message)
            if line is not None:
                error.message = f"line {line}: {error.message}"
                error.detail["line"] = line
        if chunk is not None:
            error.detail["committed"] = before
            if before:
                error.message += f" (the first {before} records were committed)"
        raise


def _encoder(table: str, store: Store | None) -> Encode:
    rows, payloads, spaces = codec(table), PayloadWriter(), _spaces(store)
    return lambda fields: rows.encode(fields, spaces, payloads)


def _faulty(lines: JsonLines, encode: Encode, message: str) -> int | None:
    """The line of the record that is refused with this message, among those encoded last."""
    for line, fields in lines.recent:
        try:
            encode(fields)
        except PerdureError as error:
            if error.message == message:
                return line
    return None


def _check(lines: JsonLines, table: str, insert: bool, url: str, namespace: str, branch: str) -> Document:
    """What `put` would do, without writing: every record is encoded, and keys are looked up."""
    try:
        store = open_store(url, namespace=namespace, branch=branch)
    except NotFound:
        if branch != "main":
            raise
        known = _check_lines(lines, table, insert, None)
    else:
        with store:
            known = _check_lines(lines, table, insert, store)
    return {"read": lines.count, "new": lines.count - known, "existing": known, "dry_run": True}


def _check_lines(lines: JsonLines, table: str, insert: bool, store: Store | None) -> int:
    schema, encode = table_of(table), _encoder(table, store)
    records, known = iter(lines), 0
    while not lines.ended:
        keys = []
        with _line_told(lines, encode):
            for fields in islice(records, CHECKED_AT_ONCE):
                keys.append(schema.key_of(encode(fields)))
        if store is not None:
            known += _known(store.table(table), keys, insert)
    return known


def _spaces(store: Store | None) -> Callable[[str], Any]:
    def missing(name: str) -> Any:
        raise NotFound(f"there is no space {name[:80]!r}; create it with: perdure space create")

    return missing if store is None else store.spaces.get


def _known(records: Collection[Any], keys: list[tuple[str, ...]], insert: bool) -> int:
    found = [key for key, record in zip(keys, records.get_many(keys), strict=True) if record is not None]
    if found and insert:
        raise AlreadyExists(f"a row {found[0]} exists already; without --insert it would be replaced")
    return len(found)


def delete(
    url: UrlArgument,
    table: TableArgument,
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="Ids; for vectors SPACE ID, for states KIND ID.")
    ],
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="Pass over keys that are absent.")] = False,
    message: MessageOption = "",
    author: AuthorOption = "",
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """Delete records by key, with their vectors, in one commit. History keeps them; `purge` does not."""
    wanted = keys_of(table_of(table), keys)
    with open_store(url, namespace=namespace, branch=branch, write=True) as store:
        result = store.table(table).delete(
            wanted, missing_ok=missing_ok, message=message, author=author or None
        )
    assert result is not None
    commit = result.commit
    output(as_json).document(
        {"table": table, "deleted": result.deleted, "commit": None if commit is None else commit.id}
    )
