"""A world cut into windows: the largest odds of an answer and of a release within one."""

from __future__ import annotations

import itertools
import math
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

from quietdial.agents.limits.covered import Times, times_of
from quietdial.agents.limits.durations import (
    ages_ms,
    end_odds,
    free_share,
    most_in,
    old_share,
    profile_of,
    quotient,
    sampled,
    whole_ms,
)
from quietdial.agents.limits.window_game import Losses, Window
from quietdial.envs.errors import ConfigError
from quietdial.envs.laws import ConstantLaw
from quietdial.envs.scenario import DriftingAnswer, Scenario

P_CEILING: Final = 0.95
"""Largest answer rate that a drifting scenario reaches (`DriftingAnswer` cuts it there)."""

_SPLITS = (0.45, 0.5, 0.55, 0.6, 0.7, 0.8)  # levels of the answer rate


def answer_odds(world: Scenario, p: float, oldest_s: float, window_s: float) -> float:
    """Largest probability of an answer within a window, for calls of an age up to `oldest_s`.

    p (F(a + w) - F(a)) / (p (1 - F(a)) + (1 - p) (1 - G(a))) over all ages; it rises with p.
    """
    law, width = sampled(world.calls.time_to_answer), whole_ms(window_s)
    endings = [(part.share, sampled(part.time)) for part in world.calls.unanswered]
    ages = ages_ms([law, *(table for _, table in endings)], whole_ms(oldest_s), (width,))
    answered, later = law.below(ages), law.below(ages + width)
    others = sum((share * table.below(ages) for share, table in endings), 0.0 * ages)
    left = p * (1.0 - answered) + (1.0 - p) * (1.0 - others)
    return float(quotient(p * (later - answered), left).max())


class _Release(NamedTuple):
    odds: float  # largest probability that a busy agent is released within a window
    old: float  # mean number of releases of a conversation out of phases older than those looked at


def release_of(world: Scenario, window_s: float) -> _Release:
    """Releases within a window, in any phase but the very oldest.

    In conversation: the wrap-up must end, too. In wrap-up or break: the hazard of the law.
    """
    floor = world.floor
    if floor.wrap is None and floor.talk_day_sd > 0:
        raise ConfigError("no limit is known without a wrap-up if talk times differ between days")
    last, pause = floor.wrap or floor.talk, floor.breaks
    odds, old = end_odds(last, window_s), old_share(last)
    if floor.wrap is not None:
        odds = max(odds, sampled(floor.wrap).up_to(window_s))
    if pause is not None:
        odds = max(odds, end_odds(pause.duration, window_s))
        old += pause.p_after_wrap * old_share(pause.duration)
    return _Release(odds, old)


def fast_share(world: Scenario, window_s: float, factor: float = 1.0) -> float:
    """Bound of the probability that a conversation begins and ends within a window."""
    floor = world.floor
    wrap = sampled(floor.wrap).up_to(window_s) if floor.wrap else 1.0
    return sampled(floor.talk).up_to(window_s / factor) * wrap


def oldest_s_of(world: Scenario) -> tuple[float, ...]:
    """Candidates for the greatest age of a call that is looked at: its choice is free."""
    law = world.calls.time_to_answer
    far = whole_ms(float(law.quantile_s(np.array([0.998]))[0])) / 1000.0
    laws = [part.time for part in world.calls.unanswered]
    ends = [other.value_s for other in laws if isinstance(other, ConstantLaw)]
    near = [end - 0.02 for end in ends if law.cdf(np.array([end]))[0] > 0.9]
    return tuple(dict.fromkeys([min([far, *near]), far]))


def wild_share(answer: DriftingAnswer, p: float, span_s: float) -> float:
    """Largest probability that the answer rate exceeds `p` at some time of a stretch.

    At any time log p(t) = log p0 + log(1 + a sin phi) + x with p0 log-uniform, phi uniform and x
    normal, all by upper sums; over the stretch the sum over the values that it can hold.
    """
    if answer.jumps_per_h > 0:
        raise ConfigError("no limit is known for an answer rate that jumps")
    if p >= P_CEILING:
        return 0.0
    cells = np.arange(1, 401) / 400
    level = math.log(answer.p_low) + cells * math.log(answer.p_high / answer.p_low)
    season = np.log1p(answer.season_amplitude * np.sin(math.pi * (cells - 0.5)))
    room = math.log(p) - level[:, None] - season[None, :]
    above = stats.norm.sf(room / answer.ou_sd) if answer.ou_sd > 0 else room <= 0.0
    return min(float(np.mean(above)) * (math.ceil(span_s / answer.update_s) + 1), 1.0)


class Day(NamedTuple):
    """A world, cut into windows: what does not depend on the multiplier."""

    world: Scenario
    times: Times
    window: Window
    wild: tuple[tuple[float, Window], ...]  # P(rate above a level), window up to the next level
    p_split: float
    oldest_s: float
    losses: Losses


def day_of(world: Scenario, p: float, oldest_s: float, window_s: float) -> Day:
    """Windows of that length, for answer rates up to `p` and calls not older than `oldest_s`."""
    times, calls = times_of(world), world.calls
    release = release_of(world, window_s)
    profile = profile_of(calls.time_to_answer, oldest_s, window_s)
    waits = world.rule.wait_limit_s > 0

    def window(rate: float) -> Window:
        odds = answer_odds(world, rate, oldest_s, window_s)
        return Window(times.n_agents, waits, window_s, odds, release.odds, profile)

    answer, wild = calls.answer_rate, []
    if isinstance(answer, DriftingAnswer) and p < P_CEILING:
        levels = [*(level for level in _SPLITS if level >= p), P_CEILING]
        for low, high in itertools.pairwise(levels):
            wild.append((wild_share(answer, low, oldest_s + window_s), window(high)))
    losses = Losses(
        2.0 * (times.n_agents - 1) * most_in(world.floor.talk, window_s),
        fast_share(world, window_s) + release.old,
        free_share(calls.time_to_answer, oldest_s, window_s),
    )
    return Day(world, times, window(p), tuple(wild), p, oldest_s, losses)
