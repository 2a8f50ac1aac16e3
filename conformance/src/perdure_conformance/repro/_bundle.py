"""One source text out of functions of several modules, with all that they use and nothing else.

What stands in modules of the suite is copied; imports of anything else are kept. Where two modules use one
name for different things, the later one gets a number.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeAlias

__all__ = ["Bundle", "Unbundled"]

SUITE = "perdure_conformance"

#: A thing at the top of a module: the module's name and its own. For an import of a whole module, "" is its own.
Symbol: TypeAlias = tuple[str, str]

#: What stands in for parts of the suite.
SUBSTITUTES: dict[Symbol, Symbol] = {
    (f"{SUITE}._case", "Case"): (f"{SUITE}.repro._stand_in", "Case"),
    (f"{SUITE}._target", "Place"): (f"{SUITE}.repro._stand_in", "Place"),
}

_Statement: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


class Unbundled(Exception):
    """What was asked for cannot be written as one text."""


@dataclass(frozen=True)
class Module:
    """The source of a module, by names.

    Attributes:
        name: Dotted.
        lines: Of the source, as bytes, since positions in a syntax tree count them.
        defined: What it defines.
        imported: What it imports.
    """

    name: str
    lines: list[bytes]
    defined: dict[str, _Statement] = field(default_factory=dict)
    imported: dict[str, Symbol] = field(default_factory=dict)


class Bundle:
    """Collects symbols. Add those that are wanted; `source` is the text, `name` what a symbol is called in it."""

    def __init__(self, *, also: frozenset[str] = frozenset()) -> None:
        """Begin without any.

        Args:
            also: Names of modules to copy from besides those of the suite.
        """
        self._also = also
        self._names: dict[Symbol, str] = {}
        self._imports: list[Symbol] = []
        self._parts: dict[str, set[str]] = {}

    def add(self, symbol: Symbol, called: str = "") -> str:
        """Take a symbol and all that it uses; returns what it is called in the text.

        Args:
            symbol: What to take.
            called: What it is called where it is used.

        Raises:
            Unbundled: It is used in a way that cannot be copied.
        """
        found = self._found(symbol)
        if found in self._names:
            return self._names[found]
        module, name = found
        whole = not name and called == module.partition(".")[0]  # import a.b, which binds a
        self._names[found] = called if whole else self._free(name or called)
        if not self._copied(module):
            self._imports.append(found)
            return self._names[found]
        here = _module(module)
        for used in sorted(_used(here.defined[name])):
            if self._whole(here, used):
                self._add_parts(here, here.defined[name], used)
            elif used in here.defined or used in here.imported:
                self.add((module, used), used)
        for used in sorted({n.id for n in ast.walk(here.defined[name]) if isinstance(n, ast.Name)}):
            if used in here.imported and not self._copied(here.imported[used][0]):
                self.add((module, used), used)  # in an annotation, for those who read it
        self._parts.setdefault(module, set()).add(name)
        return self._names[found]

    def add_import(self, module: str, name: str, called: str) -> None:
        """Import something under a name of its own."""
        self._names[module, name] = called
        self._imports.append((module, name))

    def source(self) -> str:
        """The imports, and then everything else in an order in which each thing is there before it is used."""
        copied = [
            self._text(_module(module), name)
            for module, names in self._parts.items()
            for name in _module(module).defined
            if name in names
        ]
        unique = list(dict.fromkeys(copied))  # one statement may define several names
        imports = "\n".join(sorted({self._import(symbol) for symbol in self._imports}, key=_import_order))
        return "\n\n\n".join([imports, *unique]) + "\n"

    # ---------------------------------------------------------------------------------- symbols

    def _whole(self, here: Module, name: str) -> str | None:
        """The module of the suite that a name stands for, if it does."""
        origin, own = here.imported.get(name, ("", ""))
        if not self._copied(origin):
            return None
        if own:
            there = _module(origin)
            if own in there.defined or own in there.imported:
                return None
            origin = f"{origin}.{own}"
        return origin if importlib.util.find_spec(origin) is not None else None

    def _add_parts(self, here: Module, node: ast.AST, name: str) -> None:
        """Take what a definition uses of a module of the suite."""
        parts = [p for p in ast.walk(node) if isinstance(p, ast.Attribute) and _base(p) == name]
        if len(parts) < sum(isinstance(p, ast.Name) and p.id == name for p in ast.walk(node)):
            raise Unbundled(f"{name} stands for a whole module of the suite")
        for part in parts:
            self.add((str(self._whole(here, name)), part.attr), part.attr)

    def _copied(self, module: str) -> bool:
        return module.partition(".")[0] == SUITE or module in self._also

    def _found(self, symbol: Symbol) -> Symbol:
        """The symbol where it is defined, through imports of one module from another."""
        while True:
            symbol = SUBSTITUTES.get(symbol, symbol)
            module, name = symbol
            if not self._copied(module):
                return symbol
            here = _module(module)
            if name in here.defined:
                return symbol
            if name not in here.imported:
                raise Unbundled(
                    f"{module}.{name} is a module of the suite, or is made in a way that cannot be copied"
                )
            symbol = here.imported[name]

    def _free(self, name: str) -> str:
        taken, number, free = set(self._names.values()), 1, name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        return free

    def _import(self, symbol: Symbol) -> str:
        module, name = symbol
        called = self._names[symbol]
        if not name:
            return (
                f"import {module}" if called == module.partition(".")[0] else f"import {module} as {called}"
            )
        return f"from {module} import {name}" + ("" if called == name else f" as {called}")

    # ------------------------------------------------------------------------------------- text

    def _text(self, module: Module, name: str) -> str:
        """The source of a definition, with what it uses under its names in the bundle."""
        node = module.defined[name]
        edits = dict(self._edits(module, node))
        first = min(
            [node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []) if not _is_check(d))]
        )
        lines = []
        for number in range(first, (node.end_lineno or node.lineno) + 1):
            line = module.lines[number - 1]
            for (row, start, end), new in sorted(edits.items(), reverse=True):
                if row == number:
                    line = line[:start] + new.encode() + line[end:]
            lines.append(line.decode())
        text = "".join(lines).rstrip("\n")
        if hasattr(node, "name"):
            own = self._names[module.name, name]
            text = re.sub(rf"^((?:async )?(?:def|class) ){name}\b", rf"\g<1>{own}", text, count=1, flags=re.M)
        return text

    def _edits(self, module: Module, node: ast.AST) -> Iterator[tuple[tuple[int, int, int], str]]:
        """Places where another name must stand."""
        for part, local in _scoped(node, frozenset()):
            if isinstance(part, ast.Attribute):
                whole = self._whole(module, _base(part)) if _base(part) not in local else None
                if whole:
                    new = self._names[self._found((whole, part.attr))]
                    yield (part.lineno, part.col_offset, part.end_col_offset or 0), new
            elif part.id not in local and (part.id in module.defined or part.id in module.imported):
                try:
                    new = self._names.get(self._found((module.name, part.id)), part.id)
                except Unbundled:
                    continue  # it stands in an annotation
                if new != part.id:
                    yield (part.lineno, part.col_offset, part.end_col_offset or 0), new


@cache
def _module(name: str) -> Module:
    loaded = importlib.import_module(name)
    source = Path(loaded.__file__ or "").read_bytes()
    found = Module(name, source.splitlines(keepends=True))
    package = name if hasattr(loaded, "__path__") else name.rpartition(".")[0]
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.defined[node.name] = node
            case ast.Assign():
                for target in node.targets:
                    found.defined.update((n.id, node) for n in ast.walk(target) if isinstance(n, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=bound), value=ast.expr()):
                found.defined[bound] = node
            case ast.Import():
                for alias in node.names:
                    found.imported[alias.asname or alias.name.partition(".")[0]] = (alias.name, "")
            case ast.ImportFrom(module=source_name) if source_name != "__future__":
                base = (
                    ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
                    if node.level
                    else ""
                )
                origin = ".".join(filter(None, (base, source_name)))
                for alias in node.names:
                    found.imported[alias.asname or alias.name] = (origin, alias.name)
    return found


def _is_check(decorator: ast.expr) -> bool:
    """Whether it is the decorator that makes a check of a function."""
    return (
        isinstance(decorator, ast.Call)
        and isinstance(decorator.func, ast.Name)
        and decorator.func.id == "check"
    )


def _used(node: ast.AST) -> set[str]:
    """The names that a definition uses when it runs; annotations count in classes only."""
    found: set[str] = set()
    waiting: list[ast.AST] = [node]
    while waiting:
        here = waiting.pop()
        if isinstance(here, (ast.Import, ast.ImportFrom)):
            names = [getattr(here, "module", None) or "", *(alias.name for alias in here.names)]
            if any(name.partition(".")[0] == SUITE for name in names):
                raise Unbundled("a function imports a part of the suite")
        if isinstance(here, ast.Name):
            found.add(here.id)
        elif isinstance(here, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += [d for d in here.decorator_list if not _is_check(d)]
            waiting += [*here.body, *here.args.defaults, *(d for d in here.args.kw_defaults if d is not None)]
        elif isinstance(here, ast.AnnAssign):
            waiting += [here.target, *([here.value] if here.value else [])]
        elif isinstance(here, ast.ClassDef):
            waiting += ast.iter_child_nodes(here)
            waiting += [item.annotation for item in here.body if isinstance(item, ast.AnnAssign)]
        else:
            waiting += ast.iter_child_nodes(here)
    return found


def _base(node: ast.Attribute) -> str:
    """The name before the dot; "" where there is something else."""
    return node.value.id if isinstance(node.value, ast.Name) else ""


def _scoped(
    node: ast.AST, local: frozenset[str]
) -> Iterator[tuple[ast.Name | ast.Attribute, frozenset[str]]]:
    """The names in a definition, and the attributes of names, with what is bound in the functions around."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        local |= _bound(node)
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        local |= {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
    if isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and _base(node)):
        yield node, local
    for child in ast.iter_child_nodes(node):
        yield from _scoped(child, local)


def _bound(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> frozenset[str]:
    arguments = function.args
    names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    names += [arg for arg in (arguments.vararg, arguments.kwarg) if arg is not None]
    stored = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return frozenset({arg.arg for arg in names} | stored)


def _import_order(line: str) -> tuple[bool, str]:
    return line.startswith("from "), line
