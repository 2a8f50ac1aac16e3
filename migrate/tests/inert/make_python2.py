# ruff: noqa
# Writes what Python 2 wrote: `python2.7 make_python2.py`, in the folder of the data of the tests.
import array
import cPickle
import collections
import datetime
import decimal
import pickle


class Old:
    def __init__(self):
        self.name, self.raw = "old", "caf\xe9"


class New(object):
    __slots__ = ("left", "right")


class Rows(dict):
    pass


def value():
    old, new, rows = Old(), New(), Rows(a=1)
    new.left, new.right = old, [old, new]
    rows.extra = "\u20ac"
    return {
        "text": "caf\xe9 \u20ac \U0001d11e \n \\",
        "ascii": "plain 'quoted' \\ \n",
        "bytes": "\x00\xff\x80",
        "long": 2**70,
        "short": long(5),
        "bools": [True, False, None],
        "float": [0.1, float("inf"), -0.0],
        "complex": 1 + 2j,
        "set": set([1, 2]),
        "when": datetime.datetime(2001, 2, 3, 4, 5, 6, 7),
        "day": datetime.date(1999, 12, 31),
        "delta": datetime.timedelta(1, 2, 3),
        "decimal": decimal.Decimal("1.50"),
        "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
        "buffer": bytearray("\x00\xffz"),
        "range": xrange(2, 10, 3),
        "array": array.array("i", [1, 2, 3]),
        "old": old,
        "new": new if hasattr(new, "__getstate__") else None,
        "rows": rows,
        "class": Old,
        "function": len,
    }


for protocol in (0, 1, 2):
    for name, module in (("pickle", pickle), ("cPickle", cPickle)):
        with open("python2-%s-%d.pkl" % (name, protocol), "wb") as file:
            module.dump(value(), file, protocol)
