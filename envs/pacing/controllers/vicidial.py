"""VICIdial's two loops, OSDial's variant and the RatioManager add-on.

All three move one number, the dial level, and hand it to one placer, which fills up lines to level
x agents. What every setting means, and what had to be interpreted, stands with the rules in
agents/rules/vicidial.py. The base tick is 0.5 s; on a tick of several loops the order is sample,
statistics, level, placer.
"""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing.book import params_at, state_at
from quietdial.envs.pacing.controllers.plug import Controller, Setting
from quietdial.envs.pacing.controllers.sight import (
    idle,
    in_flight,
    logged_in,
    on_call,
    setting,
    total,
    waiting,
)
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.params import (
    AT_LIMIT,
    FEED_STEPS,
    HAS_INBOUND,
    HOLD,
    IS_FULL,
    N_AGENTS,
    OPENS,
    SPARE_GROUP,
    STEP_MS,
    WALL_S,
)
from quietdial.envs.pacing.state import (
    AGENT_SINCE,
    AGENT_STATE,
    CALLERS,
    CONNECTED,
    DROPS_SEEN,
    ENDS_SEEN,
    IDLE,
    INBOUND_TALK,
    LATE,
    LINGERING,
    MACHINE_AGENT,
    MACHINE_TALK,
    NOW,
    OFF,
    PLACE,
    SESSION,
    TALK,
    WAITING,
)

RATIO, HARD_LIMIT, AVERAGE, TAPERED = 0, 1, 2, 3
"""Dial methods, as numbers of the setting `dial_method`."""
NO_THRESHOLD, LOGGED_IN_AGENTS, NON_PAUSED_AGENTS, WAITING_AGENTS = 0, 1, 2, 3
"""Agents that a threshold counts."""
NOT_BLENDED, BLENDED, AS_THE_FLOOR = 0, 1, 2
"""Values of `campaign_allow_inbound`."""

_TICK_S = 0.5
_SAMPLE, _PLACER, _LEVEL, _STATISTICS = 2, 5, 30, 120
"""Periods in ticks: 1 s, 2.5 s, 15 s, 60 s."""

# --- places in State.memo -------------------------------------------------------------------------
_DAY, _TICKS, LEVEL = 0, 1, 2
_SAMPLES, _READY, _ROWS, _LIVE = 3, 4, 5, 6
"""Samples since the last level and their sums: with a sample each second and a level each 15 s that
is the moving average over 15 samples."""
CALLS_TODAY, DROPS_TODAY, PERCENT_TODAY, CALLS_MINUTE, DROPS_MINUTE, ANSWERS_MINUTE = range(7, 13)
DROPS_5_MINUTES, ANSWERS_5_MINUTES = 13, 14
"""The statistics as they were last refreshed."""
_MORNING = 15  # five totals at the begin of the day
_MINUTES = 20  # ring of five minutes: calls, drops, answers of each
_LOOPS = 35  # loops of the placer in the ring that follows
_RING = 36  # ring of 20 loops: differential, agents
DROPS_AT_CUT = 76  # RatioManager: today's drops at its last reduction
_N_MEMO = 77
_N_MINUTES, _N_LOOPS = 5, 20


# --- the arithmetic -------------------------------------------------------------------------------


@compiled()
def compounded(level, diff, agents, target, intensity, lowest, highest):  # type: ignore[no-untyped-def]
    """Steps 1 to 4: the level moved by the differential, rounded (halves to even), clamped."""
    change = 0.0
    if agents != 0.0:
        change = (diff + target) / agents
    if change < 0.0:
        change *= abs(intensity / 100.0 - 1.0)
    else:
        change *= 1.0 + intensity / 100.0
    moved = np.rint(level * (1.0 + change) * 1000.0) / 1000.0
    return max(min(moved, highest), lowest)


@compiled()
def braked(level, calls_minute, drops_minute):  # type: ignore[no-untyped-def]
    """Step 5: half the level when most of the last minute's calls were dropped."""
    if calls_minute > 20.0 and drops_minute > 0.5 * calls_minute:
        return level / 2.0
    return level


@compiled()
def limited(method, level, left):  # type: ignore[no-untyped-def]
    """Step 6: the level of a campaign above its limit; `left` is latest time - now, both HHMM."""
    if method == HARD_LIMIT:
        return 1.0
    if method == AVERAGE:
        return level / 2.0
    if left < 0:
        return 1.0
    if left > 1000:
        return level
    return level * (left / 1000.0)


@compiled()
def drop_percentage(drops, answers, handled, machines, ofcom):  # type: ignore[no-untyped-def]
    """100 x drops / answers, or Ofcom's estimate with the machines that agents marked."""
    if ofcom:
        if handled + machines > 0.0:
            drops *= 1.0 - machines / (handled + machines)
        answers = handled + drops
    return 100.0 * drops / max(answers, 1.0)


@compiled()
def to_dial(level, counted, transfers, existing):  # type: ignore[no-untyped-def]
    """The placer: calls up to round(level x counted) + transfers, halves rounded to even."""
    goal = np.int64(np.rint(level * counted)) + transfers
    return max(goal - existing, 0)


@compiled()
def osdial_average(level, share_1, share_5, limit, step):  # type: ignore[no-untyped-def]
    """OSDial above the limit: `step` thousandths up or down, by the last 1 and 5 minutes."""
    if share_1 > limit:
        return level * (1000.0 - step) / 1000.0
    return level if share_5 > limit else level * (1000.0 + step) / 1000.0


@compiled()
def managed(level, percent, limit, drops, at_cut, ready, wait_s, long_s, lowest, highest):  # type: ignore[no-untyped-def]
    """RatioManager's step of a minute: 0.1 up, 0.1 down or none."""
    if percent > limit:
        if drops > at_cut:
            level -= 0.1
    elif ready > 0 and wait_s > long_s:
        level += 0.1
    level = np.rint(level * 1000.0) / 1000.0
    return max(min(level, highest), lowest)


# --- what is seen ---------------------------------------------------------------------------------


@compiled()
def _own_agents(b, s, p, state):  # type: ignore[no-untyped-def]
    """Agents of the campaign in a state, those who take inbound calls only left out."""
    count = 0
    for i in range(p.n[N_AGENTS]):
        if s.agent[b, i, AGENT_STATE] == state and p.shifts[i, SPARE_GROUP] == 0:
            count += 1
    return count


@compiled()
def _rows(b, s, p):  # type: ignore[no-untyped-def]
    """Rows of the live agents' table: logged in, paused ones included."""
    if p.n[HAS_INBOUND]:
        return p.shifts.shape[0] - _inbound_only(p) - _own_agents(b, s, p, OFF)
    return logged_in(b, s, p)


@compiled()
def _inbound_only(p):  # type: ignore[no-untyped-def]
    count = np.int64(0)
    for i in range(p.n[N_AGENTS]):
        count += p.shifts[i, SPARE_GROUP]
    return count


@compiled()
def _in_call(b, s, p):  # type: ignore[no-untyped-def]
    """INCALL: agents of the campaign with somebody on the line."""
    inbound = _own_agents(b, s, p, INBOUND_TALK) if p.n[HAS_INBOUND] else 0
    return on_call(b, s, p) + inbound


@compiled()
def _in_young_call(b, s, p, younger_s):  # type: ignore[no-untyped-def]
    """INCALL agents whose call is younger than a threshold, by the dialer's own table of calls."""
    count = 0
    now = s.head[b, NOW]
    for i in range(p.n[N_AGENTS]):
        state = s.agent[b, i, AGENT_STATE]
        if state != TALK and state != MACHINE_TALK and state != INBOUND_TALK:
            continue
        if now - s.agent[b, i, AGENT_SINCE] < younger_s * 1000.0:
            count += 1 if p.shifts[i, SPARE_GROUP] == 0 else 0
    return count


@compiled()
def _mean_wait_s(b, s, p):  # type: ignore[no-untyped-def]
    """Mean time that the ready agents have been ready, as far as the feed shows it [s]."""
    seen_at = s.head[b, NOW] - p.n[FEED_STEPS] * p.n[STEP_MS]
    waited, count = 0.0, 0
    for i in range(p.n[N_AGENTS]):
        since = s.agent[b, i, AGENT_SINCE]
        if s.agent[b, i, AGENT_STATE] == IDLE and since <= seen_at:
            waited += seen_at - since
            count += 1
    return waited / (1000.0 * count) if count > 0 else 0.0


@compiled()
def _reached(b, s, p, kind, number):  # type: ignore[no-untyped-def]
    """Whether the chosen agents are at least as many as a threshold; true without one."""
    if kind == NO_THRESHOLD:
        return True
    if kind == LOGGED_IN_AGENTS:
        return _rows(b, s, p) >= number
    if kind == NON_PAUSED_AGENTS:
        return idle(b, s, p) + _in_call(b, s, p) >= number
    return idle(b, s, p) >= number


@compiled(inline="always")
def _blends(p, allowed):  # type: ignore[no-untyped-def]
    """Whether the campaign takes inbound calls."""
    return allowed == BLENDED or (allowed == AS_THE_FLOOR and p.n[HAS_INBOUND] > 0)


@compiled(inline="always")
def _callers(b, s, p):  # type: ignore[no-untyped-def]
    """Inbound callers who wait."""
    return s.more[b, CALLERS] if p.n[HAS_INBOUND] else 0


@compiled()
def _left_until(b, s, p, latest):  # type: ignore[no-untyped-def]
    """`latest` - local time, both as whole numbers HHMM."""
    session = s.more[b, SESSION] if p.n[IS_FULL] else 0
    passed_s = (s.head[b, NOW] - p.sessions[session, OPENS]) // 1000
    minutes = (p.sessions[session, WALL_S] + passed_s) // 60
    return np.int64(latest) - (minutes // 60 % 24 * 100 + minutes % 60)


# --- statistics -----------------------------------------------------------------------------------


@compiled()
def _lingering(b, s, p):  # type: ignore[no-untyped-def]
    """Callees who wait on after the regulator's limit, whom the drop timer has not cut yet."""
    count = 0
    if p.n[IS_FULL] and p.n[AT_LIMIT] == HOLD:
        for place in range(s.head[b, WAITING]):
            count += s.story[b, s.waiting[b, place], PLACE] == LINGERING
    return count


@compiled()
def _totals(b, s, p):  # type: ignore[no-untyped-def]
    """Calls, drops, answers, calls handled by agents, machines that agents marked."""
    late = s.more[b, LATE] if p.n[IS_FULL] else 0
    machines = s.more[b, MACHINE_AGENT] if p.n[IS_FULL] else 0
    drops = total(b, s, p, DROPS_SEEN) - late - _lingering(b, s, p)
    handled = s.head[b, CONNECTED] + late
    return total(b, s, p, ENDS_SEEN), drops, handled + drops, handled, machines


@compiled()
def _refresh(b, s, p, ofcom):  # type: ignore[no-untyped-def]
    """Once a minute: today's statistics, and those of the last 1 and 5 minutes."""
    memo = s.memo[b]
    calls, drops, answers, handled, machines = _totals(b, s, p)
    today = calls - memo[_MORNING], drops - memo[_MORNING + 1], answers - memo[_MORNING + 2]
    minute = np.int64(memo[_TICKS] // _STATISTICS)
    last = _MINUTES + 3 * ((minute - 1) % _N_MINUTES)
    first = _MINUTES + 3 * (minute % _N_MINUTES)  # five minutes ago, or the morning's zeros
    memo[CALLS_MINUTE] = today[0] - memo[last]
    memo[DROPS_MINUTE] = today[1] - memo[last + 1]
    memo[ANSWERS_MINUTE] = today[2] - memo[last + 2]
    memo[DROPS_5_MINUTES] = today[1] - memo[first + 1]
    memo[ANSWERS_5_MINUTES] = today[2] - memo[first + 2]
    for i in range(3):
        memo[first + i] = today[i]
    memo[CALLS_TODAY] = today[0]
    memo[DROPS_TODAY] = today[1]
    memo[PERCENT_TODAY] = drop_percentage(
        today[1], today[2], handled - memo[_MORNING + 3], machines - memo[_MORNING + 4], ofcom
    )


@compiled()
def _begin_day(b, s, p, start_level):  # type: ignore[no-untyped-def]
    """Statistics of today and samples begin anew; the level is that of last night."""
    memo = s.memo[b]
    level = memo[LEVEL] if memo[_DAY] > 0.0 else max(start_level, 1.0)
    for i in range(_N_MEMO):
        memo[i] = 0.0
    memo[_DAY] = (s.more[b, SESSION] if p.n[IS_FULL] else 0) + 1
    memo[LEVEL] = level
    calls, drops, answers, handled, machines = _totals(b, s, p)
    memo[_MORNING] = calls
    memo[_MORNING + 1] = drops
    memo[_MORNING + 2] = answers
    memo[_MORNING + 3] = handled
    memo[_MORNING + 4] = machines


@compiled()
def _ticked(b, s, p, start_level):  # type: ignore[no-untyped-def]
    """Number of this tick since dialing began today, from 1."""
    session = (s.more[b, SESSION] if p.n[IS_FULL] else 0) + 1
    if s.memo[b, _DAY] != session:
        _begin_day(b, s, p, start_level)
    s.memo[b, _TICKS] += 1.0
    return np.int64(s.memo[b, _TICKS])


# --- loops ----------------------------------------------------------------------------------------


@compiled()
def _sample(b, s, p, agents):  # type: ignore[no-untyped-def]
    """Once a second: ready agents, agents that divide the differential, waiting calls."""
    memo = s.memo[b]
    memo[_SAMPLES] += 1.0
    memo[_READY] += idle(b, s, p)
    memo[_ROWS] += agents
    memo[_LIVE] += waiting(b, s)


@compiled()
def _averages(b, s, blended):  # type: ignore[no-untyped-def]
    """Differential and agents: of the last 15 samples, or of the placer's last 20 loops."""
    memo = s.memo[b]
    if blended:
        n = min(memo[_LOOPS], float(_N_LOOPS))
        diff = agents = 0.0
        for i in range(np.int64(n)):
            diff += memo[_RING + 2 * i]
            agents += memo[_RING + 2 * i + 1]
    else:
        n = memo[_SAMPLES]
        diff = memo[_READY] - memo[_LIVE]
        agents = memo[_ROWS]
    for i in range(_SAMPLES, _LIVE + 1):
        memo[i] = 0.0
    return diff / max(n, 1.0), agents / max(n, 1.0)


@compiled()
def _note_loop(b, s, p):  # type: ignore[no-untyped-def]
    """Write a loop of the placer into the statistics of a blended campaign."""
    memo = s.memo[b]
    at = _RING + 2 * (np.int64(memo[_LOOPS]) % _N_LOOPS)
    memo[at] = idle(b, s, p) - waiting(b, s) - _callers(b, s, p)
    memo[at + 1] = idle(b, s, p) + _in_call(b, s, p)
    memo[_LOOPS] += 1.0


@compiled()
def _place(b, s, p, level, available_only, younger_s, target, blended):  # type: ignore[no-untyped-def]
    """The placer's loop of 2.5 s: calls that fill up the lines."""
    ready, talking = idle(b, s, p), on_call(b, s, p)
    counted = float(ready)
    if not available_only:
        counted += _in_young_call(b, s, p, younger_s) if younger_s > 0.0 else _in_call(b, s, p)
    existing = in_flight(b, s) + waiting(b, s) + talking
    if blended and ready == 0:
        existing += _callers(b, s, p) + _in_call(b, s, p) - talking
    return to_dial(level, counted + target, talking if available_only else 0, existing)


# --- settings -------------------------------------------------------------------------------------


def _switch(name: str, meaning: str, highest: int = 1, default: int = 0) -> Setting:
    return Setting(name, "choice", default, 0, highest, meaning)


_START = Setting("auto_dial_level", "lines per agent", 1.0, 1.0, 20.0, "level at the start")
_MAXIMUM = Setting("adaptive_maximum_level", "lines per agent", 3.0, 1.0, 20.0, "highest level")
_LIMIT = Setting("adaptive_dropped_percentage", "%", 3.0, 0.0, 100.0, "limit of drops / answers")
_INTENSITY = Setting("adaptive_intensity", "%", 0.0, -40.0, 40.0, "gain of rise against fall")
_TARGET = Setting("adaptive_dl_diff_target", "agents", 0.0, -40.0, 40.0, "waiting calls wanted")
_LATEST = Setting(
    "adaptive_latest_server_time", "HHMM", 2100, 0, 2359, "end of the day for ADAPT_TAPERED"
)
_METHOD = _switch("dial_method", "0 ratio, 1 hard limit, 2 average, 3 tapered", 3, TAPERED)
_AVAILABLE_ONLY = _switch("available_only_ratio_tally", "1: agents with a call do not count")
_WHO = "0 none, 1 logged-in, 2 non-paused, 3 waiting agents"
_MANY = ("agents", 0, 0, 2000)
_COMMON_SEES = (
    "ready agents",
    "agents logged in, with a call and paused",
    "waiting callees",
    "calls in flight",
    "today's calls, drops and answers",
    "local time",
)


# --- VICIdial -------------------------------------------------------------------------------------

_VICIDIAL = (
    _METHOD,
    _START,
    _MAXIMUM,
    _LIMIT,
    _INTENSITY,
    _TARGET,
    _switch("dl_diff_target_method", "0 ADAPT_CALC_ONLY, 1 CALLS_PLACED"),
    _LATEST,
    _AVAILABLE_ONLY,
    _switch("available_only_tally_threshold", _WHO, 3),
    Setting("available_only_tally_threshold_agents", *_MANY, "fewer: available only"),
    Setting("incall_tally_threshold_seconds", "s", 0, 0, 3600, "older calls do not count; 0: all"),
    _switch("dial_level_threshold", _WHO, 3),
    Setting("dial_level_threshold_agents", *_MANY, "fewer: level 1"),
    _switch("campaign_allow_inbound", "0 no, 1 yes, 2 as the floor", 2, AS_THE_FLOOR),
    _switch("ofcom_uk_drop_calc", "1: drops corrected for machines that agents mark"),
)


@compiled()
def _vicidial_level(b, s, p, method, blended):  # type: ignore[no-untyped-def]
    """The level controller's loop of 15 s."""
    memo = s.memo[b]
    diff, agents = _averages(b, s, blended)
    level = compounded(
        memo[LEVEL],
        diff,
        agents,
        setting(b, s, p, 5),
        setting(b, s, p, 4),
        1.0,
        setting(b, s, p, 2),
    )
    level = braked(level, memo[CALLS_MINUTE], memo[DROPS_MINUTE])
    if memo[CALLS_TODAY] > 50.0 and memo[PERCENT_TODAY] > setting(b, s, p, 3):
        level = limited(method, level, _left_until(b, s, p, setting(b, s, p, 7)))
    if not _reached(b, s, p, setting(b, s, p, 12), setting(b, s, p, 13)):
        level = 1.0
    memo[LEVEL] = max(level, 1.0)


def _vicidial(address, b):  # type: ignore[no-untyped-def]
    """VICIdial's level controller and call placer; see agents/rules/vicidial.py."""
    s, p = state_at(address), params_at(address)
    tick = _ticked(b, s, p, setting(b, s, p, 1))
    method = setting(b, s, p, 0)
    blended = _blends(p, setting(b, s, p, 14))
    if method != RATIO:
        if tick % _SAMPLE == 0:
            _sample(b, s, p, _rows(b, s, p))
        if tick % _STATISTICS == 0:
            _refresh(b, s, p, setting(b, s, p, 15) > 0.0)
        if tick % _LEVEL == 0:
            _vicidial_level(b, s, p, method, blended)
    if tick % _PLACER != 0:
        return 0
    _note_loop(b, s, p)
    level = setting(b, s, p, 1) if method == RATIO else s.memo[b, LEVEL]
    available_only = setting(b, s, p, 8) > 0.0 or not _reached(
        b, s, p, setting(b, s, p, 9), setting(b, s, p, 10)
    )
    target = setting(b, s, p, 5) if setting(b, s, p, 6) > 0.0 else 0.0
    return _place(b, s, p, level, available_only, setting(b, s, p, 11), target, blended)


# --- OSDial ---------------------------------------------------------------------------------------

_OSDIAL = (
    _METHOD._replace(default=AVERAGE),
    _START,
    Setting("adaptive_minimum_level", "lines per agent", 1.0, 1.0, 20.0, "lowest level"),
    _MAXIMUM,
    _LIMIT,
    _INTENSITY,
    _TARGET,
    _LATEST,
    _AVAILABLE_ONLY,
    Setting("average_step", "thousandths", 1.0, 0.0, 500.0, "step of the level above the limit"),
)


@compiled()
def _osdial_level(b, s, p, method):  # type: ignore[no-untyped-def]
    """OSDial's level controller."""
    memo = s.memo[b]
    lowest, highest, limit = setting(b, s, p, 2), setting(b, s, p, 3), setting(b, s, p, 4)
    diff, agents = _averages(b, s, False)
    level = compounded(
        memo[LEVEL], diff, agents, setting(b, s, p, 6), setting(b, s, p, 5), lowest, highest
    )
    share_1 = drop_percentage(memo[DROPS_MINUTE], memo[ANSWERS_MINUTE], 0.0, 0.0, False)
    share_5 = drop_percentage(memo[DROPS_5_MINUTES], memo[ANSWERS_5_MINUTES], 0.0, 0.0, False)
    if memo[CALLS_TODAY] > 50.0 and memo[PERCENT_TODAY] > limit:
        if method == AVERAGE:
            level = osdial_average(memo[LEVEL], share_1, share_5, limit, setting(b, s, p, 9))
        else:
            level = limited(method, level, _left_until(b, s, p, setting(b, s, p, 7)))
    if memo[CALLS_MINUTE] > 20.0 and share_1 > 50.0:
        level = level * 0.75 * 0.999
    memo[LEVEL] = max(min(level, highest), lowest)


def _osdial(address, b):  # type: ignore[no-untyped-def]
    """OSDial's level controller on VICIdial's placer; see agents/rules/vicidial.py."""
    s, p = state_at(address), params_at(address)
    tick = _ticked(b, s, p, setting(b, s, p, 1))
    method = setting(b, s, p, 0)
    if method != RATIO:
        if tick % _SAMPLE == 0:
            _sample(b, s, p, idle(b, s, p) + _in_call(b, s, p))
        if tick % _STATISTICS == 0:
            _refresh(b, s, p, False)
        if tick % _LEVEL == 0:
            _osdial_level(b, s, p, method)
    if tick % _PLACER != 0:
        return 0
    level = setting(b, s, p, 1) if method == RATIO else s.memo[b, LEVEL]
    blended = _blends(p, AS_THE_FLOOR)
    return _place(b, s, p, level, setting(b, s, p, 8) > 0.0, 0.0, 0.0, blended)


# --- RatioManager ---------------------------------------------------------------------------------

_RATIO_MANAGER = (
    _LIMIT,
    Setting("lowest_level", "lines per agent", 3.0, 1.0, 20.0, "lowest level"),
    Setting("highest_level", "lines per agent", 4.0, 1.0, 20.0, "highest level"),
    _START,
    Setting("long_wait_few_s", "s", 15.0, 0.0, 600.0, "wait of under 5 agents that is too long"),
    Setting("long_wait_some_s", "s", 10.0, 0.0, 600.0, "wait of 5 to 9 agents that is too long"),
    Setting("long_wait_many_s", "s", 5.0, 0.0, 600.0, "wait of 10 or more that is too long"),
    _AVAILABLE_ONLY,
)


@compiled()
def _ratio_manager_level(b, s, p):  # type: ignore[no-untyped-def]
    """RatioManager's loop of a minute."""
    memo = s.memo[b]
    ready = idle(b, s, p)
    long_s = setting(b, s, p, 4)
    if ready >= 5:
        long_s = setting(b, s, p, 5) if ready < 10 else setting(b, s, p, 6)
    before = memo[LEVEL]
    memo[LEVEL] = managed(
        before,
        memo[PERCENT_TODAY],
        setting(b, s, p, 0),
        memo[DROPS_TODAY],
        memo[DROPS_AT_CUT],
        ready,
        _mean_wait_s(b, s, p),
        long_s,
        setting(b, s, p, 1),
        setting(b, s, p, 2),
    )
    if memo[LEVEL] < before:
        memo[DROPS_AT_CUT] = memo[DROPS_TODAY]


def _ratio_manager(address, b):  # type: ignore[no-untyped-def]
    """The RatioManager add-on on VICIdial's placer; see agents/rules/vicidial.py."""
    s, p = state_at(address), params_at(address)
    tick = _ticked(b, s, p, setting(b, s, p, 3))
    memo = s.memo[b]
    memo[LEVEL] = max(min(memo[LEVEL], setting(b, s, p, 2)), setting(b, s, p, 1))
    if tick % _STATISTICS == 0:
        _refresh(b, s, p, False)
        _ratio_manager_level(b, s, p)
    if tick % _PLACER != 0:
        return 0
    blended = _blends(p, AS_THE_FLOOR)
    return _place(b, s, p, memo[LEVEL], setting(b, s, p, 7) > 0.0, 0.0, 0.0, blended)


CONTROLLERS = {
    "vicidial": Controller(
        name="vicidial",
        tick_s=_TICK_S,
        knob="adaptive_dl_diff_target",
        settings=_VICIDIAL,
        sees=(*_COMMON_SEES, "waiting inbound callers", "ages of the agents' calls"),
        tick=_vicidial,
        memo=_N_MEMO,
    ),
    "osdial": Controller(
        name="osdial",
        tick_s=_TICK_S,
        knob="adaptive_dl_diff_target",
        settings=_OSDIAL,
        sees=_COMMON_SEES,
        tick=_osdial,
        memo=_N_MEMO,
    ),
    "ratio-manager": Controller(
        name="ratio-manager",
        tick_s=_TICK_S,
        knob="adaptive_dropped_percentage",
        settings=_RATIO_MANAGER,
        sees=(*_COMMON_SEES, "how long agents have been ready"),
        tick=_ratio_manager,
        memo=_N_MEMO,
    ),
}
