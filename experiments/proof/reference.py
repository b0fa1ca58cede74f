"""Part `reference` of the proof: the kernel against the SimPy model, total by total.

Both models play the same number of independent campaigns of each world in `reference_worlds`, and
Welch's test compares the mean of every running total at the end. All tests of the part together
raise a false alarm with probability `FAMILY_ALPHA` at most (Bonferroni). With equally many
campaigns of both models the difference of the two means is symmetric if they agree, so that the
test also holds for totals that are rarely other than 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.world import World
from quietdial.envs.regulation.calendar import sessions_of
from quietdial.envs.scenario import Scenario
from quietdial.experiments.bench.results import figure
from quietdial.experiments.bench.simpy_twin import (
    Rule,
    SimpyFloor,
    blend,
    fixed_ratio,
    progressive,
)
from quietdial.experiments.proof.family import FAMILY_ALPHA, POWER
from quietdial.experiments.proof.parts import Figure, Report, failures
from quietdial.experiments.proof.reference_worlds import SCENARIOS

__all__ = [
    "Compared",
    "compare",
    "compared",
    "kernel_days",
    "rule_of",
    "run",
    "simpy_days",
    "timed",
]

Totals = Mapping[str, NDArray[np.float64]]

DAYS = 400
"""Campaigns of each world and model in the whole proof."""
FEWEST_DAYS = 24
_NEED_RATIO = ("blend", "dials_or_cancel")
FIRST_SEED = 7_000_000
CANCEL_EVERY, N_CANCELLED = 20, 2
"""Where calls may be cancelled: so many at one decision in so many."""


class Compared(NamedTuple):
    """One total in both models.

    Attributes:
        kernel: mean over the kernel's campaigns.
        simpy: mean over those of the SimPy model.
        error: standard error of the difference.
        freedom: degrees of freedom of Welch's test.
    """

    kernel: float
    simpy: float
    error: float
    freedom: float

    @property
    def z(self) -> float:
        """Welch's statistic; infinite if two constants differ."""
        gap = self.kernel - self.simpy
        if self.error > 0.0:
            return gap / self.error
        # Sums of floats: constants count as equal up to their rounding.
        same = math.isclose(self.kernel, self.simpy, rel_tol=1e-9, abs_tol=1e-6)
        return 0.0 if same else math.copysign(math.inf, gap)

    def limit(self, alpha: float) -> float:
        """|z| above which the two-sided test of level `alpha` rejects."""
        return float(-special.stdtrit(self.freedom, alpha / 2))

    def smallest_bias(self, alpha: float) -> float:
        """Difference that is found with probability `POWER`, relative to the SimPy mean."""
        found = (self.limit(alpha) + float(special.ndtri(POWER))) * self.error
        return found / abs(self.simpy) if self.simpy else math.inf


def compare(
    scenario: Scenario, rule: float | None, days: int, seeds: int = 0
) -> dict[str, Compared]:
    """Play both models and compare every total that both have.

    Args:
        scenario: the world; with action `blend` the event-triggered dialer plays, with
            `dials_or_cancel` the rule of time `timed`.
        rule: the fixed ratio; None: progressive.
        days: campaigns of each model, at least 2.
        seeds: seed of the first campaign; the others count up from it.

    Returns:
        One comparison for each total, by name.

    Raises:
        ConfigError: fewer than two campaigns, or no ratio for an action that needs one.
    """
    if days < 2:
        raise ConfigError(f"days = {days} must be at least 2 for a comparison")
    numbers = range(seeds, seeds + days)
    return compared(kernel_days(scenario, rule, numbers), simpy_days(scenario, rule, numbers))


def compared(kernel: Totals, simpy: Totals) -> dict[str, Compared]:
    """Welch's comparison of each total that is in both, from one value per campaign, (n,) each."""
    found = {}
    for name in simpy:
        if name not in kernel:
            continue
        a, b = kernel[name], simpy[name]
        var_a, var_b = (float(x.var(ddof=1)) / len(x) for x in (a, b))
        total = var_a + var_b
        freedom = math.inf
        if total > 0.0:
            freedom = total**2 / (var_a**2 / (len(a) - 1) + var_b**2 / (len(b) - 1))
        found[name] = Compared(float(a.mean()), float(b.mean()), math.sqrt(total), freedom)
    return found


def simpy_days(
    scenario: Scenario, ratio: float | None, seeds: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    """Final totals of campaigns of the SimPy model by name, each (len(seeds),)."""
    days = [SimpyFloor(scenario, rule_of(scenario, ratio), seed).run() for seed in seeds]
    return {name: np.array([day[name] for day in days]) for name in days[0]}


def kernel_days(
    scenario: Scenario, ratio: float | None, seeds: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    """Final totals of campaigns of the kernel by name, each (len(seeds),)."""
    action = "progressive" if ratio is None else "ratio"
    if scenario.action in _NEED_RATIO:
        action = scenario.action
    n = len(seeds)
    world = World(n, scenario, observation="none", action=action)
    world.begin(np.ones(n, np.bool_), seeds)
    actions = np.full((n, 1), ratio or 0.0, np.float32)
    end_s = sessions_of(scenario)[-1].close_ms / 1000.0
    clock_s = world.clock_s()
    while (active := clock_s < end_s).any():
        if action == "dials_or_cancel":
            amounts = [timed(ratio or 0.0, round(at_s)) for at_s in clock_s]
            world.step(np.array(amounts, np.int64) + scenario.max_dials, active)
        else:
            world.step(actions, active)
        clock_s = world.clock_s()
    return world.totals()


def rule_of(scenario: Scenario, ratio: float | None) -> Rule:
    """The SimPy model's rule for the kernel's action of that name.

    Raises:
        ConfigError: no ratio for action `blend` or `dials_or_cancel`.
    """
    if scenario.action in _NEED_RATIO:
        if ratio is None:
            raise ConfigError(f"action {scenario.action!r} needs a ratio; give a number, not None")
        if scenario.action == "blend":
            return blend(ratio)
        return lambda floor: timed(ratio, round(floor.env.now))
    return progressive if ratio is None else fixed_ratio(ratio)


def timed(per_s: float, at_s: int) -> int:
    """Calls to place, or if negative to cancel, at the decision `at_s` seconds after the opening.

    A rule of time alone, so that both models ask for exactly the same: `per_s` dials a second in
    the mean, and in every `CANCEL_EVERY`-th second `N_CANCELLED` calls are cancelled instead.
    """
    if at_s % CANCEL_EVERY == CANCEL_EVERY - 1:
        return -N_CANCELLED
    return math.floor((at_s + 1) * per_s) - math.floor(at_s * per_s)


def run(scale: float, report: Report) -> list[Figure]:
    """The part of the proof: all worlds; a smaller `scale` plays fewer campaigns of each.

    Args:
        scale: share of `DAYS`.
        report: told what is done.

    Returns:
        For every world: tests, largest |z|, smallest bias of the answered calls and of the silent
        calls that would be found; and the number of rejected tests, which must be 0.
    """
    days = max(FEWEST_DAYS, round(DAYS * scale))
    found: dict[str, dict[str, Compared]] = {}
    for number, (name, world) in enumerate(SCENARIOS.items()):
        report(f"reference: {name}", number / len(SCENARIOS))
        seed = FIRST_SEED + number * 100_000
        found[name] = compare(world.scenario, world.ratio, days, seed)
    n_tests = sum(len(rows) for rows in found.values())
    alpha = FAMILY_ALPHA / n_tests
    rejected, figures = [], []
    for name, rows in found.items():
        rejected += [
            f"{name} {total}: kernel {row.kernel:.6g}, SimPy {row.simpy:.6g}, z = {row.z:.2f}"
            for total, row in rows.items()
            if abs(row.z) > row.limit(alpha)
        ]
        figures += _figures(name, rows, alpha, days)
    what = (
        f"totals of {len(found)} worlds, {days} campaigns of each model, two-sided Welch tests of "
        f"level {alpha:.2g} each, {FAMILY_ALPHA:g} together"
    )
    return [*figures, failures("reference/rejected", rejected, n_tests, what)]


def _figures(name: str, rows: Mapping[str, Compared], alpha: float, days: int) -> list[Figure]:
    place = f"reference/{name}"
    worst = max(rows, key=lambda total: abs(rows[total].z))
    z = rows[worst].z
    found = [figure(f"{place}/largest_z", z, "1", z, z, len(rows), f"of {len(rows)}: {worst}")]
    for total in ("answered", "silent"):
        bias = rows[total].smallest_bias(alpha)
        if math.isfinite(bias):
            note = f"relative bias of {total} calls that is found with probability {POWER:g}"
            found.append(
                figure(f"{place}/smallest_bias/{total}", bias, "1", bias, bias, days, note)
            )
    return found
