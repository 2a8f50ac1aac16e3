"""Whether a backend keeps the perdure specification: checks for every clause, and what they are made of.

`Conformance` is the class for a backend's own tests; ``perdure conformance URL`` and
``pytest --pyargs perdure_conformance --perdure-backend=URL`` are the other ways in. The parts stand apart:
`strategies` draws values, records, filters and histories; `model` is the naive oracle; `machines` runs
random histories on a store and on the model; `invariants` compares stores with each other; `clauses` has
the checks, `mutants` the broken backends that they must find, and `report` says what came of them.
"""

from perdure_conformance._author import Conformance
from perdure_conformance._case import Case
from perdure_conformance._checks import LEVELS, Check, check
from perdure_conformance._judge import judge
from perdure_conformance._known import Known
from perdure_conformance._profile import PROFILES, Profile
from perdure_conformance._results import Result, Status
from perdure_conformance._runner import Runner
from perdure_conformance._site import Site
from perdure_conformance._spec import Clause, Specification
from perdure_conformance._target import Place, Target
from perdure_conformance.invariants import differential
from perdure_conformance.machines import machine_for
from perdure_conformance.model import Model
from perdure_conformance.report import Report

__all__ = [
    "LEVELS",
    "PROFILES",
    "Case",
    "Check",
    "Clause",
    "Conformance",
    "Known",
    "Model",
    "Place",
    "Profile",
    "Report",
    "Result",
    "Runner",
    "Site",
    "Specification",
    "Status",
    "Target",
    "check",
    "differential",
    "judge",
    "machine_for",
]
