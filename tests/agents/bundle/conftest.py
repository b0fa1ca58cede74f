"""Bundles of small policies, and what an attacker can do to one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietdial.agents.bundle.describe import Seen
from quietdial.agents.bundle.write import Origin, write_policy
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.envs.scenario import Scenario

FIGURE = {"unit": "1", "lo": 0.02, "hi": 0.03, "n": 8, "note": ""}


def seen_of(policy: LearnedPolicy, n: int = 300) -> Seen:
    """Observations within the bounds, in place of simulated days."""
    rng = np.random.default_rng(7)
    low = np.array([f.low for f in policy.spec.features], np.float32)
    high = np.array([f.high for f in policy.spec.features], np.float32)
    obs = rng.uniform(low, high, (n, len(low))).astype(np.float32).clip(low, high)
    return Seen(obs, (5.0, 10.0), (0.2, 0.4), (100.0, 200.0))


@pytest.fixture(scope="session")
def bundled(scenario: Scenario) -> Callable[..., Path]:
    """Write a policy as a bundle, quickly."""

    def write(policy: LearnedPolicy, out: Path, **changes: Any) -> Path:
        figures = [{"name": f"{policy.name}/silent_rate", "value": 0.025, **FIGURE}]
        asked: dict[str, Any] = {
            "seen": seen_of(policy),
            "origin": Origin({"run": "one"}, {"figures": figures}),
            "vectors": 500,
        }
        return write_policy(policy, scenario, out, **{**asked, **changes})

    return write


@pytest.fixture(scope="session")
def residual(
    bundled: Callable[..., Path],
    make_policy: Callable[..., LearnedPolicy],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The bundle of a residual policy."""
    return bundled(make_policy(), tmp_path_factory.mktemp("residual") / "bundle")
