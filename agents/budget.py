"""Budget feedback around any policy with a knob, rule or learned, one campaign or many.

Every 15 s each campaign's knob is set to its value times

    exp(clip(kappa (r A - S) / n, -4, h)),

with S silent and A answered calls so far: what is left of the allowed silent calls is spent, what
was spent too much is saved. No guarantee; a shield around it gives one, in this order:
`Shielded(BudgetFeedback(policy), shield)`.

Without a margin r is the target, n = 50 calls and h = 2.5 (science study, part D). With a margin
the loop plans to the end of the window: r is such that the day ends `margin` silent calls below the
target at the pace of answers so far, more where fewer dials are answered and fewer where more are;
n falls with the calls to come, so that the loop is patient early and strict at the end; h = 1
(:func:`quietdial.envs.pacing.controllers.feedback.budget_threshold`). The target may then be the
cap itself.

S and A are what the dialer itself has counted (:func:`counts_of`). An observation cannot give them:
its budget features are cut at 9 calls from the cap, and rules observe nothing. So whoever plays
tells the policy before each decision; :func:`decide` does both. In a Gymnasium loop the same counts
are the sums of `info["cost"]` and `info["answered"]`, where no machine detection errs.

What the knob times a factor means, for each kind of policy:

* a rule: its one setting times the factor, cut to its range;
* a learned policy that chooses thresholds: the threshold times the factor;
* one trained for a range of multipliers: its multiplier divided by the factor, and so the threshold
  of a base rule that goes by it times the factor;
* residual actions: the threshold of the rule below them, `base_theta`, times the factor;
* other discrete actions (`dials`, `vicidial_level`): each is `factor` times as probable against the
  next lower one, so log(factor) times its number is added to the logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.policy import THETA_RANGE, CountingPolicy, Counts, Policy, checked_knob
from quietdial.agents.shields import Shielded
from quietdial.agents.wrapped import Wrapped
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.chance import curves
from quietdial.envs.pacing.controllers.feedback import budget_threshold
from quietdial.envs.pacing.world import World

PERIOD_S: Final = 15.0
"""Time between two moves of the knob [s]."""

TARGET_RANGE: Final = (1e-4, 0.2)
KAPPA_RANGE: Final = (0.0, 200.0)
MARGIN_RANGE: Final = (0.0, 1000.0)

_CURVES: Final = curves()
_EARLY_S: Final = 1e-9

FloatArray = NDArray[np.float64]


def counts_of(world: World) -> Counts:
    """The counts of a world's campaigns: of the rule's first window, else of the episode.

    People whom detection takes for machines are in neither, since no dialer sees them; callees who
    still wait are not either.
    """
    if world.is_full:
        windows = world.windows()
        silent, answered = windows["seen_silent"][:, 0], windows["seen_answered"][:, 0]
    else:
        totals = world.totals()
        silent = totals["silent"]
        answered = silent + totals["connected"]
    return Counts(world.clock_s(), silent, answered, **world.window_progress())


class Fed(NamedTuple):
    """State of a policy under budget feedback.

    Attributes:
        moved_s: when each campaign's knob was moved last, (B,).
        now_s: when the policy was told the counts last, (B,).
        factor: factor on the knob, (B,).
        inner: state of the policy within.
    """

    moved_s: FloatArray
    now_s: FloatArray
    factor: FloatArray
    inner: object | None


@dataclass(frozen=True)
class BudgetFeedback(Wrapped):
    """A policy whose knob follows what is left of the allowed silent calls (module docstring).

    Its knob is `target`. A rule that is held in compiled code stays so for 15 s at a time.

    Attributes:
        kappa: strength of the feedback, 0 to 200; 0 changes nothing.
        target: silent rate to keep, 1e-4 to 0.2.
        margin: silent calls to be left below the target at the window's end where one dial in four
            is answered, 0 to 1000; 0: no plan.
    """

    kappa: float = 10.0
    target: float = 0.027
    margin: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings out of their range, and policies that have nothing to be moved."""
        checked_knob("budget feedback", "kappa", self.kappa, KAPPA_RANGE)
        checked_knob("budget feedback", "target", self.target, TARGET_RANGE)
        checked_knob("budget feedback", "margin", self.margin, MARGIN_RANGE)
        if isinstance(self.inner, Shielded):
            raise ConfigError(
                f"budget feedback of {self.inner.name}: the shield comes last; write "
                "Shielded(BudgetFeedback(policy), shield)"
            )
        if isinstance(self.inner, LearnedPolicy):
            return
        if not self.inner.knob_name or not getattr(self.inner, "constant", False):
            raise ConfigError(
                f"budget feedback of {self.inner.name}: the policy has no knob to move; give it a "
                "learned policy, or a rule with a knob"
            )

    @property
    def name(self) -> str:
        """The policy's name with the loop behind it."""
        return f"{self.inner.name}+budget"

    @property
    def knob_name(self) -> str:
        """`target`."""
        return "target"

    @property
    def knob(self) -> float:
        """The silent rate to keep."""
        return self.target

    @property
    def knob_range(self) -> tuple[float, float]:
        """Lowest and highest target."""
        return TARGET_RANGE

    @property
    def knob_lowers(self) -> bool:
        """False: a higher target means more dials."""
        return False

    @property
    def constant(self) -> bool:
        """False: the action changes."""
        return False

    @property
    def counts_calls(self) -> bool:
        """True: it must be told the counts before each decision."""
        return True

    def with_knob(self, value: float) -> Self:
        """The same with another target."""
        return replace(self, target=checked_knob(self.name, "target", value, TARGET_RANGE))

    def told(self, counts: Counts, state: object | None) -> Fed:
        """The state with the counts of now; moves the knobs that are due.

        A campaign whose clock went back has begun anew, so its knob is due.
        """
        now_s, n = counts.now_s, len(counts.now_s)
        if not isinstance(state, Fed) or len(state.factor) != n:
            state = Fed(np.full(n, -math.inf), now_s, np.ones(n), None)
        late = now_s - state.moved_s >= PERIOD_S - _EARLY_S
        due = np.flatnonzero(late | (now_s < state.now_s))
        moved_s, factor = state.moved_s, state.factor
        if len(due):
            moved_s, factor = moved_s.copy(), factor.copy()
            moved_s[due] = now_s[due]
            factor[due] = [
                budget_threshold(_CURVES, 1.0, self.kappa, self.target, self.margin, *row)
                for row in zip(
                    counts.silent[due],
                    counts.answered[due],
                    np.rint(1000.0 * counts.spent_s[due]).astype(np.int64),
                    np.rint(1000.0 * counts.span_s[due]).astype(np.int64),
                    counts.p_answer[due],
                    strict=True,
                )
            ]
        return Fed(moved_s, now_s, factor, state.inner)

    def base_thetas(self, state: object | None) -> FloatArray | None:
        """Thresholds of the rule below residual actions, (B,); None for other actions."""
        inner = self.inner
        if not isinstance(state, Fed) or not _moves_base(inner):
            return None
        return np.clip(inner.base_theta * state.factor, *THETA_RANGE)

    def steady_s(self, state: object | None) -> float:
        """Time for which the action of now surely stands [s]."""
        if not isinstance(state, Fed) or not super().constant:
            return 0.0
        return float((state.moved_s + PERIOD_S - state.now_s).min())

    def act(
        self, obs: NDArray[Any], state: object | None = None
    ) -> tuple[NDArray[Any], object | None]:
        """Decide as the policy within would with its knob moved.

        The base of residual actions is moved by :func:`decide`.

        Raises:
            ConfigError: the counts were not told; see :meth:`told`.
        """
        if not isinstance(state, Fed) or len(state.factor) != len(obs):
            raise ConfigError(f"{self.name}: tell it the calls counted so far; play with decide()")
        inner, kept = self.inner, state.inner
        if isinstance(inner, LearnedPolicy):
            factor = None if _on_base(inner) else state.factor
            actions, kept = inner.act(obs, kept, factor=factor)
        else:
            low, high = inner.knob_range or (-math.inf, math.inf)
            settings, kept = inner.act(obs, kept)
            moved = np.asarray(settings, np.float64) * state.factor[:, None]
            actions = np.clip(moved, low, high)
        return actions, state._replace(inner=kept)


def _on_base(policy: Policy) -> bool:
    """Whether a policy's knob is the threshold of the rule below its residual actions."""
    return isinstance(policy, LearnedPolicy) and policy.knob_name == "base_theta"


def _moves_base(policy: Policy) -> bool:
    """Whether that threshold moves with the knob, which may be a price."""
    return _on_base(policy) or (
        isinstance(policy, LearnedPolicy) and policy.spec.priced_theta is not None
    )


def decide(
    policy: Policy, world: World, state: object | None
) -> tuple[NDArray[Any], object | None]:
    """What a policy does now in a world: it is told the counts if it asks for them, and acts.

    Returns:
        Actions and state as `Policy.act`.
    """
    if not getattr(policy, "counts_calls", False):
        return policy.act(world.observe(), state)
    counting = cast(CountingPolicy, policy)
    state = counting.told(counts_of(world), state)
    thetas = counting.base_thetas(state)
    if thetas is not None:
        world.set_base_thetas(thetas)
    return policy.act(world.observe(), state)


def steady_steps(policy: Policy, state: object | None, interval_s: float, most: int) -> int:
    """Decisions of `interval_s` for which the action just taken surely stands, 1 to `most`."""
    if getattr(policy, "constant", False):
        return most
    if not getattr(policy, "counts_calls", False):
        return 1
    left_s = cast(CountingPolicy, policy).steady_s(state)
    return min(max(math.ceil(left_s / interval_s - _EARLY_S), 1), most)
