"""What a residual policy does at each decision of some test days, beside its base rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.policy import RESIDUAL_OFFSET, Policy
from quietdial.envs.pacing.insight import BY_RULE
from quietdial.envs.pacing.spec import N_RESIDUALS
from quietdial.envs.scenario import Scenario
from quietdial.experiments.evaluate import make_world, test_seeds


class Decision(NamedTuple):
    """One decision of all days, (D,) each.

    Attributes:
        base: calls that the base rule asks for.
        placed: calls that the policy places.
        choice: whom it dials: 0, or its choice among the leads (`residual_choice`).
        other: whether this is another decision than that of the rule, by number or choice.
    """

    base: NDArray[np.int64]
    placed: NDArray[np.int64]
    choice: NDArray[np.int64]
    other: NDArray[np.bool_]


def decisions_of(policy: Policy, scenario: Scenario, n_days: int) -> Iterator[Decision]:
    """Play the first `n_days` test days, decision by decision, to their end."""
    world = make_world(policy, scenario, n_days)
    everywhere = np.ones(n_days, np.bool_)
    world.begin(everywhere, [int(seed) for seed in test_seeds(n_days)])
    state: object | None = None
    over = False
    while not over:
        actions, state = policy.act(world.observe(), state)
        choice, residual = np.divmod(actions, N_RESIDUALS)
        base = world.base_dials()
        placed = np.clip(base + residual + RESIDUAL_OFFSET, 0, scenario.max_dials)
        other = placed != base
        if policy.action == "residual_choice":  # whom the rule dials makes it ask for more or less
            by_rule = choice == BY_RULE
            other = np.where(by_rule, residual + RESIDUAL_OFFSET != 0, other | (placed > 0))
        yield Decision(base, placed, choice, other)
        over = bool(world.step(actions, everywhere)[0, 4])
