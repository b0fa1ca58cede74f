"""The parameters of a world: a scenario compiled into the arrays that the kernel reads.

`Params` never changes. Whole numbers are in milliseconds, probabilities in units of 2^-32.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError
from quietdial.envs.laws import TABLE_SIZE, ConstantLaw, ExponentialLaw, Law
from quietdial.envs.pacing import chance
from quietdial.envs.pacing.outlook import SPEED_CLASSES, make_outlook
from quietdial.envs.pacing.state import N_WINDOWS, OUTCOME_CODES, WINDOWS_S, numbers
from quietdial.envs.part import seconds_of
from quietdial.envs.regulation.calendar import Session, segment_hours, sessions_of
from quietdial.envs.scenario import ConstantAnswer, Drift, DriftingAnswer, Scenario

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

# --- columns of Params.n (int64) ------------------------------------------------------------------
(
    N_AGENTS,
    N_LINES,
    STEP_MS,
    END_MS,
    CLOSE_MS,  # no dials from here on (plain worlds)
    LIMIT_MS,  # answered callees are cut after so long
    MAX_DIALS,
    HAS_WRAP,
    HAS_BREAK,
    HAS_PATIENCE,
    P_BREAK,
    HAS_DRIFT,
    DRIFT_MS,
    CONTROL_MS,  # period of the inner controller, 0: only at decisions
    ON_RELEASE,  # the inner controller acts when an agent becomes free
    N_COHORTS,
    HORIZON_MS,  # longest training episode, 0: the whole day
    RANDOM_START,
    KNOWN_RATE,
    P_FIXED,  # constant answer probability
    IS_FULL,  # the full kernel plays this world, else the plain one
    N_PEOPLE,
    CALLER_CAPACITY,
    FEED_STEPS,  # delay of the agents' feed in decisions
    CAP_30_DAYS,
    N_RULE_WINDOWS,
    BUCKET_MS,  # step of a rolling window, 0: none
    HAS_SETUP,
    RING_TIMEOUT_MS,
    CLOCK,  # what the limit is counted from: 0 answer, 1 greeting start, 2 greeting end
    DETECTION,  # 0 perfect, 1 none, 2 amd
    P_FALSE_MACHINE,
    P_FALSE_PERSON,
    AT_LIMIT,  # 0 cut, 1 message, 2 hold
    MESSAGE_MS,
    HOLD_MS,
    HEARS,  # while waiting: 0 silence, 1 comfort noise
    TRUNKS,  # most calls with conversations, 0: no limit
    START_GAP_MS,  # between starts of dials, 0: none
    P_JUMP,  # of the answer rate in an update
    HAS_TALK_DRIFT,
    TALK_DRIFT_MS,
    P_TALK_JUMP,
    P_SUCCESS,
    HAS_SHIFTS,
    COUNTS_CUT,
    COUNTS_LEFT,
    COUNTS_AMD,
    OFCOM,  # the dialer estimates its rate by Ofcom's formula
    MIN_RING_MS,
    MAX_ATTEMPTS,
    CAP_DAY,
    CAP_WEEK,
    P_CALLBACK,
    RESERVED_AFTER,  # people who heard silence are only called by the world
    QUARANTINE_MS,
    MACHINE_PAUSE_MS,
    REFUSAL_PAUSE_MS,
    PAUSE_NO_ANSWER,
    PAUSE_BUSY,
    PAUSE_MACHINE,
    PAUSE_FAILURE,
    HAS_INBOUND,
    HAS_CALLER_PATIENCE,
    P_BALK,
    SERVICE_LEVEL_MS,
    BLEND_FREE,
    BLEND_OUTBOUND,
    BLEND_EXTRA,
    BLEND_LESS,
    LOG,
    LEARNS,  # the tables of releases and answers are learnt (or, with TRUE_LAWS, given)
    TRUE_RATE,  # privileged: the answer rate is known
    TRUE_LAWS,  # privileged: the law of talk times is known with its factor of now
    TRUE_RELEASES,  # privileged: it is known when each agent will be free
    TRUE_ANSWERS,  # privileged: it is known which calls in flight will be picked up, and when
    KNOB_AT,  # place of the controller's setting that the action sets, -1: none
    SHIELD,  # 0 none, 1 deterministic, 2 borrowing
    SHIELD_CAP,  # units of 1e-6
    SHIELD_RESERVES,
    SHIELD_PERIOD_MS,
    SHIELD_SETTLED_MS,  # every call is settled after so long
    LEAD_BUFFER,  # leads with scores of which the next one may be chosen, 0: no scores
    SCORES,  # the dialer sees the scores
    WRAP_HIDDEN,  # the dialer sees wrap-up as part of the conversation
    SIGNAL_MS,  # agents announce that they will be free in so long, 0: they do not
    SPEEDS,  # the dialer knows how fast each agent is
    RICH,  # agents are looked at one by one: signals, speeds or exact sums
    EXACT,  # sums of answers and releases by their exact law
) = range(89)
ENDING_P = 89  # five cumulated shares of the unanswered endings, units of 2^-32
ENDING_CODE = 94  # their outcome codes
N_PARAMS = 99
MOST_ENDINGS = 5
KNOWLEDGE: dict[str, tuple[tuple[int, int], ...]] = {
    "believed": (),
    "learnt": ((LEARNS, 1),),
    "ages-hidden": (),
    "wrap-hidden": ((WRAP_HIDDEN, 1),),
    "scores": ((SCORES, 1),),
    "signal-5": ((SIGNAL_MS, 5_000), (RICH, 1)),
    "signal-10": ((SIGNAL_MS, 10_000), (RICH, 1)),
    "signal-20": ((SIGNAL_MS, 20_000), (RICH, 1)),
    "speeds": ((SPEEDS, 1), (RICH, 1)),
    "true-rate": ((TRUE_RATE, 1),),
    "true-parameters": ((TRUE_RATE, 1), (LEARNS, 1), (TRUE_LAWS, 1)),
    "true-releases": ((TRUE_RELEASES, 1),),
    "true-answers": ((TRUE_ANSWERS, 1),),
    "all": ((TRUE_RATE, 1), (TRUE_RELEASES, 1), (TRUE_ANSWERS, 1)),
}
"""What the look-ahead goes by; several of them are joined by '+', as in 'scores+signal-10'.

Believed: the scenario's belief and the estimated answer rate; learnt: tables estimated from the
calls of the episode, the belief as prior. Less than that: the ages of calls and of agents' states
hidden, or wrap-up not told from the conversation. More than that, and still to be had: the scores
of the leads (`calls.leads`), a signal of agents that they will be free in 5, 10 or 20 s, how fast
each agent is (`floor.speed_sd`). All that begin with 'true', and 'all', are privileged: no dialer
can know them."""
Knowledge = str
"""Names of :data:`KNOWLEDGE`, joined by '+'."""
_TABLES = ("learnt", "true-parameters")
_OTHER_TABLES = ("ages-hidden", "wrap-hidden", "signal-5", "signal-10", "signal-20", "speeds")
EXACT_AGENTS = 30
"""With scores the exact law is used up to so many agents, the normal law beyond."""


def knowledge_parts(knowledge: Knowledge) -> tuple[str, ...]:
    """The names that `knowledge` joins.

    Raises:
        ConfigError: an unknown name, or names that exclude each other.
    """
    parts = tuple(str(knowledge).split("+"))
    if any(part not in KNOWLEDGE for part in parts):
        raise ConfigError(
            f"knowledge = {knowledge!r} must be one of, or several joined by '+': "
            + ", ".join(KNOWLEDGE)
        )
    learnt = [part for part in parts if part in _TABLES]
    given = [part for part in parts if part in _OTHER_TABLES]
    if learnt and given:
        raise ConfigError(
            f"knowledge = {knowledge!r}: {learnt[0]!r} and {given[0]!r} both say what the tables "
            "of agents are; leave one out"
        )
    if sum(part.startswith("signal-") for part in parts) > 1:
        raise ConfigError(f"knowledge = {knowledge!r}: give one signal, the longest")
    return parts


DETECT_PERFECT, DETECT_NONE, DETECT_AMD = 0, 1, 2
CUT, MESSAGE, HOLD = 0, 1, 2

# --- rows of Params.tables ------------------------------------------------------------------------
_LAWS = numbers(20)
LAW_TALK, LAW_WRAP, LAW_BREAK, LAW_ANSWER, LAW_PATIENCE, LAW_ENDING = _LAWS[:6]
"""`LAW_ENDING + i`: time to the i-th unanswered ending."""
LAW_SETUP, LAW_GREETING_START, LAW_GREETING, LAW_DECISION, LAW_MACHINE = _LAWS[10:15]
LAW_CALLBACK, LAW_INBOUND, LAW_CALLER_PATIENCE, LAW_DAY_FACTOR, LAW_UNIT = _LAWS[15:]
"""`LAW_UNIT`: exponential with a mean of 10^6 ms."""
N_PLAIN_LAWS, N_LAWS = 10, 20

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
    JUMP_SD,
    TALK_SEASON,
    TALK_TURNS_PER_MS,
    TALK_KEEP,
    TALK_NOISE,
    TALK_OU_SD,
    TALK_JUMP_SD,
    SPEED_SD,
    SKILL_SD,
    RESERVED_SHARE,
    AUDITED_SHARE,
    HARM_SILENCE,
    HARM_NOISE,
    HARM_MESSAGE,
    HARM_LATE,
    HARM_GROWTH,
    SHIELD_RATE_PER_S,  # answered calls to come for each agent and second
    LEAD_SHIFT,  # difference of the scores' means in units of their sd
) = range(31)
KEEP = 31  # KEEP + w: decay of window w per decision
N_X = KEEP + N_WINDOWS

# --- columns of Params.sessions, shifts, periods, windows -----------------------------------------
OPENS, DIALS_FROM, STOPS, CLOSES, WALL_S, DAY, WEEK, WORKED = 0, 1, 2, 3, 4, 5, 6, 7
"""Times of a session [ms], local time at its opening [s], its day and week, open time before it."""
SPAN_FROM, SPAN_UNTIL = 8, 9
"""Open time before the begin and the end of the rule's first window [ms]."""
LOGIN_S, LOGOUT_S, LUNCH_S, LUNCH_MS, SPARE_GROUP = 0, 1, 2, 3, 4
"""Of each agent: local times of day [s] (no lunch: -1), length of lunch, 1 if inbound only."""


_NO_LOGOUT_S = 10**8
"""Later than the end of any session [s of the day]."""


class Params(NamedTuple):
    """Everything that never changes."""

    n: IntArray  # (N_PARAMS,)
    x: FloatArray  # (N_X,)
    tables: IntArray  # (N_LAWS or N_PLAIN_LAWS, TABLE_SIZE) quantile tables [ms]
    curves: FloatArray  # shared curves, see chance.py
    grid_weight: FloatArray  # (GRID,) weight of each look-ahead
    release: FloatArray  # (N_AGENT_STATES - 1, AGE_BINS, GRID) P(free in time | state - 1, age)
    ring: FloatArray  # (R, 2 + GRID) of calls by age: survival of answered, of others, P(answer)
    ahead_s: FloatArray  # (GRID, 2) look-ahead times [s]: until the answer, until the call is cut
    prior: FloatArray  # (N_LESSONS, AGE_BINS) believed laws of what learnt tables are made of
    settings: FloatArray  # (K,) settings of the controller
    # full worlds only
    sessions: IntArray  # (S, 10)
    shifts: IntArray  # (N, 5)
    segments: IntArray  # (S, G, 3) dial from, dial until [ms], hour zone offset [s]
    shares: IntArray  # (G,) cumulated shares of the segments, units of 2^-32
    reach: FloatArray  # (G, 24) factor of the answer rate by the callee's hour
    windows: IntArray  # (S, W) window number of each session
    caps: FloatArray  # (W,) cap of each window
    rolling: IntArray  # (W,) 1 if the window is a rolling one
    periods: IntArray  # (S, I, 2) begin [ms], mean gap [2^-16 ms] of inbound calls


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


def is_full(scenario: Scenario) -> bool:
    """Whether a scenario uses anything that only the full kernel plays.

    The plain kernel is the full one without the parts below, and gives the same bits.
    """
    floor, calls, rule, episode = scenario.floor, scenario.calls, scenario.rule, scenario.episode
    rate = calls.answer_rate
    return bool(
        scenario.people
        or scenario.inbound
        or floor.shifts
        or floor.talk_drift
        or floor.speed_sd
        or floor.p_success
        or calls.setup
        or calls.greeting
        or calls.detection.kind != "perfect"
        or calls.ring_timeout_s
        or calls.trunks
        or calls.calls_per_s
        or calls.leads
        or any(part.outcome == "failure" for part in calls.unanswered)
        or (isinstance(rate, DriftingAnswer) and rate.jumps_per_h)
        or rule.at_limit != "cut"
        or not (rule.counts_cut and rule.counts_left and rule.counts_amd)
        or rule.estimate != "counted"
        or [window.kind for window in rule.all_windows] != ["campaign"]
        or episode.first_day
        or episode.dial_from
        or episode.dial_until
        or scenario.belief.feed_delay_s
    )


def make_params(
    scenario: Scenario,
    *,
    silent_penalty: float,
    base_theta: float,
    random_start: bool,
    horizon_s: float | None,
    full: bool = False,
    log: bool = False,
    knowledge: Knowledge = "believed",
    settings: Sequence[float] = (),
    knob: int = -1,
) -> Params:
    """Compile a scenario into the arrays that the kernel reads.

    `full` asks for the full kernel even if the plain one would do, and so does `log`. `knowledge`
    is what the look-ahead goes by; `settings` and `knob` belong to a controller.
    """
    floor, calls, episode = scenario.floor, scenario.calls, scenario.episode
    full = full or log or is_full(scenario)
    sessions = sessions_of(scenario)
    n, x = np.zeros(N_PARAMS, np.int64), np.zeros(N_X)
    tables = _tables(scenario, n, full)
    ringing = tables[[LAW_ANSWER, *range(LAW_ENDING, N_PLAIN_LAWS)], -1].max()
    longest_ms = int(ringing) + 1000 * full
    if calls.setup is not None:
        longest_ms += int(tables[LAW_SETUP, -1])

    step_ms = round(episode.decision_interval_s * 1000)
    n[N_AGENTS] = floor.n_agents
    n[N_LINES] = n_lines(scenario)
    n[STEP_MS] = step_ms
    n[END_MS] = sessions[-1].close_ms
    n[CLOSE_MS] = sessions[-1].stop_ms
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
    n[IS_FULL] = full
    n[LOG] = log
    if calls.leads is not None:
        n[LEAD_BUFFER] = calls.leads.buffer
        x[LEAD_SHIFT] = _rounded(calls.leads.shift)
    n[KNOB_AT] = knob
    known_of = knowledge_parts(knowledge)
    for part in known_of:
        for column, value in KNOWLEDGE[part]:
            n[column] = value

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
        n[HAS_DRIFT] = 1
        x[LOG_P_LOW] = _rounded(float(np.log(rate.p_low)))
        x[LOG_P_SPAN] = _rounded(float(np.log(rate.p_high / rate.p_low)))
        n[DRIFT_MS], n[P_JUMP] = _drift(x, rate, SEASON)
        x[JUMP_SD] = rate.jump_sd
    harm = scenario.rule.harm
    x[HARM_SILENCE], x[HARM_NOISE] = harm.silence, harm.comfort_noise
    x[HARM_MESSAGE], x[HARM_LATE], x[HARM_GROWTH] = harm.message, harm.late, harm.growth
    n[HEARS] = scenario.rule.waiting_hears == "comfort_noise"
    if n[SCORES] and calls.leads is None:
        raise ConfigError(
            f"knowledge = {knowledge!r}: scenario {scenario.name!r} has no scores of leads; "
            "give it `calls: {leads: {auc: 0.75}}`"
        )
    if n[SCORES] and floor.n_agents <= EXACT_AGENTS:
        n[EXACT], n[RICH] = 1, 1
    known = scenario
    if n[TRUE_LAWS]:
        told = belief.model_copy(update={"talk": None, "wrap": None, "time_to_answer": None})
        known = scenario.model_copy(update={"belief": told})
    outlook = make_outlook(
        known,
        int(n[N_COHORTS]),
        ages="ages-hidden" not in known_of,
        wrap="wrap-hidden" not in known_of,
        signal_s=n[SIGNAL_MS] / 1000.0,
        speeds=SPEED_CLASSES if n[SPEEDS] else 0,
    )
    _write_rest(scenario, n, x, full)
    parts = _people_tables(scenario, sessions)
    windows = scenario.rule.all_windows
    return Params(
        n=n,
        x=x,
        tables=tables,
        curves=chance.curves(),
        grid_weight=outlook.weight,
        release=outlook.release,
        ring=outlook.ring,
        ahead_s=outlook.ahead_s,
        prior=outlook.prior,
        settings=np.array(settings, np.float64),
        sessions=_session_table(sessions),
        shifts=_shifts(scenario, sessions),
        segments=parts.segments,
        shares=parts.shares,
        reach=parts.reach,
        windows=np.array([s.windows for s in sessions], np.int64),
        caps=np.array([window.cap for window in windows]),
        rolling=np.array([window.kind == "hours" for window in windows], np.int64),
        periods=_periods(scenario, sessions),
    )


def _tables(scenario: Scenario, n: IntArray, full: bool) -> IntArray:
    """The quantile tables of all laws; writes the unanswered endings into `n`."""
    floor, calls, inbound = scenario.floor, scenario.calls, scenario.inbound
    laws: list[Law] = [ConstantLaw(value_s=1.0)] * N_LAWS
    given: dict[int, Law | None] = {
        LAW_TALK: floor.talk,
        LAW_WRAP: floor.wrap,
        LAW_BREAK: floor.breaks.duration if floor.breaks else None,
        LAW_ANSWER: calls.time_to_answer,
        LAW_PATIENCE: calls.patience,
        LAW_SETUP: calls.setup,
        LAW_GREETING_START: calls.greeting.start if calls.greeting else None,
        LAW_GREETING: calls.greeting.length if calls.greeting else None,
        LAW_DECISION: calls.detection.decision,
        LAW_MACHINE: calls.detection.machine_handling,
        LAW_CALLBACK: scenario.people.callback_after if scenario.people else None,
        LAW_INBOUND: inbound.talk if inbound else None,
        LAW_CALLER_PATIENCE: inbound.patience if inbound else None,
        LAW_DAY_FACTOR: inbound.day_factor if inbound else None,
        LAW_UNIT: ExponentialLaw(mean_s=1000.0),
    }
    for i, ending in enumerate(calls.unanswered):
        given[LAW_ENDING + i] = ending.time
    for row, law in given.items():
        laws[row] = law or laws[row]
    total = 0.0
    for i, ending in enumerate(calls.unanswered):
        total += ending.share
        n[ENDING_P + i] = _fixed(total)
        n[ENDING_CODE + i] = OUTCOME_CODES[ending.outcome]
    n[ENDING_P + len(calls.unanswered) - 1] = 2**32
    tables = np.stack([law.table_ms() for law in laws[: N_LAWS if full else N_PLAIN_LAWS]])
    if tables.shape[1] != TABLE_SIZE:
        raise AssertionError("every law fills one row of the table")
    return tables


def _drift(x: FloatArray, drift: Drift, at: int) -> tuple[int, int]:
    """Write a drift's season and noise at columns `at` .. `at` + 4; its step [ms] and P(jump)."""
    keep = float(np.exp(-drift.update_s / drift.ou_tau_s))
    x[at] = drift.season_amplitude
    x[at + 1] = 1.0 / (1000.0 * drift.season_period_s)
    x[at + 2] = _rounded(keep)
    x[at + 3] = _rounded(drift.ou_sd * float(np.sqrt(1.0 - keep**2)))
    x[at + 4] = drift.ou_sd
    p_jump = -float(np.expm1(-drift.jumps_per_h * drift.update_s / 3600.0))
    return round(drift.update_s * 1000), _fixed(p_jump)


def _session_table(sessions: tuple[Session, ...]) -> IntArray:
    """The sessions as rows of whole numbers, (S, 10)."""
    table = np.zeros((len(sessions), 10), np.int64)
    worked = 0
    for i, s in enumerate(sessions):
        times = (s.open_ms, s.dial_ms, s.stop_ms, s.close_ms)
        table[i, :SPAN_FROM] = (*times, s.wall_s, s.day, s.week, worked)
        worked += s.close_ms - s.open_ms
    first = np.array([s.windows[0] for s in sessions])
    ends = np.append(table[1:, WORKED], worked)
    for i in range(len(sessions)):
        inside = np.flatnonzero(first == first[i])
        table[i, SPAN_FROM:] = table[inside[0], WORKED], ends[inside[-1]]
    return table


class _PeopleTables(NamedTuple):
    segments: IntArray
    shares: IntArray
    reach: FloatArray


def _people_tables(scenario: Scenario, sessions: tuple[Session, ...]) -> _PeopleTables:
    """When each segment may be dialed, its share and its reach by hour; one segment of no list."""
    hours = segment_hours(scenario, sessions)
    people = scenario.people
    shares, reach = [1.0], np.ones((1, 24))
    zones: list[str | None] = [None]
    if people is not None:
        shares = list(np.cumsum([segment.share for segment in people.segments]))
        reach = np.array([segment.by_hour for segment in people.segments])
        reach = reach * np.array([[segment.reach] for segment in people.segments])
        zones = [segment.time_zone for segment in people.segments]
    offsets = [[_offset_s(scenario, s.date, zone) for zone in zones] for s in sessions]
    segments = np.concatenate([hours, np.array(offsets, np.int64)[:, :, None]], axis=2)
    fixed = np.array([_fixed(float(share)) for share in shares], np.int64)
    fixed[-1] = 2**32
    return _PeopleTables(segments, fixed, reach)


def _write_rest(scenario: Scenario, n: IntArray, x: FloatArray, full: bool) -> None:
    """The numbers that only the full kernel reads."""
    n[N_RULE_WINDOWS] = len(scenario.rule.all_windows)
    if not full:
        return
    floor, calls, rule = scenario.floor, scenario.calls, scenario.rule
    people, inbound, blend = scenario.people, scenario.inbound, scenario.blend
    interval_s = scenario.episode.decision_interval_s
    n[FEED_STEPS] = round(scenario.belief.feed_delay_s / interval_s)
    rolling = [window.length for window in rule.all_windows if window.kind == "hours"]
    n[BUCKET_MS] = 60_000 * rolling[0] if rolling else 0
    n[HAS_SETUP] = calls.setup is not None
    n[RING_TIMEOUT_MS] = round((calls.ring_timeout_s or 0.0) * 1000)
    n[CLOCK] = ("answer", "greeting_start", "greeting_end").index(rule.clock)
    detection = calls.detection
    n[DETECTION] = ("perfect", "none", "amd").index(detection.kind)
    n[P_FALSE_MACHINE] = _fixed(detection.p_false_machine)
    n[P_FALSE_PERSON] = _fixed(detection.p_false_person)
    x[AUDITED_SHARE] = detection.audited_share
    n[AT_LIMIT] = ("cut", "message", "hold").index(rule.at_limit)
    n[MESSAGE_MS] = round(rule.message_s * 1000)
    n[HOLD_MS] = round(rule.hold_s * 1000)
    n[TRUNKS] = calls.trunks or 0
    n[START_GAP_MS] = max(1, round(1000 / calls.calls_per_s)) if calls.calls_per_s else 0
    n[HAS_TALK_DRIFT] = floor.talk_drift is not None
    if floor.talk_drift is not None:
        n[TALK_DRIFT_MS], n[P_TALK_JUMP] = _drift(x, floor.talk_drift, TALK_SEASON)
        x[TALK_JUMP_SD] = floor.talk_drift.jump_sd
    x[SPEED_SD], x[SKILL_SD] = floor.speed_sd, floor.skill_sd
    n[P_SUCCESS] = _fixed(floor.p_success)
    n[HAS_SHIFTS] = bool(floor.shifts)
    x[RESERVED_SHARE] = floor.reserved_share
    n[COUNTS_CUT], n[COUNTS_LEFT] = rule.counts_cut, rule.counts_left
    n[COUNTS_AMD], n[OFCOM] = rule.counts_amd, rule.estimate == "ofcom"
    n[MIN_RING_MS] = round((rule.min_ring_s or 0.0) * 1000)
    n[QUARANTINE_MS] = round(rule.quarantine_s * 1000)
    n[RESERVED_AFTER] = rule.reserved_after_silent
    n[MACHINE_PAUSE_MS] = round(rule.machine_pause_s * 1000)
    n[REFUSAL_PAUSE_MS] = round(rule.refusal_pause_s * 1000)
    n[BLEND_FREE], n[BLEND_OUTBOUND] = blend.min_free, blend.min_free_outbound
    n[BLEND_EXTRA], n[BLEND_LESS] = blend.extra, blend.less_in_flight
    if people is not None:
        n[N_PEOPLE] = people.n_people
        caps, retry, most = rule.attempts, people.retry, 2**31
        n[MAX_ATTEMPTS] = min(people.max_attempts, caps.per_campaign or most)
        n[CAP_DAY], n[CAP_WEEK] = caps.per_day or most, caps.per_week or most
        n[CAP_30_DAYS] = caps.per_30_days or 0
        n[P_CALLBACK] = _fixed(people.p_callback)
        n[PAUSE_NO_ANSWER] = round(retry.no_answer_s * 1000)
        n[PAUSE_BUSY] = round(retry.busy_s * 1000)
        n[PAUSE_MACHINE] = round(retry.machine_s * 1000)
        n[PAUSE_FAILURE] = round(retry.failure_s * 1000)
    if inbound is not None:
        n[HAS_INBOUND] = 1
        n[HAS_CALLER_PATIENCE] = inbound.patience is not None
        n[CALLER_CAPACITY] = inbound.capacity
        n[P_BALK] = _fixed(inbound.p_balk)
        n[SERVICE_LEVEL_MS] = round(inbound.service_level_s * 1000)


def _shifts(scenario: Scenario, sessions: tuple[Session, ...]) -> IntArray:
    """Working hours of every agent, (N, 5); without shifts: all day.

    Raises `ConfigError` if no outbound agent is ever there.
    """
    rows = []
    for shift in scenario.floor.shifts:
        lunch = (seconds_of(shift.lunch.at), shift.lunch.duration) if shift.lunch else (-1, 0.0)
        row = (
            seconds_of(shift.login),
            seconds_of(shift.logout) if shift.logout != "23:59" else _NO_LOGOUT_S,
            lunch[0],
            round(lunch[1] * 1000),
            shift.group == "inbound",
        )
        rows += [row] * shift.n_agents
    if not rows:
        rows = [(0, _NO_LOGOUT_S, -1, 0, False)] * scenario.floor.n_agents
    table = np.array(rows, np.int64)
    outbound = table[table[:, SPARE_GROUP] == 0]
    for s in sessions:
        stops_s = s.wall_s + (s.stop_ms - s.open_ms) / 1000
        begins_s = s.wall_s + (s.dial_ms - s.open_ms) / 1000
        there = (outbound[:, LOGIN_S] < stops_s) & (outbound[:, LOGOUT_S] > begins_s)
        if there.any():
            return table
    raise ConfigError(
        "floor.shifts: no outbound agent is logged in at any time at which dialing is open; "
        f"the first session begins at second {sessions[0].wall_s} of the day"
    )


def _offset_s(scenario: Scenario, date: datetime.date | None, zone: str | None) -> int:
    """Local time in `zone` less the campaign's local time, at noon of a day [s]."""
    if zone is None:
        return 0
    day = date or datetime.date(2026, 1, 15)
    noon = datetime.datetime.combine(
        day, datetime.time(12), zoneinfo.ZoneInfo(scenario.episode.time_zone)
    )
    there = noon.astimezone(zoneinfo.ZoneInfo(zone))
    difference = there.replace(tzinfo=None) - noon.replace(tzinfo=None)
    return round(difference.total_seconds())


def _periods(scenario: Scenario, sessions: tuple[Session, ...]) -> IntArray:
    """Inbound periods of every session, (S, I, 2): begin [ms], mean gap [ms x 2^16], 0: none."""
    if scenario.inbound is None:
        return np.zeros((len(sessions), 0, 2), np.int64)
    periods = scenario.inbound.periods
    table = np.zeros((len(sessions), len(periods), 2), np.int64)
    for i, s in enumerate(sessions):
        for j, period in enumerate(periods):
            begin = s.open_ms + (seconds_of(period.begins) - s.wall_s) * 1000
            gap = 3_600_000 * 65_536 / period.per_h if period.per_h else 0.0
            table[i, j] = max(begin, s.open_ms), round(gap)
    return table
