"""The result `hard-worlds`: where a learner beats the best rule, and where it does not.

Worlds in which the model behind the index rule is wrong or incomplete. In each the rules of
:data:`RULES` and the learner play the same days at exactly 3 % silent, and the learner is held
against the rule that is best on these days, which favours the rules. Nothing is hidden: a world
that the learner does not win is told with its figures, like one that it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.rules.catalogue import rule_named
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.bench.results import (
    figure,
    made_by,
    points,
    put_figures,
    result_file,
    share_figure,
)
from quietdial.experiments.plots import save_png
from quietdial.experiments.stats import Interval
from quietdial.experiments.studies.command import command_of, picture_of, progress
from quietdial.experiments.studies.paired import (
    AtRate,
    Comparison,
    Days,
    Facing,
    compare_at_rate,
    judge_at,
)
from quietdial.experiments.studies.picture import differences_figure, intervals_of
from quietdial.experiments.studies.pool import TrainJob, cost_figure, train_all

NAME: Final = "hard-worlds"
PAGE: Final = Path("docs/hard-worlds.md")
"""Page whose table is made from the result, if it is there."""

RATE: Final = 0.03
SEEDS: Final = (1, 2, 3)
DAYS: Final = Days(tune=24, test=48)
BASE_DAYS: Final = Days(tune=48, test=64)
"""Days on which the rule below the learner is tuned before training."""
LEARNER: Final = "ppo-lagrangian"
BASE: Final = "marginal"
"""The rule below the residual action; its threshold at 3 % on the tuning days is the base's."""
RULES: Final = (
    *("fixed-ratio", "predict1", "predict1-pi", "vicidial-average"),
    *("quantile-blind", "quantile-age", BASE, "marginal-budget"),
)


@dataclass(frozen=True)
class HardWorld:
    """A world and what is wrong in it.

    Attributes:
        name: short name.
        missing: what the index rule's model does not have.
        build: makes the scenario.
        settings: what the learner's settings differ in.
    """

    name: str
    missing: str
    build: Callable[[], Scenario]
    settings: Mapping[str, Any] = field(default_factory=dict)


def _ten(name: str, **parts: Mapping[str, Any]) -> Callable[[], Scenario]:
    """A maker of the study's floor of 10 agents with other values in some parts."""
    return lambda: changed(load_scenario("study-real-10"), name, **parts)


_AMD: Final = {
    "kind": "amd",
    "decision": {"kind": "uniform", "low_s": 1.0, "high_s": 2.0},
    "p_false_machine": 0.0,
    "p_false_person": 0.05,
    "machine_handling": {"kind": "exponential", "mean_s": 8.0},
}


def _lunch() -> Scenario:
    """Two halves of the team go to lunch one after the other."""
    halves = [{"n_agents": 5, "lunch": {"at": at, "duration": 1800.0}} for at in ("12:30", "13:00")]
    return _ten("lunch", floor={"shifts": halves})()


def _small_team() -> Scenario:
    rule = {"id": "study", "cap": 0.03, "wait_limit_s": 3.0, "source": "a choice of this study"}
    floor = {"n_agents": 3}
    return changed(load_scenario("study-real-5"), "small-team", floor=floor, rule=rule)


WORLDS: Final = (
    HardWorld(
        "late-feed",
        "agents are seen 4 s late",
        _ten("late-feed", belief={"feed_delay_s": 4.0}),
        {"total_steps": 2_000_000},
    ),
    HardWorld(
        "late-feed-25",
        "25 agents, who are seen 4 s late",
        lambda: changed(
            load_scenario("study-real-25"), "late-feed-25", belief={"feed_delay_s": 4.0}
        ),
        {"total_steps": 1_500_000},
    ),
    HardWorld(
        "late-poller",
        "agents are seen 3 s late, and decisions are possible every 3 s only",
        _ten("late-poller", belief={"feed_delay_s": 3.0}, episode={"decision_interval_s": 3.0}),
    ),
    HardWorld(
        "detection",
        "a picked-up call is judged for 1 to 2 s; 5 % of the machines reach an agent",
        _ten("detection", calls={"detection": _AMD}),
    ),
    HardWorld(
        "blending",
        "the agents also take inbound calls, 30 an hour",
        _ten(
            "blending",
            inbound={
                "periods": [{"begins": "10:00", "per_h": 30.0}],
                "talk": {"kind": "lognormal", "mean_s": 150.0, "cv": 1.0},
                "patience": {"kind": "exponential", "mean_s": 120.0},
            },
        ),
    ),
    HardWorld(
        "bimodal",
        "conversations are of two kinds, 40 or 400 s, and their length drifts",
        _ten(
            "bimodal",
            floor={
                "talk": {
                    "kind": "mixture",
                    "parts": [
                        {"weight": 0.7, "law": {"kind": "lognormal", "mean_s": 40.0, "cv": 0.5}},
                        {"weight": 0.3, "law": {"kind": "lognormal", "mean_s": 400.0, "cv": 0.5}},
                    ],
                },
                "talk_drift": {"ou_sd": 0.3, "ou_tau_s": 3600.0},
            },
        ),
    ),
    HardWorld(
        "trunks",
        "40 lines, and at most one call a second is set up",
        _ten("trunks", calls={"trunks": 40, "calls_per_s": 1.0}),
    ),
    HardWorld("lunch", "half of the team goes to lunch at once, twice a day", _lunch),
    HardWorld("small-team", "3 agents: no normal law, few calls in a day's window", _small_team),
    HardWorld(
        "jumps",
        "the answer rate jumps, twice an hour",
        _ten(
            "jumps",
            calls={
                "answer_rate": {
                    "kind": "drifting",
                    "p_low": 0.12,
                    "p_high": 0.45,
                    "ou_sd": 0.25,
                    "ou_tau_s": 1800.0,
                    "jumps_per_h": 2.0,
                    "jump_sd": 0.6,
                }
            },
        ),
    ),
    HardWorld(
        "end-of-list",
        "a list that ends within the day: the last people are dialed a second time",
        _ten(
            "end-of-list",
            people={
                "n_people": 3000,
                "max_attempts": 2,
                "retry": {
                    "no_answer_s": 3600.0,
                    "busy_s": 900.0,
                    "machine_s": 3600.0,
                    "failure_s": 600.0,
                },
            },
        ),
    ),
)


@dataclass(frozen=True)
class Plan:
    """What is trained and judged for one result.

    Attributes:
        name: of the result.
        worlds: the worlds, one after the other.
        seeds: training seeds.
        days: how many days a knob is tuned on, and how many are judged.
        learner: what the learners of all worlds are called in tables.
    """

    name: str
    worlds: tuple[HardWorld, ...]
    seeds: tuple[int, ...] = SEEDS
    days: Days = DAYS
    learner: str = LEARNER

    @property
    def command(self) -> str:
        """The command that makes the result."""
        return command_of(self.name)

    @property
    def picture(self) -> Path:
        """The picture of the page."""
        return picture_of(self.name)


PLAN: Final = Plan(NAME, WORLDS)


def config_of(world: HardWorld, base_theta: float, seed: int) -> LearnerConfig:
    """Settings of a training: residual on the index rule as tuned, seeing the `wide` set."""
    given = {"observation": "wide", "total_steps": 1_000_000, **world.settings}
    return LearnerConfig(base_theta=base_theta, seed=seed, **given)


def jobs_of(world: HardWorld, base: AtRate, seeds: Sequence[int] = SEEDS) -> list[TrainJob]:
    """The trainings in a world, one for each seed; `base`: the rule below, tuned."""
    scenario = world.build()
    theta = float(base.policy.knob or 0.0)
    return [
        TrainJob(f"{world.name}-seed-{seed}", config_of(world, theta, seed), scenario)
        for seed in seeds
    ]


def best_rule(found: Comparison) -> Facing:
    """The opponent that is busiest at the rate; those that did not reach it do not count."""
    return max((row for row in found.facing if row.reached), key=lambda row: row.utilisation.value)


def verdict(difference: Interval) -> str:
    """Won, lost or even, by the interval."""
    if difference.lo > 0.0:
        return "won"
    return "lost" if difference.hi < 0.0 else "even"


def compare(
    world: HardWorld,
    work: Path,
    processes: int,
    console: Console,
    plan: Plan = PLAN,
) -> tuple[Comparison, list[TrainJob]]:
    """Tune the base, train, and hold the learner against every rule, all on the same days."""
    scenario = world.build()
    judged = work / "judged"
    base = judge_at(rule_named(BASE), scenario, RATE, BASE_DAYS, judged)
    jobs = jobs_of(world, base, plan.seeds)
    policies = train_all(jobs, work, processes, progress(console))
    found = compare_at_rate(
        list(policies.values()),
        [rule_named(name) for name in RULES],
        scenario,
        RATE,
        n_tune=plan.days.tune,
        n_test=plan.days.test,
        names=RULES,
        work=judged,
        processes=processes,
        said=lambda text: console.print(f"{world.name}: {text}", highlight=False),
    )
    return found, jobs


def figures_of(world: HardWorld, found: Comparison, plan: Plan = PLAN) -> list[dict[str, Any]]:
    """The published numbers of one world."""
    learner = plan.learner
    best = best_rule(found)
    at = f"at {100 * RATE:g} % silent"
    rows = [share_figure(f"{world.name}/{learner}/utilisation", found.utilisation, at)]
    for row in found.facing:
        note = at if row.reached else f"it stays at {100 * row.rate:.2f} %"
        rows.append(share_figure(f"{world.name}/{row.name}/utilisation", row.utilisation, note))
    for what, row in (("best rule", best), (BASE, found.against(BASE))):
        each = ", ".join(f"{100 * gap:+.2f}" for gap in row.by_seed)
        note = f"{row.name}; by seed {each} points; {verdict(row.difference)}"
        rows.append(share_figure(f"{world.name}/{learner} minus {what}", row.difference, note))
    for seed, one in zip(plan.seeds, found.learned, strict=True):
        silent = float(one.days.days["silent"].sum() / one.days.days["answered"].sum())
        note = f"as played on the test days; base_theta {one.policy.base_theta:.3g}"
        name = f"{world.name}/{learner}/silent-rate/seed-{seed}"
        rows.append(figure(name, silent, "1", silent, silent, len(one.days.seeds), note))
    return rows


def markdown(result: Mapping[str, Any], plan: Plan = PLAN) -> str:
    """The table of the page, from the content of a result file."""
    rows = {row["name"]: row for row in result["figures"]}
    lines = [
        made_by(result),
        "",
        f"| World | What the rule's model misses | {plan.learner} [%] | Best rule [%] "
        "| Learner minus best rule [points] | Each seed | Minus `marginal` [points] | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for world in plan.worlds:
        gap = rows[f"{world.name}/{plan.learner} minus best rule"]
        best, seeds, verdict_ = str(gap["note"]).split("; ")
        cells = (
            f"`{world.name}`",
            world.missing,
            _percent(rows[f"{world.name}/{plan.learner}/utilisation"]),
            f"{best} {_percent(rows[f'{world.name}/{best}/utilisation'])}",
            points(gap),
            seeds.removeprefix("by seed ").removesuffix(" points"),
            points(rows[f"{world.name}/{plan.learner} minus {BASE}"]),
            f"**{verdict_}**" if verdict_ == "won" else verdict_,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['value']:.1f}"


def draw(result: Mapping[str, Any], path: Path, plan: Plan = PLAN) -> None:
    """The picture of the page: every world's differences with their intervals."""
    against = ("best rule", BASE)
    shown = {
        world.name: intervals_of(
            result["figures"],
            {f"minus {what}": f"{world.name}/{plan.learner} minus {what}" for what in against},
        )
        for world in plan.worlds
    }
    picture = differences_figure(
        shown,
        title="Where a learner wins, and where it does not",
        subtitle=f"{plan.learner} minus rule at {100 * RATE:g} % silent, "
        f"{len(plan.seeds)} training seeds",
    )
    save_png(picture, path)


def play(plan: Plan, work: Path, processes: int, console: Console) -> dict[str, Any]:
    """Train, judge and show, one world after the other; the content of the result file."""
    table = Table("world", plan.learner, "best rule", "its utilisation", "learner minus it", "")
    figures: list[dict[str, Any]] = []
    for world in plan.worlds:
        found, jobs = compare(world, work, processes, console, plan)
        figures += figures_of(world, found, plan)
        figures += [
            cost_figure(f"{world.name}/training/cpu-s/seed-{seed}", job, work)
            for seed, job in zip(plan.seeds, jobs, strict=True)
        ]
        best = best_rule(found)
        table.add_row(
            world.name,
            found.utilisation.text(),
            best.name,
            best.utilisation.text(),
            best.difference.text(digits=2, unit="points"),
            verdict(best.difference),
        )
    console.print(table)
    days = f"tuning days 0 to {plan.days.tune - 1}, test days 0 to {plan.days.test - 1}"
    return result_file(plan.name, plan.command, f"training {plan.seeds}; {days}", figures)


def record(
    plan: Plan, *, work: Path, processes: int, output: Path | None, console: Console
) -> None:
    """Do a study of such worlds, and put its table and picture into the page."""
    result = play(plan, work, processes, console)
    if output is None:
        return
    write_json_atomic(output, result)
    if PAGE.is_file():
        put_figures(PAGE, markdown(result, plan), of="" if plan.name == NAME else plan.name)
        draw(result, plan.picture, plan)


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Do the study of eleven hard worlds (see `command.Study`)."""
    record(PLAN, work=work, processes=processes, output=output, console=console)
