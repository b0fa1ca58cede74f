"""What keeps the cap on every day, and what it costs: the result `compliance`.

Days of 8 hours in the study's world, at least 1,000 for every setting: rules without a shield, with
the borrowing and with the deterministic one, policies that dial everything or at random behind the
deterministic one, and worlds in which a condition of its theorem fails, the excess told by cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from quietdial.agents.policy import Policy
from quietdial.agents.rules import FixedRatio, Marginal
from quietdial.agents.rules.feedback import MarginalBudget
from quietdial.agents.rules.unicom import Predict1
from quietdial.agents.shields import Shielded
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.pacing.shield import Shield
from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.bench.results import figure, put_figures, result_file
from quietdial.experiments.evaluate import play_days, test_seeds, tune, tune_seeds
from quietdial.experiments.stats import (
    PolicyDays,
    clopper_pearson,
    mean_interval,
    paired_difference,
    ratio_interval,
)

NAME: Final = "compliance"
PAGE: Final = Path("docs/compliance.md")
"""Page whose table is made from the result, if it is there."""
N_DAYS: Final = 1000
N_TUNE_DAYS: Final = 96
TARGET: Final = 0.03
FLOORS: Final = ("study-real-10", "study-real-25")

DETERMINISTIC: Final = Shield("deterministic")
BORROWING: Final = Shield("borrowing")
RESERVING: Final = Shield("deterministic", reserves=True)


@dataclass(frozen=True)
class AlwaysDials:
    """Dials as many calls as it may at every decision, or a random number: to test shields with.

    Attributes:
        most: calls of a decision.
        random: whether to draw the number from 0 to `most`, by a hash of decision and row.
    """

    most: int
    random: bool = False

    observation: str = field(default="none", init=False, repr=False)
    action: str = field(default="dials", init=False, repr=False)
    base_theta: float = field(default=0.02, init=False, repr=False)
    knob_name: str | None = field(default=None, init=False, repr=False)
    knob: float | None = field(default=None, init=False, repr=False)
    knob_range: tuple[float, float] | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "random-dials" if self.random else "dial-everything"

    @property
    def constant(self) -> bool:
        """Whether the action never changes."""
        return not self.random

    def act(
        self, obs: NDArray[Any], state: object | None = None
    ) -> tuple[NDArray[np.int64], object | None]:
        """Calls to place in every campaign, int64 (B,)."""
        if not self.random:
            return np.full(len(obs), self.most), state
        rng = state if isinstance(state, np.random.Generator) else np.random.default_rng(len(obs))
        return rng.integers(0, self.most + 1, len(obs)), rng

    def with_knob(self, value: float) -> AlwaysDials:
        """It has no knob; the value is not used."""
        del value
        return self


class Setting(NamedTuple):
    """A policy in a world, as the table shows it."""

    world: str
    label: str
    policy: Policy
    scenario: Scenario
    bare: str | None  # label without a shield, to measure its cost against


def broken_worlds() -> dict[str, Scenario]:
    """Worlds of 10 agents in which a condition of the theorem fails."""
    base = load_scenario("study-real-10")
    amd = {
        "kind": "amd",
        "decision": {"kind": "uniform", "low_s": 1.0, "high_s": 2.0},
        "p_false_machine": 0.02,
        "p_false_person": 0.05,
        "machine_handling": {"kind": "exponential", "mean_s": 8.0},
    }
    shifts = [
        {"n_agents": 4},
        *({"n_agents": 1, "logout": f"{hour}:30"} for hour in (11, 12, 13, 14, 15, 16)),
    ]
    masses = [{"n_agents": 4}, {"n_agents": 6, "logout": "14:00"}]
    return {
        "late-feed": changed(base, "late-feed", belief={"feed_delay_s": 3.0}),
        "amd": changed(base, "amd", calls={"detection": amd}),
        "log-offs": changed(base, "log-offs", floor={"shifts": shifts}),
        "mass-log-off": changed(base, "mass-log-off", floor={"shifts": masses}),
    }


def settings(n_tune_days: int) -> list[Setting]:
    """All settings, tuned rules included."""
    found: list[Setting] = []

    def add(scenario: Scenario, label: str, policy: Policy, *shields: Shield) -> None:
        found.append(Setting(scenario.name, label, policy, scenario, None))
        for shield in shields:
            behind = Shielded(policy, shield)
            found.append(
                Setting(scenario.name, f"{label} + {shield.kind}", behind, scenario, label)
            )

    def add_behind(world: str, scenario: Scenario, policy: Policy, shield: Shield) -> None:
        behind = Shielded(policy, shield)
        found.append(Setting(world, behind.name, behind, scenario, None))

    for name in FLOORS:
        scenario = load_scenario(name)
        seeds = tune_seeds(n_tune_days)
        add(scenario, "marginal .02", Marginal(0.02), BORROWING, DETERMINISTIC)
        add(scenario, "marginal .012", Marginal(0.012))
        for target in (0.027, 0.024):
            fed = MarginalBudget(kappa=10.0, target=target)
            add(scenario, f"budget {100 * target:g} %", fed, BORROWING, DETERMINISTIC)
        ruled = (
            ("fixed ratio", FixedRatio(3.0)),
            ("predict1", Predict1(50.0, max_silent_pct=100.0)),
        )
        for label, rule in ruled:
            best = tune(rule, scenario, TARGET, seeds).policy
            add(scenario, f"{label} at 3 %", best, BORROWING, DETERMINISTIC)
        for reckless in (False, True):
            dialer = AlwaysDials(scenario.max_dials, random=reckless)
            add_behind(name, scenario, dialer, DETERMINISTIC)
    for name, scenario in broken_worlds().items():
        add(scenario, "marginal .02", Marginal(0.02), DETERMINISTIC)
        if "log-off" in name:
            add_behind(name, scenario, Marginal(0.02), RESERVING)
            add_behind(name, scenario, AlwaysDials(scenario.max_dials), DETERMINISTIC)
            add_behind(name, scenario, AlwaysDials(scenario.max_dials), RESERVING)
    stale = load_scenario("study-real-10")
    for period_s in (2.5, 15.0):
        shield = Shield(period_s=period_s)
        for policy in (Marginal(0.02), AlwaysDials(stale.max_dials)):
            add_behind(f"placer {period_s:g} s", stale, policy, shield)
    return found


def breaches(days: PolicyDays, cap: float, *, seen: bool = False) -> int:
    """Days whose silent calls are above the cap; `seen`: without those of answering machines."""
    silent, answered = days.days["silent"], days.days["answered"]
    if seen:
        silent = silent - days.days["silent_amd"]
        answered = answered - days.days["silent_amd"]
    return int(np.count_nonzero(silent > cap * answered + 1e-9))


def figures_of(setting: Setting, days: PolicyDays, bare: PolicyDays | None) -> list[dict[str, Any]]:
    """The published numbers of one setting."""
    what, n = f"{setting.world}, {setting.label}", len(days.seeds)
    busy = mean_interval(days.utilisation)
    rate = ratio_interval(days.days["silent"], days.days["answered"], upper_bound=1.0)
    above = breaches(days, setting.scenario.rule.cap)
    share = clopper_pearson(above, n)
    worst = float(days.silent_rate.max())
    rows = [
        figure(f"{what}: utilisation", busy.value, "1", busy.lo, busy.hi, n, "mean of days"),
        figure(f"{what}: silent rate", rate.value, "1", rate.lo, rate.hi, n, "pooled"),
        figure(
            f"{what}: days above the cap",
            above / n,
            "1",
            share.lo if above else 0.0,
            share.hi if above else 3.0 / n,
            n,
            f"{above} days; Clopper-Pearson" if above else "none; 3 / n as upper limit",
        ),
        figure(f"{what}: worst day", worst, "1", worst, worst, n, "highest silent rate of a day"),
    ]
    if days.days["silent_amd"].any():
        seen = breaches(days, setting.scenario.rule.cap, seen=True)
        share = clopper_pearson(seen, n)
        rows.append(
            figure(
                f"{what}: days above the cap, detection's own left out",
                seen / n,
                "1",
                share.lo,
                share.hi if seen else 3.0 / n,
                n,
                f"{seen} days without the people taken for machines",
            )
        )
    if "shield_calls" in days.days:
        refused = days.days["shield_acts"] / setting.scenario.episode.duration_s
        acts = mean_interval(refused)
        rows.append(
            figure(f"{what}: refusals", acts.value, "1/s", acts.lo, acts.hi, n, "per second of day")
        )
    if bare is not None:
        cost = paired_difference(days.utilisation, bare.utilisation)
        note = f"against {setting.bare!r} without a shield, paired by day"
        rows.append(figure(f"{what}: cost", cost.value, "1", cost.lo, cost.hi, n, note))
    return rows


_COLUMNS: Final = ("utilisation", "silent rate", "days above the cap", "worst day", "cost")


def page_table(figures: Sequence[Mapping[str, Any]]) -> str:
    """The figures as a Markdown table, one row for each setting; intervals of 95 %, in percent."""
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for one in figures:
        setting, what = one["name"].rsplit(": ", 1)
        rows.setdefault(setting, {})[what] = one
    lines = [
        "| World | Policy | Utilisation % | Silent % | Days above the cap % | Worst day % | "
        "Cost of the shield, points |",
        "|---|---|---|---|---|---|---|",
    ]
    for setting, cells in rows.items():
        shown = [_cell(cells.get(column), column) for column in _COLUMNS]
        other = [it for what, it in cells.items() if what.startswith("days above the cap, ")]
        if other:
            shown[2] += f"; without those of detection {_cell(other[0], 'days above the cap')}"
        lines.append("| " + " | ".join([*setting.split(", ", 1), *shown]) + " |")
    return "\n".join(lines) + "\n"


def _cell(one: Mapping[str, Any] | None, column: str) -> str:
    if one is None:
        return ""
    value, lo, hi = (100.0 * float(one[key]) for key in ("value", "lo", "hi"))
    if column == "worst day":
        return f"{value:.2f}"
    if column == "days above the cap" and value == 0.0:
        return f"0 (below {hi:.1f})"
    digits = 1 if column == "days above the cap" else 2
    return f"{value:.{digits}f} ({lo:.{digits}f} to {hi:.{digits}f})"


def run(
    *,
    work: Path,
    processes: int,
    output: Path | None,
    console: Console,
    n_days: int = N_DAYS,
    n_tune_days: int = N_TUNE_DAYS,
) -> None:
    """Play every setting, show the table and write the figures; nothing is trained here."""
    del work, processes
    seeds = test_seeds(n_days)
    table = Table("world", "policy", "utilisation", "silent", "days above", "worst day", "cost")
    figures: list[dict[str, Any]] = []
    bare: dict[tuple[str, str], PolicyDays] = {}
    for setting in settings(n_tune_days):
        days = play_days(setting.policy, setting.scenario, seeds, batch=250)
        without = None if setting.bare is None else bare[setting.world, setting.bare]
        if setting.bare is None:
            bare[setting.world, setting.label] = days
        rows = figures_of(setting, days, without)
        figures += rows
        by_end = {row["name"].rsplit(": ", 1)[1]: row["value"] for row in rows}
        table.add_row(
            setting.world,
            setting.label,
            f"{by_end['utilisation']:.4f}",
            f"{100 * by_end['silent rate']:.2f} %",
            f"{100 * by_end['days above the cap']:.1f} %",
            f"{100 * by_end['worst day']:.2f} %",
            f"{100 * by_end['cost']:.2f}" if "cost" in by_end else "",
        )
        console.print(f"{setting.world}: {setting.label}", highlight=False)
    console.print(table)
    if output is not None:
        command = f"quietdial study {NAME} --output {output}"
        said = f"test days 0 to {n_days - 1}, rules tuned on tuning days 0 to {n_tune_days - 1}"
        write_json_atomic(output, result_file(NAME, command, said, figures))
        if PAGE.is_file():
            put_figures(PAGE, page_table(figures))
