"""The result `realistic-3pct`: learners in worlds `study-real-10|25` at exactly 3 % silent.

`ppo-lagrangian` on the residual action, trained with several seeds, against the rules that floors
run today and against the best hand-built ones. What is asked of it (science study, part G) stands
in :data:`ASKED`; the result says for each whether it was met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.policy import Policy
from quietdial.agents.rules.catalogue import Listed, catalogue
from quietdial.agents.rules.quantile import QuantileAge
from quietdial.agents.rules.unicom import Predict1, Predict1PI
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.bench.results import (
    figure,
    made_by,
    points,
    put_figures,
    result_file,
    share_figure,
)
from quietdial.experiments.stats import Interval, clopper_pearson, mean_interval
from quietdial.experiments.studies.command import command_of, progress
from quietdial.experiments.studies.paired import (
    AsShipped,
    Comparison,
    Facing,
    compare_at_rate,
)
from quietdial.experiments.studies.pool import TrainJob, cost_figure, train_all

NAME: Final = "realistic-3pct"
COMMAND: Final = command_of(NAME)
PAGE: Final = Path("docs/realistic.md")
"""Page whose table is made from the result, if it is there."""

RATE: Final = 0.03
SEEDS: Final = (1, 2, 3)
LEARNER: Final = "ppo-lagrangian"


@dataclass(frozen=True)
class Asked:
    """What is asked of the learner against one rule.

    Attributes:
        rule: the rule.
        at_least: least difference at the two floors, utilisation; the whole interval above 0.
        lower_end: whether the lower end of the interval is meant, and not the difference.
    """

    rule: str
    at_least: tuple[float, float]
    lower_end: bool = False


FLOORS: Final = ("study-real-10", "study-real-25")
ASKED: Final = (
    Asked("fixed-ratio", (0.06, 0.04)),
    Asked("predict1, limit kept", (0.025, 0.01)),
    Asked("predict1-pi, limit kept", (0.025, 0.012)),
    Asked("predict1", (0.025, 0.01)),
    Asked("predict1-pi", (0.025, 0.012)),
    Asked("quantile-blind", (0.008, 0.012)),
    Asked("marginal", (-0.004, -0.004), lower_end=True),
)
TEST_DAYS: Final = {"study-real-10": 128, "study-real-25": 96}
TUNE_DAYS: Final = {"study-real-10": 64, "study-real-25": 48}
OTHERS: Final = (
    *("quantile-age", "marginal-budget"),
    *("vicidial-ratio", "vicidial-hard-limit", "vicidial-average", "vicidial-tapered"),
    *("vicidial-hard-limit, target only", "vicidial-hard-limit, shipped"),
    *("vicidial-average, shipped", "vicidial-tapered, shipped"),
)
"""Further rules that it is held against: all modes of VICIdial, as shipped and at their best."""
KEPT: Final[dict[str, dict[str, Policy]]] = {
    "study-real-10": {
        "predict1, limit kept": Predict1(35.0),
        "predict1-pi, limit kept": Predict1PI(30.0, gain=1.0, target_silent_pct=2.75),
    },
    "study-real-25": {
        "predict1, limit kept": Predict1(65.0),
        "predict1-pi, limit kept": Predict1PI(40.0, gain=3.0, target_silent_pct=2.5),
    },
}
"""UNICOM's rules as documented, with the hard maximum of 3 % silent calls a day.

The more they over-dial, the more of the day is spent without: with 3 % silent they are far less
busy. These are the busiest settings with at most 3 % on 400 tuning days (200 at 25 agents), of
PredictAdjust 30, 35, ... 70, and with the controller of starts 20, 30, 40, 60, gains 1, 3, 10 and
targets 2, 2.25, 2.5, 2.75 %."""
TOLD: Final[dict[str, Policy]] = {
    "quantile-age-true-rate": QuantileAge(0.006, 11.0, knowledge="true-rate"),
}
TELLING: Final = ("marginal-true-rate", *TOLD)
"""Rules that are told the true answer rate of the moment, which no dialer knows: how far above
Predict1 a rule can be that errs in nothing but its laws of talk and wrap-up."""


def config_of(seed: int) -> LearnerConfig:
    """Settings of a training; 4 M decisions with the defaults of `ppo-lagrangian`."""
    return LearnerConfig(total_steps=4_000_000, seed=seed)


def jobs_of(floor: str) -> list[TrainJob]:
    """The trainings on one floor, one for each seed."""
    scenario = load_scenario(floor)
    return [TrainJob(f"{floor}-seed-{seed}", config_of(seed), scenario) for seed in SEEDS]


def opponents(floor: str) -> dict[str, Policy]:
    """Rules by the name of the catalogue; those that play as shipped have no knob."""
    listed: dict[str, Listed] = {entry.name: entry for entry in catalogue()}
    found: dict[str, Policy] = {}
    for name in (*(asked.rule for asked in ASKED), *OTHERS, *TELLING):
        if name in KEPT[floor]:
            found[name] = AsShipped(KEPT[floor][name])
        elif name in TOLD:
            found[name] = TOLD[name]
        else:
            entry = listed[name]
            found[name] = entry.rule if entry.tuned else AsShipped(entry.rule)
    return found


def judge_floor(
    floor: str, policies: Sequence[Policy], work: Path, processes: int, console: Console
) -> Comparison:
    """Compare the trained policies of a floor with all rules."""
    rules = opponents(floor)
    return compare_at_rate(
        policies,
        list(rules.values()),
        load_scenario(floor),
        RATE,
        n_tune=TUNE_DAYS[floor],
        n_test=TEST_DAYS[floor],
        names=list(rules),
        reference=rules["marginal"],
        work=work / "judged",
        processes=processes,
        said=lambda text: console.print(f"{floor}: {text}", highlight=False),
    )


def met(asked: Asked, floor: int, row: Facing) -> bool:
    """Whether what is asked was reached on the floor with that number."""
    if asked.lower_end:
        return row.difference.lo >= asked.at_least[floor]
    return row.difference.value >= asked.at_least[floor] and row.difference.lo > 0.0


def figures_of(floor: str, scenario: Scenario, found: Comparison) -> list[dict[str, Any]]:
    """Figures of one floor."""
    number = FLOORS.index(floor)
    cap = scenario.rule.cap
    rows = [
        share_figure(
            f"{floor}/{LEARNER}/utilisation", found.utilisation, f"at {100 * RATE:g} % silent"
        )
    ]
    for seed, one in zip(SEEDS, found.learned, strict=True):
        silent = one.days.days["silent"].sum() / one.days.days["answered"].sum()
        above = clopper_pearson(int((one.days.silent_rate > cap).sum()), len(one.days.seeds))
        note = f"seed {seed}, knob {one.policy.knob:.4g}" if one.policy.knob else f"seed {seed}"
        value = float(silent)
        rows.append(
            figure(
                f"{floor}/{LEARNER}/silent-rate/seed-{seed}",
                *(value, "1", value, value, len(one.days.seeds), f"as played; {note}"),
            )
        )
        rows.append(share_figure(f"{floor}/{LEARNER}/days-above-cap/seed-{seed}", above, note))
    wanted = {asked.rule: asked for asked in ASKED}
    for row in found.facing:
        at = "equal rate" if row.reached else f"it stays at {100 * row.rate:.2f} %"
        rows.append(share_figure(f"{floor}/{row.name}/utilisation", row.utilisation, at))
        note = at + "; by seed " + ", ".join(f"{100 * d:+.2f}" for d in row.by_seed)
        if row.name in wanted:
            asked = wanted[row.name]
            what = "lower end" if asked.lower_end else "difference"
            verdict = "met" if met(asked, number, row) else "not met"
            note += f"; asked: {what} >= {100 * asked.at_least[number]:+.1f}, {verdict}"
        rows.append(share_figure(f"{floor}/{LEARNER} minus {row.name}", row.difference, note))
        if row.reference is not None:
            note = f"both at {100 * row.rate:.2f} % silent"
            rows.append(share_figure(f"{floor}/marginal minus {row.name}", row.reference, note))
    for told in TELLING:
        for rule in ("predict1", "predict1-pi"):
            gap = between(found, told, rule)
            rows.append(share_figure(f"{floor}/{told} minus {rule}", gap, "equal rate"))
    return rows


def between(found: Comparison, one: str, other: str) -> Interval:
    """One opponent minus another at the rate, paired by day; what faces the two cancels out."""
    gaps = found.against(other).matrix - found.against(one).matrix
    return mean_interval(gaps.mean(axis=0))


def markdown(result: dict[str, Any]) -> str:
    """The tables of the page, from the content of a result file."""
    rows = {row["name"]: row for row in result["figures"]}
    lines = [made_by(result), ""]
    for floor in FLOORS:
        level = rows[f"{floor}/{LEARNER}/utilisation"]
        lines += [
            f"`{floor}`: {LEARNER} {_percent(level)} busy at {100 * RATE:g} % silent.",
            "",
            "| Against | Its utilisation [%] | Learner minus it [points] | Asked | Remark |",
            "|---|---|---|---|---|",
        ]
        for name in opponents(floor):
            its = rows[f"{floor}/{name}/utilisation"]
            gap = rows[f"{floor}/{LEARNER} minus {name}"]
            note = str(gap["note"])
            asked = note.partition("; asked: ")[2] or "-"
            remark = "" if its["note"] == "equal rate" else str(its["note"])
            if remark and asked != "-":
                asked += ", at unequal rates"
            against = rows.get(f"{floor}/marginal minus {name}")
            if against is not None:
                remark += f"; `marginal` there is {points(against)} points above it"
            lines.append(
                f"| {name} | {_percent(its)} | {points(gap)} | {asked} | {remark or '-'} |"
            )
        told = [
            f"`{told}` is {points(rows[f'{floor}/{told} minus {rule}'])} points above `{rule}`"
            for told in TELLING
            for rule in ("predict1", "predict1-pi")
        ]
        lines += ["", f"Told the true answer rate: {'; '.join(told)}.", ""]
    return "\n".join(lines)


def _percent(row: dict[str, Any]) -> str:
    return f"{100 * row['value']:.1f} ({100 * row['lo']:.1f} to {100 * row['hi']:.1f})"


def _table(floor: str, found: Comparison) -> Table:
    table = Table(title=f"{floor} at {100 * RATE:g} % silent", title_justify="left")
    for title in ("against", "its utilisation", "learner minus it", "at"):
        table.add_column(title)
    for row in found.facing:
        table.add_row(
            row.name,
            row.utilisation.text(),
            row.difference.text(digits=2, unit="points"),
            f"{100 * row.rate:.2f} %",
        )
    return table


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Train, judge, show and write (see `command.Study`)."""
    jobs = {floor: jobs_of(floor) for floor in FLOORS}
    every = [job for floor in FLOORS for job in jobs[floor]]
    policies = train_all(every, work, processes, progress(console))
    figures: list[dict[str, Any]] = []
    for floor in FLOORS:
        trained = [policies[job.key] for job in jobs[floor]]
        found = judge_floor(floor, trained, work, processes, console)
        console.print(_table(floor, found))
        figures += figures_of(floor, load_scenario(floor), found)
        figures += [
            cost_figure(f"{floor}/training/cpu-s/seed-{seed}", job, work)
            for seed, job in zip(SEEDS, jobs[floor], strict=True)
        ]
    if output is None:
        return
    seeds = f"training {SEEDS}; tuning and test days of experiments/evaluate.py: "
    seeds += f"{TUNE_DAYS}, {TEST_DAYS}"
    result = result_file(NAME, COMMAND, seeds, figures)
    write_json_atomic(output, result)
    if PAGE.is_file():
        put_figures(PAGE, markdown(result))
