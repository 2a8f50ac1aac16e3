"""Exit codes, and how errors are told."""

import json
from typing import Any

import perdure
import pytest
import typer
from perdure import PerdureError
from perdure.cli import ExitCode, exit_code, finish, report, run_guarded

CODES = {
    "InvalidInput": 2, "InvalidRecord": 2, "InvalidFilter": 2, "InvalidRef": 2, "InvalidURL": 2,
    "NotFound": 3, "HistoryExpired": 3,
    "Conflict": 4, "AlreadyExists": 4, "StaleHead": 4, "VersionConflict": 4, "MergeConflict": 1,
    "Retryable": 5, "Busy": 5, "Unavailable": 5,
    "StorageError": 6, "CorruptStore": 6, "IncompatibleStore": 6,
    "Unsupported": 7, "PermissionDenied": 7, "PluginError": 7,
}  # fmt: skip


def kinds() -> list[type[PerdureError]]:
    found = [PerdureError]
    for kind in found:
        found += kind.__subclasses__()
    return found[1:]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_error_has_its_exit_code(kind: type[PerdureError]) -> None:
    assert exit_code(kind("why")) == CODES[kind.__name__]


def raising(error: BaseException) -> Any:
    def work() -> None:
        raise error

    return work


def test_an_error_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    code = run_guarded(raising(perdure.Busy("locked; try again", wait=5)), as_json=False)
    assert code == ExitCode.RETRYABLE
    assert capsys.readouterr() == ("", "error[busy]: locked; try again\n")


def test_an_error_in_json_holds_its_detail(capsys: pytest.CaptureFixture[str]) -> None:
    error = perdure.StorageError(
        "bad\x1b[2J\ud800", driver=OSError(5, "io"), key=("a", b"b"), nan=float("nan")
    )
    report(error, as_json=True)
    told = json.loads(capsys.readouterr().err)
    assert told["error"] == "storage_error"
    assert told["message"] == "bad\\x1b[2J\\ud800"
    assert set(told["detail"]) == {"driver", "key", "nan"}


def test_what_commands_return_and_raise_becomes_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guarded(lambda: None, as_json=False) == 0
    assert run_guarded(lambda: 1, as_json=False) == 1
    assert run_guarded(lambda: finish(ExitCode.FINDINGS), as_json=False) == 1
    assert capsys.readouterr() == ("", "")
    assert run_guarded(raising(typer.Abort()), as_json=False) == 130
    assert run_guarded(raising(KeyboardInterrupt()), as_json=False) == 130
    assert run_guarded(raising(OSError(28, "No space left on device", "f")), as_json=False) == 6
    assert run_guarded(raising(typer.BadParameter("odd")), as_json=True) == 2
    assert '"usage"' in capsys.readouterr().err


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_guarded(lambda: 1 // 0, as_json=False)
