"""Pacing rules described in patents (survey of dialers, section 2.3).

The texts give ideas and formulas, rarely every number; each class says what had to be chosen. Where
a patent has no name for its rule, the name here says what it goes by. All of them place at most the
scenario's `max_dials` at a time, like the index rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quietdial.agents.rules.base import ControllerRule
from quietdial.agents.rules.quantile import LookAheadRule


@dataclass(frozen=True)
class CallsInProgress(ControllerRule):
    """A cap on the calls in progress, from the delay allowed in the queue (US 4,881,261).

    Formula: dial while fewer than K = Q_MAX + M calls are in progress, with M agents present. The
    calls in set-up, N, are Poisson with mean R S, R the rate of connections to agents, S the mean
    set-up time; Q = E(Q_MAX - N)+ calls wait on average, for D = Q / R; Q_MAX is lowered from a
    large value until D <= D_MAX.
    Source: patent (its first claim), 1989.
    Interpreted: calls in progress are dials in flight, waiting callees, conversations and wrap-ups;
    R is measured over `window_s`, S is the mean time from dial to pick-up of the day. The text does
    not speak of dials that nobody answers: by default each counts as a call; with `by_chance` 1 it
    counts as its answer rate, which fits the Poisson law of connections better, dials far more, and
    is above 3 % silent even at D_MAX near 0 on small floors.
    Knob: `delay_s`, D_MAX [s], 0.01 to 3600. Acts every second. Sees: calls in progress, agents
    present, its own connections and ring times, with `by_chance` its answer rate.

    Attributes:
        delay_s: D_MAX, allowed mean delay in the queue [s].
        window_s: memory of the rate of connections [s].
        by_chance: 1: a dial in flight counts as its answer rate, 0: as a call.
    """

    controller: ClassVar[str] = "calls-in-progress"

    delay_s: float = 2.0
    window_s: float = 900.0
    by_chance: float = 0.0


@dataclass(frozen=True)
class OccupancyQuantile(LookAheadRule):
    """An occupancy aim at which all agents are busy as often as calls may be lost (US 8,411,844).

    Formula: dial as many calls as keep the expected occupancy at the horizon, (busy agents +
    waiting callees - expected releases + expected answers) / agents present N, within the aim o.
    Every second o rises by `step` x a, and falls by `step` while no agent is idle, so that full
    occupancy comes to have probability a = min(`target` e^(N D / H), .5): of the calls that find
    nobody idle a share e^(-N D / H) gets no agent within the wait limit D, with H the mean handling
    time.
    Source: patent, and the forecast of the same owner's US 8,345,856 (expected calls in the agent
    pool at a future time).
    Interpreted: the text collects the distribution of the occupancy under a safe mean once, takes
    the occupancy whose exceedance equals the abandonment target, and corrects the mean with it, H
    and D. A distribution taken at a high mean is cut off at full occupancy, so this reading follows
    the same quantile step by step instead; how H and D enter is our own reading. The aim goes on
    from day to day.
    Knob: `target`, a share, 1e-4 to 0.5; calls do not come at random, so the silent rate differs.
    Acts every second. Sees: ages of calls and of agent states, waiting callees, agents present.

    Attributes:
        target: abandoned share of the answered calls that is aimed at.
        horizon_s: how far ahead the occupancy is expected [s]; the nearest look-ahead is used.
        step: change of the occupancy in a second.
        begin: occupancy aimed at first.
    """

    controller: ClassVar[str] = "occupancy-quantile"

    target: float = 0.03
    horizon_s: float = 14.0
    step: float = 0.001
    begin: float = 0.7


@dataclass(frozen=True)
class PickUpSum(LookAheadRule):
    """Dial until the pick-up probabilities sum up to the available agents (US 11,856,140).

    Formula: most new calls with (sum of the pick-up probabilities of the calls in flight, each at
    its age) + new calls x p <= `per_agent` x (idle agents - waiting callees).
    Source: patent (its first claim), where every lead has its own probability; here all new dials
    share the estimated answer rate p.
    Interpreted: the text wants the sum to equal the agents, `per_agent` = 1, and knows of no target
    rate; the factor makes it tunable. With `horizon_s` > 0 the expected releases within it (and the
    wait limit) count as available agents too.
    Knob: `per_agent`, expected answers per available agent, 0.02 to 5. Acts every second. Sees:
    idle agents, waiting callees, ages of calls in flight, its own answer rate.

    Attributes:
        per_agent: expected answers per available agent.
        horizon_s: agents who will be free within it count [s]; 0: only those who are idle.
    """

    controller: ClassVar[str] = "pick-up-sum"

    per_agent: float = 1.0
    horizon_s: float = 0.0


@dataclass(frozen=True)
class WeightedForecast(LookAheadRule):
    """Weighted expected answers against expected agents (US 4,829,563).

    Formula: most new calls with w (expected answers within the horizon, the new calls included) <=
    idle agents - waiting callees + expected releases. Every `period_s` the weight w is multiplied
    by 1 + `up` if the unattended share of the last `over_s` is above `limit`, else divided by
    1 + `down` if the mean idle time between calls of the last period is above `idle_s`.
    Source: patent (abstract and survey), 1989.
    Interpreted: all numbers; a rise ten times as fast as the fall, since equal steps swing between
    far too many calls and none. The expectations go by the ages of calls and of agent states.
    Knob: `limit`, a share, 1e-4 to 0.9. It sets when the weight is raised; the silent rate of the
    day is lower, about half of it. Acts every second, moves the weight once a minute.
    Sees: ages of calls and of agent states, its own unattended share, idle time per call.

    Attributes:
        limit: unattended share of the answered calls above which the weight rises.
        horizon_s: how far ahead answers and agents are expected [s].
        idle_s: idle time between calls that is aimed at [s].
        up: rise of the weight in a period.
        down: fall of the weight in a period.
        period_s: time between changes of the weight [s], in whole seconds.
        over_s: memory of the unattended share [s].
        begin: weight at the begin.
    """

    controller: ClassVar[str] = "weighted-forecast"

    limit: float = 0.03
    horizon_s: float = 14.0
    idle_s: float = 0.0
    up: float = 0.05
    down: float = 0.005
    period_s: float = 60.0
    over_s: float = 300.0
    begin: float = 3.0


@dataclass(frozen=True)
class HazardWindow(LookAheadRule):
    """Agents who will be free within a window that adapts to the abandoned share (US 5,640,445).

    Formula: agents c = idle - waiting callees + sum over the busy agents of P(free within the
    window W | age of their state); most new calls with E(answers - c)+ <= `limit` E(answers), where
    the calls in flight are answered with their probability at their age and new ones with the
    answer rate. Every `period_s` W is multiplied by 1 + `step` if the unattended share of the last
    `over_s` is at most `limit`, else divided by it.
    Source: patent (abstract and first claim): weights by hazard and elapsed time, their sum, the
    window and its adaptation are from the text; that the number of calls follows from answer
    probabilities and the allowed rate is too, the formula for it is our own reading.
    Interpreted: P(free within W) is on straight lines between the look-ahead times (and the wait
    limit) of the tables, in proportion to W beyond the last; all numbers.
    Knob: `limit`, a share, 1e-4 to 0.9. Acts every second, moves the window once a minute. Sees:
    ages of calls and of agent states, waiting callees, its own answer rate and unattended share.

    Attributes:
        limit: allowed unattended share of the answered calls.
        begin_s: window at the begin [s].
        step: change of the window in a period.
        period_s: time between changes of the window [s], in whole seconds.
        over_s: memory of the unattended share [s].
    """

    controller: ClassVar[str] = "hazard-window"

    limit: float = 0.03
    begin_s: float = 5.0
    step: float = 0.01
    period_s: float = 60.0
    over_s: float = 3600.0
