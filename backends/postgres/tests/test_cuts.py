"""The network between client and server is cut, at every moment of a change: a commit is applied once all the same."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import perdure
import pytest
from perdure import CommitRequest, Context, Memory, Put, Ref, Skill, Store, Unavailable
from perdure_postgres import plugin

CTX = Context()
TO_SERVER, TO_CLIENT = 0, 1


class Wire:
    """A port that leads to the server, until the wire is cut where `cut` said."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._plan: tuple[int, int, bytes] | None = None
        self._watched: Any = None
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, direction: int, number: int, word: bytes = b"") -> None:
        """Cut inside the message after `number` more that hold a word and go that way: half of it still passes."""
        with self._lock:
            self._plan = (direction, number, word)

    def cut_answer(self, word: bytes) -> None:
        """Let the next message with a word reach the server, and cut before its answer reaches the client."""
        self.cut(TO_CLIENT, -1, word)

    @property
    def was_cut(self) -> bool:
        """Whether what `cut` said came to pass; what it said is forgotten."""
        with self._lock:
            plan, self._plan = self._plan, None
            return plan is None

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                ends = (client, socket.create_connection(("127.0.0.1", self._target)))
                for direction in (TO_SERVER, TO_CLIENT):
                    threading.Thread(target=self._carry, args=(ends, direction), daemon=True).start()

    def _carry(self, ends: tuple[socket.socket, socket.socket], direction: int) -> None:
        source, target = ends if direction == TO_SERVER else ends[::-1]
        with suppress(OSError):
            while data := source.recv(2**16):
                passing = self._passing(ends, direction, data)
                target.sendall(data[:passing])
                if passing < len(data):
                    break
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _passing(self, ends: Any, direction: int, data: bytes) -> int:
        """How many bytes pass."""
        with self._lock:
            if self._plan is None:
                return len(data)
            way, number, word = self._plan
            if number == -1:
                if direction == TO_SERVER and word in data:
                    self._watched = ends
                elif direction == TO_CLIENT and self._watched is ends:
                    self._plan = self._watched = None
                    return 0
            elif way == direction and word in data:
                self._plan = (way, number - 1, word) if number else None
                return len(data) if number else len(data) // 2
            return len(data)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture(scope="module")
def plain(servers: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, cluster: Path) -> Iterator[Any]:
    with servers.server(tmp_path_factory.mktemp("plain"), cluster) as server:
        yield server


@pytest.fixture
def wire(plain: Any) -> Iterator[Wire]:
    found = Wire(plain.port)
    yield found
    found.close()


@pytest.fixture
def url(plain: Any, wire: Wire) -> str:
    return str(plain.database()).replace(f":{plain.port}/", f":{wire.port}/")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with perdure.open(url) as opened:
        opened.skills.put(Skill(id="count"))
        yield opened


def change(store: Store, id_: str) -> None:
    with store.batch(commit_id=id_) as batch:
        batch.memories.put([Memory(id=f"{id_}-{n}", text="x" * 500) for n in range(40)])
        batch.skills.increment("count", success_count=1)


def applied(store: Store, id_: str) -> int:
    assert store.memories.count(perdure.F.id.starts_with(f"{id_}-")) in (0, 40)
    return sum(commit.id == id_ for commit in store.log())


@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_a_commit_is_applied_once_wherever_the_wire_is_cut(store, wire, direction):
    number = 0
    while True:
        id_ = f"c{number}"
        wire.cut(direction, number)
        change(store, id_)
        cut = wire.was_cut
        assert applied(store, id_) == 1
        assert store.skills["count"].success_count == number + 1
        number += 1
        if not cut:
            break
    assert number > 4
    assert [commit.seq for commit in store.log()] == list(range(number + 1, 0, -1))
    assert store.verify().problems == ()


def test_the_answer_to_commit_is_lost(store, wire):
    for number in range(3):
        wire.cut_answer(b"COMMIT")
        change(store, f"c{number}")
        assert wire.was_cut
        assert applied(store, f"c{number}") == 1
    assert store.skills["count"].success_count == 3


def test_commit_does_not_reach_the_server(store, wire):
    wire.cut(TO_SERVER, 0, b"COMMIT")
    change(store, "c")
    assert wire.was_cut
    assert applied(store, "c") == 1
    assert store.skills["count"].success_count == 1


CHANGES = {
    "create_branch": lambda s: s.branches.create("lab"),
    "create_checkpoint": lambda s: s.checkpoints.create("point"),
    "create_space": lambda s: s.spaces.create("space", 2),
    "touch": lambda s: s.skills.touch("count"),
    "purge": lambda s: s.purge("skills", ["count"]),
}
DONE = {
    "create_branch": lambda s: "lab" in {branch.name for branch in s.branches.list()},
    "create_checkpoint": lambda s: bool(s.checkpoints.list()),
    "create_space": lambda s: bool(s.spaces.list()),
    "touch": lambda s: s.skills.counters("count").access_count == 1,
    "purge": lambda s: "count" not in s.skills,
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_changes_say_that_their_outcome_is_unknown(store, wire, name):
    wire.cut(TO_SERVER, 0, b"COMMIT")
    with pytest.raises(Unavailable, match="outcome is unknown"):
        CHANGES[name](store)
    assert wire.was_cut
    assert not DONE[name](store)
    wire.cut_answer(b"COMMIT")
    with pytest.raises(Unavailable, match="outcome is unknown"):
        CHANGES[name](store)
    assert wire.was_cut
    assert DONE[name](store)


@pytest.mark.parametrize("name", CHANGES)
def test_a_cut_before_the_end_is_made_good(store, wire, name):
    wire.cut(TO_SERVER, 1)
    CHANGES[name](store)
    assert wire.was_cut
    assert DONE[name](store)


def test_readers_are_told_and_read_again(store, wire):
    change(store, "c")
    wire.cut(TO_CLIENT, 0)
    with pytest.raises(Unavailable, match="try again"):
        store.memories.count()
    assert wire.was_cut
    assert store.memories.count() == 40


def test_without_a_server_writers_give_up_in_time(store, wire, url):
    cells = {
        "id": "late",
        "body": "null",
        "metadata": "null",
        "tags": (),
        "success_count": 0,
        "failure_count": 0,
    }
    put = Put("skills", [tuple(cells.get(name) for name in perdure.TABLES["skills"].names)])
    backend = plugin.open(url, "default", "rw")
    wire.close()
    wire.cut(TO_SERVER, 0)
    with pytest.raises(Unavailable, match="cannot be reached"):
        backend.commit(ctx=CTX, request=CommitRequest("main", "late", [put]))
    with pytest.raises(Unavailable, match="cannot be reached"):
        backend.resolve(ctx=CTX, ref=Ref("main"))
    backend.close(ctx=None)
