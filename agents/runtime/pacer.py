"""The pacer: from a dialer's events to the number of calls to place now.

Ladder: policy -> table -> one line per idle agent (progressive) -> nothing (stop). Every decision
says who answered, why, what cut it, and until when it holds. The shield and the hard rules stand
behind every rung.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.runtime.base_rule import BaseRule, LookAhead
from quietdial.agents.runtime.budget import BudgetLoop
from quietdial.agents.runtime.counters import CounterFloor, Counters
from quietdial.agents.runtime.decision import Decision, Mode, PacerSettings
from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.evaluator import Evaluator
from quietdial.agents.runtime.features import Features
from quietdial.agents.runtime.floor import Floor
from quietdial.agents.runtime.ledger_protocol import Ledger
from quietdial.agents.runtime.people import HardRules, Permit
from quietdial.agents.runtime.shield import Shield
from quietdial.agents.runtime.tables import PacingTables
from quietdial.agents.runtime.view import View
from quietdial.agents.runtime.windows import Session

THETA_RANGE: Final = (1e-4, 0.5)
"""Thresholds that the budget loop may set."""
_NO_OBS: Final = np.zeros(0, np.float32)
_MOST_RATIO: Final = 20.0


class _Asked(NamedTuple):
    """What a rung of the ladder asks for."""

    mode: Mode
    reason: str
    dials: int
    level: float | None = None


class Pacer(Floor):
    """Paces one campaign. Events are those of :class:`Floor`; then :meth:`decide`.

    Args:
        tables: what is known of the floor (`pacing.json`).
        policy: who answers.
        ledger: counts that outlive a crash.
        settings: how it behaves.
        table: who answers when the policy cannot; None: nobody.
        n_agents: agents of the roster; None: as in training.

    Raises:
        PacerError: the parts do not fit each other.
    """

    def __init__(
        self,
        tables: PacingTables,
        policy: Evaluator,
        ledger: Ledger,
        settings: PacerSettings | None = None,
        *,
        table: Evaluator | None = None,
        n_agents: int | None = None,
    ) -> None:
        super().__init__(tables, ledger, n_agents)
        self.settings = settings or PacerSettings()
        self.rules = HardRules(tables, ledger, unix_clock=self.settings.unix_clock)
        self.shield = Shield(self.settings.shield, self) if self.settings.shield else None
        self._counters = CounterFloor(tables, n_agents)
        self.policy, self.table = policy, table
        self.base_rule = BaseRule(tables)
        self._budget = BudgetLoop(self.settings.budget) if self.settings.budget else None
        self._features = _features_of(tables, policy)
        self._table_features = None if table is None else _features_of(tables, table)
        self._wide = any(
            f is not None and f.is_wide for f in (self._features, self._table_features)
        )
        self._seq = 0
        self._stopped: str | None = None
        self._ratio: float | None = None
        self._ratio_until_ms: int | None = None
        self.last_obs: NDArray[np.float32] = _NO_OBS
        self.last_base = 0
        self.last_room: int | None = None
        self.shield_acts = 0
        self.shield_calls = 0

    # --- the operator ---------------------------------------------------------------------------

    def stop(self, at_ms: int, by: str) -> None:
        """No call is placed from now on, until :meth:`resume`."""
        self._stopped = by
        self.ledger.noted(at_ms, "stop", {"by": by})

    def resume(self, at_ms: int, by: str) -> None:
        """End a stop and an override."""
        self._stopped = self._ratio = None
        self.ledger.noted(at_ms, "resume", {"by": by})

    def override(self, at_ms: int, ratio: float, by: str, until_ms: int | None = None) -> None:
        """The operator paces by a fixed number of lines per idle agent; shield and hours stay.

        Raises:
            PacerError: a ratio out of 0 to 20.
        """
        if not (math.isfinite(ratio) and 0.0 <= ratio <= _MOST_RATIO):
            raise PacerError(f"ratio = {ratio!r} must lie in [0, {_MOST_RATIO:g}] lines per agent")
        self._ratio, self._ratio_until_ms = ratio, until_ms
        detail: dict[str, object] = {"by": by, "ratio": ratio, "until_ms": until_ms}
        self.ledger.noted(at_ms, "override", detail)

    def permit(self, person: str, now_ms: int, *, reserved: bool = False) -> Permit:
        """Whether a person may be dialed now by the hard rules; ask before each dial.

        Args:
            person: keyed hash of the person.
            now_ms: when [ms].
            reserved: an agent is set aside for the call.
        """
        if self._stopped is not None:
            return Permit(False, f"stopped by {self._stopped}")
        if not self._is_open(now_ms):
            return Permit(False, "outside the session's dialing time")
        return self.rules.permit(person, now_ms, reserved=reserved)

    def unmet_conditions(self) -> list[str]:
        """Conditions of the deterministic shield that do not hold, as far as the pacer can see."""
        if self.shield is None:
            return ["there is no shield"]
        if self.shield.settings.kind == "borrowing":
            return ["the borrowing shield rests on traffic to come; nothing is proven"]
        return self.shield.unmet()

    @property
    def budget_factor(self) -> float:
        """What the budget loop multiplies the policy's knob by; 1 without a loop."""
        return 1.0 if self._budget is None else self._budget.factor

    @property
    def needs_ages(self) -> bool:
        """Whether counters must come with the ages of calls and agents."""
        kinds = (self._features, self._table_features)
        by_features = any(features is not None and features.needs_ages for features in kinds)
        policy = self.policy
        return by_features or policy.answers == "theta" or policy.base_theta is not None

    @property
    def needs_events(self) -> bool:
        """Whether counters are not enough, not even with ages: it observes the set `wide`."""
        return self._wide

    # --- deciding -------------------------------------------------------------------------------

    def open_session(self, session: Session, at_ms: int | None = None) -> None:
        """The floor opens, or the pacer starts within a session at `at_ms`."""
        super().open_session(session, at_ms)
        self._counters.open_session(session)
        self.policy.reset()
        if self.table is not None:
            self.table.reset()

    def decide(self, now_ms: int, observed_ms: int | None = None) -> Decision:
        """What to do now.

        Args:
            now_ms: the caller's clock [ms].
            observed_ms: all events up to then were told; None: up to the last event or tick.
        """
        observed_ms = self.told_ms if observed_ms is None else observed_ms
        late = self._late(now_ms, observed_ms)
        if late:
            # how many agents are idle now is not known, so nothing may be dialed from here
            return self._answered(now_ms, _Asked("progressive", late, 0), 0, ())
        view = self.view(now_ms, wide=self._wide)
        self.forget_lost(now_ms)
        return self._decided(now_ms, view)

    def warm(self, past: Iterable[tuple[int, int]]) -> None:
        """Tell the (picked up, finished) dials of past intervals, see `CounterFloor.warm`."""
        self._counters.warm(past)

    def decide_from(self, seen: Counters, now_ms: int | None = None) -> Decision:
        """What to do now, for a dialer that hands in its counters instead of events.

        Args:
            seen: the counters.
            now_ms: the caller's clock [ms]; None: that of the counters.

        Raises:
            PacerError: the policy needs ages that are not given or the set `wide`, or the counters
                cannot be.
        """
        if self.needs_events:
            raise PacerError(
                f"policy {self.policy.name!r} observes the set 'wide', which is not to be had from "
                "counters; tell the pacer the events"
            )
        if self.needs_ages and seen.ages is None:
            raise PacerError(
                f"policy {self.policy.name!r} needs the ages of calls and agents; give `ages` with "
                "the counters, tell the pacer the events, or export a policy of the 'counters' set "
                "with 'dials' or 'vicidial_level' actions"
            )
        now_ms = seen.at_ms if now_ms is None else now_ms
        late = self._late(now_ms, seen.at_ms)
        if late:
            return self._answered(now_ms, _Asked("progressive", late, 0), 0, ())
        view = self._counters.view(seen)
        self.now_ms = max(self.now_ms, now_ms)
        return self._decided(now_ms, view)

    def _decided(self, now_ms: int, view: View) -> Decision:
        if self.ledger_error:
            self.save()
        asked = self._asked(view)
        dials, guards = self._guarded(view, asked)
        return self._answered(now_ms, asked, dials, guards)

    def _late(self, now_ms: int, observed_ms: int) -> str:
        if observed_ms > now_ms + self.settings.skew_ms:
            return f"observation from the future: {observed_ms - now_ms} ms"
        if now_ms - observed_ms > self.settings.max_age_ms:
            return f"stale observation: {now_ms - observed_ms} ms"
        if now_ms < self.now_ms - self.settings.skew_ms:
            return f"clock ran back: {self.now_ms - now_ms} ms"
        return ""

    def forget_lost(self, now_ms: int) -> None:
        """Forget dials that must have ended long ago; their end was never told."""
        for call in self.calls.forget_lost(now_ms):
            self.ledger.noted(now_ms, "lost", {"call": call})

    def _is_open(self, now_ms: int) -> bool:
        session = self.session
        if session is None or not session.dial_from_ms <= now_ms < session.dial_until_ms:
            return False
        return self.rules.may_ring(now_ms)

    def _asked(self, view: View) -> _Asked:
        """Who answers, and what."""
        if self._stopped is not None:
            return _Asked("stop", f"stopped by {self._stopped}", 0, self._level(0.0))
        if not self._is_open(view.now_ms):
            return _Asked("stop", "outside dialing hours", 0, self._level(0.0))
        if self.ledger_error:
            reason = f"ledger failed: {self.ledger_error}"
            return _Asked("progressive", reason, view.dials_at(1.0), self._level())
        over = self._over_cap(view)
        if over and self.settings.at_cap == "stop":
            return _Asked("stop", over, 0, self._level(0.0))
        if self._ratio is not None:
            if self._ratio_until_ms is None or view.now_ms < self._ratio_until_ms:
                return _Asked("override", "override", view.dials_at(self._ratio), self._level())
            self._ratio = None
        reason = over or self._why_not(view)
        if not reason:
            found, why = self._ask(self.policy, self._features, view)
            if found is not None:
                return found
            reason = why
            if self.table is not None:
                found, _ = self._ask(self.table, self._table_features, view)
                if found is not None:
                    return found._replace(mode="table", reason=reason)
        return _Asked("progressive", reason, view.dials_at(1.0), self._level())

    def _level(self, level: float = 1.0) -> float | None:
        """A level, if the policy answers in levels."""
        return level if self.policy.answers == "level" else None

    def _over_cap(self, view: View) -> str:
        """Which window is above its cap, in words; empty: none.

        A window is judged after the cold start. The borrowing shield lets the first window pass its
        cap for a while, so with it only the others are judged here.
        """
        if self.settings.at_cap == "policy":
            return ""
        borrows = self.shield is not None and self.shield.settings.kind == "borrowing"
        for w, (silent, answered) in enumerate(view.windows):
            window = self.tables.windows[w]
            if window.cap >= 1.0 or (w == 0 and borrows and self.settings.at_cap != "stop"):
                continue
            if silent > window.cap * answered and answered >= self.settings.cold_start_answered:
                return f"cap reached: {silent:g} of {answered:g} in the {window.kind} window"
        return ""

    def _why_not(self, view: View) -> str:
        """Why the policy may not answer; empty: it may."""
        settings = self.settings
        answered = view.windows[0][1]
        if answered < settings.cold_start_answered:
            return f"cold start: {answered:g} of {settings.cold_start_answered} answered calls"
        present = view.there
        if present < settings.min_agents:
            return f"too few agents: {present} of {settings.min_agents}"
        return settings.envelope.why_outside(view.n_agents, present, view.rate)

    def _ask(
        self, evaluator: Evaluator, features: Features | None, view: View
    ) -> tuple[_Asked | None, str]:
        """The answer of a policy, or None and why there is none."""
        factor = 1.0
        if self._budget is not None:
            factor = self._budget.told(
                view.now_ms, *view.windows[0], view.spent_ms, view.span_ms, view.rate
            )
        ahead: LookAhead | None = None
        base = 0
        try:
            if evaluator.base_theta is not None:
                ahead = self.base_rule.look_ahead(view)
                theta = evaluator.base_theta
                if self._budget is not None:
                    theta = min(max(theta * factor, THETA_RANGE[0]), THETA_RANGE[1])
                base = self.base_rule.dials(view, theta, ahead)
            obs = _NO_OBS
            if features is not None:
                if ahead is None and features.needs_ages:
                    ahead = self.base_rule.look_ahead(view)
                obs = features.make(view, ahead, base)
            self.last_obs, self.last_base = obs, base
            value, valid = evaluator.answer(obs, base)
            if not valid:
                return None, "not valid: " + _which(obs)
            if not math.isfinite(value):
                return None, f"answer {value!r} is not finite"
            return self._in_calls(evaluator, view, value, factor, ahead), ""
        except (PacerError, ValueError, ArithmeticError, LookupError) as error:
            return None, f"failed: {type(error).__name__}: {error}"

    def _in_calls(
        self,
        evaluator: Evaluator,
        view: View,
        value: float,
        factor: float,
        ahead: LookAhead | None,
    ) -> _Asked:
        """An answer as calls to place now."""
        kind = evaluator.answers
        if kind == "dials":
            return _Asked("policy", "", max(int(value), 0))
        if kind == "theta":
            return _Asked("policy", "", self.base_rule.dials(view, value * factor, ahead))
        if kind == "ratio":
            return _Asked("policy", "", view.dials_at(value * factor))
        dials = int(value * view.at_work) - view.in_flight - view.waiting
        return _Asked("policy", "", max(dials, 0), value)

    # --- the guards -----------------------------------------------------------------------------

    def _guarded(self, view: View, asked: _Asked) -> tuple[int, tuple[str, ...]]:
        """What may be placed of what was asked, and which guards cut it."""
        dials, guards = asked.dials, []
        most = min(self.tables.max_dials, view.lines_free)
        if dials > most:
            dials = most
            guards.append("lines" if view.lines_free < self.tables.max_dials else "most calls")
        self.last_room = None
        if self.shield is not None and asked.mode != "stop":
            self.last_room = self.shield.room(view)
            allowed = max(self.last_room - view.in_flight, 0)
            if dials > allowed:
                self.shield_acts += 1
                self.shield_calls += dials - allowed
                dials = allowed
                guards.append("shield")
        return dials, tuple(guards)

    def _answered(
        self, now_ms: int, asked: _Asked, dials: int, guards: tuple[str, ...]
    ) -> Decision:
        self._seq += 1
        level = asked.level
        if level is not None and "shield" in guards:
            level = 1.0  # a placer that goes on by itself is not to be trusted with more
        decision = Decision(
            seq=self._seq,
            at_ms=now_ms,
            valid_until_ms=now_ms + self.settings.lease_ms,
            dials=dials,
            mode=asked.mode,
            reason=asked.reason,
            guards=guards,
            asked=asked.dials,
            level=level,
            policy=self.policy.name,
        )
        if self.settings.keeps_decisions:
            # no count depends on it; a count that cannot be kept is noticed (`save`)
            with suppress(OSError, ValueError, sqlite3.Error):
                self.ledger.decided(now_ms, decision.to_dict())
        return decision


def _features_of(tables: PacingTables, evaluator: Evaluator) -> Features | None:
    """What makes the observations of a policy; None: it observes nothing."""
    return None if evaluator.observation == "none" else Features(tables, evaluator.observation)


def _which(obs: NDArray[np.float32]) -> str:
    bad = np.flatnonzero(~np.isfinite(obs))
    return f"feature {int(bad[0])} is not finite" if len(bad) else "a feature is out of its range"
