"""The native vector environment as a stable-baselines3 ``VecEnv`` with a constrained reward.

The environment must reset within the ending step (``AutoresetMode.SAME_STEP``), as
stable-baselines3 expects. Nothing is done row by row except for rows whose episode ends.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from gymnasium import Space, Wrapper
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from quietdial.agents.policy import (
    FieldLike,
    log_multiplier,
    priced_theta,
    theta_of,
    weight_of_price,
)
from quietdial.envs.errors import ConfigError, MissingExtraError
from quietdial.envs.pacing.spec import PRIVILEGED
from quietdial.envs.pacing.state import overwrite

try:
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:  # pragma: no cover - tested in a bare environment
    raise MissingExtraError("stable-baselines3", "train", "training") from error


_ARRAYS: Final = ("_episodes", "_episode_return", "_episode_length", "last_excess")
_VALUES: Final = (
    "_silent",
    "_answered",
    "_reward",
    "_silent_share",
    "_allowed_share",
    "_steps",
    "_base",
    "_ended",
)
"""What changes with time in an adapter, beside its multiplier and the environment."""


N_TRUTHS: Final = len(PRIVILEGED) - 1
"""How many numbers of hidden truth a privileged critic sees."""


def truth_for_critic(
    privileged: NDArray[np.float64], n_agents: int | NDArray[np.int64]
) -> NDArray[np.float32]:
    """Hidden truth in the scale of the observations, float32 (B, `N_TRUTHS`).

    2 sqrt(p) - 1 with p the answer rate of now; the logarithm of the factor of talk times; 3 x the
    calls that will be answered within 5, 10, 20 s and at all / agents; 3 x the agents who will be
    free within 5, 10, 20 s / agents. People taken for machines so far are left out.

    Args:
        privileged: (B, P), as `info["privileged"]` has them.
        n_agents: agents of one campaign; one number, or one per row (B,).
    """
    p, talk = privileged[:, :1], privileged[:, 1:2]
    counts = 3.0 * privileged[:, 3:] / np.reshape(n_agents, (-1, 1))
    return np.hstack([2.0 * np.sqrt(p) - 1.0, np.log(talk), counts]).astype(np.float32)


class BatchedPacing(Protocol):
    """What the adapter needs of `PacingVectorEnv`."""

    num_envs: int
    metadata: dict[str, Any]

    @property
    def single_observation_space(self) -> Space[Any]:
        """Space of one campaign's observation."""
        ...

    @property
    def single_action_space(self) -> Space[Any]:
        """Space of one campaign's action."""
        ...

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start every campaign anew."""
        ...

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Advance every campaign by one decision."""
        ...

    def set_base_thetas(self, thetas: NDArray[np.float64]) -> NDArray[np.float32]:
        """Give every row's base rule a threshold, (B,); the observations with the new base."""
        ...

    @property
    def observation_spec(self) -> Iterable[FieldLike]:
        """The fields of one observation, in order."""
        ...

    def totals(self) -> Mapping[str, NDArray[np.float64]]:
        """Running totals of the episode, each (B,)."""
        ...

    def get_state(self) -> dict[str, NDArray[Any]]:
        """All that changes with time, as arrays by name."""
        ...

    def set_state(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from such arrays, in place of a reset."""
        ...

    def close(self) -> None:
        """Free what the environment holds."""
        ...


class SameStepVecEnv(VecEnv):
    """Adapt a batched pacing environment to stable-baselines3.

    The reward that the learner sees is::

        reward_scale * (reward - multiplier / (n_agents * interval) * (silent - cap * answered))

    where `interval` is the decision interval in seconds and `reward` is the environment's own
    reward, so that environment must be made with
    ``silent_penalty=0``.

    With `conditioned`, every episode of a row has a price of its own, log-uniform in that range,
    drawn from (seed, "multiplier", row, episode of the row), and log(price / 150) is the last
    number of the observation. With `priced_theta` the base rule of residual actions has a
    threshold by that price, see :func:`~quietdial.agents.policy.priced_theta`. The reward of such
    a row is multiplied by :func:`~quietdial.agents.policy.weight_of_price`: else the rows with the
    highest prices would be all that is learned from.

    With `theta_range`, the learner's action is a number in [-1, 1] and the environment's a
    threshold, see :func:`~quietdial.agents.policy.theta_of`.

    With `tells_critic` the last :data:`N_TRUTHS` numbers of the observation are hidden truth, see
    :func:`truth_for_critic`, which a policy has to keep from its actor.

    `last_excess` float32 (B,) is what the multiplier multiplies in the last step's reward, for
    learners that value reward and cost apart.

    The info of an ended row has ``terminal_observation``, ``TimeLimit.truncated`` and ``episode``;
    all other rows share one empty dict, which must not be written to.

    Args:
        env: a pacing vector environment in SAME_STEP mode.
        n_agents: agents of one campaign; one number, or one per row (B,).
        cap: silent rate that the constraint allows, fraction of answered; or one per row (B,).
        decision_interval_s: time between two decisions, seconds.
        multiplier: price of a silent call, agent-seconds; may be set at any time; one number, or
            one per row (B,).
        reward_scale: factor on the whole reward.
        theta_range: thresholds at -1 and 1 of a continuous action; none: actions as they are.
        conditioned: lowest and highest price of an episode, agent-seconds; none: `multiplier`.
        priced_theta: threshold of the base rule at 150 agent-seconds; none: that of the world,
            whatever the price.
        seed: of the prices of the episodes.
        tells_critic: hidden truth follows the observation; `env` must tell it in its infos.
    """

    def __init__(
        self,
        env: BatchedPacing,
        *,
        n_agents: int | NDArray[np.int64],
        cap: float | NDArray[np.float64],
        decision_interval_s: float = 1.0,
        multiplier: float | NDArray[np.float64] = 150.0,
        reward_scale: float = 0.05,
        theta_range: tuple[float, float] | None = None,
        conditioned: tuple[float, float] | None = None,
        priced_theta: float | None = None,
        seed: int = 0,
        tells_critic: bool = False,
    ) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ConfigError(
                f"autoreset mode = {mode!r}; stable-baselines3 needs AutoresetMode.SAME_STEP"
            )
        self.env = env
        self.n_agents = n_agents
        self.cap = cap
        self.decision_interval_s = decision_interval_s
        self.multiplier = multiplier
        self.reward_scale = reward_scale
        self.last_excess: NDArray[np.float32] = np.zeros(env.num_envs, np.float32)
        self.theta_range = theta_range
        self.conditioned = conditioned
        self._priced_theta = priced_theta
        self._price_seed = seed
        self._tells_critic = tells_critic
        self._episodes = np.zeros(env.num_envs, dtype=np.int64)
        self._nothing: dict[str, Any] = {}
        self._actions: NDArray[Any] | None = None
        self._started_s = time.perf_counter()
        n = env.num_envs
        self._episode_return = np.zeros(n)
        self._episode_length = np.zeros(n, dtype=np.int64)
        self._by_row = isinstance(n_agents, np.ndarray) or isinstance(cap, np.ndarray)
        self._silent = self._answered = self._reward = 0.0
        self._silent_share = self._allowed_share = 0.0
        self._steps = 0
        self._base: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        observations, actions = env.single_observation_space, env.single_action_space
        if conditioned is not None:
            if not isinstance(observations, Box):
                raise ConfigError(f"conditioned training needs a Box, not {observations}")
            low, high = (float(log_multiplier(price)) for price in conditioned)
            observations = Box(
                np.append(observations.low, np.float32(low)),
                np.append(observations.high, np.float32(high)),
                dtype=np.float32,
            )
        if tells_critic:
            if not isinstance(observations, Box):
                raise ConfigError(f"a privileged critic needs a Box, not {observations}")
            any_number = np.full(N_TRUTHS, np.inf, np.float32)
            observations = Box(
                np.append(observations.low, -any_number),
                np.append(observations.high, any_number),
                dtype=np.float32,
            )
        if theta_range is not None:
            actions = Box(-1.0, 1.0, (1,), np.float32)
        super().__init__(n, observations, actions)

    # ---------------------------------------------------------------------------- running

    def reset(self) -> NDArray[np.float32]:
        """Start every campaign anew, with the seeds of the last :meth:`seed` call if any."""
        seeds: list[int | None] | None = (
            self._seeds if any(seed is not None for seed in self._seeds) else None
        )
        options = self._options[0] or None
        obs, infos = self.env.reset(seed=seeds, options=options)
        self._reset_seeds()
        self._reset_options()
        self._episode_return[:] = 0.0
        self._episode_length[:] = 0
        self._started_s = time.perf_counter()
        self._start_window()
        if self.conditioned is not None:
            self.multiplier = np.zeros(self.num_envs)
            self._new_prices(range(self.num_envs))
            obs = self._priced(obs)
        return self._shown(np.asarray(obs), infos)

    def _priced(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The observation with every row's base rule at the threshold of its price."""
        if self._priced_theta is None:
            return obs
        return self.env.set_base_thetas(priced_theta(self._priced_theta, self.multiplier))

    def _new_prices(self, rows: Iterable[int]) -> None:
        """Draw the price of the episode that begins in each of these rows."""
        if self.conditioned is None or not isinstance(self.multiplier, np.ndarray):
            return
        low, high = self.conditioned
        for row in rows:
            key = [self._price_seed, *b"multiplier", row, int(self._episodes[row])]
            share = np.random.default_rng(key).random()
            self.multiplier[row] = low * (high / low) ** share
            self._episodes[row] += 1

    def _shown(self, obs: NDArray[np.float32], infos: dict[str, Any]) -> NDArray[np.float32]:
        """The observation with the episode's price and with the truth, if these are shown."""
        shown = [obs]
        if self.conditioned is not None:
            shown.append(log_multiplier(self.multiplier).astype(np.float32)[:, None])
        if self._tells_critic:
            shown.append(truth_for_critic(infos["privileged"], self.n_agents))
        return obs if len(shown) == 1 else np.hstack(shown)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for :meth:`step_wait`."""
        self._actions = actions if self.theta_range is None else theta_of(actions, self.theta_range)

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Advance every campaign by one decision.

        Returns:
            Observations float32 (B, F), constrained rewards float32 (B,), ended bool (B,), infos.
        """
        obs, reward, terminated, truncated, infos = self.env.step(self._actions)
        cost, answered = infos["cost"], infos["answered"]
        done = np.logical_or(terminated, truncated)
        any_done = bool(done.any())
        if any_done and "final_info" in infos:  # the top-level info of ended rows is the reset's
            final = infos["final_info"]
            cost = np.where(done, final["cost"], cost)
            answered = np.where(done, final["answered"], answered)
        unit = self.reward_scale / (self.n_agents * self.decision_interval_s)
        excess = unit * (cost - self.cap * answered)
        shaped = self.reward_scale * reward - self.multiplier * excess
        if self.conditioned is not None:
            shaped *= weight_of_price(self.multiplier)
        self.last_excess = excess.astype(np.float32)
        self._silent += float(cost.sum())
        self._answered += float(answered.sum())
        self._reward += float(reward.sum())
        if self._by_row:
            self._silent_share += float((cost / self.n_agents).sum())
            self._allowed_share += float((self.cap * answered / self.n_agents).sum())
        self._steps += self.num_envs
        self._episode_return += shaped
        self._episode_length += 1
        row_infos = [self._nothing] * self.num_envs
        if any_done:
            self._end_rows(done, terminated, infos, row_infos)
            obs = self._priced(obs)
        return self._shown(obs, infos), shaped.astype(np.float32), done, row_infos

    def _end_rows(
        self,
        done: NDArray[np.bool_],
        terminated: NDArray[np.bool_],
        infos: dict[str, Any],
        row_infos: list[dict[str, Any]],
    ) -> None:
        elapsed_s = time.perf_counter() - self._started_s
        ended = np.flatnonzero(done).tolist()
        last = {i: np.asarray(infos["final_obs"][i]) for i in ended}
        if isinstance(self.multiplier, np.ndarray) and self.conditioned is not None:
            price = log_multiplier(self.multiplier).astype(np.float32)
            last = {i: np.append(final, price[i]) for i, final in last.items()}
            self._new_prices(ended)
        if self._tells_critic:
            told = np.where(done[:, None], infos["final_info"]["privileged"], 1.0)
            truth = truth_for_critic(told, self.n_agents)
            last = {i: np.append(final, truth[i]) for i, final in last.items()}
        for i in ended:
            row_infos[i] = {
                "terminal_observation": last[i],
                "TimeLimit.truncated": not bool(terminated[i]),
                "episode": {
                    "r": float(self._episode_return[i]),
                    "l": int(self._episode_length[i]),
                    "t": elapsed_s,
                },
            }
        self._episode_return[done] = 0.0
        self._episode_length[done] = 0
        final, now = infos["final_info"]["totals"], self.env.totals()
        for name, values in now.items():  # the new episode may start with counts of its own
            if name in final:
                gone = float(np.asarray(final[name], dtype=np.float64)[done].sum())
                self._ended[name] = self._ended.get(name, 0.0) + gone - float(values[done].sum())

    # ---------------------------------------------------------------------------- saving

    def get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """All that changes with time: arrays by name, and values that JSON can hold.

        The arrays are those in use, the environment's own under `world.<name>`: write them out, or
        copy what must outlive the next step.
        """
        arrays = {f"world.{name}": array for name, array in self.env.get_state().items()}
        arrays |= {name: getattr(self, name) for name in _ARRAYS}
        values = {name: getattr(self, name) for name in _VALUES}
        if isinstance(self.multiplier, np.ndarray):
            arrays["multiplier"] = self.multiplier
        else:
            values["multiplier"] = float(self.multiplier)
        return arrays, values

    def set_state(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Go on, in place of a reset, from what :meth:`get_state` gave.

        Raises:
            ConfigError: it is not the state of an environment with these settings.
        """
        world = {name[6:]: array for name, array in arrays.items() if name.startswith("world.")}
        own = {name: array for name, array in arrays.items() if not name.startswith("world.")}
        price = own.pop("multiplier", None)
        expected = {*_VALUES} | (set() if price is not None else {"multiplier"})
        if values.keys() != expected:
            names = ", ".join(sorted(values.keys() ^ expected))
            raise ConfigError(f"saved state: {names} missing or not known")
        overwrite({name: getattr(self, name) for name in _ARRAYS}, own)
        self.env.set_state(world)
        self.multiplier = float(values["multiplier"]) if price is None else price.copy()
        for name in _VALUES:
            setattr(self, name, copy.deepcopy(values[name]))

    # ---------------------------------------------------------------------------- accounting

    def _start_window(self) -> None:
        self._silent = self._answered = self._reward = 0.0
        self._silent_share = self._allowed_share = 0.0
        self._steps = 0
        self._base = {name: float(values.sum()) for name, values in self.env.totals().items()}
        self._ended = {}

    def take_window(self) -> dict[str, float]:
        """Sums over all campaigns since the last call, and start a new window.

        Returns:
            The environment's totals by name (`answered`, `silent`, `talk_s`, ...), with `steps`
            (environment steps), `window_silent` and `window_answered` (calls, summed step by step)
            and `reward` (sum of the environment's own reward). With a cap or a number of agents
            for each row also `window_silent_share` and `window_allowed_share`: the sums of silent
            and of cap x answered calls, each divided by the agents of its row. A row's reward is
            counted per agent, so these two are what one price for all rows trades off; without the
            division the largest floors alone would set it.
        """
        window = {
            name: float(values.sum()) - self._base.get(name, 0.0) + self._ended.get(name, 0.0)
            for name, values in self.env.totals().items()
        }
        window["window_silent"] = self._silent
        window["window_answered"] = self._answered
        window["reward"] = self._reward
        if self._by_row:
            window["window_silent_share"] = self._silent_share
            window["window_allowed_share"] = self._allowed_share
        window["steps"] = float(self._steps)
        self._start_window()
        return window

    # ---------------------------------------------------------------------------- VecEnv duties

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _rows(self, indices: int | Iterable[int] | None) -> list[int]:
        return [int(i) for i in self._get_indices(indices)]

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """Return an attribute of the environment, once for every asked row."""
        if attr_name == "render_mode":
            value = getattr(self.env, "render_mode", None)
        else:
            value = getattr(self.env, attr_name)
        return [value for _ in self._rows(indices)]

    def set_attr(
        self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None
    ) -> None:
        """Set an attribute of the environment; all rows share one environment."""
        if len(set(self._rows(indices))) != self.num_envs:
            raise ConfigError(f"{attr_name!r} can only be set for all rows at once")
        setattr(self.env, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: int | Iterable[int] | None = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call a method of the environment once; an array with one row per campaign is split."""
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        rows = self._rows(indices)
        if isinstance(result, np.ndarray) and result.shape[:1] == (self.num_envs,):
            return [result[i] for i in rows]
        return [result for _ in rows]

    def env_is_wrapped(
        self,
        wrapper_class: type[Wrapper[Any, Any, Any, Any]],
        indices: int | Iterable[int] | None = None,
    ) -> list[bool]:
        """Rows of a native vector environment are never wrapped one by one."""
        return [False for _ in self._rows(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Rows of the native environment draw no pictures."""
        return [None] * self.num_envs
