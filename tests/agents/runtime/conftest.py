"""A simulated dialer that tells a pacer everything, and what the kernel itself saw."""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
import pytest

from quietdial.agents.runtime.decision import Decision, PacerSettings
from quietdial.agents.runtime.evaluator import Answer
from quietdial.agents.runtime.ledger_protocol import Ledger
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.agents.runtime.pacer import Pacer
from quietdial.agents.runtime.shield import ShieldSettings
from quietdial.agents.runtime.tables import PacingTables, json_of_tables, tables_of_json
from quietdial.agents.runtime_feed import LogFeed
from quietdial.agents.runtime_tables import pacing_tables
from quietdial.envs.pacing import log
from quietdial.envs.pacing.shield import Shield
from quietdial.envs.pacing.state import BASE, LOGGED, SHIELD_ROOM
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario, changed, load_scenario


class Said:
    """A policy that answers what the test wants."""

    name = "said"

    def __init__(self, observation: str = "full", base_theta: float | None = None) -> None:
        self.observation, self.base_theta = observation, base_theta
        self.answers: Any = "dials"
        self.value = 0.0
        self.valid = True
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def answer(self, obs, base):
        return Answer(self.value + base if self.base_theta is not None else self.value, self.valid)


class Moment(NamedTuple):
    """One decision: of the pacer, and of the kernel."""

    number: int
    pacer: Pacer
    decision: Decision
    seen: np.ndarray
    base: int
    room: int
    placed: int


def tables_for(scenario: Scenario | str) -> PacingTables:
    """The tables of a scenario as a bundle brings them: through JSON."""
    return tables_of_json(json_of_tables(pacing_tables(scenario)))


def settings_for(shield: Shield | None = None, **others) -> PacerSettings:
    own = None
    if shield is not None:
        pace = shield.answers_per_agent_s
        own = ShieldSettings(shield.kind, shield.cap, shield.reserves, pace)
    given = {"cold_start_answered": 0, "unix_clock": False, "shield": own, "at_cap": "policy"}
    return PacerSettings(**{**given, **others})


def played(
    scenario: Scenario | str,
    *,
    observation: str = "full",
    action: str = "residual",
    steps: int = 1500,
    seed: int = 7,
    wild: float = 0.1,
    shield: Shield | None = None,
    ledger: Ledger | None = None,
) -> Iterator[Moment]:
    """Play a campaign with random actions; yield each decision after the world has taken it."""
    scenario = load_scenario(scenario)
    world = World(1, scenario, observation=observation, action=action, records=True, shield=shield)
    said = Said(observation, 0.02 if action == "residual" else None)
    pacer = Pacer(tables_for(scenario), said, ledger or MemoryLedger(), settings_for(shield))
    feed = LogFeed(world, pacer)
    on = np.ones(1, np.bool_)
    world.begin(on, [seed])
    feed.after_step()
    rng = np.random.default_rng(seed)
    n, low = cast(Any, world.action_space).n, -2 if action == "residual" else 0
    for number in range(steps):
        seen = world.observe()[0]
        choice = int(rng.integers(0, n) if rng.random() < wild else rng.integers(0, min(n, 4)))
        said.value = float(choice + low)
        now_ms = round(1000 * world.clock_s()[0])
        decision = pacer.decide(now_ms)
        base = int(world.state.head[0, BASE])
        over = bool(world.step(np.array([choice]), on)[0, 4])
        rows = world.state.log[0, : int(world.state.more[0, LOGGED])]
        own = (rows[:, 1] == log.DIAL) & (rows[:, 0] == now_ms) & (rows[:, 4] < 0)
        room = int(world.state.head[0, SHIELD_ROOM])
        yield Moment(number, pacer, decision, seen, base, room, int(own.sum()))
        feed.after_step()
        if over:
            return


@pytest.fixture
def short_days() -> Scenario:
    """Two days of a quarter of an hour with shifts, lunch, breaks and a list."""
    floor = load_scenario("italy-50-full").floor.model_dump(exclude_none=True)
    floor |= {
        "n_agents": 8,
        "shifts": [
            {
                "n_agents": 4,
                "login": "10:00",
                "logout": "10:12",
                "lunch": {"at": "10:05", "duration": 120},
            },
            {"n_agents": 4, "login": "10:03", "logout": "18:00"},
        ],
    }
    episode = {"duration_s": 900, "n_days": 2, "start": "10:00"}
    return changed(load_scenario("italy-50-full"), "short-days", floor=floor, episode=episode)
