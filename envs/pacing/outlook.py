"""What a dialer can expect of calls and agents of a given age: the tables behind the index rule.

Everything here comes from the *believed* laws of a scenario (its `belief`, else the nominal true
laws), never from the hidden state of a day. Ages are counted in integer bins, so that the kernel
and the numpy twin read the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError
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


SPEED_CLASSES = 9
"""Agents are told apart in so many classes of speed, half a standard deviation wide."""


def make_outlook(
    scenario: Scenario,
    n_cohorts: int,
    *,
    ages: bool = True,
    wrap: bool = True,
    signal_s: float = 0.0,
    speeds: int = 0,
) -> Outlook:
    """Build the tables for a scenario.

    Args:
        scenario: the world; its belief counts.
        n_cohorts: ages of calls in flight, whole seconds.
        ages: whether ages are seen; if not, every age has the mean over the ages of a steady state.
        wrap: whether wrap-up is told from the conversation; if not, both are one long state.
        signal_s: agents announce so long before that they will be free: the tables are those of
            agents who have not; 0: they do not announce it.
        speeds: classes of the agents' speed, each with a table of its own; 0: one table for all.

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
    wrap_up = belief.wrap or floor.wrap
    within = horizon + _wait_s(scenario)
    stay = 1.0 - (floor.breaks.p_after_wrap if floor.breaks else 0.0)

    states = N_AGENT_STATES - 1
    release = np.zeros((states * max(speeds, 1), AGE_BINS, GRID))
    age_s = (np.arange(AGE_BINS, dtype=np.float64) + 0.5) * 2.0**AGE_SHIFT / 1000.0
    for level in range(max(speeds, 1)):
        table = release[level * states : (level + 1) * states]
        factor = _speed(floor.speed_sd, level) if speeds else 1.0
        table[TALK - 1], table[WRAP - 1] = _work_released(
            _scaled(talk, factor),
            None if wrap_up is None else _scaled(wrap_up, factor),
            age_s,
            within,
            told_apart=wrap,
            stay=stay,
            signal_s=signal_s,
        )
        if floor.breaks is not None:
            table[BREAK - 1] = _released(floor.breaks.duration, None, age_s, within)
        if detection.machine_handling is not None:
            table[MACHINE_TALK - 1] = _released(detection.machine_handling, None, age_s, within)
        if inbound is not None:
            table[INBOUND_TALK - 1] = _released(inbound.talk, None, age_s, within)
    if not ages:
        release[TALK - 1] = _mean_over_ages(release[TALK - 1], talk, age_s)
        if wrap_up is not None:
            release[WRAP - 1] = _mean_over_ages(release[WRAP - 1], wrap_up, age_s)

    age = np.arange(n_cohorts, dtype=np.float64) * RING_BIN_MS / 1000.0
    ring = np.zeros((n_cohorts, 2 + GRID))
    answered = _after_dial(answer.cdf(age))
    ring[:, 0] = 1.0 - answered
    ring[:, 1] = 1.0 - _after_dial(np.sum([share * law.cdf(age) for share, law in endings], axis=0))
    ring[:, 2:] = np.maximum(answer.cdf(age[:, None] + horizon) - answered[:, None], 0.0)
    if not ages:
        ring[:] = ring.mean(axis=0)
    seconds = np.arange(AGE_BINS + 1, dtype=np.float64)
    edges = seconds * 2.0**AGE_SHIFT / 1000.0
    ended = np.sum([share * law.cdf(seconds) for share, law in endings], axis=0)
    prior = np.diff(
        [
            talk.cdf(edges),
            wrap_up.cdf(edges) if wrap_up is not None else np.ones(AGE_BINS + 1),
            _after_dial(answer.cdf(seconds)),
            _after_dial(ended),
        ]
    )
    ahead = np.stack([horizon, within], axis=1)
    return Outlook(horizon, np.full(GRID, 1.0 / GRID), release, ring, ahead, prior)


def _speed(sd: float, level: int) -> float:
    """Factor of the times of an agent of a speed class: exp(sd z - sd^2 / 2), z = -2 to 2."""
    z = -2.0 + 4.0 * level / (SPEED_CLASSES - 1)
    return float(np.exp(sd * z - 0.5 * sd**2))


class _Lasting(Protocol):
    """What the tables need of a law."""

    def cdf(self, t_s: FloatArray) -> FloatArray:
        """P(duration <= t_s), elementwise."""
        ...


class _Scaled:
    """A law with all times multiplied by a factor."""

    def __init__(self, law: _Lasting, factor: float) -> None:
        self._law, self._factor = law, factor

    def cdf(self, t_s: FloatArray) -> FloatArray:
        """P(duration <= t_s), elementwise."""
        return self._law.cdf(np.asarray(t_s) / self._factor)


def _scaled(law: Law, factor: float) -> Law | _Scaled:
    return law if factor == 1.0 else _Scaled(law, factor)


def _work_released(
    talk: Law | _Scaled,
    wrap: Law | _Scaled | None,
    age_s: FloatArray,
    within: FloatArray,
    *,
    told_apart: bool,
    stay: float,
    signal_s: float,
) -> tuple[FloatArray, FloatArray]:
    """Tables of agents in conversation and in wrap-up, (AGE_BINS, GRID) each.

    With a signal: P(free within h | not free within `signal_s`) of those who have not given it.
    """
    ahead = np.append(within, signal_s)
    if wrap is None:
        talking = _released(talk, None, age_s, ahead) * stay
        wrapping = np.zeros_like(talking)
    elif told_apart:
        talking = _released(talk, wrap, age_s, ahead) * stay
        wrapping = _released(wrap, None, age_s, ahead) * stay
    else:
        talking = wrapping = _released(_whole(talk, wrap), None, age_s, ahead) * stay
    found = []
    for table in (talking, wrapping):
        soon = table[:, -1:]
        late = np.clip((table[:, :-1] - soon) / np.maximum(1.0 - soon, _GONE), 0.0, 1.0)
        found.append(late if signal_s > 0.0 else table[:, :-1])
    return found[0], found[1]


def _whole(talk: Law | _Scaled, wrap: Law | _Scaled) -> _Sum:
    """The law of conversation and wrap-up together; scaled laws are summed by their tables."""
    if isinstance(talk, _Scaled) or isinstance(wrap, _Scaled):
        raise ConfigError("knowledge 'wrap-hidden' does not go with 'speeds'; leave one out")
    return _Sum([talk, wrap])


def _mean_over_ages(table: FloatArray, law: Law, age_s: FloatArray) -> FloatArray:
    """The same row for every age: the mean over the ages of agents met in a steady state."""
    alive = 1.0 - law.cdf(age_s)
    return np.broadcast_to(alive @ table / alive.sum(), table.shape)


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


def _released(
    first: _Lasting, then: _Lasting | None, ages_s: FloatArray, within_s: FloatArray
) -> FloatArray:
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
