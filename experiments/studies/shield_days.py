"""A thousand adversarial days behind each shield, and days that break a condition: `shield`.

Every day is a window of 8 hours of ten agents. The fast compiled shield plays them; the runtime's
shield is the same to the bit, which 20 further days show in which the pacer itself decides, from
the dialer's events, for a policy that lies about its numbers. What each shield costs is measured on
usual days.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from quietdial.agents.runtime.decision import PacerSettings
from quietdial.agents.runtime.evaluator import Answer, Kind
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.agents.runtime.pacer import Pacer
from quietdial.agents.runtime.shield import ShieldSettings
from quietdial.agents.runtime_feed import LogFeed
from quietdial.agents.runtime_tables import pacing_tables
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.pacing.shield import Shield
from quietdial.envs.pacing.state import SHIELD_ROOM
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario
from quietdial.experiments.bench.results import by_subject, figure, put_figures, result_file
from quietdial.experiments.evaluate import test_seeds
from quietdial.experiments.stats import clopper_pearson, mean_interval
from quietdial.experiments.studies.adversary import (
    LOW,
    Adversary,
    Fate,
    floor,
    play,
    set_rates,
)
from quietdial.experiments.studies.shield_cost import (
    USUAL_PACE,
    days_hit,
    exported_borrowing,
    usual_figures,
)

NAME: Final = "shield"
PAGE: Final = Path("docs/pacer.md")
N_DAYS: Final = 1000
N_BROKEN: Final = 300
N_BARE: Final = 90
N_RUNTIME: Final = 20
RUNTIME_DAY_S: Final = 7200.0
FIRST_SEED: Final = 7_500_000

DETERMINISTIC, BORROWING = Shield("deterministic"), Shield("borrowing")
RESERVING: Final = Shield("deterministic", reserves=True)
_AMD: Final = {
    "kind": "amd",
    "decision": {"kind": "uniform", "low_s": 1.0, "high_s": 2.0},
    "p_false_machine": 0.02,
    "p_false_person": 0.05,
    "machine_handling": {"kind": "exponential", "mean_s": 8.0},
}
_LEAVING: Final = [
    {"n_agents": 5, "lunch": {"at": "10:20", "duration": 1200}, "logout": "11:20"},
    {"n_agents": 5, "lunch": {"at": "10:50", "duration": 1200}},
]
"""Five agents go to lunch at once, twice, and five home at once, early in a window of 2 hours."""


class Setting(NamedTuple):
    """Adversarial days of one kind.

    Attributes:
        name: for tables.
        scenario: the world.
        shield: what stands behind the policy.
        days: how many.
        attribution: what was found when the broken condition is restored or its cause left out;
            empty: no condition is broken.
    """

    name: str
    scenario: Scenario
    shield: Shield | None
    days: int
    attribution: str = ""


def settings(n_days: int, n_broken: int, n_bare: int) -> list[Setting]:
    """All kinds of days."""
    plain = floor("adversarial")
    exported = exported_borrowing(plain)
    short = floor("adversarial-2h", duration_s=RUNTIME_DAY_S)
    leaving = floor("leaving-at-once", floor={"shifts": _LEAVING}, duration_s=RUNTIME_DAY_S)
    late = floor("late-feed", belief={"feed_delay_s": 3.0})
    amd = floor("amd", calls={"detection": _AMD})
    same = "the same days otherwise: 'deterministic'"
    return [
        Setting("no shield", plain, None, n_bare),
        Setting("deterministic", plain, DETERMINISTIC, n_days),
        Setting("borrowing, as exported", plain, exported, n_days),
        Setting(
            f"borrowing, {USUAL_PACE}",
            plain,
            BORROWING,
            n_days,
            "its traffic assumption, 0.0023 answers per agent-second, does not hold at 0.1",
        ),
        Setting("deterministic, windows of 2 h", short, DETERMINISTIC, n_broken),
        Setting(
            "agents leave at once, windows of 2 h",
            leaving,
            DETERMINISTIC,
            n_broken,
            "condition 2; the same days with the reserving shield: next row",
        ),
        Setting("the same, reserving", leaving, RESERVING, n_broken),
        Setting("agents seen 3 s late", late, DETERMINISTIC, n_broken, f"condition 3; {same}"),
        Setting(
            "answering-machine detection",
            amd,
            DETERMINISTIC,
            n_broken,
            "condition 1: people taken for machines, whom no dialer counts",
        ),
    ]


def figures_of(setting: Setting, fate: Fate) -> list[dict[str, Any]]:
    """The published numbers of one kind of days."""
    cap, n, name = setting.scenario.rule.cap, len(fate.silent), setting.name
    rows = [
        days_hit(f"{name}: windows over the cap", fate.over(cap), setting.attribution),
        days_hit(
            f"{name}: days over the cap at some decision",
            fate.ever_over(),
            "waiting callees counted as silent",
        ),
    ]
    if fate.amd.any():
        note = "without the people taken for machines"
        rows.append(days_hit(f"{name}: windows over, as seen", fate.over_as_seen(cap), note))
    answered = np.maximum(fate.answered, 1.0)
    worst = float((fate.silent / answered).max())
    busy = mean_interval(fate.utilisation)
    refused = mean_interval(fate.refused)
    return [
        *rows,
        figure(f"{name}: worst window", worst, "1", worst, worst, n, "highest silent rate"),
        figure(f"{name}: utilisation", busy.value, "1", busy.lo, busy.hi, n, "mean of days"),
        figure(
            f"{name}: calls refused", refused.value, "calls", refused.lo, refused.hi, n, "a day"
        ),
    ]


# --- through the runtime itself -------------------------------------------------------------------


class Liar:
    """A policy whose numbers cannot be believed: it says that they are valid all the same."""

    name = "liar"
    observation = "full"
    answers: Kind = "dials"
    base_theta: float | None = None

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.bad = 0

    def reset(self) -> None:
        """It remembers nothing."""

    def answer(self, obs: NDArray[np.float32], base: int) -> Answer:
        """Huge, infinite, negative or no numbers at all; sometimes honest."""
        lies = (1e12, 1e300, math.inf, -math.inf, math.nan, -7.0, 3.999, 2.0**63, 6.0)
        value = lies[int(self._rng.integers(len(lies)))]
        self.bad += not math.isfinite(value)
        return Answer(value, valid=True)


class RuntimeDays(NamedTuple):
    """Days that the pacer itself decided.

    Attributes:
        decisions: how many.
        differences: decisions at which its shield was not the compiled one.
        fate: silent, answered and largest excess of each day, (D, 3).
        refused: numbers that the pacer would not take.
    """

    decisions: int
    differences: int
    fate: NDArray[np.float64]
    refused: int


def play_runtime(
    scenario: Scenario, shield: Shield, seeds: Sequence[int], steps: int | None = None
) -> RuntimeDays:
    """Play days decision by decision through the pacer, with the compiled shield beside it."""
    tables = pacing_tables(scenario)
    own = ShieldSettings(shield.kind, reserves=shield.reserves)
    cap, on = scenario.rule.cap, np.ones(1, np.bool_)
    decisions = differences = refused = 0
    fates = []
    for seed in seeds:
        world = World(1, scenario, action="dials", observation="none", records=True, shield=shield)
        liar = Liar(seed)
        settings_ = PacerSettings(
            shield=own, cold_start_answered=0, unix_clock=False, at_cap="policy"
        )
        pacer = Pacer(tables, liar, MemoryLedger(), settings_)
        feed = LogFeed(world, pacer)
        world.begin(on, [seed])
        feed.after_step()
        adversary = Adversary(np.array([seed]), scenario.episode.duration_s)
        highest, over, step = -math.inf, False, 0
        while not over and step != steps:
            set_rates(world, adversary.rates(world))
            decision = pacer.decide(round(1000 * world.clock_s()[0]))
            over = bool(world.step(np.array([decision.dials]), on)[0, 4])
            if decision.mode != "stop":
                differences += pacer.last_room != int(world.state.head[0, SHIELD_ROOM])
                decisions += 1
            feed.after_step()
            silent, answered = pacer.windows.counts(0)
            waiting = pacer.calls.waiting
            highest = max(highest, silent + waiting - cap * (answered + waiting))
            step += 1
        totals = world.totals()
        fates.append((totals["silent"][0], totals["answered"][0], highest))
        refused += liar.bad
    return RuntimeDays(decisions, differences, np.array(fates), refused)


def runtime_figures(days: RuntimeDays, cap: float) -> list[dict[str, Any]]:
    """The published numbers of the pacer's own days."""
    silent, answered, highest = days.fate.T
    same = clopper_pearson(days.differences, days.decisions)
    return [
        days_hit(
            "through the pacer, windows of 2 h: windows over the cap",
            silent > cap * answered + 1e-9,
            "a policy that lies",
        ),
        days_hit(
            "through the pacer, windows of 2 h: days over the cap at some decision",
            highest > 1e-9,
            "waiting callees counted as silent",
        ),
        figure(
            "through the pacer: decisions whose shield is not the compiled one",
            same.value,
            "1",
            same.lo,
            same.hi,
            days.decisions,
            f"{days.differences} of {days.decisions}; {days.refused} numbers of the policy refused",
        ),
    ]


# --- the command ----------------------------------------------------------------------------------


_COLUMNS: Final = (
    "windows over the cap",
    "days over the cap at some decision",
    "worst window",
    "utilisation",
)


def page_table(figures: Sequence[dict[str, Any]]) -> str:
    """The figures as a Markdown table, one row for each kind of days; intervals of 95 %."""
    rows = by_subject(figures)
    lines = [
        "| Days | n | Windows over the cap % | Over it at some decision % | Worst window % | "
        "Utilisation % | Cause |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [_cell(row.get(what)) for what in _COLUMNS]
        seen = row.get("windows over, as seen")
        if seen is not None:
            cells[0] += f"; as the dialer sees them {_cell(seen)}"
        first = next(iter(row.values()))
        cause = first["note"].partition("; ")[2].partition("; ")[2]
        if _COLUMNS[0] not in row:  # the one figure of the pacer's own decisions
            name, cause = f"{name}: {next(iter(row))}", first["note"]
            cells[0] = _cell(first)
        elif first["value"] == 0:  # "0 of n; Clopper-Pearson, one-sided; cause"
            cause = first["note"].partition("one-sided")[2].lstrip("; ")
        lines.append("| " + " | ".join([name, str(first["n"]), *cells, cause]) + " |")
    return "\n".join(lines) + "\n"


def _cell(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return ""
    value, lo, hi = (100.0 * float(one[key]) for key in ("value", "lo", "hi"))
    if value == 0.0:
        return f"0 (below {hi:.2g})"
    return f"{value:.2f}" if lo == hi else f"{value:.1f} ({lo:.1f} to {hi:.1f})"


def run(
    *,
    work: Path,
    processes: int,
    output: Path | None,
    console: Console,
    n_days: int = N_DAYS,
    n_broken: int = N_BROKEN,
    n_bare: int = N_BARE,
    n_runtime: int = N_RUNTIME,
    n_usual: int = N_DAYS,
) -> None:
    """Play all days, show the figures and write them; nothing is trained here."""
    del work, processes
    figures: list[dict[str, Any]] = []
    for setting in settings(n_days, n_broken, n_bare):
        seeds = FIRST_SEED + np.arange(setting.days)
        figures += figures_of(setting, play(setting.scenario, setting.shield, seeds))
        console.print(f"{setting.name}: {setting.days} days", highlight=False)
    figures += usual_figures(n_usual)
    console.print(f"usual days: {n_usual}", highlight=False)
    short = floor("adversarial-2h", duration_s=RUNTIME_DAY_S)
    seeds = FIRST_SEED + np.arange(n_runtime)
    days = play_runtime(short, DETERMINISTIC, seeds.tolist())
    figures += runtime_figures(days, short.rule.cap)
    table = Table("figure", "value", "95 %", "note")
    for one in figures:
        table.add_row(
            one["name"], f"{one['value']:.4g}", f"{one['lo']:.4g} to {one['hi']:.4g}", one["note"]
        )
    console.print(table)
    if output is not None:
        command = f"quietdial study {NAME} --output {output}"
        said = (
            f"{FIRST_SEED} and the following, one a day; answer rates {LOW} and 0.6; the usual "
            f"days: {test_seeds(n_usual)[0]} and the following"
        )
        result = result_file(NAME, command, said, figures)
        write_json_atomic(output, result)
        if PAGE.is_file():
            put_figures(PAGE, page_table(figures), NAME)
