"""Bombs: small inputs that ask for much."""

from __future__ import annotations

import pickle

import pytest
from perdure._errors import InvalidInput, InvalidRecord
from perdure_migrate.inert import Limits, loads


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "1", None])
def test_limits_are_positive_integers(value):
    with pytest.raises(InvalidInput, match="max_nodes"):
        Limits(max_nodes=value)


HUGE = (2**60).to_bytes(8, "little")

LENGTHS = {
    "bytes": b"\x8e" + HUGE + b"x.",
    "text": b"\x8d" + HUGE + b"x.",
    "bytearray": b"\x96" + HUGE + b"x.",
    "bytes of 4 GB": b"B\xff\xff\xff\xffx.",
    "text of 4 GB": b"X\xff\xff\xff\xffx.",
    "string of 2 GB": b"T\xff\xff\xff\x7fx.",
    "int of 2 GB": b"\x8b\xff\xff\xff\x7fx.",
    "frame": b"\x80\x04\x95" + HUGE + b"N.",
}


@pytest.mark.parametrize("name", LENGTHS)
def test_lengths_are_checked_before_anything_is_allocated(name):
    with pytest.raises(InvalidRecord, match=r"cut off|max_int_digits"):
        loads(LENGTHS[name])


def test_long_integers():
    assert loads(b"L" + b"9" * 20_000 + b"L\n.") == 10**20_000 - 1
    assert loads(pickle.dumps(-(10**9_999), 2)) == -(10**9_999)
    for data in (b"L" + b"9" * 20_001 + b"\n.", b"I" + b"9" * 100_000 + b"\n.", pickle.dumps(10**30_000, 2)):
        with pytest.raises(InvalidRecord, match="max_int_digits"):
            loads(data)
    assert loads(pickle.dumps(10**30_000, 2), limits=Limits(max_int_digits=40_000)) == 10**30_000


def test_memo_keys_do_not_size_the_memo():
    assert loads(b"Nr\xff\xff\xff\xff.") is None
    assert loads(b"Np99999999999999999999\n.") is None
    with pytest.raises(InvalidRecord, match="max_memo"):
        loads(b"N" + b"\x94" * 5000 + b".", limits=Limits(max_memo=100))


def test_stack_marks_and_nodes():
    with pytest.raises(InvalidRecord, match="max_stack"):
        loads(b"(" + b"N" * 5000 + b"t.", limits=Limits(max_stack=100))
    with pytest.raises(InvalidRecord, match="max_stack"):
        loads(b"(" * 5000 + b".", limits=Limits(max_stack=100))
    with pytest.raises(InvalidRecord, match="max_stack"):
        loads(b"N" + b"2" * 5000 + b".", limits=Limits(max_stack=100))
    for op in (b"]", b"}", b"\x8f", b"N\x85"):
        with pytest.raises(InvalidRecord, match="max_nodes"):
            loads(b"(" + op * 5000 + b"t.", limits=Limits(max_nodes=100))


@pytest.mark.parametrize(
    "body",
    [
        b"]" * 100_000 + b"a" * 99_999,
        b"N" + b"\x85" * 100_000,
        b"(" * 100_000 + b"l" * 100_000,
        b"(" * 100_000 + b"t" * 100_000,
        b"}" + b"(K\x01}" * 100_000 + b"u" * 100_000,
        b"cx\ny\n)R" + b"\x85" * 100_000,
    ],
)
def test_nesting_is_limited(body):
    with pytest.raises(InvalidRecord, match="max_depth"):
        loads(body + b".")


def test_what_nests_in_the_limit_is_read():
    value: list = []
    for _ in range(400):
        value = [value]
    assert loads(pickle.dumps(value)) == value
    with pytest.raises(InvalidRecord, match="max_depth"):
        loads(pickle.dumps(value), limits=Limits(max_depth=400))
    assert loads(pickle.dumps(value), limits=Limits(max_depth=401)) == value


def test_billion_laughs_are_only_shared():
    body = b"]q\x00" + b"".join(
        b"(" + b"h" + bytes((i,)) + b"2" * 9 + b"lq" + bytes((i + 1,)) for i in range(100)
    )
    made = loads(b"(" + body + b"1h\x64.")
    assert len(made) == 10
    assert made[0] is made[9]


def test_hashing_shared_tuples_is_charged():
    # t = (t, t), sixty times over: its hash would take 2**60 steps
    doubled = b"N\x85q\x00" + b"h\x00h\x00\x86q\x00" * 60
    for use in (b"}h\x00Ns", b"\x8f(h\x00\x90", b"(h\x00\x91", b"cbuiltins\nset\n(h\x00\x85tR"):
        with pytest.raises(InvalidRecord, match="bomb"):
            loads(b"(" + doubled + b"1" + use + b".")


def test_hashing_deep_tuples_is_refused():
    with pytest.raises(InvalidRecord, match="bomb"):
        loads(b"}N" + b"\x85" * 100_000 + b"Ns.")


def test_hashing_one_large_tuple_again_and_again_is_charged():
    large = b"(" + b"N" * 50_000 + b"tq\x000"
    with pytest.raises(InvalidRecord, match="bomb"):
        loads(large + b"}" + b"h\x00Ns" * 20_000 + b".")


COPIED = {
    "set": b"cbuiltins\nset\nq\x00](" + b"K\x01" * 20_000 + b"e\x85q\x01" + b"h\x00h\x01R" * 20_000,
    "bytearray": b"cbuiltins\nbytearray\nq\x00B\x00\x00\x01\x00"
    + b"x" * 65_536
    + b"\x85q\x01"
    + b"h\x00h\x01R" * 20_000,
    "encode": b"c_codecs\nencode\nq\x00X\x00\x00\x01\x00"
    + b"x" * 65_536
    + b"X\x06\0\0\0latin1\x86q\x01"
    + b"h\x00h\x01R" * 20_000,
    "deque": b"ccollections\ndeque\nq\x00](" + b"K\x01" * 20_000 + b"e\x85q\x01" + b"h\x00h\x01R" * 20_000,
}


@pytest.mark.parametrize("name", COPIED)
def test_copying_again_and_again_is_charged(name):
    with pytest.raises(InvalidRecord, match="bomb"):
        loads(b"(" + COPIED[name] + b"t.")


def test_many_appends_and_memo_entries_take_linear_time():
    made = loads(b"]" + b"K\x01a" * 200_000 + b".")
    assert len(made) == 200_000
    assert loads(b"N" + b"\x94" * 200_000 + b".") is None


@pytest.mark.parametrize("make", [lambda n: n * (2**61 - 1), lambda n: (n * (2**61 - 1),)])
def test_keys_made_to_collide_are_refused(make):
    honest = {make(n): n for n in range(1, 500)}
    assert loads(pickle.dumps([honest] * 3 + [dict(honest)])) == [honest] * 4
    for container in ({make(n): None for n in range(1, 3000)}, {make(n) for n in range(1, 3000)}):
        with pytest.raises(InvalidRecord, match="one hash"):
            loads(pickle.dumps(container))


def test_large_honest_keys_are_read():
    honest = {n * 0x9E3779B97F4A7C15 % 2**64: (n, str(n)) for n in range(20_000)}
    assert loads(pickle.dumps(honest)) == honest
    pairs = {(x, y): 1 for x in range(100) for y in range(100)}
    assert loads(pickle.dumps(pairs)) == pairs


def test_a_limit_inside_a_rebuilder_is_no_stand_in():
    digits = b"1" * 30_000
    with pytest.raises(InvalidRecord, match="max_int_digits"):
        loads(b"cdecimal\nDecimal\n(X" + len(digits).to_bytes(4, "little") + digits + b"tR.")
