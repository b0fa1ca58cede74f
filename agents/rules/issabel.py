"""Issabel's (formerly Elastix') prediction of agents who will soon be free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quietdial.agents.rules.base import ControllerRule


@dataclass(frozen=True)
class Issabel(ControllerRule):
    """One call for each agent who is free, or is predicted to be free when it is answered.

    Formula: every `period_s`, an agent who has talked for t counts as soon free if
    1 - exp(-(t + A) / m) >= 1 - miss, which is t >= -m ln(miss) - A, with m the mean of all
    finished conversations and A the mean time to answer. n = free + soon free - callers waiting;
    + `forced` if that is positive; at most `max_channels`; less the calls in flight. With
    `overcommit`, n is divided by the share of calls that were answered in the last `asr_window_s`
    (at least 1 / `max_overcommit`) and rounded. Nothing looks at the silent calls.
    Source: source code of the Issabel call center (survey of dialers, section 1.2). The share is
    Erlang's distribution with one phase, taken from the begin of the call and not from now, so it
    waits for calls longer than 3.5 m.
    Knob: `miss_pct`, 100 less the documented service percent (97). 0.000001 to 100 %; 100: every
    talking agent is soon free. With `overcommit`, `max_overcommit` is the better knob.
    Acts every 5 s; older releases every 3 s.
    Sees: idle agents, how long each conversation has lasted, callers waiting, calls in flight,
    totals of conversations, pick-ups and ringing.
    Interpreted: m and A are means over the episode; A counts `answer_pad` calls of `answer_s`
    besides, where the product pads a window of recent calls. Calls below its ten seconds for a
    'short call' are not left out of m. With a late feed the agents are seen as late.

    Attributes:
        miss_pct: 100 - service percent, chance of being wrong that is accepted [%].
        period_s: time between predictions, whole seconds [s].
        answer_s: time to answer before anything is known [s].
        answer_pad: so many calls of `answer_s` are added to those seen.
        min_finished: progressive before so many finished conversations.
        forced: calls placed on top of a positive number.
        max_channels: most calls in flight.
        overcommit: 1 divides by the share answered, 0 does not.
        asr_window_s: time over which that share is measured, at most an hour [s].
        asr_min_calls: no division before so many ended calls in it.
        max_overcommit: most to multiply by; the product's least share of 0.20 is 5.
    """

    controller: ClassVar[str] = "issabel"

    miss_pct: float = 3.0
    period_s: float = 5.0
    answer_s: float = 8.0
    answer_pad: float = 10.0
    min_finished: float = 10.0
    forced: float = 0.0
    max_channels: float = 10000.0
    overcommit: float = 0.0
    asr_window_s: float = 1800.0
    asr_min_calls: float = 10.0
    max_overcommit: float = 5.0
