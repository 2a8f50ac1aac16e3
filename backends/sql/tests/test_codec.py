"""Cells of the store as rows: what is damaged is told, and nothing is made of it."""

import pytest
from perdure import TABLES, CorruptStore
from perdure_sql._codec import decoder

MEMORIES = TABLES["memories"]


def read(tags: str) -> object:
    cells = [tags if name == "tags" else None for name in MEMORIES.names]
    return decoder(MEMORIES)(cells)[MEMORIES.position["tags"]]


def test_tags_are_read_as_they_were_written():
    assert read("[]") == ()
    assert read('["a","\\u00e9",""]') == ("a", "é", "")


@pytest.mark.parametrize(
    "text", ["", "[", '["a"', '["a"]x', '["a"] ', ' ["a"]', "1", '"a"', "null", "NaN", "[" * 100_000]
)
def test_damaged_text_is_told(text):
    with pytest.raises(CorruptStore, match="run verify"):
        read(text)
