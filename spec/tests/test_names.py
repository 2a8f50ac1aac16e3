"""Names, refs and ids."""

import threading
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import InvalidRef, Ref, check_name, format_time, link_id, parse_ref, parse_time, uuid7


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("main", Ref("main")),
        ("main@0", Ref("main", seq=0)),
        ("a/b.c_d-e@12", Ref("a/b.c_d-e", seq=12)),
        ("main@2026-11-20T12:00Z", Ref("main", time=1_795_176_000_000_000)),
        ("main@2026-11-20T13:00+01:00", Ref("main", time=1_795_176_000_000_000)),
        ("@0198f", Ref("", commit="0198f")),
    ],
)
def test_the_four_forms_of_a_ref(text: str, ref: Ref) -> None:
    assert parse_ref(text) == ref
    assert parse_ref(str(ref)) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "main@",
        "main@x",
        "main@-1",
        "main@2026-11-20T12:00",
        "a b",
        "é",
        "a\0",
        "x" * 201,
        "main@1@2",
        "a@" + "9" * 40,
    ],
)
def test_what_is_no_ref(text: str) -> None:
    with pytest.raises(InvalidRef, match="ref|commit id"):
        parse_ref(text)


@pytest.mark.parametrize("name", ["", "a b", "x" * 201, "a\n", "ü", None, 5, b"main", "main;drop"])
def test_names_have_few_characters(name: object) -> None:
    with pytest.raises(InvalidRef):
        check_name(name)


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_times_keep_every_microsecond(moment: datetime) -> None:
    assert datetime.fromisoformat(format_time(parse_time(moment.isoformat()))) == moment


def test_uuid7_is_sortable_also_between_threads() -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(uuid7() for _ in range(500))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 2_000
    alone = [uuid7() for _ in range(10_000)]
    assert alone == sorted(alone)
    assert {(UUID(i).version, UUID(i).variant) for i in alone} == {(7, "specified in RFC 4122")}


def test_a_link_id_depends_on_each_part_and_on_nothing_else() -> None:
    ids = {link_id("a", "b", None), link_id("a", "b", ""), link_id("b", "a", None), link_id("ab", "", None)}
    assert len(ids) == 4
    # A golden value: an engine in another language derives the same.
    assert link_id("a", "b", "causes") == "629c7d1d-705b-883e-8895-fa2babc615a3"
