"""Verbs over many runs: sweep, frontier, plan."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Literal

import tyro

from quietdial.agents.learners.config import LearnerConfig
from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.config import RunConfig
from quietdial.experiments.verbs.common import (
    EXIT_FAILED,
    EXIT_OK,
    Args,
    command_of,
    console_of,
    emit,
    flag_of,
    parse,
)


@dataclasses.dataclass(frozen=True)
class SweepArgs:
    """Train many runs over seeds, caps, scenarios and settings; show the best that keeps its cap.

    Give a sweep file (YAML) first, then flags; what all trials share is given with the flags of
    `quietdial train`. The same command goes on after an interruption. On Ray, use only machines
    that you trust: whoever reaches a Ray cluster can run code on it.
    """

    over: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """KEY=VALUES, once for each setting that differs: learner.seed=0:5 (0 to 4),
    learner.learning_rate=1e-4,3e-4, scenario=italy-50,study-real-10, scenario.floor.n_agents=5,10,
    cap=0.01,0.03; to draw: loguniform:1e-5,1e-3, uniform:LO,HI, int:LO,HI, choice:a,b"""
    search: Literal["grid", "random", "optuna"] = "grid"
    """grid: all combinations; random: draws; optuna: draws that learn from earlier trials (Ray)"""
    trials: int = 0
    """how many to draw; a grid has as many as combinations"""
    search_seed: int = 1
    """seed of the search"""
    stop: Literal["none", "asha"] = "none"
    """asha: end trials early that are behind others (Ray)"""
    jobs: int = os.cpu_count() or 1
    """trials at the same time on this machine, one thread each"""
    ray: bool = False
    """on Ray Tune, on this machine"""
    ray_address: str | None = None
    """on Ray Tune, on the cluster with this address, for instance 10.0.0.5:6379; the runs folder
    must be the same for all its machines"""
    base: Annotated[RunConfig, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=RunConfig
    )
    """what all trials share; its name is the sweep's"""


def sweep(args: Args) -> int:
    """Train many runs over seeds, caps, scenarios and settings, here or on a Ray cluster."""
    from quietdial.agents.learners.config import ALGORITHM_NAMES
    from quietdial.experiments.sweeps.space import SweepConfig, load_sweep

    rest = list(args)
    start = SweepConfig()
    if rest and not rest[0].startswith("-"):
        start = load_sweep(rest.pop(0))
    base = start.base
    algorithm = flag_of(rest, "--learner.algorithm")
    if algorithm in ALGORITHM_NAMES:  # its preset fills what is not given
        base = base.model_copy(update={"learner": base.learner.with_algorithm(algorithm)})
    asked = parse(
        SweepArgs,
        rest,
        "sweep",
        default=SweepArgs(
            search=start.search,
            trials=start.trials,
            search_seed=start.search_seed,
            stop=start.stop,
            base=base,
        ),
    )
    given = {key.partition("=")[0].strip(): key for key in (*start.over, *asked.over)}
    config = SweepConfig(
        over=tuple(given.values()),
        search=asked.search,
        trials=asked.trials,
        search_seed=asked.search_seed,
        stop=asked.stop,
        base=asked.base,
    )
    command = command_of("sweep", args)
    if asked.ray or asked.ray_address is not None:
        from quietdial.experiments.sweeps.ray_tune import run_on_ray

        found = run_on_ray(
            config, console_of(), command, address=asked.ray_address, jobs=asked.jobs
        )
    else:
        from quietdial.experiments.sweeps.command import run_sweep

        found = run_sweep(config, console_of(), command, jobs=asked.jobs)
    emit(found)
    failed = any(row["status"] == "failed" for row in found["trials"].values())
    return EXIT_FAILED if failed else EXIT_OK


@dataclasses.dataclass(frozen=True)
class FrontierArgs:
    """Draw throughput against silent rate over a sweep of caps, and what a percentage point costs.

    Trained are one policy that is conditioned on the price of a silent call and one for each cap;
    drawn beside them are rules, the exact optimum where it exists, and policies of finished runs.
    """

    scenario: tuple[str, ...] = ("italy-50",)
    """preset names or YAML files"""
    cap: tuple[float, ...] = (0.005, 0.01, 0.02, 0.03, 0.05)
    """silent / answered that policies are trained under and tuned to, rising"""
    rule: tuple[str, ...] = ("progressive", "fixed-ratio", "marginal")
    """rules that are drawn"""
    policy: tuple[Path, ...] = ()
    """run folders of finished policies that are drawn too"""
    train: bool = True
    """train policies; without: rules and finished policies only"""
    price: tuple[float, float] = (20.0, 2000.0)
    """prices that the conditioned policy is trained for, agent-seconds per silent call"""
    tune_days: int = 24
    """days for the knobs"""
    test_days: int = 48
    """days for the figures"""
    jobs: int = os.cpu_count() or 1
    """trainings at the same time, one thread each"""
    out: Path = Path("runs/frontier")
    """folder for JSON, CSV, Markdown and pictures; it keeps finished trainings"""
    output: Path | None = None
    """further JSON file for the figures"""
    page: Path | None = None
    """Markdown page whose marked place gets the tables"""
    pictures: Path | None = None
    """folder for the pictures; none: with the rest"""
    learner: LearnerConfig = dataclasses.field(default_factory=LearnerConfig)
    """the trainings"""


def frontier(args: Args) -> int:
    """Draw throughput against silent rate over a sweep of caps, with the price of a call."""
    asked = parse(FrontierArgs, args, "frontier")
    from quietdial.experiments.frontier.command import FrontierOutputs, run_frontier
    from quietdial.experiments.frontier.measure import FrontierSettings

    result = run_frontier(
        asked.scenario,
        FrontierSettings(
            caps=asked.cap,
            rules=asked.rule,
            learner=asked.learner if asked.train else None,
            prices=asked.price,
            tune_days=asked.tune_days,
            test_days=asked.test_days,
        ),
        console_of(),
        out=asked.out,
        processes=asked.jobs,
        runs=asked.policy,
        outputs=FrontierOutputs(asked.output, asked.page, asked.pictures),
        command=command_of("frontier", args),
    )
    emit(result)
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class PlanArgs:
    """Say how many agents a wanted number of conversations takes, or which silent rate.

    The world stays the same but for its number of agents. Without --agents the number of agents is
    looked for; with it the silent rate at which so many agents have what is wanted.
    """

    scenario: Annotated[str, tyro.conf.Positional]
    """preset name or YAML file"""
    conversations_per_h: float | None = None
    """wanted conversations per hour of opening, all agents together"""
    conversations_per_day: float | None = None
    """or: per episode of the scenario (a day)"""
    agents: int | None = None
    """number of agents; none: it is looked for"""
    policy: str = "marginal"
    """a rule with or without its knob (ratio:2.5), a run folder, or optimal-markov"""
    rate: float | None = None
    """silent / answered that the knob is tuned to; none: 0.9 of the scenario's cap"""
    most_agents: int = 500
    """the search ends there"""
    tune_days: int = 16
    """days for the knobs"""
    test_days: int = 32
    """days for the figures"""
    output: Path | None = None
    """JSON file for the answer"""


def plan(args: Args) -> int:
    """Say how many agents, or which silent rate, a wanted number of conversations takes."""
    asked = parse(PlanArgs, args, "plan")
    from quietdial.experiments import planning
    from quietdial.experiments.config import JudgeConfig
    from quietdial.experiments.rundir import provenance, writable_file

    if (asked.conversations_per_h is None) == (asked.conversations_per_day is None):
        raise ConfigError("give either --conversations-per-h or --conversations-per-day")
    if asked.agents is not None and asked.rate is not None:
        raise ConfigError("give --agents or --rate, not both: the other one is the answer")
    if asked.output is not None:
        writable_file(asked.output)
    scenario = load_scenario(asked.scenario)
    judge = JudgeConfig(
        target_rate=asked.rate, tune_days=asked.tune_days, test_days=asked.test_days
    )
    console = console_of()
    planner = planning.Planner(
        scenario,
        planning.policy_maker(asked.policy),
        tune_days=judge.tune_days,
        test_days=judge.test_days,
        tell=lambda text: console.print(text, highlight=False),
    )
    wanted = asked.conversations_per_h
    if wanted is None:
        wanted = float(asked.conversations_per_day or 0.0) / planner.open_h
    found: planning.AgentsPlan | planning.RatePlan
    if asked.agents is None:
        found = planner.agents_for(wanted, judge.target(scenario.rule.cap), asked.most_agents)
        sentence = planning.agents_sentence(found)
    else:
        found = planner.rate_for(wanted, asked.agents)
        sentence = planning.rate_sentence(found)
    result = {**provenance(command_of("plan", args)), "answer": sentence, **found.to_dict()}
    if asked.output is not None:
        write_json_atomic(asked.output, result)
    emit(result)
    console.print(planning.plan_table(found.tried))
    console.print(sentence, highlight=False)
    return EXIT_OK
