"""`perdure conformance TARGET --against OTHER`: the same random histories on several backends."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from perdure_conformance._profile import Profile
from perdure_conformance._target import Target
from perdure_conformance.invariants import Difference, differential_run

__all__ = ["compare", "tell_difference"]

#: Histories in a round: the time is looked at between rounds.
RUNS = 10


def compare(targets: Sequence[Target], profile: Profile, seed: int) -> tuple[Difference | None, int]:
    """Run rounds of random histories on all targets until the time of the profile is used up; at least one.

    Args:
        targets: Two or more.
        profile: The budget.
        seed: Of all randomness: the rounds are the same each time, as far as the time allows.

    Returns:
        The first difference, shrunk, or None; and how many rounds there were.
    """
    end, rounds = time.monotonic() + profile.seconds, 0
    while True:
        found = differential_run(targets, runs=RUNS, seed=seed + rounds)
        rounds += 1
        if found is not None or time.monotonic() >= end:
            return found, rounds


def tell_difference(
    found: Difference | None, rounds: int, names: Sequence[str], profile: str, seed: int
) -> None:
    """Print what a comparison found, on stdout.

    Args:
        found: The difference, if there is one.
        rounds: How many rounds there were.
        names: The words that the person gave for the targets, for a command to copy.
        profile: The name of the budget.
        seed: Of all randomness.
    """
    console = Console(highlight=False, soft_wrap=True)
    run = f"{rounds} rounds of up to {RUNS} random histories, profile {profile}, seed {seed}"
    if found is None:
        console.print(Text(f"no difference between {', '.join(names)}: {run}", "bold green"))
        return
    console.print(Text(f"{', '.join(names)} differ: {run}", "bold red"))
    console.print(Text(str(found)))
    others = [word for name in names[1:] for word in ("--against", name)]
    command = ["perdure", "conformance", names[0], *others, "--profile", profile, "--seed", str(seed)]
    console.print(Text(f"again: {shlex.join(command)}"))
