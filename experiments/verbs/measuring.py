"""Verbs that measure and prove: bench, proof, league, study, limits."""

from __future__ import annotations

import dataclasses
import os
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Final, Literal

import tyro

from quietdial.envs.errors import ConfigError
from quietdial.envs.scenario import preset_names
from quietdial.experiments.verbs.common import (
    EXIT_FAILED,
    EXIT_OK,
    Args,
    command_of,
    console_of,
    emit,
    parse,
)


@dataclasses.dataclass(frozen=True)
class BenchArgs:
    """Measure the speed of environment, rules or training, or repeat the study's figures."""

    what: Annotated[Literal["env", "rules", "study", "train"], tyro.conf.Positional] = "env"
    """env: speed against SimPy and SyncVectorEnv in the same run; rules: time that every pacing
    rule takes; study: the feasibility study's figures; train: frames per second of training
    against stable-baselines3's own defaults in the same run"""
    quick: bool = False
    """a few seconds, rough figures"""
    output: Path | None = None
    """JSON file for the figures"""


_BENCHES: Final = {
    "env": "env_speed",
    "rules": "rules_speed",
    "study": "study",
    "train": "train_speed",
}
"""What `quietdial bench` measures, and the module whose `run` does it."""


def bench(args: Args) -> int:
    """Measure the speed of the environment, the rules and training, or repeat the study."""
    asked = parse(BenchArgs, args, "bench")
    if asked.output is not None:
        from quietdial.experiments.rundir import writable_file

        writable_file(asked.output)
    module = import_module(f"quietdial.experiments.bench.{_BENCHES[asked.what]}")
    module.run(quick=asked.quick, output=asked.output, console=console_of())
    emit({"bench": asked.what, "output": _path(asked.output)})
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class ProofArgs:
    """Prove the simulator right against what is known exactly; exit code 1 if anything fails."""

    parts: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """parts to play; none: all"""
    quick: bool = False
    """a sample of each part, in seconds"""
    output: Path | None = None
    """JSON file for the figures of all finished parts"""
    fresh: bool = False
    """play again what is finished"""
    state: Path = Path("runs/proof")
    """folder that keeps finished parts until the sources change"""


def proof(args: Args) -> int:
    """Prove the simulator right against closed forms and exact models."""
    asked = parse(ProofArgs, args, "proof")
    from quietdial.experiments.proof import runner
    from quietdial.experiments.rundir import writable_file

    if asked.output is not None:
        writable_file(asked.output)
    found = runner.run(
        asked.parts,
        quick=asked.quick,
        output=asked.output,
        console=console_of(),
        fresh=asked.fresh,
        state=asked.state,
        command=command_of("proof", args),
    )
    emit(
        {
            "passed": not any(finished.failed for finished in found),
            "parts": {done.part.name: {"figures": done.figures} for done in found},
        }
    )
    return EXIT_FAILED if any(finished.failed for finished in found) else EXIT_OK


@dataclasses.dataclass(frozen=True)
class LeagueArgs:
    """Play all rules on all scenarios at equal silent rate, and show the table.

    Exit code 1 if a job failed or a rule is significantly above the exact optimum. The work folder
    keeps what is finished: after an interruption the same command goes on.
    """

    scenario: tuple[str, ...] = ()
    """preset names or YAML files; none: all presets"""
    rule: tuple[str, ...] = ()
    """participants; none: all"""
    policy: tuple[Path, ...] = ()
    """run folders of learned policies that play too"""
    rate: tuple[float, ...] = (0.03, 0.01)
    """silent / answered that every knob is tuned to"""
    half_width: float = 0.002
    """wanted half-width of the difference to marginal, utilisation (0.002: 0.2 points)"""
    least_days: int = 16
    """test days before the first look at the half-width"""
    most_days: int = 64
    """most test days; fewer in large worlds"""
    tune_agent_hours: float = 4_800.0
    """agent-hours for every knob that is tried"""
    test_agent_hours: float = 24_000.0
    """agent-hours for the figures of a rule at one rate"""
    jobs: int = os.cpu_count() or 1
    """processes of this machine"""
    ray: bool = False
    """in a Ray session of this machine"""
    ray_address: str | None = None
    """on the Ray cluster with this address, for instance 10.0.0.5:6379; files of scenarios and
    policies must be the same for all its machines. Trusted machines only"""
    work: Path = Path("runs/league")
    """folder that keeps finished jobs until what they depend on changes"""
    page: Path | None = None
    """Markdown file for the table"""
    output: Path | None = None
    """JSON file for the figures"""
    pictures: Path | None = None
    """folder for the pictures"""


def league(args: Args) -> int:
    """Play all rules on all scenarios at equal silent rate, and show the table."""
    asked = parse(LeagueArgs, args, "league")
    from quietdial.experiments.league.command import Outputs, on_processes, run_league
    from quietdial.experiments.league.settings import Settings

    where = on_processes
    if asked.ray or asked.ray_address is not None:
        from quietdial.experiments.ray_cluster import on_ray

        where = partial(on_ray, asked.ray_address)
    found = run_league(
        asked.scenario or preset_names(),
        Settings(
            rates=tuple(sorted(asked.rate, reverse=True)),
            half_width=asked.half_width,
            least=asked.least_days,
            most=asked.most_days,
            tune_agent_h=asked.tune_agent_hours,
            test_agent_h=asked.test_agent_hours,
        ),
        console_of(),
        work=asked.work,
        processes=asked.jobs,
        only=asked.rule,
        runs=tuple(str(path) for path in asked.policy),
        outputs=Outputs(page=asked.page, result=asked.output, pictures=asked.pictures),
        command=command_of("league", args),
        where=where,
    )
    emit({"passed": found.passed, "output": _path(asked.output), "page": _path(asked.page)})
    return EXIT_OK if found.passed else EXIT_FAILED


@dataclasses.dataclass(frozen=True)
class StudyArgs:
    """Train with several seeds, judge, and record the figures of a study.

    The work folder keeps finished trainings: after an interruption the same command goes on.
    """

    name: Annotated[str, tyro.conf.Positional]
    """the result: markov-optimum, ..."""
    work: Path = Path("runs/studies")
    """folder that keeps finished trainings"""
    processes: int = os.cpu_count() or 1
    """trainings at the same time, one thread each"""
    output: Path | None = None
    """JSON file for the figures"""


def study(args: Args) -> int:
    """Train with several seeds, judge, and record the figures of a study."""
    asked = parse(StudyArgs, args, "study")
    from quietdial.experiments.studies.command import run_study

    run_study(
        asked.name,
        work=asked.work,
        processes=asked.processes,
        output=asked.output,
        console=console_of(),
    )
    emit({"study": asked.name, "output": _path(asked.output)})
    return EXIT_OK


@dataclasses.dataclass(frozen=True)
class LimitsArgs:
    """Solve the Markov worlds exactly, play their optimum, prove bounds for realistic worlds."""

    quick: bool = False
    """half a minute, fewer worlds"""
    output: Path | None = None
    """JSON file for the figures"""
    page: Path | None = None
    """Markdown file whose tables are made anew from the figures in --output"""


def limits(args: Args) -> int:
    """Find what no policy can exceed: exact optima, proven bounds, the blind floor."""
    asked = parse(LimitsArgs, args, "limits")
    if asked.page is not None and asked.output is None:
        raise ConfigError("quietdial limits --page needs --output, the file of the figures")
    from quietdial.experiments.limits import refresh_page, run_limits

    run_limits(output=asked.output, quick=asked.quick, report=console_of().print)
    if asked.output is not None and asked.page is not None:
        refresh_page(asked.output, asked.page)
    emit({"output": _path(asked.output), "page": _path(asked.page)})
    return EXIT_OK


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)
