"""The published example Blend of the library ContactCenters, played by the kernel.

The preset `contactcenters-blend` is that example: incoming calls and dials share agents, and a
dialer acts whenever a service ends. Every measure that was published over 1,000 days must agree
within three combined standard errors.

Source of specification and figures: examples Blend.java and Blend.res of ContactCenters (L'Ecuyer
and Buist, Universite de Montreal, licence Apache 2.0). What differs: here a dial takes 1 ms instead
of no time, and a caller who waits at the close (one in ten days) is neither served nor lost, while
the example serves on after the close.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from quietdial.agents.rules import Blend
from quietdial.envs.pacing.log import AGENT_STATE_CHANGE, QUEUED_UP
from quietdial.envs.pacing.params import SPARE_GROUP
from quietdial.envs.pacing.state import INBOUND_TALK, OFF, TALK
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.bench.results import figure
from quietdial.experiments.evaluate import make_world
from quietdial.experiments.proof.family import POWER
from quietdial.experiments.proof.parts import Figure, Report, failures

SCENARIO = "contactcenters-blend"
RATIO = 2.0
"""Dials for each idle agent of both directions."""

DAYS, SAMPLE_DAYS = 20_000, 2_000
LIMIT = 3.0
"""Combined standard errors within which every measure must lie."""

PUBLISHED_DAYS = 1000
FIRST_SEED = 1_000_000
_BATCH = 250
_INTERVAL_S = 300.0

FloatArray = NDArray[np.float64]
Days = dict[str, FloatArray]


class Measure(NamedTuple):
    """A published measure of one day.

    Attributes:
        name: of the figure.
        top: what is counted, a key of `Days`.
        bottom: what it is divided by, pooled over the days; "": a mean per day.
        factor: makes the published unit of it.
        unit: the published unit.
        mean: published.
        sd: published standard deviation of a day (of a ratio: by the delta method); the standard
            error of `mean` is this / sqrt(1000), its 95 % half-width 1.96 times that.
    """

    name: str
    top: str
    bottom: str
    factor: float
    unit: str
    mean: float
    sd: float

    @property
    def error(self) -> float:
        """Standard error of the published mean."""
        return self.sd / math.sqrt(PUBLISHED_DAYS)


MEASURES = (
    Measure("dialed", "dialed", "", 1, "calls/day", 1109.040, 258.167),
    Measure("inbound_arrived", "inbound_arrived", "", 1, "calls/day", 848.592, 156.201),
    Measure("outbound_reached", "answered", "", 1, "calls/day", 321.896, 74.396),
    Measure("all_arrived", "all_arrived", "", 1, "calls/day", 1170.488, 94.589),
    Measure("inbound_served", "inbound_served", "", 1, "calls/day", 843.477, 149.608),
    Measure("outbound_served", "connected", "", 1, "calls/day", 298.876, 68.318),
    Measure("all_served", "all_served", "", 1, "calls/day", 1142.353, 93.386),
    Measure("inbound_lost", "inbound_lost", "", 1, "calls/day", 5.115, 9.985),
    Measure("outbound_lost", "silent", "", 1, "calls/day", 23.020, 7.609),
    Measure("all_lost", "all_lost", "", 1, "calls/day", 28.135, 8.843),
    Measure("inbound_waited", "inbound_waited", "", 1, "calls/day", 70.241, 86.800),
    Measure("outbound_waited", "outbound_waited", "", 1, "calls/day", 27.445, 9.034),
    Measure("all_waited", "all_waited", "", 1, "calls/day", 97.686, 81.085),
    Measure("inbound_not_in_time", "not_in_time", "", 1, "calls/day", 39.427, 63.682),
    Measure("service_level", "inbound_in_time", "inbound_arrived", 100, "%", 95.354, 6.894),
    Measure("occupancy/inbound", "busy_inbound", "there_inbound", 100, "%", 81.596, 7.447),
    Measure("occupancy/blend", "busy_blend", "there_blend", 100, "%", 55.665, 6.900),
    Measure("occupancy/all", "busy_all", "there_all", 100, "%", 70.514, 6.818),
    Measure("queue/inbound", "inbound_wait_s", "", 1 / 21_600, "callers", 0.115, 0.234),
    Measure("queue/outbound", "waiting_s", "", 1 / 21_600, "callees", 5.8e-3, 1.9e-3),
    Measure("wait/inbound", "inbound_wait_s", "inbound_arrived", 1 / 60, "min", 0.049, 0.094),
    Measure("wait/outbound", "waiting_s", "answered", 1 / 60, "min", 6.5e-3, 1.2e-3),
)


class Comparison(NamedTuple):
    """A measure as it was found, beside the published one."""

    measure: Measure
    found: float
    error: float
    n_days: int

    @property
    def both_errors(self) -> float:
        """Standard error of the difference; that of two roundings of the published mean included.

        Means are printed to three decimals, or to two significant digits below .01.
        """
        step = 1e-4 if self.measure.mean < 0.01 else 1e-3
        rounding = step / math.sqrt(12)
        return math.sqrt(self.measure.error**2 + self.error**2 + rounding**2)

    @property
    def z(self) -> float:
        """Difference in combined standard errors."""
        return (self.found - self.measure.mean) / self.both_errors

    @property
    def smallest_bias(self) -> float:
        """Relative bias that is found with probability `POWER`."""
        reach = LIMIT + float(special.ndtri(POWER))
        return reach * self.both_errors / self.measure.mean

    def line(self) -> str:
        """The comparison in words."""
        m = self.measure
        half = 1.96
        return (
            f"{m.name}: {self.found:.5g} +- {half * self.error:.2g} against {m.mean:.5g} +- "
            f"{half * m.error:.2g} {m.unit}, z = {self.z:+.2f}"
        )


def run(scale: float, report: Report) -> list[Figure]:
    """Play the example and hold every published measure against it.

    Args:
        scale: share of 20,000 days; 2,000 at least.
        report: progress callback.

    Returns:
        Every measure, how many are off by more than three combined standard errors, and the
        smallest bias that would have been found.
    """
    n = max(SAMPLE_DAYS, round(DAYS * scale))
    rows = compare(play(n, report=report))
    off = [row.line() for row in rows if abs(row.z) > LIMIT]
    chance = 2.0 * float(special.ndtr(-LIMIT))
    figures = [
        failures(
            "blend/off",
            off,
            len(rows),
            f"published measures more than {LIMIT:g} combined standard errors off; false-alarm "
            f"rate at most {len(rows) * chance:.1%} (Bonferroni: {len(rows)} z-tests, each of "
            f"{chance:.2%}); most of the error is that of the published 1,000 days, the same in "
            "every run",
        )
    ]
    for row in rows:
        half = 1.96 * row.error
        note = f"{row.line()}; smallest bias {row.smallest_bias:.1%}"
        name, unit = f"blend/{row.measure.name}", row.measure.unit
        figures.append(figure(name, row.found, unit, row.found - half, row.found + half, n, note))
    biases = [row.smallest_bias for row in rows]
    figures.append(
        figure(
            "blend/smallest_bias",
            float(np.median(biases)),
            "1",
            min(biases),
            max(biases),
            len(rows),
            f"relative bias found with probability {POWER}: median, least and greatest measure",
        )
    )
    return figures


def scenario(interval_s: float = _INTERVAL_S) -> Scenario:
    """The example with another decision interval: the dialer acts when services end, not then."""
    preset = load_scenario(SCENARIO)
    episode = preset.episode.model_copy(update={"decision_interval_s": interval_s})
    return preset.model_copy(update={"episode": episode})


def play(
    n_days: int,
    *,
    first_seed: int = FIRST_SEED,
    world: Scenario | None = None,
    report: Report | None = None,
) -> Days:
    """Play days of the example.

    Args:
        n_days: number of days, one seed each.
        first_seed: seed of the first.
        world: a changed example; None: as it is.
        report: progress callback.

    Returns:
        The totals that `MEASURES` names, by day, (n_days,) each.
    """
    world = world or scenario()
    parts: list[Days] = []
    for begin in range(0, n_days, _BATCH):
        size = min(_BATCH, n_days - begin)
        parts.append(_play_batch(world, range(first_seed + begin, first_seed + begin + size)))
        if report is not None:
            report(f"{begin + size:,} days", (begin + size) / n_days)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def compare(days: Days) -> list[Comparison]:
    """Every published measure against the same one of `days`; standard errors by day."""
    found = []
    for measure in MEASURES:
        top = measure.factor * days[measure.top]
        n = len(top)
        if measure.bottom:
            bottom = days[measure.bottom]
            value = float(top.sum() / bottom.sum())
            residual = (top - value * bottom) / bottom.mean()
        else:
            value = float(top.mean())
            residual = top - value
        error = math.sqrt(float(residual @ residual) / (n - 1) / n)
        found.append(Comparison(measure, value, error, n))
    return found


def _play_batch(world: Scenario, seeds: Sequence[int]) -> Days:
    n, policy = len(seeds), Blend(RATIO)
    floor = make_world(policy, world, n, records=True)
    floor.begin(np.ones(n, np.bool_), seeds)
    rows: list[list[NDArray[np.int64]]] = [[] for _ in seeds]
    active = np.ones(n, np.bool_)
    while active.any():
        actions, _ = policy.act(floor.observe())
        active &= floor.step(actions, active)[:, 4] == 0
        for mine, new in zip(rows, floor.drain_log(), strict=True):
            mine.append(new)
    days = floor.totals()
    end_ms = round(1000 * float(floor.clock_s()[0]))
    inbound_only = floor.params.shifts[:, SPARE_GROUP] == 1
    logs = [np.concatenate(mine) for mine in rows]
    days["outbound_waited"] = np.array([float((log[:, 1] == QUEUED_UP).sum()) for log in logs])
    times = np.array([_agent_times(log, inbound_only, end_ms) for log in logs]).T
    names = ("busy_inbound", "there_inbound", "busy_blend", "there_blend")
    days.update(zip(names, times, strict=True))
    for what in ("busy", "there"):
        days[f"{what}_all"] = days[f"{what}_inbound"] + days[f"{what}_blend"]
    days["not_in_time"] = days["inbound_served"] + days["inbound_lost"] - days["inbound_in_time"]
    for what, other in (
        ("arrived", "answered"),
        ("served", "connected"),
        ("lost", "silent"),
        ("waited", "outbound_waited"),
    ):
        days[f"all_{what}"] = days[f"inbound_{what}"] + days[other]
    return days


def _agent_times(
    log: NDArray[np.int64], inbound_only: NDArray[np.bool_], end_ms: int
) -> tuple[float, float, float, float]:
    """Agent time [ms] of one day: busy and there, of inbound agents, then of those of both kinds.

    Time in a set of states is the sum over changes into it less out of it of what is left of the
    day. Who is past log-out but still in a call is there.
    """
    moves = log[log[:, 1] == AGENT_STATE_CHANGE]
    left = end_ms - moves[:, 0]
    inbound = inbound_only[moves[:, 2]]
    old, new = moves[:, 3], moves[:, 4]
    calls = (TALK, INBOUND_TALK)
    busy = left * (np.isin(new, calls).astype(np.int64) - np.isin(old, calls))
    there = left * ((new != OFF).astype(np.int64) - (old != OFF))
    return (
        float(busy[inbound].sum()),
        float(there[inbound].sum()),
        float(busy[~inbound].sum()),
        float(there[~inbound].sum()),
    )
