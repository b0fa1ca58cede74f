"""What policies have in common that stand around another policy and change one thing about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.policy import CountingPolicy, Counts, Policy


@dataclass(frozen=True)
class Wrapped:
    """A policy that decides as another one does; a subclass changes what it must.

    Attributes:
        inner: who decides; its knob is the knob.
    """

    inner: Policy

    @property
    def name(self) -> str:
        """Short name for tables and files."""
        return self.inner.name

    @property
    def observation(self) -> str:
        """Observation set of the policy within."""
        return self.inner.observation

    @property
    def action(self) -> str:
        """Action kind of the policy within."""
        return self.inner.action

    @property
    def base_theta(self) -> float:
        """Threshold below residual actions, a probability."""
        return self.inner.base_theta

    @property
    def knob_name(self) -> str | None:
        """Name of the knob; None without one."""
        return self.inner.knob_name

    @property
    def knob(self) -> float | None:
        """Its value."""
        return self.inner.knob

    @property
    def knob_range(self) -> tuple[float, float] | None:
        """Its limits."""
        return self.inner.knob_range

    @property
    def knob_lowers(self) -> bool:
        """Whether a higher knob means fewer dials."""
        return bool(getattr(self.inner, "knob_lowers", False))

    @property
    def constant(self) -> bool:
        """Whether the action never changes, so that it may be played in compiled code."""
        return bool(getattr(self.inner, "constant", False))

    @property
    def counts_calls(self) -> bool:
        """Whether it must be told the counts before each decision (see `told`)."""
        return bool(getattr(self.inner, "counts_calls", False))

    def told(self, counts: Counts, state: object | None) -> object:
        """The state with the counts of now; see `CountingPolicy.told`."""
        return cast(CountingPolicy, self.inner).told(counts, state)

    def base_thetas(self, state: object | None) -> NDArray[np.float64] | None:
        """Thresholds below residual actions; see `CountingPolicy.base_thetas`."""
        return cast(CountingPolicy, self.inner).base_thetas(state)

    def steady_s(self, state: object | None) -> float:
        """Time for which its action stands; see `CountingPolicy.steady_s`."""
        return cast(CountingPolicy, self.inner).steady_s(state)

    @property
    def world_options(self) -> Mapping[str, Any]:
        """What the world must be told."""
        return dict(getattr(self.inner, "world_options", {}))

    def act(
        self, obs: NDArray[np.float32], state: object | None = None
    ) -> tuple[NDArray[Any], object | None]:
        """Decide as the policy within does; see `Policy.act`."""
        return self.inner.act(obs, state)

    def with_knob(self, value: float) -> Self:
        """The same with another value of the knob."""
        return replace(self, inner=self.inner.with_knob(value))


def unwrapped(policy: Policy) -> Policy:
    """The policy within all that stands around it."""
    while isinstance(policy, Wrapped):
        policy = policy.inner
    return policy


def shown_name(policy: Policy) -> str:
    """Name for tables and titles; it says so if no checkpoint of its training was feasible."""
    infeasible = bool(getattr(unwrapped(policy), "infeasible", False))
    return f"{policy.name} (infeasible)" if infeasible else policy.name
