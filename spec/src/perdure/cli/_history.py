"""`log`, `diff`, `merge`, `revert`, and the groups `branch` and `checkpoint`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal

import typer

from perdure import InvalidInput, MergeConflict, MergeResult, Space, Store
from perdure.cli._errors import ExitCode, finish
from perdure.cli._forms import (
    Document,
    branch_document,
    branch_names,
    checkpoint_document,
    commit_document,
    conflict_document,
    diff_document,
    point_document,
)
from perdure.cli._keys import keys_of, table_of
from perdure.cli._opening import open_store
from perdure.cli._options import (
    AtOption,
    AuthorOption,
    BranchOption,
    JsonOption,
    MessageOption,
    NamespaceOption,
    UrlArgument,
    UrlCommand,
)
from perdure.cli._output import Output, output

__all__ = ["register"]

Strategy = Literal["fail", "ours", "theirs", "field"]
NameArgument = Annotated[str, typer.Argument(metavar="NAME")]
StrategyOption = Annotated[
    Strategy,
    typer.Option("--strategy", "-s", help="What becomes of fields that both sides changed."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; write nothing.")]
TablesOption = Annotated[
    list[str] | None, typer.Option("--table", "-t", metavar="TABLE", help="Only this table; may be repeated.")
]


def register(app: typer.Typer) -> None:
    """Add the commands about history."""
    for name, command in (("log", log), ("diff", diff), ("merge", merge), ("revert", revert)):
        app.command(name, cls=UrlCommand)(command)
    branches = typer.Typer(help="List, create and delete branches.")
    branches.command("list", cls=UrlCommand)(branch_list)
    branches.command("create", cls=UrlCommand)(branch_create)
    branches.command("delete", cls=UrlCommand)(branch_delete)
    app.add_typer(branches, name="branch")
    checkpoints = typer.Typer(help="List, create and delete checkpoints: names that pin points in history.")
    checkpoints.command("list", cls=UrlCommand)(checkpoint_list)
    checkpoints.command("create", cls=UrlCommand)(checkpoint_create)
    checkpoints.command("delete", cls=UrlCommand)(checkpoint_delete)
    app.add_typer(checkpoints, name="checkpoint")


def names_of(store: Store) -> dict[str, str]:
    """Branch id → name."""
    return branch_names(store.branches.list())


def spaces_of(store: Store) -> Callable[[str], Space]:
    """Finds spaces by name, without asking the engine each time."""
    return cache(store.spaces.get)


# --------------------------------------------------------------------------------------- log and diff


def log(
    url: UrlArgument,
    at: AtOption = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=0, help="At most so many.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="All of them, streamed.")] = False,
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """List the commits that lead to a place, newest first, across forks."""
    with open_store(url, namespace=namespace, branch=branch) as store:
        names = names_of(store)
        commits = store.log(at, limit=None if everything else limit)
        documents = (commit_document(commit, names) for commit in commits)
        output(as_json).rows(documents, ["id", "branch", "seq", "time", "author", "message"])


def diff(
    url: UrlArgument,
    a: Annotated[str, typer.Argument(metavar="A", help="A ref.")],
    b: Annotated[
        str | None, typer.Argument(metavar="[B]", help="A ref; default: the head of the branch.")
    ] = None,
    table: TablesOption = None,
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """List the rows that differ between two places, and the fields that do."""
    with open_store(url, namespace=namespace, branch=branch) as store:
        spaces = spaces_of(store)
        documents = (diff_document(item, spaces) for item in store.diff(a, b, tables=table))
        output(as_json).rows(documents, ["key", "table", "kind", "fields"])


# ------------------------------------------------------------------------------------ merge and revert


def merge(
    url: UrlArgument,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The ref to merge.")],
    into: Annotated[
        str | None, typer.Option("--into", metavar="BRANCH", help="Where to; default: --branch.")
    ] = None,
    strategy: StrategyOption = "fail",
    dry_run: DryRunOption = False,
    table: TablesOption = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar="TABLE:KEY", help="Only this row; may be repeated. Two-part keys: TABLE:A,B."
        ),
    ] = None,
    message: MessageOption = "",
    author: AuthorOption = "",
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """Bring what a source changed into a branch, in one commit. Conflicts end with exit code 1."""
    keys = _selected(key or [])
    with open_store(url, namespace=namespace, branch=branch, write=not dry_run) as store:
        _show_merge(
            store,
            output(as_json),
            lambda: store.merge(
                source, into=into, strategy=strategy, dry_run=dry_run, tables=table, keys=keys,
                message=message, author=author or None,
            ),
            strategy,
            dry_run,
        )  # fmt: skip


def _selected(words: list[str]) -> dict[str, list[Any]] | None:
    """``TABLE:KEY`` words → keys by table; a key of two parts is ``TABLE:A,B``."""
    keys: dict[str, list[Any]] = {}
    for word in words:
        name, colon, key = word.partition(":")
        if not colon:
            raise InvalidInput(f"--key {word!r} has no table; write it like memories:m1")
        table = table_of(name)
        parts = [key] if len(table.key) == 1 else key.split(",", 1)
        keys.setdefault(name, []).extend(keys_of(table, parts))
    return keys or None


def revert(
    url: UrlArgument,
    commit: Annotated[str, typer.Argument(metavar="COMMIT", help="The id of the commit to undo.")],
    parent: Annotated[
        str | None, typer.Option("--parent", metavar="ID|0|1", help="Of a merge: the parent to go back to.")
    ] = None,
    strategy: StrategyOption = "fail",
    dry_run: DryRunOption = False,
    message: MessageOption = "",
    author: AuthorOption = "",
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """Undo one commit in a new one, keeping what came later. Conflicts end with exit code 1."""
    place = int(parent) if parent in ("0", "1") else parent
    with open_store(url, namespace=namespace, branch=branch, write=not dry_run) as store:
        _show_merge(
            store,
            output(as_json),
            lambda: store.revert(
                commit.removeprefix("@"), parent=place, strategy=strategy, dry_run=dry_run,
                message=message, author=author or None,
            ),
            strategy,
            dry_run,
        )  # fmt: skip


def _show_merge(
    store: Store, out: Output, work: Callable[[], MergeResult], strategy: Strategy, dry_run: bool
) -> None:
    try:
        result = work()
    except MergeConflict as error:
        _show_conflicts(store, out, error.conflicts)
        raise
    names, spaces = names_of(store), spaces_of(store)
    unsettled = dry_run and strategy in ("fail", "field") and bool(result.conflicts)
    changes = [
        {"table": c.table, "key": c.key, "change": "delete" if c.row is None else "put"}
        for c in result.changes
    ]
    document: Document = {
        "commit": None if result.commit is None else commit_document(result.commit, names),
        "point": point_document(result.point, names),
        "dry_run": dry_run,
        "already_merged": result.already_merged,
        "replayed": result.replayed,
        "written": result.written,
        "deleted": result.deleted,
    }
    if out.json:
        conflicts = [conflict_document(conflict, spaces) for conflict in result.conflicts]
        out.document({**document, "changes": changes, "conflicts": conflicts})
    else:
        out.document({**document, "conflicts": len(result.conflicts)})
        if dry_run:
            out.rows(changes, ["key", "table", "change"])
        _show_conflicts(store, out, result.conflicts)
    if unsettled:
        finish(ExitCode.FINDINGS)


def _show_conflicts(store: Store, out: Output, conflicts: Any) -> None:
    """The conflicts for people; under ``--json`` they are in the result or in the error."""
    if not out.json:
        spaces = spaces_of(store)
        documents = (conflict_document(conflict, spaces) for conflict in conflicts)
        out.rows(documents, ["key", "table", "kind", "fields"])


# ------------------------------------------------------------------------------------------- branches


def branch_list(
    url: UrlArgument, namespace: NamespaceOption = "default", as_json: JsonOption = False
) -> None:
    """List the branches."""
    with open_store(url, namespace=namespace) as store:
        branches = store.branches.list()
    names = branch_names(branches)
    documents = (branch_document(branch, names) for branch in branches)
    output(as_json).rows(documents, ["name", "parent", "fork_seq", "head.seq", "head.time", "created_at"])


def branch_create(
    url: UrlArgument,
    name: NameArgument,
    at: AtOption = None,
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """Fork a branch, by default from the head of --branch. Nothing is copied."""
    with open_store(url, namespace=namespace, branch=branch, write=True) as store:
        made = store.branches.create(name, at)
        output(as_json).document(branch_document(made, names_of(store)))


def branch_delete(
    url: UrlArgument,
    name: NameArgument,
    cascade: Annotated[
        bool, typer.Option("--cascade", help="Delete its descendants and the checkpoints on them, too.")
    ] = False,
    namespace: NamespaceOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Delete a branch."""
    with open_store(url, namespace=namespace, write=True) as store:
        number = store.branches.delete(name, cascade=cascade)
    output(as_json).document({"deleted": name, "branches": number})


# ---------------------------------------------------------------------------------------- checkpoints


def checkpoint_list(
    url: UrlArgument, namespace: NamespaceOption = "default", as_json: JsonOption = False
) -> None:
    """List the checkpoints."""
    with open_store(url, namespace=namespace) as store:
        names, checkpoints = names_of(store), store.checkpoints.list()
    documents = (checkpoint_document(checkpoint, names) for checkpoint in checkpoints)
    output(as_json).rows(
        documents, ["name", "point.branch", "point.seq", "point.time", "message", "metrics", "created_at"]
    )


def checkpoint_create(
    url: UrlArgument,
    name: NameArgument,
    at: AtOption = None,
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="JSON", help="Any JSON value to keep with it.")
    ] = "null",
    message: MessageOption = "",
    namespace: NamespaceOption = "default",
    branch: BranchOption = "main",
    as_json: JsonOption = False,
) -> None:
    """Name a point in history, by default the head of --branch; it is kept until the name is deleted."""
    try:
        kept = json.loads(metrics)
    except (ValueError, RecursionError):
        raise InvalidInput("--metrics is no JSON") from None
    with open_store(url, namespace=namespace, branch=branch, write=True) as store:
        made = store.checkpoints.create(name, at, metrics=kept, message=message)
        output(as_json).document(checkpoint_document(made, names_of(store)))


def checkpoint_delete(
    url: UrlArgument, name: NameArgument, namespace: NamespaceOption = "default", as_json: JsonOption = False
) -> None:
    """Delete a checkpoint; its history stays until `compact`."""
    with open_store(url, namespace=namespace, write=True) as store:
        store.checkpoints.delete(name)
    output(as_json).document({"deleted": name})
