"""UNICOM Intelligence's Predict1 and Predict1PI, and an open re-implementation of the latter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quietdial.agents.rules.base import ControllerRule


@dataclass(frozen=True)
class Predict1(ControllerRule):
    """Calls for the waiting interviewers, and over-dialed ones by the rate of failed calls.

    Formula: in dial = waiting + waiting x PredictAdjust % x failed / answered, with failed and
    answered calls of the last 15 minutes; no over-dialing with fewer than `min_answered` answered
    calls or `min_waiting` interviewers, or while more than `max_silent_pct` of today's answered
    calls were silent; at most `max_calls`. PredictAdjust 100 % expects one answer per interviewer.
    Source: documentation of UNICOM Intelligence, predictive dialing algorithms (survey of dialers,
    section 1.3). Predict2 has the same formula. Its control of congested lines is left out: the
    scenarios have none.
    Knob: `predict_adjust`, 0 to 1000 %.
    Acts every 0.5 s; the product also at each request and each failed call.
    Sees: idle agents, callees waiting, calls in flight, pick-ups and ended calls of the last 15
    minutes, today's dropped and answered calls.
    Interpreted: fractions of calls are dropped; attempts are ended calls; the defaults of
    `min_answered` and `min_waiting` are not public.

    Attributes:
        predict_adjust: PredictAdjust, weight of the failed calls [%].
        max_silent_pct: MaxPredictiveSilentCalls of a day; 100 switches it off [%].
        min_answered: MinPredictAnsweredCalls in the window, no over-dialing below it.
        min_waiting: MinPredictWaitingInterviewers, no over-dialing below it.
        max_calls: MaxDialCalls, most calls in dial.
        window_s: window of the statistics, at most an hour [s].
    """

    controller: ClassVar[str] = "predict1"

    predict_adjust: float = 150.0
    max_silent_pct: float = 3.0
    min_answered: float = 5.0
    min_waiting: float = 1.0
    max_calls: float = 10000.0
    window_s: float = 900.0


@dataclass(frozen=True)
class Predict1PI(Predict1):
    """Predict1 with PredictAdjust moved by a proportional-integral controller.

    Formula: every `pi_period_s`, e = target - today's silent share of the answered calls, both in
    percent; PredictAdjust = `predict_adjust` + `gain` (e + integral of e dt / `integral_s`), within
    0 and 1000 %. A step is left out of the integral if it would push PredictAdjust further beyond
    that range. Else as Predict1, the hard daily maximum included.
    Source: documentation of UNICOM Intelligence (survey of dialers, section 1.3): the controller,
    its start, target and maximum. Gains and period are not public: ours were chosen by simulation
    on study-real-10 and study-real-25, 10 and 1800 s for the product's defaults; with a start of 50
    and the hard maximum off, gain 3 is better. The period is that of the science study, part B.
    Knob: `target_silent_pct`, 0.01 to 50 %; with `max_silent_pct` 100 the hard maximum is off.
    Acts every 0.5 s, the PI controller every `pi_period_s`.
    Sees: as Predict1.
    Interpreted: the integral goes on from day to day, the share begins anew.

    Attributes:
        predict_adjust: PredictAdjust without any error [%]; further settings as `Predict1`.
        target_silent_pct: TargetPredictiveSilentCalls, silent share to be held [%].
        gain: change of PredictAdjust per percent of error [%].
        integral_s: an error doubles its effect in this time [s].
        pi_period_s: time between steps of the PI controller [s].
    """

    controller: ClassVar[str] = "predict1-pi"

    target_silent_pct: float = 2.5
    gain: float = 10.0
    integral_s: float = 1800.0
    pi_period_s: float = 15.0


@dataclass(frozen=True)
class Dctr(ControllerRule):
    """An open re-implementation of Predict1PI ('dctr'), with its constants.

    Formula: nothing is dialed with fewer than `min_idle` idle agents. Progressive in the first
    `progressive_s`, before `min_answered` answered calls, and while more than `max_abandon_pct` of
    today's answered calls were abandoned. Else, at each step: e = target - abandoned %, I <- I + e,
    adjust <- adjust + 2 e + 0.05 I; calls in dial = trunc(idle + (idle / p - idle) adjust %).
    Source: source code of the re-implementation (survey of dialers, section 1.3).
    Knob: `target_abandon_pct`, 0.01 to 50 %; with `max_abandon_pct` 100 nothing stops it. A floor
    of ten seldom has three idle agents: `min_idle` 1 is the better setting there.
    Acts every 0.5 s; the controller steps every `pi_period_s`.
    Sees: as Predict1.
    Interpreted: the time of a step is our own choice; adjust is cut to 0 to 1000 % as in UNICOM's
    documentation; p is of the last 15 minutes; calls in flight are taken off.

    Attributes:
        target_abandon_pct: abandoned share of the answered calls to be held [%].
        max_abandon_pct: progressive above it [%].
        min_idle: no dialing with fewer idle agents.
        progressive_s: progressive at first for so long [s].
        min_answered: progressive before so many answered calls.
        predict_adjust: adjust at first [%].
        gain: change of adjust per error and step.
        integral_gain: change of adjust per sum of errors and step.
        pi_period_s: time of a step [s].
        window_s: window of the answer rate, at most an hour [s].
    """

    controller: ClassVar[str] = "dctr"

    target_abandon_pct: float = 2.5
    max_abandon_pct: float = 3.0
    min_idle: float = 3.0
    progressive_s: float = 300.0
    min_answered: float = 10.0
    predict_adjust: float = 150.0
    gain: float = 2.0
    integral_gain: float = 0.05
    pi_period_s: float = 15.0
    window_s: float = 900.0
