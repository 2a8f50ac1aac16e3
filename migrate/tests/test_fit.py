"""What fits a typed field, and what stays in a value."""

from typing import Any

import numpy as np
import pytest
from perdure.values import Opaque, equal
from perdure_migrate._fit import Fields, Keys, as_float, as_key, as_text, as_time, fields_of, show


@pytest.mark.parametrize("value", ["", "text", "ü" * 1000])
def test_text_that_fits(value: str) -> None:
    assert as_text(value) == value


@pytest.mark.parametrize("value", [None, 1, b"x", "a\0", "\ud800", np.str_("x")])
def test_text_that_does_not(value: Any) -> None:
    assert as_text(value) is None


def test_limits_of_text_are_in_bytes() -> None:
    assert as_text("ü" * 10, 19) is None
    assert as_key("ü" * 256) is not None
    assert as_key("ü" * 257) is None
    assert as_key("") is None


@pytest.mark.parametrize(
    ("value", "number", "exact"),
    [
        (0.5, 0.5, True), (-0.0, 0.0, False), (1, 1.0, False), (np.float32(0.5), 0.5, False),
        (True, None, False), (2**80 + 1, None, False), (10**400, None, False), (float("nan"), None, False),
        (float("inf"), None, False), ("1", None, False), (np.longdouble(1) / 3, None, False),
    ],
)  # fmt: skip
def test_numbers(value: Any, number: float | None, exact: bool) -> None:
    assert as_float(value) == (number, exact)


def test_times() -> None:
    time = as_time(1767400000.5)
    assert time is not None
    assert time.isoformat() == "2026-01-03T00:26:40.500000+00:00"
    assert [as_time(x) for x in (None, "now", float("nan"), 1e300, -1e300, True)] == [None] * 6


def test_keys_are_free_and_always_the_same() -> None:
    def run() -> list[str]:
        keys = Keys("memories")
        return [keys.assign(value) for value in ("a", "a", 7, 7.0, float("nan"), float("nan"), "\ud800", "")]

    first = run()
    assert first == run()
    assert len(set(first)) == len(first)
    assert first[0] == "a"
    assert first[2] != Keys("links").assign(7)


def test_a_key_too_deep_to_encode_is_still_derived() -> None:
    deep: Any = ()
    for _ in range(300):
        deep = (deep,)
    keys = Keys("memories")
    assert keys.assign(deep) != keys.assign((deep,))


def test_fields_of_objects_that_have_nothing_else() -> None:
    assert fields_of({"a": 1}) == {"a": 1}
    assert fields_of(Opaque("m", "C", (), {"a": 1})) == {"a": 1}
    assert fields_of(Opaque("m", "C", (), (None, {"a": 1}))) == {"a": 1}
    for other in (5, [1], Opaque("m", "C", (1,), {}), Opaque("m", "C", None), Opaque("m", "C", (), 5)):
        assert fields_of(other) is None


def test_what_is_taken_out_is_gone_and_the_rest_is_whole() -> None:
    fields = Fields({"type": "t", "weight": 1, "bad": "\0", "none": None, "data": [1], 5: 6})
    assert (fields.text("type"), fields.text("bad"), fields.text("missing")) == ("t", None, None)
    assert (fields.number("weight"), fields.value("none"), fields.value("data")) == (1.0, None, [1])
    assert equal(fields.rest, {"weight": 1, "bad": "\0", "none": None, 5: 6})
    assert fields.misfits == ["bad is text with a NUL character"]
    assert equal(
        fields.leftover({"k": 1}), {"weight": 1, "bad": "\0", "none": None, 5: 6, "legacy": {"k": 1}}
    )


def test_a_field_named_legacy_is_not_mistaken() -> None:
    assert Fields({"legacy": 1}).leftover({"k": 2}) == {"legacy": {"k": 2, "fields": {"legacy": 1}}}
    assert Fields({}).leftover({}) is None


@pytest.mark.parametrize(
    "value", ["x" * 1000, "\ud800", 2**10_000, [[]], np.zeros(3), Opaque("m", "C"), b"\xff", None]
)
def test_anything_can_be_shown(value: Any) -> None:
    assert len(show(value).encode()) < 300
