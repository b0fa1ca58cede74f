"""Recorded days of small floors, and bundles to run beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietdial.agents.bundle.describe import Seen
from quietdial.agents.bundle.load import Bundle, load_bundle
from quietdial.agents.bundle.write import write_policy, write_rule
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.policy import Policy
from quietdial.agents.rules.base import Rule
from quietdial.envs.dialer_logs import RecordedDays, read_logs
from quietdial.envs.pacing.spec import observation_fields
from quietdial.envs.scenario import Scenario
from quietdial.experiments.simulate import simulate


def seen_of(observation: str = "full", n: int = 300) -> Seen:
    """Observations within the bounds, in place of simulated days; a wide envelope."""
    rng = np.random.default_rng(7)
    fields: Any = observation_fields(observation)  # type: ignore[arg-type]
    low = np.array([f.low for f in fields], np.float32)
    high = np.array([f.high for f in fields], np.float32)
    obs = rng.uniform(low, high, (n, len(low))).astype(np.float32).clip(low, high)
    return Seen(obs, (1.0, 50.0), (0.01, 0.99), (100.0, 200.0))


@pytest.fixture
def bundle_of(tmp_path: Path) -> Callable[[Policy, Scenario], Bundle]:
    """Write a policy or rule as a bundle, and load it."""

    def write(policy: Any, scenario: Scenario) -> Bundle:
        out = tmp_path / f"bundle-{policy.name}"
        if isinstance(policy, LearnedPolicy):
            seen = seen_of(policy.observation)
            folder = write_policy(policy, scenario, out, seen=seen, vectors=100)
        else:
            rule: Rule = policy
            folder = write_rule(rule, scenario, out, seen=seen_of())
        return load_bundle(folder, unsigned=True)

    return write


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., RecordedDays]:
    """Play days with a policy, record them, and read the records."""

    def play(policy: Policy, scenario: Scenario, **options: Any) -> RecordedDays:
        folder = tmp_path / "records"
        simulate(policy, scenario, records=folder, **options)
        return read_logs(folder)

    return play
