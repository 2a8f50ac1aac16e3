"""Commit requests that are malformed: each is refused with the error of the specification, and nothing changes."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from math import nan
from typing import Any

import msgspec
import pyarrow as pa
from perdure import (
    TABLES,
    Chunk,
    CommitRequest,
    Committed,
    Delete,
    Increment,
    InvalidInput,
    InvalidRecord,
    InvalidRef,
    NotFound,
    Pick,
    Point,
    Put,
    PutArrow,
    Row,
    Skill,
    Store,
    Update,
    uuid7,
)

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.clauses._hostile_hooks import (
    NO_COUNT,
    NO_FLAG,
    NO_INT64,
    NO_KEYS,
    NO_NAME,
    NO_PLACE,
    NO_TABLE,
    NO_TEXT,
)
from perdure_conformance.clauses._hostile_hooks import filled as filled_store
from perdure_conformance.expect import equal, refused, unchanged

#: Encoded cells of a row with the least in it, by kind; what is not here is null.
CELLS: dict[str, Any] = {"value": "null", "tags": (), "vector": bytes(8)}

#: Cells that are of no encoded form, by kind. None is added where a column allows no null.
WRONG_CELLS: dict[str, tuple[Any, ...]] = {
    "text": (1, 1.0, b"a", ["a"], ("a",), True, object()),
    "int": (1.0, "1", b"1", [1], True, object()),
    "float": (1, "1.0", b"1", [1.0], True, object()),
    "time": (1.0, "2026-01-01T00:00Z", b"1", [1], True, object()),
    "tags": (None, "a", b"a", 1, ["a"], {"a"}, (1,), ("a", None), (b"a",), object()),
    "value": (None, 1, b"null", [], {}, True, object()),
    "vector": (None, "a", [1.0, 0.0], (1.0, 0.0), 1, bytearray(8), object()),
    "payload": (1, b"0:", ["0:"], True, object()),
}

#: Keys of a row in each table.
KEYS = {
    "memories": ("k",),
    "links": ("k",),
    "skills": ("k",),
    "traces": ("k",),
    "vectors": ("free", "k"),
    "states": ("k", "k"),
}


def row(table: str, **cells: Any) -> Row:
    """An encoded row of the table with these cells."""
    definition = TABLES[table]
    known: dict[str, Any] = dict(zip(definition.key, KEYS[table], strict=True)) | {
        "source": "s",
        "target": "t",
    }
    known |= {column.name: 0 for column in definition.columns if column.counter} | cells
    return tuple(known.get(column.name, CELLS.get(column.kind)) for column in definition.columns)


def filled(case: Case) -> tuple[Store, Any]:
    """A store with a few things, a skill with counters among them, and the hooks of the same namespace."""
    store, hooks = filled_store(case)
    store.skills.put(Skill(id="k", success_count=1))
    return store, hooks


def commit(case: Case, hooks: Any, *operations: Any, **more: Any) -> Committed:
    """Commit these operations after a good one, so that it shows whether any of it is left."""
    good = Put("memories", [row("memories", id="good")])
    request = CommitRequest(more.pop("branch", "main"), more.pop("id", uuid7()), [good, *operations], **more)
    done: Committed = hooks.commit(ctx=case.ctx, request=request)
    return done


def refuse(case: Case, hooks: Any, error: Any, operations: Iterable[Any]) -> None:
    """Each of these operations is refused with this error."""
    for operation in operations:
        with refused(error, what=f"a commit of {operation!r:.160}"):
            commit(case, hooks, operation)


@check("HK-014")
def encoded_rows_are_taken(case: Case) -> None:
    """The rows that the checks of malformed rows start from are good: each table takes its own."""
    store, hooks = filled(case)
    done = commit(case, hooks, *(Put(table, [row(table)]) for table in TABLES))
    equal(done.written, len(TABLES) + 1, "the rows written")
    for table, key in KEYS.items():
        (got,) = hooks.fetch(ctx=case.ctx, table=table, keys=[key], at=store.head())
        equal(got[:-2], row(table)[:-2], f"the row of {table}")


@check("HK-014", "HK-012", "ER-001")
def rows_of_another_width_are_refused(case: Case) -> None:
    """What is no tuple of as many cells as the table has columns is refused, alone and among good rows."""
    store, hooks = filled(case)
    with unchanged(store):
        for table in TABLES:
            good = row(table)
            things: list[Any] = [
                good[:-1],
                (*good, None),
                (),
                (1,),
                None,
                1,
                "row",
                list(good),
                dict.fromkeys(good[:1]),
            ]
            refuse(case, hooks, InvalidRecord, (Put(table, [thing]) for thing in things))
            many = [row(table, **{TABLES[table].key[-1]: f"n{i}"}) for i in range(20)]
            refuse(case, hooks, InvalidRecord, (Put(table, [*many, thing]) for thing in things))


@check("HK-014", "DM-024", "DM-025", "DM-031", "ER-001")
def cells_of_another_type_are_refused(case: Case) -> None:
    """A cell that is of no encoded form, and null where a column allows none, is refused in every column."""
    store, hooks = filled(case)
    with unchanged(store):
        for table, definition in TABLES.items():
            for column in definition.columns:
                wrong = WRONG_CELLS[column.kind]
                if column.required and column.kind != "time":
                    wrong = (None, *wrong)
                for cell in wrong:
                    refuse(case, hooks, InvalidRecord, [Put(table, [row(table, **{column.name: cell})])])
                    if column.name not in definition.key:
                        fields = {column.name: cell}
                        refuse(
                            case,
                            hooks,
                            InvalidRecord,
                            [Update("memories", ("a",), fields)] * (table == "memories"),
                        )
                        refuse(
                            case,
                            hooks,
                            InvalidRecord,
                            [Update("skills", ("k",), fields)] * (table == "skills"),
                        )


@check("HK-014", "DM-020", "DM-021", "ER-001")
def rows_with_keys_that_cannot_be_are_refused(case: Case) -> None:
    """A key part that is empty, too long, or holds NUL or a lone surrogate is refused in a row of any table."""
    store, hooks = filled(case)
    with unchanged(store):
        for table, definition in TABLES.items():
            for part in definition.key:
                for text in ("", "x" * 513, "é" * 257, "a\0", "\0", "\ud800", "x" * 1_000_000):
                    refuse(case, hooks, InvalidRecord, [Put(table, [row(table, **{part: text})])])


@check("HK-014", "ER-001", "ER-004")
def what_a_cell_holds_is_kept_or_refused(case: Case) -> None:
    """A cell of the right type that no record could have given is kept or is `InvalidRecord`: no other error."""
    store, hooks = filled(case)
    odd: dict[str, Any] = {
        "title": "\ud800",
        "kind": "x" * 10_000,
        "tier": 2**80,
        "importance": nan,
        "expires_at": -(2**70),
        "tags": ("\ud800",),
        "content": "\ud800",
        "metadata": "{",
    }
    for name, cell in odd.items():
        with case.new_store() as other:
            request = CommitRequest("main", uuid7(), [Put("memories", [row("memories", **{name: cell})])])
            try:
                case.hooks(other.namespace).commit(ctx=case.ctx, request=request)
            except InvalidRecord:
                equal(other.head().commit, None, f"the head after {name} {cell!r:.20} was refused")
    with unchanged(store), refused(InvalidRecord, what="a vector of another number of bytes"):
        commit(case, hooks, Put("vectors", [row("vectors", values=bytes(7))]))


@check("HK-012", "ER-001")
def malformed_operations_are_refused(case: Case) -> None:
    """What is no operation, and a put with a mode or rows that are none, is refused."""
    store, hooks = filled(case)
    good = row("memories")
    things: list[Any] = [
        None,
        1,
        "put",
        ("put", "memories"),
        {},
        good,
        object(),
        CommitRequest("main", "x", []),
    ]
    modes: list[Any] = ["", "update", "PUT", None, 1, ["put"], "a\0", object()]
    rows: list[Any] = [None, 1, "row", b"row", {"a": 1}, object(), iter([good])]
    with unchanged(store):
        refuse(case, hooks, InvalidRecord, things)
        refuse(case, hooks, InvalidRecord, (Put("memories", [good], mode) for mode in modes))
        refuse(case, hooks, InvalidRecord, (Put("memories", given) for given in rows))
        refuse(
            case, hooks, InvalidRecord, (Put("memories", [good], "put", v) for v in NO_TEXT if v is not None)
        )
        for table in NO_TABLE:
            operations = (
                Put(table, [good]),
                PutArrow(table, []),
                Update(table, ("a",), {}),
                Delete(table, [("a",)]),
            )
            refuse(case, hooks, NotFound, (*operations, Increment(table, ("a",), {})))


@check("HK-012", "DM-021", "DM-034", "DM-053", "DM-060", "DM-061", "ER-001")
def malformed_changes_are_refused(case: Case) -> None:
    """Updates, deletes and increments with malformed keys, fields or amounts are refused."""
    store, hooks = filled(case)
    fields: list[Any] = [
        None,
        1,
        "title",
        ["title"],
        {"nope": 1},
        {"": 1},
        {1: 1},
        {None: 1},
        {("title",): "t"},
    ]
    fields += [{"id": "b"}, {"id": "a"}, {"title": "t", "nope": 1}, {"a\0": 1}, {"\ud800": 1}]
    amounts: list[Any] = [
        None,
        1,
        "success_count",
        {"nope": 1},
        {"confidence": 1},
        {"name": 1},
        {1: 1},
        {None: 1},
    ]
    amounts += [{"success_count": amount} for amount in (*NO_INT64, 2**63 - 1)]
    keys = [keys[0] for keys in NO_KEYS if isinstance(keys, list) and len(keys) == 1]
    with unchanged(store):
        refuse(case, hooks, InvalidRecord, (Update("memories", ("a",), given) for given in fields))
        refuse(case, hooks, InvalidRecord, (Increment("skills", ("k",), given) for given in amounts))
        refuse(case, hooks, InvalidRecord, (Increment("skills", ("k",), {}, given) for given in fields))
        refuse(case, hooks, InvalidRecord, (Delete("memories", given) for given in NO_KEYS))
        refuse(
            case, hooks, InvalidRecord, (Update("memories", key, {}) for key in [*keys, None, "a", 1, ["a"]])
        )
        refuse(
            case, hooks, InvalidRecord, (Increment("skills", key, {}) for key in [*keys, None, "k", 1, ["k"]])
        )
        versions = [version for version in NO_TEXT if version is not None]
        refuse(case, hooks, InvalidRecord, (Update("memories", ("a",), {}, version) for version in versions))
        refuse(
            case, hooks, InvalidRecord, (Delete("memories", [("a",)], True, version) for version in versions)
        )


@check("HK-012", "HK-014", "ER-001", "ER-004")
def malformed_arrow_puts_are_refused(case: Case) -> None:
    """Record batches with other columns, types, nulls or keys are refused, also the last of several."""
    store, hooks = filled(case)
    schema = TABLES["memories"].arrow
    loose = pa.schema([field.with_nullable(True) for field in schema])
    cells: dict[str, list[Any]] = {
        name: [cell] for name, cell in zip(schema.names, row("memories"), strict=True)
    }
    good = pa.RecordBatch.from_pydict(cells, schema=loose)

    def without(name: str, cell: Any) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict({**cells, name: [cell]}, schema=loose)

    bad: list[Any] = [None, 1, "batch", {}, cells, pa.table({"id": ["a"]}), pa.record_batch({"id": ["a"]})]
    bad += [good.select(schema.names[:-1]), good.select(schema.names[::-1])]
    bad += [good.rename_columns(["ID", *schema.names[1:]]), pa.record_batch({n: ["a"] for n in schema.names})]
    bad += [without("id", key) for key in (None, "", "x" * 513, "a\0")]
    bad += [without("tags", None), without("content", None)]
    with unchanged(store):
        for unique in (False, True):
            for batch in bad:
                for batches in ([batch], [good, batch]):
                    refuse(case, hooks, InvalidRecord, [PutArrow("memories", batches, unique)])
                    request = CommitRequest("main", uuid7(), [PutArrow("memories", batches, unique)])
                    with refused(InvalidRecord, what=f"a put of {batch!r:.80} alone"):
                        hooks.commit(ctx=case.ctx, request=request)
        none: list[Any] = [None, 1, object()]
        refuse(case, hooks, InvalidRecord, (PutArrow("memories", given) for given in none))


@check("HK-014", "ER-001", "ER-004")
def keys_that_are_said_to_be_unique(case: Case) -> None:
    """A put whose keys are not unique though it says so is `InvalidRecord`, or leaves one version of each row."""
    schema = pa.schema([field.with_nullable(True) for field in TABLES["memories"].arrow])
    batches = []
    for title in ("one", "two"):
        cells = zip(schema.names, row("memories", title=title), strict=True)
        batches.append(pa.RecordBatch.from_pydict({name: [cell] for name, cell in cells}, schema=schema))
    for given in (batches, [batches[0], batches[0]]):
        with case.new_store() as store:
            request = CommitRequest("main", uuid7(), [PutArrow("memories", given, True)])
            try:
                case.hooks(store.namespace).commit(ctx=case.ctx, request=request)
            except InvalidRecord:
                equal((store.head().commit, store.memories.count()), (None, 0), "the store after a refusal")
            else:
                equal(
                    (store.memories.count(), store.verify().problems), (1, ()), "the rows, and what is wrong"
                )


@check("HK-012", "RE-002", "RE-003", "ER-001")
def malformed_requests_are_refused(case: Case) -> None:
    """A request whose branch, id, texts, times or flags are malformed is refused."""
    store, hooks = filled(case)
    bad: list[tuple[Any, str, Iterable[Any]]] = [
        (InvalidRef, "branch", NO_NAME),
        (InvalidRef, "id", NO_NAME),
        (InvalidInput, "author", NO_TEXT),
        (InvalidInput, "message", NO_TEXT),
        (InvalidInput, "time", (time for time in NO_INT64 if time is not None)),
        (InvalidInput, "expect_head", (head for head in NO_TEXT if head is not None)),
        (InvalidInput, "reverts", (commit for commit in NO_TEXT if commit is not None)),
        (InvalidInput, "force", NO_FLAG),
        (InvalidInput, "check_references", NO_FLAG),
        (NotFound, "branch", ("never", "mark", "x" * 200)),
    ]
    with unchanged(store):
        for error, name, values in bad:
            for value in values:
                with refused(error, what=f"a commit with {name} {value!r:.60}"):
                    commit(case, hooks, **{name: value})
        operations: list[Any] = [None, 1, "put", {}, object()]
        for given in operations:
            with refused(InvalidRecord, what=f"a commit of {given!r}"):
                hooks.commit(ctx=case.ctx, request=CommitRequest("main", uuid7(), given))
        requests: list[Any] = [None, 1, "main", {}, msgspec.UNSET, object()]
        for given in requests:
            with refused(InvalidRecord, what=f"the request {given!r}"):
                hooks.commit(ctx=case.ctx, request=given)


@check("HK-012", "ER-001", level="branches")
def malformed_ancestry_is_refused(case: Case) -> None:
    """Parents, version vectors and picks that are malformed are refused."""
    store, hooks = filled(case)
    point = store.head()
    parents: list[Any] = [None, 1, "a", {"a"}, object(), *((text,) for text in NO_TEXT)]
    vectors: list[Any] = [
        None,
        1,
        "a",
        ["a"],
        object(),
        *({"b": seq} for seq in NO_COUNT),
        {1: 1},
        {"a\0": 1},
    ]
    picks: list[Any] = [None, 1, "a", object(), (1,), (None,), ("pick",)]
    picks += [(Pick(point, "memories", keys),) for keys in NO_KEYS if keys is not None]
    with unchanged(store):
        for name, bad in (("parents", parents), ("vector", vectors), ("picks", picks)):
            for value in bad:
                if value is not None:
                    with refused(InvalidRecord, what=f"a commit with {name} {value!r:.60}"):
                        commit(case, hooks, **{name: value})
        for place in NO_PLACE:
            if isinstance(place, Point):
                with refused(InvalidRef, what=f"a pick at {place!r:.60}"):
                    commit(case, hooks, picks=(Pick(place, "memories", None),))
        for table in NO_TABLE:
            with refused(NotFound, what=f"a pick of the table {table!r:.60}"):
                commit(case, hooks, picks=(Pick(point, table, None),))


@check("HK-012", "DM-080", "DM-081", "ER-001", "ER-004")
def malformed_pieces_are_refused(case: Case) -> None:
    """Payload pieces that are too long, are no bytes, or do not hash to their names are refused."""
    store, hooks = filled(case)
    digest = blake2b(b"piece", digest_size=32).hexdigest()
    long = bytes(65_537)
    pieces: list[Any] = [Chunk(digest, b"other"), Chunk("0" * 64, b"piece"), Chunk(digest.upper(), b"piece")]
    pieces += [Chunk(blake2b(long, digest_size=32).hexdigest(), long), Chunk(digest[:32], b"piece")]
    names: list[Any] = ["", "z" * 64, "a\0", "\ud800", None, 1, b"0" * 64, ["0"]]
    contents: list[Any] = ["piece", None, 1, bytearray(b"piece"), [1]]
    pieces += [Chunk(name, b"piece") for name in names] + [Chunk(digest, content) for content in contents]
    pieces += [None, 1, "piece", b"piece", (digest, b"piece"), object()]
    with unchanged(store):
        for piece in pieces:
            for chunks in ([piece], [Chunk(digest, b"piece"), piece]):
                with refused(InvalidRecord, what=f"a commit with the piece {piece!r:.80}"):
                    commit(case, hooks, chunks=chunks)
        for given in (None, 1, object()):
            with refused(InvalidRecord, what=f"a commit with the pieces {given!r}"):
                commit(case, hooks, chunks=given)
