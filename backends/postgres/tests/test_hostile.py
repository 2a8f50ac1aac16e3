"""Names and values that would be SQL, a parameter or an escape, were any of them not bound or quoted."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import perdure
import pytest
from perdure import F, Memory, State

servers = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("servers.py"))))

#: As names of schemas and databases, and as values; those that perdure allows, as names of its own things too.
NASTY = [
    "'; DROP TABLE memories; --",
    '"; DROP SCHEMA perdure CASCADE; --',
    "%s",
    "%(ns)s",
    "100%",
    ":name",
    "\\'; SELECT 1; --",
    "$$;SELECT 1;$$",
    "$do$",
    "select",
    "user",
    "{} {0} {name}",
    "a/b",
    "?mode=ro",
    "#&=@",
    "line\nfeed",
    " space ",
    "\u202eright-to-left\u200f",
    "😀" * 15,
    "x" * 63,
    "E'\\x41'",
    "/* comment",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cluster: Path) -> Iterator[Any]:
    with servers.server(tmp_path_factory.mktemp("hostile"), cluster) as started:
        started.database("agents")
        yield started


@pytest.fixture(scope="module")
def store(server: Any) -> Iterator[Any]:
    with perdure.open(server.url("agents")) as opened:
        yield opened


def allowed(make: Any) -> Any:
    """What `make` returns; None where the name is refused as one."""
    try:
        return make()
    except perdure.InvalidInput:
        return None


@pytest.mark.parametrize("name", NASTY)
def test_names_of_schemas(server, name):
    with perdure.open(server.url("agents", schema=name)) as store:
        store.memories.put([Memory(id=f"m{i}") for i in range(40)])
        assert store.verify().ok
        store.purge("memories", "m1")
        store.compact()
        assert store.memories.count() == 39
    assert server.run("SELECT 1 FROM pg_namespace WHERE nspname = %s", name, database="agents") == [(1,)]


@pytest.mark.parametrize("name", ["'; --", '"x"', "%s", "a/b", "#&=@?", "{0}", "\\", "😀", "x" * 63])
def test_names_of_databases(server, name):
    with perdure.open(server.database(name)) as store:
        store.memories.put(Memory(id="a"))
        assert store.memories.count() == 1


@pytest.mark.parametrize("name", NASTY)
def test_names_of_namespaces_branches_checkpoints_and_spaces(server, store, name):
    inside = allowed(lambda: perdure.open(server.url("agents"), namespace=name))
    if inside is not None:
        with inside:
            inside.memories.put(Memory(id="a"))
        assert name in store.namespaces.list()
        store.namespaces.drop(name)
    if allowed(lambda: store.branch(name)) is not None:
        assert name in [branch.name for branch in store.branches.list()]
        store.branches.delete(name)
    if allowed(lambda: store.checkpoints.create(name)) is not None:
        store.checkpoints.delete(name)
    if allowed(lambda: store.spaces.create(name, 2, metric="l2", model=name)) is not None:
        store.vectors.put(perdure.Vector(space=name, id=name, values=[0.0, 1.0]), model=name)
        assert [hit.record.id for hit in store.vectors.search([0.0, 1.0], k=1, space=name, model=name)] == [
            name
        ]
        store.spaces.drop(name)
    assert store.verify().ok


@pytest.mark.parametrize("value", NASTY)
def test_values_everywhere(store, value):
    store.memories.put(
        Memory(id=value, kind="fact", text=value, agent=value, tags=[value]), message=value, author=value
    )
    store.states.put(State(kind=value, id=value, data={value: value}, payload=value.encode()))
    for condition in (
        F.text == value,
        F.agent == value,
        F.agent.is_in([value]),
        F.id >= value,
        F.text.contains(value),
    ):
        assert value in [memory.id for memory in store.memories.find(condition)]
    assert store.memories[value].tags == [value]
    assert store.states[(value, value)].payload == value.encode()
    assert next(store.log()).seq == store.head().seq
    with pytest.raises(perdure.InvalidInput):
        list(store.memories.scan(order_by=value))
    assert store.purge("memories", value).keys == 1
    assert store.memories.get(value) is None


@pytest.mark.parametrize("value", ["\0", "a\0b", "\ud800"])
def test_what_postgres_has_no_text_for(store, value):
    """In a value it is kept or refused; in a name refused; never half of it."""
    for make in (
        lambda: store.branch(value),
        lambda: store.spaces.create(value, 2, metric="l2", model="m"),
        lambda: store.memories.put(Memory(id=value)),
    ):
        with pytest.raises(perdure.InvalidInput):
            make()
    if allowed(lambda: store.memories.put(Memory(id="odd", text=value, content={"v": value}))) is not None:
        assert store.memories["odd"].text == value
        assert store.memories["odd"].content == {"v": value}


@pytest.mark.parametrize("name", ["", "x" * 64, "é" * 32, "pg_mine", "information_schema", "a\0b"])
def test_names_that_no_schema_can_have(server, name):
    with pytest.raises(perdure.InvalidURL):
        perdure.open(server.url("agents", schema=name))
