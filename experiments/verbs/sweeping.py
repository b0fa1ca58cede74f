"""Verbs over many runs: sweep."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated, Literal

import tyro

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
