"""Gives a failure its program, once that was run and did fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from perdure_conformance._results import Result, Status
from perdure_conformance._target import Target
from perdure_conformance.report import clean
from perdure_conformance.repro._history import of_history
from perdure_conformance.repro._programs import NoProgram, of_function, url_of

__all__ = ["attach", "file_name"]

#: How long a program may take, in seconds.
PATIENCE = 120

#: Words that are others in each run: those that a case makes for itself, and ids.
_WORD = re.compile(r"c[0-9a-f]{12}n[0-9]+|[0-9a-f-]{16,}|[0-9]+")

#: Runs the program that is named first, with the rest of the command line.
_START = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"

#: As for somebody who does not have the suite.
_BARE = f"import sys; sys.modules['perdure_conformance'] = None; {_START}"


def attach(result: Result, target: Target) -> None:
    """Make a program that shows a failure, run it, and keep it in the result if it does fail.

    For races and kills, which no program shows for certain, and where no program can be made, `repro_note`
    says so.
    """
    if result.status is not Status.FAILED:
        return
    if result.check.kind in ("race", "kill"):
        result.repro_note = "no program: it depends on the order of things; see the notes, and run it again"
        return
    if result.check.kind == "history" and result.example is not None and _kept_history(result, target):
        return
    try:
        text = of_function(result, target)
    except NoProgram as why:
        result.repro_note = f"no program: {why}; run it again with its seed"
        return
    ended, told = _run(text, target)
    if ended != 1:
        kinds = {0: "it did not fail", 2: "it failed otherwise"}
        why_not = kinds.get(ended, f"it ended with {ended}")
        result.repro_note = f"no program: one was made and run, but {why_not}; run it again with its seed"
        return
    result.repro = text
    same = _WORD.sub("", f"what: {clean(result.what)}") in _WORD.sub("", told)
    result.repro_note = "" if same else "the program fails at another place"


def _kept_history(result: Result, target: Target) -> bool:
    """Keep a program of the calls of the history, if there is one and it fails; else the steps are played again."""
    try:
        text = of_history(result, (result.example or ((),))[0], target)
    except NoProgram:
        return False
    if _run(text, target)[0] != 1:
        return False
    result.repro = text
    return True


def _run(text: str, target: Target) -> tuple[int, str]:
    """How a program ends, and what it prints."""
    with tempfile.TemporaryDirectory(prefix="perdure-repro-") as directory:
        path = Path(directory) / "repro.py"
        path.write_text(text, encoding="utf-8")
        command = [sys.executable, "-c", _START if _of_suite(target) else _BARE, str(path)]
        surroundings = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "PYTHONUTF8": "1",
        }
        if not url_of(target):
            command.append(target.template)
        try:
            done = subprocess.run(
                command,
                cwd=directory,
                env=surroundings,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return -1, ""
    return done.returncode, done.stdout.decode("utf-8", "replace")


def _of_suite(target: Target) -> bool:
    """Whether the backend or a wrapper is a part of the suite, as its mutants are."""
    modules = [target.plugin if isinstance(target.plugin, str) else ""]
    modules += [getattr(wrapper, "__module__", "") or "" for wrapper in target.wrap]
    return any(module.startswith("perdure_conformance") for module in modules)


def file_name(clause: str, taken: set[str]) -> str:
    """A name for the file of a program, such as ``repro_BR-005.py``, which is then taken."""
    number, name = 1, f"repro_{clause}.py"
    while name in taken:
        number += 1
        name = f"repro_{clause}_{number}.py"
    taken.add(name)
    return name
