"""The state machine on both engines: random histories against the naive model."""

from __future__ import annotations

from pathlib import Path

import perdure
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from perdure_conformance.machines import machine_for

#: A run of the machine makes tens of commits and looks at every row after each, so that fewer runs do.
RUNS = max(10, settings().max_examples // 8)


@pytest.mark.parametrize("engine", ["memory", "sqlite"])
def test_random_histories_agree_with_the_model(engine: str, tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}" if engine == "memory" else f"sqlite:///{tmp_path}/machine.db"
    machine = machine_for(lambda namespace: perdure.open(url, namespace=namespace))
    run_state_machine_as_test(machine, settings=settings(max_examples=RUNS, stateful_step_count=20))
