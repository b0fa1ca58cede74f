"""Exploration around a policy, with known probabilities: what off-policy estimates live on.

A dialer that always does the same in the same state says nothing about what would have happened
otherwise. A small, known share of decisions that place one call more or fewer makes its days worth
much more to whoever wants to judge another policy by them (`quietdial shadow`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.chance import draw, hash_of
from quietdial.agents.policy import Policy, checked_knob
from quietdial.agents.rules.marginal import Marginal
from quietdial.agents.wrapped import Wrapped
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.control import RESIDUAL_LOW
from quietdial.envs.pacing.spec import N_RESIDUALS
from quietdial.envs.pacing.world import World

SHARE_RANGE: Final = (0.001, 0.9)
_FOLLOW: Final = -RESIDUAL_LOW


@runtime_checkable
class KnowsChances(Protocol):
    """A policy that can tell how probable each of its actions is."""

    def probabilities(
        self, obs: NDArray[Any], state: object | None = None
    ) -> NDArray[np.float64] | None:
        """Probability of each action, (B, n); None: its actions cannot be numbered."""
        ...


class _Past(NamedTuple):
    """What an exploring policy remembers: the hash of what each campaign showed, and the inner."""

    past: NDArray[np.uint64] | None
    inner: object | None


@dataclass(frozen=True)
class Exploring(Wrapped):
    """A policy that now and then places one call more or one fewer than the policy within.

    With probability `share` a decision moves the action by one, up or down with half of it each
    (at an end of the range it stays). The rule `marginal` is taken as the base of residual actions.

    Attributes:
        share: probability of a decision that is moved, .001 to .9.
        seed: of the draws, which are reproducible (`agents.chance`).
    """

    share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a share out of its range and policies that do not answer in calls."""
        checked_knob("exploring", "share", self.share, SHARE_RANGE)
        if self._is_rule:
            return
        if self.inner.action not in ("residual", "dials") or self.inner.observation == "none":
            raise ConfigError(
                f"{self.inner.name}: only 'marginal' and learned policies that answer in calls "
                f"(residual, dials) can explore; this one answers in {self.inner.action!r}"
            )
        if getattr(self.inner, "deployed", "argmax") != "argmax":
            raise ConfigError(f"{self.inner.name}: draws its actions already; leave --explore out")

    @property
    def _is_rule(self) -> bool:
        return isinstance(self.inner, Marginal)

    @property
    def name(self) -> str:
        """The policy's name with the share behind it."""
        return f"{self.inner.name} exploring {self.share:g}"

    @property
    def action(self) -> str:
        """`residual` or `dials`."""
        return "residual" if self._is_rule else self.inner.action

    @property
    def observation(self) -> str:
        """That of the policy within; a rule looks at the counters, for its draws only."""
        return "counters" if self._is_rule else self.inner.observation

    @property
    def base_theta(self) -> float:
        """Threshold below residual actions."""
        return self.inner.theta if isinstance(self.inner, Marginal) else self.inner.base_theta

    @property
    def constant(self) -> bool:
        """Never."""
        return False

    def _meant(self, obs: NDArray[Any], state: object | None) -> tuple[NDArray[Any], object | None]:
        """What the policy within does."""
        if self._is_rule:
            return np.full(len(obs), _FOLLOW, np.int64), state
        return self.inner.act(obs, state)

    def act(
        self, obs: NDArray[np.float32], state: object | None = None
    ) -> tuple[NDArray[Any], object | None]:
        """Decide as the policy within, and move some decisions by one."""
        known = state if isinstance(state, _Past) else _Past(None, None)
        meant, inner = self._meant(obs, known.inner)
        past = known.past
        if past is None or len(past) != len(obs):
            past = np.full(len(obs), self.seed, np.uint64)
        u, past = draw(past, hash_of(obs))
        move = (u < 0.5 * self.share).astype(np.int64) - (u >= 1.0 - 0.5 * self.share)
        return np.clip(meant + move, 0, self._n_actions(meant) - 1), _Past(past, inner)

    def _n_actions(self, meant: NDArray[Any]) -> int:
        spec = getattr(self.inner, "spec", None)
        return N_RESIDUALS if spec is None else int(spec.n_actions)

    def probabilities(
        self, obs: NDArray[Any], state: object | None = None
    ) -> NDArray[np.float64] | None:
        """Probability of each action, (B, n)."""
        known = state if isinstance(state, _Past) else _Past(None, None)
        meant, _ = self._meant(obs, known.inner)
        n, rows = self._n_actions(meant), np.arange(len(obs))
        out = np.zeros((len(obs), n))
        out[rows, meant] = 1.0 - self.share
        for move in (-1, 1):
            np.add.at(out, (rows, np.clip(meant + move, 0, n - 1)), 0.5 * self.share)
        return out


def chances_of_dials(
    policy: Policy,
    world: World,
    obs: NDArray[np.float32],
    state: object | None,
    actions: NDArray[Any],
) -> NDArray[np.float64]:
    """Probability with which a policy placed as many calls as it does now, (B,).

    Args:
        policy: who decides.
        world: at the decision, observed.
        obs: what was observed.
        state: the policy's state before the decision.
        actions: what it chose, (B,).

    Returns:
        1 for a policy that never draws; NaN where the probability is not known.
    """
    rows = len(actions)
    if isinstance(policy, Marginal) or policy.name == "progressive":
        return np.ones(rows)
    chances = policy.probabilities(obs, state) if isinstance(policy, KnowsChances) else None
    if chances is None:
        return np.full(rows, np.nan)
    if chances.max(axis=1).min() >= 1.0:
        return np.ones(rows)
    if policy.action not in ("residual", "dials"):
        return np.full(rows, np.nan)
    dials = world.dials_by_action()
    taken = dials[np.arange(rows), np.asarray(actions, np.int64)]
    return np.asarray((chances * (dials == taken[:, None])).sum(axis=1))
