"""The command `perdure grants`: roles, what each may do, and row-level security, as SQL or done at once."""

from __future__ import annotations

from typing import Annotated

import psycopg
import typer
from perdure import InvalidInput, InvalidURL, NotFound, check_name
from perdure.cli import JsonOption, UrlArgument, UrlCommand, output

from perdure_postgres._errors import translate
from perdure_postgres._options import Options, parse_url
from perdure_postgres._pool import Connection, Pool, run
from perdure_postgres._roles import Roles, Tenant, statements
from perdure_postgres._schema import prepare

__all__ = ["register"]

_SCHEMES = ("postgresql", "postgresql+embedded")


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("grants", cls=UrlCommand)(_grants)


def _grants(
    url: UrlArgument,
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="NAME", help="What the names of the roles start with.")
    ] = "perdure",
    rls: Annotated[
        bool, typer.Option("--rls", help="Row-level security: tenants see their own namespaces only.")
    ] = False,
    tenant: Annotated[
        list[str] | None,
        typer.Option("--tenant", metavar="LOGIN=NAMESPACE", help="Give a login a namespace; again for more."),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it, as the user of the URL; else the SQL is printed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the SQL that makes an owner, a writer and a reader of a Postgres store, or run it.

    The roles are PREFIX_owner, PREFIX_writer and PREFIX_reader, with --rls also PREFIX_tenant; none of them
    logs in: make logins members of one. The SQL may be run again, and is to be after each upgrade.
    """
    out = output(as_json)
    scheme = url.partition("://")[0]
    if scheme not in _SCHEMES:
        raise InvalidURL("only Postgres has roles to grant to; write postgresql://user@host/database")
    options = parse_url(url, "rw", embedded=scheme == _SCHEMES[1])
    given = [_tenant(text) for text in tenant or ()]
    if given and not rls:
        raise InvalidInput("--tenant has no meaning without --rls; add it")
    roles = Roles.of(prefix)
    wanted = statements(options.schema, roles, rls=rls, tenants=given)
    if apply:
        _run(options, wanted)
    elif not as_json:
        print("BEGIN;", *(f"{each};" for each in wanted), "COMMIT;", sep="\n")
        return
    named = (
        roles._asdict() if rls else {kind: name for kind, name in roles._asdict().items() if kind != "tenant"}
    )
    document = {"applied": apply, "schema": options.schema, "roles": named}
    out.document({**document, "statements": wanted} if as_json else {**document, "statements": len(wanted)})


def _tenant(text: str) -> Tenant:
    role, equals, namespace = text.rpartition("=")
    if not equals or not role or "\0" in role:
        raise InvalidInput(f"--tenant {text[:80]!r} is not of the form LOGIN=NAMESPACE")
    check_name(namespace, "namespace")
    return Tenant(role, namespace)


def _run(options: Options, wanted: list[str]) -> None:
    """All or nothing, in a store that is made where there is none."""
    try:
        pool = Pool(options)
        try:
            connection = pool.take()
            try:
                prepare(connection, options)
                _do(connection, wanted, options.place)
            finally:
                pool.give(connection)
        finally:
            pool.close()
    except (psycopg.Error, UnicodeError) as error:
        raise translate(error, options.place) from error


def _do(connection: Connection, wanted: list[str], place: str) -> None:
    try:
        with connection.transaction():
            run(connection, wanted)
    except psycopg.errors.UndefinedObject as error:  # of all that is named, only logins are not made here
        raise NotFound(
            f"{error.diag.message_primary} in {place}; create each login of --tenant first"
        ) from error
