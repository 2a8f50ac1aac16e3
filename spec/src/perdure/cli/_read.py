"""`find`, `get`, `count` and `search`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from perdure import Collection, InvalidInput, NotFound, Record, Store
from perdure.cli._forms import Document, record_document
from perdure.cli._keys import columns_of, keys_of, table_of
from perdure.cli._opening import open_input, open_store
from perdure.cli._options import (
    AtOption,
    BranchOption,
    JsonOption,
    NamespaceOption,
    TableArgument,
    UrlArgument,
    UrlCommand,
    WhereOption,
)
from perdure.cli._output import output
from perdure.filters import Filter, parse

__all__ = ["register"]

ColumnsOption = Annotated[
    str | None, typer.Option("--columns", "-c", metavar="A,B", help="Show only these fields.")
]


def register(app: typer.Typer) -> None:
    """Add the commands that read records."""
    for name, command in (("find", find), ("get", get), ("count", count), ("search", search)):
        app.command(name, cls=UrlCommand)(command)


def filter_of(where: str | None) -> Filter | None:
    """The filter that ``--where`` says."""
    return None if where is None else parse(where)


def collection(store: Store, table: str, at: str | None) -> Collection[Any]:
    """A table of the store, or of the store as it was."""
    return (store if at is None else store.at(at)).table(table)


def find(
    url: UrlArgument,
    table: TableArgument,
    where: WhereOption = None,
    order_by: Annotated[
        list[str] | None,
        typer.Option(
            "--order-by", "-o", metavar="FIELD", help="Order by it; -FIELD descends; may be repeated."
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=0, help="At most so many.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="All of them, streamed.")] = False,
    after: Annotated[
        str | None, typer.Option("--after", metavar="CURSOR", help="Go on where a page ended.")
    ] = None,
    columns: ColumnsOption = None,
    at: AtOption = None,
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """Find records by a filter.

    Where there is more than the limit, the cursor of the next page is told on stderr.
    """
    schema, accept, out = table_of(table), filter_of(where), output(as_json)
    chosen = columns_of(schema, columns)
    order = [term for text in order_by or () for term in text.split(",")] or None
    if everything and after is not None:
        raise InvalidInput("--all takes all pages; --after goes on with one: give one of them")
    with open_store(url, namespace=namespace, branch=branch) as store:
        records = collection(store, table, at)
        if everything:
            out.rows(_documents(records.scan(accept, order_by=order), columns and chosen), chosen)
            return
        page = records.find(accept, order_by=order, limit=limit, after=after)
        out.rows(_documents(page, columns and chosen), chosen)
        if page.cursor is not None:
            out.notice(f"next page: --after {page.cursor}", {"cursor": page.cursor})


def _documents(records: Iterable[Record], only: Any) -> Iterator[Document]:
    for record in records:
        document = record_document(record)
        yield {name: document[name] for name in only} if only else document


def get(
    url: UrlArgument,
    table: TableArgument,
    keys: Annotated[
        list[str],
        typer.Argument(metavar="KEY...", help="Ids; for vectors SPACE ID, for states KIND ID."),
    ],
    columns: ColumnsOption = None,
    at: AtOption = None,
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """Show records by key. A key that is absent is an error, after the others were shown."""
    schema, out = table_of(table), output(as_json)
    wanted = keys_of(schema, keys)
    chosen = columns and columns_of(schema, columns)
    with open_store(url, namespace=namespace, branch=branch) as store:
        found = collection(store, table, at).get_many(wanted)
    for place, document in enumerate(_documents((record for record in found if record is not None), chosen)):
        if place and not as_json:
            typer.echo()
        out.document(document)
    absent = [key for key, record in zip(wanted, found, strict=True) if record is None]
    if absent:
        shown = ", ".join(repr(key)[:120] for key in absent[:5]) + (", …" if len(absent) > 5 else "")
        raise NotFound(f"{table} has no {shown} here", table=table, keys=absent)


def count(
    url: UrlArgument,
    table: TableArgument,
    where: WhereOption = None,
    at: AtOption = None,
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """Count records."""
    table_of(table)
    accept = filter_of(where)
    with open_store(url, namespace=namespace, branch=branch) as store:
        number = collection(store, table, at).count(accept)
    output(as_json).text(str(number), {"table": table, "count": number})


def search(
    url: UrlArgument,
    table: TableArgument,
    vector: Annotated[
        str,
        typer.Option(
            "--vector",
            metavar="JSON|FILE",
            help="A list of numbers, or a .json or .npy file of one; - is stdin.",
        ),
    ],
    space: Annotated[
        str | None, typer.Option("--space", metavar="NAME", help="The space, where there are several.")
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=0, help="At most so many.")] = 10,
    exact: Annotated[bool, typer.Option("--exact", help="Use no approximate index.")] = False,
    where: WhereOption = None,
    columns: ColumnsOption = None,
    at: AtOption = None,
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """Find the records whose vectors are nearest; higher scores are nearer."""
    schema, accept = table_of(table), filter_of(where)
    chosen, query = columns_of(schema, columns), read_vector(vector)
    with open_store(url, namespace=namespace, branch=branch) as store:
        hits = collection(store, table, at).search(query, k=k, where=accept, space=space, exact=exact)
    records = _documents((hit.record for hit in hits), columns and chosen)
    pairs = zip((hit.score for hit in hits), records, strict=True)
    if as_json:
        output(as_json).rows(({"score": score, "record": record} for score, record in pairs), chosen)
    else:
        rows = ({"score": score, **record} for score, record in pairs)
        output(as_json).rows(rows, [chosen[0], "score", *chosen[1:]])


def read_vector(text: str) -> Any:
    """The numbers of ``--vector``: JSON as it stands, or a file of JSON or of numpy's format.

    Raises:
        InvalidInput: It is no list of numbers.
    """
    if text.lstrip().startswith("["):
        return _numbers(text, "--vector")
    if re.fullmatch(r"[-+.,\deE\s]+", text) and "," in text:
        raise InvalidInput(f"--vector is a JSON list or a file; write it like '[{text}]'")
    with open_input(text) as stream:
        if Path(text).suffix == ".npy":
            try:
                return np.load(stream, allow_pickle=False)
            except (ValueError, OSError, EOFError) as error:
                raise InvalidInput(f"{text!r} is no numpy array: {error}") from None
        return _numbers(stream.read(), repr(text))


def _numbers(text: str | bytes, where: str) -> Any:
    try:
        numbers = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput(f"{where} is no JSON list of numbers") from None
    if not isinstance(numbers, list) or any(
        isinstance(n, bool) or not isinstance(n, int | float) for n in numbers
    ):
        raise InvalidInput(f"{where} is no list of numbers")
    return numbers
