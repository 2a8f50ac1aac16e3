"""The specification, the records and the schemas say the same of the six tables."""

import operator
import re
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from perdure import RECORDS, TABLES, Memory, Table

CHAPTER = (Path(__file__).parent.parent / "chapters" / "data-model.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda t: t.name)
def test_records_have_the_columns_in_order(table: Table) -> None:
    assert RECORDS[table.name].__struct_fields__ == table.names
    assert RECORDS[table.name].TABLE is table
    assert msgspec.structs.fields(RECORDS[table.name])[-1].name == "updated_at"


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda t: t.name)
def test_the_chapter_lists_the_columns(table: Table) -> None:
    section = CHAPTER.split(f"### {table.name}\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (yes|no) \| (\d*) \| (\w+) \| (\w*) \|$", section, re.M)
    told = [
        (
            c.name,
            c.kind + (", counter" if c.counter else ""),
            "yes" if c.nullable else "no",
            str(c.limit or ""),
            c.merge,
            c.references or "",
        )
        for c in table.columns
    ]
    assert rows == told
    assert f"Key: {', '.join(f'`{k}`' for k in table.key)}." in section


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda t: t.name)
def test_the_key_leads_and_the_times_end_each_row(table: Table) -> None:
    assert table.names[: len(table.key)] == table.key
    assert table.names[-2:] == ("created_at", "updated_at")
    assert table.arrow.names == list(table.names)
    assert table.arrow.field("created_at").type == pa.timestamp("us", tz="UTC")
    assert all(name in table.position for group in table.indexes for name in group)
    row = tuple(f"k{i}" for i in range(len(table.columns)))
    assert table.key_of(row) == row[: len(table.key)]


def test_records_are_equal_or_unequal() -> None:
    """Both operators say the same: a struct has a ``!=`` of its own."""
    one, same, other = (Memory(id="m", content=content) for content in (1, 1, 1.0))
    assert [operator.eq(one, same), operator.ne(one, same)] == [True, False]
    assert [operator.eq(one, other), operator.ne(one, other)] == [False, True]
    assert [operator.eq(one, "m"), operator.ne(one, "m")] == [False, True]
