"""What results look like for people and for programs."""

import io
import json
import os
import sys
from typing import Any

import msgspec
import pytest
from perdure.cli import output, to_json
from perdure.cli._forms import printable


def test_a_document_for_people_leaves_out_what_is_not_set(capsys: pytest.CaptureFixture[str]) -> None:
    document = {
        "a": 1,
        "none": None,
        "empty": [],
        "b": {"c": [1, "x"], "d": False},
        "v": msgspec.Raw(b"null"),
    }
    output(False).document(document)
    assert capsys.readouterr().out == "a\t1\nb.c\t1, x\nb.d\tno\n"
    output(True).document(document)
    assert json.loads(capsys.readouterr().out)["v"] is None


def test_rows_are_streamed(capsys: pytest.CaptureFixture[str]) -> None:
    taken = []

    def documents() -> Any:
        for number in range(3):
            taken.append(number)
            yield {"n": number, "in": {"x": number * 2}}

    assert output(False).rows(documents(), ["n", "in.x", "gone"]) == 3
    assert capsys.readouterr().out == "n\tin.x\tgone\n0\t0\t\n1\t2\t\n2\t4\t\n"
    assert output(True).rows(documents(), ["n"]) == 3
    assert capsys.readouterr().out.splitlines()[2] == '{"n":2,"in":{"x":4}}'
    assert output(False).rows(iter(()), ["n"]) == 0
    assert capsys.readouterr().out == ""


def test_notices_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output(False).notice("more")
    output(True).notice("more")
    output(True).notice("more", {"cursor": "c"})
    assert capsys.readouterr() == ("", 'more\n{"cursor":"c"}\n')


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with output(False).progress("put") as tell:
        tell(5)
    assert capsys.readouterr() == ("", "")


def test_a_stream_without_unicode_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    output(False).text("Grüße", {})
    stream.flush()
    assert stream.buffer.getvalue() == b"Gr\\xfc\\xdfe\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 🌍", "plain é 🌍"),
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\ud800", "\\ud800"),
        ("\u202e", "\\u202e"),
    ],
)
def test_no_terminal_obeys_stored_text(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable("a\nb", lines=True) == "a\nb"


def test_json_is_one_line_whatever_is_in_it() -> None:
    assert "\n" not in to_json({"a": "x\ny", "b": msgspec.Raw(b'{"c":1}'), "d": object(), "e": b"\0"})


def test_stages_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with output(False).stages() as tell:
            for stage, total in (("copy", 2), ("compare", 0)):
                for done in range(3):
                    tell(stage, done, total)
        shown = os.read(ours, 2**16).decode()
    os.close(ours)
    assert 0 <= shown.index("copy") < shown.index("compare")
    assert 0 <= shown.index("/2") < shown.index("/?")
