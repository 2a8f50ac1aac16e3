"""AURA, "not just what happened, but why": states with causes, futures tried on branches, what-if.

python examples/aura.py [URL]     (default: memory://aura; try sqlite:///aura.db, twice)
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import perdure
from perdure import Link, Memory, State, Store, Trace, uuid7

Policy = Callable[[float, np.random.Generator], tuple[float, float]]


def save_state(
    store: Store,
    key: tuple[str, str],
    data: dict[str, Any],
    *,
    why: str,
    causes: Iterable[str] = (),
    instead: dict[str, Any] | None = None,
    energy: float = 1.0,
) -> tuple[str, str]:
    """Save a state and why it is so, in one commit: a trace, an event, and links from its causes.

    Args:
        store: The store, on any branch.
        key: (state type, component).
        data: The state.
        why: What caused it, in words.
        causes: Ids of the events that led to it.
        instead: What would have happened otherwise, as far as the agent knows.
        energy: What the decision cost.

    Returns:
        The id of the event, and that of the commit.
    """
    event, causes = uuid7(), list(causes)
    with store.batch(message=why) as batch:
        batch.states.put(State(kind=key[0], id=key[1], data=data))
        batch.memories.put(Memory(id=event, kind="event", agent=key[1], text=why))
        batch.traces.put(
            Trace(
                id=event,
                agent=key[1],
                intent=why,
                result=data,
                causes=causes,
                effects=["/".join(key)],
                counterfactuals=instead,
                confidence=0.9,
                cost=energy,
            )
        )
        batch.links.put(Link(source=cause, target=event, relation="causes", weight=0.9) for cause in causes)
    assert batch.result is not None
    assert batch.result.commit is not None
    return event, batch.result.commit.id


def load_state(
    store: Store, key: tuple[str, str], compute: Callable[[dict[str, Any]], Any] | None = None
) -> Any:
    """Load a state, or what is computed on it; the access is counted."""
    data = store.states[key].data
    store.states.touch(key)
    return compute(data) if compute else data


def why(store: Store, event: str) -> list[str]:
    """The causes of an event, nearest first."""
    steps = store.links.chain(event, direction="backward", relation="causes")
    return [store.memories[step.link.source].text or "" for step in steps]


def consequences(store: Store, event: str) -> list[str]:
    """The effects of an event, nearest first."""
    steps = store.links.chain(event, direction="forward", relation="causes")
    return [store.memories[step.link.target].text or "" for step in steps]


def explore(energy: float, rng: np.random.Generator) -> tuple[float, float]:
    return energy - 2, float(rng.normal(1.0, 3.0))


def exploit(energy: float, rng: np.random.Generator) -> tuple[float, float]:
    return energy - 1, float(rng.normal(1.5, 0.2))


def rest(energy: float, rng: np.random.Generator) -> tuple[float, float]:
    return energy + 1, 0.0


def live(store: Store, policy: Policy, cause: str, hours: int = 5) -> None:
    """Act for some hours on whatever branch the store is; every step is saved with its cause."""
    rng = np.random.default_rng(7)
    for hour in range(hours):
        now = store.states["component_state", "agent_000"].data
        energy, reward = policy(now["energy"], rng)
        data = {"energy": energy, "reward": now["reward"] + reward}
        cause, _ = save_state(
            store,
            ("component_state", "agent_000"),
            data,
            why=f"{policy.__name__}, hour {hour}",
            causes=[cause],
            energy=abs(now["energy"] - energy),
        )


def speculate(store: Store, policies: list[Policy], cause: str) -> str:
    """Try each policy on a branch of the whole memory; keep the best, drop the rest."""
    before = store.states["component_state", "agent_000"]
    scores: dict[str, float] = {}
    for policy in policies:
        future = store.branch(f"future/{policy.__name__}")
        live(future, policy, cause)
        end = future.states["component_state", "agent_000"].data
        scores[future.branch_name] = end["reward"] + 0.1 * end["energy"]
        rows = sum(1 for _ in store.diff("main", future.branch_name))
        print(f"  {future.branch_name}: score {scores[future.branch_name]:.2f}, {rows} rows differ from main")
    assert store.states["component_state", "agent_000"] == before, "no future has touched the present"
    best = max(scores, key=lambda name: scores[name])
    store.merge(best, message=f"chose {best}")
    for name in scores:
        store.branches.delete(name)
    return best


def main(url: str) -> None:
    store = perdure.open(url, namespace="aura", principal="aura")
    print(f"AURA on {url}, {store.traces.count()} decisions remembered")
    agent, budget = ("component_state", "agent_000"), ("metabolic_budget", "agent_000")

    print("Save states with their causes")
    start, _ = save_state(store, agent, {"energy": 10.0, "reward": 0.0}, why="woke up")
    set_budget, _ = save_state(
        store, budget, {"limit": 100, "losses": [0.5, float("nan")]}, why="daily budget"
    )
    hot, overheated = save_state(
        store,
        budget,
        {"limit": 20, "losses": [0.5, float("nan")]},
        why="overheated, budget cut",
        causes=[start, set_budget],
        instead={"cool the room": {"limit": 100}},
    )
    slow, _ = save_state(
        store, ("liquid_network", "agent_000"), {"tau": 0.1}, why="network slowed down", causes=[hot]
    )

    print("Why is it so?")
    causes = why(store, slow)
    print(f"  network slowed down <- {' <- '.join(causes)}")
    assert causes[0] == "overheated, budget cut"
    assert set(causes[1:]) == {"woke up", "daily budget"}
    effects = consequences(store, set_budget)
    print(f"  daily budget -> {' -> '.join(effects)}")
    assert effects == ["overheated, budget cut", "network slowed down"]
    assert store.traces[hot].counterfactuals == {"cool the room": {"limit": 100}}

    print("Compute on what is loaded; the access is counted")
    reads = store.states.counters(budget).access_count
    mean = load_state(store, budget, lambda data: float(np.nanmean(data["losses"])))
    assert mean == 0.5
    assert store.states.counters(budget).access_count == reads + 1

    print("What if it had not overheated?")
    what_if = store.at("main", without=overheated)
    print(f"  limit is {store.states[budget].data['limit']}, would be {what_if.states[budget].data['limit']}")
    assert store.states[budget].data["limit"] == 20
    assert what_if.states[budget].data["limit"] == 100
    assert what_if.states["liquid_network", "agent_000"].data == {"tau": 0.1}, "what came later stays"
    assert hot not in what_if.traces

    print("Three futures, side by side")
    best = speculate(store, [explore, exploit, rest], start)
    end = store.states[agent].data
    print(f"  chose {best}: energy {end['energy']}, reward {end['reward']:.2f}")
    assert [branch.name for branch in store.branches.list()] == ["main"]
    lived = consequences(store, start)
    assert f"{best.removeprefix('future/')}, hour 4" in lived, "the chosen future is part of the past now"
    assert sum("hour 4" in text for text in lived) == 1, "the others never were"
    assert store.verify().ok
    store.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "memory://aura")
