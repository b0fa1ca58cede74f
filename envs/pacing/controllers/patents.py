"""Pacing rules of patents; see agents/rules/patents.py for the readings."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.book import params_at, state_at
from quietdial.envs.pacing.control import answer_rate, look_ahead
from quietdial.envs.pacing.controllers.plug import Controller, Setting
from quietdial.envs.pacing.controllers.quantile import (
    LAW,
    add_answers,
    add_event,
    fresh_answer,
    know_means,
    mean_excess,
    most_dials,
    nearest_look_ahead,
    no_events,
    pick_up_odds,
)
from quietdial.envs.pacing.controllers.sight import (
    MEMO,
    idle,
    in_flight,
    in_wrap_up,
    keep_books,
    lately,
    on_call,
    present,
    setting,
    today,
    waiting,
)
from quietdial.envs.pacing.counts import time_in
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.params import IS_FULL, LEARNS, N_COHORTS, N_LINES, OPENS
from quietdial.envs.pacing.state import (
    ANSWERS_SEEN,
    BEGAN,
    CONNECTED,
    DROPS_SEEN,
    GRID,
    IDLE,
    IN_FLIGHT,
    NOW,
    PICKUPS_SEEN,
    RINGS_SEEN_S,
    SESSION,
    SIGHT,
)

_LEAST, _MOST = 0.02, 50.0
_SQUARINGS = 5


@compiled(inline="always")
def calls_below(room, expected, each):  # type: ignore[no-untyped-def]
    """Fewest calls, each worth `each` > 0, that bring `expected` up to `room`; 0 if it is there."""
    return np.int64(np.ceil((room - expected) / each - 1e-9)) if room > expected else np.int64(0)


@compiled(inline="always")
def calls_within(room, expected, each):  # type: ignore[no-untyped-def]
    """Most calls, each worth `each` (at least 1e-6), with which `expected` stays within `room`."""
    if room <= expected:
        return np.int64(0)
    return np.int64(np.floor((room - expected) / max(each, 1e-6) + 1e-9))


@compiled()
def answers_to_come(b, s, p):  # type: ignore[no-untyped-def]
    """Sum of the pick-up probabilities of the calls in flight, each at its age."""
    rate = answer_rate(b, s, p)
    slots = p.n[N_COHORTS]
    second = s.head[b, NOW] // 1000
    left = s.head[b, IN_FLIGHT]
    answers = 0.0
    table = s.ring[b] if p.n[LEARNS] else p.ring
    for age in range(slots):
        if left == 0:
            break
        calls = s.cohort[b, (second - age + slots) % slots]
        answers += calls * pick_up_odds(rate, table[age], 0)
        left -= calls
    return answers


@compiled(inline="always")
def _unattended(b, s, p, window_s):  # type: ignore[no-untyped-def]
    """Share of the answered calls that no agent took, over a window; 0 without any."""
    answered = lately(b, s, p, ANSWERS_SEEN, window_s)
    return lately(b, s, p, DROPS_SEEN, window_s) / answered if answered > 0 else 0.0


# ----------------------------------------------------------------- US 4,881,261, calls in progress


@compiled()
def queue_limit(curves, rate_per_s, setup_s, delay_s, most):  # type: ignore[no-untyped-def]
    """Largest Q_MAX up to `most` with a mean delay E(Q_MAX - N)+ / R of at most `delay_s`.

    N, the calls in set-up, is Poisson with mean R S.
    """
    mean = rate_per_s * setup_s
    p_n = chance.exp(curves, -mean / 2.0**_SQUARINGS)
    for _ in range(_SQUARINGS):
        p_n *= p_n
    below, queue, q_max = p_n, 0.0, 0
    while q_max < most and queue + below <= rate_per_s * delay_s:
        queue += below  # E(q + 1 - N)+ - E(q - N)+ = P(N <= q)
        q_max += 1
        p_n *= mean / q_max
        below += p_n
    return q_max


def _calls_in_progress(address, b):  # type: ignore[no-untyped-def]
    """Dial while fewer than Q_MAX + M calls are in progress; see CallsInProgress."""
    s, p = state_at(address), params_at(address)
    keep_books(b, s, p)
    delay_s, window_s = setting(b, s, p, 0), setting(b, s, p, 1)
    opened = p.sessions[s.more[b, SESSION], OPENS] if p.n[IS_FULL] else 0
    elapsed_s = (s.head[b, NOW] - max(opened, s.head[b, BEGAN])) / 1000.0
    taken = lately(b, s, p, ANSWERS_SEEN, window_s) - lately(b, s, p, DROPS_SEEN, window_s)
    rate_per_s = taken / min(window_s, elapsed_s)
    setup_s = today(b, s, p, RINGS_SEEN_S) / max(today(b, s, p, PICKUPS_SEEN), 1)
    q_max = queue_limit(p.curves, rate_per_s, setup_s, delay_s, p.n[N_LINES])
    each = answer_rate(b, s, p) if setting(b, s, p, 2) > 0.5 else 1.0
    served = on_call(b, s, p) + in_wrap_up(b, s, p)
    under_way = served + waiting(b, s) + in_flight(b, s) * each
    calls = calls_below(present(b, s, p) + q_max, under_way, each)
    return min(calls, most_dials(b, s, p))


# ----------------------------------------------------------------- US 8,411,844, occupancy quantile

_AIM, _MINUTE = 0, 1


@compiled(inline="always")
def share_full(curves, lost, agents, wait_s, handle_s):  # type: ignore[no-untyped-def]
    """Share of time at full occupancy at which a share `lost` of the calls is abandoned.

    A call that finds no agent gets one in time unless nobody is free within `wait_s`, which has
    probability e^(-agents wait_s / handle_s). At most .5.
    """
    return min(lost * chance.exp(curves, agents * wait_s / handle_s), 0.5)


@compiled(inline="always")
def aim_after(aim, occupancy, share, step):  # type: ignore[no-untyped-def]
    """Move the aimed-at occupancy until it is full a `share` of the time."""
    full = 1.0 if occupancy >= 1.0 else 0.0
    return min(max(aim + step * (share - full), 0.1), 2.0)


def _occupancy_quantile(address, b):  # type: ignore[no-untyped-def]
    """Dial up to an occupancy that is exceeded rarely enough; see OccupancyQuantile."""
    s, p = state_at(address), params_at(address)
    memo = s.memo[b]
    know_means(b, s, p, memo, _MINUTE)
    if memo[_AIM] == 0.0:
        memo[_AIM] = setting(b, s, p, 3)
    agents = present(b, s, p)
    if agents <= 0:
        return np.int64(0)
    g = nearest_look_ahead(p, setting(b, s, p, 1))
    occupied = agents - idle(b, s, p) + waiting(b, s)
    wait_s = p.ahead_s[g, 1] - p.ahead_s[g, 0]
    share = share_full(p.curves, setting(b, s, p, 0), agents, wait_s, memo[_MINUTE + 1])
    memo[_AIM] = aim_after(memo[_AIM], occupied / agents, share, setting(b, s, p, 2))
    look_ahead(b, s, p)
    expected = occupied - s.est[b, SIGHT + g] + s.est[b, SIGHT + GRID + g]
    calls = calls_within(memo[_AIM] * agents, expected, fresh_answer(b, s, p, g))
    return min(calls, most_dials(b, s, p))


# ----------------------------------------------------------------- US 11,856,140, sum of pick-ups


def _pick_up_sum(address, b):  # type: ignore[no-untyped-def]
    """Dial until the pick-up probabilities sum up to the available agents; see PickUpSum."""
    s, p = state_at(address), params_at(address)
    agents = np.float64(idle(b, s, p) - waiting(b, s))
    horizon_s = setting(b, s, p, 1)
    if horizon_s > 0.0:
        look_ahead(b, s, p)
        agents += s.est[b, SIGHT + nearest_look_ahead(p, horizon_s)]
    room = setting(b, s, p, 0) * agents
    calls = calls_within(room, answers_to_come(b, s, p), answer_rate(b, s, p))
    return min(calls, most_dials(b, s, p))


# ----------------------------------------------------------------- US 4,829,563, weighted forecast

_TICKS, _WEIGHT, _IDLE_MS, _TAKEN = MEMO, MEMO + 1, MEMO + 2, MEMO + 3


@compiled(inline="always")
def weight_after(  # type: ignore[no-untyped-def]
    weight, unattended, limit, idle_s, idle_aim_s, up, down
):
    """Raise the weight while too many calls are unattended, else lower it while agents idle."""
    if unattended > limit:
        weight *= 1.0 + up
    elif idle_s > idle_aim_s:
        weight /= 1.0 + down
    return min(max(weight, _LEAST), _MOST)


@compiled(inline="always")
def _due(b, s, period_s):  # type: ignore[no-untyped-def]
    """Count the ticks, one a second; whether a period of `period_s` is over."""
    s.memo[b, _TICKS] += 1.0
    return np.int64(s.memo[b, _TICKS]) % max(np.int64(period_s), np.int64(1)) == 0


def _weighted_forecast(address, b):  # type: ignore[no-untyped-def]
    """Dial while weighted expected answers are below the agents expected; see WeightedForecast."""
    s, p = state_at(address), params_at(address)
    keep_books(b, s, p)
    memo = s.memo[b]
    if memo[_WEIGHT] == 0.0:
        memo[_WEIGHT] = setting(b, s, p, 7)
    if _due(b, s, setting(b, s, p, 5)):
        taken = s.head[b, CONNECTED] - memo[_TAKEN]
        idle_ms = time_in(b, s, IDLE) - memo[_IDLE_MS]
        memo[_TAKEN], memo[_IDLE_MS] = s.head[b, CONNECTED], time_in(b, s, IDLE)
        unattended = _unattended(b, s, p, setting(b, s, p, 6))
        idle_s = idle_ms / 1000.0 / max(taken, 1.0)
        limit, idle_aim_s = setting(b, s, p, 0), setting(b, s, p, 2)
        up, down = setting(b, s, p, 3), setting(b, s, p, 4)
        weight = memo[_WEIGHT]
        memo[_WEIGHT] = weight_after(weight, unattended, limit, idle_s, idle_aim_s, up, down)
    g = nearest_look_ahead(p, setting(b, s, p, 1))
    look_ahead(b, s, p)
    agents = idle(b, s, p) - waiting(b, s) + s.est[b, SIGHT + g]
    room = agents / memo[_WEIGHT]
    calls = calls_within(room, s.est[b, SIGHT + GRID + g], fresh_answer(b, s, p, g))
    return min(calls, most_dials(b, s, p))


# ----------------------------------------------------------------- US 5,640,445, adapted window

_WINDOW_S = MEMO + 1


@compiled(inline="always")
def window_after(window_s, unattended, limit, step):  # type: ignore[no-untyped-def]
    """Shorten the window while too many calls are unattended, else lengthen it."""
    window_s *= 1.0 / (1.0 + step) if unattended > limit else 1.0 + step
    return min(max(window_s, 0.05), 600.0)


@compiled()
def releases_within(b, s, p, window_s):  # type: ignore[no-untyped-def]
    """Expected releases within `window_s`, on straight lines between the look-ahead times.

    Beyond the last of them in proportion to the window. Needs a fresh `look_ahead`.
    """
    time_s, releases = 0.0, 0.0
    for g in range(GRID):
        next_s, more = p.ahead_s[g, 1], s.est[b, SIGHT + g]
        if window_s < next_s:
            return releases + (more - releases) * (window_s - time_s) / (next_s - time_s)
        time_s, releases = next_s, more
    return releases * window_s / time_s


@compiled()
def attended_dials(law, agents, expected, q, limit, most):  # type: ignore[no-untyped-def]
    """Most dials with E(answers - agents)+ <= limit E(answers), up to `most`.

    `law` is that of the answers of the calls in flight, `expected` its mean; it is changed. `q` is
    the probability that a new dial is answered.
    """
    dials = 0
    while dials < most:
        add_event(law, q)
        expected += q
        if mean_excess(law, agents) > limit * expected:
            break
        dials += 1
    return dials


def _hazard_window(address, b):  # type: ignore[no-untyped-def]
    """Dial for the agents who will be free within an adapted window; see HazardWindow."""
    s, p = state_at(address), params_at(address)
    keep_books(b, s, p)
    memo = s.memo[b]
    if memo[_WINDOW_S] == 0.0:
        memo[_WINDOW_S] = setting(b, s, p, 1)
    if _due(b, s, setting(b, s, p, 3)):
        unattended = _unattended(b, s, p, setting(b, s, p, 4))
        limit, step = setting(b, s, p, 0), setting(b, s, p, 2)
        memo[_WINDOW_S] = window_after(memo[_WINDOW_S], unattended, limit, step)
    look_ahead(b, s, p)
    busy = present(b, s, p) - idle(b, s, p)
    agents = idle(b, s, p) - waiting(b, s) + min(releases_within(b, s, p, memo[_WINDOW_S]), busy)
    law = memo[_WINDOW_S + 1 :]
    no_events(law)
    add_answers(b, s, p, law, 0)
    expected, rate = answers_to_come(b, s, p), answer_rate(b, s, p)
    limit, most = setting(b, s, p, 0), most_dials(b, s, p)
    return attended_dials(law, agents, expected, rate, limit, most)


_LIMIT = Setting("limit", "share", 0.03, 1e-4, 0.9, "unattended share of the answered calls")
_HORIZON = Setting("horizon_s", "s", 14.0, 1.0, 120.0, "how far ahead agents and answers count")
_PERIOD = Setting("period_s", "s", 60.0, 1.0, 3600.0, "time between adjustments")
_OVER = Setting("over_s", "s", 300.0, 15.0, 3600.0, "memory of the unattended share")

CONTROLLERS = {
    "calls-in-progress": Controller(
        name="calls-in-progress",
        tick_s=1.0,
        knob="delay_s",
        settings=(
            Setting("delay_s", "s", 2.0, 0.01, 3600.0, "D_MAX, allowed mean delay in the queue"),
            Setting("window_s", "s", 900.0, 60.0, 3600.0, "memory of the connection rate R"),
            Setting("by_chance", "0/1", 0.0, 0.0, 1.0, "1: a dial counts as its answer rate"),
        ),
        sees=("calls in progress", "agents present", "connections, ring times", "its answer rate"),
        tick=_calls_in_progress,
        memo=MEMO,
        tape=True,
    ),
    "occupancy-quantile": Controller(
        name="occupancy-quantile",
        tick_s=1.0,
        knob="target",
        settings=(
            Setting("target", "share", 0.03, 1e-4, 0.5, "abandoned share of the answered calls"),
            _HORIZON,
            Setting("step", "1", 0.001, 1e-6, 0.1, "change of the occupancy in a second"),
            Setting("begin", "occupancy", 0.7, 0.1, 1.5, "occupancy aimed at first"),
        ),
        sees=("idle and present agents", "waiting callees", "ages of calls and agent states"),
        tick=_occupancy_quantile,
        memo=4,
    ),
    "pick-up-sum": Controller(
        name="pick-up-sum",
        tick_s=1.0,
        knob="per_agent",
        settings=(
            Setting("per_agent", "answers per agent", 1.0, 0.02, 5.0, "expected answers per agent"),
            Setting("horizon_s", "s", 0.0, 0.0, 120.0, "agents free within it count; 0: idle ones"),
        ),
        sees=("idle agents", "waiting callees", "ages of calls in flight", "its answer rate"),
        tick=_pick_up_sum,
    ),
    "weighted-forecast": Controller(
        name="weighted-forecast",
        tick_s=1.0,
        knob="limit",
        settings=(
            _LIMIT,
            _HORIZON,
            Setting("idle_s", "s", 0.0, 0.0, 3600.0, "idle time between calls that is aimed at"),
            Setting("up", "1", 0.05, 1e-4, 1.0, "rise of the weight in a period"),
            Setting("down", "1", 0.005, 1e-4, 1.0, "fall of the weight in a period"),
            _PERIOD,
            _OVER,
            Setting("begin", "1", 3.0, _LEAST, _MOST, "weight at the begin"),
        ),
        sees=("ages of calls and agent states", "its unattended share", "idle time per call"),
        tick=_weighted_forecast,
        memo=MEMO + 4,
        tape=True,
    ),
    "hazard-window": Controller(
        name="hazard-window",
        tick_s=1.0,
        knob="limit",
        settings=(
            _LIMIT,
            Setting("begin_s", "s", 5.0, 0.05, 600.0, "window at the begin"),
            Setting("step", "1", 0.01, 1e-4, 1.0, "change of the window in a period"),
            _PERIOD,
            Setting("over_s", "s", 3600.0, 15.0, 3600.0, "memory of the unattended share"),
        ),
        sees=("ages of calls and agent states", "its unattended share"),
        tick=_hazard_window,
        memo=MEMO + 2 + LAW,
        tape=True,
    ),
}
