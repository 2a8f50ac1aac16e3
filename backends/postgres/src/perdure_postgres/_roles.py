"""Who may do what in a store's schema, as SQL: an owner, writers, readers, and tenants that see their own only.

Tenants are told apart by row-level security. Which namespaces a database role has is a row each of the
table ``tenants``. A query reads that table once, not once per row: the policies compare with an array.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from perdure import InvalidInput
from perdure_sql import metadata
from psycopg import sql
from psycopg.sql import SQL, Composable, Identifier, Literal

from perdure_postgres._schema import LAYOUT, ddl

__all__ = ["Roles", "Tenant", "statements", "tables"]

#: Role names are cut off there by Postgres, so that two would be one.
_LONGEST_NAME = 63

#: The columns of `namespaces` that change after its creation; the number never does.
_MOVING = ("branch_count", "space_epoch", "purge_epoch", "hash")

_CREATED = re.compile(r'CREATE TABLE "?(?P<name>\w+)"? \((?P<columns>.*)', re.DOTALL)


class Roles(NamedTuple):
    """The names of the roles; none of them logs in, logins are made members.

    Attributes:
        owner: Owns schema and tables: creates, upgrades, indexes, rewrites.
        writer: Calls every hook, on every namespace.
        reader: Reads every namespace.
        tenant: Calls every hook, on the namespaces that the login was given.
    """

    owner: str
    writer: str
    reader: str
    tenant: str

    @classmethod
    def of(cls, prefix: str) -> Roles:
        """The roles whose names start with a prefix.

        Raises:
            InvalidInput: Postgres could not tell such names apart, or keeps them for itself.
        """
        names = [f"{prefix}_{kind}" for kind in cls._fields]
        longest = max(len(name.encode("utf-8", "replace")) for name in names)
        if not prefix or "\0" in prefix or prefix.startswith("pg_") or longest > _LONGEST_NAME:
            raise InvalidInput(
                f"the prefix {prefix[:80]!r} makes no names of roles: they have 1 to {_LONGEST_NAME} bytes, "
                "none of them NUL, and do not start with pg_"
            )
        return cls(*names)


class Tenant(NamedTuple):
    """A login, and one of the namespaces that it has."""

    role: str
    namespace: str


@cache
def tables() -> dict[str, bool]:
    """The tables of a store, and whether each has a column ``ns``."""
    found = filter(None, map(_CREATED.match, ddl()))
    return {each["name"]: re.search(r"\bns BIGINT", each["columns"]) is not None for each in found}


def statements(schema: str, roles: Roles, *, rls: bool, tenants: Sequence[Tenant] = ()) -> list[str]:
    """SQL that makes roles, owner and grants what they should be; running it again changes nothing.

    Args:
        schema: Where the tables are; they are there already.
        roles: The names to give.
        rls: Whether there are tenants.
        tenants: Namespaces that logins get in addition to what they have.
    """
    made = [*_roles(roles, rls), *_owner(schema, roles), *_grants(schema, roles, rls)]
    if rls:
        made += [*_policies(schema, roles), *_tenants(schema, roles, tenants)]
    return [each.as_string(None) for each in made]


def _roles(roles: Roles, rls: bool) -> Iterable[Composable]:
    for name in roles if rls else roles[:-1]:
        yield _block(
            SQL(
                "IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {}) THEN CREATE ROLE {} NOLOGIN; END IF"
            ).format(Literal(name), Identifier(name))
        )
    members = SQL(", ").join(map(Identifier, roles if rls else roles[:-1]))
    yield _block(
        SQL("EXECUTE pg_catalog.format({}, pg_catalog.current_database())").format(
            Literal(
                f"GRANT CONNECT, TEMPORARY ON DATABASE %I TO {members.as_string(None).replace('%', '%%')}"
            )
        )
    )


def _owner(schema: str, roles: Roles) -> Iterable[Composable]:
    owner = Identifier(roles.owner)
    yield SQL("ALTER SCHEMA {} OWNER TO {}").format(Identifier(schema), owner)
    for name in tables():
        yield SQL("ALTER TABLE {} OWNER TO {}").format(Identifier(schema, name), owner)


def _grants(schema: str, roles: Roles, rls: bool) -> Iterable[Composable]:
    def on(names: Iterable[str]) -> Composable:
        return SQL(", ").join(Identifier(schema, name) for name in names)

    writers = SQL(", ").join(map(Identifier, (roles.writer, *([roles.tenant] if rls else []))))
    everyone = SQL(", ").join((writers, Identifier(roles.reader)))
    records = [name for name, has in tables().items() if has and name != "erased"]
    made = SQL(", ").join(
        Identifier(column.name) for column in metadata(LAYOUT).tables["namespaces"].c if column.name != "no"
    )
    moving = SQL(", ").join(map(Identifier, _MOVING))
    yield SQL("REVOKE ALL ON SCHEMA {} FROM PUBLIC, {}").format(Identifier(schema), everyone)
    yield SQL("REVOKE ALL ON {} FROM PUBLIC, {}").format(on(tables()), everyone)
    yield SQL("GRANT USAGE ON SCHEMA {} TO {}").format(Identifier(schema), everyone)
    yield SQL("GRANT SELECT ON {} TO {}").format(on(tables()), everyone)
    yield SQL("GRANT INSERT, UPDATE, DELETE ON {} TO {}").format(on(records), writers)
    yield SQL("GRANT INSERT ON {} TO {}").format(on(["erased"]), writers)
    # The number is what all other tables know a namespace by, so nobody chooses it.
    yield SQL("GRANT INSERT ({}), UPDATE ({}), DELETE ON {} TO {}").format(
        made, moving, on(["namespaces"]), writers
    )


def _policies(schema: str, roles: Roles) -> Iterable[Composable]:
    """Policies for every table; owners of tables are bound by none, so that they can back up and upgrade."""
    own = SQL("ns = ANY (ARRAY(SELECT n.no FROM {} n))").format(Identifier(schema, "namespaces"))
    named = SQL("name = ANY (ARRAY(SELECT t.namespace FROM {} t WHERE t.role = CURRENT_USER))").format(
        Identifier(schema, "tenants")
    )
    yield SQL(
        'CREATE TABLE IF NOT EXISTS {} (role NAME NOT NULL, namespace TEXT COLLATE "C" NOT NULL, '
        "PRIMARY KEY (role, namespace))"
    ).format(Identifier(schema, "tenants"))
    conditions: dict[str, Composable] = {name: own for name, has in tables().items() if has}
    conditions["namespaces"] = named
    conditions["tenants"] = SQL("role = CURRENT_USER")
    for name, condition in conditions.items():
        table = Identifier(schema, name)
        yield SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(table)
        yield SQL("DROP POLICY IF EXISTS perdure_tenant ON {}").format(table)
        yield SQL("CREATE POLICY perdure_tenant ON {} TO {} USING ({})").format(
            table, Identifier(roles.tenant), condition
        )
        yield SQL("DROP POLICY IF EXISTS perdure_all ON {}").format(table)
        yield SQL("CREATE POLICY perdure_all ON {} TO {} USING (true)").format(
            table, SQL(", ").join(map(Identifier, (roles.writer, roles.reader)))
        )


def _tenants(schema: str, roles: Roles, tenants: Sequence[Tenant]) -> Iterable[Composable]:
    table = Identifier(schema, "tenants")
    yield SQL("ALTER TABLE {} OWNER TO {}").format(table, Identifier(roles.owner))
    yield SQL("REVOKE ALL ON {} FROM PUBLIC, {}").format(table, SQL(", ").join(map(Identifier, roles[1:])))
    yield SQL("GRANT SELECT ON {} TO {}").format(table, Identifier(roles.tenant))
    for tenant in tenants:
        yield SQL("GRANT {} TO {}").format(Identifier(roles.tenant), Identifier(tenant.role))
        yield SQL("INSERT INTO {} VALUES ({}, {}) ON CONFLICT DO NOTHING").format(
            table, Literal(tenant.role), Literal(tenant.namespace)
        )


def _block(body: sql.Composed) -> Composable:
    """A statement that runs where SQL alone has no IF; its quotes are such that the body does not end them."""
    text = body.as_string(None)
    quote = "$do$"
    while quote in text:
        quote = f"{quote[:-1]}o$"
    return SQL("DO {}").format(SQL(f"{quote} BEGIN {text}; END {quote}"))
