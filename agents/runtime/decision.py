"""What the pacer answers, and the limits within which the policy may answer at all."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, NamedTuple

from quietdial.agents.runtime.budget import BudgetSettings
from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.shield import ShieldSettings

Mode = Literal["policy", "table", "override", "progressive", "stop"]
"""Who answered: the policy; its distilled table; the operator; one line per idle agent; nobody."""

Range = tuple[float, float]


class Decision(NamedTuple):
    """One decision.

    Attributes:
        seq: number of the decision, from 1.
        at_ms: the moment that it is for [ms].
        valid_until_ms: it is worthless from then on; the dialer then goes to one line per idle
            agent by itself [ms].
        dials: new calls to place now.
        mode: who answered.
        reason: why not the policy; empty if it was.
        guards: what cut the answer: "shield", "lines", "most calls".
        asked: calls asked for before the guards.
        level: lines per agent, busy ones included, for dialers that are steered so; None: the
            policy answers in calls.
        policy: name of the policy or bundle.
    """

    seq: int
    at_ms: int
    valid_until_ms: int
    dials: int
    mode: Mode
    reason: str = ""
    guards: tuple[str, ...] = ()
    asked: int = 0
    level: float | None = None
    policy: str = ""

    @property
    def fallback(self) -> bool:
        """Whether somebody else than the policy answered."""
        return self.mode != "policy"

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "seq": self.seq,
            "at_ms": self.at_ms,
            "valid_until_ms": self.valid_until_ms,
            "dials": self.dials,
            "mode": self.mode,
            "reason": self.reason,
            "guards": list(self.guards),
            "asked": self.asked,
            "level": self.level,
            "policy": self.policy,
            "fallback": self.fallback,
        }


@dataclass(frozen=True)
class Envelope:
    """Where the policy was trained; outside, the pacer falls back. None: not limited.

    Attributes:
        agents: fewest and most agents of the roster.
        present: fewest and most agents logged in and not on break.
        answer_rate: lowest and highest estimated answer rate.
        slack: share by which each limit may be passed.
    """

    agents: Range | None = None
    present: Range | None = None
    answer_rate: Range | None = None
    slack: float = 0.0

    def why_outside(self, agents: int, present: int, answer_rate: float) -> str:
        """Which number is outside, in words; empty: none."""
        for name, value, limits in (
            ("agents", agents, self.agents),
            ("present", present, self.present),
            ("answer_rate", answer_rate, self.answer_rate),
        ):
            if limits is None:
                continue
            low, high = limits[0] * (1.0 - self.slack), limits[1] * (1.0 + self.slack)
            if not low <= value <= high:
                return f"outside envelope: {name} {value:.3g} not in {low:.3g}..{high:.3g}"
        return ""


@dataclass(frozen=True)
class PacerSettings:
    """How a pacer behaves.

    Attributes:
        lease_ms: a decision holds so long [ms].
        max_age_ms: an older observation is stale [ms].
        skew_ms: an observation may be so far in the future [ms].
        cold_start_answered: progressive pacing until so many answered calls of the first window.
        min_agents: the policy answers only with so many agents logged in and not on break.
        shield: which shield; None: none.
        budget: the budget loop; None: none.
        envelope: where the policy was trained.
        at_cap: what happens while a window is above its cap: one line per idle agent, nothing, or
            the policy goes on and only the shield stands behind it.
        unix_clock: whether the clock is Unix time, so that the rule's hours and days are known.
        keeps_decisions: whether every decision is given to the ledger.
    """

    lease_ms: int = 3000
    max_age_ms: int = 2000
    skew_ms: int = 500
    cold_start_answered: int = 50
    min_agents: int = 1
    shield: ShieldSettings | None = dataclasses.field(default_factory=ShieldSettings)
    budget: BudgetSettings | None = None
    envelope: Envelope = Envelope()
    at_cap: Literal["progressive", "stop", "policy"] = "progressive"
    unix_clock: bool = True
    keeps_decisions: bool = True

    def __post_init__(self) -> None:
        """Refuse settings out of their range."""
        for name, least in (
            ("lease_ms", 1),
            ("max_age_ms", 1),
            ("skew_ms", 0),
            ("cold_start_answered", 0),
            ("min_agents", 1),
        ):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise PacerError(f"{name} = {value!r} must be a whole number, at least {least}")
        if self.at_cap not in ("progressive", "stop", "policy"):
            raise PacerError(f"at_cap = {self.at_cap!r} must be 'progressive', 'stop' or 'policy'")
