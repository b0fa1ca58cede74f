"""The result `generalist`: one policy for many floors, against a specialist of each floor.

The generalist is trained on floors drawn at random and judged on floors that it never saw, inside
and outside the range of its training; the specialist is trained on the judged floor itself. Of
each training one checkpoint is chosen on selection days of the floors that it was trained on
(`floor_selection`), or the base rule if none is better; judged floors and test days play no part in
that, but that a specialist is trained on the floor on which it is judged. All are
tuned to exactly 3 % silent on each floor and meet the same days. What is asked stands in
:data:`ASKED_POINTS` and :func:`verdict`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.learners.floors import ManyFloors
from quietdial.agents.policy import Policy
from quietdial.agents.rules.catalogue import rule_named
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.randomise import ScenarioRanges, draw_scenario, draw_scenarios
from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.bench.results import (
    figure,
    made_by,
    points,
    put_figures,
    result_file,
    share_figure,
)
from quietdial.experiments.executors import Plain
from quietdial.experiments.plots import save_png
from quietdial.experiments.selection import BASE_RULE
from quietdial.experiments.stats import Interval, crossed_interval
from quietdial.experiments.studies.command import progress
from quietdial.experiments.studies.decisions import decisions_of
from quietdial.experiments.studies.floor_choices import choose_all
from quietdial.experiments.studies.paired import Comparison, compare_at_rate
from quietdial.experiments.studies.picture import differences_figure, intervals_of
from quietdial.experiments.studies.pool import TrainJob, cost_figure, train_all

NAME: Final = "generalist"
COMMAND: Final = f"quietdial study {NAME} --output experiments/results/{NAME}.json"
PAGE: Final = Path("docs/generalist.md")
"""Page whose table is made from the result, if it is there."""
PICTURE: Final = Path("docs/figures/generalist.png")

RATE: Final = 0.03
SEEDS: Final = (1, 2, 3)
ASKED_POINTS: Final = 0.5
"""The generalist should be at most so far below the specialist, in points of utilisation."""

REFERENCE: Final = "italy-50"
"""What the generalist says that it is for; it is neither trained nor judged there."""
N_FLOORS: Final = 32
FLOORS_SEED: Final = 2026
GENERALIST_STEPS: Final = 1_310_720
SPECIALIST_STEPS: Final = 655_360
N_EPOCHS: Final = 2
"""Passes over each rollout: half of the default, to spend the time on more floors."""
N_CHOOSING_FLOORS: Final = 8
"""Training floors on which the checkpoints of a generalist are looked at."""
N_CHOOSING_EPISODES: Final = 12
"""Episodes on each of them."""
N_SPECIALIST_EPISODES: Final = 24
"""Episodes on the one floor of a specialist."""
RULES: Final = ("fixed-ratio", "marginal")
N_WATCHED_DAYS: Final = 4
"""Days on which the departures from the base rule are counted."""


class JudgedFloor(NamedTuple):
    """A floor that the generalist is judged on and was not trained on.

    Attributes:
        name: its name in tables.
        seed: seed of its draw.
        said: what is special about it.
        inside: whether it lies inside the range of the training floors.
        ranges: what the draw changes of `ScenarioRanges`.
        n_tune: tuning days.
        n_test: test days.
    """

    name: str
    seed: int
    said: str
    inside: bool
    ranges: Mapping[str, Any]
    n_tune: int
    n_test: int


_PLAIN: Final[dict[str, Any]] = {
    "hours": (4, 4),
    "detections": ("perfect",),
    "p_late_feed": 0.0,
    "rules": ("it_2014",),
}


def _judged(
    name: str, seed: int, said: str, days: tuple[int, int], *, inside: bool = True, **ranges: Any
) -> JudgedFloor:
    return JudgedFloor(name, seed, said, inside, {**_PLAIN, **ranges}, *days)


JUDGED: Final = (
    _judged(
        "agents-5",
        0,
        "exponential talk",
        (24, 48),
        n_agents=(5, 5),
        p_answer=(0.25, 0.5),
        talk_kinds=("exponential",),
    ),
    _judged(
        "agents-10",
        1,
        "lognormal talk",
        (16, 32),
        n_agents=(10, 10),
        p_answer=(0.08, 0.15),
        talk_kinds=("lognormal",),
    ),
    _judged(
        "agents-25-amd",
        2,
        "gamma talk, detector that takes people for machines",
        (12, 24),
        n_agents=(25, 25),
        p_answer=(0.15, 0.3),
        talk_kinds=("gamma",),
        detections=("amd",),
        p_false_machine=(0.004, 0.01),
    ),
    _judged(
        "agents-50-late",
        3,
        "Weibull talk, agents seen late",
        (12, 24),
        n_agents=(50, 50),
        p_answer=(0.25, 0.5),
        talk_kinds=("weibull",),
        p_late_feed=1.0,
        feed_delay_s=(1, 3),
    ),
    _judged(
        "agents-100",
        7,
        "lognormal talk",
        (8, 16),
        n_agents=(100, 100),
        p_answer=(0.15, 0.3),
        talk_kinds=("lognormal",),
    ),
    _judged(
        "agents-3",
        5,
        "fewer agents than in training",
        (24, 48),
        inside=False,
        n_agents=(3, 3),
        p_answer=(0.15, 0.3),
        talk_kinds=("gamma",),
    ),
    _judged(
        "answers-3-percent",
        6,
        "fewer answers than in training, 25 agents",
        (12, 24),
        inside=False,
        n_agents=(25, 25),
        p_answer=(0.03, 0.03),
        talk_kinds=("lognormal",),
    ),
)


def scenario_of(floor: JudgedFloor) -> Scenario:
    """The floor's scenario."""
    return changed(draw_scenario(ScenarioRanges(**floor.ranges), floor.seed), floor.name)


def training_floors() -> tuple[Scenario, ...]:
    """The floors that the generalist is trained on."""
    return draw_scenarios(N_FLOORS, FLOORS_SEED)


def _config(total_steps: int, seed: int) -> LearnerConfig:
    return LearnerConfig(total_steps=total_steps, n_epochs=N_EPOCHS, seed=seed)


def generalist_jobs() -> list[TrainJob]:
    """The trainings of the generalist, one for each seed."""
    floors = training_floors()
    return [
        TrainJob(
            f"generalist-seed-{seed}",
            _config(GENERALIST_STEPS, seed),
            load_scenario(REFERENCE),
            ManyFloors(floors),
        )
        for seed in SEEDS
    ]


def specialist_jobs(floor: JudgedFloor) -> list[TrainJob]:
    """The trainings on one judged floor, one for each seed; none outside the range."""
    if not floor.inside:
        return []
    scenario = scenario_of(floor)
    return [
        TrainJob(
            f"{floor.name}-seed-{seed}",
            _config(SPECIALIST_STEPS, seed),
            scenario,
        )
        for seed in SEEDS
    ]


def choose(
    general: Sequence[TrainJob],
    special: Mapping[str, Sequence[TrainJob]],
    work: Path,
    processes: int,
    console: Console,
) -> dict[str, tuple[LearnedPolicy, Plain]]:
    """The policy of each training and how it was chosen, by the key of the training."""

    def said(text: str) -> None:
        console.print(text, highlight=False)

    floors = training_floors()
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
) -> Found:
    """Hold the generalists of all seeds against specialists and rules on one floor."""
    scenario = scenario_of(floor)
    names = (*RULES, *(f"specialist-{seed}" for seed in SEEDS[: len(specialists)]))

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
        for seed, one in zip(SEEDS, found.learned, strict=True)
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


_COLUMNS: Final = (
    *("specialist/utilisation", "generalist minus specialist", "generalist minus marginal"),
    *("generalist minus fixed-ratio", "specialist minus marginal"),
    *("generalist/departures", "specialist/departures"),
)


def markdown(result: Mapping[str, Any]) -> str:
    """The table of the page, from the content of a result file."""
    rows = {row["name"]: row for row in result["figures"]}
    lines = [
        made_by(result),
        "",
        "| Floor | Generalist busy % | Specialist busy % | Generalist - specialist, points | "
        "Generalist - marginal | Generalist - fixed ratio | Specialist - marginal | "
        "Generalist departs % | Specialist departs % | Verdict |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for floor in JUDGED:
        level = rows.get(f"{floor.name}/generalist/utilisation")
        if level is None:
            continue
        said, _, end = str(level["note"]).partition("; ")
        cells = [f"`{floor.name}`: {said}", _cell(level, signed=False)]
        for column in _COLUMNS:
            one = rows.get(f"{floor.name}/{column}")
            cells.append("" if one is None else _cell(one, signed=" minus " in column))
        lines.append("| " + " | ".join([*cells, end]) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: Mapping[str, Any], *, signed: bool) -> str:
    if signed:
        return points(row)
    value, lo, hi = (100.0 * float(row[key]) for key in ("value", "lo", "hi"))
    return f"{value:.1f} ({max(lo, 0.0):.1f} to {min(hi, 100.0):.1f})"  # a share


def picture(result: Mapping[str, Any]) -> Figure:
    """The differences floor by floor, from the content of a result file."""
    against = {
        "specialist": "generalist minus specialist",
        "marginal": "generalist minus marginal",
        "fixed-ratio": "generalist minus fixed-ratio",
    }
    rows = {
        floor.name: intervals_of(
            result["figures"], {name: f"{floor.name}/{of}" for name, of in against.items()}
        )
        for floor in JUDGED
    }
    inside = [floor.name for floor in JUDGED if floor.inside]
    return differences_figure(
        rows,
        title="One policy for many floors",
        subtitle=f"generalist minus the others at {100 * RATE:g} % silent; below the dots: outside "
        "its range; shaded: .5 points",
        band=(-ASKED_POINTS, 0.0),
        rule_after=inside[-1],
    )


def _table(all_found: Sequence[Found]) -> Table:
    table = Table(title=f"one policy for many floors at {100 * RATE:g} % silent")
    for title in ("floor", "generalist", "minus specialist", "minus marginal", "minus ratio", ""):
        table.add_column(title)
    for found in all_found:
        gaps = [
            found.gaps[name].text(digits=2, unit="") if name in found.gaps else ""
            for name in ("specialist", "marginal", "fixed-ratio")
        ]
        table.add_row(found.floor.name, found.generalist.text(), *gaps, verdict(found))
    return table


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Train, judge, show and write (see `command.Study`)."""
    general = generalist_jobs()
    special = {floor.name: specialist_jobs(floor) for floor in JUDGED}
    jobs = [*general, *(job for its in special.values() for job in its)]
    train_all(jobs, work, processes, progress(console))
    chosen = choose(general, special, work, processes, console)
    all_found = []
    for floor in JUDGED:
        generalists = [chosen[job.key][0] for job in general]
        specialists = [chosen[job.key][0] for job in special[floor.name]]
        found = judge(floor, generalists, specialists, work, processes, console)
        console.print(f"{floor.name}: {verdict(found)}", highlight=False)
        all_found.append(found)
    console.print(_table(all_found))
    if output is None:
        return
    figures = [row for found in all_found for row in figures_of(found)]
    figures += [choice_figure(job.key, chosen[job.key][1]) for job in jobs]
    figures += [cost_figure(f"training/{job.key}/cpu-s", job, work) for job in jobs]
    days = ", ".join(f"{floor.name} {floor.n_tune} and {floor.n_test}" for floor in JUDGED)
    seeds = (
        f"training {SEEDS}; training floors draw_scenarios({N_FLOORS}, {FLOORS_SEED}); judged "
        f"floors draw_scenario with {', '.join(str(floor.seed) for floor in JUDGED)}; selection, "
        f"tuning and test days of experiments/evaluate.py, of the latter two: {days}"
    )
    result = result_file(NAME, COMMAND, seeds, figures)
    write_json_atomic(output, result)
    if PAGE.is_file():
        put_figures(PAGE, markdown(result))
        save_png(picture(result), PICTURE)
