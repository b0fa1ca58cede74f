"""The state of a batch of campaigns, as plain arrays.

`State` changes with time; `Params` (params.py) never does. Both are named tuples of numpy arrays,
so the compiled kernel, the numpy twin of the features and tests read the same fields by name. The
leading axis of every state array is the campaign (row of the batch), B in all; N is the number of
agents, C the number of call slots. A copy of one row of every array is a complete snapshot of that
campaign; nothing about it is kept anywhere else. Arrays of features that a scenario does not use
have no entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError

if TYPE_CHECKING:
    from quietdial.envs.pacing.params import Params

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def numbers(n: int) -> list[Any]:
    """0 to n - 1 as numpy integers.

    numba compiles a function anew for every Python integer that is a constant argument of a call,
    but only once for constants of this type.
    """
    return [np.int64(i) for i in range(n)]


GRID = 5
"""Number of look-ahead times: the 10, 30, 50, 70 and 90 % quantiles of the time to answer."""

# --- agent states (also columns of the per-state counters) and call outcomes --------------------
IDLE, TALK, WRAP, BREAK, OFF, HELD, MACHINE_TALK, INBOUND_TALK, SPARE = numbers(9)
"""Idle means an outbound agent; an inbound agent without a call is spare."""
N_AGENT_STATES = 9
PERSON, MACHINE, BUSY, NO_ANSWER, INVALID, FAILURE, CANCELLED = numbers(7)
LEAVES = 7
"""Outcome of a person who is waiting in silence and will leave before the limit."""
OUTCOME_CODES = {
    "machine": MACHINE,
    "busy": BUSY,
    "no_answer": NO_ANSWER,
    "invalid": INVALID,
    "failure": FAILURE,
}

# --- columns of State.head (int64) ---------------------------------------------------------------
(
    KEY,  # campaign key of all draws (uint64 bits)
    NOW,  # clock [ms]
    END,  # the episode is truncated here [ms]
    BEGAN,  # clock at the start of the episode [ms]; 0 unless training starts within the day
    DONE,  # 1 after the end, until reset
    HEAP,  # entries in the heap
    FREE,  # free call slots (height of the stack)
    IDLE_HEAD,  # first entry of the ring of idle agents, longest idle first
    WAITING,  # answered callees waiting in silence
    WAIT_DUE,  # heap key of the first callee to be cut or to leave, or a huge number
    WAIT_ACC,  # waiting time, see ACC
    IN_FLIGHT,  # dials without outcome yet, those of the world's reserved calls not counted
    CONVERSATIONS,  # conversations begun
    DIALED,  # dials placed
    ANSWERED,  # picked up by a person
    CONNECTED,  # answered and given to an agent in time
    SILENT_CUT,  # silent because the limit was reached
    SILENT_LEFT,  # silent because the callee left before the limit
    SILENT_AMD,  # silent because taken for a machine
    MACHINES,  # dials that ended at a machine; then the other outcomes in code order
    BUSIES,
    NO_ANSWERS,
    INVALIDS,
    FAILURES,
    CANCELS,
    OPEN_ANSWERED,  # answered before the episode began (training inside a day)
    OPEN_SILENT,  # silent before the episode began
    SET_KIND,  # control kind that stands (see control.py)
    SET_DIALS,  # number of calls asked for by a one-shot action
    BASE,  # base dials of a residual action, as observed
    TALK_FACTOR,  # the talk-time factor of now in units of 2^-20 (hidden)
    P_ANSWER,  # probability of an answer now, in units of 2^-32 (hidden)
    LAST_IDLE_MS,  # totals at the last decision, for the reward of a step
    LAST_AVAILABLE_MS,
    LAST_SILENT,
    LAST_ANSWERED,
    LAST_FINISHED,
    LAST_SEEN,  # pick-ups that the answer-rate estimate has counted
    RING_S,  # whole seconds from dial to pick-up, summed over the pick-ups
    SET_CHOICE,  # which lead a one-shot action dials: see `insight.NEXT`
    SHIELD_ACTS,  # times that the shield refused dials
    SHIELD_CALLS,  # dials that it refused
    SHIELD_ROOM,  # most calls in flight by the shield's last look
    SHIELD_NEXT,  # when it looks again [ms]
    OWN_THETA,  # threshold of this row's base rule in units of 2^-53; 0: the world's
) = range(45)
COUNT = 45  # COUNT + s: agents in state s
ACC = COUNT + N_AGENT_STATES  # ACC + s: agent time in state s is ACC + COUNT * NOW [ms]
N_HEAD = ACC + N_AGENT_STATES

# --- columns of State.more (int64): what only full worlds have ------------------------------------
(
    SESSION,  # number of the session
    LOGGED,  # rows of the log since it was last read
    QUEUED,  # pick-ups presented to the queue, machines taken for people included
    LATE,  # silent calls that an agent took after the limit
    MESSAGES,  # silent calls that heard a message
    MACHINE_AGENT,  # machines handled by agents
    MACHINE_DROPPED,  # machines that waited until the deadline
    AMD_MACHINE,  # verdicts 'machine' of the detection
    RESERVED,  # dials placed by the world
    RESERVED_FLYING,  # of these, without outcome yet
    RESERVED_FINISHED,  # of these, with an outcome
    CALLBACKS,  # callbacks asked for
    REPEATS,  # silent calls to people who had one before
    HARM,  # harm of all silent calls, in units of 1e-6
    PEOPLE_DONE,  # people who will not be dialed again
    SUCCESSES,  # conversations that reached their aim
    INBOUND_ARRIVED,
    INBOUND_SERVED,
    INBOUND_LOST,
    INBOUND_WAITED,  # had to wait or balked
    INBOUND_IN_TIME,
    INBOUND_WAIT_MS,
    FRESH,  # next person of the list who was never dialed
    RETRIES,  # entries of the heap of people to be dialed again
    DUE,  # entries of the heap of people whom the world will call
    NEXT_START,  # earliest start of a dial under a limit of calls per second [ms]
    ANALYSED,  # calls under answering-machine detection
    MESSAGE_LINES,  # lines busy with an information message
    CALLERS,  # inbound callers who wait
    CALLER_DUE,  # when the first of them leaves [ms], or a huge number
    GAPS,  # gaps between inbound calls drawn
    SPARE_HEAD,  # first entry of the ring of spare agents
    LAST_HARM,
    FEED_AT,  # entry of the feed that was written last
    DAY_FACTOR,  # the day's factor of inbound rates in units of 1e-6 (hidden)
    BUCKET,  # number of the bucket of a rolling window that now belongs to
    LEADS,  # leads of a scored list that have come into the buffer
    IN_HAND,  # leads that were chosen and are dialed next
) = range(38)
N_MORE = 38

# --- columns of State.agent, State.call, State.trait and State.story ------------------------------
AGENT_STATE, AGENT_SINCE, AGENT_NUMBER = 0, 1, 2
"""State, begin of the state [ms], number of the conversation that the agent is (or was) in."""
CALL_NUMBER, CALL_OUTCOME, CALL_COHORT, CALL_DUE = 0, 1, 2, 3
"""Dial number, hidden outcome, slot in the ring of cohorts, when a waiting callee goes [ms]."""
SPEED, SKILL, OUT_AT, WISHES, WITH_CALL, WITH_PERSON, BY_WORLD, PACE = 0, 1, 2, 3, 4, 5, 6, 7
"""Factor of talk and wrap-up in 2^-20, P(success) in 2^-32, log-out time [ms], what is due when
next released, dial number of the call in hand (-1: none), its person (-1: anonymous), 1 if the
world placed it, class of the speed (0: fastest, to 8). Full worlds only."""
N_TRAIT = 8
WISH_LUNCH, WISH_OUT = 1, 2
PLACE, WHO, HOLDER, RINGS_FROM, FATE, DEADLINE, GONE_AT = 0, 1, 2, 3, 4, 5, 6
"""Where the call is (below), person (-1: anonymous), held agent (-1: none), end of set-up
[ms], number of its draws, deadline, when the callee loses patience [ms]. Full worlds only."""
N_STORY = 7
NOWHERE, RINGING, LISTENED, QUEUEING, LINGERING, HEARING = numbers(6)
"""Free, in flight, under detection, waiting, waiting after the deadline, hearing a message."""

# --- columns of State.person (int32) --------------------------------------------------------------
ATTEMPTS, DAY_DIALS, DAY_OF, WEEK_DIALS, WEEK_OF, SILENTS, FIRST_TIME = 0, 1, 2, 3, 4, 5, 6
"""Dials in all, on day DAY_OF, in week WEEK_OF, silent calls, then a ring of dial times [s]."""

# --- columns of State.window (int64): counts at the window's begin, then its record ---------------
COUNTED, PICKED_UP, SEEN_DROPPED, SEEN_TALKED, SEEN_MACHINES, SEEN_VERDICTS = numbers(6)
"""Silent calls in the rule's numerator and answered calls (hidden truth); calls dropped by the
dialer, conversations in time, machines at agents, verdicts 'machine' (what the dialer sees)."""
N_TALLY = 6
CLOSED, BREACHED, SEEN_BREACHED = 6, 7, 8
"""Windows that are over, those above their cap in truth, and by the dialer's own estimate."""
N_WINDOW = 9
BUCKETS = 60
"""A rolling window is moved on in steps of 1/60 of its length."""

# --- columns of State.feed (float64), the delayed view of the agents ------------------------------
FEED_SIGHT = N_AGENT_STATES
FEED_GIVEN = FEED_SIGHT + 2 * GRID
"""Calls that had been given to agents by then."""
N_FEED = FEED_GIVEN + 1

# --- columns of State.tape (int64), totals that a controller keeps for its statistics -------------
DIALS_SEEN, ENDS_SEEN, PICKUPS_SEEN, ANSWERS_SEEN, DROPS_SEEN, RINGS_SEEN_S = numbers(6)
"""Dials placed, dials with an outcome, pick-ups for the queue, answered calls that were connected
or dropped, dropped ones (cut or left), seconds from dial to pick-up."""
N_TAPE = 6
TAPE_MS = 15_000
"""Every 15 s a row is written."""
TAPE_ROWS = 241
"""An hour of them, and one more."""

# --- rows of State.lesson (float64), what learnt tables are made of -------------------------------
TALK_ENDED, WRAP_ENDED, DIAL_ANSWERED, DIAL_ENDED = numbers(4)
"""Conversations and wrap-ups that ended by age bin; dials by whole seconds: picked up, ended."""
N_LESSONS = 4
"""As many rows of laws made of them follow, as mass by age bin or second."""
LEARN_EVERY_MS = 300_000
"""The tables are made anew every five minutes."""

# --- columns of State.est (float64) ---------------------------------------------------------------
SET_VALUE = 0  # knob of the control that stands
DRIFT_X, DAY_P0, DAY_TURN = 1, 2, 3  # hidden: Ornstein-Uhlenbeck value, level, phase [turns]
RATE_ANSWERED, RATE_FINISHED = 4, 8  # four exponentially weighted windows each
N_WINDOWS = 4
WINDOWS_S = (60.0, 300.0, 1200.0)
"""Memory of the further answer-rate estimates [s]; window 0 is the belief's own `memory_s`."""
SIGHT = 12  # then 3 x GRID: expected releases, expected answers, variance of their difference
TALK_X, TALK_DAY, TALK_TURN = SIGHT + 3 * GRID, SIGHT + 3 * GRID + 1, SIGHT + 3 * GRID + 2
LEAD_WEIGHT = SIGHT + 3 * GRID + 3  # propensities of finished dials above the mean, of this step
N_EST = SIGHT + 3 * GRID + 4

# --- columns of State.lead and State.hand, and of State.score (float64) ---------------------------
LEAD_NUMBER, LEAD_ODDS = 0, 1
"""Number of the lead, factor of the odds of an answer that its score stands for."""
CALL_ODDS, CALL_WEIGHT = 0, 1
"""The factor of the call's lead; its propensity / the mean one, as believed when it was dialed."""


class State(NamedTuple):
    """Everything that changes, for B campaigns."""

    head: IntArray  # (B, N_HEAD) counters and clocks
    est: FloatArray  # (B, N_EST) estimates, hidden drift, outlook
    agent: IntArray  # (B, N, 3)
    idle: IntArray  # (B, N) ring of idle agents
    call: IntArray  # (B, C, 4)
    free: IntArray  # (B, C) stack of free call slots
    waiting: IntArray  # (B, C) call slots that wait in silence, first answered first
    cohort: IntArray  # (B, R) calls in flight by the second of their dial, a ring
    heap: IntArray  # (B, ...) timers: time << 24 | kind << 20 | entity
    # full worlds only
    more: IntArray  # (B, N_MORE) further counters
    trait: IntArray  # (B, N, N_TRAIT) agents
    spare: IntArray  # (B, N) ring of spare agents
    story: IntArray  # (B, C, 7) calls
    person: NDArray[np.int32]  # (B, P, FIRST_TIME + K) people of the list
    again: IntArray  # (B, P) heap of people to be dialed again: due time << 20 | person
    due: IntArray  # (B, P) heap of people whom the world will call
    caller: IntArray  # (B, Q, 3) waiting inbound callers in order: number, arrival, leaving [ms]
    window: IntArray  # (B, W, N_WINDOW)
    bucket: IntArray  # (B, BUCKETS + 1, N_TALLY) ring of counts at the ends of buckets
    feed: FloatArray  # (B, D + 1, N_FEED) ring of what is seen of the agents
    log: IntArray  # (B, L, 6) events since the log was last read
    # only with a controller, or with learnt tables
    memo: FloatArray  # (B, M) what a controller remembers
    tape: IntArray  # (B, TAPE_ROWS, N_TAPE) ring of totals, one row every 15 s
    lesson: FloatArray  # (B, 2 N_LESSONS, AGE_BINS) counts, then the laws made of them
    release: FloatArray  # (B, states less idle, AGE_BINS, GRID) learnt table, as Params.release
    ring: FloatArray  # (B, R, 2 + GRID) learnt table, as Params.ring
    # only with scores of leads, or with exact sums
    lead: FloatArray  # (B, K, 2) leads of which the next one may be chosen
    hand: FloatArray  # (B, H, 2) leads that were chosen
    score: FloatArray  # (B, C, 2) calls
    pmf: FloatArray  # (B, 2 GRID, N + 2) laws of answers, then of releases, for each look-ahead


def make_state(
    n_campaigns: int, params: Params, *, log_rows: int = 0, memo: int = 0, tape: bool = False
) -> State:
    """Arrays for `n_campaigns` campaigns; every row must be reset before its first step.

    Args:
        n_campaigns: B.
        params: the world.
        log_rows: L, rows of the log.
        memo: M, numbers that a controller remembers.
        tape: whether a controller keeps totals on a tape.
    """
    from quietdial.envs.pacing import params as columns

    n = params.n
    agents, lines = int(n[columns.N_AGENTS]), int(n[columns.N_LINES])
    full = bool(n[columns.IS_FULL])
    people, callers = int(n[columns.N_PEOPLE]), int(n[columns.CALLER_CAPACITY])
    delay = int(n[columns.FEED_STEPS])
    learns = bool(n[columns.LEARNS])
    scored = n[columns.LEAD_BUFFER] > 0
    age_bins = params.release.shape[1]
    b = n_campaigns
    return State(
        head=np.zeros((b, N_HEAD), np.int64),
        est=np.zeros((b, N_EST)),
        agent=np.zeros((b, agents, 3), np.int64),
        idle=np.zeros((b, agents), np.int64),
        call=np.zeros((b, lines, 4), np.int64),
        free=np.zeros((b, lines), np.int64),
        waiting=np.zeros((b, lines), np.int64),
        cohort=np.zeros((b, int(n[columns.N_COHORTS])), np.int64),
        heap=np.zeros((b, agents * (4 if full else 1) + lines + callers + 8), np.int64),
        more=np.zeros((b, N_MORE * full), np.int64),
        trait=np.zeros((b, agents * full, N_TRAIT), np.int64),
        spare=np.zeros((b, agents * full), np.int64),
        story=np.zeros((b, lines * full, N_STORY), np.int64),
        person=np.zeros((b, people, FIRST_TIME + int(n[columns.CAP_30_DAYS])), np.int32),
        again=np.zeros((b, people), np.int64),
        due=np.zeros((b, people), np.int64),
        caller=np.zeros((b, callers, 3), np.int64),
        window=np.zeros((b, int(n[columns.N_RULE_WINDOWS]) * full, N_WINDOW), np.int64),
        bucket=np.zeros((b, (BUCKETS + 1) * bool(n[columns.BUCKET_MS]), N_TALLY), np.int64),
        feed=np.zeros((b, (delay + 1) * bool(delay), N_FEED)),
        log=np.zeros((b, log_rows, 6), np.int64),
        memo=np.zeros((b, memo)),
        tape=np.zeros((b, TAPE_ROWS * tape, N_TAPE), np.int64),
        lesson=np.zeros((b, 2 * N_LESSONS * learns, age_bins)),
        release=np.zeros((b, (N_AGENT_STATES - 1) * learns, age_bins, GRID)),
        ring=np.zeros((b, params.ring.shape[0] * learns, 2 + GRID)),
        lead=np.zeros((b, int(n[columns.LEAD_BUFFER]), 2)),
        hand=np.zeros((b, int(n[columns.MAX_DIALS]) * scored, 2)),
        score=np.zeros((b, lines * scored, 2)),
        pmf=np.zeros((b, 2 * GRID * bool(n[columns.EXACT]), agents + 2)),
    )


def overwrite(own: Mapping[str, NDArray[Any]], saved: Mapping[str, NDArray[Any]]) -> None:
    """Write saved arrays into those of the same names, all of which must be there.

    Raises:
        ConfigError: an array is missing or unknown, or has another shape or type; nothing is
            written then.
    """
    if own.keys() != saved.keys():
        names = sorted(own.keys() ^ saved.keys())
        raise ConfigError(f"saved state: {', '.join(names)} missing or not known")
    for name, array in own.items():
        if (array.shape, array.dtype) != (saved[name].shape, saved[name].dtype):
            raise ConfigError(
                f"saved state: {name} is {saved[name].shape} of {saved[name].dtype}, "
                f"{array.shape} of {array.dtype} is needed; was it another world's?"
            )
    for name, array in own.items():
        array[...] = saved[name]
