"""The further measurements of `quietdial bench env`: whole worlds, events, threads, memory, start.

Every ratio is the median of the ratios within one repeat, and within a repeat everything is
measured one after the other on the same processor. Rates are per second of CPU time, except those
of threads and of process starts, which are of wall time.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quietdial.envs.pacing import log as event_log
from quietdial.envs.pacing.state import (
    BREAK,
    INBOUND_TALK,
    MACHINE_TALK,
    TALK,
    WRAP,
)
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.bench.results import figure

WARM_UP_S = 300
MEMORY_OF = ("study-real-50", "italy-50", "italy-10", "italy-50-full", "us-50", "italy-500")
EVENT_CAMPAIGNS = 16
_BUSY_STATES = (TALK, WRAP, BREAK, MACHINE_TALK, INBOUND_TALK)
SPAN_STEPS = 1200
"""Steps that are played from the warm floor, so that no campaign comes to its end."""


@dataclass(frozen=True)
class Figure:
    """One measured figure: the median of its repeats, the least and the greatest of them."""

    name: str
    unit: str
    values: tuple[float, ...]
    note: str

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    def as_dict(self) -> dict[str, Any]:
        """In the schema of result files."""
        low, high, n = min(self.values), max(self.values), len(self.values)
        return figure(self.name, self.value, self.unit, low, high, n, self.note)


@dataclass(frozen=True)
class Effort:
    """How long is measured: a quick look, or the published figures."""

    seconds: float = 0.25
    repeats: int = 5
    agents: tuple[int, ...] = (10, 50, 200)
    campaigns: int = 256
    event_agents: tuple[int, ...] = (50, 200, 1000)
    thread_campaigns: int = 1024
    starts: int = 5
    compiles: bool = True


QUICK = Effort(0.02, 2, (10,), 64, (50, 100), 128, 1, compiles=False)


# -------------------------------------------------------------------------------------- worlds


def of_size(base: str, n_agents: int) -> Scenario:
    """A preset with another number of agents, and shifts, list and lines to match, validated.

    In `italy-50-full` everybody is in from 09:00 on, so that floors of all sizes are whole when
    they are measured: half of the agents until 18:00, half until 21:00, with lunch.
    """
    scenario = load_scenario(base)
    data = scenario.model_dump()
    data["name"] = f"{base}-with-{n_agents}"
    scale = n_agents / scenario.floor.n_agents
    data["floor"]["n_agents"] = n_agents
    if scenario.floor.shifts:
        half = n_agents // 2
        early = {"n_agents": half, "login": "09:00", "logout": "18:00"}
        late = {"n_agents": n_agents - half, "login": "09:00", "logout": "21:00"}
        data["floor"]["shifts"] = [
            early | {"lunch": {"at": "13:00", "duration": 3600}},
            late | {"lunch": {"at": "14:00", "duration": 3600}},
        ]
    if scenario.people is not None:
        data["people"]["n_people"] = round(scenario.people.n_people * scale)
    for name in ("trunks", "max_lines"):
        if data["calls"][name] is not None:
            data["calls"][name] = round(data["calls"][name] * scale)
    if scenario.calls.calls_per_s is not None:
        data["calls"]["calls_per_s"] = max(scenario.calls.calls_per_s * scale, 1.0)
    return Scenario.model_validate(data)


def copy_into(arrays: Sequence[Any], sources: Sequence[Any]) -> None:
    """Overwrite every array of a state with that of another one."""
    for array, source in zip(arrays, sources, strict=True):
        array[...] = source


class Floors:
    """Campaigns of one world that are played on from the same warm floor, again and again."""

    def __init__(
        self,
        scenario: Scenario,
        n: int,
        ratio: float,
        *,
        observation: str = "none",
        action: str = "ratio",
        **settings: Any,
    ) -> None:
        self.world = World(n, scenario, observation=observation, action=action, **settings)
        self.n = n
        self.observed = observation != "none"
        self._everywhere = np.ones(n, np.bool_)
        self.world.begin(self._everywhere, range(n))
        self._actions = (
            np.full(n, 2) if action == "residual" else np.full((n, 1), ratio, np.float32)
        )
        self._chunk = max(4, 64 // n)
        steps = round(WARM_UP_S / scenario.episode.decision_interval_s)
        self.world.observe()
        for _ in range(steps):
            self._step()
        self._warm = [array.copy() for array in self.world.state]

    def _step(self) -> None:
        self.world.step(self._actions, self._everywhere)
        if self.observed:
            self.world.observe()
        if self.world.state.log.shape[1]:
            self.logs = self.world.drain_log()

    def rewind(self) -> None:
        """Back to the warm floor."""
        copy_into(self.world.state, self._warm)

    def play(self) -> int:
        """Play a few steps; returns how many campaign steps that were."""
        for _ in range(self._chunk):
            self._step()
        return self._chunk * self.n

    def rate(self, seconds: float, clock: Callable[[], float] = time.thread_time) -> float:
        """Campaign steps per second by `clock`, the `SPAN_STEPS` after the warm floor repeated."""
        steps, spent = 0, 0.0
        while spent < seconds:
            self.rewind()
            self.play()  # caches of the processor and of Python are filled before the clock starts
            first, began = steps, clock()
            while steps - first < SPAN_STEPS * self.n and spent + clock() - began < seconds:
                steps += self.play()
            spent += clock() - began
        return steps / spent


def events_per_step(scenario: Scenario, ratio: float, n: int) -> float:
    """Timers that go off in a step of a campaign, counted exactly in the log of all events.

    These are ends of dials (with and without a pick-up), what agents finish, callees who are cut
    or leave, and drifts of hidden levels.
    """
    floors = Floors(scenario, n, ratio, records=True)
    events = 0.0
    for _ in range(SPAN_STEPS):
        floors._step()
        for rows in floors.logs:
            codes, was, cause = rows[:, 1], rows[:, 3], rows[:, 3]
            events += float(np.count_nonzero(codes == event_log.ENDED))
            changed = codes == event_log.AGENT_STATE_CHANGE
            events += float(np.count_nonzero(changed & np.isin(was, _BUSY_STATES)))
            silent = codes == event_log.SILENT
            events += float(np.count_nonzero(silent & (cause != event_log.CAUSE_AMD)))
    seconds = scenario.episode.decision_interval_s
    drifts = 0.0
    for drift in (scenario.calls.answer_rate, scenario.floor.talk_drift):
        update_s = getattr(drift, "update_s", None)
        drifts += seconds / update_s if update_s else 0.0
    return events / (n * SPAN_STEPS) + drifts


# ---------------------------------------------------------------------------------- measurements


def physics(
    effort: Effort, ratio_of: Callable[[int], float], simpy_rate: Callable[[Scenario, int], float]
) -> Iterator[Figure]:
    """`italy-50` and `italy-50-full` with other numbers of agents against SimPy's same world."""
    for n_agents in effort.agents:
        ratio = ratio_of(n_agents)
        scenarios = {base: of_size(base, n_agents) for base in ("italy-50", "italy-50-full")}
        players = {
            (base, way): Floors(scenario, effort.campaigns, ratio, **settings)
            for base, scenario in scenarios.items()
            for way, settings in (
                ("physics", {}),
                ("full+residual", {"observation": "full", "action": "residual"}),
            )
        }
        players["italy-50", "by-full-kernel"] = Floors(
            scenarios["italy-50"], effort.campaigns, ratio, full=True
        )
        rates: dict[tuple[str, str], list[float]] = {}
        for repeat in range(effort.repeats):
            for base, scenario in scenarios.items():
                rates.setdefault((base, "simpy"), []).append(simpy_rate(scenario, repeat))
            for cell, floors in players.items():
                rates.setdefault(cell, []).append(floors.rate(effort.seconds))
        place = f"{n_agents}-agents/{effort.campaigns}-campaigns"
        for (base, way), values in rates.items():
            yield Figure(f"world/{base}/{place}/{way}/steps_per_s", "steps/s", (*values,), _RATE)
        for base in scenarios:
            yield _ratio(
                f"world/{base}/{place}/physics/times_simpy",
                rates[base, "physics"],
                rates[base, "simpy"],
                "SimPy model of the same world, dialing by the same rule",
            )
        yield _ratio(
            f"world/{place}/full-to-plain",
            rates["italy-50-full", "physics"],
            rates["italy-50", "physics"],
            "italy-50-full to italy-50, other calls and agents than the kernel alone",
        )
        yield _ratio(
            f"world/{place}/unused-features",
            rates["italy-50", "physics"],
            rates["italy-50", "by-full-kernel"],
            "italy-50 by the plain kernel to the same days by the full one, bit for bit",
        )


WITHOUT: dict[str, tuple[tuple[str, str, Any], ...]] = {
    "list": (("", "people", None),),
    "shifts": (("floor", "shifts", ()),),
    "skills": (("floor", "speed_sd", 0.0), ("floor", "p_success", 0.0)),
    "talk-drift": (("floor", "talk_drift", None),),
    "set-up": (("calls", "setup", None),),
    "ring-limit": (("calls", "ring_timeout_s", None), ("episode", "close_s", 300.0)),
    "greeting": (("calls", "greeting", None),),
    "patience": (("calls", "patience", None),),
    "line-limits": (("calls", "trunks", None), ("calls", "calls_per_s", None)),
}
"""Features of `italy-50-full` that can be left out alone: part, field, value without it."""


def features(effort: Effort, ratio_of: Callable[[int], float]) -> Iterator[Figure]:
    """Time of a step of `italy-50-full` without one feature, as a share of the whole world's."""
    whole = of_size("italy-50-full", 50)
    worlds = {"whole": whole}
    for name, changes in WITHOUT.items():
        data = whole.model_dump()
        for part, field, value in changes:
            (data[part] if part else data)[field] = value
        worlds[name] = Scenario.model_validate(data)
    ratio = ratio_of(50)
    players = {name: Floors(world, effort.campaigns, ratio) for name, world in worlds.items()}
    players["records"] = Floors(whole, effort.campaigns, ratio, records=True)
    spent: dict[str, list[float]] = {name: [] for name in players}
    for _ in range(effort.repeats):
        for name, floors in players.items():
            spent[name].append(1.0 / floors.rate(effort.seconds))
    for name, values in spent.items():
        if name == "records":
            note = "time of a step with the log of all events, read by Python, to without"
            yield _ratio("features/with-records", values, spent["whole"], note)
        elif name != "whole":
            note = "time of a step without the feature to the whole world; the day differs too"
            yield _ratio(f"features/without-{name}", values, spent["whole"], note)


def events(effort: Effort, ratio_of: Callable[[int], float]) -> Iterator[Figure]:
    """Events per second of floors of all sizes, and how much of it is left on the largest."""
    for base in ("italy-50", "italy-50-full"):
        per_step, players = {}, {}
        for n_agents in effort.event_agents:
            scenario, ratio = of_size(base, n_agents), ratio_of(n_agents)
            per_step[n_agents] = events_per_step(scenario, ratio, EVENT_CAMPAIGNS)
            players[n_agents] = Floors(scenario, EVENT_CAMPAIGNS, ratio)
        rates: dict[int, list[float]] = {n_agents: [] for n_agents in players}
        for _ in range(effort.repeats):
            for n_agents, floors in players.items():
                rates[n_agents].append(floors.rate(effort.seconds) * per_step[n_agents])
        for n_agents, values in rates.items():
            place = f"events/{base}/{n_agents}-agents"
            note = f"{EVENT_CAMPAIGNS} campaigns; events counted in the log"
            yield Figure(f"{place}/per_step", "events", (per_step[n_agents],), note)
            yield Figure(f"{place}/per_s", "events/s", (*values,), note)
        least, most = min(rates), max(rates)
        yield _ratio(
            f"events/{base}/{most}-to-{least}-agents", rates[most], rates[least], "events per s"
        )


def threads(effort: Effort, ratio_of: Callable[[int], float]) -> Iterator[Figure]:
    """Two threads against one, wall time, each pinned to a core where the system can do that."""
    scenario = of_size("italy-50", 50)
    one, two = (Floors(scenario, effort.thread_campaigns, ratio_of(50), threads=n) for n in (1, 2))
    with _pinned(two.world) as pinned:
        pairs = [
            [floors.rate(effort.seconds, time.perf_counter) for floors in (one, two)]
            for _ in range(effort.repeats)
        ]
    singles, doubles = zip(*pairs, strict=True)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    note = f"wall time, {'pinned' if pinned else 'not pinned'}, load of the machine {load:.1f}"
    place = f"threads/{effort.thread_campaigns}-campaigns"
    yield Figure(f"{place}/1/steps_per_s", "steps/s", (*singles,), note)
    yield Figure(f"{place}/2/steps_per_s", "steps/s", (*doubles,), note)
    yield _ratio(f"{place}/2-to-1", doubles, singles, note)


@contextlib.contextmanager
def _pinned(world: World) -> Iterator[bool]:
    """Pin the caller to one core and the world's other thread to another, if there are two."""
    if not hasattr(os, "sched_setaffinity"):
        yield False
        return
    before = os.sched_getaffinity(0)
    cores = sorted(before)[:2]
    if len(cores) < 2:
        yield False
        return
    world.crew.run(os.sched_setaffinity, [(0, {core}) for core in cores])
    try:
        yield True
    finally:
        os.sched_setaffinity(0, before)


def memory() -> Iterator[Figure]:
    """Bytes of state of one campaign."""
    for name in MEMORY_OF:
        state = World(1, name).state
        size = float(sum(array.nbytes for array in state))
        yield Figure(f"memory/{name}", "bytes", (size,), "state of one campaign, all arrays")


_IMPORT = "import time; t = time.perf_counter(); import quietdial.envs; a = time.perf_counter(); "
_FIRST_STEP = (
    "import numpy; from quietdial.envs.pacing.vector_env import PacingVectorEnv; "
    "e = PacingVectorEnv(4, {name!r}); e.reset(seed=1); e.step(numpy.full(4, 2)); "
)
_SAY = "import sys; sys.stdout.write(f'{a - t} {time.perf_counter() - t}')"


def starts(effort: Effort) -> Iterator[Figure]:
    """Time of an import and until the first step is over, in new processes; the code is cached."""
    for name in ("italy-50", "italy-50-full"):
        code = _IMPORT + _FIRST_STEP.format(name=name) + _SAY
        found = []
        for repeat in range(effort.starts + 1):
            done = subprocess.run(  # noqa: S603  (this interpreter, with the code above)
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            )
            if repeat:  # the first one may have compiled
                found.append([float(number) for number in done.stdout.split()])
        imports, steps = zip(*found, strict=True)
        if effort.compiles:
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                subprocess.run(  # noqa: S603  (as above, without the cache)
                    [sys.executable, "-c", code],
                    capture_output=True,
                    check=True,
                    env=os.environ | {"NUMBA_CACHE_DIR": folder},
                )
                spent = time.perf_counter() - began
            note = "wall time of a first step with nothing compiled before"
            yield Figure(f"start/{name}/compile_s", "s", (spent,), note)
        note = "wall time of a new process with a warm compile cache"
        yield Figure(f"start/{name}/import_s", "s", (*imports,), note)
        yield Figure(f"start/{name}/first_step_s", "s", (*steps,), f"{note}, import included")


def load_of_machine(when: str) -> Iterator[Figure]:
    """What else the machine did: processes that wanted to run, this one among them."""
    if hasattr(os, "getloadavg"):
        note = f"average of the last minute {when} the measurements"
        yield Figure(f"machine/load-{when}", "processes", (os.getloadavg()[0],), note)


_RATE = "World: no Gymnasium; CPU time of one thread; lo and hi are the least and greatest repeat"


def _ratio(name: str, values: Sequence[float], to: Sequence[float], note: str) -> Figure:
    ratios = tuple(a / b for a, b in zip(values, to, strict=True))
    return Figure(name, "1", ratios, note)


def measure(
    effort: Effort,
    ratio_of: Callable[[int], float],
    simpy_rate: Callable[[Scenario, int], float],
    report: Callable[[str], None],
) -> list[Figure]:
    """All of it.

    Args:
        effort: how long.
        ratio_of: calls in flight per idle agent, by the number of agents.
        simpy_rate: steps per second of SimPy's model of a scenario, in a repeat.
        report: called with what is being measured.
    """
    parts: tuple[tuple[str, Callable[[], Iterator[Figure]]], ...] = (
        ("load", lambda: load_of_machine("before")),
        ("whole worlds", lambda: physics(effort, ratio_of, simpy_rate)),
        ("features", lambda: features(effort, ratio_of)),
        ("events", lambda: events(effort, ratio_of)),
        ("threads", lambda: threads(effort, ratio_of)),
        ("memory", memory),
        ("process starts", lambda: starts(effort)),
        ("load", lambda: load_of_machine("after")),
    )
    figures: list[Figure] = []
    for name, part in parts:
        report(name)
        figures += part()
    return figures
