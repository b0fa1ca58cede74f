"""A batch of campaigns with random actions, every step of it checked in every way we know.

Checked at each step: `envs.testing.check_step` (conservation of agents, calls, people and callers,
lines, totals that never fall, the observation in its space), `envs.testing_log` (hard rules, order,
causes, windows, totals against the log: Little's law and the utilisation law hold exactly, because
the times of all calls and agents add up to the totals), the observation against its numpy twin,
rows that are not played stay as they are, and a plain world has the same bits in both kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from quietdial.envs.pacing import control, features
from quietdial.envs.pacing.state import BEGAN, DONE, NOW
from quietdial.envs.pacing.twin import observe_twin
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario
from quietdial.envs.testing import ContractError, check_step
from quietdial.envs.testing_log import LogCheck

__all__ = ["Player"]

Bools = NDArray[np.bool_]
_CLOSE = 1e-9


class Player:
    """Plays one world and checks it; every failed check raises `ContractError`.

    Args:
        scenario: the world.
        rows: campaigns.
        action: kind of the actions.
        start: "open" or "random", as in `World`.
        observation: set of observations.
    """

    def __init__(
        self,
        scenario: Scenario,
        rows: int,
        action: str = "dials",
        start: str = "open",
        observation: str = "full",
    ) -> None:
        kind: dict[str, Any] = {"observation": observation, "action": action, "start": start}
        self.worlds = [World(rows, scenario, records=True, **kind)]
        plain = World(rows, scenario, **kind)
        if not plain.is_full:
            self.worlds.append(plain)
        self.rows = rows
        self.log = LogCheck(self.worlds[0])
        self.number = 0
        self.over = np.zeros(rows, np.bool_)
        self._totals: list[dict[str, NDArray[np.float64]] | None] = [None] * len(self.worlds)
        self._code = features.SET_CODES[observation]
        self._ends_s = np.zeros(rows)

    def begin(self, which: Bools, seeds: list[int] | None = None) -> None:
        """Start episodes in the rows of `which` (B,), with seeds or as the next campaigns."""
        for world in self.worlds:
            world.begin(which, seeds)
        self.log.begin(which)
        self.over[which] = False
        nothing = np.zeros((self.rows, 6))
        for i, world in enumerate(self.worlds):
            fresh = check_step(world, nothing, None, which, self.number)
            self._totals[i] = fresh
        self._finish(nothing)

    def play(self, steps: int, seed: int, which: Bools | None = None, style: str = "all") -> None:
        """Play so many decisions of the rows of `which` with random actions of their own."""
        rng = np.random.default_rng(seed)
        for _ in range(steps):
            active = ~self.over if which is None else which & ~self.over
            if not active.any():
                return
            self._step(self._actions(rng, style), active)

    def _actions(self, rng: np.random.Generator, style: str) -> NDArray[Any]:
        space: Any = self.worlds[0].action_space
        shape = (self.rows, *(space.shape or ()))
        if isinstance(space, Discrete):
            most = int(space.n)
            few = max(2, most // 2)
            high = most if style == "all" else min(few, most)
            actions: NDArray[Any] = rng.integers(0, high, shape)
        else:
            actions = (rng.random(shape) * (1.0 if style == "few" else 4.0)).astype(np.float32)
            actions = np.minimum(actions, space.high)
        if style == "bursts":
            actions = np.where(rng.random(shape) < 0.8, np.zeros_like(actions), actions)
        return actions

    def _step(self, actions: NDArray[Any], active: Bools) -> None:
        self.number += 1
        asleep = np.flatnonzero(~active)
        state: Any = self.worlds[0].state
        before = [array[asleep].copy() for array in state]
        clock = self.worlds[0].clock_s()
        outs = []
        for i, world in enumerate(self.worlds):
            out = world.step(actions, active)
            self._totals[i] = check_step(world, out, self._totals[i], active, self.number)
            outs.append(out)
        if not (self.worlds[0].clock_s()[active] > clock[active]).all():
            raise ContractError(f"step {self.number}: the clock stands still")
        for name, array, old in zip(state._fields, state, before, strict=True):
            # in `est` and `head` every observation refreshes the outlook and the base
            if name not in ("est", "head") and not np.array_equal(array[asleep], old):
                raise ContractError(f"step {self.number}: {name} of a row that was not played")
        self._finish(outs[0], outs[-1])
        self.over |= active & (outs[0][:, 4] > 0)

    def _finish(self, out: NDArray[np.float64], other: NDArray[np.float64] | None = None) -> None:
        self.log.check(self.number)
        world = self.worlds[0]
        residual = world.action.kind == control.RESIDUAL
        seen = world.observe()
        twin = observe_twin(world.state, world.params, self._code, residual)
        if seen.tobytes() != twin.tobytes():
            raise ContractError(f"step {self.number}: the observation is not that of its twin")
        if other is None or len(self.worlds) == 1:
            return
        plain = self.worlds[1]
        running = plain.state.head[:, DONE] == 0  # the windows of a full world end with it
        full_totals = world.totals()
        differ = {
            "observation": (plain.observe()[running] != seen[running]).any(),
            "step": (out[:, :5] != other[:, :5]).any(),
            "harm": (np.abs(out[:, 5] - other[:, 5]) > _CLOSE).any(),
            "clock": (plain.state.head[:, NOW] != world.state.head[:, NOW]).any(),
            "begin": (plain.state.head[:, BEGAN] != world.state.head[:, BEGAN]).any(),
        }
        differ |= {n: (full_totals[n] != v).any() for n, v in plain.totals().items()}
        if any(differ.values()):
            names = [name for name, differs in differ.items() if differs]
            raise ContractError(f"step {self.number}: the two kernels differ in {names}")
