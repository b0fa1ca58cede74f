"""The result `generalist`: one policy for many floors, against a specialist of each floor.

The generalist is trained on floors drawn at random and judged on floors that it never saw, inside
and outside the range of its training; the specialist is trained on the judged floor itself. Of
each training one checkpoint is chosen on selection days of the floors that it was trained on
(`floor_selection`), or the base rule if none is better; judged floors and test days play no part in
that, but that a specialist is trained on the floor on which it is judged. All are tuned to exactly
3 % silent on each floor and meet the same days. What is asked stands in `ASKED_POINTS` and
:func:`verdict`. The same procedure on other floors: `generalist_late`, `generalist_large`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.learners.floors import ManyFloors
from quietdial.agents.policy import Policy
from quietdial.agents.rules.catalogue import rule_named
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.bench.results import (
    figure,
    put_figures,
    result_file,
    share_figure,
)
from quietdial.experiments.executors import Plain
from quietdial.experiments.floor_selection import base_thetas
from quietdial.experiments.plots import save_png
from quietdial.experiments.selection import BASE_RULE
from quietdial.experiments.stats import Interval, crossed_interval
from quietdial.experiments.studies.command import progress
from quietdial.experiments.studies.decisions import decisions_of
from quietdial.experiments.studies.floor_choices import choose_all
from quietdial.experiments.studies.generalist_floors import (
    ASKED_POINTS,
    PLAN,
    RATE,
    SEEDS,
    JudgedFloor,
    Plan,
    scenario_of,
)
from quietdial.experiments.studies.generalist_page import markdown, picture
from quietdial.experiments.studies.paired import Comparison, compare_at_rate
from quietdial.experiments.studies.pool import TrainJob, cost_figure, train_all

PAGE: Final = Path("docs/generalist.md")
"""Page whose table is made from the result, if it is there."""

REFERENCE: Final = "italy-50"
"""What the generalist says that it is for; it is neither trained nor judged there."""
N_CHOOSING_FLOORS: Final = 8
"""Training floors on which the checkpoints of a generalist are looked at."""
N_CHOOSING_EPISODES: Final = 12
"""Episodes on each of them."""
N_SPECIALIST_EPISODES: Final = 24
"""Episodes on the one floor of a specialist."""
RULES: Final = ("fixed-ratio", "marginal")
N_WATCHED_DAYS: Final = 4
"""Days on which the departures from the base rule are counted."""


def tuned_thresholds(floors: Sequence[Scenario]) -> tuple[float, ...]:
    """Each floor's threshold of the rule below, in episodes as long as those of training."""
    return base_thetas(floors, horizon_s=LearnerConfig().horizon_s)


def generalist_jobs(plan: Plan, thetas: tuple[float, ...] | None) -> list[TrainJob]:
    """The trainings of the generalist, one for each seed.

    Args:
        plan: what is trained.
        thetas: threshold of the rule below on each training floor; None: the default on all.
    """
    return [
        TrainJob(
            f"generalist-seed-{seed}",
            plan.config(plan.generalist_steps, seed),
            load_scenario(REFERENCE),
            ManyFloors(plan.training_floors(), thetas),
        )
        for seed in plan.seeds
    ]


def specialist_jobs(plan: Plan, floor: JudgedFloor, **settings: Any) -> list[TrainJob]:
    """The trainings on one judged floor, one for each seed, with further settings."""
    return [
        TrainJob(
            f"{floor.name}-seed-{seed}",
            plan.config(plan.specialist_steps, seed, **settings),
            scenario_of(floor),
        )
        for seed in plan.seeds
    ]


def jobs_of(plan: Plan) -> tuple[list[TrainJob], dict[str, list[TrainJob]]]:
    """The trainings of the generalist, and those of each judged floor; none outside the range."""
    own = plan.own_threshold
    general = generalist_jobs(plan, tuned_thresholds(plan.training_floors()) if own else None)
    special: dict[str, list[TrainJob]] = {}
    for floor in plan.judged:
        settings = {}
        if floor.inside and own:
            (settings["base_theta"],) = tuned_thresholds([scenario_of(floor)])
        special[floor.name] = specialist_jobs(plan, floor, **settings) if floor.inside else []
    return general, special


def choose(
    plan: Plan,
    general: Sequence[TrainJob],
    special: Mapping[str, Sequence[TrainJob]],
    work: Path,
    processes: int,
    console: Console,
) -> dict[str, tuple[LearnedPolicy, Plain]]:
    """The policy of each training and how it was chosen, by the key of the training."""

    def said(text: str) -> None:
        console.print(text, highlight=False)

    floors = plan.training_floors()
    return choose_all(
        [(job, floors) for job in general],
        work,
        n_floors=N_CHOOSING_FLOORS,
        n_episodes=N_CHOOSING_EPISODES,
        processes=processes,
        said=said,
    ) | choose_all(
        [(job, (job.scenario,)) for its in special.values() for job in its],
        work,
        n_floors=1,
        n_episodes=N_SPECIALIST_EPISODES,
        processes=processes,
        said=said,
    )


def choice_figure(key: str, choice: Mapping[str, Any]) -> Plain:
    """The row of a result file on the checkpoint that was chosen of a training."""
    step = float(choice["step"])
    gains = "; ".join(
        f"{int(of):,}: " + ", ".join("-" if one is None else f"{100 * one:+.2f}" for one in its)
        for of, its in choice["gains"].items()
    )
    agents = ", ".join(str(n) for n in choice["agents"])
    note = f"{'base rule' if step == BASE_RULE else 'checkpoint'}; points gained over the base rule"
    note += f" on floors of {agents} agents by each checkpoint: {gains}"
    return figure(f"chosen/{key}/step", step, "decisions", step, step, 1, note)


def departures(
    policy: Policy, scenario: Scenario, n_days: int = N_WATCHED_DAYS
) -> NDArray[np.float64]:
    """Share of decisions at which a residual policy places another number than its base rule.

    Returns:
        The share on each of the first `n_days` test days, (n_days,).
    """
    changes, n_decisions = np.zeros(n_days), 0
    for decision in decisions_of(policy, scenario, n_days):
        changes += decision.placed != decision.base
        n_decisions += 1
    return changes / n_decisions


class Found(NamedTuple):
    """What was found on one floor; differences are those of utilisation at equal silent rate.

    Attributes:
        floor: the floor.
        generalist: its level.
        levels: level of each opponent, by name (`specialist`: mean of its seeds).
        gaps: generalist minus opponent, by name; where a rule cannot be set to the rate, both at
            the rule's own rate, and beside it the generalist at the rate asked for minus that rule.
        learnt: specialist minus `marginal`; None outside the range.
        departures: share of decisions that differ from the base rule, by learner.
        notes: opponents and learners that do not reach the rate, in words.
    """

    floor: JudgedFloor
    generalist: Interval
    levels: dict[str, Interval]
    gaps: dict[str, Interval]
    learnt: Interval | None
    departures: dict[str, Interval]
    notes: str


def judge(
    floor: JudgedFloor,
    generalists: Sequence[Policy],
    specialists: Sequence[Policy],
    work: Path,
    processes: int,
    console: Console,
    seeds: Sequence[int] = SEEDS,
) -> Found:
    """Hold the generalists of all seeds against specialists and rules on one floor."""
    scenario = scenario_of(floor)
    names = (*RULES, *(f"specialist-{seed}" for seed in seeds[: len(specialists)]))

    def compared(
        learned: Sequence[Policy], others: Sequence[str], rate: float = RATE
    ) -> Comparison:
        by_name = dict(zip(names[len(RULES) :], specialists, strict=True))
        return compare_at_rate(
            learned,
            [by_name[name] if name in by_name else rule_named(name) for name in others],
            scenario,
            rate,
            n_tune=floor.n_tune,
            n_test=floor.n_test,
            names=others,
            work=work / "judged",
            processes=processes,
            said=lambda text: console.print(f"{floor.name}: {text}", highlight=False),
        )

    found = compared(generalists, names)
    levels = {name: found.against(name).utilisation for name in RULES}
    gaps = {name: found.against(name).difference for name in RULES}
    for name in RULES:
        faced = found.against(name)
        if not faced.reached and 0.0 < faced.rate < 1.0:  # held against it where it is
            gaps[f"{name}, at its own rate"] = gaps[name]
            gaps[name] = compared(generalists, (name,), faced.rate).against(name).difference
    learnt = None
    watched = {"generalist": [one.policy for one in found.learned]}
    missed = [f"{row.name} at {100 * row.rate:.2f} %" for row in found.facing if not row.reached]
    missed += [
        f"generalist seed {seed} at {100 * one.own_rate:.2f} %"
        for seed, one in zip(seeds, found.learned, strict=True)
        if not one.reached
    ]
    if specialists:
        its = compared(specialists, ("marginal",))
        by_seed = [found.against(name).matrix[i] for i, name in enumerate(names[len(RULES) :])]
        levels["specialist"] = its.utilisation
        gaps["specialist"] = crossed_interval(np.array(by_seed))
        learnt = its.against("marginal").difference
        watched["specialist"] = [one.policy for one in its.learned]
    shares = {
        learner: crossed_interval(np.array([departures(policy, scenario) for policy in policies]))
        for learner, policies in watched.items()
    }
    return Found(floor, found.utilisation, levels, gaps, learnt, shares, "; ".join(missed))


def verdict(found: Found) -> str:
    """What is asked of the generalist on this floor, and whether it was met."""
    ratio = found.gaps["fixed-ratio"]
    above = "above the ratio" if ratio.lo > 0.0 else "not surely above the ratio"
    if ratio.hi < 0.0:
        above = "BELOW the ratio"
    rule = found.gaps.get("marginal")
    if rule is not None and rule.lo > 0.0:
        above += ", above `marginal`"
    elif rule is not None and rule.hi < 0.0:
        above += ", BELOW `marginal`"
    gap = found.gaps.get("specialist")
    if gap is None:
        return above
    limit = -ASKED_POINTS / 100.0
    within = "met" if gap.lo >= limit else "met, not surely" if gap.value >= limit else "not met"
    return f"within {ASKED_POINTS:g} points: {within}; {above}"


def figures_of(found: Found) -> list[dict[str, Any]]:
    """Figures of one floor."""
    floor = found.floor.name
    where = "inside" if found.floor.inside else "outside"
    note = f"{found.floor.said}; {where} the range; {verdict(found)}"
    if found.notes:
        note += f"; not at 3 %: {found.notes}"
    rows = [share_figure(f"{floor}/generalist/utilisation", found.generalist, note)]
    for name, level in found.levels.items():
        own = f"{name}, at its own rate" in found.gaps
        at = "at its own silent rate" if own else f"at {100 * RATE:g} % silent"
        rows.append(share_figure(f"{floor}/{name}/utilisation", level, at))
    for name, gap in found.gaps.items():
        other = f"the generalist at {100 * RATE:g} %" if name.endswith("own rate") else "equal rate"
        rows.append(
            share_figure(f"{floor}/generalist minus {name}", gap, f"{other}, paired by day")
        )
    if found.learnt is not None:
        rows.append(share_figure(f"{floor}/specialist minus marginal", found.learnt, "equal rate"))
    for learner, share in found.departures.items():
        said = "share of decisions at which it places another number than its base rule"
        rows.append(share_figure(f"{floor}/{learner}/departures", share, said))
    return rows


def _table(all_found: Sequence[Found], plan: Plan) -> Table:
    table = Table(title=f"{plan.title.lower()} at {100 * RATE:g} % silent")
    for title in ("floor", "generalist", "minus specialist", "minus marginal", "minus ratio", ""):
        table.add_column(title)
    for found in all_found:
        gaps = [
            found.gaps[name].text(digits=2, unit="") if name in found.gaps else ""
            for name in ("specialist", "marginal", "fixed-ratio")
        ]
        table.add_row(found.floor.name, found.generalist.text(), *gaps, verdict(found))
    return table


def play(plan: Plan, work: Path, processes: int, console: Console) -> dict[str, Any]:
    """Train, choose, judge and show; the content of the result file."""
    general, special = jobs_of(plan)
    jobs = [*general, *(job for its in special.values() for job in its)]
    train_all(jobs, work, processes, progress(console))
    chosen = choose(plan, general, special, work, processes, console)
    all_found = []
    for floor in plan.judged:
        generalists = [chosen[job.key][0] for job in general]
        specialists = [chosen[job.key][0] for job in special[floor.name]]
        found = judge(floor, generalists, specialists, work, processes, console, plan.seeds)
        console.print(f"{floor.name}: {verdict(found)}", highlight=False)
        all_found.append(found)
    console.print(_table(all_found, plan))
    figures = [row for found in all_found for row in figures_of(found)]
    figures += [choice_figure(job.key, chosen[job.key][1]) for job in jobs]
    figures += [cost_figure(f"training/{job.key}/cpu-s", job, work) for job in jobs]
    days = ", ".join(f"{floor.name} {floor.n_tune} and {floor.n_test}" for floor in plan.judged)
    seeds = (
        f"training {plan.seeds}; training floors draw_scenarios({plan.n_floors}, "
        f"{plan.floors_seed}, {plan.ranges!r}); judged floors draw_scenario with "
        f"{', '.join(str(floor.seed) for floor in plan.judged)}; selection, "
        f"tuning and test days of experiments/evaluate.py, of the latter two: {days}"
    )
    return result_file(plan.name, plan.command, seeds, figures)


def record(
    plan: Plan, *, of: str, work: Path, processes: int, output: Path | None, console: Console
) -> None:
    """Play a plan, write its result and put table and picture into the page.

    Args:
        plan: what is trained and judged.
        of: name of the marked place of the page; empty: the unnamed one.
        work: as in `command.Study`, like all that follow.
        processes: trainings that run at the same time.
        output: JSON file for the figures; none: nothing is written.
        console: where progress and tables go.
    """
    result = play(plan, work, processes, console)
    if output is None:
        return
    write_json_atomic(output, result)
    if PAGE.is_file():
        put_figures(PAGE, markdown(result, plan), of=of)
        save_png(picture(result, plan), plan.picture)


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Do the study (see `command.Study`)."""
    record(PLAN, of="", work=work, processes=processes, output=output, console=console)
