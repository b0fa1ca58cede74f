"""The result `markov-optimum`: how near learned policies come to the exact optimum.

In world `markov-10` a policy that sees busy agents and calls in flight and places calls is a table
of (b, q). :func:`judge` evaluates that table by linear algebra, as it is deployed (argmax) or
sampled, and holds it against the optimum of :mod:`quietdial.agents.optimal`; nothing is simulated,
so the only chance left is that of the training seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.optimal import CAP_RANGE, solve
from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.pacing.markov import Figures, MarkovWorld, evaluate
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.bench.results import (
    figure,
    made_by,
    put_figures,
    result_file,
    share_figure,
)
from quietdial.experiments.stats import mean_interval
from quietdial.experiments.studies.command import command_of, progress
from quietdial.experiments.studies.pool import TrainJob, cost_figure, train_all

__all__ = ["Judged", "config_of", "dial_probabilities", "judge", "run"]

NAME: Final = "markov-optimum"
COMMAND: Final = command_of(NAME)
PAGE: Final = Path("docs/markov.md")
"""Page whose table is made from the result, if it is there."""
WORLD: Final = "markov-10"
CAP: Final = 0.03
SEEDS: Final = (1, 2, 3)

ASKED: Final = {
    "mean share at its own rate": 0.995,
    "least share at its own rate": 0.992,
    "mean gap": 0.003,
    "mean share at the cap, all feasible": 0.99,
    "least share at the cap, all feasible": 0.99,
}
"""What is asked of the argmax policies: the gap at most, the shares at least."""


def config_of(seed: int) -> LearnerConfig:
    """Settings of a training: 4.9 M decisions, nothing to see but busy agents and calls in flight.

    Smaller rollouts and minibatches than the defaults, which are made for worlds with noise that no
    policy can learn away, so that there are 1,200 updates; rewards in their own unit. Steps twice
    as large with ten passes each left one seed of three at 98.4 % of the optimum.
    """
    return LearnerConfig(
        observation="markov",
        action="dials",
        total_steps=4_915_200,
        n_envs=64,
        n_steps=64,
        batch_size=1024,
        n_epochs=5,
        learning_rate=1e-3,
        gae_lambda=0.9,
        reward_scale=1.0,
        target_silent_rate=0.0285,
        seed=seed,
    )


class Judged(NamedTuple):
    """A policy beside the exact optimum.

    Attributes:
        figures: its exact long-run averages.
        share_at_own_rate: its utilisation / that of the optimum at the same silent rate.
        share_at_cap: its utilisation / that of the optimum at the cap.
        gap: optimum minus the policy's Lagrangian value at the optimum's multiplier.
    """

    figures: Figures
    share_at_own_rate: float
    share_at_cap: float
    gap: float


def dial_probabilities(
    policy: LearnedPolicy, n_agents: int, *, sampled: bool = False
) -> NDArray[np.float64]:
    """Probability of placing k calls at every (busy, in flight), (N + 1, 8 N + 1, K + 1).

    Dials that would lead beyond 8 N calls in flight, the most that the observation shows, count
    as none.

    Raises:
        ConfigError: the policy does not see `markov` or does not answer in `dials`.
    """
    if policy.observation != "markov" or policy.action != "dials":
        raise ConfigError(
            f"{policy.name}: a table needs observation 'markov' and action 'dials', not "
            f"{policy.observation!r} and {policy.action!r}"
        )
    busy, calls = np.meshgrid(np.arange(n_agents + 1), np.arange(8 * n_agents + 1), indexing="ij")
    shown = np.stack([busy.ravel(), calls.ravel()], axis=1) / n_agents
    logits = policy.logits(shown.astype(np.float32)).reshape(*busy.shape, -1)
    if sampled:
        p_dials = np.exp(logits - logits.max(axis=2, keepdims=True))
        p_dials /= p_dials.sum(axis=2, keepdims=True)
    else:
        p_dials = np.eye(logits.shape[2])[logits.argmax(axis=2)]
    for k in range(1, p_dials.shape[2]):
        p_dials[:, -k:, 0] += p_dials[:, -k:, k]
        p_dials[:, -k:, k] = 0.0
    return np.asarray(p_dials, np.float64)


def judge(p_dials: NDArray[np.float64], world: MarkovWorld, cap: float) -> Judged:
    """Hold a table against the exact optimum at its own silent rate and at the cap."""
    figures = evaluate(p_dials, *world)
    best = solve(*world[:4], cap, world[4], method="policy-iteration")
    own = solve(
        *world[:4],
        float(np.clip(figures.silent_rate, *CAP_RANGE)),
        world[4],
        method="policy-iteration",
    )
    price = best.multiplier_agent_s / world.n_agents
    value = figures.utilisation - price * (figures.silent_per_s - cap * figures.answered_per_s)
    return Judged(
        figures=figures,
        share_at_own_rate=figures.utilisation / own.utilisation,
        share_at_cap=figures.utilisation / best.utilisation,
        gap=best.utilisation - value,
    )


_MODES: Final = ("argmax", "sampled")
_SHOWN: Final[tuple[tuple[str, Callable[[Judged], float]], ...]] = (
    ("utilisation", lambda found: found.figures.utilisation),
    ("silent rate", lambda found: found.figures.silent_rate),
    ("share of the optimum at its own rate", lambda found: found.share_at_own_rate),
    ("share of the optimum at the cap", lambda found: found.share_at_cap),
    ("gap", lambda found: found.gap),
)
"""What is told of a policy, and where it stands in :class:`Judged`."""


def verdicts(found: Sequence[Judged], cap: float = CAP) -> dict[str, bool]:
    """Whether what is asked holds for the policies of all seeds, as they are deployed."""
    own = [one.share_at_own_rate for one in found]
    at_cap = [one.share_at_cap for one in found]
    feasible = all(one.figures.silent_rate <= cap for one in found)
    return {
        "mean share at its own rate": bool(np.mean(own) >= ASKED["mean share at its own rate"]),
        "least share at its own rate": min(own) >= ASKED["least share at its own rate"],
        "mean gap": bool(np.mean([one.gap for one in found]) <= ASKED["mean gap"]),
        "mean share at the cap, all feasible": feasible
        and bool(np.mean(at_cap) >= ASKED["mean share at the cap, all feasible"]),
        "least share at the cap, all feasible": feasible
        and min(at_cap) >= ASKED["least share at the cap, all feasible"],
    }


def figures_of(found: Mapping[str, Sequence[Judged]], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The published numbers: every seed, exact, and the mean over the seeds with its interval."""
    rows = []
    for mode, judged in found.items():
        for what, of in _SHOWN:
            values = [float(of(one)) for one in judged]
            for seed, value in zip(seeds, values, strict=True):
                name = f"{WORLD}/{mode}/{what}/seed-{seed}"
                rows.append(figure(name, value, "1", value, value, 1, "exact"))
            mean = mean_interval(values)
            rows.append(
                share_figure(f"{WORLD}/{mode}/{what}", mean, "mean of the seeds, t interval")
            )
    for what, met in verdicts(found["argmax"]).items():
        note = f"asked: {ASKED[what]:g}; " + ("met" if met else "not met")
        said = float(met)
        rows.append(figure(f"{WORLD}/met/{what}", said, "1", said, said, len(seeds), note))
    return rows


def markdown(result: Mapping[str, Any]) -> str:
    """The table of the page, from the content of a result file."""
    rows = {row["name"]: row for row in result["figures"]}
    names = [what for what, _ in _SHOWN]
    lines = [
        made_by(result),
        "",
        f"| Read off by | Seed | {' | '.join(name.capitalize() for name in names)} |",
        "|---" * (2 + len(names)) + "|",
    ]
    for mode in _MODES:
        for seed in SEEDS:
            cells = [f"{rows[f'{WORLD}/{mode}/{name}/seed-{seed}']['value']:.4f}" for name in names]
            lines.append(f"| {mode} | {seed} | {' | '.join(cells)} |")
        means = [rows[f"{WORLD}/{mode}/{name}"] for name in names]
        cells = [f"{row['value']:.4f} ({row['lo']:.4f} to {row['hi']:.4f})" for row in means]
        lines.append(f"| {mode} | mean | {' | '.join(cells)} |")
    lines += ["", "| Asked of argmax | At least (gap: at most) | |", "|---|---|---|"]
    for what, asked in ASKED.items():
        met = "met" if rows[f"{WORLD}/met/{what}"]["value"] else "not met"
        lines.append(f"| {what} | {asked:g} | {met} |")
    return "\n".join(lines)


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Train, evaluate exactly, show and write (see `command.Study`)."""
    scenario = load_scenario(WORLD)
    world = MarkovWorld.of(scenario)
    jobs = [TrainJob(f"{WORLD}-seed-{seed}", config_of(seed), scenario) for seed in SEEDS]
    policies = train_all(jobs, work, processes, progress(console))
    found = {
        mode: [
            judge(
                dial_probabilities(policies[job.key], world.n_agents, sampled=mode == "sampled"),
                world,
                CAP,
            )
            for job in jobs
        ]
        for mode in _MODES
    }
    table = Table("read off by", "seed", *(what for what, _ in _SHOWN))
    for mode, judged in found.items():
        for seed, one in zip(SEEDS, judged, strict=True):
            table.add_row(mode, str(seed), *(f"{float(of(one)):.4f}" for _, of in _SHOWN))
    console.print(table)
    for what, met in verdicts(found["argmax"]).items():
        console.print(f"{what}, asked {ASKED[what]:g}: {'met' if met else 'not met'}")
    if output is None:
        return
    figures = figures_of(found, SEEDS)
    figures += [
        cost_figure(f"{WORLD}/training/cpu-s/seed-{seed}", job, work)
        for seed, job in zip(SEEDS, jobs, strict=True)
    ]
    result = result_file(NAME, COMMAND, f"training {SEEDS}; evaluation has none", figures)
    write_json_atomic(output, result)
    if PAGE.is_file():
        put_figures(PAGE, markdown(result))
