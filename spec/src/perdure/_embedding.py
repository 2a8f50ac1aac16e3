"""How records and their vectors come together: which space is meant, which model, which rows to write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import ArrayLike

from perdure._cells import vector_bytes
from perdure._checks import check_text
from perdure._errors import InvalidInput, InvalidRecord
from perdure._payload import PayloadWriter
from perdure._records import Vector
from perdure._rows import codec
from perdure._schema import Row, Table
from perdure._session import Session
from perdure._types import Operation, Put, PutArrow, Space
from perdure.kit import owner_id

__all__ = ["check_models", "choose_space", "query_vector", "vector_puts"]


def choose_space(session: Session, table: Table, name: str | None, model: str | None) -> Space:
    """The space that is named, or the only one that can be meant.

    Raises:
        NotFound: There is none of that name.
        InvalidInput: It is bound to another table, or several could be meant.
        InvalidRecord: It holds vectors of another model.
    """
    wanted = None if table.name == "vectors" else table.name
    if name is None:
        bound = [s for s in session.spaces() if wanted is None or s.table == wanted]
        if len(bound) != 1:
            have = ", ".join(s.name for s in bound) or "none"
            raise InvalidInput(f"name the space: {have} could be meant for {table.name}")
        space = bound[0]
    else:
        space = session.space(name)
    if wanted not in (None, space.table):
        raise InvalidInput(
            f"space {space.name!r} is bound to {space.table or 'no table'}, not to {table.name}"
        )
    _check_model(space, model)
    return space


def vector_puts(
    session: Session,
    row: Row,
    table: Table,
    vector: ArrayLike | Mapping[Any, ArrayLike],
    model: str | None,
    mode: Any,
) -> list[Operation]:
    """The operations that put the vectors of one row, given by space name or for the only space."""
    if table.name == "vectors":
        raise InvalidInput("vector= goes with a row that it embeds; the values of a Vector are its own")
    by_space: Mapping[Any, ArrayLike] = vector if isinstance(vector, Mapping) else {None: vector}
    vectors, owner, spaces = codec("vectors"), owner_id(table.key_of(row)), session.lookup()
    puts: list[Operation] = []
    for name, values in by_space.items():
        space = choose_space(session, table, name, model)
        record = Vector(space=space.name, id=owner, values=values)
        puts.append(Put("vectors", (vectors.encode(record, spaces, PayloadWriter()),), mode))
    return puts


def check_models(session: Session, table: Table, operations: Iterable[Operation], model: str) -> None:
    """Refuse vectors that are said to come from another model than their space's."""
    if table.name != "vectors":
        raise InvalidInput("model= says which model made the vectors; give vector= too")
    spaces = session.lookup()
    for operation in operations:
        names: set[Any] = set()
        if isinstance(operation, Put):
            names.update(row[0] for row in operation.rows)
        elif isinstance(operation, PutArrow):
            names.update(*(batch.column(0).to_pylist() for batch in operation.batches))
        for name in names:
            _check_model(spaces(name), model)


def _check_model(space: Space, model: str | None) -> None:
    if model is not None and check_text(model, "model") != space.model:
        raise InvalidRecord(
            f"space {space.name!r} holds vectors of model {space.model!r}, not {model!r}; "
            "vectors of different models cannot be compared, so create another space"
        )


def query_vector(vector: ArrayLike, space: Space) -> bytes:
    """A query as the little-endian float64 numbers that `search` takes."""
    return vector_bytes(vector, space.dim, "float64", space.metric, "the query vector")
