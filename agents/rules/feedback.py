"""Budget feedback on the threshold of the marginal rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quietdial.agents.rules.quantile import LookAheadRule


@dataclass(frozen=True)
class MarginalBudget(LookAheadRule):
    """The marginal rule, its threshold moved by how much of the allowed silent calls is left.

    Formula: every 15 s theta' = theta exp(clip(kappa (r A - S) / n, -4, h)), with S silent and A
    answered calls so far; every second the marginal rule dials with theta' (see
    agents/rules/marginal.py). Without a margin r = target, n = 50 and h = 2.5. With one, the loop
    plans to the end of the window: with A' = A (T - t) / max(t, 60 s) answered calls to come at the
    pace so far, t of T open time being over, r = target - m / max(A + A', 50),
    n = min(max(A' / 10, 1), 50) and h = 1; m = margin sqrt((1 - q) / (3 q)) silent calls are to be
    left, with q = clip(p, .05, .6) and p the rule's estimate of the answer probability of a dial.
    Source: science study, part D, budget feedback (kappa 10, target 2.4 to 2.7 % for a cap of 3 %),
    without a margin; the plan is ours (docs/compliance.md), with the cap as target.
    Interpreted: S and A are what the dialer counts itself, in the window of the rule that comes
    first (a day, where a campaign lasts a day); callees who still wait are in neither.
    Knob: `target`, a silent rate, 1e-4 to 0.2. Acts every second, moves the threshold every 15 s.
    Sees: what the marginal rule sees, its own silent and answered calls, and the time.

    Attributes:
        theta: threshold while the silent rate is on target, a probability.
        kappa: strength of the feedback; 0 gives the marginal rule.
        target: silent rate to keep.
        margin: silent calls that shall be left below the target at the window's end where one dial
            in four is answered; 0: no plan.
    """

    controller: ClassVar[str] = "marginal-budget"

    theta: float = 0.02
    kappa: float = 10.0
    target: float = 0.027
    margin: float = 0.0
