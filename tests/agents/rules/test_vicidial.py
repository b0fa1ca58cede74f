"""VICIdial: its arithmetic by hand, a plain transcription of its description, and whole worlds."""

import ctypes
import dataclasses
import math
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from quietdial.agents.policy import Policy
from quietdial.agents.rules import OSDial, RatioManager, VICIdial, with_drop_timer
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import params as columns
from quietdial.envs.pacing import state as places
from quietdial.envs.pacing.book import make_book
from quietdial.envs.pacing.controllers import vicidial
from quietdial.envs.pacing.controllers.plug import controller_of
from quietdial.envs.pacing.jit import entry_point
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import load_scenario

RULES: list[Any] = [
    VICIdial("RATIO", 2.0),
    VICIdial("ADAPT_HARD_LIMIT"),
    VICIdial("ADAPT_AVERAGE"),
    VICIdial("ADAPT_TAPERED"),
    OSDial(),
    RatioManager(),
]
ADAPT = ("ADAPT_HARD_LIMIT", "ADAPT_AVERAGE", "ADAPT_TAPERED")

# --------------------------------------------------------------------- the arithmetic, by hand


@pytest.mark.parametrize(
    ("level", "diff", "agents", "target", "intensity", "highest", "expected"),
    [
        # 4 ready, nobody waits, 20 rows: g = 4 / 20 = .2; 1 x 1.2
        (1.0, 4.0, 20.0, 0.0, 0.0, 3.0, 1.2),
        # 3 customers wait: g = -3 / 20 = -.15; 2 x .85
        (2.0, -3.0, 20.0, 0.0, 0.0, 3.0, 1.7),
        # target -2 with 2 ready: numerator 0, the level rests
        (1.7, 2.0, 20.0, -2.0, 0.0, 3.0, 1.7),
        # target +1 with 1 ready: g = 2 / 20 = .1; 1.5 x 1.1
        (1.5, 1.0, 20.0, 1.0, 0.0, 3.0, 1.65),
        # no agents: g = 0
        (1.7, 2.0, 0.0, 0.0, 0.0, 3.0, 1.7),
        # intensity 20, rising: .2 x 1.2 = .24
        (1.0, 4.0, 20.0, 0.0, 20.0, 3.0, 1.24),
        # intensity 20, falling: -.15 x |.2 - 1| = -.12; 2 x .88
        (2.0, -3.0, 20.0, 0.0, 20.0, 3.0, 1.76),
        # intensity -20, rising: .2 x .8 = .16
        (1.0, 4.0, 20.0, 0.0, -20.0, 3.0, 1.16),
        # intensity -20, falling: -.15 x |-.2 - 1| = -.18; 2 x .82
        (2.0, -3.0, 20.0, 0.0, -20.0, 3.0, 1.64),
        # rounding: diff 3 / 15 = .2 of 12: 1.234 x (1 + 1 / 60) = 1.25456...
        (1.234, 0.2, 12.0, 0.0, 0.0, 3.0, 1.255),
        # rounding of a half: 1 + 1 / 16 = 1.0625, to even
        (1.0, 1.0, 16.0, 0.0, 0.0, 3.0, 1.062),
        # above the maximum: 2.9 x 1.2 = 3.48
        (2.9, 4.0, 20.0, 0.0, 0.0, 3.0, 3.0),
        # below 1: 1.1 x .7 = .77
        (1.1, -6.0, 20.0, 0.0, 0.0, 3.0, 1.0),
        # even below 0: 2 x (1 - 1.5) = -1
        (2.0, -30.0, 20.0, 0.0, 0.0, 3.0, 1.0),
    ],
)
def test_compounded__worked_by_hand(
    level: float,
    diff: float,
    agents: float,
    target: float,
    intensity: float,
    highest: float,
    expected: float,
) -> None:
    moved = vicidial.compounded(level, diff, agents, target, intensity, 1.0, highest)
    assert moved == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("calls", "drops", "expected"),
    [
        (21.0, 11.0, 1.0),  # 11 of 21 are more than half: 2 / 2
        (22.0, 11.0, 2.0),  # exactly half is not more
        (20.0, 20.0, 2.0),  # 20 calls are not more than 20
        (0.0, 0.0, 2.0),
    ],
)
def test_braked__worked_by_hand(calls: float, drops: float, expected: float) -> None:
    assert vicidial.braked(2.0, calls, drops) == expected


@pytest.mark.parametrize(
    ("method", "left", "expected"),
    [
        (vicidial.HARD_LIMIT, 500, 1.0),
        (vicidial.AVERAGE, 500, 1.2),  # 2.4 / 2
        (vicidial.TAPERED, 500, 1.2),  # 16:00: 2100 - 1600 = 500; 2.4 x .5
        (vicidial.TAPERED, 455, 1.092),  # 16:45: 2100 - 1645, not 4 h 15 min; 2.4 x .455
        (vicidial.TAPERED, 100, 0.24),  # 20:00: 2.4 x .1; the last step makes it 1
        (vicidial.TAPERED, 0, 0.0),  # 21:00
        (vicidial.TAPERED, -1, 1.0),  # 21:01
        (vicidial.TAPERED, 1000, 2.4),  # 11:00
        (vicidial.TAPERED, 1041, 2.4),  # 10:59: no reduction at all
    ],
)
def test_limited__worked_by_hand(method: int, left: int, expected: float) -> None:
    assert vicidial.limited(method, 2.4, left) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("drops", "handled", "machines", "ofcom", "expected"),
    [
        (3.0, 97.0, 0.0, False, 3.0),  # drops are among the answers
        (0.0, 0.0, 0.0, False, 0.0),  # answers at least 1
        # Ofcom's example: a = 7 / 16, 29 x 9 / 16 = 16.3125; 16.3125 / (9 + 16.3125)
        (29.0, 9.0, 7.0, True, 100 * 16.3125 / 25.3125),
        (29.0, 9.0, 0.0, True, 100 * 29 / 38),
        (2.0, 0.0, 0.0, True, 100.0),
    ],
)
def test_drop_percentage__worked_by_hand(
    drops: float, handled: float, machines: float, ofcom: bool, expected: float
) -> None:
    shown = vicidial.drop_percentage(drops, drops + handled, handled, machines, ofcom)
    assert shown == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("level", "counted", "transfers", "existing", "expected"),
    [
        (1.0, 14.0, 0, 13, 1),  # 14 - 13
        (1.2, 14.0, 0, 13, 4),  # round(16.8) = 17
        (1.2, 4.0, 10, 13, 2),  # round(4.8) + 10 talked on - 13
        (1.5, 1.0, 0, 0, 2),  # round(1.5): to even
        (1.5, 3.0, 0, 0, 4),  # round(4.5): to even
        (1.0, 5.0, 0, 9, 0),  # never negative
        (2.0, -3.0, 0, 0, 0),  # a target below the agents, CALLS_PLACED
    ],
)
def test_to_dial__worked_by_hand(
    level: float, counted: float, transfers: int, existing: int, expected: int
) -> None:
    assert vicidial.to_dial(level, counted, transfers, existing) == expected


@pytest.mark.parametrize(
    ("share_1", "share_5", "expected"),
    [
        (3.0, 3.0, 2.002),  # both within 3 %: 2 x 1.001
        (3.0, 3.1, 2.0),  # only the last minute
        (3.1, 3.0, 1.998),
        (3.1, 3.1, 1.998),
    ],
)
def test_osdial_average__worked_by_hand(share_1: float, share_5: float, expected: float) -> None:
    moved = vicidial.osdial_average(2.0, share_1, share_5, 3.0, 1.0)
    assert moved == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("level", "percent", "drops", "at_cut", "ready", "wait_s", "expected"),
    [
        (2.0, 3.1, 7.0, 6.0, 0, 0.0, 1.9),  # over the limit, a drop since the last cut
        (2.0, 3.1, 7.0, 7.0, 9, 60.0, 2.0),  # over, but no further drop; never up
        (2.0, 3.0, 7.0, 6.0, 4, 15.1, 2.1),  # within; 4 agents wait longer than 15 s
        (2.0, 3.0, 7.0, 6.0, 4, 15.0, 2.0),
        (2.0, 3.0, 7.0, 6.0, 0, 99.0, 2.0),  # nobody waits
        (3.0, 3.0, 7.0, 6.0, 4, 99.0, 3.0),  # at the maximum
        (1.0, 9.0, 7.0, 6.0, 4, 99.0, 1.0),  # at the minimum
    ],
)
def test_managed__worked_by_hand(
    level: float,
    percent: float,
    drops: float,
    at_cut: float,
    ready: int,
    wait_s: float,
    expected: float,
) -> None:
    moved = vicidial.managed(level, percent, 3.0, drops, at_cut, ready, wait_s, 15.0, 1.0, 3.0)
    assert moved == pytest.approx(expected, abs=1e-12)


# ------------------------------------------------------------- what a dialer sees, as plain values


@dataclass
class Agent:
    """A person on the floor; `group` is "outbound" or "inbound"."""

    state: int = int(places.IDLE)
    since_s: float = 0.0
    group: str = "outbound"


@dataclass
class Seen:
    """Everything that the controller could look at in one moment, in plain numbers."""

    day: int = 0
    t_s: float = 0.0  # since the opening
    opens_at_s: int = 36_000  # local time of the opening: 10:00
    agents: list[Agent] = field(default_factory=list)
    in_flight: int = 0
    waiting: int = 0
    held_on: int = 0  # of these, callees past the regulator's limit
    callers: int = 0
    ended: int = 0
    connected: int = 0
    cut: int = 0
    left: int = 0
    machine_drops: int = 0
    late: int = 0
    machines: int = 0
    blended_floor: bool = False

    def count(self, *states: Any) -> int:
        """Outbound agents in some states."""
        return sum(a.state in states and a.group == "outbound" for a in self.agents)

    @property
    def ready(self) -> int:
        return self.count(places.IDLE)

    @property
    def talking(self) -> int:
        return self.count(places.TALK, places.MACHINE_TALK)

    @property
    def inbound_talks(self) -> int:
        return self.count(places.INBOUND_TALK)

    @property
    def rows(self) -> int:
        return sum(a.state != places.OFF and a.group == "outbound" for a in self.agents)

    @property
    def hhmm(self) -> int:
        second = self.opens_at_s + int(self.t_s)
        return second // 3600 % 24 * 100 + second // 60 % 60


class Table:
    """A world's tables, filled by hand, with a controller that looks at them."""

    N = 25

    def __init__(self, name: str) -> None:
        controller = controller_of(name)
        world = World(
            1, "study-stat-25", observation="none", action="controller", controller=name, full=True
        )
        sessions = np.repeat(world.params.sessions, 3, axis=0)
        sessions[:, columns.OPENS] = np.arange(3) * 86_400_000
        self.params = world.params._replace(sessions=np.ascontiguousarray(sessions))
        self.state = world.state
        self.names = [s.name for s in controller.settings]
        self._code: Any = entry_point(controller.tick).ctypes
        self._book = make_book(self.state, self.params)

    def begin(self, settings: dict[str, float], knob: str = "") -> None:
        """A new episode with some settings; that of `knob` comes as the action."""
        self.state.memo[:] = 0.0
        self.state.head[:] = 0
        self.state.more[:] = 0
        self.params.settings[:] = [settings[name] for name in self.names]
        self.params.n[columns.KNOB_AT] = self.names.index(knob) if knob else -1
        if knob:
            self.state.est[0, places.SET_VALUE] = settings[knob]
            self.params.settings[self.names.index(knob)] = -999.0  # must not be looked at

    def ask(self, seen: Seen) -> int:
        """Dials that the compiled controller places when it sees this."""
        s, p = self.state, self.params
        now_ms = seen.day * 86_400_000 + round(seen.t_s * 1000)
        head, more = s.head[0], s.more[0]
        counts = np.zeros(places.N_AGENT_STATES, np.int64)
        for i, agent in enumerate(seen.agents):
            counts[agent.state] += 1
            s.agent[0, i, places.AGENT_STATE] = agent.state
            since = seen.day * 86_400_000 + round(agent.since_s * 1000)
            s.agent[0, i, places.AGENT_SINCE] = since
            p.shifts[i, columns.SPARE_GROUP] = agent.group == "inbound"
        head[places.COUNT : places.COUNT + places.N_AGENT_STATES] = counts
        head[places.NOW], head[places.IN_FLIGHT] = now_ms, seen.in_flight
        head[places.WAITING] = seen.waiting
        s.waiting[0, : seen.waiting] = np.arange(seen.waiting)
        s.story[0, : seen.waiting, places.PLACE] = places.QUEUEING
        s.story[0, : seen.held_on, places.PLACE] = places.LINGERING
        head[places.ANSWERED] = seen.connected + seen.cut + seen.left
        head[places.MACHINES] = seen.ended - head[places.ANSWERED]
        head[places.CONNECTED] = seen.connected
        head[places.SILENT_CUT], head[places.SILENT_LEFT] = seen.cut, seen.left
        more[places.MACHINE_DROPPED], more[places.LATE] = seen.machine_drops, seen.late
        more[places.MACHINE_AGENT], more[places.CALLERS] = seen.machines, seen.callers
        more[places.SESSION] = seen.day
        p.sessions[seen.day, columns.WALL_S] = seen.opens_at_s
        p.n[columns.HAS_INBOUND] = seen.blended_floor
        p.n[columns.AT_LIMIT] = columns.HOLD
        return int(self._code(ctypes.c_int64(self._book.ctypes.data), ctypes.c_int64(0)))

    @property
    def level(self) -> float:
        return float(self.state.memo[0, vicidial.LEVEL])


def _floor(ready: int, talking: int, paused: int, off: int = 0) -> list[Agent]:
    states = [places.IDLE] * ready + [places.TALK] * talking
    states += [places.WRAP] * paused + [places.OFF] * off
    return [Agent(int(state)) for state in states]


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    """One set of tables for each controller."""
    return {name: Table(name) for name in ("vicidial", "osdial", "ratio-manager")}


# ------------------------------------------------------------------ the loops together, by hand


def _levels(table: Table, rule: Any, seen: Seen, seconds: int) -> list[float]:
    """The level after every 15 s of an unchanging floor whose statistics are as given."""
    table.begin(rule.settings)
    levels = []
    table.ask(dataclasses.replace(seen, t_s=0.5, ended=0, connected=0, cut=0))
    for tick in range(2, 2 * seconds + 1):
        table.ask(dataclasses.replace(seen, t_s=tick / 2))
        if tick % 30 == 0:
            levels.append(table.level)
    return levels


@pytest.mark.parametrize(
    ("mode", "opens_at_s", "expected"),
    [
        # 20 rows, 4 ready: x 1.2 each 15 s: 1.2, 1.44, 1.728; then 1.728 x 1.2 = 2.0736 -> 2.074.
        # At 60 s the statistics come: 60 calls, drops 2 of 40 answers = 5 % > 3 %.
        ("ADAPT_HARD_LIMIT", 36_000, [1.2, 1.44, 1.728, 1.0, 1.0]),
        # half of 2.074 = 1.037; then 1.037 x 1.2 = 1.2444 -> 1.244, half .622 -> 1
        ("ADAPT_AVERAGE", 36_000, [1.2, 1.44, 1.728, 1.037, 1.0]),
        # 16:00 to 16:01: 2100 - 1601 = 499: 2.074 x .499 = 1.034926; 1.034926 x 1.2 = 1.2419112
        # -> 1.242 x .499 = .619758 -> 1
        ("ADAPT_TAPERED", 57_600, [1.2, 1.44, 1.728, 1.034926, 1.0]),
        # 10:01: 2100 - 1001 > 1000, no limit: 2.074, then 2.074 x 1.2 = 2.4888 -> 2.489
        ("ADAPT_TAPERED", 36_000, [1.2, 1.44, 1.728, 2.074, 2.489]),
        # 21:01: after the end of the day
        ("ADAPT_TAPERED", 75_600, [1.2, 1.44, 1.728, 1.0, 1.0]),
    ],
)
def test_level__of_each_mode(
    tables: dict[str, Table], mode: Any, opens_at_s: int, expected: list[float]
) -> None:
    seen = Seen(
        opens_at_s=opens_at_s, agents=_floor(4, 10, 6, 5), ended=60, connected=38, cut=2
    )  # 5 agents are logged off: no rows
    levels = _levels(tables["vicidial"], VICIdial(mode), seen, 75)
    assert levels == pytest.approx(expected, abs=1e-12)


def test_level__limit_needs_more_than_50_calls(tables: dict[str, Table]) -> None:
    seen = Seen(agents=_floor(4, 10, 6, 5), ended=50, connected=38, cut=2)
    levels = _levels(tables["vicidial"], VICIdial("ADAPT_HARD_LIMIT"), seen, 60)
    assert levels[-1] == 2.074


def test_level__emergency(tables: dict[str, Table]) -> None:
    # 25 calls in the first minute, 13 of them dropped (52 %): half of 2.074. No more than 50 calls
    # today, so no limit rule. The statistics of that minute stay for 60 s: 1.037 x 1.2 = 1.2444 ->
    # 1.244, half .622 -> 1
    seen = Seen(agents=_floor(4, 10, 6, 5), ended=25, connected=2, cut=13)
    levels = _levels(tables["vicidial"], VICIdial("ADAPT_HARD_LIMIT"), seen, 75)
    assert levels == pytest.approx([1.2, 1.44, 1.728, 1.037, 1.0], abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "agents", "expected"),
    [
        ("DISABLED", 99, 1.2),
        ("LOGGED-IN_AGENTS", 20, 1.2),  # 20 rows are not below 20
        ("LOGGED-IN_AGENTS", 21, 1.0),
        ("NON-PAUSED_AGENTS", 14, 1.2),  # 4 ready + 10 INCALL
        ("NON-PAUSED_AGENTS", 15, 1.0),
        ("WAITING_AGENTS", 4, 1.2),
        ("WAITING_AGENTS", 5, 1.0),
    ],
)
def test_level__threshold_of_agents(
    tables: dict[str, Table], kind: Any, agents: int, expected: float
) -> None:
    rule = VICIdial(dial_level_threshold=kind, dial_level_threshold_agents=agents)
    levels = _levels(tables["vicidial"], rule, Seen(agents=_floor(4, 10, 6, 5)), 15)
    assert levels == [expected]


@pytest.mark.parametrize(
    ("options", "at_2_5", "at_15"),
    [
        # L = 1: 4 + 10 counted, 10 talked on and 3 in flight exist; at 15 s L = 1.2: 16.8 -> 17
        ({}, 1, 4),
        # ready only, the calls talked on on both sides: 4 - 3; 4.8 -> 5 - 3
        ({"available_only_ratio_tally": True}, 1, 2),
        ({"available_only_tally_threshold": "WAITING_AGENTS"}, 1, 4),  # 4 are not below 0
        (
            {
                "available_only_tally_threshold": "WAITING_AGENTS",
                "available_only_tally_threshold_agents": 5,
            },
            1,
            2,
        ),
        # target -2 for the level only: g = 2 / 20, L = 1.1: 15.4 -> 15 - 13
        ({"adaptive_dl_diff_target": -2.0}, 1, 2),
        # and for the placer too: 12 - 13 < 0; 1.1 x 12 = 13.2 -> 13 - 13
        ({"adaptive_dl_diff_target": -2.0, "dl_diff_target_method": "CALLS_PLACED"}, 0, 0),
        # all 10 calls are as old as the day: at 2.5 s younger than 12 s; at 15 s not: 4.8 -> 5 - 13
        ({"incall_tally_threshold_seconds": 12.0}, 1, 0),
        # RATIO: 1.5 x 14 = 21 - 13
        ({"dial_method": "RATIO", "auto_dial_level": 1.5}, 8, 8),
    ],
)
def test_placer__by_hand(
    tables: dict[str, Table], options: dict[str, Any], at_2_5: int, at_15: int
) -> None:
    table = tables["vicidial"]
    table.begin(VICIdial(**options).settings)
    seen = Seen(agents=_floor(4, 10, 6, 5), in_flight=3)
    dials = [table.ask(dataclasses.replace(seen, t_s=tick / 2)) for tick in range(1, 31)]
    assert dials[4] == at_2_5
    assert dials[29] == at_15
    assert not any(d for i, d in enumerate(dials) if (i + 1) % 5)  # only each 2.5 s


def test_placer__inbound_calls_count_while_nobody_is_ready(tables: dict[str, Table]) -> None:
    table = tables["vicidial"]
    table.begin(VICIdial("RATIO", 2.0).settings)
    agents = [Agent(int(places.TALK)) for _ in range(5)]
    agents += [Agent(int(places.INBOUND_TALK)) for _ in range(3)]
    agents += [Agent(int(places.INBOUND_TALK), group="inbound") for _ in range(2)]
    busy = Seen(agents=agents, callers=4, in_flight=1, blended_floor=True)
    # 2 x (5 + 3) = 16; 5 talked on, 1 in flight, 3 + 4 inbound: 16 - 13
    assert [table.ask(dataclasses.replace(busy, t_s=t / 2)) for t in range(1, 6)][-1] == 3
    ready = dataclasses.replace(busy, agents=[*agents, Agent()])
    # one ready: 2 x 9 = 18, without the inbound calls 18 - 6
    assert [table.ask(dataclasses.replace(ready, t_s=t / 2)) for t in range(6, 11)][-1] == 12


# ------------------------------------------------ a plain transcription of the description


class Statistics:
    """The campaign's statistics as they stood at the last round, one each 60 s of the day."""

    def __init__(self, ofcom: bool) -> None:
        self.ofcom = ofcom
        self.rounds: list[tuple[int, ...]] = []  # totals since the first call
        self.morning: tuple[int, ...] = (0, 0, 0, 0, 0)

    @staticmethod
    def totals(seen: Seen) -> tuple[int, ...]:
        dropped = seen.cut + seen.left + seen.machine_drops - seen.late - seen.held_on
        handled = seen.connected + seen.late
        return seen.ended, dropped, dropped + handled, handled, seen.machines

    def since(self, minutes: int | None) -> list[int]:
        """Totals of the last minutes, or of today, at the last round."""
        if not self.rounds:
            return [0] * 5
        before = self.morning
        if minutes is not None and len(self.rounds) > minutes:
            before = self.rounds[-1 - minutes]
        return [a - b for a, b in zip(self.rounds[-1], before, strict=True)]

    def percent(self) -> float:
        """drops_answers_today_pct."""
        _, drops, answers, handled, machines = self.since(None)
        share = float(drops)
        if self.ofcom:
            marked = machines / (handled + machines) if handled + machines else 0.0
            share = drops * (1.0 - marked)
            return 100.0 * share / max(handled + share, 1.0)
        return 100.0 * share / max(answers, 1.0)

    def share(self, minutes: int) -> float:
        """Percentage of dropped answers in the last minutes."""
        _, drops, answers, *_ = self.since(minutes)
        return 100.0 * drops / max(answers, 1)


class Reference:
    """VICIdial's two loops, line by line after the description; OSDial where `osdial` is true."""

    def __init__(self, settings: dict[str, Any], osdial: bool = False) -> None:
        self.set, self.osdial = settings, osdial
        self.level = max(settings["auto_dial_level"], 1.0)
        self.day = -1
        self.met: set[str] = set()  # which branches the inputs reached

    def begin_day(self, seen: Seen) -> None:
        self.day = seen.day
        self.samples: deque[tuple[int, int, int]] = deque(maxlen=15)
        self.loops: deque[tuple[int, int]] = deque(maxlen=20)
        self.stats = Statistics(bool(self.set.get("ofcom_uk_drop_calc", False)))
        self.stats.morning = self.stats.totals(seen)

    @property
    def ratio(self) -> bool:
        return bool(self.set["dial_method"] == "RATIO")

    def blended(self, seen: Seen) -> bool:
        allowed = self.set.get("campaign_allow_inbound", "AS_THE_FLOOR")
        return bool(allowed == "Y" or (allowed == "AS_THE_FLOOR" and seen.blended_floor))

    def tick(self, seen: Seen) -> int:
        """Half a second; the calls to place."""
        if seen.day != self.day:
            self.begin_day(seen)
        if seen.t_s % 1 == 0:
            agents = seen.ready + seen.talking + seen.inbound_talks if self.osdial else seen.rows
            self.samples.append((seen.ready, agents, seen.waiting))
        if seen.t_s % 60 == 0:
            self.stats.rounds.append(self.stats.totals(seen))
        if seen.t_s % 15 == 0 and not self.ratio:
            self.adapt(seen)
        return self.place(seen) if seen.t_s % 2.5 == 0 else 0

    def adapt(self, seen: Seen) -> None:
        get = self.set.__getitem__
        if self.blended(seen) and not self.osdial:
            n = len(self.loops)
            diff = sum(loop[0] for loop in self.loops) / n
            mean_agents = sum(loop[1] for loop in self.loops) / n
        else:
            n = len(self.samples)
            ready = sum(sample[0] for sample in self.samples)
            diff = (ready - sum(sample[2] for sample in self.samples)) / n
            mean_agents = sum(sample[1] for sample in self.samples) / n
        numerator = diff + get("adaptive_dl_diff_target")
        g = numerator / mean_agents if numerator and mean_agents else 0.0
        i = get("adaptive_intensity") / 100.0
        g = g * abs(i - 1.0) if g < 0 else g * (1.0 + i)
        new = round(self.level * (1.0 + g) * 1000.0) / 1000.0
        lowest = get("adaptive_minimum_level") if self.osdial else 1.0
        if new > get("adaptive_maximum_level"):
            new = get("adaptive_maximum_level")
        if new < lowest:
            new = lowest
        calls_minute, drops_minute, *_ = self.stats.since(1)
        if not self.osdial and calls_minute > 20 and drops_minute / calls_minute > 0.5:
            new = new / 2.0
            self.met.add("emergency")
        calls_today = self.stats.since(None)[0]
        limit = get("adaptive_dropped_percentage")
        if calls_today > 50 and self.stats.percent() > limit:
            new = self.over_limit(new, limit, seen)
            self.met.add(get("dial_method"))
        if self.osdial and calls_minute > 20 and self.stats.share(1) > 50.0:
            new = new * 0.75 * 0.999
            self.met.add("emergency")
        if not self.osdial and self.below("dial_level_threshold", seen):
            new = 1.0
            self.met.add("threshold")
        if self.osdial:
            new = min(new, get("adaptive_maximum_level"))
        self.level = max(new, lowest)

    def over_limit(self, new: float, limit: float, seen: Seen) -> float:
        mode = self.set["dial_method"]
        if mode == "ADAPT_HARD_LIMIT":
            return 1.0
        if mode == "ADAPT_AVERAGE" and self.osdial:
            m = self.set["average_step"]
            if self.stats.share(1) <= limit and self.stats.share(5) <= limit:
                self.met.add("both minutes within")
                return float(self.level * (1000.0 + m) / 1000.0)
            if self.stats.share(1) <= limit:
                self.met.add("one minute within")
                return self.level
            return float(self.level * (1000.0 - m) / 1000.0)
        if mode == "ADAPT_AVERAGE":
            return new / 2.0
        left = self.set["adaptive_latest_server_time"] - seen.hhmm
        if left < 0:
            self.met.add("after the latest time")
            return 1.0
        self.met.add("before 11" if left > 1000 else "tapered")
        return new if left > 1000 else new * (left / 1000.0)

    def below(self, threshold: str, seen: Seen) -> bool:
        counted = {
            "LOGGED-IN_AGENTS": seen.rows,
            "NON-PAUSED_AGENTS": seen.ready + seen.talking + seen.inbound_talks,
            "WAITING_AGENTS": seen.ready,
        }
        kind = self.set[threshold]
        return kind != "DISABLED" and counted[kind] < self.set[threshold + "_agents"]

    def place(self, seen: Seen) -> int:
        get = self.set.get
        in_call = seen.talking + seen.inbound_talks
        self.loops.append((seen.ready - seen.waiting - seen.callers, seen.ready + in_call))
        if not seen.blended_floor:
            self.loops[-1] = (seen.ready - seen.waiting, seen.ready + in_call)
        young_s = get("incall_tally_threshold_seconds", 0)
        if young_s:
            with_call = (places.TALK, places.MACHINE_TALK, places.INBOUND_TALK)
            outbound = [a for a in seen.agents if a.group == "outbound"]
            in_call = sum(a.state in with_call and seen.t_s - a.since_s < young_s for a in outbound)
        available_only = get("available_only_ratio_tally", False)
        if not self.osdial and self.below("available_only_tally_threshold", seen):
            available_only = True
        count = float(seen.ready if available_only else seen.ready + in_call)
        if get("dl_diff_target_method") == "CALLS_PLACED":
            count += get("adaptive_dl_diff_target", 0.0)
        level = self.set["auto_dial_level"] if self.ratio else self.level
        goal = round(level * count) + (seen.talking if available_only else 0)
        existing = seen.in_flight + seen.waiting + seen.talking
        if self.blended(seen) and seen.ready == 0:
            existing += seen.inbound_talks + (seen.callers if seen.blended_floor else 0)
        return max(goal - existing, 0)


def _wander(rng: random.Random, seconds: int) -> Iterator[Seen]:
    """A random floor, seen every half second, with a change of day somewhere."""
    blended, size = rng.random() < 0.3, rng.randint(1, Table.N)
    usual = [places.IDLE, places.TALK, places.WRAP]
    other = [places.BREAK, places.OFF, places.HELD, places.MACHINE_TALK]
    group = ["outbound"] * 4 + ["inbound"] * blended
    agents = [Agent(int(rng.choice(usual)), 0.0, rng.choice(group)) for _ in range(size)]
    for agent in agents:
        if agent.group == "inbound":
            agent.state = int(places.SPARE)
    agents += [Agent(int(places.OFF)) for _ in range(Table.N - size)]
    seen = Seen(agents=agents, opens_at_s=rng.randint(8 * 3600, 22 * 3600), blended_floor=blended)
    night, drops, eager = rng.randint(60, 4 * seconds), rng.choice([0.02, 0.1, 0.7]), rng.random()
    crowd, calm = rng.choice([0, 2, 6]), rng.choice([60, 120, 500])
    for tick in range(1, 2 * seconds + 1):
        if tick == night:
            seen.day, seen.t_s, seen.opens_at_s = 1, 0.0, rng.randint(8 * 3600, 22 * 3600)
            for agent in agents:
                agent.since_s = 0.0
        seen.t_s += 0.5
        drops = 0.0 if tick == calm else drops
        for agent in agents:
            if rng.random() < 0.04 and agent.state != places.OFF:
                agent.state = int(rng.choice(usual * 3 + other + [places.INBOUND_TALK] * blended))
                if agent.group == "inbound":
                    agent.state = int(rng.choice([places.SPARE, places.INBOUND_TALK]))
                agent.since_s = seen.t_s
        seen.in_flight = rng.randint(0, 20)
        seen.waiting = max(0, rng.randint(-6, crowd))
        seen.callers = max(0, rng.randint(-6, 4)) if blended else 0
        for _ in range(rng.randint(0, 1 + int(3 * eager))):
            seen.ended += 1
            u = rng.random()
            if u < 0.8 * drops:
                seen.cut += 1
                seen.held_on = rng.randint(0, 1)
            elif u < drops:
                seen.left += 1
            elif u < drops + 0.4:
                seen.connected += 1
            elif u < drops + 0.44:
                seen.machines += 1
            elif u < drops + 0.44 + 0.2 * drops:
                seen.machine_drops += 1
        if seen.late < seen.cut - 1 and rng.random() < 0.01:
            seen.late += 1
        seen.held_on = min(seen.held_on, seen.waiting, seen.cut - seen.late)
        yield seen


def _any_vicidial(rng: random.Random) -> VICIdial:
    kinds: Any = ["DISABLED", "DISABLED", "LOGGED-IN_AGENTS", "NON-PAUSED_AGENTS", "WAITING_AGENTS"]
    methods: Any = [*ADAPT, "RATIO"]
    placed: Any = ["ADAPT_CALC_ONLY", "CALLS_PLACED"]
    inbound: Any = ["N", "Y", "AS_THE_FLOOR"]
    return VICIdial(
        rng.choice(methods),
        auto_dial_level=rng.choice([1.0, 1.5, 2.25]),
        adaptive_maximum_level=rng.choice([1.5, 3.0, 8.0]),
        adaptive_dropped_percentage=rng.choice([0.5, 3.0, 10.0, 100.0]),
        adaptive_intensity=rng.choice([-40.0, 0.0, 15.0, 40.0]),
        adaptive_dl_diff_target=rng.choice([-3.0, -1.0, 0.0, 1.5, 6.0]),
        dl_diff_target_method=rng.choice(placed),
        adaptive_latest_server_time=rng.choice([2100, 1830, 2359]),
        available_only_ratio_tally=rng.random() < 0.3,
        available_only_tally_threshold=rng.choice(kinds),
        available_only_tally_threshold_agents=rng.randint(0, 12),
        incall_tally_threshold_seconds=rng.choice([0.0, 0.0, 7.0, 30.0]),
        dial_level_threshold=rng.choice(kinds),
        dial_level_threshold_agents=rng.randint(0, 12),
        campaign_allow_inbound=rng.choice(inbound),
        ofcom_uk_drop_calc=rng.random() < 0.3,
    )


def _any_osdial(rng: random.Random) -> OSDial:
    methods: Any = [*ADAPT, "ADAPT_AVERAGE", "ADAPT_AVERAGE", "RATIO"]
    return OSDial(
        rng.choice(methods),
        auto_dial_level=rng.choice([1.0, 1.5, 2.25]),
        adaptive_minimum_level=rng.choice([1.0, 1.2]),
        adaptive_maximum_level=rng.choice([1.5, 3.0, 8.0]),
        adaptive_dropped_percentage=rng.choice([0.5, 3.0, 10.0]),
        adaptive_intensity=rng.choice([-40.0, 0.0, 40.0]),
        adaptive_dl_diff_target=rng.choice([-1.0, 0.0, 1.5]),
        available_only_ratio_tally=rng.random() < 0.3,
        average_step=rng.choice([1.0, 20.0]),
    )


def _words(rule: Any) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in rule.settings}


@pytest.mark.parametrize("name", ["vicidial", "osdial"])
def test_controller__agrees_with_the_transcription_on_random_series(
    tables: dict[str, Table], name: str
) -> None:
    table, levels, dials = tables[name], set(), 0
    met: set[str] = set()
    for number in range(240 if name == "vicidial" else 200):
        rng = random.Random(f"{name} {number}")
        rule: Any = _any_vicidial(rng) if name == "vicidial" else _any_osdial(rng)
        reference = Reference(_words(rule), osdial=name == "osdial")
        table.begin(rule.settings, rng.choice(["", rule.knob_name]))
        for seen in _wander(rng, rng.choice([80] * 5 + [400])):
            expected = reference.tick(seen)
            assert table.ask(seen) == expected, (number, seen.t_s, rule)
            if seen.t_s % 15 == 0:
                assert table.level == pytest.approx(reference.level, abs=1e-9), (number, rule)
                levels.add(round(reference.level, 3))
            dials += expected
        met |= reference.met
    branches = {*ADAPT, "emergency", "tapered", "before 11", "after the latest time"}
    branches |= (
        {"threshold"} if name == "vicidial" else {"both minutes within", "one minute within"}
    )
    assert met == branches
    assert len(levels) > 200  # the series do move the level
    assert dials > 10_000


class ManagerReference:
    """The RatioManager add-on, line by line after its page, on VICIdial's placer."""

    def __init__(self, rule: RatioManager) -> None:
        self.rule, self.day, self.cut_at = rule, -1, 0
        self.level = min(max(rule.auto_dial_level, rule.lowest_level), rule.highest_level)

    def tick(self, seen: Seen) -> int:
        rule = self.rule
        if seen.day != self.day:
            self.day, self.cut_at = seen.day, 0
            self.stats = Statistics(ofcom=False)
            self.stats.morning = self.stats.totals(seen)
        if seen.t_s % 60 == 0:
            self.stats.rounds.append(self.stats.totals(seen))
            drops = self.stats.since(None)[1]
            if self.stats.percent() > rule.adaptive_dropped_percentage:
                if drops > self.cut_at:
                    lower = max(round((self.level - 0.1) * 1000) / 1000, rule.lowest_level)
                    if lower < self.level:
                        self.cut_at = drops
                    self.level = lower
            elif seen.ready:
                waits = [seen.t_s - a.since_s for a in seen.agents if a.state == places.IDLE]
                bounds = (rule.long_wait_few_s, rule.long_wait_some_s, rule.long_wait_many_s)
                if sum(waits) / len(waits) > bounds[(seen.ready >= 5) + (seen.ready >= 10)]:
                    self.level = min(round((self.level + 0.1) * 1000) / 1000, rule.highest_level)
        if seen.t_s % 2.5:
            return 0
        existing = seen.in_flight + seen.waiting + seen.talking
        if seen.blended_floor and not seen.ready:
            existing += seen.inbound_talks + seen.callers
        if rule.available_only_ratio_tally:
            return max(round(self.level * seen.ready) + seen.talking - existing, 0)
        counted = seen.ready + seen.talking + seen.inbound_talks
        return max(round(self.level * counted) - existing, 0)


def test_ratio_manager__agrees_with_the_transcription_on_random_series(
    tables: dict[str, Table],
) -> None:
    table, levels = tables["ratio-manager"], set()
    for number in range(200):
        rng = random.Random(f"manager {number}")
        rule = RatioManager(
            adaptive_dropped_percentage=rng.choice([1.0, 5.0, 20.0, 60.0]),
            lowest_level=rng.choice([1.0, 1.5]),
            highest_level=rng.choice([1.7, 3.0]),
            auto_dial_level=rng.choice([1.0, 1.6, 4.0]),
            long_wait_few_s=rng.choice([5.0, 15.0]),
            available_only_ratio_tally=rng.random() < 0.5,
        )
        reference = ManagerReference(rule)
        table.begin(rule.settings, rng.choice(["", rule.knob_name]))
        for seen in _wander(rng, rng.choice([130] * 5 + [400])):
            assert table.ask(seen) == reference.tick(seen), (number, seen.t_s, rule)
            assert table.level == pytest.approx(reference.level, abs=1e-9), (number, rule)
            levels.add(round(reference.level, 3))
    assert len(levels) > 8


# ------------------------------------------------------------------------------- whole worlds


def _look(world: World, agents: Any, blended: bool) -> Seen:
    """What the dialer saw at the tick that has just been, before it placed its calls."""
    head = world.state.head[0]
    seen = Seen(t_s=float(head[places.NOW]) / 1000.0, agents=agents, blended_floor=blended)
    seen.opens_at_s = int(world.params.sessions[0, columns.WALL_S])
    inbound = world.params.shifts[:, columns.SPARE_GROUP]
    for i, agent in enumerate(agents):
        agent.state = int(world.state.agent[0, i, places.AGENT_STATE])
        agent.since_s = float(world.state.agent[0, i, places.AGENT_SINCE]) / 1000.0
        agent.group = "inbound" if inbound[i] else "outbound"
    totals = {name: int(values[0]) for name, values in world.totals().items()}
    names = ("answered", "machine", "busy", "no_answer", "invalid")
    seen.ended = sum(totals[name] for name in names) + totals.get("failure", 0)
    seen.connected = totals["connected"]
    seen.cut, seen.left = totals["silent_cut"], totals["silent_left"]
    seen.late = totals.get("late", 0)
    seen.machines = totals.get("machine_agent", 0)
    seen.machine_drops = totals.get("machine_dropped", 0)
    seen.in_flight, seen.waiting = int(head[places.IN_FLIGHT]), int(head[places.WAITING])
    if world.is_full:
        seen.callers = int(world.state.more[0, places.CALLERS])
        lines = world.state.waiting[0, : seen.waiting]
        seen.held_on = int((world.state.story[0, lines, places.PLACE] == places.LINGERING).sum())
    return seen


@pytest.mark.parametrize(
    ("preset", "rule", "timer_s"),
    [
        ("study-real-10", VICIdial("ADAPT_HARD_LIMIT"), None),
        ("study-stat-25", VICIdial("ADAPT_AVERAGE", available_only_ratio_tally=True), None),
        ("italy-50", VICIdial("ADAPT_TAPERED", adaptive_latest_server_time=1130), None),
        ("study-real-10", VICIdial("RATIO", 1.5), None),
        ("study-real-10", VICIdial("ADAPT_AVERAGE", adaptive_dl_diff_target=2.0), 9),
        ("study-real-10", OSDial(), None),
        ("contactcenters-blend", VICIdial("ADAPT_AVERAGE", adaptive_dropped_percentage=50.0), None),
    ],
)
def test_world__places_what_the_transcription_asks_for(
    preset: str, rule: Any, timer_s: int | None
) -> None:
    scenario = load_scenario(preset)
    if timer_s is not None:
        scenario = with_drop_timer(scenario, timer_s)
    episode = scenario.episode.model_copy(update={"decision_interval_s": 0.5})
    scenario = scenario.model_copy(update={"episode": episode})
    world = World(1, scenario, observation="none", action="controller", **rule.world_options)
    world.begin(np.ones(1, bool), [11])
    agents = [Agent() for _ in range(scenario.floor.n_agents)]
    reference = Reference(_words(rule), osdial=isinstance(rule, OSDial))
    action, rows = np.full((1, 1), rule.knob, np.float32), np.ones(1, bool)
    placed_before = placed_in_all = 0
    opens_s = int(world.params.sessions[0, columns.DIALS_FROM]) // 1000
    for _ in range(2 * (opens_s + 2400)):
        world.step(action, rows)
        # the controller comes last in its millisecond, so the step ends with what it saw, and with
        # its own dials added
        dialed = int(world.state.head[0, places.DIALED])
        placed, placed_before = dialed - placed_before, dialed
        seen = _look(world, agents, scenario.inbound is not None)
        seen.in_flight -= placed
        free = int(world.state.head[0, places.FREE]) + placed
        if seen.t_s < opens_s:  # it is asked for the first time when dialing opens
            assert placed == 0
            continue
        seen.t_s -= max(opens_s - 0.5, 0.0)
        assert placed == min(reference.tick(seen), free), seen.t_s
        placed_in_all += placed
    assert world.state.memo[0, vicidial.LEVEL] == pytest.approx(reference.level, abs=1e-9)
    assert placed_in_all > 200


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("preset", ["italy-50-full", "machines-50", "late-feed-50"])
def test_world__plays_every_rule(rule: Any, preset: str) -> None:
    world = World(2, preset, observation="none", action="controller", **rule.world_options)
    rows = np.ones(2, bool)
    world.begin(rows, [3, 4])
    world.hold(np.full((2, 1), rule.knob, np.float32), rows, 1800)
    assert (world.totals()["dialed"] > 20).all()
    assert (world.state.head[:, places.FREE] >= 0).all()
    assert ((world.state.memo[:, vicidial.LEVEL] >= 1.0) | (rule.name == "vicidial-ratio")).all()


def test_hard_limit__holds_todays_drops_at_the_limit() -> None:
    # 16 days: the percentage that the dialer sees may pass the limit only by what is in flight.
    rule = VICIdial("ADAPT_HARD_LIMIT", adaptive_dl_diff_target=2.0)
    world = World(
        16, "study-real-25", observation="none", action="controller", **rule.world_options
    )
    rows = np.ones(16, bool)
    world.begin(rows, list(range(16)))
    world.hold(np.full((16, 1), rule.knob, np.float32), rows, 28_000)
    totals = world.totals()
    assert 0.02 < totals["silent"].sum() / totals["answered"].sum() < 0.06


# ----------------------------------------------------------------------------------- as policies


@pytest.mark.parametrize("rule", RULES)
def test_rules__are_policies_with_a_knob(rule: Any) -> None:
    policy: object = rule
    assert isinstance(policy, Policy)
    low, high = rule.knob_range
    assert low <= rule.knob <= high
    assert rule.with_knob(high).knob == high
    assert rule.with_knob(high).with_knob(rule.knob) == rule
    assert set(rule.settings) == {s.name for s in rule.described.settings}


def test_names_and_knobs__follow_the_mode() -> None:
    names = [rule.name for rule in RULES]
    assert names == [
        "vicidial-ratio",
        "vicidial-hard-limit",
        "vicidial-average",
        "vicidial-tapered",
        "osdial-average",
        "ratio-manager",
    ]
    assert VICIdial("RATIO").knob_name == "auto_dial_level"
    assert VICIdial("ADAPT_AVERAGE").knob_name == "adaptive_dl_diff_target"
    assert VICIdial(knob_name="adaptive_maximum_level").knob == 3.0
    assert VICIdial(knob_name="adaptive_maximum_level").with_knob(2.0).adaptive_maximum_level == 2.0


def test_defaults__are_those_of_the_product() -> None:
    for rule in [VICIdial(), OSDial(), RatioManager()]:
        for setting in rule.described.settings:
            assert rule.settings[setting.name] == setting.default, (rule.name, setting.name)
    assert VICIdial().settings["adaptive_maximum_level"] == 3.0
    assert VICIdial().settings["adaptive_dropped_percentage"] == 3.0
    assert VICIdial().settings["adaptive_latest_server_time"] == 2100


def _any(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: VICIdial(_any("ADAPT")),
            "dial_method = 'ADAPT' must be one of: RATIO, ADAPT_HARD",
        ),
        (lambda: VICIdial(adaptive_intensity=41.0), "adaptive_intensity = 41.0 must be a number"),
        (lambda: VICIdial(auto_dial_level=math.nan), "auto_dial_level = nan"),
        (lambda: VICIdial(knob_name="dial_method"), "knob_name = 'dial_method' is a choice"),
        (lambda: VICIdial(knob_name="colour"), "has no setting 'colour'"),
        (
            lambda: VICIdial(campaign_allow_inbound=_any("yes")),
            "must be one of: N, Y, AS_THE_FLOOR",
        ),
        (lambda: OSDial(average_step=-1.0), "average_step = -1.0"),
        (lambda: RatioManager(highest_level=2.0), "highest_level = 2.0 must be at least"),
    ],
)
def test_rules__refuse_what_is_not_allowed(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


# ----------------------------------------------------------------------------------- drop timer


def test_drop_timer__shorter_longer_and_equal() -> None:
    scenario = load_scenario("italy-50")  # cut 3 s after the answer
    limit_s = scenario.rule.wait_limit_s
    shorter = with_drop_timer(scenario, 1)
    assert (shorter.rule.wait_limit_s, shorter.rule.at_limit) == (1.0, "cut")
    longer = with_drop_timer(scenario, limit_s + 2)
    assert (longer.rule.wait_limit_s, longer.rule.at_limit, longer.rule.hold_s) == (
        limit_s,
        "hold",
        2.0,
    )
    assert longer.rule.cap == scenario.rule.cap
    equal = with_drop_timer(scenario, limit_s)
    assert equal.rule == scenario.rule
    assert with_drop_timer(longer, limit_s).rule.at_limit == "cut"
    assert with_drop_timer(scenario, 2.5).name == "italy-50-drop-2-5"


@pytest.mark.parametrize("timer_s", [-1, 121, math.nan, True])
def test_drop_timer__refuses_what_is_no_time(timer_s: Any) -> None:
    with pytest.raises(ConfigError, match="drop_call_seconds"):
        with_drop_timer(load_scenario("italy-50"), timer_s)


def test_drop_timer__late_connections_are_successes_to_vicidial_only() -> None:
    rule = VICIdial("RATIO", 1.4)
    shown = {}
    for timer_s in (2, 5, 30):
        scenario = with_drop_timer(load_scenario("study-real-25"), timer_s)
        world = World(4, scenario, observation="none", action="controller", **rule.world_options)
        rows = np.ones(4, bool)
        world.begin(rows, [1, 2, 3, 4])
        world.hold(np.full((4, 1), rule.knob, np.float32), rows, 7200)
        totals = {name: float(values.sum()) for name, values in world.totals().items()}
        late = totals.get("late", 0.0)
        shown[timer_s] = (
            totals["silent"] / totals["answered"],
            (totals["silent"] - late) / totals["answered"],
        )
    assert shown[30][0] > 1.3 * shown[30][1]  # many late ones
    assert shown[30][1] < shown[5][1] < shown[2][1]
