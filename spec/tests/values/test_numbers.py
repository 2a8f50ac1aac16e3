"""How numbers are written (VA-003, VA-004), floats against a spelling that is made from `repr` alone."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure import InvalidRecord
from perdure.values import decode, encode


def spelled(number: float) -> str:
    """The clause, word by word."""
    sign = "-" if struct.pack(">d", number)[0] & 0x80 else ""
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, rest = mantissa.partition(".")
    digits = (whole + rest).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + rest) - len(digits))
    digits = digits.rstrip("0")
    if not digits:
        return f"{sign}0.0"
    if len(digits) <= point <= 16:
        return f"{sign}{digits}{'0' * (point - len(digits))}.0"
    if 0 < point <= 16:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -5 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1}"


@given(
    st.floats(allow_nan=False, allow_infinity=False)
    | st.builds(lambda m, e: float(f"{m}e{e}"), st.integers(1, 999), st.integers(-9, 20))
)
def test_a_float_has_one_spelling(number: float) -> None:
    assert encode(number) == spelled(number)
    again = decode(spelled(number))
    assert isinstance(again, float)
    assert struct.pack(">d", again) == struct.pack(">d", number)


@pytest.mark.parametrize(
    "text",
    [
        "9223372036854775808",
        "[-9223372036854775809]",
        '{"a":[99999999999999999999]}',
        '{"$tuple":[9223372036854775808]}',
    ],
)
def test_a_bare_integer_beyond_int64_is_refused(text: str) -> None:
    with pytest.raises(InvalidRecord):
        decode(text)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
def test_the_ends_of_int64_are_bare(number: int) -> None:
    assert encode([number, "9" * 30]) == f'[{number},"{"9" * 30}"]'
    assert decode(f"[{number}]") == [number]
