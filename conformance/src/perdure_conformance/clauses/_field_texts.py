"""Typed fields: texts, keys and tags, in every table and by every way of writing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from perdure import KEY_LIMIT, RECORDS, TABLES, Column, F, InvalidRecord, Memory, Skill, Store

from perdure_conformance._case import Case
from perdure_conformance._checks import check
from perdure_conformance.expect import equal, refused, unchanged

#: Fields without which a row of the table means nothing.
LEAST: dict[str, dict[str, Any]] = {
    "memories": {"id": "a"},
    "links": {"id": "a", "source": "s", "target": "t"},
    "skills": {"id": "a"},
    "traces": {"id": "a"},
    "vectors": {"space": "free", "id": "a", "values": [1.0, 0.0]},
    "states": {"kind": "k", "id": "a"},
}

#: Texts that no field and no key may hold.
UNSTORABLE = ("\0", "a\0b", "\ud800", "a\udfffb", "\udc80" * 3)

#: Calls on the memories with a key.
KEYED: dict[str, Callable[[Any, Any], Any]] = {
    "get": lambda memories, key: memories.get(key),
    "in": lambda memories, key: key in memories,
    "get_many": lambda memories, key: memories.get_many(["a", key]),
    "version": lambda memories, key: memories.version(key),
    "counters": lambda memories, key: memories.counters(key),
    "delete": lambda memories, key: memories.delete(["a", key]),
    "update": lambda memories, key: memories.update(key, title="t"),
    "touch": lambda memories, key: memories.touch(["a", key]),
}


def record(table: str, **fields: Any) -> Any:
    """A record of the table with these fields, and else no more than it must have."""
    return RECORDS[table](**{**LEAST[table], **fields})


def columns(kind: str) -> Iterator[tuple[str, Column]]:
    """All columns of a kind, with the names of their tables."""
    for name, table in TABLES.items():
        for column in table.columns:
            if column.kind == kind:
                yield name, column


def filled(case: Case) -> Store:
    """A store with a free space `free` and one row in each table, under the key of `LEAST`."""
    store = case.store()
    store.spaces.create("free", 2)
    for name in TABLES:
        store.table(name).put(record(name))
    return store


def writes(store: Store, table: str, fields: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """The ways to write a row with these fields: each is to be refused."""
    collection = store.table(table)
    key = record(table).key
    bad = record(table, **fields)
    many = [record(table, **{TABLES[table].key[-1]: f"n{i}"}) for i in range(12)]
    found: dict[str, Callable[[], Any]] = {
        "put": lambda: collection.put(bad),
        "put of a mapping": lambda: collection.put({**LEAST[table], **fields}),
        "put of many": lambda: collection.put([*many, bad]),
        "insert": lambda: collection.insert(bad),
    }
    if not set(fields) & set(TABLES[table].key):
        found["update"] = lambda: collection.update(key, **fields)
    return found


def refuse(store: Store, table: str, fields: dict[str, Any]) -> None:
    """No way of writing a row with these fields is taken."""
    for name, write in writes(store, table, fields).items():
        with refused(InvalidRecord, what=f"{name} in {table} of {fields!r:.80}"):
            write()


def accept(store: Store, table: str, **fields: Any) -> None:
    """A row with these fields is taken, and read back as it was given."""
    given = record(table, **fields)
    store.table(table).put(given)
    got = store.table(table)[given.key]
    for name, value in fields.items():
        equal(getattr(got, name), value, f"{table}.{name} read back")


@check("DM-020", "DM-033")
def no_text_holds_nul_or_a_lone_surrogate(case: Case) -> None:
    """NUL and lone surrogates are refused in every text column, key parts included."""
    store = filled(case)
    with unchanged(store):
        for table, column in columns("text"):
            for text in UNSTORABLE:
                refuse(store, table, {column.name: text})


@check("DM-020", "DM-030", "DM-033")
def no_tag_holds_nul_or_a_lone_surrogate(case: Case) -> None:
    """NUL and lone surrogates are refused in every tag."""
    store = filled(case)
    with unchanged(store):
        for table, column in columns("tags"):
            for text in UNSTORABLE:
                refuse(store, table, {column.name: ["fine", text]})


@check("DM-020")
def any_other_text_is_kept(case: Case) -> None:
    """Control characters, combining marks, non-characters and astral signs are read back as they were."""
    store = filled(case)
    for text in (
        "\x01\x7f\r\n\t",
        "e\u0301 é",
        "\ufeff\uffff\ufffe",
        "😀\U0010ffff",
        "' \" \\ % _ ; --",
        " ",
    ):
        for table, column in columns("text"):
            if f"{table}.{column.name}" not in ("vectors.space", "skills.trigger"):
                accept(store, table, **{column.name: text})


@check("DM-020")
def the_empty_text_is_not_null(case: Case) -> None:
    """An empty text in a column that is no key is kept, and differs from none."""
    store = filled(case)
    for table, column in columns("text"):
        if column.nullable:
            accept(store, table, **{column.name: ""})
            accept(store, table, **{column.name: None})


@check("DM-021", "DM-033")
def a_key_part_has_1_to_512_bytes(case: Case) -> None:
    """An empty key part and one of more than 512 UTF-8 bytes are refused; 512 bytes are kept."""
    store = filled(case)
    for table, definition in TABLES.items():
        for part in definition.key:
            with unchanged(store):
                for text in ("x" * (KEY_LIMIT + 1), "é" * (KEY_LIMIT // 2 + 1), "x" * 1_000_000):
                    refuse(store, table, {part: text})
                if (table, part) != ("links", "id"):  # an empty id of a link is derived
                    refuse(store, table, {part: ""})
            if part != "space":
                for text in ("x", "x" * KEY_LIMIT, "é" * (KEY_LIMIT // 2), "😀" * (KEY_LIMIT // 4)):
                    accept(store, table, **{part: text})


@check("DM-021", "DM-020", "DM-033")
def a_key_that_cannot_be_is_refused_by_every_call(case: Case) -> None:
    """Reading, deleting, counting and changing under a key that no row can have is refused."""
    store = filled(case)
    bad: list[Any] = ["", "x" * 513, "é" * 257, "a\0", "\ud800", None, 1, b"a", ("a", "b"), (), {}, object()]
    with unchanged(store):
        for key in bad:
            for name, call in KEYED.items():
                with refused(InvalidRecord, what=f"{name} with the key {key!r:.40}"):
                    call(store.memories, key)


@check("DM-022", "DM-033")
def texts_have_the_stated_limits(case: Case) -> None:
    """A text of more UTF-8 bytes than the column's limit is refused; one of just as many is kept."""
    store = filled(case)
    for table, column in columns("text"):
        if column.limit is None or column.name in TABLES[table].key:
            continue
        with unchanged(store):
            for text in ("x" * (column.limit + 1), "é" * (column.limit // 2) + "x"):
                refuse(store, table, {column.name: text})
        for text in ("x" * column.limit, "😀" * (column.limit // 4)):
            accept(store, table, **{column.name: text})


@check("DM-022")
def other_texts_have_no_limit(case: Case) -> None:
    """A column without a stated limit keeps a text of two million bytes."""
    store = filled(case)
    long = "long text, 長い文 " * 100_000
    for table, column in columns("text"):
        if column.limit is None and column.name != "trigger":
            accept(store, table, **{column.name: long})


@check("DM-023")
def texts_are_compared_by_code_point(case: Case) -> None:
    """Keys, orders and filters compare texts by code point, not by locale, case or UTF-16 unit."""
    store = case.store()
    ordered = ["A", "Z", "a", "z", "zz", "z\u0301", "Ä", "ß", "ä", "\ud7ff", "\ue000", "\uffff", "\U00010000"]
    store.memories.put([Memory(id=text, title=text) for text in reversed(ordered)])
    equal([m.id for m in store.memories.scan()], ordered, "rows in the order of their keys")
    found = store.memories.find(order_by="-title")
    equal([m.id for m in found], ordered[::-1], "rows in the descending order of a text")
    for i, text in enumerate(ordered):
        equal(store.memories.count(F.title < text), i, f"the rows with a title before {text!r}")
        equal([m.id for m in store.memories.find(F.id == text)], [text], f"the rows of the key {text!r}")


@check("DM-030", "DM-033")
def tags_are_distinct_texts(case: Case) -> None:
    """A duplicate, an empty tag, a tag that is no text, and tags that are no list are refused."""
    store = filled(case)
    bad = (["a", "a"], [""], ["a", ""], [1], [None], [b"a"], [["a"]], "a", b"a", {"a"}, {"a": 1}, 1, True)
    with unchanged(store):
        for table, column in columns("tags"):
            for tags in bad:
                refuse(store, table, {column.name: tags})


@check("DM-030")
def tags_keep_their_order(case: Case) -> None:
    """Tags are read back in the order that they were given in, and one in another order is another row."""
    store = filled(case)
    for table, column in columns("tags"):
        for tags in (["b", "a", "c"], ["c", "b", "a"], ["é", "e\u0301", "A", "a", "[", '"', "\\", ","], []):
            accept(store, table, **{column.name: tags})
    first = store.memories.put(Memory(id="a", tags=["x", "y"]))
    second = store.memories.put(Memory(id="a", tags=["y", "x"]))
    equal(
        [first is not None and first.written, second is not None and second.written], [1, 1], "rows written"
    )


@check("DM-032", "DM-033")
def a_trigger_is_a_pattern_of_re2(case: Case) -> None:
    """What RE2 does not take, look-around and back references included, is refused."""
    store = filled(case)
    with unchanged(store):
        for pattern in (
            "(",
            "[",
            "*a",
            "(?=a)",
            "(?!a)",
            "(?<=a)b",
            "(?<!a)b",
            r"(a)\1",
            "(?P=a)",
            "a{2,1}",
            "\\",
        ):
            refuse(store, "skills", {"trigger": pattern})
    for pattern in ("", "a|b", r"(?i)^error: \d+", r"\p{Greek}+", "[[:alpha:]]{2,5}", "😀?"):
        accept(store, "skills", trigger=pattern)


@check("DM-032")
def triggers_are_searched_as_re2_does(case: Case) -> None:
    """`matching` finds the skills whose trigger occurs in the text, by confidence, then key."""
    store = case.store()
    triggers = {
        "any": "",
        "number": r"\d+",
        "start": "^disk",
        "case": "(?i)FULL",
        "other": "cpu",
        "greek": r"\p{Greek}",
    }
    store.skills.put([Skill(id=key, trigger=trigger) for key, trigger in triggers.items()])
    store.skills.put([Skill(id="best", trigger="disk", confidence=0.9), Skill(id="none")])
    found = [skill.id for skill in store.skills.matching("disk full: 97%")]
    equal(found, ["best", "any", "case", "number", "start"], "the skills that match")


@check("DM-034", "DM-033")
def a_field_that_is_not_there_is_refused(case: Case) -> None:
    """A field that the table does not have is refused in mappings, updates, counters and Arrow data."""
    store = filled(case)
    with unchanged(store):
        for table in TABLES:
            collection, key = store.table(table), record(table).key
            for name in ("nope", "Id", "id ", "_id", "version", "access_count"):
                fields: dict[str, Any] = {name: 1}
                with refused(InvalidRecord, what=f"a mapping with {name!r} for {table}"):
                    collection.put({**LEAST[table], **fields})
                with refused(InvalidRecord, what=f"an update of {table}.{name}"):
                    collection.update(key, **fields)
                with refused(InvalidRecord, what=f"an increment of {table}.{name}"):
                    collection.increment(key, **fields)
            with refused(InvalidRecord, what=f"an Arrow column that {table} does not have"):
                collection.put(pa.table({**{n: [v] for n, v in LEAST[table].items()}, "nope": ["x"]}))
