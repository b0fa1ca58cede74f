"""`quietdial bench study`: do the rules reproduce the figures of the feasibility study?

The study's days are not ours, so every figure is compared with the uncertainty of both:
z = (ours - theirs) / sqrt(se_ours^2 + se_theirs^2), and a figure counts as reproduced (inside) if
|z| <= 1.96. Where the study gives no standard error, our day-to-day standard deviation over its
number of days stands in for it, but never less than the least that it names (.0005).

"At 3 % silent" means exactly that: a knob is tuned on tuning days, and what the test days show is
moved along the measured slope of utilisation to a silent rate of 3 %.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from quietdial.agents.policy import Policy
from quietdial.agents.rules import FixedRatio, Marginal, Progressive
from quietdial.envs.errors import ConfigError
from quietdial.envs.laws import LognormalLaw, UniformLaw
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.bench.results import figure, put_figures, result_file
from quietdial.experiments.evaluate import Report, play_days, test_seeds, tune, tune_seeds
from quietdial.experiments.stats import (
    Interval,
    PolicyDays,
    clopper_pearson,
    mean_interval,
    ratio_interval,
)

NAME = "study-figures"
COMMAND = "quietdial bench study --output experiments/results/study-figures.json"
TARGET_RATE = 0.03
THETA = 0.02
"""Threshold of the `marginal` rule that the study calls untuned."""
LOW_THETA = 0.012
"""A second threshold of the study; between both the elasticity of the silent rate is measured."""
LONGER_WRAP_S = 1.0
"""By how much the wrap-up is believed to be longer in the variant of the `marginal` rule."""
LEAST_SE = 0.0005
"""Least standard error of a level that the study names; its figures are rounded to that too."""
FAR_ENOUGH = 0.002
"""Two silent rates this far apart give a slope of utilisation."""
VARIANT = f"marginal, wrap-up believed {LONGER_WRAP_S:g} s longer"
Z_LIMIT = 1.96

RING_OUT = UniformLaw(low_s=27.5, high_s=28.5)
"""Dials that ring out, off the beat of the decisions; in the presets they end after 28.000 s."""
LOOSE = "no answer after 27.5 to 28.5 s"

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Theirs:
    """A figure of the study and its standard error; None where the study gives none."""

    value: float
    se: float | None = None


@dataclass(frozen=True)
class StudyWorld:
    """What the study found in one of its worlds.

    Attributes:
        scenario: preset with this world.
        n_days: days behind its table of rules at 3 % silent (B1 and B2).
        progressive: utilisation.
        ratio: utilisation of the fixed ratio at 3 % silent.
        marginal: utilisation of `marginal` at 3 % silent.
        lead: `marginal` minus fixed ratio, paired by day.
        theta: threshold of `marginal` at 3 % silent.
        silent: silent rate of `marginal` at a threshold of .02.
        day_sd: day-to-day standard deviation of the silent rate of `marginal` at 3 %.
        n_window_days: days behind its table of thresholds without shield (D1).
        windows: threshold to (utilisation, silent rate, share of days above 3 %) there.
    """

    scenario: str
    n_days: int
    progressive: Theirs
    ratio: Theirs
    marginal: Theirs
    lead: Theirs | None = None
    theta: float | None = None
    silent: float | None = None
    day_sd: float | None = None
    n_window_days: int = 0
    windows: tuple[tuple[float, tuple[float, float, float]], ...] = ()


STUDY = (
    StudyWorld("study-stat-10", 48, Theirs(0.688), Theirs(0.828), Theirs(0.852)),
    StudyWorld("study-stat-25", 32, Theirs(0.688), Theirs(0.894), Theirs(0.908)),
    StudyWorld(
        "study-real-10",
        48,
        Theirs(0.651, 0.016),
        Theirs(0.754, 0.013),
        Theirs(0.8441, 0.002),
        lead=Theirs(0.089, 0.022 / Z_LIMIT),
        theta=0.0198,
        silent=0.0296,
        day_sd=0.0093,
        n_window_days=64,
        windows=((0.012, (0.834, 0.0189, 0.09)), (0.02, (0.848, 0.0283, 0.41))),
    ),
    StudyWorld(
        "study-real-25",
        32,
        Theirs(0.646, 0.019),
        Theirs(0.826, 0.013),
        Theirs(0.9011, 0.001),
        lead=Theirs(0.075, 0.024 / Z_LIMIT),
        theta=0.0199,
        silent=0.0307,
        day_sd=0.0050,
        n_window_days=40,
        windows=((0.012, (0.892, 0.0189, 0.0)), (0.02, (0.903, 0.0294, 0.55))),
    ),
)


@dataclass(frozen=True)
class _AtTarget:
    """A policy's test days, and its daily utilisation moved to exactly 3 % silent."""

    days: PolicyDays
    slope: float = 0.0  # utilisation per silent rate

    @property
    def utilisation(self) -> FloatArray:
        """Float64 (D,); the mean of the days is the estimate at 3 % silent."""
        silent, answered = self.days.days["silent"], self.days.days["answered"]
        excess = (silent - TARGET_RATE * answered) / answered.mean()
        moved: FloatArray = self.days.utilisation - self.slope * excess
        return moved


@dataclass(frozen=True)
class Comparison:
    """One of our figures, and the study's where it has one.

    Attributes:
        world: name of the scenario.
        name: what the figure is.
        ours: our estimate with its 95 % interval.
        se: standard error of our estimate.
        theirs: the study's figure, with a standard error.
        remark: what else to know.
    """

    world: str
    name: str
    ours: Interval
    se: float
    theirs: Theirs | None = None
    remark: str = ""

    @property
    def z(self) -> float | None:
        """Difference in combined standard errors; None without a figure of the study."""
        if self.theirs is None or self.theirs.se is None:
            return None
        return (self.ours.value - self.theirs.value) / math.hypot(self.se, self.theirs.se)

    @property
    def inside(self) -> bool | None:
        """True if the difference is within 1.96 combined standard errors."""
        return None if self.z is None else abs(self.z) <= Z_LIMIT

    @property
    def note(self) -> str:
        """Comparison and remark as one line of a result file."""
        parts = [self.remark] if self.remark else []
        if self.theirs is not None and self.theirs.se is not None and self.z is not None:
            verdict = "inside" if self.inside else "outside"
            parts = [
                f"study {self.theirs.value:.4g} (se {self.theirs.se:.2g})",
                f"z {self.z:+.1f}",
                verdict,
                *parts,
            ]
        return "; ".join(parts)

    def figure(self) -> dict[str, Any]:
        """The row of a result file."""
        name = f"{self.world}/{self.name}"
        return figure(
            name, self.ours.value, "1", self.ours.lo, self.ours.hi, self.ours.n, self.note
        )


# ------------------------------------------------------------------------------------- measuring


def compare_study(
    worlds: Sequence[StudyWorld] = STUDY,
    *,
    n_tune_days: int = 96,
    n_test_days: int = 128,
    tolerance: float = 2e-4,
    report: Report | None = None,
) -> list[Comparison]:
    """Play the three rules in the study's worlds and compare every figure.

    Args:
        worlds: what the study found, world by world.
        n_tune_days: days on which knobs are tuned to 3 % silent.
        n_test_days: other days, on which the figures are taken.
        tolerance: of the silent rate on the tuning days.
        report: called with what is being played and the share that is done.
    """
    found: list[Comparison] = []
    for at, world in enumerate(worlds):

        def told(what: str, done: float, at: int = at, world: StudyWorld = world) -> None:
            if report is not None:
                report(f"{world.scenario}, {what}", (at + done) / len(worlds))

        runner = _Runner(world, n_tune_days, n_test_days, tolerance, told)
        found += runner.common()
        found += runner.drifting() if world.windows else runner.loosened()
    return found


class _Runner:
    """Plays one world; remembers what `drifting` needs of `common`."""

    def __init__(
        self, world: StudyWorld, n_tune: int, n_test: int, tolerance: float, report: Report
    ) -> None:
        self.world = world
        self.scenario = load_scenario(world.scenario)
        self.tune_days, self.test_days = tune_seeds(n_tune), test_seeds(n_test)
        self.tolerance, self.report = tolerance, report

    def _play(self, policy: Policy, scenario: Scenario | None = None) -> PolicyDays:
        world = self.scenario if scenario is None else scenario
        return play_days(policy, world, self.test_days, report=self.report)

    def _tuned(self, policy: Policy, scenario: Scenario | None = None) -> _AtTarget:
        world = self.scenario if scenario is None else scenario
        tuned = tune(
            policy,
            world,
            TARGET_RATE,
            self.tune_days,
            tolerance=self.tolerance,
            report=self.report,
        )
        if not tuned.reached or tuned.policy.knob is None:
            raise ConfigError(
                f"{policy.name} reaches a silent rate of {tuned.tuning_rate:.4f} on the tuning "
                f"days of {world.name}, not {TARGET_RATE}; use more days"
            )
        sweep = {knob: (rate, level) for knob, rate, level in tuned.sweep}
        rate, level = sweep[tuned.policy.knob]
        far = [point for point in sweep.values() if abs(point[0] - rate) >= FAR_ENOUGH]
        if not far:
            lower = tuned.policy.with_knob(0.8 * tuned.policy.knob)
            days = play_days(lower, world, self.tune_days, report=self.report)
            far = [(_rate(days)[0].value, float(days.utilisation.mean()))]
        other_rate, other_level = min(far, key=lambda point: abs(point[0] - rate))
        slope = (other_level - level) / (other_rate - rate)
        return _AtTarget(self._play(tuned.policy, scenario), slope)

    def _row(
        self,
        name: str,
        ours: tuple[Interval, float],
        theirs: Theirs | None = None,
        remark: str = "",
    ) -> Comparison:
        return Comparison(self.world.scenario, name, *ours, theirs, remark)

    def _level(self, name: str, daily: FloatArray, theirs: Theirs, n_theirs: int) -> Comparison:
        return self._row(name, _mean(daily), _with_se(theirs, daily, n_theirs))

    def _reached(self, name: str, days: PolicyDays) -> Comparison:
        ours = _rate(days)
        remark = f"{days.knob_name} {days.knob:.4g}, tuned to {TARGET_RATE:.0%} on other days"
        return self._row(f"{name}/silent rate after tuning", ours, None, remark)

    def common(self) -> Iterator[Comparison]:
        """Levels at 3 % silent and paired differences."""
        world = self.world
        progressive = _AtTarget(self._play(Progressive()))
        ratio = self._tuned(FixedRatio(2.0))
        self.marginal = self._tuned(Marginal(THETA))
        yield self._level(
            "progressive/utilisation", progressive.utilisation, world.progressive, world.n_days
        )
        for tuned, theirs in ((ratio, world.ratio), (self.marginal, world.marginal)):
            name = tuned.days.name
            daily = tuned.utilisation
            yield self._level(f"{name}/utilisation at 3 %", daily, theirs, world.n_days)
            yield self._reached(name, tuned.days)
        for other, theirs, known in (
            (ratio, world.ratio, world.lead),
            (progressive, world.progressive, None),
        ):
            daily = self.marginal.utilisation - other.utilisation
            gap, remark = known, ""
            if gap is None:
                gap = Theirs(world.marginal.value - theirs.value)
                remark = "the study's value is the difference of its two levels"
            name = f"marginal minus {other.days.name}/utilisation at 3 %"
            yield self._row(name, _mean(daily), _with_se(gap, daily, world.n_days), remark)

    def loosened(self) -> Iterator[Comparison]:
        """The simple rules when dials that ring out do not end on the second of a decision."""
        unanswered = tuple(
            part.model_copy(update={"time": RING_OUT}) if part.outcome == "no_answer" else part
            for part in self.scenario.calls.unanswered
        )
        calls = self.scenario.calls.model_copy(update={"unanswered": unanswered})
        scenario = self.scenario.model_copy(update={"calls": calls})
        n, world = self.world.n_days, self.world
        daily = self._play(Progressive(), scenario).utilisation
        yield self._level(f"{LOOSE}/progressive/utilisation", daily, world.progressive, n)
        daily = self._tuned(FixedRatio(2.0), scenario).utilisation
        yield self._level(f"{LOOSE}/fixed-ratio/utilisation at 3 %", daily, world.ratio, n)

    def drifting(self) -> Iterator[Comparison]:
        """What the study tells of `marginal` in its world `real` only."""
        world = self.world
        if world.theta is None or world.silent is None or world.day_sd is None:
            raise ConfigError(f"the study's figures for {world.scenario} are not complete")
        low, high = self._play(Marginal(LOW_THETA)), self._play(Marginal(THETA))
        elasticity = _elasticity(low, high)
        rate_se = world.day_sd / math.sqrt(world.n_days)
        theta_se = world.theta * rate_se / (TARGET_RATE * elasticity)
        theta = Theirs(world.theta, theta_se)
        yield self._row(
            "marginal/theta at 3 %",
            _theta(self.marginal.days, elasticity),
            theta,
            f"elasticity of the silent rate {elasticity:.2f}",
        )
        yield self._row(
            "marginal/day-to-day sd of the silent rate",
            *_day_sd(self.marginal.days, world.day_sd, world.n_days),
        )
        silent = Theirs(world.silent, rate_se)
        yield self._row(f"marginal at theta {THETA:g}/silent rate", _rate(high), silent, "B1")
        for value, (utilisation, rate, above) in world.windows:
            days = high if value == THETA else low
            name, n = f"marginal at theta {value:g}", world.n_window_days
            yield self._level(f"{name}/utilisation, D1", days.utilisation, Theirs(utilisation), n)
            spread = world.day_sd / math.sqrt(n)
            yield self._row(f"{name}/silent rate, D1", _rate(days), Theirs(rate, spread))
            yield self._row(f"{name}/days above the cap, D1", *_above(days, above, n))
        yield from self._variant(theta, elasticity)

    def _variant(self, theta: Theirs, elasticity: float) -> Iterator[Comparison]:
        """The rule with slightly pessimistic tables: theta moves, utilisation does not."""
        wrap = self.scenario.floor.wrap
        if not isinstance(wrap, LognormalLaw):
            raise ConfigError(f"{self.scenario.name}: the wrap-up must be a lognormal law")
        longer = wrap.model_copy(update={"mean_s": wrap.mean_s + LONGER_WRAP_S})
        belief = self.scenario.belief.model_copy(update={"wrap": longer})
        scenario = self.scenario.model_copy(update={"belief": belief})
        tuned = self._tuned(Marginal(THETA), scenario)
        yield self._row(f"{VARIANT}/theta at 3 %", _theta(tuned.days, elasticity), theta)
        yield self._reached(VARIANT, tuned.days)
        daily = tuned.utilisation - self.marginal.utilisation
        yield self._row(f"{VARIANT}, minus marginal/utilisation at 3 %", _mean(daily))


def _mean(values: FloatArray) -> tuple[Interval, float]:
    return mean_interval(values), float(values.std(ddof=1)) / math.sqrt(len(values))


def _with_se(theirs: Theirs, daily: FloatArray, n_theirs: int) -> Theirs:
    """The study's figure with the standard error that our days imply, where it gives none."""
    if theirs.se is not None:
        return theirs
    spread = float(daily.std(ddof=1)) / math.sqrt(n_theirs)
    return Theirs(theirs.value, max(spread, LEAST_SE))


def _rate(days: PolicyDays) -> tuple[Interval, float]:
    """Pooled silent rate with interval and standard error (delta method)."""
    silent, answered = days.days["silent"], days.days["answered"]
    rate = ratio_interval(silent, answered, upper_bound=1.0)
    residuals = (silent - rate.value * answered) / answered.mean()
    return rate, float(residuals.std(ddof=1)) / math.sqrt(len(residuals))


def _elasticity(low: PolicyDays, high: PolicyDays) -> float:
    """Relative change of the silent rate for a relative change of theta."""
    if low.knob is None or high.knob is None:
        raise ConfigError("the elasticity needs two thresholds")
    rates = [_rate(days)[0].value for days in (low, high)]
    return math.log(rates[1] / rates[0]) / math.log(high.knob / low.knob)


def _theta(days: PolicyDays, elasticity: float) -> tuple[Interval, float]:
    """Threshold at 3 % silent on the test days: the tuned one, moved along the elasticity."""
    rate, rate_se = _rate(days)
    if days.knob is None:
        raise ConfigError(f"{days.name} has no threshold")
    theta = days.knob * (TARGET_RATE / rate.value) ** (1.0 / elasticity)
    se = theta * rate_se / (rate.value * elasticity)
    half = Z_LIMIT * se
    return Interval(theta, theta - half, theta + half, rate.n), se


def _day_sd(
    days: PolicyDays, theirs: float, n_theirs: int
) -> tuple[tuple[Interval, float], Theirs]:
    """Day-to-day standard deviation; its standard error from the fourth moment of our days."""
    rates = days.silent_rate
    n = len(rates)
    sd = float(rates.std(ddof=1))
    se = float(((rates - rates.mean()) ** 2).std(ddof=1)) / math.sqrt(n) / (2.0 * sd)
    interval = Interval(sd, max(sd - Z_LIMIT * se, 0.0), sd + Z_LIMIT * se, n)
    return (interval, se), Theirs(theirs, theirs * se / sd * math.sqrt(n / n_theirs))


def _above(days: PolicyDays, theirs: float, n_theirs: int) -> tuple[tuple[Interval, float], Theirs]:
    """Share of days above the cap; both standard errors from the pooled share."""
    n, k = len(days.seeds), int(np.count_nonzero(days.silent_rate > TARGET_RATE))
    pooled = (k + theirs * n_theirs) / (n + n_theirs)
    spread = math.sqrt(max(pooled * (1.0 - pooled), 0.25 / (n + n_theirs)))
    ours = clopper_pearson(k, n)
    return (ours, spread / math.sqrt(n)), Theirs(theirs, spread / math.sqrt(n_theirs))


# ------------------------------------------------------------------------------------- reporting


def render(found: Sequence[Comparison]) -> Table:
    """The comparison as a table for the terminal."""
    table = Table(
        title="The feasibility study's figures, played again (inside: |z| <= 1.96)",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("world")
    table.add_column("figure")
    for name in ("quietdial (95 %)", "study (se)", "z", "inside"):
        table.add_column(name, justify="right")
    shown = ""
    for at, row in enumerate(found):
        digits = 4 if abs(row.ours.value) < 0.1 else 3
        ours = row.ours.text(scale=1.0, digits=digits, unit="")
        study, z, inside = "", "", ""
        if row.theirs is not None and row.theirs.se is not None and row.z is not None:
            study = f"{row.theirs.value:.4g} ({row.theirs.se:.2g})"
            z = f"{row.z:+.1f}"
            inside = "yes" if row.inside else "[bold]no[/]"
        last = at + 1 == len(found) or found[at + 1].world != row.world
        world = "" if row.world == shown else row.world
        table.add_row(world, row.name, ours, study, z, inside, end_section=last)
        shown = row.world
    return table


def results(found: Sequence[Comparison]) -> dict[str, Any]:
    """The comparison in the schema of result files."""
    days = sorted({row.ours.n for row in found})
    seeds = (
        f"test seeds of the judge, the first {' or '.join(map(str, days))}; knobs were tuned on "
        "tuning seeds"
    )
    return result_file(NAME, COMMAND, seeds, [row.figure() for row in found])


def run(*, output: Path | None, console: Console, quick: bool = False) -> dict[str, Any]:
    """`quietdial bench study`: play, print the table, and save the figures if asked to.

    Args:
        output: JSON file to write, or None.
        console: where the table and the progress go.
        quick: a few days of the two worlds with 10 agents, in seconds instead of minutes.

    Returns:
        The results as written to `output`.
    """
    with console.status("compiling") as status:

        def report(what: str, done: float) -> None:
            status.update(f"{what} ({100 * done:.0f} % done)")

        if quick:
            worlds = [world for world in STUDY if world.scenario.endswith("-10")]
            found = compare_study(
                worlds, n_tune_days=8, n_test_days=8, tolerance=1.5e-3, report=report
            )
        else:
            found = compare_study(report=report)
    console.print(render(found))
    compared = [row for row in found if row.inside is not None]
    outside = [row for row in compared if not row.inside]
    console.print(f"{len(compared) - len(outside)} of {len(compared)} figures inside")
    written = results(found)
    if output is not None:
        write_json_atomic(output, written)
        console.print(f"saved to {output}")
    return written


def markdown(written: dict[str, Any]) -> str:
    """The figures of a result file as a Markdown table."""
    lines = [
        "| world | figure | quietdial (95 %) | days | study | z | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in written["figures"]:
        world, _, name = row["name"].partition("/")
        digits = 4 if abs(row["value"]) < 0.1 else 3
        value, lo, hi = (f"{row[key]:.{digits}f}" for key in ("value", "lo", "hi"))
        parts = row["note"].split("; ")
        study, z, verdict = "", "", row["note"]
        if parts[0].startswith("study "):
            study, z = parts[0].removeprefix("study "), parts[1].removeprefix("z ")
            verdict = "; ".join(parts[2:])
        lines.append(
            f"| {world} | {name.replace('/', ': ')} | {value} ({lo} to {hi}) | {row['n']} "
            f"| {study} | {z} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


def refresh_page(results_file: Path, page: Path) -> None:
    """Put the table of a result file between the marks of a page."""
    put_figures(page, markdown(json.loads(results_file.read_text(encoding="utf-8"))))
