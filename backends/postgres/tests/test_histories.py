"""Random histories: after each, memory, SQLite and Postgres dump alike, and so do copies from one to the next."""

from perdure_conformance import Target
from perdure_conformance.invariants import differential_run


def test_histories_are_the_same_on_every_engine(server):
    mine = f"postgresql+embedded:///{server.directory}?schema={{unique}}"
    assert differential_run(["memory", "sqlite", Target.of(mine)], runs=4, steps=8, seed=4) is None
