"""What the look-ahead makes of richer knowledge: scores of leads, signals and speeds of agents.

Nothing here is called in worlds without it (`params.KNOWLEDGE`). Agents and calls are then looked
at one by one; sums of answers and releases may be taken by their exact law (Poisson binomial).
"""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.counts import key_of
from quietdial.envs.pacing.foresight import free_at
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.outlook import AGE_BINS, AGE_SHIFT
from quietdial.envs.pacing.params import (
    EXACT,
    HAS_INBOUND,
    LEAD_BUFFER,
    LEAD_SHIFT,
    N_AGENTS,
    N_COHORTS,
    N_LINES,
    SIGNAL_MS,
    SPARE_GROUP,
    SPEEDS,
)
from quietdial.envs.pacing.state import (
    AGENT_SINCE,
    AGENT_STATE,
    CALL_COHORT,
    CALL_ODDS,
    GRID,
    HEAP,
    HOLDER,
    IN_HAND,
    LEAD_NUMBER,
    LEAD_ODDS,
    LEADS,
    LISTENED,
    N_AGENT_STATES,
    NOW,
    P_ANSWER,
    PACE,
    PLACE,
    RINGING,
    SIGHT,
    TALK,
    WRAP,
)
from quietdial.envs.pacing.timers import AGENT

NEXT, LIKELIEST, LEAST, BY_RULE = 0, 1, 2, 3
"""Which of the buffered leads is dialed: the one that came first, or by its score, or, one by one,
as the `marginal` rule chooses (`control.scored_dials`); calls beyond it to the least likely."""

N_CHOICES = 4
FAR_BELOW = 0.5
"""Below this share of the threshold the rule dials the likeliest lead, else the least likely."""


# ----------------------------------------------------------------------------------------- leads


@compiled()
def _fetch(b, s, p, at):  # type: ignore[no-untyped-def]
    """The next lead of the list comes into place `at` of the buffer, with its score.

    The score is that of a person who would answer now with the probability of now (Leads).
    """
    key = key_of(b, s)
    number = s.more[b, LEADS]
    s.more[b, LEADS] = number + 1
    would = np.int64(chance.draw(key, chance.LEAD_CLASS, number) >> np.uint64(32))
    score = chance.normal(p.curves, chance.draw(key, chance.LEAD_SCORE, number))
    shift = p.x[LEAD_SHIFT]
    if would < s.head[b, P_ANSWER]:
        score += shift
    root = chance.exp(p.curves, 0.5 * (shift * score - 0.5 * shift * shift))
    s.lead[b, at, LEAD_NUMBER] = number
    s.lead[b, at, LEAD_ODDS] = root * root


@compiled()
def fill_buffer(b, s, p):  # type: ignore[no-untyped-def]
    """At the start of an episode: the first leads."""
    for at in range(p.n[LEAD_BUFFER]):
        _fetch(b, s, p, at)


@compiled()
def find_lead(b, s, p, choice):  # type: ignore[no-untyped-def]
    """Place in the buffer of the lead that `choice` names."""
    best = 0
    for at in range(1, p.n[LEAD_BUFFER]):
        if choice == NEXT:
            better = s.lead[b, at, LEAD_NUMBER] < s.lead[b, best, LEAD_NUMBER]
        elif choice == LIKELIEST:
            better = s.lead[b, at, LEAD_ODDS] > s.lead[b, best, LEAD_ODDS]
        else:
            better = s.lead[b, at, LEAD_ODDS] < s.lead[b, best, LEAD_ODDS]
        if better:
            best = at
    return best


@compiled()
def take_in_hand(b, s, p, choice):  # type: ignore[no-untyped-def]
    """Take a lead out of the buffer, to be dialed next after those in hand; its odds factor."""
    at = find_lead(b, s, p, choice)
    place = s.more[b, IN_HAND]
    s.hand[b, place, LEAD_NUMBER] = s.lead[b, at, LEAD_NUMBER]
    s.hand[b, place, LEAD_ODDS] = s.lead[b, at, LEAD_ODDS]
    s.more[b, IN_HAND] = place + 1
    _fetch(b, s, p, at)
    return s.hand[b, place, LEAD_ODDS]


@compiled()
def lead_to_dial(b, s, p, choice):  # type: ignore[no-untyped-def]
    """(number, odds factor) of the lead that is dialed now, float64: from the hand if there is."""
    if s.more[b, IN_HAND] == 0:
        take_in_hand(b, s, p, choice)
    number, odds = s.hand[b, 0, LEAD_NUMBER], s.hand[b, 0, LEAD_ODDS]
    left = s.more[b, IN_HAND] - 1
    s.more[b, IN_HAND] = left
    for i in range(left):
        s.hand[b, i, LEAD_NUMBER] = s.hand[b, i + 1, LEAD_NUMBER]
        s.hand[b, i, LEAD_ODDS] = s.hand[b, i + 1, LEAD_ODDS]
    return number, odds


@compiled(inline="always")
def with_odds(p_mean, factor):  # type: ignore[no-untyped-def]
    """Probability of an answer of a lead whose score multiplies the odds of `p_mean`."""
    odds = p_mean / (1.0 - p_mean) * factor
    return odds / (1.0 + odds)


# ----------------------------------------------------------------------------------- exact sums


@compiled(inline="always")
def _begin_law(law, size):  # type: ignore[no-untyped-def]
    """The law of an empty sum: 0."""
    law[0] = 1.0
    for k in range(1, size):
        law[k] = 0.0


@compiled(inline="always")
def _add(law, size, q):  # type: ignore[no-untyped-def]
    """Add an event of probability q to a sum; the last entry stands for that number and more."""
    last = size - 1
    law[last] += law[last - 1] * q
    for i in range(last - 1):
        k = last - 1 - i
        law[k] = law[k] * (1.0 - q) + law[k - 1] * q
    law[0] *= 1.0 - q


@compiled()
def add_answer(b, s, p, g, q):  # type: ignore[no-untyped-def]
    """One more call that is answered within look-ahead g with probability q."""
    _add(s.pmf[b, g], p.n[N_AGENTS] + 2, q)


@compiled()
def overflow_risk(b, s, p, g, spare):  # type: ignore[no-untyped-def]
    """P(answers - releases >= spare) within look-ahead g, by the exact laws.

    Answers beyond N + 1 are lumped together, which is exact for spare + releases <= N + 1.
    """
    size = p.n[N_AGENTS] + 2
    answers, releases = s.pmf[b, g], s.pmf[b, GRID + g]
    risk = 0.0
    tail = 0.0
    for i in range(size):  # tail: P(answers >= spare + r), r falling
        r = size - 1 - i
        needed = spare + r
        if i == 0:
            for k in range(max(needed, 0), size):
                tail += answers[k]
        elif 0 <= needed < size:
            tail += answers[needed]
        risk += releases[r] * (1.0 if needed <= 0 else tail)
    return risk


# --------------------------------------------------------------------------------------- agents


@compiled()
def rich_releases(b, s, p):  # type: ignore[no-untyped-def]
    """Fill the outlook's releases agent by agent: signals, speeds, and the exact law if wanted."""
    sight = s.est[b]
    size = p.n[N_AGENTS] + 2
    for g in range(GRID):
        sight[SIGHT + g] = 0.0
        sight[SIGHT + 2 * GRID + g] = 0.0
        if p.n[EXACT]:
            _begin_law(s.pmf[b, GRID + g], size)
    now = s.head[b, NOW]
    for at in range(s.head[b, HEAP]):
        timer = s.heap[b, at]
        if (timer >> 20) & 0xF != AGENT:
            continue
        agent = timer & 0xFFFFF
        if p.n[HAS_INBOUND] and p.shifts[agent, SPARE_GROUP]:
            continue
        state = s.agent[b, agent, AGENT_STATE]
        left_ms = np.int64(-1)
        if p.n[SIGNAL_MS] > 0 and state in (TALK, WRAP):
            left_ms = free_at(b, s, p, agent, timer >> 24) - now
        age = min((now - s.agent[b, agent, AGENT_SINCE]) >> AGE_SHIFT, AGE_BINS - 1)
        row = state - 1
        if p.n[SPEEDS]:
            row += s.trait[b, agent, PACE] * (N_AGENT_STATES - 1)
        for g in range(GRID):
            if 0 <= left_ms <= p.n[SIGNAL_MS]:
                q = 1.0 if left_ms <= p.ahead_s[g, 1] * 1000.0 else 0.0
            else:
                q = p.release[row, age, g]
            sight[SIGHT + g] += q
            sight[SIGHT + 2 * GRID + g] += q * (1.0 - q)
            if p.n[EXACT]:
                _add(s.pmf[b, GRID + g], size, q)


@compiled()
def scored_answers(b, s, p, rate):  # type: ignore[no-untyped-def]
    """Add the calls in flight to the outlook one by one, each with the odds of its lead's score.

    Args:
        b: row.
        s: State; the releases must be in the outlook.
        p: Params.
        rate: estimated mean probability of an answer.
    """
    sight = s.est[b]
    size = p.n[N_AGENTS] + 2
    for g in range(GRID):
        sight[SIGHT + GRID + g] = 0.0
        if p.n[EXACT]:
            _begin_law(s.pmf[b, g], size)
    second = s.head[b, NOW] // 1000
    slots = p.n[N_COHORTS]
    for slot in range(p.n[N_LINES]):
        if s.story[b, slot, PLACE] not in (RINGING, LISTENED) or s.story[b, slot, HOLDER] >= 0:
            continue
        age = (second - s.call[b, slot, CALL_COHORT]) % slots
        ring = p.ring[age]
        odds = rate / (1.0 - rate) * s.score[b, slot, CALL_ODDS]
        alive = odds * ring[0] + ring[1]
        scale = odds / alive if alive > 1e-9 else 0.0
        for g in range(GRID):
            q = min(scale * ring[2 + g], 1.0)
            sight[SIGHT + GRID + g] += q
            sight[SIGHT + 2 * GRID + g] += q * (1.0 - q)
            if p.n[EXACT]:
                _add(s.pmf[b, g], size, q)
