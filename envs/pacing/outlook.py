"""What a dialer can expect of calls and agents of a given age: the tables behind the index rule.

Everything here comes from the *believed* laws of a scenario (its `belief`, else the nominal true
laws), never from the hidden state of a day. Ages are counted in integer bins, so that the kernel
and the numpy twin read the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.laws import Law
from quietdial.envs.pacing.state import (
    BREAK,
    GRID,
    INBOUND_TALK,
    MACHINE_TALK,
    N_AGENT_STATES,
    TALK,
    WRAP,
)
from quietdial.envs.scenario import Scenario

FloatArray = NDArray[np.float64]

AGE_SHIFT = 11
"""An agent's age bin is age_ms >> AGE_SHIFT: bins of 2.048 s."""
AGE_BINS = 512
"""Ages beyond 512 bins (17.5 minutes) share the last one."""
RING_BIN_MS = 1000
"""Calls in flight are counted by whole seconds since their dial."""
_CONVOLUTION_STEP_S = 0.25
_SHORTEST_S = 0.25
"""No look-ahead is shorter, so that dials answered at once are foreseen."""
_GONE = 1e-9


class Outlook(NamedTuple):
    """Tables of the believed future."""

    horizon_s: FloatArray  # (GRID,) look-ahead times [s]
    weight: FloatArray  # (GRID,) share of answered calls that each stands for
    release: FloatArray  # (states less idle, AGE_BINS, GRID) P(free within horizon + wait limit)
    ring: FloatArray  # (n_cohorts, 2 + GRID): 1 - F(age), 1 - G(age), F(age + horizon) - F(age)
    ahead_s: FloatArray  # (GRID, 2) horizon, and horizon with the wait limit [s]
    prior: FloatArray  # (4, AGE_BINS) mass of talk, wrap by age bin; answer, ending by whole second


def make_outlook(scenario: Scenario, n_cohorts: int) -> Outlook:
    """Build the tables for a scenario.

    F is the believed law of the time to answer (set-up and detection included), G that of the
    unanswered endings (science: the probability that a call of age a is answered within h is
    p (F(a+h) - F(a)) / (p (1 - F(a)) + (1 - p) (1 - G(a)))).
    """
    belief, floor, calls = scenario.belief, scenario.floor, scenario.calls
    detection, inbound = calls.detection, scenario.inbound
    setup = [calls.setup] if calls.setup else []
    listening = [detection.decision] if detection.kind == "amd" and detection.decision else []
    answer = _Sum([belief.time_to_answer or calls.time_to_answer, *setup, *listening])
    endings = [(u.share, _Sum([u.time, *setup])) for u in calls.unanswered]
    quantiles = (np.arange(GRID) + 0.5) / GRID
    horizon = np.maximum(np.rint(answer.quantile_s(quantiles) * 4) / 4, _SHORTEST_S)
    talk = belief.talk or floor.talk
    wrap = belief.wrap or floor.wrap
    within = horizon + _wait_s(scenario)
    stay = 1.0 - (floor.breaks.p_after_wrap if floor.breaks else 0.0)

    release = np.zeros((N_AGENT_STATES - 1, AGE_BINS, GRID))
    ages = (np.arange(AGE_BINS, dtype=np.float64) + 0.5) * 2.0**AGE_SHIFT / 1000.0
    release[TALK - 1] = _released(talk, wrap, ages, within) * stay
    if wrap is not None:
        release[WRAP - 1] = _released(wrap, None, ages, within) * stay
    if floor.breaks is not None:
        release[BREAK - 1] = _released(floor.breaks.duration, None, ages, within)
    if detection.machine_handling is not None:
        release[MACHINE_TALK - 1] = _released(detection.machine_handling, None, ages, within)
    if inbound is not None:
        release[INBOUND_TALK - 1] = _released(inbound.talk, None, ages, within)

    age = np.arange(n_cohorts, dtype=np.float64) * RING_BIN_MS / 1000.0
    ring = np.zeros((n_cohorts, 2 + GRID))
    answered = _after_dial(answer.cdf(age))
    ring[:, 0] = 1.0 - answered
    ring[:, 1] = 1.0 - _after_dial(np.sum([share * law.cdf(age) for share, law in endings], axis=0))
    ring[:, 2:] = np.maximum(answer.cdf(age[:, None] + horizon) - answered[:, None], 0.0)
    seconds = np.arange(AGE_BINS + 1, dtype=np.float64)
    edges = seconds * 2.0**AGE_SHIFT / 1000.0
    ended = np.sum([share * law.cdf(seconds) for share, law in endings], axis=0)
    prior = np.diff(
        [
            talk.cdf(edges),
            wrap.cdf(edges) if wrap is not None else np.ones(AGE_BINS + 1),
            _after_dial(answer.cdf(seconds)),
            _after_dial(ended),
        ]
    )
    ahead = np.stack([horizon, within], axis=1)
    return Outlook(horizon, np.full(GRID, 1.0 / GRID), release, ring, ahead, prior)


def _after_dial(ended: FloatArray) -> FloatArray:
    """P(over by each age), the first of which is 0: a dial lasts at least a millisecond."""
    return np.concatenate([[0.0], ended[1:]])


def _wait_s(scenario: Scenario) -> float:
    """Mean time from when a callee asks for an agent to the deadline [s].

    That is the rule's limit, with the greeting before the clock's origin and without the time that
    detection has taken by then.
    """
    rule, calls = scenario.rule, scenario.calls
    wait_s = rule.wait_limit_s
    if calls.greeting is not None and rule.clock != "answer":
        wait_s += calls.greeting.start.sampled_mean_s()
        if rule.clock == "greeting_end":
            wait_s += calls.greeting.length.sampled_mean_s()
    if calls.detection.kind == "amd" and calls.detection.decision is not None:
        wait_s -= calls.detection.decision.sampled_mean_s()
    return max(wait_s, 0.0)


class _Sum:
    """The law of a sum of independent durations; of one law, that law itself."""

    def __init__(self, laws: Sequence[Law]) -> None:
        self._law = laws[0] if len(laws) == 1 else None
        if self._law is None:
            step = _CONVOLUTION_STEP_S
            mass = np.ones(1)
            for law in laws:
                edges = np.arange(0.0, law.max_s() + step, step)
                mass = np.convolve(mass, np.diff(law.cdf(edges), prepend=0.0))
            self._cdf = np.minimum(np.cumsum(mass), 1.0)
            self._times = np.arange(len(self._cdf)) * step

    def cdf(self, t_s: FloatArray) -> FloatArray:
        """P(sum <= t_s), elementwise."""
        if self._law is not None:
            return self._law.cdf(t_s)
        return np.asarray(np.interp(t_s, self._times, self._cdf))

    def quantile_s(self, p: FloatArray) -> FloatArray:
        """Inverse of `cdf`."""
        if self._law is not None:
            return self._law.quantile_s(p)
        return np.asarray(np.interp(p, self._cdf, self._times))


def _released(first: Law, then: Law | None, ages_s: FloatArray, within_s: FloatArray) -> FloatArray:
    """P(rest of `first` and all of `then` take at most `within` | age in `first`), (ages, GRID).

    Beyond the last age that the law allows, the value of that last age is kept.
    """
    alive = 1.0 - first.cdf(ages_s)
    if then is None:
        ended = first.cdf(ages_s[:, None] + within_s) - first.cdf(ages_s)[:, None]
    else:
        ended = np.zeros((len(ages_s), len(within_s)))
        for g, limit in enumerate(within_s):
            edges = np.arange(0.0, limit + _CONVOLUTION_STEP_S / 2, _CONVOLUTION_STEP_S)
            mass = np.diff(first.cdf(ages_s[:, None] + edges), axis=1)
            middle = 0.5 * (edges[:-1] + edges[1:])
            ended[:, g] = mass @ then.cdf(limit - middle)
    share = np.clip(ended / np.maximum(alive, _GONE)[:, None], 0.0, 1.0)
    known = np.flatnonzero(alive > 1e-6)
    last = int(known[-1]) if len(known) else 0
    share[last + 1 :] = share[last]
    return share
