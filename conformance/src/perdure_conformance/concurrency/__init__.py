"""Races, and whether their outcome can be explained.

A `Team` runs jobs at the same time, in threads or in processes. A job notes each call in a `Recorder`:
when it began, when it returned, and what came of it. `linearize` then looks for one order of all calls that
explains the outcomes; `Line` says what a branch would have answered in that order. `trials` repeats a race,
and measures how often it fails.
"""

from perdure_conformance.concurrency._history import Call, Recorder, told
from perdure_conformance.concurrency._line import Line
from perdure_conformance.concurrency._linearize import Stuck, linearize
from perdure_conformance.concurrency._team import Crew, Team
from perdure_conformance.concurrency._trials import explained, trials

__all__ = ["Call", "Crew", "Line", "Recorder", "Stuck", "Team", "explained", "linearize", "told", "trials"]
