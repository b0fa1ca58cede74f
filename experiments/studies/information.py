"""What each piece of information is worth to the index rule and to learners: `information`.

The marginal rule and `ppo-lagrangian` are shown more and more, or less, and tuned to exactly 3 %
silent each time. The worth of a step is the paired difference of utilisation to the same rule, or
to the learner of the same training seed, with what a dialer sees today. The steps that the study of
the project's origin has measured (its part I) are named with its figures. Without training seeds
the rule alone is measured; `information_learners.py` is the same study with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console

from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.policy import LearnedAction, Policy
from quietdial.agents.rules import Marginal
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.pacing.insight import BY_RULE, LEAST, LIKELIEST, N_CHOICES
from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.bench.results import (
    put_figures,
    result_file,
    share_figure,
)
from quietdial.experiments.evaluate import silent_rate
from quietdial.experiments.stats import Interval, crossed_interval, mean_interval
from quietdial.experiments.studies import information_page as page
from quietdial.experiments.studies.chosen import choose
from quietdial.experiments.studies.command import command_of, progress
from quietdial.experiments.studies.decisions import decisions_of
from quietdial.experiments.studies.paired import AtRate, Days, judge_many
from quietdial.experiments.studies.pool import TrainJob, train_all

NAME: Final = "information"
RATE: Final = 0.03
FLOORS: Final = (10, 5)
LEARNERS_ON: Final = (10,)
"""Floors on which learners are trained."""

DAYS: Final = Days(tune=32, test=96, tolerance=0.05, most_trials=5)
N_STEPS: Final = 1_200_000
"""Decisions that a learner trains on."""

SELECT_DAYS: Final = Days(tune=16, test=32, tolerance=0.05, most_trials=5)
"""Days on which its checkpoint is chosen, the policy before its training among them."""

_SCORES: Final = (0.001, 0.004)  # half-widths that the origin states for its table of scores
_TIMES: Final = (0.0025, 0.003)  # and for what is known of the agents


class Origin(NamedTuple):
    """What the study of the project's origin found.

    Attributes:
        by_agents: utilisation gained, by agents of the floor.
        half_width: of its 95 % intervals, the smallest and the largest one that it states.
    """

    by_agents: dict[int, float]
    half_width: tuple[float, float]


class Step(NamedTuple):
    """One thing more, or less, that a policy is shown.

    Attributes:
        label: what it is, in words.
        knowledge: what the look-ahead goes by.
        auc: of the leads' scores; none: all leads are alike.
        buffer: leads of which the next one may be chosen.
        learner: action kind of the learner that is shown the same; none: no learner is trained.
        study: the origin's figures.
    """

    label: str
    knowledge: str
    auc: float | None = None
    buffer: int = 1
    learner: LearnedAction | None = None
    study: Origin | None = None


BASE: Final = Step("what a dialer sees today", "believed", learner="residual")
SIGNAL: Final = "agents' signal 10 s before"
BOTH: Final = {
    "scores .75 and signal 10 s": "scores, AUC .75",
    "scores .85, choice, and signal 10 s": "scores, AUC .85, choice of 20",
}
"""Steps that join the signal with scores, and the step that has these scores alone."""

STEPS: Final = (
    Step("ages of calls and states hidden", "ages-hidden"),
    Step("wrap-up hidden", "wrap-hidden", learner="residual", study=Origin({10: -0.0047}, _TIMES)),
    Step("agents' signal 5 s before", "signal-5", study=Origin({10: 0.0073}, _TIMES)),
    Step(SIGNAL, "signal-10", learner="residual", study=Origin({10: 0.0159}, _TIMES)),
    Step("agents' signal 20 s before", "signal-20", study=Origin({10: 0.0152}, _TIMES)),
    Step("when every agent is free", "true-releases", study=Origin({10: 0.0212}, _TIMES)),
    Step("scores, AUC .65", "scores", 0.65, study=Origin({5: 0.0075, 10: 0.0049}, _SCORES)),
    Step(
        "scores, AUC .75",
        *("scores", 0.75, 1, "residual"),
        study=Origin({5: 0.0188, 10: 0.0109}, _SCORES),
    ),
    Step(
        "scores, AUC .75, choice of 20",
        *("scores", 0.75, 20, "residual_choice"),
        study=Origin({5: 0.0270, 10: 0.0168}, _SCORES),
    ),
    Step(
        "scores, AUC .85",
        *("scores", 0.85, 1, "residual"),
        study=Origin({5: 0.0380, 10: 0.0236}, _SCORES),
    ),
    Step(
        "scores, AUC .85, choice of 20",
        *("scores", 0.85, 20, "residual_choice"),
        study=Origin({5: 0.0559, 10: 0.0349}, _SCORES),
    ),
    Step("scores .75 and signal 10 s", "scores+signal-10", 0.75, 1, "residual"),
    Step("scores .85, choice, and signal 10 s", "scores+signal-10", 0.85, 20, "residual_choice"),
    Step(
        "who will answer",
        "true-answers",
        learner="residual",
        study=Origin({5: 0.121, 10: 0.084}, _SCORES),
    ),
)


def with_leads(scenario: Scenario, step: Step) -> Scenario:
    """The scenario, its leads with scores if the step has them."""
    if step.auc is None:
        return scenario
    leads = {"auc": step.auc, "buffer": step.buffer}
    return changed(scenario, f"{scenario.name}-leads", calls={"leads": leads})


def config_of(step: Step, seed: int, n_steps: int = N_STEPS) -> LearnerConfig:
    """Settings of the training for a step that has a learner.

    It starts as the rule that knows the same, in number and choice, and stays nearer to it than
    the default, which in short trainings leaves it for something worse.
    """
    return LearnerConfig(
        total_steps=n_steps,
        residual_bias=1.0,
        learning_rate=5e-4,
        keep_start=True,
        keep_checkpoints=2,
        knowledge=step.knowledge,
        observation="full" if step.auc is None else "leads",
        action=step.learner or "residual",
        seed=seed,
    )


def jobs_of(
    floor: Scenario, steps: Sequence[Step], seeds: Sequence[int], n_steps: int = N_STEPS
) -> dict[str, list[TrainJob]]:
    """The trainings on a floor by the step's label, one for each seed; the base among them."""
    return {
        step.label: [
            TrainJob(
                f"{floor.name}-{step.label}-{seed}",
                config_of(step, seed, n_steps),
                with_leads(floor, step),
            )
            for seed in seeds
        ]
        for step in (BASE, *steps)
        if step.learner is not None
    }


# --- what the figures are made of -----------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A step on one floor.

    Attributes:
        rule: the rule with this knowledge.
        learned: the learners with this knowledge, in the order of their seeds; may be none.
        acts: what the learners do other than the base rule, in the same order.
        steps: decisions after which each learner's checkpoint was kept; 0: before its training.
    """

    rule: AtRate
    learned: tuple[AtRate, ...] = ()
    acts: tuple[Acts, ...] = ()
    steps: tuple[int, ...] = ()


_CHOICES: Final = (LIKELIEST, LEAST, BY_RULE)


class Acts(NamedTuple):
    """What a learned policy does other than its base rule.

    Attributes:
        other: share of its decisions that place another number of calls.
        likeliest: share of its calls of which it says that they go to the likeliest lead.
        least: the same for the least likely lead.
        by_rule: share of its calls whose leads the rule chooses, call by call.
    """

    other: float
    likeliest: float
    least: float
    by_rule: float


def acts_of(
    policy: LearnedPolicy, scenario: Scenario, n_days: int = 16, n_steps: int = 7200
) -> Acts:
    """Play the first decisions of some test days and compare each with the base rule's."""
    other = 0
    calls = np.zeros(N_CHOICES)
    for decision in islice(decisions_of(policy, scenario, n_days), n_steps):
        other += int(decision.other.sum())
        calls += np.bincount(decision.choice, weights=decision.placed, minlength=N_CHOICES)
    shares = calls / max(float(calls.sum()), 1.0)
    return Acts(other / (n_days * n_steps), *(float(shares[at]) for at in _CHOICES))


def worth(base: AtRate, more: AtRate) -> Interval:
    """Utilisation with the step minus without, both at 3 % silent, or where the step stands."""
    return mean_interval(more.values() - base.values(more.own_rate))


def learned_minus(learned: Sequence[AtRate], others: Sequence[AtRate]) -> Interval:
    """Learners minus one opponent for each, seeds and days both drawn at random."""
    rows = [
        one.values() - other.values(one.own_rate)
        for one, other in zip(learned, others, strict=True)
    ]
    return crossed_interval(np.array(rows))


def verdict(gain: Interval, origin: float, half_width: tuple[float, float]) -> str:
    """Whether a gain agrees with the origin's figure, whose own interval is known to a range."""
    gap = abs(gain.value - origin)
    small, large = (math.hypot(gain.half_width, half) for half in half_width)
    if gap <= small:
        return "reproduced"
    return "reproduced if theirs is as wide as stated at most" if gap <= large else "not reproduced"


def _rates(judged: Sequence[AtRate]) -> str:
    """A remark where a policy does not reach the rate."""
    far = [f"{100 * one.own_rate:.2f} %" for one in judged if not one.reached]
    return f"; 3 % not reached, compared at {', '.join(far)}" if far else ""


def _chosen(steps: Sequence[int]) -> str:
    """A remark on which checkpoints were chosen."""
    return f"; checkpoints chosen: {', '.join(f'{step:,}' for step in steps)}" if steps else ""


def figures_of(
    floor: Scenario, step: Step, base: Found, found: Found, seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """The figures of one step on one floor."""
    where = f"{floor.name}/{step.label}"
    gain = worth(base.rule, found.rule)
    note = f"knowledge {step.knowledge!r}, theta {found.rule.policy.knob:.4f}"
    note += f", {100 * silent_rate(found.rule.days):.2f} % silent as played"
    note += _rates([found.rule])
    origin = step.study.by_agents.get(floor.floor.n_agents) if step.study else None
    if step.study is not None and origin is not None:
        said = verdict(gain, origin, step.study.half_width)
        note += f"; origin {100 * origin:+.2f} points: {said}"
    rows = [share_figure(f"{where}/rule: worth", gain, note)]
    if not found.learned:
        return rows
    gains = learned_minus(found.learned, base.learned)
    against = learned_minus(found.learned, [found.rule] * len(seeds))
    by_seed = [
        f"{100 * float((one.values() - other.values(one.own_rate)).mean()):+.2f}"
        for one, other in zip(found.learned, base.learned, strict=True)
    ]
    note = f"seeds {seeds}: {', '.join(by_seed)} points{_rates(found.learned)}"
    note += _chosen(found.steps)
    rows.append(share_figure(f"{where}/learner: worth", gains, note))
    rows.append(
        share_figure(f"{where}/learner: minus the rule", against, "with the same knowledge")
    )
    return [*rows, *_acts_rows(where, step, found.acts)]


def _acts_rows(where: str, step: Step, acts: Sequence[Acts]) -> list[dict[str, Any]]:
    """Shares of decisions and calls that are not the base rule's, over the training seeds."""
    shown = {"other decisions": ([one.other for one in acts], "another number of calls, or choice")}
    if step.learner == "residual_choice":
        shown["likeliest"] = [one.likeliest for one in acts], "calls to the likeliest lead"
        shown["least likely"] = [one.least for one in acts], "calls to the least likely lead"
        shown["as the rule"] = [one.by_rule for one in acts], "calls to leads that the rule chooses"
    rows = []
    for what, (shares, meaning) in shown.items():
        mean = mean_interval(shares)
        held = Interval(mean.value, max(mean.lo, 0.0), min(mean.hi, 1.0), mean.n)
        each = ", ".join(f"{share:.3f}" for share in shares)
        rows.append(share_figure(f"{where}/learner: {what}", held, f"{meaning}; by seed {each}"))
    return rows


def base_rows(floor: Scenario, base: Found) -> list[dict[str, Any]]:
    """Levels of rule and learners with what a dialer sees today."""
    where = f"{floor.name}/{BASE.label}"
    note = f"theta {base.rule.policy.knob:.4f}"
    rows = [share_figure(f"{where}/rule: utilisation", mean_interval(base.rule.values()), note)]
    if base.learned:
        level = crossed_interval(np.array([one.values() for one in base.learned]))
        note = f"{_rates(base.learned)}{_chosen(base.steps)}".removeprefix("; ")
        rows.append(share_figure(f"{where}/learner: utilisation", level, note))
        against = learned_minus(base.learned, [base.rule] * len(base.learned))
        rows.append(
            share_figure(f"{where}/learner: minus the rule", against, "with the same knowledge")
        )
        rows += _acts_rows(where, BASE, base.acts)
    return rows


def joint_rows(floor: Scenario, by_label: dict[str, Found]) -> list[dict[str, Any]]:
    """What signal and scores give together minus what they give apart."""
    rows = []
    base, signal = by_label[BASE.label], by_label.get(SIGNAL)
    for both, alone in BOTH.items():
        if signal is None or both not in by_label or alone not in by_label:
            continue
        joint, scores = by_label[both], by_label[alone]
        extra = joint.rule.values() + base.rule.values()
        extra -= scores.rule.values() + signal.rule.values()
        note = "below 0: less than the sum of both"
        name = f"{floor.name}/{both}"
        rows.append(share_figure(f"{name}/rule: beyond the sum", mean_interval(extra), note))
        quartets = [joint.learned, base.learned, scores.learned, signal.learned]
        if all(quartets):
            signs = (1.0, 1.0, -1.0, -1.0)
            table = sum(
                sign * np.array([one.values() for one in learned])
                for sign, learned in zip(signs, quartets, strict=True)
            )
            rows.append(
                share_figure(f"{name}/learner: beyond the sum", crossed_interval(table), note)
            )
    return rows


# --- the study ------------------------------------------------------------------------------------


def run(
    *,
    work: Path,
    processes: int,
    output: Path | None,
    console: Console,
    floors: Sequence[int] = FLOORS,
    steps: Sequence[Step] = STEPS,
    seeds: Sequence[int] = (),
    days: Days = DAYS,
    select: Days = SELECT_DAYS,
    n_steps: int = N_STEPS,
    name: str = NAME,
    of: str = "",
) -> None:
    """Train, judge, show and write (see `command.Study`).

    Args:
        work: folder of the trainings and of what was judged; a later call goes on from there.
        processes: trainings, or policies that are judged, side by side.
        output: the result file; page and picture are made from it.
        console: where progress and table go.
        floors: agents of the floors.
        steps: what policies are shown.
        seeds: training seeds, at least 2; none: the rule only.
        days: days that are played.
        select: days on which checkpoints are chosen.
        n_steps: decisions that a learner trains on.
        name: name of the result.
        of: place of the page for the tables, see `bench.results.put_figures`; the picture is made
            of the main result, "", only.
    """
    figures: list[dict[str, Any]] = []
    scenarios = {n: load_scenario(f"study-real-{n}") for n in floors}
    jobs = {
        n: jobs_of(scenarios[n], steps, seeds, n_steps) if seeds and n in LEARNERS_ON else {}
        for n in floors
    }
    every = [job for of_floor in jobs.values() for many in of_floor.values() for job in many]
    if every:
        train_all(every, work, processes, progress(console))
    for n, floor in scenarios.items():
        by_label: dict[str, Found] = {}
        for step in (BASE, *steps):
            world = with_leads(floor, step)
            trained = jobs[n].get(step.label, [])
            kept = choose(trained, work, world, RATE, select, processes=processes)
            asked: list[Policy] = [
                Marginal(0.02, step.knowledge),
                *(one.policy for one in kept),
            ]
            rule, *learned = judge_many(
                [(policy, RATE) for policy in asked],
                world,
                days,
                work / "judged",
                processes=processes,
            )
            console.print(f"{floor.name}, {step.label}: judged", highlight=False)
            acts = tuple(
                acts_of(one.policy, world)
                for one in learned
                if isinstance(one.policy, LearnedPolicy)
            )
            steps_kept = tuple(one.step for one in kept)
            by_label[step.label] = Found(rule, tuple(learned), acts, steps_kept)
        base = by_label[BASE.label]
        figures += base_rows(floor, base)
        for step in steps:
            figures += figures_of(floor, step, base, by_label[step.label], seeds)
        figures += joint_rows(floor, by_label)
    said = f"tuning days 0 to {days.tune - 1}, test days 0 to {days.test - 1}"
    if seeds:
        said += f"; training {tuple(seeds)}, {n_steps} decisions each, checkpoints chosen on "
        said += f"selection days 0 to {select.test - 1}"
    command = command_of(name)
    result = result_file(name, command, said, figures)
    console.print(page.table(result))
    if output is not None:
        write_json_atomic(output, result)
        if page.PAGE.is_file():
            put_figures(page.PAGE, page.markdown(result), of)
            if not of:
                page.save_picture(result)
