"""The commands `perdure conformance` and `perdure conformance-report`.

Exit codes are those of the program: 0 every claimed level is granted and nothing failed; 1 something failed,
or a level is claimed and not granted, or granted and not claimed, or backends differ; 2 the command line, the file of known
failures or a report is malformed; 3 a file does not exist; 7 the plugin cannot be loaded; 130 stopped.
"""

from __future__ import annotations

import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from perdure import InvalidInput, NotFound, StorageError
from perdure.cli import finish, output

from perdure_conformance._checks import LEVELS, Check
from perdure_conformance._cli_against import compare, tell_difference
from perdure_conformance._cli_progress import progress
from perdure_conformance._cli_table import tell
from perdure_conformance._judge import by_id, chosen, judge, narrowed
from perdure_conformance._profile import PROFILES
from perdure_conformance._target import Target
from perdure_conformance.report import Report, masked, to_html, to_junit
from perdure_conformance.repro import file_name

__all__ = ["register"]

#: What the program ends with where backends differ.
_FINDINGS = 1


def _levels(incomplete: str) -> list[str]:
    return [level for level in LEVELS if level.startswith(incomplete)]


def _profiles(incomplete: str) -> list[str]:
    return [profile for profile in PROFILES if profile.startswith(incomplete)]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("conformance")(_conformance)
    app.command("conformance-report")(_merge)


def _conformance(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A store URL with {unique} or {tmp} in it, the name of an installed backend, or pkg.mod:name.",
        ),
    ],
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="TEMPLATE", help="The store URL, where TARGET is pkg.mod:name."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="TARGET",
            help="Run no checks, but the same random histories on both, which must dump alike; may be repeated.",
        ),
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(
            "--level",
            "-l",
            metavar="LEVEL",
            autocompletion=_levels,
            help="Try this level too, though it is not claimed; may be repeated.",
        ),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            "--profile",
            metavar="NAME",
            autocompletion=_profiles,
            help="How much time it may take: quick (a minute), ci (five), nightly (half an hour).",
        ),
    ] = "quick",
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Of all randomness; default: a new one, which is told."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="PART",
            help="Only checks with this in their id, or of this clause; may be repeated. Grants no level.",
        ),
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option(
            "--replay", metavar="CHECK:SEED:ROUND", help="See a failure again, as a report names it."
        ),
    ] = None,
    known: Annotated[
        Path | None, typer.Option("--known", metavar="FILE", help="Failures that are known, in TOML.")
    ] = None,
    json_to: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON.")
    ] = None,
    junit_to: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the results as JUnit XML.")
    ] = None,
    html_to: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the report as a page.")
    ] = None,
    repro: Annotated[
        Path | None,
        typer.Option("--repro", metavar="DIR", help="Write a program for each failure that shows it."),
    ] = None,
    list_only: Annotated[bool, typer.Option("--list", help="Only list the checks that would run.")] = False,
) -> None:
    """Judge a backend: whether it keeps the specification, and which levels it has."""
    judged = Target.of(target, url=url)
    if against:
        wishes = (level, only, replay, known, json_to, junit_to, html_to, repro)
        if any(wish is not None for wish in wishes) or list_only:
            raise typer.BadParameter(
                "--against runs no checks: of the other options it takes --profile and --seed"
            )
        _compare(judged, target, against, profile, seed)
    parts: list[str] = only or []
    only_round = None
    if replay is not None:
        if parts or seed is not None:
            raise typer.BadParameter("--replay says which check and seed; leave out --only and --seed")
        check, seed, only_round = _replayed(replay)
        parts = [check.id]
    checks = narrowed(chosen(judged.describe(), level), parts)
    if list_only:
        _list(checks)
        return
    outputs = [path for path in (json_to, junit_to, html_to) if path is not None]
    _check_places(outputs)
    _tell_of_places(judged)
    with _stopping_cleanly(), progress(len(checks)) as show:
        report = judge(
            judged,
            levels=level,
            profile=profile,
            seed=seed,
            only=parts,
            only_round=only_round,
            known=known,
            repro=any(wish is not None for wish in (repro, json_to, html_to)),
            on_result=show,
        )
    for path, form in ((json_to, Report.to_json), (junit_to, to_junit), (html_to, _page)):
        if path is not None:
            _save(path, form(report))
    programs = {} if repro is None else _write_programs(report, repro)
    tell(report, target, url, programs)
    finish(report.exit_code)


@contextmanager
def _stopping_cleanly() -> Iterator[None]:
    """Take SIGTERM, with which build servers end a program, for Ctrl-C: what the run made is removed, and told."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _tell_of_places(judged: Target) -> None:
    """Say on stderr, before anything runs, what the URL does not let the suite do."""
    template = masked(judged.template)
    if not judged.many:
        better = judged.describe().template or "one with {unique} in it"
        typer.echo(
            f"note: {template} is one place: checks that need stores of their own are skipped, which denies "
            f"levels; for a verdict give {better}",
            err=True,
        )
    elif "{tmp}" not in template and judged.describe().supports("persistent"):
        typer.echo(f"note: the stores that are made in place of {{unique}} stay there: {template}", err=True)


def _compare(judged: Target, target: str, against: list[str], profile: str, seed: int | None) -> NoReturn:
    if profile not in PROFILES:
        raise InvalidInput(f"{profile!r:.80} is none of {', '.join(PROFILES)}")
    seed = secrets.randbelow(2**32) if seed is None else seed
    targets = [judged, *map(Target.of, against)]
    found, rounds = compare(targets, PROFILES[profile], seed)
    tell_difference(found, rounds, [masked(each) for each in (target, *against)], profile, seed)
    finish(_FINDINGS if found else 0)


def _merge(
    reports: Annotated[list[Path], typer.Argument(metavar="REPORT...", help="Reports in JSON.")],
    html_to: Annotated[Path, typer.Option("--html", metavar="FILE", help="Where to write the page.")],
) -> None:
    """Make one page of several reports, with the backends side by side."""
    found = []
    for path in reports:
        try:
            found.append(Report.from_json(path.read_bytes()))
        except FileNotFoundError:
            raise NotFound(f"there is no file {str(path)!r}") from None
        except InvalidInput as error:
            raise InvalidInput(f"{str(path)!r}: {error.message}") from error
    _check_places([html_to])
    _save(html_to, to_html(found))


def _write_programs(report: Report, directory: Path) -> dict[str, Path]:
    """Write the programs that show the failures; returns the file for each check that has one."""
    written: dict[str, Path] = {}
    taken: set[str] = set()
    for entry in report.failures:
        if entry.repro:
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(f"{str(directory)!r} cannot be made: {error}", cause=str(error)) from error
            path = directory / file_name(entry.clauses[0], taken)
            _save(path, entry.repro)
            written[entry.check] = path
    return written


def _page(report: Report) -> str:
    return to_html([report])


def _list(checks: list[Check]) -> None:
    rows = [
        {
            "check": c.id,
            "level": c.level,
            "clauses": list(c.clauses),
            "needs": sorted(c.needs),
            "kind": c.kind,
        }
        for c in checks
    ]
    output(False).rows(rows, ["check", "level", "clauses", "needs", "kind"])


def _replayed(text: str) -> tuple[Check, int, int]:
    """The check, the seed and the round that ``CHECK:SEED:ROUND`` names."""
    name, *numbers = text.split(":")
    if len(numbers) != 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise typer.BadParameter(f"--replay is CHECK:SEED:ROUND, as a report names it, not {text!r:.120}")
    return by_id(name), int(numbers[0]), int(numbers[1])


def _check_places(paths: list[Path]) -> None:
    """Refuse, before anything runs, to write where nothing can be written at the end."""
    for path in paths:
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise NotFound(f"there is no directory for a file {str(path)!r}")


def _save(path: Path, text: str) -> None:
    """Write a file that appears when it is complete."""
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.absolute().parent, prefix=f".{path.name}-", delete=False
        ) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
        os.chmod(file.name, 0o666 & ~_umask())
        os.replace(file.name, path)
    except OSError as error:
        raise StorageError(f"{str(path)!r} cannot be written: {error}", cause=str(error)) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
