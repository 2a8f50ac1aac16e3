"""BrainOps, "never forget an operation": known errors, strict procedures, guidance, the best agent.

python examples/brainops.py [URL]     (default: memory://brainops; try sqlite:///brainops.db, twice)
"""

import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import itemgetter, or_
from typing import Any

import perdure
from perdure import F, Memory, Skill, Store, Trace, uuid7

SURE_ENOUGH = 0.4
ARCHIVE = 9  # the tier of what is no longer read
TIMEOUT = {"cause": "network latency", "solution": "retry with backoff"}
DISK = {"cause": "log files fill the volume", "solution": "rotate the logs"}
LEAK = {"advice": "compare heap snapshots before and after a request"}
DEPLOY = {"run tests": True, "read known errors": True, "tell the team": False, "roll out": True}
NEW_ERRORS = {
    "psycopg: connection timed out (10.0.0.7)": ("trigger", "retry with backoff"),
    "cannot write: volume with files is full": ("content", "rotate the logs"),
    "segmentation fault": None,
}
TASKS = {
    "Deploy version 3 to production": "procedure deploy",
    "fix the memory leak": "memory Finding a memory leak",
    "bake a cake": None,
}


class StepSkipped(Exception):
    """A strict step of a procedure was left out."""


def capture(store: Store, kind: str, title: str, content: dict[str, str], **fields: Any) -> None:
    """Keep a piece of knowledge; the same title again replaces it."""
    text = " ".join([title, *content.values()]).lower()
    memory = Memory(id=f"{kind}/{title}", kind=kind, title=title, text=text, content=content, **fields)
    store.memories.put(memory, message=f"captured: {title}")


def words(text: str) -> set[str]:
    return set(re.findall(r"\w{4,}", text.lower()))


def by_content(store: Store, text: str, kind: str) -> tuple[float, Memory] | None:
    """The memory of a kind that shares most words with a text, and the share of words that it has."""
    wanted = words(text)
    any_word = reduce(or_, (F.text.contains(word) for word in sorted(wanted)), F.id.is_in([]))
    found = store.memories.find((F.kind == kind) & any_word)
    scored = [(len(wanted & words(m.text or "")) / len(wanted), m) for m in found]
    return max(scored, key=itemgetter(0), default=None)


def solution(store: Store, error: str) -> tuple[str, str] | None:
    """How the error is known, and what helps: first by trigger, then by content."""
    for skill in store.skills.matching(error, where=F.tags.contains("fix")):
        return "trigger", skill.body["solution"]
    match = by_content(store, error, "error_pattern")
    if match and match[0] >= SURE_ENOUGH:
        return "content", match[1].content["solution"]
    return None


def effectiveness(skill: Skill) -> float:
    """Share of successes, with one success and one failure assumed beforehand (Laplace)."""
    return (skill.success_count + 1) / (skill.success_count + skill.failure_count + 2)


@contextmanager
def operation(store: Store, agent: str, intent: str) -> Iterator[Trace]:
    """Bracket an operation: what came of it, and the error if there was one, is stored by itself."""
    trace = Trace(agent=agent, intent=intent, session=uuid7(), outcome="success")
    try:
        yield trace
    except BaseException as error:
        trace.outcome = "refused" if isinstance(error, StepSkipped) else "failure"
        trace.result = {"error": type(error).__name__, "message": str(error)}
        raise
    finally:
        with store.batch(message=f"{agent}: {intent}") as batch:
            batch.traces.put(trace)
            if trace.skill_id and trace.outcome != "refused":
                batch.skills.record_outcome(trace.skill_id, success=trace.outcome == "success")


def execute(store: Store, name: str, agent: str, actions: Mapping[str, Callable[[], Any]]) -> list[str]:
    """Run a procedure and record each step; the outcomes. Raises StepSkipped without a strict one."""
    outcomes = []
    with operation(store, agent, name) as whole:
        whole.skill_id = name
        for number, (step, strict) in enumerate(store.skills[name].body.items(), 1):
            done = Trace(agent=agent, intent=step, session=whole.session, step=number, causes=[whole.id])
            action = actions.get(step)
            outcomes.append("done" if action else "refused" if strict else "skipped")
            done.outcome, done.result = outcomes[-1], action() if action else None
            store.traces.put(done)
            if done.outcome == "refused":
                raise StepSkipped(f"{name} is not done without {step!r}")
    return outcomes


def guidance(store: Store, task: str) -> tuple[float, str] | None:
    """The best matching procedure or memory with a confidence; None where nothing is known."""
    procedures = store.skills.matching(task, where=F.enforcement == "strict")
    known = [((s.confidence or 0) * effectiveness(s), f"procedure {s.id}") for s in procedures]
    insight = by_content(store, task, "insight")
    if insight:
        known.append((insight[0] * (insight[1].importance or 0), f"memory {insight[1].title}"))
    best = max(known, default=None)
    return best if best and best[0] >= SURE_ENOUGH else None


def best_agent(store: Store, task: str) -> tuple[str, float]:
    """Who did a task best so far, and how well."""
    done = Counter((trace.agent, trace.outcome) for trace in store.traces.scan(F.intent == task))
    good = {agent: done[agent, "success"] for agent, _ in done}
    rates = {agent: (n + 1) / (n + done[agent, "failure"] + 2) for agent, n in good.items()}
    return max(((str(agent), rate) for agent, rate in rates.items()), key=itemgetter(1))


def archive(store: Store, before: datetime) -> int:
    """Compress what is old and unimportant, in one commit; the id stays, and history has the text."""
    old = store.memories.find((F.created_at < before) & (F.importance < 0.5) & (F.tier != ARCHIVE))
    with store.batch(message="archived old memories") as batch:
        for memory in old:
            packed = zlib.compress(str(memory.text).encode())
            batch.memories.update(memory.id, tier=ARCHIVE, text=None, content=packed)
    return len(old)


def work(store: Store, task: str, failures: dict[str, int]) -> None:
    """Each agent does a task eight times; some of them fail."""
    for agent, failed in failures.items():
        for n in range(8):
            with suppress(TimeoutError), operation(store, agent, task):
                if n < failed:
                    raise TimeoutError("the database did not answer")


def know(store: Store) -> None:
    """What was learned before this day; what the procedure has achieved meanwhile is kept."""
    capture(store, "error_pattern", "Connection timeout", TIMEOUT, tags=["db", "network"], importance=0.9)
    capture(store, "error_pattern", "Disk full", DISK, tags=["disk"], importance=0.7)
    capture(store, "insight", "Finding a memory leak", LEAK, tags=["python"], importance=0.8)
    trigger = r"(?i)connection (timed out|timeout|reset)"
    store.skills.put(Skill(id="fix/timeout", trigger=trigger, tags=["fix"], body=TIMEOUT, confidence=0.9))
    if "deploy" not in store.skills:
        deploy = Skill(id="deploy", trigger=r"(?i)\bdeploy", body=DEPLOY, confidence=0.9)
        deploy.enforcement = "strict"
        store.skills.put(deploy)


def match_errors(store: Store) -> None:
    patterns = store.memories.find(F.kind == "error_pattern", order_by="-importance")
    assert [m.title for m in patterns] == ["Connection timeout", "Disk full"]
    assert store.memories.find(F.tags.contains("network")) == patterns[:1]
    assert store.memories.find(F.content["cause"].contains("log files")) == patterns[1:]
    for error, expected in NEW_ERRORS.items():
        print(f"  {error!r}: {solution(store, error) or 'unknown'}")
        assert solution(store, error) == expected


def follow_procedures(store: Store) -> None:
    before = store.skills["deploy"].success_count
    actions = dict.fromkeys(["run tests", "read known errors", "roll out"], lambda: "ok")
    outcomes = execute(store, "deploy", "ada", actions)
    assert outcomes == ["done", "done", "skipped", "done"], "a lax step may be left out"
    try:
        execute(store, "deploy", "bob", {"roll out": lambda: "ok"})
        raise AssertionError("a strict step was left out")
    except StepSkipped as refusal:
        print(f"  bob was refused: {refusal}")
    assert store.traces.count((F.intent == "roll out") & (F.agent == "bob")) == 0
    deploy = store.skills["deploy"]
    assert (deploy.success_count, deploy.failure_count) == (before + 1, 0)
    print(f"  effectiveness of deploy: {effectiveness(deploy):.2f}")
    for task, expected in TASKS.items():
        advice = guidance(store, task)
        print(f"  {task!r}: {f'{advice[1]} ({advice[0]:.2f})' if advice else 'none'}")
        assert (advice and advice[1]) == expected


def clean_up(store: Store, now: datetime) -> None:
    capture(store, "note", "On call today", {"who": "cleo"}, expires_at=now + timedelta(hours=12))
    old = now - timedelta(days=400)
    capture(store, "note", "Old meeting", {"said": "little"}, importance=0.1, created_at=old)
    assert store.expire(now) is None, "nothing is due yet"
    expired = store.expire(now + timedelta(days=1))
    archived = archive(store, now - timedelta(days=365))
    assert (expired and expired.deleted, archived) == (1, 1)
    assert "note/On call today" not in store.memories
    assert zlib.decompress(store.memories["note/Old meeting"].content) == b"old meeting little"
    print("  one note expired, one archived")


def main(url: str) -> None:
    store = perdure.open(url, namespace="brainops", principal="ops")
    print(f"BrainOps on {url}, {store.traces.count()} operations remembered")
    print("Capture, retrieve, and match a new error to known ones")
    know(store)
    match_errors(store)
    print("A procedure with strict steps; guidance, or an honest none")
    follow_procedures(store)
    print("The best agent by past performance")
    work(store, "tune the index", {"ada": 1, "bob": 4, "cleo": 7})
    agent, rate = best_agent(store, "tune the index")
    print(f"  tune the index: {agent} ({rate:.2f})")
    assert agent == "ada"
    assert store.traces.count((F.outcome == "failure") & (F.result["error"] == "TimeoutError")) > 0
    print("Upkeep")
    clean_up(store, datetime.now(UTC))
    assert store.verify().ok
    store.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "memory://brainops")
