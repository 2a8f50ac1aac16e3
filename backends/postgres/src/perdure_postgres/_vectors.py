"""Vectors as pgvector searches them: two columns beside the exact bytes, derived from these.

``search`` holds a vector in float32, ``search_key`` a number for its space and how that is defined. Both
are null where float32 cannot stand for the vector; such vectors are searched exactly.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from perdure import TABLES, Space
from perdure.kit import NUMPY_DTYPE
from perdure_sql import OPEN
from psycopg import errors, sql

from perdure_postgres._extension import Searchable, attach
from perdure_postgres._options import Options
from perdure_postgres._pool import Connection, run

__all__ = ["COLUMNS", "INDEXABLE", "INLINE", "cell_of", "derive", "enable", "halved", "has_columns", "key_of"]

#: The derived columns of `vectors`.
COLUMNS = ("search", "search_key")

#: Dimensions that an index can have: of `vector`, which is also as many as fit beside the row, and of `halfvec`.
INLINE, INDEXABLE = 2_000, 4_000

#: Lengths of vectors that float32 products and squares neither overflow nor lose.
_LEAST, _MOST = 1e-12, 1e15

#: Between which the greatest number of a vector must be for float16 to stand for it.
_HALF_LEAST, _HALF_MOST = 2.0**-10, 65_000.0

#: Rows derived at a time.
_CHUNK = 500

_DEAD = 4  # places in the cells of a version
_SPACE, _VALUES = 7, 7 + TABLES["vectors"].position["values"]

_COLUMN = (
    "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('vectors') AND attname = 'search_key' "
    "AND NOT attisdropped"
)

_UNINDEXED = (
    "CREATE INDEX IF NOT EXISTS vectors_unindexed ON vectors (ns, branch, space, to_seq) "
    f"WHERE dead = 0 AND (to_seq <> {OPEN} OR search IS NULL)"
)


def has_columns(connection: Connection, options: Options) -> bool:
    """Whether the store can search by pgvector."""
    return attach(connection, options.schema) and connection.execute(_COLUMN).fetchone() is not None


def enable(connection: Connection, options: Options) -> bool:
    """Let a store search by pgvector, where the database has it or may have it; whether it can now.

    Does nothing where that was done before. Vectors that are there are made searchable in steps, each a
    transaction of its own unless the caller is inside one.
    """
    if not attach(connection, options.schema) and not _install(connection, options):
        return False
    if connection.execute(_COLUMN).fetchone() is None:
        with connection.transaction():
            run(
                connection,
                [
                    "ALTER TABLE vectors ADD COLUMN IF NOT EXISTS search vector",
                    "ALTER TABLE vectors ADD COLUMN IF NOT EXISTS search_key BIGINT",
                    # Beside the row, where an exact search reads it; numbers do not compress.
                    "ALTER TABLE vectors ALTER COLUMN search SET STORAGE MAIN",
                    'ALTER TABLE vectors ALTER COLUMN "values" SET STORAGE EXTERNAL',
                    # The planner has no use for what vectors are like, and its figures would quote them.
                    "ALTER TABLE vectors ALTER COLUMN search SET STATISTICS 0",
                    _UNINDEXED,
                ],
            )
    _fill(connection)
    return True


def _install(connection: Connection, options: Options) -> bool:
    """Create the extension; whether that was allowed."""
    if connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone() is None:
        return False
    for schema in ("public", options.schema):
        try:
            with connection.transaction():
                run(
                    connection,
                    [
                        sql.SQL("CREATE EXTENSION IF NOT EXISTS vector SCHEMA {}").format(
                            sql.Identifier(schema)
                        )
                    ],
                )
            return attach(connection, options.schema)
        except (errors.InsufficientPrivilege, errors.InvalidSchemaName):
            continue
        except errors.UniqueViolation:  # somebody else creates it at the same time
            return attach(connection, options.schema)
    return False


def _fill(connection: Connection) -> None:
    """Make searchable what was written before the columns were there."""
    for ns, name, dim, dtype, metric in connection.execute(
        "SELECT ns, name, dim, dtype, metric FROM spaces WHERE dim <= %s", (INDEXABLE,)
    ).fetchall():
        space = Space(name, dim, dtype, metric)
        after = ("", -1, -1)
        while True:
            rows = connection.execute(
                'SELECT id, branch, from_seq, "values" FROM vectors WHERE ns = %s AND space = %s AND dead = 0 '
                "AND search_key IS NULL AND (id, branch, from_seq) > (%s, %s, %s) "
                f"ORDER BY id, branch, from_seq LIMIT {_CHUNK}",
                (ns, name, *after),
            ).fetchall()
            if not rows:
                break
            after = rows[-1][:3]
            cells = cells_of(space, [row[3] for row in rows])
            key = key_of(ns, space)
            connection.cursor().executemany(
                "UPDATE vectors SET search = %s, search_key = %s "
                "WHERE ns = %s AND branch = %s AND space = %s AND id = %s AND from_seq = %s",
                [
                    (cell, key, ns, row[1], name, row[0], row[2])
                    for row, cell in zip(rows, cells, strict=True)
                    if cell is not None
                ],
            )


def key_of(ns: int, space: Space) -> int:
    """The number of a space and its definition, by which its index tells its vectors from others."""
    text = repr((ns, space.name, space.dim, space.dtype, space.metric))
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 1


def halved(space: Space) -> bool:
    """Whether the space's index holds float16."""
    return space.dtype == "float16" or space.dim > INLINE


def derive(
    connection: Connection, spaces: Mapping[str, Space], rows: Iterable[Sequence[Any]]
) -> Iterator[Sequence[Any]]:
    """Versions of vectors with the cells of `COLUMNS`; the connection notes how many each space got."""
    rows = iter(rows)
    while piece := list(islice(rows, _CHUNK)):
        found: list[tuple[Searchable | None, int | None]] = [(None, None)] * len(piece)
        groups: dict[str, list[int]] = {}
        for i, row in enumerate(piece):
            if not row[_DEAD]:
                groups.setdefault(row[_SPACE], []).append(i)
        for name, places in groups.items():
            space, ns = spaces[name], piece[places[0]][0]
            key = key_of(ns, space)
            cells = cells_of(space, [piece[i][_VALUES] for i in places])
            for i, cell in zip(places, cells, strict=True):
                found[i] = (None, None) if cell is None else (cell, key)
            if space.dim <= INDEXABLE:
                noted = connection.vectors.get((ns, name), 0)
                connection.vectors[ns, name] = noted + len(places)
        for row, (cell, number) in zip(piece, found, strict=True):
            yield (*row, cell, number)


def cells_of(space: Space, values: Sequence[bytes]) -> list[Searchable | None]:
    """Stored vectors as pgvector takes them; None where float32, or the index's float16, cannot stand for one."""
    if space.dim > INDEXABLE:
        return [None] * len(values)
    block = np.frombuffer(b"".join(values), NUMPY_DTYPE[space.dtype]).reshape(len(values), space.dim)
    return _encoded(space, block)


def cell_of(space: Space, query: NDArray[np.float64]) -> Searchable | None:
    """A query as pgvector takes it; where its length does not matter, it is made 1."""
    if space.metric != "l2":
        top = float(np.max(np.abs(query)))
        query = query / top if top else query
        query = query / float(np.sqrt(np.dot(query, query))) if top else query
    if halved(space) and space.metric != "l2":
        query = query / float(np.max(np.abs(query))) if query.any() else query
    return _encoded(space, query[None, :])[0]


def _encoded(space: Space, block: NDArray[Any]) -> list[Searchable | None]:
    with np.errstate(over="ignore", under="ignore"):
        narrow = block.astype(np.float32)
        wide = narrow.astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    fits = (lengths > _LEAST) & (lengths < _MOST)
    if halved(space):
        tops = np.abs(wide).max(axis=1)
        fits &= (tops > _HALF_LEAST) & (tops < _HALF_MOST)
    if space.metric != "cosine":
        fits |= ~block.any(axis=1)
    size = 4 + 4 * space.dim
    out = np.empty((len(block), size), np.uint8)
    out[:, :4] = np.frombuffer(struct.pack(">hh", space.dim, 0), np.uint8)
    out[:, 4:] = narrow.astype(">f4").view(np.uint8)
    data = out.tobytes()
    return [
        Searchable(data[start : start + size]) if ok else None
        for ok, start in zip(fits, range(0, len(data), size), strict=True)
    ]
