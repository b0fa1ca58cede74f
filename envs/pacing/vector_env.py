"""The vector environment: many campaigns in one compiled call, `gymnasium.vector.VectorEnv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.env import PacingEnv
from quietdial.envs.pacing.params import Knowledge
from quietdial.envs.pacing.raster import frame_rgb
from quietdial.envs.pacing.screen import Screen
from quietdial.envs.pacing.spec import Action, Field
from quietdial.envs.pacing.state import overwrite
from quietdial.envs.pacing.viewer import check_render_mode, frame
from quietdial.envs.pacing.world import Bools, World
from quietdial.envs.scenario import Scenario


class Campaigns(Protocol):
    """What a vector environment needs of the campaigns that it plays, see `World`."""

    action: Action
    fields: tuple[Field, ...]
    observation_space: Box[np.float32]
    action_space: Discrete[np.int64] | Box[np.float32]

    def get_state(self) -> dict[str, NDArray[Any]]:
        """All that changes with time, as arrays by name."""
        ...

    def set_state(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from such arrays."""
        ...

    def begin(self, which: Bools, seeds: Sequence[int] | None = None) -> None:
        """Start episodes in the rows of `which`."""
        ...

    def step(self, actions: NDArray[Any], active: Bools) -> NDArray[np.float64]:
        """Play one decision interval of the active rows; (B, 6)."""
        ...

    def observe(self) -> NDArray[np.float32]:
        """Observations of all rows, (B, F)."""
        ...

    def set_base_thetas(self, thetas: NDArray[np.float64]) -> None:
        """Give every row's base rule its threshold, (B,), until its episode ends."""
        ...

    def totals(self) -> dict[str, NDArray[np.float64]]:
        """Running totals of every row's episode, each (B,)."""
        ...

    def action_masks(self) -> Bools:
        """Which actions are possible now, (B, n)."""
        ...

    def privileged(self) -> NDArray[np.float64]:
        """Hidden truth of every row, (B, P)."""
        ...


class CampaignsVectorEnv(VectorEnv[NDArray[np.float32], Any, Any]):
    """Gymnasium's vector environment around any batch of campaigns.

    Args:
        campaigns: what is played.
        num_envs: B, the number of campaigns.
        autoreset_mode: what happens after the end of an episode.
        privileged: put hidden truth into `info["privileged"]`, (num_envs, P) float64.
    """

    def __init__(
        self,
        campaigns: Campaigns,
        num_envs: int,
        *,
        autoreset_mode: AutoresetMode,
        privileged: bool = False,
    ) -> None:
        self._campaigns = campaigns
        self.num_envs = num_envs
        self.render_mode = None
        self._privileged = privileged
        self.metadata = PacingEnv.metadata | {"autoreset_mode": autoreset_mode}
        self.autoreset_mode = autoreset_mode
        self.single_observation_space = campaigns.observation_space
        self.single_action_space = campaigns.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._ended = np.ones(num_envs, np.bool_)
        self._begun = False
        self._seeded = False

    @property
    def action_kind(self) -> str:
        """Name of the action kind."""
        return self._campaigns.action.name

    @property
    def observation_spec(self) -> tuple[Field, ...]:
        """The fields of one observation, in order."""
        return self._campaigns.fields

    def set_base_thetas(self, thetas: NDArray[np.float64]) -> NDArray[np.float32]:
        """Give every row's base rule a threshold of its own, until its episode ends.

        Args:
            thetas: (num_envs,), each in (0, 1].

        Returns:
            The observations with the new base, (num_envs, F) float32.

        Raises:
            ConfigError: the action has no base rule, or a threshold is out of range.
        """
        self._campaigns.set_base_thetas(thetas)
        return self._campaigns.observe()

    def totals(self) -> dict[str, NDArray[np.float64]]:
        """Running totals of every row's episode, each (num_envs,)."""
        return self._campaigns.totals()

    def get_state(self) -> dict[str, NDArray[Any]]:
        """All that changes with time, as arrays by name: those of the campaigns, and `ended` (B,).

        The arrays are the environment's own: write them out, or copy what must outlive the next
        step. There is none before the first reset (`ResetNeeded`).
        """
        if not self._begun:
            raise ResetNeeded("call reset() before get_state()")
        return {**self._campaigns.get_state(), "ended": self._ended}

    def set_state(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on, in place of a reset, as the environment did that gave `arrays`.

        The next steps are the same, bit for bit, as those of an environment with the same settings
        from which :meth:`get_state` took `arrays`. The observation of now is not among them: keep
        the last one.

        Raises:
            ConfigError: `arrays` are not those of such an environment.
        """
        arrays = dict(arrays)
        ended = arrays.pop("ended", np.zeros(0))
        overwrite({"ended": self._ended}, {"ended": ended})
        self._campaigns.set_state(arrays)
        self._begun = self._seeded = True

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode in every row, or in those of `options["reset_mask"]` (bool, (B,))."""
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        if options:
            raise ConfigError(f"reset options {sorted(options)} are not known; use reset_mask")
        which = (
            np.ones(self.num_envs, np.bool_) if mask is None else checked_mask(mask, self.num_envs)
        )
        if not self._begun and not which.all():
            raise ResetNeeded("reset every row once before resetting some of them")
        if not isinstance(seed, int | np.integer | list | tuple | np.ndarray | None):
            raise ConfigError(f"seed = {seed!r} must be a whole number, a list of them, or None")
        base = seed if isinstance(seed, int | np.integer) else None
        super().reset(seed=None if base is None else int(base))
        if seed is None and not self._seeded:
            base = int(self.np_random.integers(2**63))
        if base is not None:
            self._campaigns.begin(which, [int(base) + i for i in range(self.num_envs)])
        elif seed is None:
            self._campaigns.begin(which)
        else:
            self._begin_list(which, seed)  # type: ignore[arg-type]
        self._seeded = True
        self._begun = True
        self._ended[which] = False
        return self._campaigns.observe(), self._info(np.zeros((self.num_envs, 6)), which)

    def _begin_list(self, which: Bools, seeds: Sequence[int | None]) -> None:
        if len(seeds) != self.num_envs:
            raise ConfigError(f"seed has {len(seeds)} entries but there are {self.num_envs} rows")
        if any(s is not None and s < 0 for s in seeds):
            raise ConfigError(f"seed = {list(seeds)} must hold whole numbers >= 0, or None")
        given = np.array([s is not None for s in seeds]) & which
        if np.any(given):
            self._campaigns.begin(given, [0 if s is None else int(s) for s in seeds])
        if np.any(which & ~given):
            self._campaigns.begin(which & ~given)

    def step(
        self, actions: Any
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        """Play one decision interval of every row."""
        if not self._begun:
            raise ResetNeeded("call reset() before step()")
        actions = checked_actions(actions, self._campaigns.action_space, self.num_envs)
        self._show()
        terminated = np.zeros(self.num_envs, np.bool_)
        ended = self._ended
        if ended.any():
            if self.autoreset_mode is AutoresetMode.DISABLED:
                raise ResetNeeded("rows have ended; reset them with options={'reset_mask': ...}")
            self._campaigns.begin(ended)
        out = self._campaigns.step(actions, ~ended)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            return self._same_step(out, terminated)
        truncated = out[:, 4] > 0
        everywhere = np.ones(self.num_envs, np.bool_)
        self._ended = truncated.copy()
        return (
            self._campaigns.observe(),
            out[:, 0] + out[:, 1],
            terminated,
            truncated,
            self._info(out, everywhere),
        )

    def _same_step(
        self, out: NDArray[np.float64], terminated: Bools
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        truncated = out[:, 4] > 0
        everywhere = np.ones(self.num_envs, np.bool_)
        reward = out[:, 0] + out[:, 1]
        self._ended = np.zeros(self.num_envs, np.bool_)
        if not truncated.any():
            return (
                self._campaigns.observe(),
                reward,
                terminated,
                truncated,
                self._info(out, everywhere),
            )
        last = self._campaigns.observe()
        final_info = self._info(out, truncated.copy())
        final_obs = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(truncated):
            final_obs[row] = last[row].copy()
        self._campaigns.begin(truncated)
        fresh = out.copy()
        fresh[truncated] = 0.0
        info = self._info(fresh, everywhere)
        info["final_obs"] = final_obs
        info["_final_obs"] = truncated.copy()
        info["final_info"] = final_info
        info["_final_info"] = truncated.copy()
        return self._campaigns.observe(), reward, terminated, truncated, info

    def _info(self, out: NDArray[np.float64], mask: Bools) -> dict[str, Any]:
        info: dict[str, Any] = {
            "cost": out[:, 2].copy(),
            "_cost": mask,
            "answered": out[:, 3].copy(),
            "_answered": mask,
            "harm": out[:, 5].copy(),
            "_harm": mask,
            "reward_terms": {
                "idle": out[:, 0].copy(),
                "_idle": mask,
                "silent": out[:, 1].copy(),
                "_silent": mask,
            },
            "_reward_terms": mask,
            "totals": self._masked_totals(mask),
            "_totals": mask,
        }
        if self._privileged:
            info |= {"privileged": self._campaigns.privileged(), "_privileged": mask}
        return info if mask.all() else _blanked(info, mask)

    def _masked_totals(self, mask: Bools) -> dict[str, Any]:
        totals: dict[str, Any] = {}
        for name, value in self._campaigns.totals().items():
            totals[name] = value
            totals["_" + name] = mask
        return totals

    def action_masks(self) -> Bools:
        """Which actions are possible now, (num_envs, n) bool; see `World.action_masks`."""
        return self._campaigns.action_masks()

    def _show(self) -> None:
        """Draw the floor before a step, where there is something to draw on."""


class PacingVectorEnv(CampaignsVectorEnv):
    """`num_envs` campaigns of one scenario; spaces, reward and info as in `PacingEnv`.

    Row i of `reset(seed=s)` plays the world of the scalar environment's `reset(seed=s + i)`, bit
    for bit; a list gives one seed for each row. Every array that comes back is fresh. Info entries
    are (num_envs,) arrays with Gymnasium's `_name` masks. All three autoreset modes are supported.

    Args:
        num_envs: number of campaigns, at least 1.
        scenario: preset name, path of a YAML file, or a `Scenario`.
        observation: observation set; None: the scenario's.
        action: action kind; None: the scenario's.
        silent_penalty: reward weight of a silent call [agent-seconds].
        base_theta: threshold of the rule below residual actions.
        controller: name of the controller that the action `controller` sets, see `World`.
        settings: settings of the controller by name.
        knob: the setting that the action sets.
        knowledge: what the look-ahead goes by, see `World`.
        shield: limit on the dials of any policy, its settings by name or its kind, see `World`.
        start: "open" or "random" (training inside the day).
        horizon_s: longest training episode [s]; None: the whole window.
        autoreset_mode: what happens after the end of an episode.
        privileged: put hidden truth into `info["privileged"]`, (num_envs, P) float64.
        threads: threads that play the rows side by side, see `World`; the bits are the same.
        render_mode: "ansi", "rgb_array" (both give a tuple with one entry for each row), "human"
            (the first row in the terminal) or None.
    """

    def __init__(
        self,
        num_envs: int = 1,
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
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        privileged: bool = False,
        threads: int = 1,
        render_mode: str | None = None,
    ) -> None:
        if not isinstance(autoreset_mode, AutoresetMode):
            raise ConfigError(
                f"autoreset_mode = {autoreset_mode!r} must be an AutoresetMode member"
            )
        check_render_mode(render_mode)
        self.world = World(
            num_envs,
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
            threads=threads,
        )
        super().__init__(self.world, num_envs, autoreset_mode=autoreset_mode, privileged=privileged)
        self.render_mode = render_mode
        self._screen: Screen | None = None

    @property
    def scenario(self) -> Scenario:
        """The scenario that is played."""
        return self.world.scenario

    def render(self) -> tuple[Any, ...] | None:
        """Every floor: str for "ansi", (H, W, 3) uint8 for "rgb_array"; None otherwise."""
        if self.render_mode not in ("ansi", "rgb_array"):
            return None
        draw = frame if self.render_mode == "ansi" else frame_rgb
        return tuple(draw(self.world, row) for row in range(self.num_envs))

    def _show(self) -> None:
        if self.render_mode == "human":
            if self._screen is None:
                self._screen = Screen()
            self._screen.draw(self.world, 0, force=bool(self._ended[0]))

    def close_extras(self, **kwargs: Any) -> None:
        """Give the terminal back."""
        if self._screen is not None:
            self._screen.close()
            self._screen = None


def checked_mask(given: Any, n_rows: int) -> Bools:
    """A copy of a reset mask, (B,) bool with a True in it; ConfigError if it is none."""
    mask: Bools = np.asarray(given)
    if mask.dtype != np.bool_ or mask.shape != (n_rows,) or not mask.any():
        raise ConfigError(f"reset_mask must be a bool array of shape ({n_rows},) with a True in it")
    return mask.copy()


def checked_actions(
    given: Any, space: Discrete[np.int64] | Box[np.float32], n_rows: int
) -> NDArray[Any]:
    """One action of the space for each row, as an array; InvalidAction if they are not that."""
    actions: NDArray[Any] = np.asarray(given)
    if actions.shape != (n_rows, *(space.shape or ())):
        raise InvalidAction(
            f"actions of shape {actions.shape} must have shape {(n_rows, *(space.shape or ()))}"
        )
    high = int(space.n) - 1 if isinstance(space, Discrete) else float(space.high[0])
    whole = actions.dtype.kind in "iu" or isinstance(space, Box)
    if not (whole and np.all(actions >= 0) and np.all(actions <= high)):
        raise InvalidAction(f"every action must lie in {space}")
    return actions


def _blanked(info: dict[str, Any], mask: Bools) -> dict[str, Any]:
    """Zeros in the rows that the mask leaves out, as Gymnasium's own vector environments have."""
    return {
        key: value
        if key.startswith("_")
        else _blanked(value, mask)
        if isinstance(value, dict)
        else np.where(mask.reshape(-1, *[1] * (value.ndim - 1)), value, 0.0)
        for key, value in info.items()
    }
