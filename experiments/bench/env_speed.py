"""`quietdial bench env`: environment steps per second, and how many times a plain SimPy model.

A step is one decision interval of one campaign. Rates are per second of this thread's own CPU time,
medians over interleaved repeats: within a repeat, every way of playing a floor is measured one
after the other, so ratios compare figures taken within seconds of each other. All play the same
world (`study-real-50` with another number of agents) from the same 300 s after the opening. The
floor dials at a fixed ratio that keeps it about as busy as a real one (`ratio_for`), or, with
residual actions, as the `marginal` rule says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import SyncVectorEnv
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.table import Table

from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.pacing import control
from quietdial.envs.pacing.env import PacingEnv
from quietdial.envs.pacing.state import DAY_P0, State, make_state
from quietdial.envs.pacing.vector_env import PacingVectorEnv
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.bench.env_worlds import QUICK, Effort, Figure, copy_into, measure
from quietdial.experiments.bench.results import figure, result_file
from quietdial.experiments.bench.simpy_twin import Day, SimpyFloor, fixed_ratio

BASE_SCENARIO = "study-real-50"
WARM_UP_S = 300
LOAD_S = 5400
"""What the load of the kernel is taken from, after the warm-up; SimPy's is what was timed."""
SIMPY_DAYS = 4
"""Days of the SimPy model in a repeat, spread evenly over the levels of the answer rate."""
MOST_SYNC_ENVS = 16
"""`SyncVectorEnv` steps one environment after the other; more of them change its rate little."""
_SIMPY_CHUNK = 20
COMMAND = "quietdial bench env"

Play = Callable[[], int]
"""Plays a few steps and returns how many."""
Report = Callable[[str, float], None]


@dataclass(frozen=True)
class Way:
    """What is observed and how is acted: a column of the table."""

    name: str
    observation: str
    action: str


WAYS = (
    Way("physics", "none", "ratio"),
    Way("markov", "markov", "ratio"),
    Way("counters", "counters", "ratio"),
    Way("full+residual", "full", "residual"),
)
ENGINE, GYMNASIUM, SYNC, SIMPY = "engine", "gymnasium", "sync", "simpy"
"""Faces: `World`, `PacingVectorEnv`, `SyncVectorEnv` of `PacingEnv`, the SimPy model."""


@dataclass(frozen=True)
class Spread:
    """Median of the repeats with the least and the greatest of them."""

    value: float
    lo: float
    hi: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of some repeats."""
        return cls(float(np.median(values)), min(values), max(values), len(values))


@dataclass(frozen=True)
class Row:
    """One measured cell.

    Attributes:
        agents: Agents of a campaign.
        campaigns: Campaigns side by side (1 for SimPy; at most `MOST_SYNC_ENVS` are played by
            `SyncVectorEnv`).
        face: `engine`, `gymnasium`, `sync` or `simpy`.
        way: Name of the `Way`; SimPy plays the physics only.
        steps_per_s: Environment steps per second of CPU time.
        times_simpy: Ratio to SimPy in the same repeat; None for SimPy itself.
        times_sync: Ratio to `SyncVectorEnv` in the same repeat; only for `gymnasium`.
    """

    agents: int
    campaigns: int
    face: str
    way: str
    steps_per_s: Spread
    times_simpy: Spread | None = None
    times_sync: Spread | None = None


@dataclass(frozen=True)
class Load:
    """How busy the floors were while the physics were measured: the two models do like work."""

    agents: int
    model: str
    utilisation: float
    silent_rate: float
    dials_per_step: float


@dataclass(frozen=True)
class EnvSpeed:
    """All that `bench_env` measured."""

    rows: tuple[Row, ...]
    loads: tuple[Load, ...]

    def find(self, agents: int, campaigns: int, face: str, way: str = "physics") -> Row:
        """The row of that cell. Raises `ConfigError` if it was not measured."""
        for row in self.rows:
            if (row.agents, row.campaigns, row.face, row.way) == (agents, campaigns, face, way):
                return row
        raise ConfigError(f"no cell {agents} agents, {campaigns} campaigns, {face}, {way}")


def floor_of(n_agents: int) -> Scenario:
    """`study-real-50` with another number of agents, validated."""
    base = load_scenario(BASE_SCENARIO)
    floor = base.floor.model_copy(update={"n_agents": n_agents})
    data = base.model_copy(update={"name": f"study-real-{n_agents}", "floor": floor})
    return Scenario.model_validate(data.model_dump())


def ratio_for(n_agents: int) -> float:
    """Calls in flight per idle agent: about 84 to 91 % utilisation at 1 to 9 % silent calls."""
    if n_agents < 30:
        return 2.5
    return 4.0 if n_agents < 120 else 5.0


# ----------------------------------------------------------------------------------- measuring


def bench_env(
    campaigns: Sequence[int] = (1, 16, 256, 1024),
    agents: Sequence[int] = (10, 50, 200),
    *,
    seconds_per_cell: float = 0.2,
    repeats: int = 3,
    report: Report | None = None,
) -> EnvSpeed:
    """Measure every cell on this thread.

    Args:
        campaigns: numbers of campaigns side by side.
        agents: numbers of agents.
        seconds_per_cell: CPU time of one repeat of one cell [s].
        repeats: interleaved repeats, at least 1.
        report: called with what is being measured and the share that is done.
    """
    if seconds_per_cell <= 0 or repeats < 1 or not campaigns or not agents:
        raise ConfigError(
            f"the benchmark needs seconds_per_cell > 0 (is {seconds_per_cell}), repeats >= 1 "
            f"(is {repeats}), and at least one number of campaigns and of agents"
        )
    rows: list[Row] = []
    loads: list[Load] = []
    for i, n_agents in enumerate(agents):
        scenario = floor_of(n_agents)
        simpy_rates: list[float] = []
        simpy_totals: dict[str, float] = {}
        for j, n_campaigns in enumerate(campaigns):
            if report is not None:
                done = (i * len(campaigns) + j) / (len(agents) * len(campaigns))
                report(f"{n_agents} agents, {n_campaigns} campaigns", done)
            rates: dict[tuple[str, str], list[float]] = {}
            players = _Players(scenario, n_campaigns)
            for repeat in range(repeats):
                simpy_rates.append(
                    _simpy_rate(scenario, seconds_per_cell, len(simpy_rates), simpy_totals)
                )
                rates.setdefault((SIMPY, "physics"), []).append(simpy_rates[-1])
                for cell, play in players.cells(repeat):
                    rates.setdefault(cell, []).append(_rate(play, seconds_per_cell))
            rows += _rows(n_agents, n_campaigns, rates)
        rows.append(Row(n_agents, 1, SIMPY, "physics", Spread.of(simpy_rates)))
        loads.append(_load(n_agents, "kernel", _kernel_totals(scenario)))
        loads.append(_load(n_agents, SIMPY, simpy_totals))
    return EnvSpeed(tuple(rows), tuple(loads))


def _rows(
    n_agents: int, n_campaigns: int, rates: dict[tuple[str, str], list[float]]
) -> Iterator[Row]:
    simpy = rates[SIMPY, "physics"]
    for (face, way), values in rates.items():
        if face == SIMPY:
            continue
        times_sync = None
        if face == GYMNASIUM:
            times_sync = _ratio(values, rates[SYNC, way])
        spread, times_simpy = Spread.of(values), _ratio(values, simpy)
        yield Row(n_agents, n_campaigns, face, way, spread, times_simpy, times_sync)


def _ratio(values: Sequence[float], to: Sequence[float]) -> Spread:
    return Spread.of([a / b for a, b in zip(values, to, strict=True)])


def _rate(play: Play, seconds: float) -> float:
    """Steps per second of CPU time of `play`, which plays a few steps and says how many."""
    play()  # caches of the processor and of Python are filled before the clock starts
    steps = 0
    began = time.thread_time()
    while True:
        steps += play()
        spent = time.thread_time() - began
        if spent >= seconds:
            return steps / spent


class _Players:
    """All ways of playing one number of campaigns of one scenario, from the same warm floor."""

    def __init__(self, scenario: Scenario, n_campaigns: int) -> None:
        self.scenario = scenario
        self.n = n_campaigns
        self.n_sync = min(n_campaigns, MOST_SYNC_ENVS)
        self.seeds = _even_seeds(scenario, n_campaigns)
        self.chunk = max(8, 32 // n_campaigns)
        self.live, self.warm = _warm_floor(scenario, self.seeds)
        engines = [((ENGINE, way.name), self._engine(way)) for way in WAYS]
        vectors = [((GYMNASIUM, way.name), self._vector(way)) for way in WAYS]
        self._compiled = engines + vectors
        self._sync_cells = [((SYNC, way.name), self._sync(way)) for way in WAYS]

    def cells(self, repeat: int) -> Iterator[tuple[tuple[str, str], Play]]:
        """Every cell with its player, in an order that turns with the repeat."""
        turn = repeat % len(self._compiled)
        for cell, play in self._compiled[turn:] + self._compiled[:turn]:
            copy_into(self.live, self.warm)
            yield cell, play
        yield from self._sync_cells

    def _actions(self, way: Way, n: int) -> NDArray[Any]:
        if way.action == "residual":
            return np.full(n, -control.RESIDUAL_LOW, np.int64)  # the base rule's own number
        return np.full((n, 1), ratio_for(self.scenario.floor.n_agents), np.float32)

    def _engine(self, way: Way) -> Play:
        world = World(self.n, self.scenario, observation=way.observation, action=way.action)
        world.state = self.live
        everywhere = np.ones(self.n, np.bool_)
        world.begin(everywhere, self.seeds)
        actions = self._actions(way, self.n)
        observed, last_s = way.observation != "none", self.scenario.episode.duration_s

        def play() -> int:
            for _ in range(self.chunk):
                world.step(actions, everywhere)
                if observed:
                    world.observe()
            if world.clock_s()[0] >= last_s:
                world.begin(everywhere)
            return self.chunk * self.n

        return play

    def _vector(self, way: Way) -> Play:
        env = PacingVectorEnv(self.n, self.scenario, observation=way.observation, action=way.action)
        env.world.state = self.live
        env.reset(seed=self.seeds)
        actions = self._actions(way, self.n)

        def play() -> int:
            for _ in range(self.chunk):
                env.step(actions)
            return self.chunk * self.n

        return play

    def _sync(self, way: Way) -> Play:
        def make() -> PacingEnv:
            return PacingEnv(self.scenario, observation=way.observation, action=way.action)

        env = SyncVectorEnv([make] * self.n_sync)
        env.reset(seed=[*self.seeds[: self.n_sync]])
        for row, single in enumerate(env.envs):
            if isinstance(single, PacingEnv):
                warm = [array[row : row + 1] for array in self.warm]
                copy_into(single.world.state, warm)
        actions = self._actions(way, self.n_sync)

        def play() -> int:
            env.step(actions)
            return self.n_sync

        return play


def _even_seeds(scenario: Scenario, n_campaigns: int) -> list[int]:
    """Seeds of days whose hidden answer rates are spread evenly, so that any number is typical."""
    n_pool = max(64, 2 * n_campaigns)
    pool = World(n_pool, scenario, observation="none", action="progressive")
    pool.begin(np.ones(n_pool, np.bool_), range(n_pool))
    order = np.argsort(pool.state.est[:, DAY_P0], kind="stable")
    at = ((np.arange(n_campaigns) + 0.5) / n_campaigns * n_pool).astype(np.int64)
    return [int(seed) for seed in order[at]]


def _warm_floor(scenario: Scenario, seeds: Sequence[int]) -> tuple[State, State]:
    """A state to play on, and a copy of it: the floors `WARM_UP_S` after the opening."""
    world = World(len(seeds), scenario, observation="none", action="ratio")
    everywhere = np.ones(len(seeds), np.bool_)
    world.begin(everywhere, seeds)
    _play_ratio(world, WARM_UP_S)
    warm = make_state(world.n_campaigns, world.params)
    copy_into(warm, world.state)
    return world.state, warm


def _play_ratio(world: World, seconds: float) -> None:
    everywhere = np.ones(world.n_campaigns, np.bool_)
    ratio = ratio_for(world.scenario.floor.n_agents)
    actions = np.full((world.n_campaigns, 1), ratio, np.float32)
    for _ in range(round(seconds / world.scenario.episode.decision_interval_s)):
        world.step(actions, everywhere)


def _kernel_totals(scenario: Scenario) -> dict[str, float]:
    """Totals of typical floors under the fixed ratio after the warm-up, all rows together."""
    world = World(64, scenario, observation="none", action="ratio")
    world.begin(np.ones(64, np.bool_), _even_seeds(scenario, 64))
    _play_ratio(world, WARM_UP_S)
    before = world.totals()
    _play_ratio(world, LOAD_S)
    totals = {name: float((value - before[name]).sum()) for name, value in world.totals().items()}
    steps_s = scenario.episode.decision_interval_s
    return totals | {"steps": 64 * round(LOAD_S / steps_s)}


def _simpy_rate(scenario: Scenario, seconds: float, repeat: int, totals: dict[str, float]) -> float:
    """Steps per second of CPU time of the SimPy model; adds what happened to `totals`."""
    rule = fixed_ratio(ratio_for(scenario.floor.n_agents))
    interval_s, last_s = scenario.episode.decision_interval_s, scenario.episode.duration_s
    steps, spent = 0, 0.0
    for i in range(SIMPY_DAYS):
        seed = repeat * SIMPY_DAYS + i
        day = Day.drawn(scenario, np.random.default_rng([seed, 1]), (i + 0.5) / SIMPY_DAYS)
        floor = SimpyFloor(scenario, rule, seed, day)
        before = floor.run(WARM_UP_S)
        now = float(WARM_UP_S)
        began = time.thread_time()
        while now < last_s:
            now += _SIMPY_CHUNK * interval_s
            floor.env.run(until=now)
            steps += _SIMPY_CHUNK
            if time.thread_time() - began >= seconds / SIMPY_DAYS:
                break
        spent += time.thread_time() - began
        for name, value in floor.totals().items():
            totals[name] = totals.get(name, 0.0) + value - before[name]
    totals["steps"] = totals.get("steps", 0.0) + steps
    return steps / spent


def _load(n_agents: int, model: str, totals: dict[str, float]) -> Load:
    return Load(
        n_agents,
        model,
        (totals["talk_s"] + totals["wrap_s"]) / totals["available_s"],
        totals["silent"] / max(totals["answered"], 1.0),
        totals["dialed"] / totals["steps"],
    )


# ------------------------------------------------------------------------------------- reporting


def render(speed: EnvSpeed) -> Group:
    """The measurement as tables for the terminal."""
    sizes = sorted({(row.agents, row.campaigns) for row in speed.rows if row.face == ENGINE})
    tables = [
        _table(speed, sizes, ENGINE, "Engine: thousand steps per CPU-second, one thread", "SimPy"),
        _table(
            speed,
            sizes,
            GYMNASIUM,
            "PacingVectorEnv, info included: thousand steps per CPU-second, one thread",
            "SyncVectorEnv",
        ),
        _reference_table(speed),
    ]
    return Group(*tables)


def _table(
    speed: EnvSpeed, sizes: Sequence[tuple[int, int]], face: str, title: str, against: str
) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("agents", "campaigns", *(way.name for way in WAYS)):
        table.add_column(name, justify="right")
    for way in (WAYS[0], WAYS[-1]):
        table.add_column(f"{way.name}\n/ {against}", justify="right")
    for agents, campaigns in sizes:
        cells = [speed.find(agents, campaigns, face, way.name) for way in WAYS]
        ratios = [
            row.times_simpy if face == ENGINE else row.times_sync for row in (cells[0], cells[-1])
        ]
        last = (agents, campaigns) == max(size for size in sizes if size[0] == agents)
        table.add_row(
            str(agents),
            str(campaigns),
            *(f"{row.steps_per_s.value / 1e3:,.0f}" for row in cells),
            *("" if ratio is None else f"{ratio.value:.0f} x" for ratio in ratios),
            end_section=last,
        )
    return table


def _reference_table(speed: EnvSpeed) -> Table:
    table = Table(
        title="References, thousand steps per CPU-second, and the floors that were played",
        title_justify="left",
        title_style="bold",
    )
    names = ("agents", "SimPy", f"SyncVectorEnv\n{WAYS[0].name}", f"SyncVectorEnv\n{WAYS[-1].name}")
    for name in (*names, "model", "utilisation", "silent", "dials/step"):
        table.add_column(name, justify="right")
    for agents in sorted({row.agents for row in speed.rows}):
        most = max(row.campaigns for row in speed.rows if row.agents == agents)
        rates = [
            speed.find(agents, 1, SIMPY),
            speed.find(agents, most, SYNC, WAYS[0].name),
            speed.find(agents, most, SYNC, WAYS[-1].name),
        ]
        shown = [str(agents), *(f"{row.steps_per_s.value / 1e3:,.1f}" for row in rates)]
        for load in (load for load in speed.loads if load.agents == agents):
            table.add_row(
                *shown,
                load.model,
                f"{100 * load.utilisation:.1f} %",
                f"{100 * load.silent_rate:.1f} %",
                f"{load.dials_per_step:.2f}",
                end_section=load.model == SIMPY,
            )
            shown = [""] * len(shown)
    return table


def further_table(figures: Sequence[Figure]) -> Table:
    """The figures of `env_worlds` for the terminal."""
    table = Table(title="Whole worlds", title_justify="left", title_style="bold")
    table.add_column("figure")
    for name in ("median", "least", "greatest", "unit"):
        table.add_column(name, justify="right")
    for found in figures:
        numbers = (found.value, min(found.values), max(found.values))
        shown = [f"{x:,.0f}" if x >= 1000 else f"{x:.3g}" for x in numbers]
        table.add_row(found.name, *shown, found.unit)
    return table


def results(speed: EnvSpeed, further: Sequence[Figure] = ()) -> dict[str, Any]:
    """The measurement in the schema of result files: plain values, ready for JSON."""
    figures: list[dict[str, Any]] = []
    for row in speed.rows:
        place = f"{row.face}/{row.agents}-agents/{row.campaigns}-campaigns/{row.way}"
        for name, spread, unit in (
            ("steps_per_s", row.steps_per_s, "steps/s"),
            ("times_simpy", row.times_simpy, "1"),
            ("times_sync", row.times_sync, "1"),
        ):
            if spread is not None:
                figures.append(_figure(f"{place}/{name}", spread, unit, _NOTES[row.face]))
    for load in speed.loads:
        place = f"load/{load.agents}-agents/{load.model}"
        note = "sums over all days after the warm-up"
        for name, value, unit in (
            ("utilisation", load.utilisation, "1"),
            ("silent_rate", load.silent_rate, "1"),
            ("dials_per_step", load.dials_per_step, "calls"),
        ):
            figures.append(_figure(f"{place}/{name}", Spread(value, value, value, 1), unit, note))
    seeds = "kernel: days of even answer rates among seeds from 0; SimPy: seeds from 0"
    figures += [found.as_dict() for found in further]
    return result_file("env-speed", COMMAND, seeds, figures)


_NOTES = {
    ENGINE: "World: no Gymnasium; lo and hi are the least and greatest repeat",
    GYMNASIUM: "PacingVectorEnv with info; lo and hi are the least and greatest repeat",
    SYNC: f"SyncVectorEnv of PacingEnv, at most {MOST_SYNC_ENVS}; lo, hi: least, greatest repeat",
    SIMPY: "SimPy model, physics; lo and hi are the least and greatest repeat",
}


def _figure(name: str, spread: Spread, unit: str, note: str) -> dict[str, Any]:
    return figure(name, spread.value, unit, spread.lo, spread.hi, spread.n, note)


def run(*, quick: bool, output: Path | None, console: Console) -> dict[str, Any]:
    """`quietdial bench env`: measure, print the tables, and save the results if asked to.

    Args:
        quick: a few seconds and fewer, noisier cells instead of about five minutes.
        output: JSON file to write, or None.
        console: where the tables and the progress go.

    Returns:
        The results as written to `output`.
    """
    with console.status("compiling") as status:

        def report(what: str, done: float) -> None:
            status.update(f"measuring {what} ({100 * done:.0f} % done)")

        if quick:
            speed = bench_env((1, 256), (10, 50), seconds_per_cell=0.02, repeats=3, report=report)
        else:
            speed = bench_env(report=report)
        effort = QUICK if quick else Effort()

        def simpy_rate(scenario: Scenario, repeat: int) -> float:
            return _simpy_rate(scenario, effort.seconds, repeat, {})

        further = measure(effort, ratio_for, simpy_rate, lambda what: report(what, 1.0))
    console.print(render(speed))
    console.print(further_table(further))
    found = results(speed, further)
    if output is not None:
        write_json_atomic(output, found)
        console.print(f"saved to {output}")
    return found
