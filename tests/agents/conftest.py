"""Small worlds and policies for the tests of agents."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from quietdial.agents.learned_policy import Layer, LearnedPolicy, Memory
from quietdial.agents.policy import LearnedAction, PolicySpec
from quietdial.envs.pacing.spec import Field, observation_fields
from quietdial.envs.scenario import Scenario, load_scenario


class CountingEnv:
    """A vector environment whose every number can be worked out by hand.

    Observation: the row and the step within the episode. Step t of an episode costs one silent call
    if the action is 1; ten calls are answered; the reward is -0.5. Row i ends after 3 + i steps. A
    new episode begins with 100 answered calls in its totals.
    """

    def __init__(self, num_envs: int = 2, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> None:
        self.num_envs = num_envs
        self.metadata: dict[str, Any] = {"autoreset_mode": mode}
        self.render_mode = None
        self.single_observation_space = spaces.Box(0.0, 1000.0, (2,), np.float32)
        self.single_action_space = spaces.Discrete(2)
        self.observation_spec = (
            Field("row", "1", 0, 1000, "row"),
            Field("step", "1", 0, 1000, "step"),
        )
        self.closed = False
        self.seeds: list[Any] = []
        self._t = np.zeros(num_envs, np.int64)
        self._totals = {name: np.zeros(num_envs) for name in ("answered", "silent", "talk_s")}

    def _begin(self, rows: Any) -> None:
        self._t[rows] = 0
        for values in self._totals.values():
            values[rows] = 0.0
        self._totals["answered"][rows] = 100.0

    def _observe(self) -> Any:
        return np.stack([np.arange(self.num_envs), self._t], axis=1).astype(np.float32)

    def totals(self) -> dict[str, Any]:
        return {name: values.copy() for name, values in self._totals.items()}

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.seeds.append(seed)
        self._begin(slice(None))
        return self._observe(), {}

    def step(self, actions: Any) -> Any:
        self._t += 1
        cost = (np.asarray(actions) == 1).astype(np.float64)
        answered = np.full(self.num_envs, 10.0)
        self._totals["answered"] += answered
        self._totals["silent"] += cost
        self._totals["talk_s"] += 7.0
        reward = np.full(self.num_envs, -0.5)
        truncated = self._t >= 3 + np.arange(self.num_envs)
        infos: dict[str, Any] = {"cost": cost.copy(), "answered": answered.copy()}
        if truncated.any():
            obs, final_obs = self._observe(), np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(truncated):
                final_obs[i] = obs[i].copy()
            infos["final_obs"] = final_obs
            infos["final_info"] = {
                "cost": cost.copy(),
                "answered": answered.copy(),
                "totals": self.totals(),
            }
            infos["cost"][truncated] = 0.0
            infos["answered"][truncated] = 0.0
            self._begin(truncated)
        terminated = np.zeros(self.num_envs, np.bool_)
        return self._observe(), reward, terminated, truncated, infos

    def action_masks(self) -> Any:
        return np.ones((self.num_envs, 2), np.bool_)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def counting_env() -> Callable[..., CountingEnv]:
    """Make a vector environment with numbers worked out by hand."""
    return CountingEnv


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    """A small world: ten agents, known stationary answer rate."""
    return load_scenario("study-stat-10")


@pytest.fixture(scope="session")
def make_policy(scenario: Scenario) -> Callable[..., LearnedPolicy]:
    """Make a learned policy with random weights."""

    def make(
        action: LearnedAction = "residual",
        *,
        seed: int = 0,
        hidden: int = 16,
        memory: int = 0,
        priced: bool = False,
        deployed: Any = "argmax",
    ) -> Any:
        fields = observation_fields("full")
        n_actions = {
            "residual": 6,
            "residual_choice": 24,
            "threshold": 13,
            "theta": 1,
            "vicidial_level": 13,
        }
        spec = PolicySpec.of(
            scenario,
            observation="full",
            action=action,
            fields=fields,
            n_actions=n_actions.get(action, scenario.max_dials + 1),
            theta_range=(0.002, 0.2) if action == "theta" else None,
            conditioned=(50.0, 500.0) if priced else None,
        )
        rng = np.random.default_rng(seed)

        def some(*shape: int, scale: float = 0.3) -> Any:
            return rng.normal(0, scale, shape).astype(np.float32).astype(np.float64)

        sizes = [memory or spec.n_inputs, hidden, hidden, spec.n_actions]
        layers = [Layer(some(a, b, scale=a**-0.5), some(b)) for a, b in itertools.pairwise(sizes)]
        recall = None
        if memory:
            inward = some(spec.n_inputs, 4 * memory, scale=spec.n_inputs**-0.5)
            recall = Memory(inward, some(memory, 4 * memory), some(4 * memory))
        return LearnedPolicy(
            tuple(layers),
            spec,
            training={"step": 7, "config": {"seed": seed}},
            multiplier=100.0 if priced else None,
            deployed=deployed,
            memory=recall,
        )

    return make
