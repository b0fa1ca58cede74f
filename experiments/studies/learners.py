"""The result `learners`: what each algorithm reaches with its preset, at exactly one silent rate.

All nine algorithms of `learners.config` on `study-real-10`, each with its own preset and its
natural action, three training seeds; besides, `ppo-lagrangian` with the actions `threshold` and
`vicidial_level`, and evolution strategies on the weights of an index rule. Trainings are shorter
than those of the presets, so that all fit into a quarter of an hour of one core. The policy at the
end of a training is judged: no checkpoint is chosen, which would hide what a training does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.policy import Policy
from quietdial.agents.rules.catalogue import rule_named
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
from quietdial.experiments.evaluate import make_world, test_seeds
from quietdial.experiments.evolve import (
    RULE_FILE,
    EvolutionConfig,
    load_rule,
    rule_values,
    search,
)
from quietdial.experiments.rundir import config_sha256, make_folder, provenance
from quietdial.experiments.stats import Interval, mean_interval
from quietdial.experiments.studies.command import command_of, progress
from quietdial.experiments.studies.decisions import decisions_of
from quietdial.experiments.studies.paired import Comparison, compare_at_rate
from quietdial.experiments.studies.pool import TrainJob, cost_of, train_all

NAME: Final = "learners"
COMMAND: Final = command_of(NAME)
PAGE: Final = Path("docs/learners.md")
"""Page whose tables are made from the result, if it is there."""

WORLD: Final = "study-real-10"
RATE: Final = 0.03
SEEDS: Final = (1, 2, 3)
TUNE_DAYS, TEST_DAYS = 12, 40
RATIO, BASE = "fixed-ratio", "marginal"

NEAR: Final = 0.004
"""Below the base rule by less than this, lower end of the interval: as good as it."""

STAYS: Final = 0.005
"""A policy with this share of other decisions, or less, is its base rule."""


@dataclass(frozen=True)
class Line:
    """One row of the table.

    Attributes:
        algorithm: which learner.
        action: what it decides.
        steps: decisions of a training.
        settings: what its settings differ in from the preset.
    """

    algorithm: str
    action: str
    steps: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name among the figures."""
        return f"{self.algorithm}, {self.action}"

    def config(self, seed: int) -> LearnerConfig:
        """Settings of a training."""
        given = {"algorithm": self.algorithm, "action": self.action, "total_steps": self.steps}
        return LearnerConfig.model_validate({**given, "seed": seed, **self.settings})


LINES: Final = (
    Line("a2c", "residual", 2_000_000),
    Line("dqn", "residual", 500_000),
    Line("recurrent-ppo", "residual", 500_000),
    Line("trpo", "residual", 1_000_000),
    Line("sac", "theta", 200_000),
    Line("qr-dqn", "residual", 200_000),
    Line("ppo-lagrangian", "residual", 600_000),
    Line("ppo", "residual", 600_000),
    Line("maskable-ppo", "residual", 600_000),
    Line("ppo-lagrangian", "threshold", 600_000),
    Line("ppo-lagrangian", "vicidial_level", 200_000, {"gamma": 0.9}),
)
"""All rows of learners; the discount of `vicidial_level` is no preset's (docs/learners.md)."""

EVOLVED: Final = "evolution, predict1-pi"
SEARCH: Final[dict[str, Any]] = {
    "rule": "predict1-pi",
    "settings": ("gain", "integral_s", "pi_period_s", "window_s", "target_silent_pct"),
    "generations": 8,
    "campaigns": 32,
    "horizon_s": 3600.0,
}
"""The row of evolution strategies: the settings of the loop that UNICOM's dialer runs. With its
limits among them (`min_waiting`) the search ended where the rule only dials progressively."""


def jobs_of(line: Line, scenario: Scenario, seeds: Sequence[int] = SEEDS) -> list[TrainJob]:
    """The trainings of a row, one for each seed."""
    return [TrainJob(f"{line.name}-{seed}", line.config(seed), scenario) for seed in seeds]


def departures(
    policy: LearnedPolicy, scenario: Scenario, n_days: int = 8, n_steps: int = 7200
) -> float | None:
    """Share of the first decisions of some test days that are not the commonest thing to do.

    For residual actions that is what the base rule does; for thresholds, the level or number (to
    two digits) that is chosen most often. None for actions without a base.
    """
    if policy.spec.action == "residual":
        other = [
            float(one.other.mean())
            for one in islice(decisions_of(policy, scenario, n_days), n_steps)
        ]
        return float(np.mean(other))
    if policy.action != "theta":
        return None
    world = make_world(policy, scenario, n_days)
    everywhere = np.ones(n_days, np.bool_)
    world.begin(everywhere, [int(seed) for seed in test_seeds(n_days)])
    state: object | None = None
    chosen = []
    for _ in range(n_steps):
        actions, state = policy.act(world.observe(), state)
        chosen.append(np.round(np.log(np.asarray(actions).ravel()), 1))
        world.step(actions, everywhere)
    _, counts = np.unique(np.array(chosen), return_counts=True)
    return float(1.0 - counts.max() / counts.sum())


def verdict(found: Comparison, other: float | None) -> str:
    """What is to be thought of a learner, in words, from the intervals alone."""
    ratio, base = found.against(RATIO), found.against(BASE)
    if not all(one.reached for one in found.learned) and base.difference.hi < 0.0:
        return "not recommended: it cannot be set to the rate, and is below `marginal`"
    if ratio.difference.lo <= 0.0:
        return "not recommended: not shown to beat the fixed ratio"
    if base.difference.lo >= -NEAR:
        same = other is not None and other <= STAYS
        return "its base rule, never left" if same else "recommended: as good as `marginal`"
    if base.difference.hi < 0.0:
        return "not recommended: beats the fixed ratio, but is below `marginal`"
    return "beats the fixed ratio; not shown to be as good as `marginal`"


def figures_of(
    name: str,
    found: Comparison,
    others: Sequence[float | None],
    costs: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The figures of one row; `costs`: of its trainings, if there were any."""
    known = [one for one in others if one is not None]
    other = None if not known else float(np.mean(known))
    rates = [
        float(o.days.days["silent"].sum() / o.days.days["answered"].sum()) for o in found.learned
    ]
    own = ", ".join(f"{100 * rate:.2f} %" for rate in rates)
    missed = [seed for seed, one in zip(SEEDS, found.learned, strict=False) if not one.reached]
    note = f"silent as played, by seed: {own}"
    if missed:
        note += f"; {100 * RATE:g} % not reached by seeds {missed}, judged at their own rate"
    rows = [share_figure(f"{name}: utilisation", found.utilisation, note)]
    if costs:
        steps = float(costs[0]["steps"])
        cpu = mean_interval([float(cost["cpu_s"]) for cost in costs])
        rows += [
            figure(f"{name}: steps", steps, "1", steps, steps, len(costs), ""),
            figure(f"{name}: training", cpu.value, "s", cpu.lo, cpu.hi, cpu.n, "CPU time"),
        ]
    for what in (RATIO, BASE):
        row = found.against(what)
        each = ", ".join(f"{100 * gap:+.2f}" for gap in row.by_seed)
        rows.append(share_figure(f"{name}: minus {what}", row.difference, f"by seed {each}"))
    if other is not None:
        mean = mean_interval(known)
        held = Interval(mean.value, max(mean.lo, 0.0), min(mean.hi, 1.0), mean.n)
        each = ", ".join(f"{share:.3f}" for share in known)
        rows.append(share_figure(f"{name}: other decisions", held, f"by seed {each}"))
    value = 1.0 if found.against(RATIO).difference.lo > 0.0 else 0.0
    said = verdict(found, other)
    return [*rows, figure(f"{name}: beats the ratio", value, "0 or 1", value, value, 1, said)]


def markdown(result: Mapping[str, Any]) -> str:
    """The table of the page, from the content of a result file."""
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in result["figures"]:
        subject, what = row["name"].rsplit(": ", 1)
        rows.setdefault(subject, {})[what] = row
    lines = [
        made_by(result),
        "",
        f"| Learner, action | M steps | CPU [s] | Utilisation [%] | Minus `{RATIO}` [points] | "
        f"Minus `{BASE}` [points] | Other decisions [%] | Verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    remarks = []
    for name, its in rows.items():
        level, other = its["utilisation"], its.get("other decisions")
        if "not reached" in str(level["note"]):
            remarks.append(f"- {name}: {level['note']}.")
        cells = (
            name,
            f"{its['steps']['value'] / 1e6:.2g}" if "steps" in its else "",
            f"{its['training']['value']:.0f}" if "training" in its else "",
            f"{100 * level['value']:.1f} ({100 * level['lo']:.1f} to {100 * level['hi']:.1f})",
            points(its[f"minus {RATIO}"]),
            points(its[f"minus {BASE}"]),
            "" if other is None else f"{100 * other['value']:.1f}",
            str(its["beats the ratio"]["note"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *([""] if remarks else []), *remarks])


def compare(
    name: str, policies: Sequence[Policy], work: Path, processes: int, console: Console
) -> Comparison:
    """The policies of a row against the fixed ratio and `marginal`."""
    return compare_at_rate(
        policies,
        [rule_named(RATIO), rule_named(BASE)],
        load_scenario(WORLD),
        RATE,
        n_tune=TUNE_DAYS,
        n_test=TEST_DAYS,
        tolerance=0.05,
        most_trials=5,
        names=(RATIO, BASE),
        work=work / "judged",
        processes=processes,
        said=lambda text: console.print(f"{name}: {text}", highlight=False),
    )


def evolved(work: Path, scenario: Scenario, seeds: Sequence[int] = SEEDS) -> list[Policy]:
    """Rules found by evolution strategies, one for each seed; kept in the work folder."""
    found = []
    for seed in seeds:
        config = EvolutionConfig(seed=seed, **SEARCH)
        folder = work / f"evolution-{config_sha256(config.model_dump(mode='json'))[:16]}"
        path = folder / RULE_FILE
        if not path.is_file():
            make_folder(folder)
            write_json_atomic(path, rule_values(config.rule, search(config, scenario)))
        found.append(load_rule(folder))
    return found


def run(
    *,
    work: Path,
    processes: int,
    output: Path | None,
    console: Console,
    lines: Sequence[Line] = LINES,
) -> None:
    """Train, judge, show and write, one row after the other (see `command.Study`).

    The result is written after every row, so that an interrupted study leaves the rows it has.
    """
    scenario, origin = load_scenario(WORLD), provenance(COMMAND)
    figures: list[dict[str, Any]] = []
    for line in lines:
        jobs = jobs_of(line, scenario)
        trained = train_all(jobs, work, processes, progress(console))
        policies = list(trained.values())
        found = compare(line.name, policies, work, processes, console)
        others = [departures(policy, scenario) for policy in policies]
        figures += figures_of(line.name, found, others, [cost_of(job, work) for job in jobs])
        if output is not None:
            _write(output, figures, origin)
    found = compare(EVOLVED, evolved(work, scenario), work, processes, console)
    figures += figures_of(EVOLVED, found, [], [])
    if output is not None:
        _write(output, figures, origin)
    table = Table("learner, action", "utilisation", f"minus {RATIO}", f"minus {BASE}", "")
    for row in markdown(_result(figures, origin)).splitlines():
        if row.startswith("| ") and "Verdict" not in row:
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            table.add_row(cells[0], *cells[3:6], cells[7])
    console.print(table)


def _result(figures: Sequence[dict[str, Any]], origin: Mapping[str, Any]) -> dict[str, Any]:
    """The content of the result file."""
    seeds = f"training {SEEDS}; tuning days 0 to {TUNE_DAYS - 1}, test days 0 to {TEST_DAYS - 1}"
    return result_file(NAME, COMMAND, seeds, figures, origin)


def _write(output: Path, figures: Sequence[dict[str, Any]], origin: Mapping[str, Any]) -> None:
    """Write the result file, and the page made from it."""
    result = _result(figures, origin)
    write_json_atomic(output, result)
    if PAGE.is_file():
        put_figures(PAGE, markdown(result))
