"""What each piece of information is worth to the index rule: the result `information`.

The marginal rule is shown more and more, or less, and tuned to exactly 3 % silent each time; the
worth is the paired difference of utilisation to the rule that sees what a dialer sees today. The
steps that the study of the project's origin has measured (its part I) are named with its figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from quietdial.agents.rules import Marginal
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.bench.results import figure, result_file
from quietdial.experiments.evaluate import silent_rate
from quietdial.experiments.stats import Interval, mean_interval
from quietdial.experiments.studies.paired import AtRate, Days, judge_at

NAME: Final = "information"
RATE: Final = 0.03
N_TUNE_DAYS: Final = 64
N_TEST_DAYS: Final = 192
FLOORS: Final = (5, 10)


class Step(NamedTuple):
    """One thing more, or less, that the rule is shown."""

    label: str
    knowledge: str = "believed"
    auc: float | None = None  # of the leads' scores; none: all leads are alike
    buffer: int = 1  # leads among which the rule may choose
    study: dict[int, float] | None = None  # the origin's figure, utilisation, by agents


STEPS: Final = (
    Step("ages of calls and states hidden", "ages-hidden"),
    Step("wrap-up hidden", "wrap-hidden", study={10: -0.0047}),
    Step("agents' signal 5 s before", "signal-5", study={10: 0.0073}),
    Step("agents' signal 10 s before", "signal-10", study={10: 0.0159}),
    Step("agents' signal 20 s before", "signal-20", study={10: 0.0152}),
    Step("when every agent is free", "true-releases", study={10: 0.0212}),
    Step("scores, AUC .65", "scores", 0.65, 1, {5: 0.0075, 10: 0.0049, 25: 0.0021}),
    Step("scores, AUC .75", "scores", 0.75, 1, {5: 0.0188, 10: 0.0109, 25: 0.0060}),
    Step("scores, AUC .75, choice of 20", "scores", 0.75, 20, {5: 0.0270, 10: 0.0168, 25: 0.0056}),
    Step("scores, AUC .85", "scores", 0.85, 1, {5: 0.0380, 10: 0.0236, 25: 0.0127}),
    Step("scores, AUC .85, choice of 20", "scores", 0.85, 20, {5: 0.0559, 10: 0.0349, 25: 0.0134}),
    Step("scores .75 and signal 10 s", "scores+signal-10", 0.75),
    Step("scores .85, choice, and signal 10 s", "scores+signal-10", 0.85, 20),
    Step("who will answer", "true-answers", study={5: 0.121, 10: 0.084, 25: 0.042}),
)


def with_leads(scenario: Scenario, step: Step) -> Scenario:
    """The scenario, its leads with scores if the step has them."""
    if step.auc is None:
        return scenario
    leads = {"auc": step.auc, "buffer": step.buffer}
    return changed(scenario, f"{scenario.name}-leads", calls={"leads": leads})


def worth(base: AtRate, more: AtRate) -> Interval:
    """Utilisation with the step minus without, both at 3 % silent, or where the step stands."""
    return mean_interval(more.values() - base.values(more.own_rate))


def run(
    *,
    work: Path,
    processes: int,
    output: Path | None,
    console: Console,
    floors: Sequence[int] = FLOORS,
    steps: Sequence[Step] = STEPS,
    n_tune_days: int = N_TUNE_DAYS,
    n_test_days: int = N_TEST_DAYS,
) -> None:
    """Measure every step on every floor, show the table and write the figures; no training yet.

    What was measured is kept in the work folder, so that a later call goes on.
    """
    del processes
    table = Table("agents", "the rule sees also", "theta", "silent", "points", "95 %", "origin")
    figures: list[dict[str, Any]] = []
    days = Days(n_tune_days, n_test_days)

    def judged(scenario: Scenario, knowledge: str) -> AtRate:
        return judge_at(Marginal(0.02, knowledge), scenario, RATE, days, work / "judged")

    for n_agents in floors:
        scenario = load_scenario(f"study-real-{n_agents}")
        base = judged(scenario, "believed")
        for step in steps:
            more = judged(with_leads(scenario, step), step.knowledge)
            gain = worth(base, more)
            rate = silent_rate(more.days)
            origin = (step.study or {}).get(n_agents)
            note = f"the rule; knowledge {step.knowledge!r}, theta {more.policy.knob:.4f}"
            if origin is not None:
                note += f"; the origin's study {origin:+.4f}"
            if not more.reached:
                note += f"; 3 % not reached: both at {more.own_rate:.4f}"
            name = f"{scenario.name}, {step.label}: worth"
            figures.append(figure(name, gain.value, "1", gain.lo, gain.hi, n_test_days, note))
            table.add_row(
                str(n_agents),
                step.label,
                f"{more.policy.knob:.4f}",
                f"{100 * rate:.2f} %",
                f"{100 * gain.value:+.2f}",
                f"{100 * gain.lo:+.2f} to {100 * gain.hi:+.2f}",
                "" if origin is None else f"{100 * origin:+.2f}",
            )
            console.print(f"{scenario.name}: {step.label}", highlight=False)
    console.print(table)
    if output is not None:
        command = f"quietdial study {NAME} --output {output}"
        said = f"tuning days 0 to {n_tune_days - 1}, test days 0 to {n_test_days - 1}"
        write_json_atomic(output, result_file(NAME, command, said, figures))
