"""Names, calls, identity and cycles: what becomes of the objects whose classes are not here."""

from __future__ import annotations

import collections
import enum
import io
import pickle
import sys
import types
import uuid

import pytest
from perdure._errors import InvalidRecord
from perdure.values import Opaque
from perdure_migrate.inert import load_all, loads, loads_with_report


class _Vanishing:
    """Classes in a module that exists while they are pickled, and no longer when they are read."""

    def __enter__(self) -> types.ModuleType:
        module = types.ModuleType("gone_for_good")
        source = (
            "import enum\n"
            "class Plain: pass\n"
            "class Outer:\n    class Inner: pass\n"
            "class Slots: __slots__ = ('a', 'b')\n"
            "class MyList(list): pass\n"
            "class MyDict(dict): pass\n"
            "class MySet(set): pass\n"
            "class Colour(enum.Enum): RED = 'red'\n"
            "class Kw:\n"
            "    def __new__(cls, *, size): return object.__new__(cls)\n"
            "    def __getnewargs_ex__(self): return (), {'size': 3}\n"
            "def setter(thing, state): pass\n"
            "class Set:\n    def __reduce__(self): return Set, (), {'x': 1}, None, None, setter\n"
            "def function(): pass\n"
        )
        sys.modules["gone_for_good"] = module
        exec(source, module.__dict__)
        return module

    def __exit__(self, *exc: object) -> None:
        del sys.modules["gone_for_good"]


def _gone(make, protocol):
    with _Vanishing() as module:
        return pickle.dumps(make(module), protocol)


def _name(value):
    assert type(value) is Opaque
    return f"{value.module}.{value.qualname}"


@pytest.mark.parametrize("protocol", range(6))
def test_an_instance_keeps_its_class_name_and_state(protocol):
    def make(module):
        thing = module.Plain()
        thing.name, thing.self = "x", thing
        return thing

    made = loads(_gone(make, protocol))
    assert _name(made) == "gone_for_good.Plain"
    assert made.state["name"] == "x"
    assert made.state["self"] is made


@pytest.mark.parametrize("protocol", range(6))
def test_classes_and_functions_are_references(protocol):
    made = loads(_gone(lambda m: [m.Plain, m.function, m.Plain], protocol))
    assert [_name(x) for x in made] == [
        "gone_for_good.Plain",
        "gone_for_good.function",
        "gone_for_good.Plain",
    ]
    assert made[0] is made[2]
    assert all(x.args is None for x in made)


@pytest.mark.parametrize("protocol", range(6))
def test_subclasses_of_containers_keep_their_content(protocol):
    def make(m):
        return [m.MyList([1, 2]), m.MyDict(a=1), m.MySet([5])]

    a_list, a_dict, a_set = loads(_gone(make, protocol))
    assert [_name(x).rpartition(".")[2] for x in (a_list, a_dict, a_set)] == ["MyList", "MyDict", "MySet"]
    assert a_list.items == [1, 2] or a_list.args == ([1, 2],)
    assert a_dict.pairs == [("a", 1)] or a_dict.args == ({"a": 1},)
    assert a_set.args == ([5],)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_slots_enums_nested_classes_and_named_arguments(protocol):
    def make(m):
        slots = m.Slots()
        slots.a = 1
        return [slots, m.Colour.RED, m.Outer.Inner(), m.Kw(size=3)]

    slots, red, inner, kw = loads(_gone(make, protocol))
    assert slots.state == (None, {"a": 1})
    assert (_name(red), red.args) == ("gone_for_good.Colour", ("red",))
    assert _name(inner) == "gone_for_good.Outer.Inner"
    if protocol >= 4:
        assert (_name(kw), kw.kwargs) == ("gone_for_good.Kw", {"size": 3})


def test_a_state_setter_is_kept_on_the_object_that_it_would_have_set():
    made = loads(_gone(lambda m: m.Set(), 4))
    assert _name(made) == "gone_for_good.Set"
    assert _name(made.state) == "gone_for_good.setter"
    assert made.state.args[0] is made
    assert made.state.args[1] == {"x": 1}


@pytest.mark.parametrize("protocol", range(6))
def test_defaultdict_and_counter_keep_factory_and_items(protocol):
    default = loads(pickle.dumps(collections.defaultdict(list, a=[1]), protocol))
    assert _name(default) == "collections.defaultdict"
    assert default.args[0].qualname == "list"
    assert default.pairs == [("a", [1])]
    assert loads(pickle.dumps(collections.Counter("aab"), protocol)).args == ({"a": 2, "b": 1},)


@pytest.mark.parametrize("protocol", range(6))
def test_cycles_and_sharing(protocol):
    a_list: list = []
    a_list.append(a_list)
    made = loads(pickle.dumps(a_list, protocol))
    assert made[0] is made

    a_dict: dict = {}
    a_dict["self"] = a_dict
    made = loads(pickle.dumps(a_dict, protocol))
    assert made["self"] is made

    inner: list = []
    a_tuple = (inner, 1)
    inner.append(a_tuple)
    made = loads(pickle.dumps(a_tuple, protocol))
    assert made[0][0] is made

    shared = {"x": [1]}
    first, second = loads(pickle.dumps([shared, shared], protocol))
    assert first is second


def test_an_ordered_dict_with_attributes_becomes_a_stand_in_wherever_it_is_used():
    ordered = collections.OrderedDict(a=1)
    ordered.note = "kept"
    ordered["self"] = (1, (ordered,))
    holder = [ordered, {"k": ordered}, (ordered,), collections.deque([ordered])]
    made = loads(pickle.dumps(holder, 4))
    stand_in = made[0]
    assert _name(stand_in) == "collections.OrderedDict"
    assert stand_in.state == {"note": "kept"}
    assert stand_in.pairs[0] == ("a", 1)
    assert stand_in.pairs[1][1][1][0] is stand_in
    assert made[1]["k"] is made[2][0] is made[3][0] is stand_in


@pytest.mark.parametrize(
    ("body", "name", "pairs", "items"),
    [
        (b"}q\x00]K\x02s.", "builtins.dict", [([], 2)], []),
        (b"}q\x00K\x01K\x02s]K\x03s.", "builtins.dict", [(1, 2), ([], 3)], []),
        (b"\x80\x04\x8f\x94(]}\x90.", "builtins.set", [], [[], {}]),
        (b"(]K\x01\x91.", "builtins.frozenset", [], []),
        (b"(]K\x01d.", "builtins.dict", [([], 1)], []),
    ],
)
def test_unhashable_keys_and_members_are_kept_in_a_stand_in(body, name, pairs, items):
    made = loads(body)
    assert _name(made) == name
    assert (made.pairs, made.items) == (pairs, items)


def test_a_dict_that_becomes_a_stand_in_is_replaced_where_it_already_is():
    # d = {}; holder = [d, (d,)]; then d gets an unhashable key through the memo
    made = loads(b"]q\x00(}q\x01h\x01\x85eh\x01]K\x01s0.")
    assert _name(made[0]) == "builtins.dict"
    assert made[1][0] is made[0]
    assert made[0].pairs == [([], 1)]


UUID = b"cuuid\nUUID\n)\x81"
STATE = b"}X\x03\0\0\0intK\x05sb"


def test_an_object_that_a_build_finishes_is_finished_wherever_it_already_is():
    # used before its state came, from the memo, by DUP, and over an older memo entry
    five = uuid.UUID(int=5)
    assert loads(b"]q\x00(" + UUID + b"q\x01h\x01\x85h\x01" + STATE + b"e.") == [five, (five,), five]
    assert loads(b"(" + UUID + b"2" + STATE + b"l.") == [five, five]
    assert loads(b"(Nq\x00Nq\x01" + UUID + b"q\x00" + STATE + b"h\x00l.") == [None, None, five, five]
    assert loads(b"(}q\x00" + UUID + b"q\x01h\x00h\x01Ns0" + STATE + b"h\x00l.")[-1] == {five: None}


def test_pickles_of_one_stream_share_nothing():
    first, second = load_all(b"cx\ny\n}X\x01\0\0\0aNsb.cx\ny\n.")
    assert first.state == {"a": None}
    assert second.state is None


def test_references_opcodes_and_reports():
    data = b"\x80\x02cos\nsystem\nq\x00(X\x02\0\0\0lstRh\x00\x86."
    value, report = loads_with_report(data)
    assert _name(value[0]) == "os.system"
    assert value[0].args == ("ls",)
    assert [(s.module, s.qualname, s.count) for s in report.globals] == [("os", "system", 1)]
    assert [(s.module, s.qualname, s.count) for s in report.calls] == [("os", "system", 1)]
    assert [(s.module, s.qualname, s.count) for s in report.opaque] == [("os", "system", 1)]
    assert (report.protocol, report.pickles, report.size) == (2, 1, len(data))


def test_persistent_ids_extensions_and_buffers_are_stand_ins():
    assert loads(b"Psome id\n.").args == ("some id",)
    assert loads(b"X\x02\0\0\0idQ.").args == ("id",)
    assert [x.args for x in loads(b"\x80\x05(\x97\x97\x98l.")] == [(0,), (1,)]
    assert loads(b"\x82\x07.").args == (7,)
    assert loads(b"\x83\x07\x01.").args == (263,)
    assert loads(b"\x84\x07\0\0\0.").args == (7,)
    assert _name(loads(b"\x82\x07)R.")) == "operator.call"
    assert _name(loads(b"\x82\x07)\x81.")) == "copyreg.__newobj__"


def test_torch_like_storages():
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", float, "0", "cpu", 4) if isinstance(obj, bytes) else None

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({"weight": b"...."})
    pid = loads(buffer.getvalue())["weight"].args[0]
    assert (pid[0], pid[1].qualname, pid[4]) == ("storage", "float", 4)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b".",
        b"N",
        b"0.",
        b"(.",
        b"NN.",
        b"(N.",
        b"K\x01)R.",
        b"cos\nsystem\nK\x01R.",
        b"K\x01K\x02\x93.",
        b"K\x01K\x02a.",
        b"K\x01(K\x02e.",
        b"](K\x01u.",
        b"}(K\x01u.",
        b"\x8fK\x01a.",
        b"K\x01}b.",
        b"(t(t}b.",
        b"cos\nsystem\n)R}b}b.",
        b"h\x00.",
        b"g7\n.",
        b"p-1\n.",
        b"Np-1\n.",
        b"I\n.",
        b"Iabc\n.",
        b"I0x10\n.",
        b"I1_0\n.",
        b"F 1\n.",
        b"F1_0\n.",
        b"Sabc\n.",
        b"S'abc\n.",
        b"S'\n.",
        b"V\\u12\n.",
        b"V\\U00110000\n.",
        b"X\x01\0\0\0\xff.",
        b"T\xff\xff\xff\xff.",
        b"\x8b\xff\xff\xff\xff.",
        b"\x80\x06.",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"c\xff\n\xff\n.",
        b"o.",
        b"(o.",
        b"K\x01)}\x92.",
        b"cos\nsystem\n)}K\x01K\x02s\x92.",
        b"\xfe.",
        b"t.",
        b"\x85.",
        b"a.",
        b"s.",
        b"R.",
        b"b.",
        b"Q.",
        b"2.",
        b"q\x00.",
        b"1.",
    ],
)
def test_malformed_pickles_are_refused_with_place_and_opcode(body):
    with pytest.raises(InvalidRecord) as caught:
        loads(body)
    assert caught.value.detail["offset"] <= len(body)
    assert caught.value.detail["opcode"]


def test_an_enum_of_the_test_itself_is_not_looked_up():
    made = loads(pickle.dumps(_Live.ONE, 4))
    assert type(made) is Opaque
    assert made.args == (1,)


class _Live(enum.Enum):
    ONE = 1
