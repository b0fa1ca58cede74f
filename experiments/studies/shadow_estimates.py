"""Do the intervals of `quietdial shadow` hold the truth on simulated floors: `shadow-estimates`.

The incumbent is the rule `marginal` that explores with known probabilities; judged is the same rule
without exploration, in charge of the first K decisions of each block of two minutes. The truth is
simulated: at the same moments of other days the world is copied, and the rule takes over.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from quietdial.agents.exploring import Exploring, chances_of_dials
from quietdial.agents.rules.marginal import Marginal
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.pacing.control import RESIDUAL_LOW
from quietdial.envs.pacing.world import World
from quietdial.experiments.bench.results import figure, put_figures, result_file
from quietdial.experiments.evaluate import make_world
from quietdial.experiments.shadow.estimates import Blocks, Estimate, estimate
from quietdial.experiments.stats import clopper_pearson, ratio_interval

NAME: Final = "shadow-estimates"
PAGE: Final = Path("docs/shadow.md")
FIRST_SEED: Final = 7_900_000
WORLDS: Final = ("study-stat-10", "study-real-10")
HORIZON: Final = 120
DECISIONS: Final = (1, 15, 30)
SETS, DAYS = 40, 8
"""Estimates that are made, and days that each has; a day is a cluster, as in the verb."""
TRUTH_DAYS: Final = 120
SHARE: Final = 0.05
HOURS: Final = 4.0
_TRUTH_EVERY: Final = 6
"""The truth is asked at every sixth block."""

Floats = NDArray[np.float64]
_NAMES: Final = ("silent", "answered", "busy_s", "available_s")


class Played(NamedTuple):
    """What came out: per decision (T, B), and of the truth (K, blocks x days, 4)."""

    ratio: Floats
    outcomes: dict[str, Floats]
    truth: dict[int, Floats]


def _totals(world: World) -> Floats:
    """(4, B): silent, answered, busy and available time so far."""
    t = world.totals()
    return np.array([t["silent"], t["answered"], t["talk_s"] + t["wrap_s"], t["available_s"]])


def _step(world: World, policy: Exploring, state: object, follow: bool) -> tuple[object, Floats]:
    """One decision; returns the state and the ratio of probabilities of what was placed."""
    on = np.ones(world.n_campaigns, np.bool_)
    obs = world.observe()
    actions, after = policy.act(obs, state)
    if follow:
        actions = np.full(len(obs), -RESIDUAL_LOW, np.int64)
    dials = world.dials_by_action()
    rows = np.arange(len(obs))
    agrees = dials[rows, actions] == dials[:, -RESIDUAL_LOW]
    chance = chances_of_dials(policy, world, obs, state, actions)
    world.step(actions, on)
    return after, agrees / chance


def play(scenario: str, n_days: int, n_truth: int, hours: float, seed: int) -> Played:
    """Play the incumbent's days, and at times of the last `n_truth` ones what the rule would do."""
    policy = Exploring(Marginal(0.02), SHARE, seed=seed)
    n = n_days + n_truth
    world = make_world(policy, _scenario(scenario), n)
    branch = make_world(policy, _scenario(scenario), n)
    world.begin(np.ones(n, np.bool_), [seed + i for i in range(n)])
    branch.begin(np.ones(n, np.bool_), [seed + i for i in range(n)])
    n_blocks = int(3600 * hours) // HORIZON
    state: object = None
    before = _totals(world)
    ratios, outcomes = [], []
    truth: dict[int, list[Floats]] = {k: [] for k in DECISIONS}
    for block in range(n_blocks):
        if block % _TRUTH_EVERY == _TRUTH_EVERY - 1 and n_truth:
            for k in DECISIONS:
                branch.set_state(world.get_state())
                then, start = state, _totals(branch)
                for step in range(HORIZON):
                    then, _ = _step(branch, policy, then, step < k)
                truth[k].append((_totals(branch) - start)[:, n_days:].T)
        for _ in range(HORIZON):
            state, ratio = _step(world, policy, state, False)
            now = _totals(world)
            ratios.append(ratio[:n_days])
            outcomes.append((now - before)[:, :n_days])
            before = now
    by_name = np.array(outcomes)
    return Played(
        np.array(ratios),
        {name: by_name[:, i] for i, name in enumerate(_NAMES)},
        {k: np.concatenate(parts) for k, parts in truth.items() if parts},
    )


def _scenario(name: str) -> Any:
    from quietdial.envs.scenario import load_scenario

    return load_scenario(name)


def estimates_of(played: Played, n_sets: int, days: int, decisions: int) -> list[Estimate]:
    """An estimate of each set of days."""
    found = []
    for number in range(n_sets):
        mine = slice(number * days, (number + 1) * days)

        def cut(x: Floats, mine: slice = mine) -> Floats:
            return np.ascontiguousarray(x[:, mine].T).reshape(-1, HORIZON)

        n = len(cut(played.ratio))
        per_day = n // days
        cluster = np.repeat(np.arange(days), per_day)
        blocks = Blocks(
            cut(played.ratio),
            cut(played.outcomes["answered"]),
            cut(played.outcomes["silent"]),
            cut(played.outcomes["busy_s"]),
            cut(played.outcomes["available_s"]),
            cluster,
            1.0,
        )
        found.append(estimate(blocks, decisions, least_ess=0.0))
    return found


def figures_of(
    scenario: str, found: list[Estimate], truth: Floats, decisions: int
) -> list[dict[str, Any]]:
    """The published numbers of a world and K."""
    where = f"{scenario}, {decisions} of {HORIZON}"
    n_all = len(found)
    found = [one for one in found if not one.refused]
    ess = float(np.mean([one.ess for one in found]))
    rows = [
        figure(f"{where}: effective blocks", ess, "blocks", ess, ess, n_all, "mean of estimates")
    ]
    for name, part, whole in (("silent_rate", 0, 1), ("utilisation", 2, 3)):
        real = ratio_interval(truth[:, part], truth[:, whole])
        ends = [getattr(one, name) for one in found]
        hits = sum(one.lo <= real.value <= one.hi for one in ends)
        share = clopper_pearson(hits, len(ends))
        mean = float(np.mean([one.value for one in ends]))
        half = float(np.mean([one.hi - one.lo for one in ends])) / 2
        note = f"{hits} of {len(ends)} intervals of 95 % hold it; mean half-width {half:.4f}"
        rows += [
            figure(f"{where}: {name}, truth", real.value, "1", real.lo, real.hi, real.n, ""),
            figure(f"{where}: {name}, mean estimate", mean, "1", mean, mean, len(ends), ""),
            figure(f"{where}: {name}, coverage", share.value, "1", share.lo, share.hi, n_all, note),
        ]
    return rows


def page_table(figures: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| World, decisions | Effective blocks | Silent %: truth | Mean estimate | Intervals that "
        "hold it % | Utilisation %: truth | Mean estimate | Intervals that hold it % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    by_where: dict[str, dict[str, dict[str, Any]]] = {}
    for one in figures:
        where, what = one["name"].split(": ")
        by_where.setdefault(where, {})[what] = one
    for where, all_of in by_where.items():
        cells = [f"{all_of['effective blocks']['value']:.0f}"]
        for name in ("silent_rate", "utilisation"):
            real, mean = all_of[f"{name}, truth"], all_of[f"{name}, mean estimate"]
            share = all_of[f"{name}, coverage"]
            cells += [
                f"{100 * real['value']:.2f} ({100 * real['lo']:.2f} to {100 * real['hi']:.2f})",
                f"{100 * mean['value']:.2f}",
                f"{100 * share['value']:.0f} ({100 * share['lo']:.0f} to {100 * share['hi']:.0f})",
            ]
        lines.append(f"| {where} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Play, estimate, compare with the truth and write the figures; nothing is trained."""
    del work, processes
    figures: list[dict[str, Any]] = []
    for number, scenario in enumerate(WORLDS):
        played = play(scenario, SETS * DAYS, TRUTH_DAYS, HOURS, FIRST_SEED + 10_000 * number)
        for k in DECISIONS:
            found = estimates_of(played, SETS, DAYS, k)
            figures += figures_of(scenario, found, played.truth[k], k)
        console.print(f"{scenario}: done", highlight=False)
    console.print(page_table(figures), highlight=False)
    if output is not None:
        command = f"quietdial study {NAME} --output {output}"
        said = f"{FIRST_SEED} and {FIRST_SEED + 10_000} and the following, one a day"
        write_json_atomic(output, result_file(NAME, command, said, figures))
        if PAGE.is_file():
            put_figures(PAGE, page_table(figures), NAME)
