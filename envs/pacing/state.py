"""The state of a batch of campaigns and the parameters of their world, as plain arrays.

`State` changes with time, `Params` never does. Both are named tuples of numpy arrays, so the
compiled kernel, the numpy twin of the features and tests read the same fields by name. The
leading axis of every state array is the campaign (row of the batch), B in all; N is the number of
agents, C the number of call slots. A copy of one row of every array is a complete snapshot of that
campaign; nothing about it is kept anywhere else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.laws import TABLE_SIZE, ConstantLaw, Law
from quietdial.envs.pacing import chance
from quietdial.envs.pacing.outlook import GRID, make_outlook
from quietdial.envs.scenario import ConstantAnswer, DriftingAnswer, Scenario

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

# --- agent states (also columns of the per-state counters) and call outcomes --------------------
IDLE, TALK, WRAP, BREAK = 0, 1, 2, 3
N_AGENT_STATES = 4
PERSON, MACHINE, BUSY, NO_ANSWER, INVALID = 0, 1, 2, 3, 4
LEAVES = 5
"""Outcome of a person who is waiting in silence and will leave before the limit."""
OUTCOME_CODES = {"machine": MACHINE, "busy": BUSY, "no_answer": NO_ANSWER, "invalid": INVALID}

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
    IN_FLIGHT,  # dials without outcome yet
    CONVERSATIONS,  # conversations begun
    DIALED,  # dials placed
    ANSWERED,  # picked up by a person
    CONNECTED,  # answered and given to an agent in time
    SILENT_CUT,  # silent because cut at the limit
    SILENT_LEFT,  # silent because the callee left before the limit
    SILENT_AMD,  # silent because taken for a machine (no detection in this version)
    MACHINES,  # dials that ended at a machine; then the other outcomes in code order
    BUSIES,
    NO_ANSWERS,
    INVALIDS,
    OPEN_ANSWERED,  # answered before the episode began (training inside a day)
    OPEN_SILENT,  # silent before the episode began
    SET_KIND,  # control kind that stands (see control.py)
    SET_DIALS,  # number of calls asked for by a one-shot action
    BASE,  # base dials of a residual action, as observed
    TALK_FACTOR,  # the day's talk-time factor in units of 2^-20 (hidden)
    P_ANSWER,  # probability of an answer now, in units of 2^-32 (hidden)
    LAST_IDLE_MS,  # totals at the last decision, for the reward of a step
    LAST_AVAILABLE_MS,
    LAST_SILENT,
    LAST_ANSWERED,
    LAST_FINISHED,
) = range(35)
COUNT = 35  # COUNT + s: agents in state s
ACC = 39  # ACC + s: agent time in state s is ACC + COUNT * NOW [ms]
N_HEAD = 43

# --- columns of State.agent and State.call --------------------------------------------------------
AGENT_STATE, AGENT_SINCE, AGENT_NUMBER = 0, 1, 2
"""State, begin of the state [ms], number of the conversation that the agent is (or was) in."""
CALL_NUMBER, CALL_OUTCOME, CALL_COHORT, CALL_DUE = 0, 1, 2, 3
"""Dial number, hidden outcome, slot in the ring of cohorts, when a waiting callee goes [ms]."""

# --- columns of State.est (float64) ---------------------------------------------------------------
SET_VALUE = 0  # knob of the control that stands
DRIFT_X, DAY_P0, DAY_TURN = 1, 2, 3  # hidden: Ornstein-Uhlenbeck value, level, phase [turns]
RATE_ANSWERED, RATE_FINISHED = 4, 8  # four exponentially weighted windows each
N_WINDOWS = 4
WINDOWS_S = (60.0, 300.0, 1200.0)
"""Memory of the further answer-rate estimates [s]; window 0 is the belief's own `memory_s`."""
SIGHT = 12  # then 3 x GRID: expected releases, expected answers, variance of their difference
N_EST = SIGHT + 3 * GRID

# --- columns of Params.n (int64) ------------------------------------------------------------------
(
    N_AGENTS,
    N_LINES,
    STEP_MS,
    END_MS,
    CLOSE_MS,  # no dials from here on
    LIMIT_MS,  # answered callees are cut after so long
    MAX_DIALS,
    HAS_WRAP,
    HAS_BREAK,
    HAS_PATIENCE,
    P_BREAK,  # in units of 2^-32
    HAS_DRIFT,
    DRIFT_MS,
    CONTROL_MS,  # period of the inner controller, 0: only at decisions
    ON_RELEASE,  # the inner controller acts when an agent becomes free
    N_COHORTS,
    HORIZON_MS,  # longest training episode, 0: the whole day
    RANDOM_START,
    KNOWN_RATE,
) = range(19)
ENDING_P = 19  # four cumulated shares of the unanswered endings, units of 2^-32
ENDING_CODE = 23  # their outcome codes
P_FIXED = 27  # constant answer probability, units of 2^-32
N_PARAMS = 28

# --- rows of Params.tables ------------------------------------------------------------------------
LAW_TALK, LAW_WRAP, LAW_BREAK, LAW_ANSWER, LAW_PATIENCE, LAW_ENDING = 0, 1, 2, 3, 4, 5
"""`LAW_ENDING + i`: time to the i-th unanswered ending."""
N_LAWS = 9

# --- columns of Params.x (float64) ----------------------------------------------------------------
(
    CAP,
    BASE_THETA,
    SILENT_PENALTY,
    TALK_SD,
    LOG_P_LOW,
    LOG_P_SPAN,
    SEASON,
    SEASON_TURNS_PER_MS,
    OU_KEEP,
    OU_NOISE,
    OU_SD,
    PRIOR_RATE,
    PRIOR_WEIGHT,
) = range(13)
KEEP = 13  # KEEP + w: decay of window w per decision
N_X = KEEP + N_WINDOWS


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
    heap: IntArray  # (B, N + C + 4) timers: time << 24 | kind << 20 | entity


class Params(NamedTuple):
    """Everything that never changes."""

    n: IntArray  # (N_PARAMS,)
    x: FloatArray  # (N_X,)
    tables: IntArray  # (N_LAWS, TABLE_SIZE) quantile tables [ms]
    curves: FloatArray  # shared curves, see chance.py
    grid_weight: FloatArray  # (GRID,) weight of each look-ahead
    release: FloatArray  # (3, AGE_BINS, GRID) P(free in time | talk, wrap-up or break of this age)
    ring: FloatArray  # (R, 2 + GRID) of calls by age: survival of answered, of others, P(answer)


def _fixed(p: float) -> int:
    """A probability in units of 2^-32."""
    return round(p * 2**32)


def _rounded(x: float) -> float:
    """A constant that is the same on every platform, whatever the last bit of its library."""
    return round(x * 2.0**40) / 2.0**40


def n_lines(scenario: Scenario) -> int:
    """Call slots of a campaign: calls in flight or waiting at most."""
    if scenario.calls.max_lines is not None:
        return scenario.calls.max_lines
    return 8 * scenario.floor.n_agents + 32


def make_params(
    scenario: Scenario,
    *,
    silent_penalty: float,
    base_theta: float,
    random_start: bool,
    horizon_s: float | None,
) -> Params:
    """Compile a scenario into the arrays that the kernel reads."""
    floor, calls, episode = scenario.floor, scenario.calls, scenario.episode
    step_ms = round(episode.decision_interval_s * 1000)
    laws: list[Law] = [ConstantLaw(value_s=1.0)] * N_LAWS
    laws[LAW_TALK] = floor.talk
    laws[LAW_WRAP] = floor.wrap or laws[LAW_WRAP]
    laws[LAW_BREAK] = floor.breaks.duration if floor.breaks else laws[LAW_BREAK]
    laws[LAW_ANSWER] = calls.time_to_answer
    laws[LAW_PATIENCE] = calls.patience or laws[LAW_PATIENCE]
    n = np.zeros(N_PARAMS, np.int64)
    total = 0.0
    for i, ending in enumerate(calls.unanswered):
        laws[LAW_ENDING + i] = ending.time
        total += ending.share
        n[ENDING_P + i] = _fixed(total)
        n[ENDING_CODE + i] = OUTCOME_CODES[ending.outcome]
    n[ENDING_P + len(calls.unanswered) - 1] = 2**32
    tables = np.stack([law.table_ms() for law in laws])
    if tables.shape != (N_LAWS, TABLE_SIZE):
        raise AssertionError("every law fills one row of the table")
    longest_ms = int(tables[[LAW_ANSWER, *range(LAW_ENDING, N_LAWS)], -1].max())

    n[N_AGENTS] = floor.n_agents
    n[N_LINES] = n_lines(scenario)
    n[STEP_MS] = step_ms
    n[END_MS] = round(episode.duration_s * 1000)
    n[CLOSE_MS] = round((episode.duration_s - episode.close_s) * 1000)
    n[LIMIT_MS] = round(scenario.rule.wait_limit_s * 1000)
    n[MAX_DIALS] = scenario.max_dials
    n[HAS_WRAP] = floor.wrap is not None
    n[HAS_BREAK] = floor.breaks is not None
    n[HAS_PATIENCE] = calls.patience is not None
    n[P_BREAK] = _fixed(floor.breaks.p_after_wrap) if floor.breaks else 0
    n[CONTROL_MS] = round((episode.controller_period_s or 0.0) * 1000)
    n[ON_RELEASE] = episode.controller_on_release
    n[N_COHORTS] = longest_ms // 1000 + 2
    n[HORIZON_MS] = 0 if horizon_s is None else round(horizon_s * 1000) // step_ms * step_ms
    n[RANDOM_START] = random_start
    n[KNOWN_RATE] = scenario.belief.answer_rate is not None

    x = np.zeros(N_X)
    x[CAP] = scenario.rule.cap
    x[BASE_THETA] = base_theta
    x[SILENT_PENALTY] = silent_penalty
    x[TALK_SD] = floor.talk_day_sd
    belief = scenario.belief
    x[PRIOR_WEIGHT] = belief.prior_finished
    x[PRIOR_RATE] = belief.answer_rate or belief.prior_answered / belief.prior_finished
    for w, memory_s in enumerate((belief.memory_s, *WINDOWS_S)):
        x[KEEP + w] = _rounded(float(np.exp(-episode.decision_interval_s / memory_s)))
    rate = calls.answer_rate
    if isinstance(rate, ConstantAnswer):
        n[P_FIXED] = _fixed(rate.p)
    else:
        _drift(n, x, rate)
    outlook = make_outlook(scenario, int(n[N_COHORTS]))
    return Params(n, x, tables, chance.curves(), outlook.weight, outlook.release, outlook.ring)


def _drift(n: IntArray, x: FloatArray, rate: DriftingAnswer) -> None:
    keep = float(np.exp(-rate.update_s / rate.ou_tau_s))
    n[HAS_DRIFT] = 1
    n[DRIFT_MS] = round(rate.update_s * 1000)
    x[LOG_P_LOW] = _rounded(float(np.log(rate.p_low)))
    x[LOG_P_SPAN] = _rounded(float(np.log(rate.p_high / rate.p_low)))
    x[SEASON] = rate.season_amplitude
    x[SEASON_TURNS_PER_MS] = 1.0 / (1000.0 * rate.season_period_s)
    x[OU_KEEP] = _rounded(keep)
    x[OU_NOISE] = _rounded(rate.ou_sd * float(np.sqrt(1.0 - keep**2)))
    x[OU_SD] = rate.ou_sd


def make_state(n_campaigns: int, params: Params) -> State:
    """Arrays for `n_campaigns` campaigns; every row must be reset before its first step."""
    agents, lines = int(params.n[N_AGENTS]), int(params.n[N_LINES])
    b = n_campaigns
    return State(
        head=np.zeros((b, N_HEAD), np.int64),
        est=np.zeros((b, N_EST)),
        agent=np.zeros((b, agents, 3), np.int64),
        idle=np.zeros((b, agents), np.int64),
        call=np.zeros((b, lines, 4), np.int64),
        free=np.zeros((b, lines), np.int64),
        waiting=np.zeros((b, lines), np.int64),
        cohort=np.zeros((b, int(params.n[N_COHORTS])), np.int64),
        heap=np.zeros((b, agents + lines + 4), np.int64),
    )
