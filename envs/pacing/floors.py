"""Many floors in one batch: campaigns of several scenarios side by side, for one policy to learn.

The rows of a batch are grouped by scenario, and each group is a `World` of its own, so a row plays
the same, bit for bit, whatever stands beside it. A step costs about 20 microseconds for each group
beside the time of its rows: prefer few groups with many rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.params import Knowledge
from quietdial.envs.pacing.state import overwrite
from quietdial.envs.pacing.vector_env import CampaignsVectorEnv
from quietdial.envs.pacing.world import Bools, World
from quietdial.envs.scenario import Scenario, load_scenario


class Floors:
    """Worlds of several scenarios as one batch: what a vector environment plays.

    Args:
        worlds: the groups of rows, in order; at least one.

    Raises:
        ConfigError: worlds whose actions or decision intervals differ cannot stand in one batch.
    """

    def __init__(self, worlds: Sequence[World]) -> None:
        first = worlds[0]
        for other in worlds:
            _check_fits(first, other)
        ends = np.cumsum([world.n_campaigns for world in worlds])
        self.worlds = tuple(worlds)
        self.rows = tuple(
            slice(int(end) - world.n_campaigns, int(end))
            for end, world in zip(ends, worlds, strict=True)
        )
        """The rows of each world."""
        self.n_campaigns = int(ends[-1])
        self.action = first.action
        self.fields = first.fields
        self.observation_space = first.observation_space
        self.action_space = first.action_space
        names = [set(world.totals()) for world in worlds]
        self._total_names = [name for name in first.totals() if all(name in its for its in names)]

    def get_state(self) -> dict[str, NDArray[Any]]:
        """All that changes with time: the arrays of world i as `i.name`; see `World.get_state`."""
        return {
            f"{i}.{name}": array
            for i, world in enumerate(self.worlds)
            for name, array in world.get_state().items()
        }

    def set_state(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from arrays that :meth:`get_state` gave; see `World.set_state`."""
        overwrite(self.get_state(), arrays)

    def begin(self, which: Bools, seeds: Sequence[int] | None = None) -> None:
        """Start episodes in the rows of `which` (B,); see `World.begin`."""
        for world, rows in zip(self.worlds, self.rows, strict=True):
            its = which[rows]
            if its.any():
                world.begin(its, None if seeds is None else seeds[rows])

    def step(self, actions: NDArray[Any], active: Bools) -> NDArray[np.float64]:
        """Play one decision interval of the active rows; (B, 6) float64, see `World.step`."""
        return np.concatenate(
            [
                world.step(actions[rows], active[rows])
                for world, rows in zip(self.worlds, self.rows, strict=True)
            ]
        )

    def observe(self) -> NDArray[np.float32]:
        """Observations of all rows, (B, F) float32, a fresh array."""
        return np.concatenate([world.observe() for world in self.worlds])

    def set_base_thetas(self, thetas: NDArray[np.float64]) -> None:
        """Give every row's base rule its threshold, (B,); see `World.set_base_thetas`."""
        for world, rows in zip(self.worlds, self.rows, strict=True):
            world.set_base_thetas(thetas[rows])

    def totals(self) -> dict[str, NDArray[np.float64]]:
        """Running totals of every row's episode that all worlds count, each (B,) and fresh."""
        found = [world.totals() for world in self.worlds]
        return {name: np.concatenate([its[name] for its in found]) for name in self._total_names}

    def action_masks(self) -> Bools:
        """Which actions are possible now, (B, n) bool; see `World.action_masks`."""
        return np.concatenate([world.action_masks() for world in self.worlds])

    def privileged(self) -> NDArray[np.float64]:
        """Hidden truth of every row, (B, P) float64; see `World.privileged`."""
        return np.concatenate([world.privileged() for world in self.worlds])


class FloorsVectorEnv(CampaignsVectorEnv):
    """`num_envs` campaigns of several scenarios; spaces, reward and info as in `PacingVectorEnv`.

    Rows are shared out evenly among the scenarios, in their order: of 10 rows and 4 scenarios the
    first two have 3 each, the others 2. Row i of `reset(seed=s)` plays its scenario's world of the
    scalar environment's `reset(seed=s + i)`, bit for bit. `totals` are those that all groups count:
    worlds that need the full kernel have further ones, which appear only if all of them do.

    Args:
        num_envs: number of campaigns, at least one for each scenario.
        scenarios: preset names, paths of YAML files, or `Scenario`s; one may occur more than once.
        observation: observation set of all rows; None: the first scenario's.
        action: action kind of all rows; None: the first scenario's. It must have the same space in
            every scenario, so `dials` needs floors with the same most calls of a decision.
        silent_penalty: reward weight of a silent call [agent-seconds].
        base_theta: threshold of the rule below residual actions, of all rows or of each scenario.
        knowledge: what the look-ahead goes by, see `World`.
        start: "open" or "random" (training inside the day).
        horizon_s: longest training episode [s], cut to the window of each scenario; None: the whole
            window.
        autoreset_mode: what happens after the end of an episode; learners need SAME_STEP.
        privileged: put hidden truth into `info["privileged"]`, (num_envs, P) float64.

    Raises:
        ConfigError: no scenario, fewer rows than scenarios, or scenarios that do not fit one batch.
    """

    def __init__(
        self,
        num_envs: int,
        scenarios: Sequence[str | Scenario],
        *,
        observation: str | None = None,
        action: str | None = None,
        silent_penalty: float = 150.0,
        base_theta: float | Sequence[float] = 0.02,
        knowledge: Knowledge = "believed",
        start: str = "open",
        horizon_s: float | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        privileged: bool = False,
    ) -> None:
        sizes = _shares(num_envs, scenarios)
        self.scenarios = tuple(load_scenario(scenario) for scenario in scenarios)
        """The scenario of each group of rows."""
        thetas = list(base_theta) if isinstance(base_theta, Sequence) else [base_theta] * len(sizes)
        if len(thetas) != len(sizes):
            raise ConfigError(
                f"base_theta has {len(thetas)} entries but there are {len(sizes)} scenarios"
            )
        first = self.scenarios[0]
        self.floors = Floors(
            [
                World(
                    size,
                    scenario,
                    observation=observation or first.observation,
                    action=action or first.action,
                    silent_penalty=silent_penalty,
                    base_theta=theta,
                    knowledge=knowledge,
                    start=start,
                    horizon_s=horizon_s and min(horizon_s, scenario.episode.duration_s),
                )
                for size, scenario, theta in zip(sizes, self.scenarios, thetas, strict=True)
            ]
        )
        super().__init__(
            self.floors, num_envs, autoreset_mode=autoreset_mode, privileged=privileged
        )

    @property
    def rows(self) -> tuple[slice, ...]:
        """The rows of each scenario."""
        return self.floors.rows

    @property
    def n_agents_by_row(self) -> NDArray[np.int64]:
        """Agents of every row's floor, (B,)."""
        return self._by_row(lambda scenario: scenario.floor.n_agents).astype(np.int64)

    @property
    def caps_by_row(self) -> NDArray[np.float64]:
        """Allowed silent / answered of every row's rule, (B,)."""
        return self._by_row(lambda scenario: scenario.rule.cap)

    def _by_row(self, number: Callable[[Scenario], float]) -> NDArray[np.float64]:
        return np.repeat(
            [float(number(scenario)) for scenario in self.scenarios],
            [rows.stop - rows.start for rows in self.rows],
        )


def _shares(num_envs: int, scenarios: Sequence[str | Scenario]) -> list[int]:
    """Rows of each scenario."""
    if isinstance(scenarios, str | Scenario) or not scenarios:
        raise ConfigError("scenarios must be a list with at least one scenario")
    n = len(scenarios)
    if type(num_envs) is not int or num_envs < n:
        raise ConfigError(
            f"num_envs = {num_envs!r} must be a whole number, at least one for each of the "
            f"{n} scenarios"
        )
    return [num_envs // n + (i < num_envs % n) for i in range(n)]


def _check_fits(first: World, other: World) -> None:
    """ConfigError unless both can stand in one batch."""
    for what, its, here in (
        ("action spaces", first.action_space, other.action_space),
        (
            "decision intervals [s]",
            first.scenario.episode.decision_interval_s,
            other.scenario.episode.decision_interval_s,
        ),
    ):
        if its != here:
            raise ConfigError(
                f"scenarios {first.scenario.name!r} and {other.scenario.name!r} cannot stand in "
                f"one batch: the {what} differ ({its} and {here})"
            )
