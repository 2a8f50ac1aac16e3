"""Filters to SQL: what is pushed, and that it is never less than the meaning."""

import math
import sqlite3

import perdure
import pytest
from perdure.filters import F, Not, matcher
from perdure_sql._filter import push
from perdure_sql._tables import metadata
from perdure_sqlite import plugin

TABLE = perdure.TABLES["memories"]


@pytest.fixture(scope="module")
def dialect(tmp_path_factory):
    backend = plugin.open(f"sqlite:///{tmp_path_factory.mktemp('filter')}/a.db", "n", "rw")
    yield backend._database.dialect
    backend.close(ctx=None)


def row(**cells):
    start = {"id": "m", "content": "null", "metadata": "null", "tags": (), "created_at": 0, "updated_at": 0}
    return tuple({**start, **cells}.get(name) for name in TABLE.names)


BIG = 2**63
LITERALS = [
    0,
    1,
    2.5,
    -2.5,
    BIG - 1,
    BIG,
    -BIG,
    -BIG - 1,
    2**53 + 1,
    10**400,
    -(10**400),
    math.inf,
    -math.inf,
    0.1,
]
TEXTS = ["", "a", 'say "hi"', "é", "\U0010ffff", "퟿", "", "a\\", "x,y"]
ROWS = [
    *(
        row(id=f"i{n}", tier=tier)
        for n, tier in enumerate([None, 0, 1, 2, 3, -2, -3, BIG - 1, -BIG, 2**53 + 1])
    ),
    *(
        row(id=f"f{n}", importance=x)
        for n, x in enumerate([None, 0.0, 2.5, 2.0**53, 2.0**63, 1.7e308, -1.7e308])
    ),
    *(row(id=f"t{n}", text=text) for n, text in enumerate([None, *TEXTS])),
    *(row(id=f"g{n}", tags=(text,) if text else ()) for n, text in enumerate(TEXTS)),
    row(id="g", tags=("a", "x,y", 'q"')),
]
FILTERS = [
    *(
        getattr(F[name], f"__{op}__")(x)
        for name in ("tier", "importance")
        for op in ("lt", "le", "gt", "ge", "eq", "ne")
        for x in LITERALS
    ),
    *(F[name].is_in(LITERALS) for name in ("tier", "importance")),
    *(F.tags.contains(text) for text in [*TEXTS, '"', ",", "q", "y", 'q"']),
    *(F.text.contains(text) for text in TEXTS),
    *(F.text.starts_with(text) for text in TEXTS),
    *(F.text >= text for text in TEXTS),
    F.text.is_in(TEXTS),
    F.kind.is_in([]),
    F.tier.is_in([1, None, 2.0, 2.5, BIG]),
]


def selected(dialect, pushed, rows):
    with sqlite3.connect(":memory:") as db:
        names = ", ".join(f'"{name}"' for name in TABLE.names)
        stored = [c for c in metadata().tables["memories"].columns if c.name in TABLE.names]
        db.execute(f"CREATE TABLE v ({', '.join(f'{c.name!r} {c.type}' for c in stored)})")
        encode = perdure_encode()
        db.executemany(
            f"INSERT INTO v ({names}) VALUES ({', '.join('?' * len(TABLE.names))})", map(encode, rows)
        )
        if isinstance(pushed.sql, bool):
            return {r[0] for r in rows} if pushed.sql else set()
        statement = dialect.statement(f"SELECT id FROM v WHERE {pushed.sql}")
        return {r[0] for r in db.execute(statement.sql, statement.bind(pushed.params))}


def perdure_encode():
    from perdure_sql._codec import encoder

    return encoder(TABLE)


@pytest.mark.parametrize("negated", [False, True])
def test_typed_columns_are_judged_exactly(dialect, negated):
    for plain in FILTERS:
        where = Not(plain) if negated else plain
        pushed = push(TABLE, where, dialect)
        test = matcher(TABLE, where)
        expected = {r[0] for r in ROWS if test(r)}
        found = selected(dialect, pushed, ROWS)
        assert found >= expected, where
        if pushed.exact:
            assert found == expected, where


def test_values_are_never_judged_by_sql(dialect):
    for where in (F.content.a == 1, ~(F.content.a == 1), F.content.is_null(), F.accessed_at.is_null()):
        assert push(TABLE, where, dialect) == (True, {}, False)
    both = push(TABLE, (F.content.a == 1) & (F.tier == 1), dialect)
    assert (both.sql, both.exact) == ('v."tier" = :f0', False)
    assert push(TABLE, (F.content.a == 1) | (F.tier == 1), dialect).sql is True


def test_a_huge_filter_is_pushed_in_part(dialect):
    where = F.tier == 0
    for n in range(1, 2_000):
        where = where | (F.tier == n)
    assert push(TABLE, where, dialect)[0] is True
