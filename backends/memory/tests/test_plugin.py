"""What `memory://` URLs mean."""

from __future__ import annotations

from collections.abc import Iterator

import perdure_memory
import pytest
from perdure import (
    CAPABILITIES,
    TABLES,
    CommitRequest,
    Context,
    InvalidInput,
    InvalidRef,
    InvalidURL,
    NotFound,
    PermissionDenied,
    Put,
    parse_ref,
)

CTX = Context()
MAIN = parse_ref("main")


@pytest.fixture
def name() -> Iterator[str]:
    yield "plugin-test"
    perdure_memory.drop("plugin-test")


def put(backend: object, key: str) -> None:
    empty = {"tags": (), "value": "null"}
    row = tuple(key if c.name == "id" else empty.get(c.kind) for c in TABLES["memories"].columns)
    backend.commit(ctx=CTX, request=CommitRequest("main", f"put-{key}", [Put("memories", [row])]))  # type: ignore[attr-defined]


def test_a_private_store_is_its_own() -> None:
    one, two = (perdure_memory.plugin.open("memory://", "ns", "rw") for _ in range(2))
    put(one, "a")
    assert one.count(CTX, "memories", None, MAIN) == 1
    assert two.count(CTX, "memories", None, MAIN) == 0


def test_a_named_store_is_there_again(name: str) -> None:
    first = perdure_memory.plugin.open(f"memory://{name}", "ns", "rw")
    put(first, "a")
    first.close(CTX)
    second = perdure_memory.plugin.open(f"memory://{name}", "ns", "r")
    assert second.count(CTX, "memories", None, MAIN) == 1
    with pytest.raises(PermissionDenied):
        put(second, "b")
    assert perdure_memory.plugin.open(f"memory://{name}", "other", "rw").list_namespaces(CTX) == [
        "ns",
        "other",
    ]
    assert perdure_memory.drop(name)
    assert not perdure_memory.drop(name)
    with pytest.raises(NotFound):
        perdure_memory.plugin.open(f"memory://{name}", "ns", "r")
    assert not perdure_memory.drop(name), "a failed open leaves nothing"


@pytest.mark.parametrize(
    "url",
    [
        "memory://x?a=1",
        "memory://x#y",
        "memory:x",
        "other://x",
        "memory://a b",
        "",
        "memory://[",
        "memory://é",
    ],
)
def test_urls_that_name_no_store(url: str) -> None:
    with pytest.raises(InvalidURL):
        perdure_memory.plugin.open(url, "ns", "rw")


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(InvalidRef):
        perdure_memory.plugin.open("memory://", "a\0b", "rw")
    with pytest.raises(InvalidInput):
        perdure_memory.plugin.open("memory://", "ns", "w")  # type: ignore[arg-type]


def test_the_description_names_every_capability() -> None:
    description = perdure_memory.plugin.describe()
    assert description.capabilities.keys() == CAPABILITIES.keys()
    assert description.durability == "none"
    assert not description.supports("persistent")
