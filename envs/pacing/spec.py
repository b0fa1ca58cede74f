"""The one table of everything that crosses the border of the environment.

Observation fields, actions, reward terms, info entries and episode totals are declared here, once.
Spaces, the compiled observation code, the docstrings of the environments, the export contract and
the documentation are made from this table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from gymnasium import spaces

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import control
from quietdial.envs.pacing.insight import N_CHOICES
from quietdial.envs.pacing.state import GRID
from quietdial.envs.scenario import ActionName, ObservationName, Scenario


class Field(NamedTuple):
    """One number of an observation."""

    name: str
    unit: str
    low: float
    high: float
    meaning: str


class Action(NamedTuple):
    """One kind of action."""

    name: str
    kind: int  # control kind in the kernel
    meaning: str


class Entry(NamedTuple):
    """One entry of `info` or one total of the episode."""

    name: str
    unit: str
    meaning: str


_M = "m = agents not on break"
COUNTERS = (
    Field("idle_few", "4 agents", 0, 2, "idle agents, at most 8, in units of 4"),
    Field("idle_share", "m/3", 0, 3, f"3 x idle agents / m, {_M}"),
    Field("waiting", "calls", 0, 3, "answered callees waiting in silence, at most 3"),
    Field("talk_share", "m", 0, 1, "agents in conversation / m"),
    Field("wrap_share", "m/3", 0, 3, "3 x agents in wrap-up / m"),
    Field("break_share", "N/3", 0, 3, "3 x agents on break / agents"),
    Field("answer_rate", "2 sqrt(p) - 1", -1, 1, "p = answered / finished dials, belief's memory"),
    Field("answer_rate_1min", "2 sqrt(p) - 1", -1, 1, "the same over about 1 minute"),
    Field("answer_rate_5min", "2 sqrt(p) - 1", -1, 1, "the same over about 5 minutes"),
    Field("answer_rate_20min", "2 sqrt(p) - 1", -1, 1, "the same over about 20 minutes"),
    Field("answers_due", "m/6", 0, 12, "6 x calls in flight x p / m"),
    Field("team_size", "sqrt(m)/10", 0, 5, "square root of m, in units of 10"),
    Field(
        "over_budget_few",
        "3 calls",
        -3,
        3,
        "(silent - cap x answered) / 3 in the rule's first window",
    ),
    Field(
        "over_budget_rate",
        "2.5 %",
        -2,
        2,
        "40 ((silent + 1.5) / (answered + 50) - cap), same window",
    ),
    Field("nobody_free", "flag", 0, 1, "1 if no agent is idle and nobody waits"),
    Field("time_left", "day", 0, 1, "share of the compliance window that is left"),
    Field(
        "rate_left",
        "cap",
        0,
        3,
        "silent rate of the rest of the window that would just use up the cap, "
        "if answers keep today's pace, in units of the cap",
    ),
    Field("logged_in", "N", 0, 1, "agents logged in / agents"),
    Field("leaving", "m", 0, 1, "agents whose log-out is at most 5 minutes away / m"),
    Field("list_left", "list", 0, 1, "share of the list that may still be dialed; no list: 1"),
    Field("tightest_window", "2.5 %", -2, 2, "over_budget_rate of the window nearest to its cap"),
)
N_LEVELS = 13
"""VICIdial's levels of the action `vicidial_level`: 1 to 4 lines per agent in steps of 1/4."""
LEAD_FIELDS = (
    Field("likeliest", "2 sqrt(p) - 1", -1, 1, "p = answer probability of the likeliest lead"),
    Field("next_lead", "2 sqrt(p) - 1", -1, 1, "the same of the next lead of the list"),
    Field("least_likely", "2 sqrt(p) - 1", -1, 1, "the same of the least likely lead"),
)
"""Of the buffered leads, by their scores and the estimated answer rate."""
WIDE_FIELDS = (
    Field("given_unseen", "sqrt(m)", 0, 5, "calls given to agents since the moment the feed shows"),
    Field("under_detection", "sqrt(m)", 0, 5, "picked-up calls that detection has not judged yet"),
    Field(
        "leaving_30s",
        "m",
        0,
        1,
        "agents / m who leave (log-out, lunch) within 30 s or are overdue",
    ),
    Field("leaving_2min", "m", 0, 1, "the same within 2 minutes"),
    Field("inbound_share", "m", 0, 1, "agents in inbound conversations / m"),
    Field("inbound_waiting", "4 calls", 0, 2, "inbound callers waiting, at most 8, units of 4"),
    Field("lines_free", "lines", 0, 1, "share of the lines that are free"),
    Field("dialed_0", "m/6", 0, 12, "6 x calls in flight dialed at most 2 s ago x p / m"),
    Field("dialed_1", "m/6", 0, 12, "the same, dialed 3 to 7 s ago"),
    Field("dialed_2", "m/6", 0, 12, "the same, dialed 8 to 15 s ago"),
    Field("dialed_3", "m/6", 0, 12, "the same, dialed 16 s ago or earlier"),
)
"""What a dialer sees and the index rule does not use."""
BASE_FIELD = Field(
    "base_dials", "4 calls", 0, 2, "base of a residual action, at most 8, units of 4"
)


def _outlook_fields() -> tuple[Field, ...]:
    def group(name: str, unit: str, low: float, high: float, meaning: str) -> list[Field]:
        return [Field(f"{name}_{g}", unit, low, high, f"{meaning}, g = {g}") for g in range(GRID)]

    return (
        *group("releases", "sqrt(m)", 0, 10, "R_g: agents expected free in time for an answer"),
        *group("answers", "sqrt(m)", 0, 10, "A_g: calls in flight expected to be answered"),
        *group("overflow", "2 sd", -2, 2, "(A_g - R_g - I + 1/2) / sd, I = idle - waiting"),
        *group("slack", "sqrt(m)", -10, 10, "I + R_g - A_g"),
        Field("risk", "1/2", 0, 2, "2 x P(one more answered call would go silent)"),
    )


FULL = (*COUNTERS, *_outlook_fields())
MARKOV = (
    Field("busy", "N", 0, 1, "agents in conversation or wrap-up / agents"),
    Field("in_flight", "N", 0, 8, "calls in flight / agents"),
)
OBSERVATIONS: dict[ObservationName, tuple[Field, ...]] = {
    "full": (*FULL, BASE_FIELD),
    "counters": (*COUNTERS, BASE_FIELD),
    "leads": (*FULL, *LEAD_FIELDS, BASE_FIELD),
    "wide": (*FULL, *WIDE_FIELDS, BASE_FIELD),
    "markov": MARKOV,
    "none": (),
}

ACTIONS: dict[ActionName, Action] = {
    "residual": Action(
        "residual",
        control.RESIDUAL,
        "Discrete(6): the base rule `marginal` at theta 0.02 asks for k calls, action a places "
        "k + a - 2, at least 0 and at most the most calls of a decision",
    ),
    "dials": Action("dials", control.DIALS, "Discrete(K + 1): place a calls now, K = most calls"),
    "dials_or_cancel": Action(
        "dials_or_cancel",
        control.DIALS_OR_CANCEL,
        "Discrete(2 K + 1): place a - K calls now, or cancel K - a ringing ones, the youngest "
        "first of those that have rung as long as the rule demands; only where it allows that",
    ),
    "residual_choice": Action(
        "residual_choice",
        control.RESIDUAL,
        "Discrete(24): residual a mod 6, and whom to dial of the buffered leads of `calls.leads`: "
        "a div 6 = 0 the next of the list, 1 the likeliest, 2 the least likely to answer, 3 as "
        "`marginal` chooses, call by call, and then as many as it asks for knowing whom it dials",
    ),
    "vicidial_level": Action(
        "vicidial_level",
        control.CONTROLLER,
        f"Discrete({N_LEVELS}): what an outside controller of VICIdial really has: every 15 s, the "
        "decision interval of such a world, auto_dial_level = 1 + a/4 of its dial method RATIO, "
        "whose placer acts every 2.5 s",
    ),
    "threshold": Action(
        "threshold",
        control.THETA,
        f"Discrete({len(control.THETAS)}): `marginal` with the a-th theta of {control.THETAS}",
    ),
    "theta": Action("theta", control.THETA, "Box(0, 1, (1,)): `marginal` with this theta"),
    "ratio": Action("ratio", control.RATIO, "Box(0, 20, (1,)): keep ratio x idle calls in flight"),
    "progressive": Action(
        "progressive", control.PROGRESSIVE, "Discrete(1): one line per idle agent"
    ),
    "controller": Action(
        "controller",
        control.CONTROLLER,
        "Box(low, high, (1,)): the knob of the world's `controller`, between its own limits; the "
        "controller acts at its own period, see docs/pacing-rules.md",
    ),
    "blend": Action(
        "blend",
        control.BLEND,
        "Box(0, 20, (1,)): the event-triggered dialer of `scenario.blend` with this ratio",
    ),
}

REWARD_TERMS = (
    Entry("idle", "1", "-(idle agent-seconds / available agent-seconds) of the step"),
    Entry(
        "silent",
        "1",
        "-silent_penalty [agent-s per call] x silent calls / (agents x decision interval [s])",
    ),
)
INFO = (
    Entry("cost", "calls", "silent calls of the step that the rule counts"),
    Entry("answered", "calls", "dials of the step that a person answered"),
    Entry("harm", "1", "harm of the step's silent calls (`rule.harm`), charged below the cap too"),
    Entry("reward_terms", "1", "the terms whose sum is the reward: idle, silent"),
    Entry("totals", "-", "running totals of the episode, see below"),
)
TOTALS = (
    Entry("dialed", "calls", "dials placed"),
    Entry("answered", "calls", "picked up by a person, whatever happened next"),
    Entry("connected", "calls", "answered and given to an agent in time: conversations"),
    Entry("silent", "calls", "answered and not connected in time, the three causes together"),
    Entry("silent_cut", "calls", "no agent at the limit: cut, with a message, or late"),
    Entry("silent_left", "calls", "the callee left before the limit"),
    Entry("silent_amd", "calls", "taken for a machine"),
    Entry("machine", "calls", "dials that reached a machine"),
    Entry("busy", "calls", "busy lines"),
    Entry("no_answer", "calls", "dials that nobody answered"),
    Entry("invalid", "calls", "invalid numbers"),
    Entry("idle_s", "agent-s", "agents without a call"),
    Entry("talk_s", "agent-s", "agents in conversation"),
    Entry("wrap_s", "agent-s", "agents in wrap-up"),
    Entry("break_s", "agent-s", "agents on break"),
    Entry("available_s", "agent-s", "agents logged in and not on break"),
    Entry("waiting_s", "s", "time of all callees in the queue"),
)
FULL_TOTALS = (
    Entry("counted", "calls", "silent calls in the rule's numerator"),
    Entry("late", "calls", "silent calls that an agent took after the limit"),
    Entry("message", "calls", "silent calls that heard an information message"),
    Entry("failure", "calls", "network failures"),
    Entry("cancelled", "calls", "ringing calls cancelled"),
    Entry("machine_agent", "calls", "machines handled by agents"),
    Entry("machine_dropped", "calls", "machines that waited for an agent until the limit"),
    Entry("amd_machine", "calls", "verdicts 'machine' of the detection, true and false"),
    Entry("reserved", "calls", "dials placed by the world, an agent set aside for each"),
    Entry("callbacks", "calls", "callbacks asked for"),
    Entry("repeats", "calls", "silent calls to people who had one before"),
    Entry("harm", "1", "harm of all silent calls"),
    Entry("people_done", "people", "people who will not be dialed again"),
    Entry("successes", "calls", "conversations that reached their aim"),
    Entry("inbound_arrived", "calls", "inbound calls"),
    Entry("inbound_served", "calls", "of these, taken by an agent"),
    Entry("inbound_lost", "calls", "of these, balked, blocked, gave up, or sent home at the close"),
    Entry("inbound_waited", "calls", "of these, found no free agent"),
    Entry("inbound_in_time", "calls", "of these, served within the service level's time"),
    Entry("inbound_wait_s", "s", "time of all inbound callers in the queue"),
    Entry("off_s", "agent-s", "agents logged out"),
    Entry("held_s", "agent-s", "agents set aside for a dial of the world"),
    Entry("machine_s", "agent-s", "agents with a machine"),
    Entry("inbound_s", "agent-s", "agents in inbound conversations"),
)
PRIVILEGED = (
    Entry("p_answer", "1", "probability that a dial placed now is answered by a person"),
    Entry("talk_factor", "1", "factor of talk times of conversations that begin now"),
    Entry("silent_amd", "calls", "people taken for machines so far"),
    Entry("answers_5s", "calls", "calls in flight that a person will answer within 5 s"),
    Entry("answers_10s", "calls", "the same within 10 s"),
    Entry("answers_20s", "calls", "the same within 20 s"),
    Entry("answers", "calls", "the same at any time"),
    Entry("releases_5s", "agents", "agents who will end what they do within 5 s"),
    Entry("releases_10s", "agents", "the same within 10 s"),
    Entry("releases_20s", "agents", "the same within 20 s"),
)


N_RESIDUALS = control.RESIDUAL_HIGH - control.RESIDUAL_LOW + 1


def observation_space(name: str) -> spaces.Box[np.float32]:
    """The Box of an observation set; shape (F,), float32."""
    fields = observation_fields(name)
    low = np.array([f.low for f in fields], np.float32)
    high = np.array([f.high for f in fields], np.float32)
    return spaces.Box(low, high, (len(fields),), dtype=np.float32)


def observation_fields(name: str) -> tuple[Field, ...]:
    """The fields of an observation set, in order. Raises `ConfigError` for an unknown name."""
    for known, fields in OBSERVATIONS.items():
        if known == name:
            return fields
    raise ConfigError(f"unknown observation {name!r}; use one of: " + ", ".join(OBSERVATIONS))


def action_of(name: str) -> Action:
    """The action kind of that name. Raises `ConfigError` for an unknown name."""
    for known, action in ACTIONS.items():
        if known == name:
            return action
    raise ConfigError(f"unknown action {name!r}; use one of: " + ", ".join(ACTIONS))


def action_space(
    name: str, scenario: Scenario, knob_range: tuple[float, float] = (0.0, 20.0)
) -> spaces.Discrete[np.int64] | spaces.Box[np.float32]:
    """The space of one campaign's action; `knob_range` is that of the controller's knob."""
    action = action_of(name).name
    if action == "residual":
        return spaces.Discrete(N_RESIDUALS)
    if action == "residual_choice":
        return spaces.Discrete(N_CHOICES * N_RESIDUALS)
    if action == "vicidial_level":
        return spaces.Discrete(N_LEVELS)
    if action == "dials":
        return spaces.Discrete(scenario.max_dials + 1)
    if action == "dials_or_cancel":
        return spaces.Discrete(2 * scenario.max_dials + 1)
    if action == "threshold":
        return spaces.Discrete(len(control.THETAS))
    if action == "progressive":
        return spaces.Discrete(1)
    low, high = knob_range if action == "controller" else (0.0, 1.0 if action == "theta" else 20.0)
    return spaces.Box(low, high, (1,), dtype=np.float32)


def _table(title: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(title) + " |", "|" + "---|" * len(title)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def describe() -> str:
    """The whole table as Markdown: the body of the environments' docstrings and of their page."""
    parts = ["## Observation Space"]
    for name, fields in OBSERVATIONS.items():
        if fields:
            rows = [
                (str(i), f.name, f.unit, f"{f.low:g}", f"{f.high:g}", f.meaning)
                for i, f in enumerate(fields)
            ]
            parts.append(f"`observation={name!r}`: Box(({len(fields)},), float32)")
            parts.append(_table(("Num", "Field", "Unit", "Min", "Max", "Meaning"), rows))
    parts.append("`observation='none'`: Box((0,), float32), for rules that need no observation.")
    parts.append("## Action Space")
    parts.append(_table(("Action", "Meaning"), [(a.name, a.meaning) for a in ACTIONS.values()]))
    parts.append("## Rewards")
    parts.append("The reward of a step is the sum of its terms.")
    for title, entries in (("Term", REWARD_TERMS), ("Info", INFO), ("Total", TOTALS)):
        if title == "Info":
            parts.append("## Info")
        parts.append(_table((title, "Unit", "Meaning"), [tuple(e) for e in entries]))
    parts.append(
        "Worlds that use more than one session, one kind of call and anonymous people (see "
        "docs/mechanisms.md) have further totals:"
    )
    parts.append(_table(("Total", "Unit", "Meaning"), [tuple(e) for e in FULL_TOTALS]))
    parts.append(
        "With `privileged=True`, `info['privileged']` holds hidden truth, for critics and bounds "
        "only:"
    )
    parts.append(_table(("Num", "Entry", "Unit", "Meaning"), _numbered(PRIVILEGED)))
    return "\n\n".join(parts)


def _numbered(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    return [(str(i), *entry) for i, entry in enumerate(entries)]


def page() -> str:
    """The reference page of the environment, docs/environment.md."""
    return (
        "# quietdial/Pacing-v1\n\n"
        "Generated by `quietdial reference > docs/environment.md`; "
        "the same table makes the spaces and the docstrings.\n\n"
        "```python\n"
        "import gymnasium as gym\n\n"
        'env = gym.make("quietdial.envs:quietdial/Pacing-v1", scenario="italy-50")\n'
        'envs = gym.make_vec("quietdial.envs:quietdial/Pacing-v1", num_envs=256, '
        'scenario="italy-50")\n'
        "```\n\n"
        "An episode is one compliance window (default 8 hours); it is truncated, never terminated. "
        '`info["cost"]` counts the silent calls of the step and `info["answered"]` the answered '
        "ones; a constrained learner forms cost - cap x answered itself. `silent_penalty` is in "
        "agent-seconds per silent call, default 150; 0 gives pure throughput.\n\n"
        + describe()
        + "\n"
    )
