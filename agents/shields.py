"""A shield around any policy, hand-built or learned: the policy plays on, the world refuses dials.

The proof, the conditions and the formulas are in `quietdial.envs.pacing.shield`; the shield itself
acts inside the world at every dial, so it is the same for a policy that decides in Python, a rule
inside the kernel, one campaign or many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.policy import Policy
from quietdial.envs.pacing.shield import Shield


@dataclass(frozen=True)
class Shielded:
    """A policy behind a shield.

    Attributes:
        inner: who decides; its knob is the knob.
        shield: which shield, with its settings.
    """

    inner: Policy
    shield: Shield = field(default_factory=Shield)

    @property
    def name(self) -> str:
        """The policy's name with the shield's kind behind it."""
        form = "-reserving" if self.shield.reserves else ""
        return f"{self.inner.name}+{self.shield.kind}{form}"

    @property
    def observation(self) -> str:
        """Observation set of the policy."""
        return self.inner.observation

    @property
    def action(self) -> str:
        """Action kind of the policy."""
        return self.inner.action

    @property
    def base_theta(self) -> float:
        """Threshold below residual actions, a probability."""
        return self.inner.base_theta

    @property
    def knob_name(self) -> str | None:
        """The policy's knob."""
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
    def constant(self) -> bool:
        """Whether the policy's action never changes, so that it may be played in compiled code."""
        return bool(getattr(self.inner, "constant", False))

    @property
    def world_options(self) -> Mapping[str, Any]:
        """What the world must be told: what the policy says, and the shield."""
        return {**getattr(self.inner, "world_options", {}), "shield": self.shield}

    def act(
        self, obs: NDArray[np.float32], state: object | None = None
    ) -> tuple[NDArray[Any], object | None]:
        """Decide as the policy does; see `Policy.act`."""
        return self.inner.act(obs, state)

    def with_knob(self, value: float) -> Shielded:
        """The same with another value of the policy's knob."""
        return replace(self, inner=self.inner.with_knob(value))
