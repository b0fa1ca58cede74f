"""The observations in plain numpy and Python: the reference that `features.observe` must equal.

Nothing here is compiled. Every sum runs in the order of the compiled code, every table is the same
array and is read the same way, so the two agree bit for bit. A deployment that has the counters of
a real dialer can follow this file; it still takes its tables and names from its compiled siblings.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.chance import PHI_AT, PHI_LAST, PHI_LIMIT, PHI_PER_UNIT
from quietdial.envs.pacing.features import (
    COUNTERS,
    DIALED_AGES_S,
    FULL,
    LEAVING_MS,
    LEAVING_NEXT_MS,
    LEAVING_SOON_MS,
    MARKOV,
    N_COUNTERS,
    N_WIDE,
    WIDE,
    WITH_LEADS,
)
from quietdial.envs.pacing.outlook import AGE_BINS, AGE_SHIFT
from quietdial.envs.pacing.params import (
    AUDITED_SHARE,
    BASE_THETA,
    CAP,
    CLOSES,
    COUNTS_AMD,
    COUNTS_CUT,
    COUNTS_LEFT,
    DETECT_PERFECT,
    DETECTION,
    END_MS,
    FEED_STEPS,
    HAS_SHIFTS,
    IS_FULL,
    KNOWN_RATE,
    LEARNS,
    LUNCH_S,
    MAX_DIALS,
    N_AGENTS,
    N_COHORTS,
    N_LINES,
    N_PEOPLE,
    N_RULE_WINDOWS,
    OFCOM,
    OPENS,
    PRIOR_RATE,
    RICH,
    SCORES,
    SPAN_FROM,
    SPAN_UNTIL,
    SPARE_GROUP,
    TRUE_ANSWERS,
    WALL_S,
    WORKED,
    WRAP_HIDDEN,
    Params,
)
from quietdial.envs.pacing.state import (
    AGENT_SINCE,
    AGENT_STATE,
    AMD_MACHINE,
    ANALYSED,
    BREAK,
    CALLERS,
    CONNECTED,
    COUNT,
    COUNTED,
    FEED_AT,
    FEED_GIVEN,
    FEED_SIGHT,
    FREE,
    GRID,
    IDLE,
    IN_FLIGHT,
    INBOUND_TALK,
    MACHINE_AGENT,
    MACHINE_DROPPED,
    N_TALLY,
    N_WINDOWS,
    NOW,
    OFF,
    OPEN_ANSWERED,
    OPEN_SILENT,
    OUT_AT,
    OWN_THETA,
    PEOPLE_DONE,
    PICKED_UP,
    RATE_ANSWERED,
    RATE_FINISHED,
    SEEN_DROPPED,
    SEEN_MACHINES,
    SEEN_TALKED,
    SEEN_VERDICTS,
    SESSION,
    SILENT_AMD,
    SILENT_CUT,
    SILENT_LEFT,
    TALK,
    WAITING,
    WISHES,
    WRAP,
    FloatArray,
    State,
)

_WIDTH = {
    MARKOV: 2,
    COUNTERS: N_COUNTERS + 1,
    FULL: N_COUNTERS + 1 + 4 * GRID + 1,
    WITH_LEADS: N_COUNTERS + 1 + 4 * GRID + 4,
    WIDE: N_COUNTERS + 1 + 4 * GRID + 1 + N_WIDE,
}


def observe_twin(
    state: State, params: Params, set_code: int, residual: bool
) -> NDArray[np.float32]:
    """The observation of every campaign, as `features.observe` writes it; `state` is only read.

    Args:
        state: State of B campaigns.
        params: Params.
        set_code: one of `features.SET_CODES`.
        residual: whether the action is residual, so that the base rule is asked.

    Returns:
        (B, F) float32, F fields of the observation set in the order of `spec.OBSERVATIONS`.
    """
    if params.n[RICH] or params.n[SCORES] or params.n[LEARNS] or params.n[TRUE_ANSWERS]:
        raise ConfigError("the numpy twin knows the look-ahead of believed tables only")
    rows = range(state.head.shape[0])
    out = np.zeros((len(rows), _WIDTH.get(set_code, 0)), np.float32)
    for b in rows:
        if set_code == MARKOV:
            out[b] = _markov(state, params, b)
        elif set_code in (COUNTERS, FULL, WITH_LEADS, WIDE):
            own = int(state.head[b, OWN_THETA])
            theta = own * 2.0**-53 if own else float(params.x[BASE_THETA])
            base = base_dials_twin(state, params, b, theta) if residual else 0
            numbers = _counters(state, params, b)
            if set_code != COUNTERS:
                numbers += _outlook(state, params, b)
            if set_code == WITH_LEADS:  # without scores the mean
                numbers += [2.0 * math.sqrt(answer_rate_twin(state, params, b)) - 1.0] * 3
            if set_code == WIDE:
                numbers += _wide(state, params, b)
            out[b] = [*numbers, min(base, 8) / 4.0]
    return out


def answer_rate_twin(state: State, params: Params, b: int) -> float:
    """The dialer's estimate of the answer probability of a dial in row b."""
    if params.n[KNOWN_RATE]:
        return float(params.x[PRIOR_RATE])
    finished = float(state.est[b, RATE_FINISHED]) + 1e-6
    answered = float(state.est[b, RATE_ANSWERED]) + 1e-6 * float(params.x[PRIOR_RATE])
    return min(max(answered / finished, 0.01), 0.99)


def _feed_row(state: State, params: Params, b: int) -> int:
    return (int(state.more[b, FEED_AT]) + 1) % (int(params.n[FEED_STEPS]) + 1)


def seen_count_twin(state: State, params: Params, b: int, agent_state: int) -> int:
    """Agents of row b in a state as the dialer sees them, late if the feed is delayed."""
    if params.n[FEED_STEPS]:
        return int(state.feed[b, _feed_row(state, params, b), agent_state])
    return int(state.head[b, COUNT + agent_state])


def window_counts_twin(state: State, params: Params, b: int, w: int) -> tuple[float, float]:
    """(silent, answered) of window w of row b in a full world as the dialer sees them."""
    n, head, more = params.n, state.head[b], state.more[b]
    tally = np.zeros(N_TALLY, np.int64)
    cut, left = int(head[SILENT_CUT]), int(head[SILENT_LEFT]) * int(n[COUNTS_LEFT])
    tally[COUNTED] = cut * n[COUNTS_CUT] + left + head[SILENT_AMD] * n[COUNTS_AMD]
    silents = int(head[SILENT_CUT] + head[SILENT_LEFT] + head[SILENT_AMD])
    tally[PICKED_UP] = head[CONNECTED] + silents
    tally[SEEN_DROPPED] = (cut + more[MACHINE_DROPPED]) * n[COUNTS_CUT] + left
    tally[SEEN_TALKED] = head[CONNECTED]
    tally[SEEN_MACHINES] = more[MACHINE_AGENT]
    tally[SEEN_VERDICTS] = more[AMD_MACHINE]
    grown = [float(value) for value in tally - state.window[b, w, :N_TALLY]]
    if n[DETECTION] == DETECT_PERFECT:
        return grown[COUNTED], grown[PICKED_UP]
    silent, talked, machines = grown[SEEN_DROPPED], grown[SEEN_TALKED], grown[SEEN_MACHINES]
    if n[OFCOM]:
        people = talked / (talked + machines) if talked + machines > 0 else 1.0
        audited = float(params.x[AUDITED_SHARE]) * grown[SEEN_VERDICTS] * int(n[COUNTS_AMD])
        silent = silent * people + audited
    return silent, silent + talked


def look_ahead_twin(
    state: State, params: Params, b: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Row b's expected releases R_g, expected answers A_g and variances of A_g - R_g, each (GRID,).

    `np.cumsum` adds one term after the other, as the compiled loop does.
    """
    now = int(state.head[b, NOW])
    if params.n[FEED_STEPS]:
        row = state.feed[b, _feed_row(state, params, b)]
        releases = row[FEED_SIGHT : FEED_SIGHT + GRID]
        spread = row[None, FEED_SIGHT + GRID : FEED_SIGHT + 2 * GRID]
    else:
        outbound = params.shifts[:, SPARE_GROUP] == 0
        working = state.agent[b, outbound & (state.agent[b, :, AGENT_STATE] != IDLE)]
        age = np.minimum((now - working[:, AGENT_SINCE]) >> AGE_SHIFT, AGE_BINS - 1)
        q = params.release[working[:, AGENT_STATE] - 1, age]
        releases = _sum(q)
        spread = q * (1.0 - q)

    rate = answer_rate_twin(state, params, b)
    slots = int(params.n[N_COHORTS])
    calls = state.cohort[b, (now // 1000 - np.arange(slots)) % slots]
    ring = params.ring[calls > 0]
    n = calls[calls > 0].astype(np.float64)[:, None]
    alive = rate * ring[:, 0] + (1.0 - rate) * ring[:, 1]
    scale = np.zeros(len(ring))
    np.divide(rate, alive, out=scale, where=alive > 1e-9)
    q = np.minimum(scale[:, None] * ring[:, 2:], 1.0)
    return releases, _sum(n * q), _sum(np.concatenate([spread, n * (q * (1.0 - q))]))


def base_dials_twin(state: State, params: Params, b: int, theta: float) -> int:
    """Calls that the `marginal` rule places now in row b at threshold `theta`."""
    head = state.head[b]
    spare = seen_count_twin(state, params, b, IDLE) - int(head[WAITING])
    most = min(int(params.n[MAX_DIALS]), int(head[FREE]))
    dials = min(max(spare - int(head[IN_FLIGHT]), 0), most)
    releases, answers, variance = look_ahead_twin(state, params, b)
    q = answer_rate_twin(state, params, b) * params.ring[0, 2:]
    while dials < most:
        mean = answers - releases + dials * q - spare + 0.5
        sd = np.sqrt(variance + dials * (q * (1.0 - q)) + 1e-9)
        if _sum(params.grid_weight * phi_twin(params.curves, mean / sd)) > theta:
            break
        dials += 1
    return dials


def phi_twin(curves: FloatArray, z: FloatArray) -> FloatArray:
    """The standard normal distribution function from the shared table, elementwise."""
    position = np.clip((z + PHI_LIMIT) * PHI_PER_UNIT, 0.0, float(PHI_LAST))
    cell = np.minimum(position.astype(np.int64), PHI_LAST - 1)
    low = curves[PHI_AT + cell]
    return np.asarray(low + (curves[PHI_AT + cell + 1] - low) * (position - cell))


def _sum(terms: FloatArray) -> FloatArray:
    """Sum over the first axis, strictly one term after the other."""
    if len(terms) == 0:
        return np.zeros(terms.shape[1:])
    return np.asarray(np.cumsum(terms, axis=0)[-1])


def _cut(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def _present(state: State, params: Params, b: int) -> float:
    away = [seen_count_twin(state, params, b, away) for away in (BREAK, OFF)]
    return float(max(int(params.n[N_AGENTS]) - sum(away), 1))


def _markov(state: State, params: Params, b: int) -> list[float]:
    n = int(params.n[N_AGENTS])
    busy = [seen_count_twin(state, params, b, working) for working in (TALK, WRAP)]
    return [sum(busy) / n, min(int(state.head[b, IN_FLIGHT]) / n, 8.0)]


def _over_cap(silent: float, answered: float, cap: float) -> float:
    return _cut(40.0 * ((silent + 1.5) / (answered + 50.0) - cap), -2.0, 2.0)


def _counters(state: State, params: Params, b: int) -> list[float]:
    head = [int(value) for value in state.head[b]]
    full = bool(params.n[IS_FULL])
    talk, wrap, rest, idle = (
        seen_count_twin(state, params, b, which) for which in (TALK, WRAP, BREAK, IDLE)
    )
    if params.n[WRAP_HIDDEN]:
        talk, wrap = talk + wrap, 0
    waiting, n = head[WAITING], int(params.n[N_AGENTS])
    m = _present(state, params, b)
    rate = answer_rate_twin(state, params, b)
    prior, cap = float(params.x[PRIOR_RATE]), float(params.x[CAP])
    recent = [
        (float(state.est[b, RATE_ANSWERED + w]) + prior)
        / (float(state.est[b, RATE_FINISHED + w]) + 1.0)
        for w in range(1, N_WINDOWS)
    ]
    silent = float(head[SILENT_CUT] + head[SILENT_LEFT] + head[SILENT_AMD])
    answered = silent + head[CONNECTED]
    spent, span = head[NOW], int(params.n[END_MS])
    if full:
        silent, answered = window_counts_twin(state, params, b, 0)
        spent, span = _window_time(state, params, b)
    answered += head[OPEN_ANSWERED]
    silent += head[OPEN_SILENT]
    left = span - spent
    to_come = answered * left / max(spent, 60000)
    allowed = (cap * (answered + to_come) - silent) / (to_come + 20.0)
    over = _over_cap(silent, answered, cap)
    return [
        min(idle, 8) / 4.0,
        3.0 * idle / m,
        float(min(waiting, 3)),
        talk / m,
        3.0 * wrap / m,
        3.0 * rest / n,
        2.0 * math.sqrt(rate) - 1.0,
        *(2.0 * math.sqrt(_cut(value, 0.0, 1.0)) - 1.0 for value in recent),
        _cut(6.0 * head[IN_FLIGHT] * rate / m, 0.0, 12.0),
        min(math.sqrt(m) / 10.0, 5.0),
        _cut((silent - cap * answered) / 3.0, -3.0, 3.0),
        over,
        1.0 if idle == 0 and waiting == 0 else 0.0,
        left / span,
        _cut(allowed / cap, 0.0, 3.0),
        *(_full_counters(state, params, b, m, over) if full else (1.0, 0.0, 1.0, over)),
    ]


def _window_time(state: State, params: Params, b: int) -> tuple[int, int]:
    row = [int(value) for value in params.sessions[state.more[b, SESSION]]]
    worked = row[WORKED] + max(min(int(state.head[b, NOW]), row[CLOSES]) - row[OPENS], 0)
    return worked - row[SPAN_FROM], row[SPAN_UNTIL] - row[SPAN_FROM]


def _full_counters(
    state: State, params: Params, b: int, m: float, over: float
) -> tuple[float, float, float, float]:
    n, people = int(params.n[N_AGENTS]), int(params.n[N_PEOPLE])
    leaving = _leaving(state, params, b, LEAVING_MS) / m
    left = 1.0 - int(state.more[b, PEOPLE_DONE]) / people if people else 1.0
    for w in range(1, int(params.n[N_RULE_WINDOWS])):
        counts = window_counts_twin(state, params, b, w)
        over = max(over, _over_cap(*counts, float(params.caps[w])))
    return 1.0 - seen_count_twin(state, params, b, OFF) / n, min(leaving, 1.0), left, over


def _leaving(state: State, params: Params, b: int, within_ms: int) -> int:
    if not params.n[HAS_SHIFTS] and len(params.sessions) <= 1:
        return 0
    ahead = state.trait[b, :, OUT_AT] - state.head[b, NOW]
    return int(np.count_nonzero((ahead > 0) & (ahead <= within_ms)))


def _going(state: State, params: Params, b: int, within_ms: int) -> int:
    if not params.n[HAS_SHIFTS] and len(params.sessions) <= 1:
        return 0
    now = int(state.head[b, NOW])
    session = params.sessions[state.more[b, SESSION]]
    lunch_s = params.shifts[:, LUNCH_S]
    lunch = session[OPENS] + (lunch_s - session[WALL_S]) * 1000
    times = (np.where(lunch_s >= 0, lunch, now), state.trait[b, :, OUT_AT])
    going = (state.trait[b, :, WISHES] != 0) & (not params.n[FEED_STEPS])
    for at in times:
        going |= (now < at) & (at <= now + within_ms)
    return int(np.count_nonzero(going))


def _wide(state: State, params: Params, b: int) -> list[float]:
    m = _present(state, params, b)
    root = math.sqrt(m)
    more, head = state.more[b], state.head[b]
    now = int(head[NOW])
    special = [0.0] * 6
    if params.n[IS_FULL]:
        unseen = 0.0
        if params.n[FEED_STEPS]:
            given = int(head[CONNECTED]) + int(more[MACHINE_AGENT])
            unseen = given - float(state.feed[b, _feed_row(state, params, b), FEED_GIVEN])
        special = [
            _cut(unseen / root, 0.0, 5.0),
            _cut(int(more[ANALYSED]) / root, 0.0, 5.0),
            *(
                min(_going(state, params, b, within) / m, 1.0)
                for within in (LEAVING_SOON_MS, LEAVING_NEXT_MS)
            ),
            min(seen_count_twin(state, params, b, INBOUND_TALK) / m, 1.0),
            min(int(more[CALLERS]), 8) / 4.0,
        ]
    scale = 6.0 * answer_rate_twin(state, params, b) / m
    slots = int(params.n[N_COHORTS])
    calls = state.cohort[b, (now // 1000 - np.arange(slots)) % slots]
    groups = np.split(calls, [age for age in DIALED_AGES_S if age < slots])
    dialed = [_cut(int(group.sum()) * scale, 0.0, 12.0) for group in groups]
    dialed += [0.0] * (len(DIALED_AGES_S) + 1 - len(dialed))
    return [*special, int(head[FREE]) / int(params.n[N_LINES]), *dialed]


def _outlook(state: State, params: Params, b: int) -> list[float]:
    root = math.sqrt(_present(state, params, b))
    spare = float(seen_count_twin(state, params, b, IDLE) - int(state.head[b, WAITING]))
    releases, answers, variance = look_ahead_twin(state, params, b)
    z = (answers - releases - spare + 0.5) / np.sqrt(variance + 0.1)
    risk = float(_sum(params.grid_weight * phi_twin(params.curves, z)))
    return [
        *np.clip(releases / root, 0.0, 10.0),
        *np.clip(answers / root, 0.0, 10.0),
        *(np.clip(z, -4.0, 4.0) / 2.0),
        *np.clip((spare + releases - answers) / root, -10.0, 10.0),
        2.0 * _cut(risk, 0.0, 1.0),
    ]
