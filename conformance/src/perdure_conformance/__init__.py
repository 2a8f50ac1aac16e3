"""Hypothesis strategies and checks for any perdure backend.

`strategies` draws values, records, filters and histories; `model` is the naive oracle; `machines` runs
random histories on a store and on the model; `invariants` compares stores with each other.
"""

from perdure_conformance.invariants import differential
from perdure_conformance.machines import machine_for
from perdure_conformance.model import Model

__all__ = ["Model", "differential", "machine_for"]
