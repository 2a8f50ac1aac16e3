"""`backends`, `info`, `stats`, and the groups `namespace` and `space`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from perdure import NotFound, PerdureError, describe_backends
from perdure._names import check_name
from perdure._plugins import split_url
from perdure.cli._forms import (
    branch_names,
    point_document,
    printable,
    space_document,
    struct_document,
)
from perdure.cli._opening import confirm, open_store
from perdure.cli._options import (
    AtOption,
    BranchOption,
    JsonOption,
    NamespaceOption,
    UrlArgument,
    UrlCommand,
    YesOption,
)
from perdure.cli._output import output

__all__ = ["register"]

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]


def register(app: typer.Typer) -> None:
    """Add the commands about stores and what they hold."""
    app.command("backends")(backends)
    app.command("info", cls=UrlCommand)(info)
    app.command("stats", cls=UrlCommand)(stats)
    namespaces = typer.Typer(help="List and drop namespaces.")
    namespaces.command("list", cls=UrlCommand)(namespace_list)
    namespaces.command("drop", cls=UrlCommand)(namespace_drop)
    app.add_typer(namespaces, name="namespace")
    spaces = typer.Typer(help="List, create and drop embedding spaces.")
    spaces.command("list", cls=UrlCommand)(space_list)
    spaces.command("create", cls=UrlCommand)(space_create)
    spaces.command("drop", cls=UrlCommand)(space_drop)
    app.add_typer(spaces, name="space")


def backends(as_json: JsonOption = False) -> None:
    """List the installed backends and what they can do."""
    documents = []
    for name, found in describe_backends().items():
        if isinstance(found, PerdureError):
            documents.append({"name": name, "error": {"error": found.code, "message": found.message}})
        else:
            documents.append(struct_document(found))
    columns = ["name", "example", "version", "durability", "levels", "error.message"]
    if all("error" not in document for document in documents):
        columns.pop()
    output(as_json).rows(documents, columns)


def info(
    url: UrlArgument,
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """Show what a store is: its backend, capabilities, branch, head and figures."""
    with open_store(url, namespace=namespace, branch=branch) as store:
        description, figures = store.description, struct_document(store.stats())
        head = point_document(store.head(), branch_names(store.branches.list()))
    output(as_json).document(
        {
            "url": split_url(url)[1],
            "namespace": namespace,
            "branch": branch,
            "head": head,
            "stats": {name: cell for name, cell in figures.items() if name != "branch"},
            "backend": struct_document(description),
        }
    )


def stats(
    url: UrlArgument,
    at: AtOption = None,
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """Show figures: live rows by table, versions, commits, sizes in bytes."""
    with open_store(url, namespace=namespace, branch=branch) as store:
        figures = store.stats(at)
    output(as_json).document(struct_document(figures))


# ------------------------------------------------------------------------------------------ namespaces


def namespace_list(
    url: UrlArgument, namespace: NamespaceOption = "default", as_json: JsonOption = False
) -> None:
    """List the namespaces of an engine."""
    try:
        with open_store(url, namespace=namespace) as store:
            names = store.namespaces.list()
    except NotFound as error:
        if not error.detail.get("namespaces"):
            raise  # there is no store, or an engine that cannot say
        names = error.detail["namespaces"]
    output(as_json).rows(({"name": name} for name in names), ["name"])


def namespace_drop(
    url: UrlArgument,
    name: NameArgument,
    namespace: NamespaceOption = "default",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Drop a namespace and all it holds, history included. There is no way back."""
    check_name(name, "namespace")
    with open_store(url, namespace=namespace, write=True) as store:
        confirm(f"Drop namespace {printable(name)!r} with all its history?", yes=yes)
        store.namespaces.drop(name)
    output(as_json).document({"dropped": name})


# ---------------------------------------------------------------------------------------------- spaces

_SPACE_COLUMNS = ("name", "dim", "dtype", "metric", "model", "table", "created_at")


def space_list(url: UrlArgument, namespace: NamespaceOption = "default", as_json: JsonOption = False) -> None:
    """List the embedding spaces."""
    with open_store(url, namespace=namespace) as store:
        spaces = store.spaces.list()
    output(as_json).rows(map(space_document, spaces), _SPACE_COLUMNS)


def space_create(
    url: UrlArgument,
    name: NameArgument,
    dim: Annotated[int, typer.Option("--dim", min=1, metavar="N", help="Numbers per vector.")],
    dtype: Annotated[
        Literal["float16", "float32", "float64"], typer.Option("--dtype", help="How vectors are kept.")
    ] = "float32",
    metric: Annotated[
        Literal["cosine", "l2", "dot"], typer.Option("--metric", help="What search scores by.")
    ] = "cosine",
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The embedding model.")] = "",
    table: Annotated[
        str | None, typer.Option("--table", metavar="TABLE", help="The table whose rows it embeds.")
    ] = None,
    namespace: NamespaceOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Create an embedding space, and the store where it is missing."""
    check_name(name, "space name")
    with open_store(url, namespace=namespace, create=True) as store:
        space = store.spaces.create(name, dim, dtype=dtype, metric=metric, model=model, table=table)
    output(as_json).document(space_document(space))


def space_drop(
    url: UrlArgument,
    name: NameArgument,
    namespace: NamespaceOption = "default",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Drop a space and erase its vectors from all history. There is no way back."""
    with open_store(url, namespace=namespace, write=True) as store:
        space: Any = store.spaces.get(name)
        confirm(f"Drop space {space.name!r} with all its vectors?", yes=yes)
        report = store.spaces.drop(name)
    output(as_json).document({"dropped": name, **struct_document(report)})
