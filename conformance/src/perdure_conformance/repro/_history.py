"""A program for a history that fails: its calls, one after the other, and then the rows that should be there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from perdure import TABLES, PerdureError, Snapshot, Store

from perdure_conformance._case import Case
from perdure_conformance._plain import plain
from perdure_conformance._results import Result
from perdure_conformance._site import Site
from perdure_conformance._target import Target
from perdure_conformance.driver import Scene
from perdure_conformance.machines import Lockstep
from perdure_conformance.machines._world import World
from perdure_conformance.repro._bundle import Bundle, Unbundled
from perdure_conformance.repro._calls import Calls
from perdure_conformance.repro._literals import Unwritten, literal
from perdure_conformance.repro._programs import NoProgram, new_bundle, program

__all__ = ["of_history", "rows"]

#: What the clock decides.
_CLOCK = ("created_at", "updated_at")


def rows(view: Store | Snapshot) -> dict[str, list[dict[str, Any]]]:
    """All rows at one place, by table, without the times of their commits."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in TABLES:
        for record in view.table(name).scan():
            row = plain(name, record)
            del row["created_at"], row["updated_at"]
            found.setdefault(name, []).append(row)
    return found


def of_history(result: Result, history: Sequence[Scene], target: Target) -> str:
    """A program of the calls that a history makes, up to where the store shows other rows than the model.

    Raises:
        NoProgram: It is not rows that differ, or a call cannot be written down.
    """
    bundle = new_bundle()
    try:
        rows_of = bundle.add((__name__, "rows"))
        equal = bundle.add(("perdure_conformance.expect", "equal"))
        with Site(target) as site:
            case = Case(site, result.check, seed=result.seed)
            try:
                lines = _played(case, history, bundle, rows_of, equal)
            finally:
                case.close()
    except (Unbundled, Unwritten, PerdureError) as error:
        raise NoProgram(str(error)) from error
    body = "\n".join(["def failing_history(case: Case) -> None:", *(f"    {line}" for line in lines)])
    return program(result, target, bundle, "failing_history", body)


def _played(case: Case, history: Sequence[Scene], bundle: Bundle, rows_of: str, equal: str) -> list[str]:
    calls = Calls(bundle)
    base = case.namespace

    def open_store(name: str) -> Any:
        rest = name.removeprefix(base)
        return calls.opened(
            case.store(name), f"case.store(case.namespace + {rest!r})" if rest else "case.store()"
        )

    with case.store(f"{base}-keeper"):
        world = World(open_store, base, persistent=case.supports("persistent"))
        calls.lines.insert(0, "case.store('keeper')  # stays open, so that a store in memory stays")
        for scene in history:
            try:
                world.run(scene)
                calls.muted = True
                world.check()
            except AssertionError:
                calls.muted = True
                for lockstep in (world.here, world.elsewhere):
                    for ref, wanted in _differing(lockstep):
                        source = f"{lockstep.handles[0]._source}.at({ref!r})"  # type: ignore[attr-defined]
                        said = literal(wanted, bundle)
                        return [
                            *calls.lines,
                            f"{equal}({rows_of}({source}), {said}, {f'all rows at {ref}'!r})",
                        ]
                raise NoProgram("what differs is not rows") from None
            calls.muted = False
    raise NoProgram("the history did not fail again")


def _differing(lockstep: Lockstep) -> Iterator[tuple[str, dict[str, list[dict[str, Any]]]]]:
    """Refs at which the store shows other rows than the model, and those of the model."""
    graph = lockstep.model.graph
    heads = {line.name: line.head for line in graph.lines.values()}
    marks = {name: commit for name, (_, commit) in lockstep.model.checkpoints.items()}
    for ref, commit in (heads | marks).items():
        wanted: dict[str, list[dict[str, Any]]] = {}
        for (table, _), version in sorted(graph.rows(commit).items(), key=lambda pair: pair[0]):
            row = {column: cell for column, cell in version.row.items() if column not in _CLOCK}
            wanted.setdefault(table, []).append(row)
        view: Any = lockstep.handles[0].at(ref)
        if rows(view) != {name: wanted[name] for name in TABLES if name in wanted}:
            yield ref, wanted
