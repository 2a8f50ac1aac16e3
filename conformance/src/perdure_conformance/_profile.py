"""How long a run may take: budgets are time, not numbers of examples."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PROFILES", "Profile"]


@dataclass(frozen=True)
class Profile:
    """A budget.

    Attributes:
        name: Of the profile.
        seconds: For all timed checks of the suite together; each has its share, by weight, whatever else runs.
        shrink: Whether a random failure is made small before it is reported.
    """

    name: str
    seconds: float
    shrink: bool = True


#: `quick` ends within a minute on two cores, `ci` within five; `nightly` takes half an hour.
PROFILES = {
    profile.name: profile for profile in (Profile("quick", 20), Profile("ci", 180), Profile("nightly", 1_500))
}
