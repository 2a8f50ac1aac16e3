"""State machines: random histories on a store and on the model, which must agree after every step."""

from perdure_conformance.machines._lockstep import Lockstep, run_history
from perdure_conformance.machines._machine import machine_for
from perdure_conformance.machines._world import World

__all__ = ["Lockstep", "World", "machine_for", "run_history"]
