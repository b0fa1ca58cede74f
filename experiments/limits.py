"""The limits, recorded: exact optima, the rules and the simulator against them, proven bounds.

`run_limits` makes `experiments/results/exact-optimum.json`. Its parts: the exact optimum at several
caps, by two methods; progressive dialing and the quantile rule evaluated exactly; the optimal
policy played in the simulator; the blind floor and the proven upper bound of realistic worlds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from quietdial.agents.limits import blind_floor, markov_bound, utilisation_bound
from quietdial.agents.optimal import Optimum, frontier, solve
from quietdial.agents.optimal_policy import OptimalMarkov
from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.pacing.markov import Figures, MarkovWorld, evaluate
from quietdial.envs.pacing.targets import OrderUpTo
from quietdial.envs.pacing.world import World
from quietdial.experiments.bench.results import figure, put_figures, result_file
from quietdial.experiments.rundir import writable_file

NAME: Final = "exact-optimum"
COMMAND: Final = "quietdial limits --output experiments/results/exact-optimum.json"
CAPS: Final = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05)
HORIZONS_S: Final = (8.0, 12.0, 16.0, 20.0, 25.0, 30.0)
"""Look-ahead times among which the quantile rule's best is taken."""
BOUNDED: Final = (
    *(f"study-{kind}-{n}" for kind in ("stat", "real", "shift") for n in (5, 10, 25, 50)),
    "italy-50",
)
CONFIDENCE: Final = 0.99
SEED: Final = 7_000_000
"""First campaign seed of the simulations; each preset takes the next ones."""

_STUDY = (0.25, 180.0, 12.0)  # p, handle_s, ring_s
_WARM_S = 1800
_PLAYED_S = 3 * 3600
_CAMPAIGNS = {5: 9600, 10: 4800, 20: 2400, 50: 800}

Targets = Callable[[float], OrderUpTo]


# --- classical rules, exactly ---------------------------------------------------------------------


def quantile_table(world: MarkovWorld, eps: float, horizon_s: float) -> OrderUpTo:
    """The quantile rule as a table: as many calls in flight as keep P(A > I + R) <= eps.

    I idle agents, A ~ Bin(calls, p (1 - e^(-h / ring))), R ~ Bin(busy, 1 - e^(-h / handle)); at
    least as many calls as idle agents.
    """
    n, p, handle_s, ring_s, _ = world
    answer = p * -np.expm1(-horizon_s / ring_s)
    release = -np.expm1(-horizon_s / handle_s)
    targets = []
    for busy in range(n + 1):
        idle = n - busy
        freed = np.arange(busy + 1)
        law = stats.binom.pmf(freed, busy, release)
        calls = np.arange(idle + 1, round(3.0 * n / answer) + 40)
        over = law @ stats.binom.sf((idle + freed)[:, None], calls[None, :], answer)
        targets.append(idle + int(np.argmax(over > eps)))
    return OrderUpTo.fixed(targets)


def ratio_table(world: MarkovWorld, ratio: float) -> OrderUpTo:
    """A fixed ratio: calls in flight up to `ratio` x idle agents, rounded down."""
    return OrderUpTo.fixed([int(ratio * idle + 1e-9) for idle in range(world.n_agents, -1, -1)])


def level_table(world: MarkovWorld, level: float) -> OrderUpTo:
    """A dial level on all lines: calls in flight up to level x N - busy, rounded down."""
    n = world.n_agents
    return OrderUpTo.fixed([max(int(level * n + 1e-9) - busy, 0) for busy in range(n + 1)])


def at_cap(world: MarkovWorld, rule: Targets, low: float, high: float, cap: float) -> Figures:
    """Exact figures of a rule with one knob at a silent rate of `cap`.

    Two neighbouring tables on either side of the cap are found by bisection of the knob. Between
    them, where they differ, the second one is drawn with a probability that is bisected, too.
    """

    def played(table: OrderUpTo) -> Figures:
        return evaluate(table, *world)

    below, above = rule(low), rule(high)
    if played(below).silent_rate > cap or played(above).silent_rate <= cap:
        raise ConfigError(f"the knob's range {low} to {high} does not enclose cap = {cap}")
    while high - low > 1e-9 * high:
        middle = 0.5 * (low + high)
        table = rule(middle)
        if table in (below, above):
            low, high = (middle, high) if table == below else (low, middle)
        elif played(table).silent_rate > cap:
            high, above = middle, table
        else:
            low, below = middle, table
    shares = [0.0, 1.0]
    while shares[1] - shares[0] > 1e-12:
        share = 0.5 * sum(shares)
        figures = played(_mixed(below, above, share))
        shares[figures.silent_rate > cap] = share
    return played(_mixed(below, above, shares[0]))


def _mixed(one: OrderUpTo, two: OrderUpTo, share: float) -> OrderUpTo:
    """Table `two` with probability `share`, drawn anew at every decision."""
    rising = [a <= b for a, b in zip(one.low, two.low, strict=True)]
    return OrderUpTo(
        tuple(np.minimum(one.low, two.low).tolist()),
        tuple(np.maximum(one.low, two.low).tolist()),
        tuple(share if up else 1.0 - share for up in rising),
    )


def best_quantile(world: MarkovWorld, cap: float) -> tuple[Figures, float]:
    """The quantile rule at the cap with the best of :data:`HORIZONS_S`, and that horizon."""

    def played(horizon_s: float) -> Figures:
        return at_cap(world, lambda eps: quantile_table(world, eps, horizon_s), 1e-9, 0.9, cap)

    found = [(played(horizon_s), horizon_s) for horizon_s in HORIZONS_S]
    return max(found, key=lambda pair: pair[0].utilisation)


# --- the optimal policy in the simulator ----------------------------------------------------------


@dataclass(frozen=True)
class Played:
    """The optimal policy's averages over campaigns in the simulator.

    Attributes:
        exact: what the chain says of the same policy, with the preset's limit on dials.
        utilisation: mean and half-width of the 99 % interval.
        silent_rate: ratio of sums and half-width of the 99 % interval.
        n: campaigns.
    """

    exact: Figures
    utilisation: tuple[float, float]
    silent_rate: tuple[float, float]
    n: int

    @property
    def inside(self) -> bool:
        """Whether both exact values lie inside their intervals."""
        return (
            abs(self.utilisation[0] - self.exact.utilisation) <= self.utilisation[1]
            and abs(self.silent_rate[0] - self.exact.silent_rate) <= self.silent_rate[1]
        )


def play_optimum(
    preset: str, n_campaigns: int, *, played_s: int = _PLAYED_S, first_seed: int = SEED
) -> Played:
    """Play the optimum of a preset `markov-N`: each campaign half an hour of warm-up, then count.

    Args:
        preset: the scenario.
        n_campaigns: independent campaigns, at least 2; one seed each.
        played_s: seconds that are counted.
        first_seed: seed of the first campaign.
    """
    policy = OptimalMarkov.of(preset)
    world = World(n_campaigns, preset, observation="markov", action="dials")
    every = np.ones(n_campaigns, np.bool_)
    world.begin(every, range(first_seed, first_seed + n_campaigns))
    state: object | None = None
    start: dict[str, NDArray[np.float64]] = {}
    for second in range(_WARM_S + played_s):
        if second == _WARM_S:
            start = world.totals()
        actions, state = policy.act(world.observe(), state)
        world.step(actions, every)
    got = {name: value - start[name] for name, value in world.totals().items()}
    z = float(stats.norm.ppf(0.5 + 0.5 * CONFIDENCE))
    busy = got["talk_s"] / got["available_s"]
    rate = got["silent"].sum() / got["answered"].sum()
    rest = (got["silent"] - rate * got["answered"]) / got["answered"].mean()
    root = np.sqrt(n_campaigns)
    return Played(
        policy.figures(),
        (float(busy.mean()), float(z * busy.std(ddof=1) / root)),
        (float(rate), float(z * rest.std(ddof=1) / root)),
        n_campaigns,
    )


# --- the record -----------------------------------------------------------------------------------


def _exact(name: str, value: float, unit: str, note: str) -> dict[str, Any]:
    return figure(name, value, unit, value, value, 1, note)


def optimum_figures(agents: Sequence[int], caps: Sequence[float]) -> Iterator[dict[str, Any]]:
    """Exact optima, multipliers, the second method, progressive dialing."""
    for n in agents:
        label = f"markov-{n}"
        for optimum in frontier(n, *_STUDY, caps):
            yield from _of_optimum(label, optimum)
        begun = time.perf_counter()
        programme = solve(n, *_STUDY, 0.03)
        seconds = time.perf_counter() - begun
        iterated = solve(n, *_STUDY, 0.03, method="policy-iteration")
        yield _exact(
            f"{label}/linear programme minus policy iteration at 3 %",
            programme.objective - iterated.objective,
            "1",
            f"their own values; must be below 1e-6; the programme took {seconds:.1f} s",
        )
        bound = markov_bound(programme.world, 0.03)
        yield _exact(
            f"{label}/proven bound of the game at 3 %",
            bound,
            "1",
            f"above the exact optimum {programme.utilisation:.4f}, as it must be",
        )


def _of_optimum(label: str, optimum: Optimum) -> Iterator[dict[str, Any]]:
    percent = f"{100 * optimum.cap:g} %"
    if optimum.cap == 0.0:
        yield _exact(
            f"{label}/progressive", optimum.utilisation, "1", "the optimum without silent calls"
        )
        return
    yield figure(
        f"{label}/optimum at {percent}",
        optimum.utilisation,
        "1",
        optimum.utilisation,
        max(optimum.upper_bound, optimum.utilisation),
        1,
        "exact; hi is the proven bound of the dual",
    )
    yield _exact(
        f"{label}/multiplier at {percent}",
        optimum.multiplier_agent_s,
        "agent-seconds per silent call",
        "price of the cap",
    )


def rule_figures(agents: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The quantile rule as a share of the optimum at 3 %."""
    for n in agents:
        world = MarkovWorld(n, *_STUDY)
        best = solve(n, *_STUDY, 0.03, method="policy-iteration").utilisation
        figures, horizon_s = best_quantile(world, 0.03)
        yield _exact(
            f"markov-{n}/quantile rule as a share of the optimum at 3 %",
            figures.utilisation / best,
            "1",
            f"utilisation {figures.utilisation:.5f} of {best:.5f}, horizon {horizon_s:g} s; "
            f"must be at least 0.999",
        )


def played_figures(campaigns: dict[int, int], played_s: int) -> Iterator[dict[str, Any]]:
    """The optimal policy in the simulator against its exact figures."""
    first = SEED
    for n, count in campaigns.items():
        found = play_optimum(f"markov-{n}", count, played_s=played_s, first_seed=first)
        first += count
        for what, (value, half), exact in (
            ("utilisation", found.utilisation, found.exact.utilisation),
            ("silent rate", found.silent_rate, found.exact.silent_rate),
        ):
            verdict = "inside" if abs(value - exact) <= half else "outside"
            yield figure(
                f"markov-{n}/simulator, optimal policy: {what}",
                value,
                "1",
                value - half,
                value + half,
                count,
                f"99 % interval, half-width {100 * half:.3f} points; exact {exact:.5f}; {verdict}",
            )


def bound_figures(scenarios: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The blind floor and the proven upper bound at the cap."""
    for name in scenarios:
        floor = blind_floor(name)
        yield _exact(
            f"{name}/blind floor at {100 * floor.silent_rate:g} %",
            floor.utilisation,
            "1",
            "Poisson dialing that looks at nothing, M/M/n + D",
        )
        bound = utilisation_bound(name)
        yield figure(
            f"{name}/proven upper bound at {100 * bound.cap:g} %",
            bound.utilisation,
            "1",
            0.0,
            bound.utilisation,
            1,
            f"at least {bound.idle_s:.2f} idle s per conversation; windows of {bound.window_s:g} "
            f"s, multiplier {bound.prices.multiplier_agent_s:g} agent-s, inequality within "
            f"{bound.error_s:.1e} agent-s a window"
            if bound.utilisation < 1.0
            else "no certificate below 1 was found: no bound",
        )


def run_limits(
    *,
    output: Path | None = None,
    quick: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """`quietdial limits`: make the record of the limits, and save it if asked to.

    Args:
        output: JSON file to write, or None.
        quick: floors of up to 10 agents and short simulations: in seconds instead of minutes.
        report: called with every figure's name and value as it is found.

    Returns:
        The results as written to `output`.
    """
    if output is not None:
        writable_file(output)
    agents = (2, 5, 10) if quick else (2, 5, 10, 20, 50)
    campaigns = {5: 60, 10: 40} if quick else _CAMPAIGNS
    played_s = 1800 if quick else _PLAYED_S
    parts = (
        optimum_figures(agents, (0.0, 0.03) if quick else CAPS),
        rule_figures((5,) if quick else (5, 10, 20)),
        bound_figures(("study-stat-5",) if quick else BOUNDED),
        played_figures(campaigns, played_s),
    )
    rows: list[dict[str, Any]] = []
    for part in parts:
        for row in part:
            rows.append(row)
            report(f"{row['name']}: {row['value']:.6g}")
    last = SEED + sum(campaigns.values()) - 1
    written = result_file(NAME, COMMAND, f"simulations: campaign seeds {SEED} to {last}", rows)
    if output is not None:
        write_json_atomic(output, written)
    return written


# --- the page -------------------------------------------------------------------------------------


def markdown(written: dict[str, Any]) -> str:
    """The figures of a result file as the tables of docs/limits.md."""
    values = {row["name"]: row for row in written["figures"]}
    worlds = list(dict.fromkeys(name.partition("/")[0] for name in values))
    return "\n".join(
        [
            *_optimum_lines([world for world in worlds if world.startswith("markov-")], values),
            "",
            *_simulator_lines(values),
            "",
            *_bound_lines(values),
            "",
        ]
    )


def _cell(values: dict[str, dict[str, Any]], name: str, digits: int = 4) -> str:
    return f"{values[name]['value']:.{digits}f}" if name in values else ""


def _optimum_lines(worlds: Sequence[str], values: dict[str, dict[str, Any]]) -> list[str]:
    caps = [f"{100 * cap:g} %" for cap in CAPS if cap > 0.0]
    methods = "linear programme minus policy iteration at 3 %"
    quantile = "quantile rule as a share of the optimum at 3 %"
    lines = [
        "Exact optimum: utilisation at a cap (multiplier in agent-seconds per silent call); at 3 % "
        "the difference of the two methods and the quantile rule's share of the optimum.",
        "",
        f"| world | progressive | {' | '.join(caps)} | difference | quantile rule |",
        "|---|---|" + "---|" * (len(caps) + 2),
    ]
    for world in worlds:
        cells = [_cell(values, f"{world}/progressive")]
        for cap in caps:
            price = _cell(values, f"{world}/multiplier at {cap}", 0)
            cells.append(f"{_cell(values, f'{world}/optimum at {cap}')} ({price})")
        difference = values.get(f"{world}/{methods}", {"value": float("nan")})["value"]
        cells += [f"{difference:.0e}", _cell(values, f"{world}/{quantile}", 5)]
        lines.append(f"| {world} | " + " | ".join(cells) + " |")
    return lines


def _simulator_lines(values: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "The optimal policy at 3 % in the simulator, against its exact figures.",
        "",
        "| world | figure | simulator (99 % interval) | campaigns | exact |",
        "|---|---|---|---|---|",
    ]
    for name, row in values.items():
        world, _, what = name.partition("/simulator, optimal policy: ")
        if what:
            exact = row["note"].partition("exact ")[2].replace(";", ",")
            span = f"{row['value']:.5f} ({row['lo']:.5f} to {row['hi']:.5f})"
            lines.append(f"| {world} | {what} | {span} | {row['n']} | {exact} |")
    return lines


def _bound_lines(values: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "Floor and proven upper bound of the utilisation at 3 %.",
        "",
        "| world | blind floor | upper bound |",
        "|---|---|---|",
    ]
    for name, row in values.items():
        world, _, what = name.partition("/proven upper bound at ")
        if what:
            bound = f"{row['value']:.4f}" if row["value"] < 1.0 else "none found"
            lines.append(
                f"| {world} | {_cell(values, f'{world}/blind floor at {what}')} | {bound} |"
            )
        world, _, what = name.partition("/proven bound of the game at ")
        if what:
            optimum = _cell(values, f"{world}/optimum at {what}")
            lines.append(f"| {world} | | {row['value']:.4f} (exact optimum {optimum}) |")
    return lines


def refresh_page(results_file: Path, page: Path) -> None:
    """Put the tables of a result file between the marks of a page."""
    put_figures(page, markdown(json.loads(results_file.read_text(encoding="utf-8"))))
