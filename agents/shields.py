"""A shield around any policy, hand-built or learned: the policy plays on, the world refuses dials.

The proof, the conditions and the formulas are in `quietdial.envs.pacing.shield`; the shield itself
acts inside the world at every dial, so it is the same for a policy that decides in Python, a rule
inside the kernel, one campaign or many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quietdial.agents.wrapped import Wrapped
from quietdial.envs.pacing.shield import Shield


@dataclass(frozen=True)
class Shielded(Wrapped):
    """A policy behind a shield.

    Attributes:
        shield: which shield, with its settings.
    """

    shield: Shield = field(default_factory=Shield)

    @property
    def name(self) -> str:
        """The policy's name with the shield's kind behind it."""
        form = "-reserving" if self.shield.reserves else ""
        return f"{self.inner.name}+{self.shield.kind}{form}"

    @property
    def world_options(self) -> Mapping[str, Any]:
        """What the world must be told: what the policy says, and the shield."""
        return {**super().world_options, "shield": self.shield}
