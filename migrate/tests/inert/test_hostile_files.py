"""The hostile corpus, in files and in containers, read by the process that the audit hook watches."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from perdure import InvalidRecord
from perdure_migrate.inert import Limits, Reader, loads

from .hostile import ABUSED, BOMBS, WRAPPER
from .test_hostile import PAYLOADS

CORPUS = {**PAYLOADS, **ABUSED, **BOMBS}
LIMITS = Limits(max_memory=2**30, max_cpu=60)


def _zip(name: str) -> Callable[[bytes], bytes]:
    def wrap(data: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr(name, data)
        return buffer.getvalue()

    return wrap


def _npy(data: bytes) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    return buffer.getvalue() + data


def _shelf(data: bytes) -> bytes:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.execute("CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)")
    made.execute("INSERT INTO Dict VALUES (x'61', ?)", (data,))
    return bytes(made.serialize())


def _joblib(data: bytes) -> bytes:
    """Objects of an array, in the midst of another pickle."""
    state = b"}(X\x08\0\0\0subclasscnumpy\nndarray\nX\x05\0\0\0shape)X\x05\0\0\0orderX\1\0\0\0C"
    dtype = b"X\x05\0\0\0dtypecnumpy\ndtype\n(X\x02\0\0\0O8\x89\x88tR"
    return b"\x80\x04" + WRAPPER + state + dtype + b"ub" + data + b"."


WRAPPED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "second of a stream": lambda data: b"N." + data,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bz2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "npy": _npy,
    "npz": lambda data: _zip("a.npy")(_npy(data)),
    "torch": _zip("archive/data.pkl"),
    "shelf": _shelf,
    "joblib": _joblib,
}


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader(LIMITS) as made:
        yield made


def _refusal(read: Callable[[], object]) -> InvalidRecord | None:
    """The error that reading ends in; None: it ends in a value."""
    try:
        read()
    except InvalidRecord as error:
        return error
    return None


def test_the_corpus_is_large() -> None:
    assert len(PAYLOADS) + len(ABUSED) + len(BOMBS) == len(CORPUS) >= 160


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_nothing_happens_in_any_container(reader: Reader, tmp_path: Path, wrapped: str) -> None:
    """Every file ends in a value or a typed error, none in a limit of the process or at the audit hook."""
    (tmp_path / "folder").mkdir()
    path, values = tmp_path / "folder" / "file", 0
    for name, payload in CORPUS.items():
        path.write_bytes(WRAPPED[wrapped](b"\x80\x04" + payload + b"."))
        refused = _refusal(lambda: reader.read(path))
        detail = refused.detail if refused else {}
        assert not {"event", "exit_code"} & detail.keys(), (name, refused)
        assert detail.get("limit") not in ("max_memory", "max_cpu", "max_seconds"), (name, refused)
        values += refused is None
    assert (values > len(PAYLOADS)) == (
        wrapped not in ("npy", "npz", "joblib")
    )  # a call is no array of objects
    assert [one.name for one in (tmp_path / "folder").iterdir()] == ["file"]
    assert not Path("/HARMED").exists()


@pytest.mark.parametrize("name", [*ABUSED, *BOMBS])
def test_what_is_abused_is_a_value_or_an_error_that_says_where(name: str) -> None:
    refused = _refusal(lambda: loads(b"\x80\x04" + CORPUS[name] + b"."))
    assert refused is None or "pickle: at byte" in refused.message
