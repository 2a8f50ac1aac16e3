"""More hostile pickles: allowlisted names abused, and bombs. Those that would run code are in test_hostile.py."""

from __future__ import annotations

import pickle

__all__ = ["ABUSED", "BOMBS"]


def _p(value: object, protocol: int = 4) -> bytes:
    return pickle.dumps(value, protocol)[2:-1]


def _call(name: str, args: bytes) -> bytes:
    module, _, qualname = name.rpartition(":")
    return b"c" + module.encode() + b"\n" + qualname.encode() + b"\n" + args + b"R"


DTYPE = _call("numpy:dtype", _p(("f8", False, True)))
OBJECTS = _call("numpy:dtype", _p(("O8", False, True)))
ARRAY = _call("numpy._core.multiarray:_reconstruct", b"(cnumpy\nndarray\n" + _p((0,)) + _p(b"b") + b"t")
WRAPPER = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81"


def _wrapped(shape: bytes, dtype: bytes = DTYPE) -> bytes:
    state = b"}(" + _p("subclass") + b"cnumpy\nndarray\n" + _p("shape") + shape + _p("order") + _p("C")
    return WRAPPER + state + _p("dtype") + dtype + b"ub"


#: What the allowlist takes, given what it should not.
ABUSED: dict[str, bytes] = {
    "bytes of a number": _call("builtins:bytes", _p((2**40,))),
    "bytearray with a codec": _call("builtins:bytearray", _p(("x", "zlib"))),
    "range without end": _call("builtins:range", _p((0, 2**62, 1))),
    "a set of a range": _call("builtins:set", b"(" + _call("builtins:range", _p((0, 2**40, 1))) + b"t"),
    "a set of itself": b"\x8f\x94(h\x00\x90",
    "a frozenset of lists": _call("builtins:frozenset", _p(([[], []],))),
    "a dict by a dict": b"}}Ns",
    "a deque of a range": _call("collections:deque", b"(" + _call("builtins:range", _p((0, 2**40, 1))) + b"t"),
    "a deque of great length": _call("collections:deque", _p(((), 2**31 - 1))),
    "an ordered dict of numbers": _call("collections:OrderedDict", _p(([1, 2],))),
    "an ordered dict with a state": _call("collections:OrderedDict", b")") + _p({"x": 1}) + b"b",
    "a counter": _call("collections:Counter", _p(({"a": 2**60},))),
    "a decimal of words": _call("decimal:Decimal", _p(("os.system",))),
    "a decimal of a great power": _call("decimal:Decimal", _p(("1E+999999999999999999",))),
    "a fraction of great numbers": _call("fractions:Fraction", _p((2**100_000, 3**60_000))),
    "a fraction by zero": _call("fractions:Fraction", _p((1, 0))),
    "a time of the year 0": _call("datetime:datetime", _p((b"\0" * 10,))),
    "a time by keyword": b"cdatetime\ndatetime\n)" + _p({"year": 1}) + b"\x92",
    "a delta without end": _call("datetime:timedelta", _p((2**70, 0, 0))),
    "a uuid with two states": b"cuuid\nUUID\n)\x81" + _p({"int": 1}) + b"b" + _p({"int": 2}) + b"b",
    "a uuid of text": b"cuuid\nUUID\n)\x81" + _p({"int": "1"}) + b"b",
    "a path of bytes": _call("pathlib:PosixPath", _p((b"/etc/passwd",))),
    "a path with a NUL": _call("pathlib:PosixPath", _p(("a\0b",))),
    "a zone of a file": _call("zoneinfo:ZoneInfo._unpickle", _p(("/etc/passwd", False))),
    "a zone of another folder": _call("zoneinfo:ZoneInfo._unpickle", _p(("right/UTC", True))),
    "getattr of a dunder": _call("builtins:getattr", b"(cbuiltins\nset\n" + _p("__class__") + b"t") + b")R",
    "getattr without end": b"cbuiltins\nset\n" + b"\x94" + b"0" + b"cbuiltins\ngetattr\n(h\x00" + _p("a" * 300) + b"tR",
    "reconstructor of a reconstructor": _call(
        "copyreg:_reconstructor", b"(ccopyreg\n_reconstructor\ncbuiltins\nobject\nNt"
    ),
    "newobj of newobj": b"ccopyreg\n__newobj__\n(ccopyreg\n__newobj__\nt\x81",
    "encode to another codec": _call("_codecs:encode", _p(("x" * 100, "unicode_escape"))),
    "encode of a number": _call("_codecs:encode", _p((2**40, "latin1"))),
    "an array of a great shape": ARRAY + b"(K\x01" + _p((2**40,)) + DTYPE + b"\x89" + _p(b"x" * 8) + b"tb",
    "an array of a negative shape": ARRAY + b"(K\x01" + _p((-1,)) + DTYPE + b"\x89" + _p(b"x" * 8) + b"tb",
    "an array of its own state": ARRAY + b"\x94(K\x01h\x00h\x00h\x00h\x00tb",
    "an array of objects from bytes": ARRAY + b"(K\x01" + _p((1,)) + OBJECTS + b"\x89" + _p(b"x" * 8) + b"tb",
    "an array with two states": ARRAY + _p((1, (0,), None, False, b"")) + b"b" + _p((1,)) + b"b",
    "a dtype of itself": _call("numpy:dtype", _p(("V8", False, True)))
    + b"\x94(K\x03X\x01\0\0\0|N(X\x01\0\0\0at}X\x01\0\0\0a(h\x00K\x00tsK\x08K\x01K\x10tb",
    "a dtype by a great size": _call("numpy:dtype", _p(("V999999999", False, True))),
    "a dtype of a Python name": _call("numpy:dtype", _p(("os.system", False, True))),
    "a buffer of another type": _call(
        "numpy._core.numeric:_frombuffer", b"(" + _p(2**40) + DTYPE + _p((1,)) + _p("C") + b"t"
    ),
    "a scalar of another length": _call("numpy._core.multiarray:scalar", b"(" + DTYPE + _p(b"x") + b"t"),
    "a raw array that is not there": _wrapped(_p((2**40,))),
    "a raw array of an unknown type": _wrapped(_p((1,)), _p("f8")),
    "raw objects that call": _wrapped(_p((1,)), OBJECTS) + b"cos\nsystem\n(S'touch HARMED'\ntR.",
    "raw objects in raw objects": (_wrapped(_p((1,)), OBJECTS) + b"\x80\x04") * 500,
    "a wrapper without a state": WRAPPER,
    "a tensor of nothing": _call("torch._utils:_rebuild_tensor_v2", _p((None, 0, (2**40,), (0,), False, {}))),
    "a storage outside of an archive": b"(" + _p("storage") + b"ctorch\nFloatStorage\n" + _p("0") + _p("cpu")
    + b"J\xff\xff\xff\x7ftQ",
    "EXT2 called": b"\x83\x01\x01" + _p(("touch HARMED",)) + b"R",
    "a number called": b"K\x01)R",
    "a list made": b"])\x81",
    "a stand-in called": b"cx\ny\n)R)R)R",
    "items for a number": b"K\x01(K\x02e",
    "keys for a tuple": b")NNs",
    "members for a list": b"](K\x01\x90",
    "a state for a tuple": b")}b",
    "a state for a class": b"cx\ny\n}b",
    "arguments that are no tuple": b"cos\nsystem\n" + _p(["touch HARMED"]) + b"R",
    "keyword arguments that are no dict": b"cos\nsystem\n)N\x92",
    "a name of numbers": b"K\x01K\x02\x93",
    "a buffer that is not there": b"\x97\x98",
}  # fmt: skip


def _laughs(count: int) -> bytes:
    return b"]q\x00" + b"".join(
        b"(" + (b"h" + bytes((i,))) * 10 + b"lq" + bytes((i + 1,)) for i in range(count)
    )


DOUBLED = b"N\x85q\x00" + b"h\x00h\x00\x86q\x00" * 60

#: What asks for more than it brings.
BOMBS: dict[str, bytes] = {
    "bytes that are not there": b"\x8e" + (2**60).to_bytes(8, "little") + b"x",
    "text that is not there": b"\x8d" + (2**60).to_bytes(8, "little") + b"x",
    "a bytearray that is not there": b"\x96" + (2**60).to_bytes(8, "little") + b"x",
    "an integer that is not there": b"\x8b\xff\xff\xff\x7fx",
    "a frame that is not there": b"\x95" + (2**60).to_bytes(8, "little") + b"N",
    "digits": b"L" + b"9" * 100_000 + b"L\n",
    "a power": b"\x8b" + (100_000).to_bytes(4, "little") + b"\x7f" * 100_000,
    "a memo by a great index": b"Nr\xff\xff\xff\xff",
    "lists in lists": b"]" * 100_000 + b"a" * 99_999,
    "tuples in tuples": b"N" + b"\x85" * 100_000,
    "marks in marks": b"(" * 100_000 + b"t" * 100_000,
    "stand-ins in stand-ins": b"cx\ny\nq\x00" + b"h\x00" * 5_000 + b")" + b"R\x85" * 5_000,
    "laughs": b"(" + _laughs(100) + b"1h\x64",
    "the hash of tuples, as a key": b"(" + DOUBLED + b"1}h\x00Ns",
    "the hash of tuples, in a set": b"(" + DOUBLED + b"1\x8f(h\x00\x90",
    "the hash of tuples, in a frozenset": b"(" + DOUBLED + b"1(h\x00\x91",
    "the hash of a deep tuple": b"}N" + b"\x85" * 50_000 + b"Ns",
    "one hash for many keys": _p({n * (2**61 - 1): None for n in range(1, 3000)}),
    "one hash for many members": _p({(n * (2**61 - 1),) for n in range(1, 3000)}),
    "a large tuple hashed often": b"(" + b"N" * 50_000 + b"tq\x000}" + b"h\x00Ns" * 20_000,
    "bytes copied often": b"(cbuiltins\nbytearray\nq\x00B\0\0\1\0" + b"x" * 65_536 + b"\x85q\x01"
    + b"h\x00h\x01R" * 20_000 + b"t",
    "an array copied often": b"(cnumpy._core.numeric\n_frombuffer\nq\x00(B\0\0\1\0" + b"x" * 65_536 + DTYPE
    + _p((8192,)) + _p("C") + b"tq\x01" + b"h\x00h\x01R" * 5_000 + b"t",
    "a cycle of tuples through a list": b"]q\x00" + b"h\x00\x85" * 1 + b"a",
    "empty items without end": _call(
        "numpy._core.numeric:_frombuffer",
        b"(C\0" + _call("numpy:dtype", _p(("S0", False, True))) + _p((2**60,)) + _p("C") + b"t",
    ),
    "a fraction reduced often": b"cfractions\nFraction\nq\x00(" + _p((2**32_000, 3**20_000)) + b"q\x011("
    + b"h\x00h\x01R0" * 1_000 + b"N",
}  # fmt: skip
