"""What stands between an action and the dials: the inner controllers.

A policy's action is one of the control kinds below. One-shot kinds (`DIALS`, `RESIDUAL`) place
their calls at the decision. The others are set-points: a rule that the kernel applies at the
decision, at the controller's own period if the scenario gives one, and, if the scenario says so,
whenever an agent becomes free.
"""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.book import ask_controller
from quietdial.envs.pacing.foresight import answers_ahead, releases_known, worst_to_come
from quietdial.envs.pacing.insight import (
    BY_RULE,
    FAR_BELOW,
    LEAST,
    LIKELIEST,
    add_answer,
    overflow_risk,
    rich_releases,
    scored_answers,
    take_in_hand,
    with_odds,
)
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.outlook import AGE_BINS, AGE_SHIFT
from quietdial.envs.pacing.params import (
    BASE_THETA,
    BLEND_EXTRA,
    BLEND_FREE,
    BLEND_LESS,
    BLEND_OUTBOUND,
    EXACT,
    FEED_STEPS,
    HAS_INBOUND,
    KNOWN_RATE,
    LEAD_BUFFER,
    LEARNS,
    MAX_DIALS,
    N_AGENTS,
    N_COHORTS,
    PRIOR_RATE,
    RICH,
    SCORES,
    SHIELD,
    SPARE_GROUP,
    TRUE_ANSWERS,
    TRUE_RATE,
    TRUE_RELEASES,
)
from quietdial.envs.pacing.shield import shielded
from quietdial.envs.pacing.state import (
    AGENT_SINCE,
    AGENT_STATE,
    BASE,
    BREAK,
    CONNECTED,
    COUNT,
    FEED_AT,
    FEED_GIVEN,
    FEED_SIGHT,
    FREE,
    GRID,
    IDLE,
    IN_FLIGHT,
    IN_HAND,
    INBOUND_TALK,
    KEY,
    LEAD_ODDS,
    MACHINE_AGENT,
    MACHINE_TALK,
    N_AGENT_STATES,
    NOW,
    OFF,
    OWN_THETA,
    P_ANSWER,
    RATE_ANSWERED,
    RATE_FINISHED,
    SET_CHOICE,
    SET_DIALS,
    SET_KIND,
    SET_VALUE,
    SIGHT,
    SPARE,
    TALK,
    WAITING,
    WRAP,
)

DIALS, RESIDUAL, PROGRESSIVE, RATIO, THETA, DIALS_OR_CANCEL, BLEND, CONTROLLER = range(8)
RESIDUAL_LOW, RESIDUAL_HIGH = -2, 3
ROUNDING_SHIFT = 15
"""The fixed ratio is rounded anew every 2^15 ms, about as long as a call rings."""
THETAS = (0.0, 0.004, 0.008, 0.012, 0.016, 0.02, 0.026, 0.034, 0.045, 0.06, 0.085, 0.13, 0.2)
"""Levels of the `threshold` action (science E)."""


@compiled(inline="always")
def answer_rate(b, s, p):  # type: ignore[no-untyped-def]
    """The dialer's estimate of the answer probability of a dial, in [0.01, 0.99].

    Exponentially weighted answered / finished dials over the belief's memory, with the prior as
    initial counts; the known rate if the belief has one.
    """
    if p.n[TRUE_RATE]:
        return s.head[b, P_ANSWER] / 4294967296.0
    if p.n[KNOWN_RATE]:
        return p.x[PRIOR_RATE]
    finished = s.est[b, RATE_FINISHED] + 1e-6
    rate = (s.est[b, RATE_ANSWERED] + 1e-6 * p.x[PRIOR_RATE]) / finished
    return min(max(rate, 0.01), 0.99)


@compiled(inline="always")
def seen_count(b, s, p, state):  # type: ignore[no-untyped-def]
    """Agents in a state as the dialer sees them, late if the feed is delayed."""
    if p.n[FEED_STEPS] > 0:
        return np.int64(s.feed[b, _feed_row(b, s, p), state])
    return s.head[b, COUNT + state]


@compiled(inline="always")
def _feed_row(b, s, p):  # type: ignore[no-untyped-def]
    """The row of the feed that the dialer reads: the oldest, which is written next."""
    return (s.more[b, FEED_AT] + 1) % (p.n[FEED_STEPS] + 1)


@compiled(inline="always")
def _given(b, s):  # type: ignore[no-untyped-def]
    """Calls given to agents so far, people and machines; worlds with a delay are full ones."""
    return s.head[b, CONNECTED] + s.more[b, MACHINE_AGENT]


@compiled(inline="always")
def given_unseen(b, s, p):  # type: ignore[no-untyped-def]
    """Calls given to agents since the moment that the feed shows."""
    if p.n[FEED_STEPS] == 0:
        return np.int64(0)
    return _given(b, s) - np.int64(s.feed[b, _feed_row(b, s, p), FEED_GIVEN])


@compiled()
def write_feed(b, s, p):  # type: ignore[no-untyped-def]
    """Remember the agents as they are now; the dialer will see them when the delay is over."""
    at = (s.more[b, FEED_AT] + 1) % (p.n[FEED_STEPS] + 1)
    s.more[b, FEED_AT] = at
    for state in range(N_AGENT_STATES):
        s.feed[b, at, state] = s.head[b, COUNT + state]
    s.feed[b, at, FEED_GIVEN] = _given(b, s)
    _releases_ahead(b, s, p)
    for g in range(GRID):
        s.feed[b, at, FEED_SIGHT + g] = s.est[b, SIGHT + g]
        s.feed[b, at, FEED_SIGHT + GRID + g] = s.est[b, SIGHT + 2 * GRID + g]


@compiled(inline="always")
def _releases_ahead(b, s, p):  # type: ignore[no-untyped-def]
    """Expected releases R_g and their variance, from the ages of the agents' states."""
    if p.n[TRUE_RELEASES]:
        releases_known(b, s, p)
        return
    if p.n[RICH]:
        rich_releases(b, s, p)
        return
    r0 = r1 = r2 = r3 = r4 = 0.0
    v0 = v1 = v2 = v3 = v4 = 0.0
    now = s.head[b, NOW]
    table = s.release[b] if p.n[LEARNS] else p.release
    for i in range(p.n[N_AGENTS]):
        state = s.agent[b, i, AGENT_STATE]
        if state == IDLE or (p.n[HAS_INBOUND] and p.shifts[i, SPARE_GROUP]):
            continue
        age = min((now - s.agent[b, i, AGENT_SINCE]) >> AGE_SHIFT, AGE_BINS - 1)
        q = table[state - 1, age]
        r0 += q[0]
        r1 += q[1]
        r2 += q[2]
        r3 += q[3]
        r4 += q[4]
        v0 += q[0] * (1.0 - q[0])
        v1 += q[1] * (1.0 - q[1])
        v2 += q[2] * (1.0 - q[2])
        v3 += q[3] * (1.0 - q[3])
        v4 += q[4] * (1.0 - q[4])
    sight = s.est[b]
    sight[SIGHT] = r0
    sight[SIGHT + 1] = r1
    sight[SIGHT + 2] = r2
    sight[SIGHT + 3] = r3
    sight[SIGHT + 4] = r4
    sight[SIGHT + 10] = v0
    sight[SIGHT + 11] = v1
    sight[SIGHT + 12] = v2
    sight[SIGHT + 13] = v3
    sight[SIGHT + 14] = v4


@compiled(inline="always")
def look_ahead(b, s, p):  # type: ignore[no-untyped-def]
    """Fill the row's outlook: expected releases R_g, expected answers A_g, variance of A_g - R_g.

    R_g counts agents free within horizon g plus the wait limit, A_g calls in flight answered
    within horizon g; both sums run over independent events of known probability (Poisson binomial),
    from ages alone.
    """
    now = s.head[b, NOW]
    sight = s.est[b]
    if p.n[FEED_STEPS] > 0:
        row = _feed_row(b, s, p)
        for g in range(GRID):
            sight[SIGHT + g] = s.feed[b, row, FEED_SIGHT + g]
            sight[SIGHT + 2 * GRID + g] = s.feed[b, row, FEED_SIGHT + GRID + g]
    else:
        _releases_ahead(b, s, p)
    v0, v1, v2 = sight[SIGHT + 10], sight[SIGHT + 11], sight[SIGHT + 12]
    v3, v4 = sight[SIGHT + 13], sight[SIGHT + 14]
    a0 = a1 = a2 = a3 = a4 = 0.0
    left = s.head[b, IN_FLIGHT]
    if p.n[SCORES] and not p.n[TRUE_ANSWERS]:
        scored_answers(b, s, p, answer_rate(b, s, p))
        return
    if p.n[TRUE_ANSWERS]:
        a0, a1, a2, a3, a4 = answers_ahead(b, s, p)
    elif left > 0:
        rate = answer_rate(b, s, p)
        second = now // 1000
        table = s.ring[b] if p.n[LEARNS] else p.ring
        slots = p.n[N_COHORTS]
        at = second % slots
        for age in range(slots):
            calls = s.cohort[b, at]
            at = at - 1 if at > 0 else slots - 1
            if calls == 0:
                continue
            ring = table[age]
            alive = rate * ring[0] + (1.0 - rate) * ring[1]
            scale = rate / alive if alive > 1e-9 else 0.0
            n = np.float64(calls)
            q0 = min(scale * ring[2], 1.0)
            q1 = min(scale * ring[3], 1.0)
            q2 = min(scale * ring[4], 1.0)
            q3 = min(scale * ring[5], 1.0)
            q4 = min(scale * ring[6], 1.0)
            a0 += n * q0
            a1 += n * q1
            a2 += n * q2
            a3 += n * q3
            a4 += n * q4
            v0 += n * (q0 * (1.0 - q0))
            v1 += n * (q1 * (1.0 - q1))
            v2 += n * (q2 * (1.0 - q2))
            v3 += n * (q3 * (1.0 - q3))
            v4 += n * (q4 * (1.0 - q4))
            left -= calls
            if left == 0:
                break
    sight[SIGHT + 5] = a0
    sight[SIGHT + 6] = a1
    sight[SIGHT + 7] = a2
    sight[SIGHT + 8] = a3
    sight[SIGHT + 9] = a4
    sight[SIGHT + 10] = v0
    sight[SIGHT + 11] = v1
    sight[SIGHT + 12] = v2
    sight[SIGHT + 13] = v3
    sight[SIGHT + 14] = v4
    if p.n[TRUE_ANSWERS] and p.n[TRUE_RELEASES]:
        worst_to_come(b, s)


@compiled(inline="always")
def marginal_dials(b, s, p, theta):  # type: ignore[no-untyped-def]
    """Number of calls that the `marginal` rule places now; needs a fresh `look_ahead`.

    Dial one more while the probability that the new call goes silent, given that it is answered,
    sum_g w_g Phi((A_g - R_g - I + 1/2) / sd_g), is at most `theta`, where I is idle agents less
    waiting callees and A_g, R_g, sd_g come from the outlook with the calls already added; as many
    calls as progressive dialing are always allowed (science B).
    """
    spare = seen_count(b, s, p, IDLE) - s.head[b, WAITING]
    certain = spare - s.head[b, IN_FLIGHT]
    most = min(p.n[MAX_DIALS], s.head[b, FREE])
    dials = min(max(certain, 0), most)
    rate = answer_rate(b, s, p)
    fresh = s.ring[b, 0] if p.n[LEARNS] else p.ring[0]
    sight = s.est[b]
    while dials < most:
        risk = 0.0
        for g in range(GRID):
            q = rate * fresh[2 + g]
            mean = sight[SIGHT + GRID + g] - sight[SIGHT + g] + dials * q - spare + 0.5
            variance = sight[SIGHT + 2 * GRID + g] + dials * (q * (1.0 - q)) + 1e-9
            risk += p.grid_weight[g] * chance.phi(p.curves, mean / np.sqrt(variance))
        if risk > theta:
            break
        dials += 1
    return dials


@compiled()
def scored_dials(b, s, p, theta, choose):  # type: ignore[no-untyped-def]
    """Number of calls of the `marginal` rule where leads have scores; needs a fresh `look_ahead`.

    As `marginal_dials`, with every call's own probability, by the exact law in small floors. With
    `choose` the leads of these calls are taken in hand: where there are several to choose from, the
    likeliest while the risk is far below `theta`, else the least likely (science I2). Without, new
    calls count with the mean probability.
    """
    spare = seen_count(b, s, p, IDLE) - s.head[b, WAITING]
    certain = spare - s.head[b, IN_FLIGHT]
    most = min(p.n[MAX_DIALS], s.head[b, FREE])
    rate = answer_rate(b, s, p)
    fresh = p.ring[0]
    sight = s.est[b]
    dials = 0
    while dials < most:
        risk = 0.0
        for g in range(GRID):
            if p.n[EXACT]:
                risk += p.grid_weight[g] * overflow_risk(b, s, p, g, spare)
            else:
                mean = sight[SIGHT + GRID + g] - sight[SIGHT + g] - spare + 0.5
                variance = sight[SIGHT + 2 * GRID + g] + 1e-9
                risk += p.grid_weight[g] * chance.phi(p.curves, mean / np.sqrt(variance))
        if risk > theta and dials >= certain:
            break
        factor = 1.0
        if choose:
            if dials < s.more[b, IN_HAND]:
                factor = s.hand[b, dials, LEAD_ODDS]
            else:
                choice = LIKELIEST if risk < FAR_BELOW * theta else LEAST
                factor = take_in_hand(b, s, p, choice)
        q_answer = with_odds(rate, factor)
        for g in range(GRID):
            q = min(q_answer * fresh[2 + g], 1.0)
            sight[SIGHT + GRID + g] += q
            sight[SIGHT + 2 * GRID + g] += q * (1.0 - q)
            if p.n[EXACT]:
                add_answer(b, s, p, g, q)
        dials += 1
    return dials


@compiled(inline="always")
def base_theta(b, s, p):  # type: ignore[no-untyped-def]
    """Threshold of the rule below a residual action: this row's own, else the world's."""
    own = s.head[b, OWN_THETA]
    return own * 2.0**-53 if own else p.x[BASE_THETA]


@compiled()
def base_dials(b, s, p, theta):  # type: ignore[no-untyped-def]
    """Base of a residual action; needs a fresh `look_ahead`, which it leaves as it is."""
    if not p.n[SCORES]:
        return marginal_dials(b, s, p, theta)
    dials = scored_dials(b, s, p, theta, False)
    look_ahead(b, s, p)
    return dials


@compiled()
def _index_dials(b, s, p):  # type: ignore[no-untyped-def]
    """Calls of the `marginal` rule with the theta that stands."""
    look_ahead(b, s, p)
    if p.n[SCORES]:
        return scored_dials(b, s, p, s.est[b, SET_VALUE], True)
    return marginal_dials(b, s, p, s.est[b, SET_VALUE])


@compiled()
def _chosen_dials(b, s, p, theta):  # type: ignore[no-untyped-def]
    """Calls of the `marginal` rule with this theta, their leads, of its own choice, in hand."""
    look_ahead(b, s, p)
    return scored_dials(b, s, p, theta, True)


@compiled(inline="always")
def _service_ends(b, s):  # type: ignore[no-untyped-def]
    """Whether a service will end, or a call may lead to one, so that the dialer is triggered."""
    served = s.head[b, IN_FLIGHT]
    for state in (TALK, WRAP, MACHINE_TALK, INBOUND_TALK):
        served += s.head[b, COUNT + state]
    return served > 0


@compiled()
def _blend_dials(b, s, p):  # type: ignore[no-untyped-def]
    """Calls of the event-triggered dialer (scenario.BlendDialer)."""
    idle = seen_count(b, s, p, IDLE)
    if idle + seen_count(b, s, p, SPARE) < p.n[BLEND_FREE] or idle < p.n[BLEND_OUTBOUND]:
        return np.int64(0)
    wanted = np.int64(np.floor(s.est[b, SET_VALUE] * idle + 0.5)) + p.n[BLEND_EXTRA]
    return wanted - s.head[b, IN_FLIGHT] if p.n[BLEND_LESS] else wanted


@compiled(inline="always")
def dials_now(b, s, p, one_shot):  # type: ignore[no-untyped-def]
    """Calls that the standing control asks for; one-shot kinds only when `one_shot` is true."""
    kind = s.head[b, SET_KIND]
    most = min(p.n[MAX_DIALS], s.head[b, FREE])
    wanted = 0
    if kind in (DIALS, DIALS_OR_CANCEL):
        wanted = s.head[b, SET_DIALS] if one_shot else 0
    elif kind == RESIDUAL:
        wanted = s.head[b, BASE] + s.head[b, SET_DIALS] if one_shot else 0
        if one_shot and p.n[LEAD_BUFFER] > 0 and s.head[b, SET_CHOICE] == BY_RULE:
            wanted = _chosen_dials(b, s, p, base_theta(b, s, p)) + s.head[b, SET_DIALS]
    elif kind == PROGRESSIVE:
        wanted = seen_count(b, s, p, IDLE) - s.head[b, WAITING] - s.head[b, IN_FLIGHT]
    elif kind == RATIO:
        # random rounding, new in every block of time, so that the target is exact on average
        block = s.head[b, NOW] >> ROUNDING_SHIFT
        u = chance.draw(np.uint64(s.head[b, KEY]), chance.ROUNDING, block)
        exact = s.est[b, SET_VALUE] * seen_count(b, s, p, IDLE)
        wanted = np.int64(np.floor(exact + chance.unit(u))) - s.head[b, IN_FLIGHT]
    elif kind == BLEND:
        wanted = 0 if one_shot and _service_ends(b, s) else _blend_dials(b, s, p)
    elif kind == CONTROLLER:
        wanted = 0 if one_shot else ask_controller(s, b)
        most = s.head[b, FREE]  # a controller has its own limits
    else:
        wanted = _index_dials(b, s, p)
    wanted = min(max(wanted, 0), most)
    if p.n[SHIELD]:
        idle, breaks = seen_count(b, s, p, IDLE), seen_count(b, s, p, BREAK)
        wanted = shielded(b, s, p, wanted, idle, breaks, seen_count(b, s, p, OFF))
    return wanted


@compiled(inline="always")
def agents_present(b, s, p):  # type: ignore[no-untyped-def]
    """Agents logged in and not on break, as the dialer sees them, at least 1."""
    away = seen_count(b, s, p, BREAK) + seen_count(b, s, p, OFF)
    return max(p.n[N_AGENTS] - away, 1)
