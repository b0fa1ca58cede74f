"""The closed loop in simulated time: policy, adapter, database, simulated dialer, database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.vicidial.adapter import Adapter, Answer, Settings
from quietdial.agents.vicidial.database import Database, Login
from quietdial.agents.vicidial.features import Floor, counters
from quietdial.agents.vicidial.rule import level_number, level_of
from quietdial.agents.vicidial.tables import Reader, Snapshot
from quietdial.envs.pacing.state import DONE, WINDOWS_S
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario
from quietdial.experiments.dialer.floor import SimulatedFloor
from quietdial.experiments.dialer.tables import ADAPTER_PASSWORD, CLOCK_QUERY, DATABASE

INTERVAL_S: Final = 15.0
_LONG_LEASE_S: Final = 3600.0
"""The lease runs in real time; simulated time does not wait for it."""

Choose = Callable[[NDArray[np.float32]], int]
"""From an observation `counters` to the number of a level."""


class Played(NamedTuple):
    """What came of a day.

    Attributes:
        utilisation: talk and wrap-up / available agent-seconds.
        answered: answered calls.
        silent: of these, silent ones.
        levels: level at each decision.
        error: largest difference of each feature between tables and simulator, (22,); NaN: none.
    """

    utilisation: float
    answered: int
    silent: int
    levels: tuple[float, ...]
    error: NDArray[np.float64]


def floor_of(floor: SimulatedFloor) -> Floor:
    """What the tables of a simulated floor do not say."""
    scenario = floor.scenario
    belief = scenario.belief
    one, five, twenty = (float(window_s) for window_s in WINDOWS_S)
    return Floor(
        n_agents=scenario.floor.n_agents,
        cap=scenario.rule.cap,
        window_from=floor.opens,
        window_s=scenario.episode.duration_s,
        prior_rate=belief.answer_rate or belief.prior_answered / belief.prior_finished,
        prior_finished=belief.prior_finished,
        memories_s=(belief.memory_s, one, five, twenty),
    )


def adapter_login(socket: Path) -> Login:
    """The adapter's own account on a private server."""
    return Login(database=DATABASE, password=ADAPTER_PASSWORD, socket=str(socket))


def play_loop(
    floor: SimulatedFloor, socket: Path, hours: float, choose: Choose = level_number
) -> Played:
    """Play hours of a floor with the adapter in between, as fast as it goes."""
    known = floor_of(floor)
    levels: list[float] = []
    errors: list[NDArray[np.float32]] = []
    database = Database(adapter_login(socket))
    reader = Reader(database, floor.campaign, floor.opens, CLOCK_QUERY)

    def decide(seen: Snapshot) -> Answer:
        obs = counters(seen, known)
        errors.append(np.abs(obs - floor.observation()))
        return Answer(level_of(choose(obs)))

    settings = Settings(floor.campaign, INTERVAL_S, _LONG_LEASE_S, 1.0, step_up=4.0)
    adapter = Adapter(database, reader, decide, settings, clock=lambda: floor.elapsed_s)
    while floor.elapsed_s < 3600.0 * hours and not floor.over:
        if floor.elapsed_s % INTERVAL_S == 0:
            adapter.tick()
        floor.step()
        if floor.elapsed_s % INTERVAL_S == 0:
            levels.append(floor.level)
    adapter.leave()
    error = np.max(errors, axis=0).astype(np.float64) if errors else np.full(22, np.nan)
    return _played(floor.totals(), levels, error)


def play_simulator(
    scenario: Scenario | str, seed: int, hours: float, choose: Choose = level_number
) -> Played:
    """The same policy in the simulator, on the simulator's own observation."""
    world = World(1, scenario, observation="counters", action="vicidial_level")
    active = np.ones(1, np.bool_)
    world.begin(active, [seed])
    levels = []
    while world.clock_s()[0] < 3600.0 * hours and not world.state.head[0, DONE]:
        number = choose(world.observe()[0])
        levels.append(level_of(number))
        world.step(np.array([number]), active)
    totals = {name: float(values[0]) for name, values in world.totals().items()}
    return _played(totals, levels, np.full(22, np.nan))


def _played(totals: dict[str, float], levels: list[float], error: NDArray[np.float64]) -> Played:
    busy_s = totals["talk_s"] + totals["wrap_s"]
    return Played(
        busy_s / totals["available_s"],
        int(totals["answered"]),
        int(totals["silent"]),
        tuple(levels),
        error,
    )
