"""The text of a program that shows one failure: public calls only, and nothing of the suite."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any

from perdure_conformance._results import Result
from perdure_conformance._spec import Specification
from perdure_conformance._target import Target
from perdure_conformance.report import clean
from perdure_conformance.repro._bundle import Bundle, Unbundled
from perdure_conformance.repro._literals import Unwritten, literal
from perdure_conformance.repro._replay import play

__all__ = ["NoProgram", "new_bundle", "of_function", "program", "url_of"]

STAND_IN = "perdure_conformance.repro._stand_in"


class NoProgram(Exception):
    """There is no program for a failure; the text says why."""


def of_function(result: Result, target: Target) -> str:
    """A program that runs the function of a check, or the one that failed with a random example.

    Raises:
        NoProgram: The function, its arguments, or the backend cannot be written down.
    """
    function: Callable[..., None] = result.check.run
    if result.example is not None:  # a state machine leaves a history, and no function that takes it
        function = result.body or play
    bundle = new_bundle(function.__module__)
    try:
        name = bundle.add((function.__module__, function.__name__), function.__name__)
        drawn = [literal(value, bundle) for value in result.example or ()]
    except (Unbundled, Unwritten) as error:
        raise NoProgram(str(error)) from error
    if not drawn:
        return program(result, target, bundle, name)
    lines = ["def failing_example(case: Case) -> None:"]
    lines += [f"    {name}(", "        case,", *(f"        {text}," for text in drawn), "    )"]
    return program(result, target, bundle, "failing_example", "\n".join(lines))


def new_bundle(*modules: str) -> Bundle:
    """A bundle that begins with what stands in for the suite, and copies from these modules too."""
    bundle = Bundle(also=frozenset(modules))
    bundle.add((STAND_IN, "main"))
    bundle.add((STAND_IN, "Case"))
    return bundle


def program(
    result: Result,
    target: Target,
    bundle: Bundle,
    run: str,
    body: str = "",
) -> str:
    """The whole text.

    Args:
        result: The failure.
        target: What failed.
        bundle: What the program uses.
        run: The name of the function to run.
        body: More definitions.

    Raises:
        NoProgram: The backend or a wrapper cannot be imported by another program.
    """
    bundle.add_import("sys", "", "sys")
    arguments = [run, repr(url_of(target))]
    if target.plugin is not None:
        arguments.append(f"plugin={_plugin(target, bundle)}")
    if target.wrap:
        arguments.append(f"wrap=[{', '.join(_wrapper(w, n, bundle) for n, w in enumerate(target.wrap, 1))}]")
    seeds = (_derived(result, "random"), result.round, _derived(result, result.round))
    arguments.append(f"seeds={seeds}")
    if result.expected == "no error":
        arguments.append(f"error={clean(result.got).splitlines()[0]!r}")
    call = "".join(f"            {argument},\n" for argument in arguments)
    parts = [
        f'"""{_docstring(result)}"""\n\nfrom __future__ import annotations\n\n{bundle.source()}',
        *([f"{body}\n"] if body else []),
        f'if __name__ == "__main__":\n    sys.exit(\n        main(\n{call}        )\n    )\n',
    ]
    return "\n\n".join(parts)


def _docstring(result: Result) -> str:
    spec = Specification.load()
    lines = [result.check.summary, ""]
    lines += [f"{name}: {spec[name].text if name in spec else ''}" for name in result.check.clauses]
    lines += ["", f"What:     {result.what}", f"Expected: {result.expected}", f"Got:      {result.got}", ""]
    lines += [
        "Run it with Python: it prints what is wrong and ends with 1, or with 0 once that is mended.",
        "",
    ]
    return clean("\n".join(lines)).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')


def url_of(target: Target) -> str:
    """The template, unless it names places or hosts that are private: then the program asks for one."""
    description = target.describe()
    declared = target.template in (description.template, description.example)
    rest = target.template.partition("://")[2]
    private = "/" in rest.removeprefix("/{tmp}/") or "@" in rest or "password=" in rest.lower()
    return target.template if declared or not private else ""


def _plugin(target: Target, bundle: Bundle) -> str:
    if not isinstance(target.plugin, str):
        raise NoProgram(
            "the backend was given as an object; give pkg.mod:name, so that a program can import it"
        )
    owner, _, path = target.plugin.partition(":")
    found = _imported(owner, path, "plugin", bundle)
    thing: Any = sys.modules[owner]
    for part in path.split("."):
        thing = getattr(thing, part)
    return found if hasattr(thing, "describe") else f"{found}()"


def _wrapper(wrapper: Any, number: int, bundle: Bundle) -> str:
    if isinstance(wrapper, str):
        return repr(wrapper)
    if isinstance(wrapper, tuple):
        return literal(wrapper, bundle)
    owner: str = getattr(wrapper, "__module__", None) or "__main__"
    path: str = getattr(wrapper, "__qualname__", "<")
    if owner == "__main__" or "<" in path:
        raise NoProgram("a wrapper is no function or class of a module, so that no program can import it")
    return _imported(owner, path, f"wrapper{number}", bundle)


def _imported(module: str, path: str, called: str, bundle: Bundle) -> str:
    top, *rest = path.split(".")
    bundle.add_import(module, top, called)
    return ".".join((called, *rest))


def _derived(result: Result, part: Any) -> int:
    """The seed that `Case` derives for a part of the check."""
    return zlib.crc32(repr((result.seed, result.check.id, part)).encode())
