"""Every value that the public strategies draw survives the codec, to the bit and in its structure."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from perdure.values import decode, encode, equal, is_plain
from perdure_conformance.strategies._values import plain_values, values

_SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@_SETTINGS
@given(values())
def test_any_value_round_trips(value: Any) -> None:
    text = encode(value)
    back = decode(text)
    assert equal(value, back)
    assert encode(back) == text
    assert "\0" not in text
    assert text.encode().decode() == text


@_SETTINGS
@given(plain_values())
def test_plain_trees_are_plain_json(value: Any) -> None:
    text = encode(value)
    assert is_plain(text)
    assert equal(decode(text), value)
    assert equal(decode(text, trusted=True), value)


@_SETTINGS
@given(values(), values())
def test_equal_values_and_only_they_have_equal_text(one: Any, other: Any) -> None:
    assert equal(one, other) == (encode(one) == encode(other))
