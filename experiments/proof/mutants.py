"""Bugs to plant in the kernel: replacements of source text, over all of its files."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MUTANTS", "Mutant"]


class Mutant(NamedTuple):
    """One planted bug.

    Attributes:
        what: the bug in words.
        file: source file below `envs/pacing`.
        old: text that stands there exactly once.
        new: text that replaces it.
    """

    what: str
    file: str
    old: str
    new: str


_PLAIN, _DIALING, _PICKUPS = "plain.py", "full/dialing.py", "full/pickups.py"
_PEOPLE, _STAFF, _WORK = "full/people.py", "full/staff.py", "full/work.py"

MUTANTS = (
    # the plain kernel
    Mutant(
        "plain: a conversation ends 1 ms late",
        _PLAIN,
        "timer_of(t + talk, AGENT, agent)",
        "timer_of(t + talk + 1, AGENT, agent)",
    ),
    Mutant(
        "plain: conversations are not counted",
        _PLAIN,
        "s.head[b, CONNECTED] += 1",
        "s.head[b, CONNECTED] += 0",
    ),
    Mutant(
        "plain: last come, first served",
        _PLAIN,
        "_leave_line(b, s, 0, t)",
        "_leave_line(b, s, s.head[b, WAITING] - 1, t)",
    ),
    Mutant(
        "plain: a tie of patience and limit is a leaving",
        _PLAIN,
        "if patience < limit:",
        "if patience <= limit:",
    ),
    Mutant(
        "plain: dialing at the close", _PLAIN, "if t >= p.n[CLOSE_MS]:", "if t > p.n[CLOSE_MS]:"
    ),
    Mutant("plain: wrap-up and talk share a draw", _PLAIN, "chance.WRAP_TIME", "chance.TALK_TIME"),
    Mutant(
        "plain: an agent is lost from the ring",
        _PLAIN,
        "s.idle[b, at if at < size else at - size] = agent",
        "s.idle[b, at if at < size else 0] = agent",
    ),
    Mutant(
        "plain: the answer rate is not moved",
        _PLAIN,
        "timer_of(move_answer_rate(b, s, p, 0, t), DRIFT, 0)",
        "timer_of(t + p.n[DRIFT_MS], DRIFT, 0)",
    ),
    # what both share
    Mutant(
        "both: the drift has no noise",
        "levels.py",
        "+ p.x[OU_NOISE] * noise\n    if p.n[P_JUMP] > 0:",
        "\n    if p.n[P_JUMP] > 0:",
    ),
    Mutant("both: jumps at the wrong times", "levels.py", "if u < p.n[P_JUMP]:", "if u < 1:"),
    Mutant(
        "both: the sooner timer is not the first",
        "timers.py",
        "first = child + (t1 < t0)",
        "first = child + (t0 < t1)",
    ),
    Mutant(
        "both: the feed is a decision too young",
        "control.py",
        "return (s.more[b, FEED_AT] + 1) % (p.n[FEED_STEPS] + 1)",
        "return (s.more[b, FEED_AT] + 2) % (p.n[FEED_STEPS] + 1)",
    ),
    Mutant(
        "both: time in a state starts 1 ms late",
        "counts.py",
        "s.head[b, ACC + state] -= t",
        "s.head[b, ACC + state] -= t + 1",
    ),
    Mutant(
        "both: the draw depends on the row",
        "counts.py",
        "return np.uint64(s.head[b, KEY])",
        "return np.uint64(s.head[b, KEY]) + np.uint64(b)",
    ),
    # dials
    Mutant(
        "a dial at the stop of dialing",
        _DIALING,
        "<= t < p.sessions[session, STOPS]",
        "<= t <= p.sessions[session, STOPS]",
    ),
    Mutant(
        "one trunk too many",
        _DIALING,
        "+ talks < p.n[TRUNKS]",
        "+ talks <= p.n[TRUNKS]",
    ),
    Mutant(
        "conversations do not count for trunks",
        _DIALING,
        "- s.head[b, FREE] + talks <",
        "- s.head[b, FREE] <",
    ),
    Mutant(
        "times run from the decision, not from the start",
        _DIALING,
        "timer_of(start + rings,",
        "timer_of(t + rings,",
    ),
    Mutant(
        "no timeout for those who do not answer",
        _DIALING,
        "(outcome <= MACHINE or outcome == NO_ANSWER)",
        "outcome <= MACHINE",
    ),
    Mutant(
        "cancelled before the least ring time",
        _DIALING,
        "s.story[b, slot, RINGS_FROM] + p.n[MIN_RING_MS] > t",
        "s.story[b, slot, RINGS_FROM] > t",
    ),
    Mutant(
        "fates by the dial instead of the attempt at the person",
        _DIALING,
        "fate = (person << 8) | count_attempt(b, s, p, person, t)",
        "count_attempt(b, s, p, person, t)",
    ),
    Mutant(
        "dial starts counted from now",
        _DIALING,
        "s.more[b, NEXT_START] = start + p.n[START_GAP_MS]",
        "s.more[b, NEXT_START] = t + p.n[START_GAP_MS]",
    ),
    # pick-ups
    Mutant(
        "greeting end is greeting start", _PICKUPS, "if p.n[CLOCK] == 2:", "if p.n[CLOCK] == 3:"
    ),
    Mutant(
        "a verdict at the deadline still counts",
        _PICKUPS,
        "if first <= verdict:",
        "if first < verdict:",
    ),
    Mutant(
        "patience ignored while held",
        _PICKUPS,
        "min(t + p.n[HOLD_MS], s.story[b, slot, GONE_AT])",
        "t + p.n[HOLD_MS]",
    ),
    Mutant(
        "who left is counted as cut",
        _PICKUPS,
        "    elif leaves:\n        _hang_up(b, s, p, slot, CAUSE_LEFT, t)",
        "    elif leaves:\n        _hang_up(b, s, p, slot, CAUSE_CUT, t)",
    ),
    Mutant(
        "a line with a message is never free",
        _PICKUPS,
        "s.more[b, MESSAGE_LINES] -= 1\n    _part(b, s, p, slot, t)",
        "s.more[b, MESSAGE_LINES] -= 1",
    ),
    Mutant(
        "the held agent is not released",
        _PICKUPS,
        "    if holder >= 0:\n        release(b, s, p, holder, t)",
        "    if holder < -1:\n        release(b, s, p, holder, t)",
    ),
    Mutant(
        "patience and ring time share a draw",
        _PICKUPS,
        "chance.DIAL_PATIENCE",
        "chance.DIAL_TIME",
    ),
    Mutant(
        "detection takes persons and machines for the other",
        _PICKUPS,
        "said_machine = machine != wrong",
        "said_machine = machine == wrong",
    ),
    # people
    Mutant(
        "one dial a day too many",
        _PEOPLE,
        "s.person[b, person, DAY_DIALS] >= p.n[CAP_DAY]",
        "s.person[b, person, DAY_DIALS] > p.n[CAP_DAY]",
    ),
    Mutant(
        "one dial a week too many",
        _PEOPLE,
        "s.person[b, person, WEEK_DIALS] >= p.n[CAP_WEEK]",
        "s.person[b, person, WEEK_DIALS] > p.n[CAP_WEEK]",
    ),
    Mutant("30 days ignored", _PEOPLE, "(oldest + _30_DAYS_S) * 1000", "oldest * 1000"),
    Mutant(
        "quarantine ignored",
        _PEOPLE,
        "put_due(b, s, p, person, t + p.n[QUARANTINE_MS])",
        "put_due(b, s, p, person, t)",
    ),
    Mutant(
        "actions may dial who heard silence",
        _PEOPLE,
        "put_due(b, s, p, person, t + p.n[QUARANTINE_MS])",
        "put_again(b, s, p, person, t + p.n[QUARANTINE_MS])",
    ),
    Mutant(
        "the pause after a verdict ignored",
        _PEOPLE,
        "pause = max(pause, p.n[MACHINE_PAUSE_MS])",
        "pause = max(pause, 0)",
    ),
    # agents
    Mutant("one agent too many held", _STAFF, "if held >= most or", "if held > most or"),
    Mutant("the end of the shift ignored", _STAFF, "if wishes & WISH_OUT:", "if wishes & 64:"),
    Mutant(
        "lunch again and again",
        _STAFF,
        "        s.trait[b, agent, WISHES] = 0\n        _go_to_lunch(",
        "        _go_to_lunch(",
    ),
    Mutant(
        "late conversations counted as in time",
        _WORK,
        "    if late:\n        s.more[b, LATE] += 1",
        "    if late and t < 0:\n        s.more[b, LATE] += 1",
    ),
    Mutant(
        "the agent's speed ignored",
        _WORK,
        "talk = max((talk * s.trait[b, agent, SPEED]) >> 20, 1)",
        "talk = max(talk, 1)",
    ),
    Mutant(
        "the last idle agent goes first",
        _WORK,
        "    return s.idle[b, at]",
        "    return s.idle[b, (at + s.head[b, COUNT + IDLE] - 1) % p.n[N_AGENTS]]",
    ),
    # inbound, windows, sessions
    Mutant(
        "one caller too many waits",
        "full/inbound.py",
        "n >= p.n[CALLER_CAPACITY]",
        "n > p.n[CALLER_CAPACITY]",
    ),
    Mutant(
        "waits of lost callers forgotten",
        "full/inbound.py",
        "s.more[b, INBOUND_WAIT_MS] += t - s.caller[b, place, 1]",
        "s.more[b, INBOUND_WAIT_MS] += 0",
    ),
    Mutant(
        "a window goes on over its boundary",
        "full/windows.py",
        "if session >= 0 and p.windows[last, w] == p.windows[session, w]:",
        "if session >= 0:",
    ),
    Mutant(
        "cut calls in every numerator",
        "full/windows.py",
        "silent = s.head[b, SILENT_CUT] * p.n[COUNTS_CUT]",
        "silent = s.head[b, SILENT_CUT] * 1",
    ),
    Mutant(
        "callers stay over night",
        "full/kernel.py",
        "    send_callers_home(b, s, p, t)\n",
        "",
    ),
    Mutant(
        "an agent is missing in the morning",
        "full/kernel.py",
        "    s.head[b, COUNT + OFF] = agents\n",
        "    s.head[b, COUNT + OFF] = agents - 1\n",
    ),
)
"""All planted bugs."""
