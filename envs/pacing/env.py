"""The scalar environment: one campaign, `gymnasium.Env`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import spec
from quietdial.envs.pacing.params import Knowledge
from quietdial.envs.pacing.raster import frame_rgb
from quietdial.envs.pacing.screen import Screen
from quietdial.envs.pacing.viewer import RENDER_MODES, check_render_mode, frame
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario


class PacingEnv(gym.Env[NDArray[np.float32], Any]):  # noqa: D101 (made from the table, below)
    __doc__ = f"""One outbound campaign: how many calls to place now.

## Description

Agents talk, wrap up, take breaks and wait for calls; calls in flight are answered by a person, end
otherwise, or are still ringing. A person who answers while no agent is idle hears silence and is
cut at the rule's limit: a silent call. The policy decides at every decision interval. Time is
exact to the millisecond between decisions. The answer rate and the day's talk-time factor are
hidden; what the policy sees, a dialer can know.

{spec.describe()}

## Cost

`info["cost"]` counts the silent calls of a step. A constrained learner forms
cost - cap x answered itself; the scenario's rule holds the cap.

## Starting State

All agents idle at the opening, no calls in flight.

## Episode End

An episode is one compliance window (default 8 hours). Dialing stops `close_s` before its end, then
`truncated` is true; `terminated` never is.

## Arguments

As `quietdial.envs.pacing.world.World` without `records` and `full`; `privileged`: put hidden truth
into `info["privileged"]`; `render_mode`: "ansi" (text), "rgb_array" (picture), "human" (redrawn in
the terminal) or None.

## Version History

* v1: first version.
"""

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 4}

    def __init__(
        self,
        scenario: str | Scenario = "italy-50",
        *,
        observation: str | None = None,
        action: str | None = None,
        silent_penalty: float = 150.0,
        base_theta: float = 0.02,
        controller: str | None = None,
        settings: Mapping[str, float] | None = None,
        knob: str | None = None,
        knowledge: Knowledge = "believed",
        shield: Mapping[str, Any] | str | None = None,
        start: str = "open",
        horizon_s: float | None = None,
        privileged: bool = False,
        render_mode: str | None = None,
    ) -> None:
        check_render_mode(render_mode)
        self.world = World(
            1,
            scenario,
            observation=observation,
            action=action,
            silent_penalty=silent_penalty,
            base_theta=base_theta,
            controller=controller,
            settings=settings,
            knob=knob,
            knowledge=knowledge,
            shield=shield,
            start=start,
            horizon_s=horizon_s,
        )
        self.render_mode = render_mode
        self._privileged = privileged
        self._screen: Screen | None = None
        self.observation_space = self.world.observation_space
        self.action_space = self.world.action_space
        self._all = np.ones(1, np.bool_)
        self._running = False
        self._seeded = False

    @property
    def scenario(self) -> Scenario:
        """The scenario that is played."""
        return self.world.scenario

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode; with `seed` the world is that of campaign 0 of this seed.

        Without a seed the next campaign of the last seed is played. No options are known.
        """
        super().reset(seed=seed)
        if options:
            raise ConfigError(f"reset options {sorted(options)} are not known; none are")
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(2**63))
        self.world.begin(self._all, None if seed is None else [seed])
        self._seeded = True
        self._running = True
        if self.render_mode == "human":
            self._draw()
        return self.world.observe()[0], self._info(np.zeros(6))

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Play one decision interval; see the class for what comes back."""
        if not self._running:
            raise ResetNeeded("call reset() before step(): the episode has not begun or has ended")
        if not self.action_space.contains(action):
            raise InvalidAction(f"action {action!r} must lie in {self.action_space}")
        out = self.world.step(np.asarray(action)[None], self._all)[0]
        truncated = bool(out[4])
        self._running = not truncated
        reward = float(out[0] + out[1])
        if self.render_mode == "human":
            self._draw(force=truncated)
        return self.world.observe()[0], reward, False, truncated, self._info(out)

    def _info(self, out: NDArray[np.float64]) -> dict[str, Any]:
        info: dict[str, Any] = {
            "cost": float(out[2]),
            "answered": float(out[3]),
            "harm": float(out[5]),
            "reward_terms": {"idle": float(out[0]), "silent": float(out[1])},
            "totals": {name: float(value[0]) for name, value in self.world.totals().items()},
        }
        if self._privileged:
            info["privileged"] = self.world.privileged()[0]
        return info

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions are possible now, (n,) bool; see `World.action_masks`."""
        masks: NDArray[np.bool_] = self.world.action_masks()[0]
        return masks

    def render(self) -> Any:
        """The floor: a str for "ansi", (H, W, 3) uint8 for "rgb_array"; None otherwise."""
        if self.render_mode == "ansi":
            return frame(self.world, 0)
        if self.render_mode == "rgb_array":
            return frame_rgb(self.world, 0)
        return None

    def _draw(self, *, force: bool = False) -> None:
        if self._screen is None:
            self._screen = Screen()
        self._screen.draw(self.world, 0, force=force)

    def close(self) -> None:
        """Give the terminal back; may be called twice."""
        if self._screen is not None:
            self._screen.close()
            self._screen = None
