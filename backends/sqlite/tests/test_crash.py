"""kill -9 during a stream of commits: what was acknowledged is there, and nothing is half there."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import perdure
import pytest
from perdure import Skill, Store

KILLS, MOST = 20, 60
FOCUS = ("", "compact", "merge", "purge", "backup")
KINDS = {"put", "delete", "merge", "branch", "compact", "purge", "backup"}


class Lost(AssertionError):
    """An acknowledged commit is not there."""


class Torn(AssertionError):
    """Some rows of a commit are there, and others are not."""


def check_groups(place: Any) -> None:
    """The rows that one commit wrote in six tables bear one mark."""
    marks: dict[str, set[Any]] = {f"g{slot}": set() for slot in range(6)}
    for id_, found in marks.items():
        memory, state = place.memories.get(id_), place.states.get(("g", id_))
        link, skill, trace = place.links.get(id_), place.skills.get(id_), place.traces.get(id_)
        found.add(memory and memory.kind)
        found.add(link and link.relation)
        found.add(skill and skill.name)
        found.add(trace and trace.session)
        found.add(state and state.metrics)
        if state is not None and state.payload != state.metrics.encode() * 2_000:
            raise Torn(f"the payload of {id_} is not that of its row")
        if (memory is None) is not (place.vectors.get(("space", id_)) is None):
            raise Torn(f"the vector of {id_} does not go with its row")
    if torn := {id_: found for id_, found in marks.items() if len(found) != 1}:
        raise Torn(f"groups with several marks: {torn}")


class Harness:
    """One file, the children that write to it one after the other, and what they acknowledged."""

    def __init__(self, workers: Any, digest: Any, folder: Path) -> None:
        self.workers, self.digest = workers, digest
        self.path, self.log = folder / "agent.db", folder / "acknowledged"
        self.rng, self.checked = random.Random(11), 0
        self.log.touch()
        with self.opened() as store:
            store.spaces.create("space", 2, table="memories")
            store.skills.put(Skill(id="count"))

    def opened(self) -> Store:
        return perdure.open(f"sqlite:///{self.path}", namespace="crash")

    def events(self) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")
        ]

    def kill(self, seed: int, focus: str, flaw: str = "") -> None:
        """Start a child, and kill it at some moment after its first acknowledgement."""
        before = self.log.stat().st_size
        child = self.workers.start(
            "stream", path=str(self.path), log=str(self.log), seed=seed, focus=focus, flaw=flaw
        )
        patience = time.monotonic() + 60
        while self.log.stat().st_size == before and time.monotonic() < patience:
            time.sleep(0.002)
        time.sleep(self.rng.random() * 0.12)
        self.workers.kill(child)

    def check(self) -> int:
        """Compare the store with what was acknowledged; how many new acknowledgements there were."""
        events = self.events()
        fresh, self.checked = events[self.checked :], len(events)
        with self.opened() as store:
            report = store.verify()
            assert report.problems == ()
            branches = {branch.name: branch for branch in store.branches.list()}
            for name in branches:
                check_groups(store.at(name))
            for number, event in enumerate(fresh):
                gone = any(later["what"] in ("drop", "merge") for later in fresh[number:])
                branch = branches.get(event.get("branch", "main"))
                if event["what"] == "purge":
                    assert all(event["key"] not in store.at(name).memories for name in branches)
                if "commit" in event and (branch is not None or not gone):
                    self.find(store, event, -1 if branch is None else branch.floor, lab_may_be_gone=gone)
            self.heads(store, events)
        return len(fresh)

    def find(self, store: Store, event: dict[str, Any], floor: int, *, lab_may_be_gone: bool) -> None:
        """An acknowledged commit holds what its writer read back."""
        try:
            place = store.at(f"@{event['commit']}")
        except perdure.NotFound:
            if event["seq"] < floor or (event["branch"] == "lab" and lab_may_be_gone):
                return  # compaction, or the deletion of its branch, dropped it
            raise Lost(f"{event} is not there") from None
        if event["digest"] and self.digest(place) != event["digest"]:
            raise Lost(f"{event} is not what was written")

    def heads(self, store: Store, events: list[dict[str, Any]]) -> None:
        """The head of main is the last commit acknowledged on it, or the one that was being acknowledged."""
        mine = [event for event in events if event.get("branch") == "main" and "commit" in event]
        if mine:
            newest = [commit.id for commit in store.log("main", limit=3)]
            if mine[-1]["commit"] not in newest:
                raise Lost(f"{mine[-1]} is not among {newest}")


@pytest.fixture
def harness(workers, jobs, tmp_path) -> Harness:
    return Harness(workers, jobs["digest"], tmp_path)


def command_line_verify(path: Path) -> None:
    program = Path(sys.executable).with_name("perdure")
    done = subprocess.run(
        [program, "verify", f"sqlite:///{path}", "--namespace", "crash", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["problems"] == []


def test_nothing_acknowledged_is_lost_and_nothing_is_half_there(harness):
    """On a busy machine, where a child comes to little before it is killed, more are started."""
    acknowledged, kinds = 0, set()
    for kill in range(MOST):
        harness.kill(kill + 1, FOCUS[kill % len(FOCUS)])
        acknowledged += harness.check()
        if kill % 10 == 9:
            command_line_verify(harness.path)
        kinds = {event["what"] for event in harness.events()}
        if kill + 1 >= KILLS and kinds >= KINDS:
            break
    assert acknowledged >= KILLS
    assert kinds >= KINDS
    for file in sorted(harness.path.parent.glob("backup-*"))[-5:]:  # each that has its name is whole
        perdure.restore(file, f"memory://{file.name}", namespace="restored")


@pytest.mark.parametrize(("flaw", "error"), [("early", Lost), ("torn", Torn)])
def test_the_harness_sees_what_is_lost_or_torn(harness, flaw, error):
    """Children that acknowledge before they commit, or that commit by halves, are found out."""
    with pytest.raises(error):
        for kill in range(60):
            harness.kill(kill + 1, "", flaw)
            harness.check()
