"""Pickles that would run code: nothing may be imported, opened, compiled or started while they are read."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap

import pytest
from perdure.values import Opaque
from perdure_migrate.inert import loads


def _p(value: object, protocol: int = 4) -> bytes:
    """The opcodes of a value, without PROTO and STOP."""
    data = pickle.dumps(value, protocol)
    return data[2:-1]


def _call(name: str, args: bytes) -> bytes:
    module, _, qualname = name.rpartition(":")
    return b"c" + module.encode() + b"\n" + qualname.encode() + b"\n" + args + b"R"


SHELL = _p(("touch HARMED",))
CODE = _p(("open('HARMED', 'w').close()",))

PAYLOADS: dict[str, bytes] = {
    "os.system": _call("os:system", SHELL),
    "posix.system": _call("posix:system", SHELL),
    "nt.system": _call("nt:system", SHELL),
    "os.popen": _call("os:popen", SHELL),
    "os.execv": _call("os:execv", _p(("/bin/touch", ["touch", "HARMED"]))),
    "os.remove": _call("os:remove", _p(("HARMED",))),
    "os.putenv": _call("os:putenv", _p((b"HARMED", b"1"))),
    "pty.spawn": _call("pty:spawn", _p((["touch", "HARMED"],))),
    "subprocess.Popen": _call("subprocess:Popen", _p((["touch", "HARMED"],))),
    "subprocess.check_output": _call("subprocess:check_output", _p((["touch", "HARMED"],))),
    "builtins.eval": _call("builtins:eval", CODE),
    "builtins.exec": _call("builtins:exec", CODE),
    "__builtin__.eval": _call("__builtin__:eval", CODE),
    "__builtin__.execfile": _call("__builtin__:execfile", _p(("harm.py",))),
    "builtins.compile": _call("builtins:compile", _p(("open('HARMED','w')", "x", "exec"))),
    "builtins.open": _call("builtins:open", _p(("HARMED", "w"))),
    "io.open": _call("io:open", _p(("HARMED", "w"))),
    "_io.FileIO": _call("_io:FileIO", _p(("HARMED", "w"))),
    "pathlib.Path.write_text": _call("pathlib:Path.write_text", _p(("HARMED",))),
    "pathlib.Path.touch": _call(
        "pathlib:Path.touch", b"(" + _call("pathlib:PosixPath", _p(("HARMED",))) + b"t"
    ),
    "__import__": _call("builtins:__import__", _p(("antigravity",))),
    "importlib": _call("importlib:import_module", _p(("antigravity",))),
    "runpy": _call("runpy:run_module", _p(("antigravity",))),
    "a module that acts on import": b"cantigravity\nfly\n",
    "a submodule": b"cxml.etree.ElementTree\nparse\n",
    "stack global": _p("os") + _p("system") + b"\x93" + SHELL + b"R",
    "memoized stack global": _p("os")
    + b"\x94"
    + _p("system")
    + b"\x94"
    + b"00"
    + b"h\x00h\x01\x93"
    + SHELL
    + b"R",
    "dotted from builtins": _call("builtins:__import__('os').system", SHELL),
    "dotted through a submodule": _call("logging:os.system", SHELL),
    "dotted through numpy": _call("numpy:core.multiarray.os.system", SHELL),
    "dotted through an allowed module": _call("datetime:sys.modules", b")"),
    "dotted through an allowed class": _call("collections:OrderedDict.__init__.__globals__", b")"),
    "getattr chain": _call(
        "builtins:getattr",
        b"(" + _call("builtins:getattr", b"(cos\n__dict__\n" + _p("get") + b"t") + _p("__call__") + b"t",
    )
    + SHELL
    + b"R",
    "getattr on a class": _call("builtins:getattr", b"(cos\nos\n" + _p("system") + b"t") + SHELL + b"R",
    "getattr on an allowed class": _call(
        "builtins:getattr", b"(cdatetime\ndatetime\n" + _p("__subclasses__") + b"t"
    )
    + b")R",
    "operator.attrgetter": _call("operator:attrgetter", _p(("system",))) + b"(cos\nos\ntR" + SHELL + b"R",
    "operator.methodcaller": _call("operator:methodcaller", _p(("system", "touch HARMED"))) + b"(cos\nos\ntR",
    "functools.partial": _call("functools:partial", b"(cos\nsystem\n" + _p("touch HARMED") + b"t") + b")R",
    "functools.reduce": _call("functools:reduce", b"(cos\nsystem\n" + _p(["touch HARMED", 1]) + b"t"),
    "map": _call(
        "builtins:set", b"(" + _call("builtins:map", b"(cos\nsystem\n" + _p(["touch HARMED"]) + b"t") + b"t"
    ),
    "NEWOBJ": b"csubprocess\nPopen\n" + SHELL + b"\x81",
    "NEWOBJ_EX": b"csubprocess\nPopen\n)" + _p({"args": "touch HARMED", "shell": True}) + b"\x92",
    "INST": b"(" + _p("touch HARMED") + b"ios\nsystem\n",
    "OBJ": b"(cos\nsystem\n" + _p("touch HARMED") + b"o",
    "EXT1": b"\x82\x01" + SHELL + b"R",
    "EXT4": b"\x84\x01\0\0\0" + SHELL + b"R",
    "copyreg.add_extension": _call("copyreg:add_extension", _p(("os", "system", 1)))
    + b"0\x82\x01"
    + SHELL
    + b"R",
    "copyreg.__newobj__": _call("copyreg:__newobj__", b"(csubprocess\nPopen\n" + _p("touch HARMED") + b"t"),
    "copyreg._reconstructor": _call(
        "copyreg:_reconstructor", b"(csubprocess\nPopen\nc__builtin__\nlist\n" + _p(["touch HARMED"]) + b"t"
    ),
    "copyreg.constructor": _call("copyreg:constructor", b"(cos\nsystem\nt"),
    "BUILD with __setstate__": b"csite\n_Printer\n)\x81" + _p({"_Printer__filenames": ["HARMED"]}) + b"b",
    "BUILD of a class": b"csubprocess\nPopen\n" + _p({"__init__": 1}) + b"b",
    "BUILD of a module attribute": b"cos\nenviron\n" + _p({"HARMED": "1"}) + b"b",
    "BUILD of a callable state": b"cx\ny\n)\x81" + _call("os:system", SHELL) + b"b",
    "BUILD of slots": b"cx\ny\n)\x81" + _p((None, {"__class__": 1})) + b"b",
    "SETITEM on os.environ": b"cos\nenviron\n" + _p("HARMED") + _p("1") + b"s",
    "SETITEMS on sys.modules": b"csys\nmodules\n(" + _p("json") + b"Nu",
    "APPEND on sys.path": b"csys\npath\n" + _p("/harm") + b"a",
    "APPENDS on sys.meta_path": b"csys\nmeta_path\n(cx\ny\ne",
    "APPENDS on a class with extend": b"cx\ny\n)\x81(" + _call("os:system", SHELL) + b"e",
    "ADDITEMS on a global": b"cx\ny\n(" + _p("z") + b"\x90",
    "PERSID": b"P../../HARMED\n",
    "BINPERSID of a call": _call("os:system", SHELL) + b"Q",
    "torch storage": b"(" + _p("storage") + b"ctorch\nFloatStorage\n" + _p("0") + _p("cuda") + b"K\x04tQ",
    "torch._utils": _call("torch._utils:_rebuild_tensor_v2", _p((1, 2))),
    "numpy load": _call("numpy:load", _p(("HARMED", None, True))),
    "numpy exec_command": _call("numpy.testing._private.utils:runstring", _p(("import os", {}))),
    "numpy array of another class": _call(
        "numpy._core.multiarray:_reconstruct", b"(csubprocess\nPopen\n" + _p((0,)) + _p(b"b") + b"t"
    ),
    "numpy scalar of objects": _call(
        "numpy._core.multiarray:scalar", b"(" + _call("numpy:dtype", _p(("O8", False, True))) + SHELL + b"t"
    ),
    "numpy dtype of a class": _call("numpy:dtype", b"(cos\nsystem\nt"),
    "numpy evil dtype": _call(
        "numpy._core.numeric:_frombuffer",
        b"(" + _p(b"x" * 8) + _call("numpy:dtype", _p(("O8", False, True))) + _p((1,)) + _p("C") + b"t",
    ),
    "numpy dtype with evil state": _call("numpy:dtype", _p(("f8", False, True))) + SHELL + b"b",
    "numpy memmap": _call("numpy:memmap", _p(("HARMED", "f8", "w+", 0, (1,)))),
    "numpy fromfile": _call("numpy:fromfile", _p(("HARMED",))),
    "_codecs.encode with a codec": _call("_codecs:encode", _p(("x", "antigravity"))),
    "_codecs.decode": _call("_codecs:decode", _p((b"x", "zlib"))),
    "codecs.open": _call("codecs:open", _p(("HARMED", "w"))),
    "bytearray of a number": _call("builtins:bytearray", _p((2**40,))),
    "zoneinfo of a path": _call("zoneinfo:ZoneInfo._unpickle", _p(("../../../../etc/passwd", True))),
    "zoneinfo of a package": _call("zoneinfo:ZoneInfo._unpickle", _p(("antigravity", True))),
    "zoneinfo from a file": _call("zoneinfo:ZoneInfo.from_file", _p(("HARMED",))),
    "datetime with a hostile zone": _call(
        "datetime:datetime", b"(" + _p(b"\x07\xe4\x01\x01\0\0\0\0\0\0") + _call("os:system", SHELL) + b"t"
    ),
    "defaultdict with a hostile factory": _call("collections:defaultdict", b"(cos\nsystem\nt")
    + _p("k")
    + b"Ns",
    "namedtuple": _call("collections:namedtuple", _p(("x", "__import__('os')"))),
    "types.FunctionType": _call("types:FunctionType", b"(" + _call("types:CodeType", b")") + b"}t"),
    "marshal": _call("marshal:loads", _p((b"\xe3",))),
    "pickle in a pickle": _call("pickle:loads", _p((pickle.dumps(print),))),
    "_pickle.Unpickler": _call(
        "_pickle:Unpickler", b"(" + _call("io:BytesIO", _p((b"cos\nsystem\n",))) + b"t"
    ),
    "shelve": _call("shelve:open", _p(("HARMED",))),
    "ctypes": _call("ctypes:CDLL", _p(("libc.so.6",))),
    "socket": _call("socket:create_connection", _p((("127.0.0.1", 1),))),
    "urllib": _call("urllib.request:urlopen", _p(("http://127.0.0.1:1/",))),
    "webbrowser": _call("webbrowser:open", _p(("http://127.0.0.1:1/",))),
    "code.interact": _call("code:InteractiveInterpreter", b")"),
    "timeit": _call("timeit:timeit", CODE),
    "cProfile.run": _call("cProfile:run", CODE),
    "pdb.run": _call("pdb:run", CODE),
    "doctest": _call("doctest:debug_script", CODE),
    "logging.config": _call("logging.config:fileConfig", _p(("HARMED",))),
    "asyncio": _call("asyncio:run", b")"),
    "weakref callback": _call("weakref:finalize", b"(cx\ny\ncos\nsystem\n" + _p("touch HARMED") + b"t"),
    "threading.Timer": _call("threading:Timer", b"(K\x00cos\nsystem\n" + SHELL + b"t"),
    "sys.setrecursionlimit": _call("sys:setrecursionlimit", _p((1,))),
    "signal": _call("signal:raise_signal", _p((9,))),
    "delayed, in a dict key": b"}" + _call("os:system", SHELL) + b"Ns",
    "delayed, in a set": b"\x8f(" + _call("os:system", SHELL) + b"\x90",
    "dropped by POP": b"N" + _call("os:system", SHELL) + b"0",
    "dropped by POP_MARK": b"N(" + _call("os:system", SHELL) + b"1",
    "in the memo only": _call("os:system", SHELL) + b"\x940N",
    "as a class to make": _call("builtins:type", _p(("X", (), {"__del__": 1}))) + b")\x81",
    "as kwargs": b"cx\ny\n)}" + _p("k") + _call("os:system", SHELL) + b"s\x92",
    "surrogates in the name": b"\x8c\x03\xed\xa0\x80" + _p("x") + b"\x93)R",
    "an empty name": b"c\n\n)R",
    "a name with NUL": b"cos\0\nsystem\0\n)R",
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads_end_in_data(name):
    loads(b"\x80\x04" + PAYLOADS[name] + b".")


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "INST", "OBJ", "NEWOBJ", "stack global", "getattr chain"]
)
def test_the_call_is_written_down(name):
    made = loads(b"\x80\x04" + PAYLOADS[name] + b".")
    assert type(made) is Opaque
    assert made.args


def test_the_interpreter_sees_nothing(tmp_path):
    """An audit hook in a process of its own: after warm-up, every event but plain attribute work is a failure."""
    for number, payload in enumerate(PAYLOADS.values()):
        (tmp_path / f"{number:03}.pkl").write_bytes(b"\x80\x04" + payload + b".")
    program = textwrap.dedent(
        """
        import pathlib, sys
        from perdure_migrate.inert import loads
        from perdure._errors import PerdureError

        files = [(p.name, p.read_bytes()) for p in sorted(pathlib.Path(sys.argv[1]).glob("*.pkl"))]
        loads(files[0][1])
        modules = set(sys.modules)
        events = []
        watching = False

        def hook(event, args):
            if watching:
                events.append((current, event, repr(args)[:200]))

        sys.addaudithook(hook)
        for current, data in files:
            for cut in range(len(data) + 1):
                watching = True
                try:
                    loads(data[:cut])
                except PerdureError:
                    pass
                finally:
                    watching = False
        allowed = {"builtins.id", "object.__getattr__"}
        bad = sorted({e for e in events if e[1] not in allowed})
        print(len(files), "files;", bad, sorted(set(sys.modules) - modules))
        sys.exit(bool(bad) or bool(set(sys.modules) - modules))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(PAYLOADS)} files; [] []" in done.stdout
    assert not list(tmp_path.glob("*HARMED*"))


def test_a_time_zone_opens_its_own_file_and_nothing_else(tmp_path):
    program = textwrap.dedent(
        """
        import pickle, sys, zoneinfo
        from perdure_migrate.inert import loads

        data = pickle.dumps(zoneinfo.ZoneInfo("Europe/Paris"))
        zoneinfo.ZoneInfo.clear_cache()
        events = []
        sys.addaudithook(lambda event, args: events.append((event, str(args[0]))) if event != "builtins.id" else None)
        zone = loads(data)
        print(zone.key, [e for e in events if not (e[0] == "open" and e[1].endswith("Europe/Paris"))])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "Europe/Paris []" or "tzdata" in done.stdout
