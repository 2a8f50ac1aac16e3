"""Servers that are killed under writers: nothing acknowledged is lost, nothing is half there, nothing applies twice."""

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import perdure
import psutil
import psycopg
import pytest
from perdure import Memory, Retryable, Skill, Store

KILLS = 8
BRANCHES = ("main", "main", "lab", "other")
TABLES = ("memories", "links", "traces", "states")


class Fleet:
    """Processes that commit without end, each with a file of what was acknowledged; they open their store once."""

    def __init__(self, workers: Any, kit: SimpleNamespace, url: str, folder: Path) -> None:
        self.workers, self.kit, self.url = workers, kit, url
        self.stop = folder / "stop"
        self.logs = [folder / f"acknowledged-{n}" for n in range(len(BRANCHES))]
        with perdure.open(url, namespace="kills") as store:
            for branch in dict.fromkeys(BRANCHES):
                store.branch(branch).skills.put(Skill(id=f"count-{branch}"))
        self.running = []
        for n, log in enumerate(self.logs):
            log.touch()
            arguments = {"log": str(log), "worker": n, "branch": BRANCHES[n], "stop": str(self.stop)}
            self.running.append(workers.start("persist", url=url, **arguments))
        self.progress()

    def lines(self, number: int) -> list[dict[str, Any]]:
        text = self.logs[number].read_text()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def progress(self) -> None:
        """Wait until each has had a commit acknowledged that it began after now."""
        old = [len(self.lines(n)) for n in range(len(self.logs))]
        self.kit.until(lambda: all(len(self.lines(n)) >= 2 + old[n] for n in range(len(self.logs))))

    def check(self, store: Store) -> None:
        """Compare the store, which may go on, with what was acknowledged by now."""
        for branch in dict.fromkeys(BRANCHES):
            mine = [n for n, name in enumerate(BRANCHES) if name == branch]
            acknowledged = {line["id"] for n in mine for line in self.lines(n)}
            snapshot = store.branch(branch).snapshot()
            groups = {row.id for row in snapshot.memories.scan(perdure.F.id.starts_with("w"))}
            assert acknowledged <= groups, "lost"
            for name in TABLES:
                assert {row.id for row in snapshot.table(name).scan(perdure.F.id.starts_with("w"))} == groups
            assert snapshot.skills[f"count-{branch}"].success_count == len(groups), "applied twice"
            commits = list(store.log(branch))
            assert groups <= {commit.id for commit in commits}
            assert [commit.seq for commit in commits] == list(range(len(commits), 0, -1))

    def end(self) -> Counter[str]:
        """Let all end, and look at everything; which errors the writers were told."""
        self.stop.touch()
        assert self.workers.wait(*self.running) == [0] * len(self.running)
        with perdure.open(self.url, namespace="kills") as store:
            self.check(store)
            assert store.verify().problems == ()
        return Counter(e for n in range(len(self.logs)) for line in self.lines(n) for e in line["errors"])


def works_again(store: Store, mark: str) -> None:
    """A store that was open all the while; it may need to be told again, as an agent would."""
    patience = time.monotonic() + 60
    while time.monotonic() < patience:
        try:
            store.memories.put(Memory(id=f"mine-{mark}"), commit_id=f"mine-{mark}")
            assert f"mine-{mark}" in store.memories
            return
        except Retryable:
            continue
    raise AssertionError("the store does not come back")


def test_the_postmaster_of_an_embedded_server_is_killed_again_and_again(workers, kit, tmp_path):
    directory, rng = tmp_path / "server", random.Random(5)
    share = kit.begin(directory)  # else the first store to close would be the last user
    fleet = Fleet(workers, kit, f"postgresql+embedded:///{directory}", tmp_path)
    with perdure.open(fleet.url, namespace="kills") as store:
        for kill in range(KILLS):
            goal = len(fleet.lines(0)) + rng.randrange(4)
            kit.until(lambda goal=goal: len(fleet.lines(0)) >= goal)
            kit.postmaster(directory).kill()
            fleet.progress()
            works_again(store, str(kill))
        assert sum(1 for commit in store.log() if commit.id.startswith("mine-")) == KILLS
    errors = fleet.end()
    assert set(errors) <= {"Unavailable", "Busy"}
    share.close()
    assert kit.processes(directory) == []


@pytest.fixture(scope="module")
def plain(servers: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory, cluster: Path) -> Iterator[Any]:
    with servers.server(tmp_path_factory.mktemp("plain"), cluster) as server:
        yield server


def restart(servers: SimpleNamespace, kit: SimpleNamespace, plain: Any) -> None:
    """Start the server again once nothing of the dead one is left."""
    kit.until(lambda: not kit.processes(plain.home.directory))
    (plain.home.data / "postmaster.pid").unlink()  # it names a process that may not have been buried yet
    servers.start(plain.home, kit.soon(), plain.port)


def test_the_postmaster_of_a_plain_server_is_killed_again_and_again(workers, kit, servers, plain, tmp_path):
    fleet, rng = Fleet(workers, kit, plain.database(), tmp_path), random.Random(6)
    with perdure.open(fleet.url, namespace="kills") as store:
        for kill in range(KILLS):
            goal = len(fleet.lines(0)) + rng.randrange(4)
            kit.until(lambda goal=goal: len(fleet.lines(0)) >= goal)
            kit.postmaster(plain.home.directory).kill()
            restart(servers, kit, plain)
            fleet.progress()
            works_again(store, str(kill))
    assert set(fleet.end()) <= {"Unavailable", "Busy"}


BACKENDS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname <> 'postgres'"


def kill_a_backend(plain: Any, rng: random.Random) -> None:
    """The server then ends all others, and recovers as after a crash."""
    pids = [pid for (pid,) in plain.run(BACKENDS)]
    psutil.Process(rng.choice(pids)).kill()


def terminate_all(plain: Any, rng: random.Random) -> None:
    plain.run(f"SELECT pg_terminate_backend(pid) FROM ({BACKENDS})")


def restart_at_once(plain: Any, rng: random.Random) -> None:
    words = ("restart", "-D", plain.home.here, "-l", "../log", "-m", "immediate", "-w", "-s")
    code, output = plain.home.run("pg_ctl", words, plain.home.data, time.monotonic() + 60)
    assert code == 0, output


@pytest.mark.parametrize("strike", [kill_a_backend, terminate_all, restart_at_once])
def test_other_ends_of_connections(workers, kit, plain, tmp_path, strike):
    fleet, rng = Fleet(workers, kit, plain.database(), tmp_path), random.Random(7)
    with perdure.open(fleet.url, namespace="kills") as store:
        for round_ in range(3):
            kit.until(lambda: reachable(plain))
            strike(plain, rng)
            fleet.progress()
            works_again(store, str(round_))
    assert set(fleet.end()) <= {"Unavailable", "Busy"}


def reachable(plain: Any) -> bool:
    try:
        return bool(plain.run(BACKENDS))
    except psycopg.OperationalError:
        return False
