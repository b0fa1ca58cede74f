"""The result `ray-node-loss`: a sweep on a cluster loses a node, a worker and its driver.

A grid of trials is done on this machine. The same grid is then done three times on a cluster of
three local nodes (a head and two workers), and in the midst of training, after a first checkpoint,

* a node is killed, its raylet and all processes under it;
* a worker process is killed;
* the driver, the `quietdial sweep` command itself, is killed, and started again.

Asked is that every trial ends with the weights of the run that nothing disturbed, bit by bit.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console

from quietdial.agents.checkpoint import checkpoints_in
from quietdial.envs.errors import QuietDialError
from quietdial.envs.loading import write_json_atomic
from quietdial.experiments.bench.results import figure, result_file
from quietdial.experiments.executors import Plain
from quietdial.experiments.local_cluster import LocalCluster, is_alive, kill
from quietdial.experiments.stats import clopper_pearson
from quietdial.experiments.studies.command import command_of
from quietdial.experiments.sweeps.manifest import read_sweep
from quietdial.experiments.sweeps.trials import lock_of
from quietdial.experiments.train import CHECKPOINTS_FOLDER

__all__ = ["Disturbance", "Outcome", "driver", "in_training", "run", "wait_for_training", "weights"]

NAME: Final = "ray-node-loss"
COMMAND: Final = command_of(NAME)
SETTINGS: Final = (
    *("--scenario", "study-real-5", "--over", "scenario.episode.duration_s=1800"),
    *("--learner.n-envs", "8", "--learner.n-steps", "32", "--learner.batch-size", "256"),
    *("--learner.n-epochs", "4", "--learner.total-steps", "10240", "--learner.net", "16"),
    *("--learner.horizon-s", "600", "--learner.checkpoint-every", "1"),
    *("--judge.tune-days", "2", "--judge.test-days", "2", "--judge.select-days", "2"),
    "--no-export",
)
"""A training of 40 rollouts on five agents, a few seconds long."""

GRID: Final = (
    *("--over", "learner.seed=1:5", "--over", "cap=0.02,0.03,0.05"),
    *("--over", "learner.learning_rate=3e-4,1e-3"),
)
"""24 trials."""

_SMALL: Final = ("--over", "learner.seed=1:5", "--over", "cap=0.02,0.05")
_LONGEST_S: Final = 1800.0


@contextmanager
def driver(arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`quietdial sweep` in a process of its own, which ends with the context."""
    begin = "import sys; from quietdial.experiments.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", begin, "sweep", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (
        log.open("ab") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process,  # noqa: S603
    ):
        try:
            yield process
        finally:
            process.kill()


def in_training(folder: Path) -> list[tuple[str, int]]:
    """Trials of a sweep that are in the midst of training: name and process."""
    found: list[tuple[str, int]] = []
    for name, row in read_sweep(folder)["trials"].items():
        run = folder / name
        if row["status"] != "running" or not checkpoints_in(run / CHECKPOINTS_FOLDER):
            continue
        if (run / "policy").exists():
            continue  # trained, and chosen
        pid = lock_of(run).read_text(encoding="ascii").strip()
        if pid and is_alive(int(pid)):
            found.append((name, int(pid)))
    return found


def wait_for_training(
    folder: Path,
    process: subprocess.Popen[bytes],
    besides: Sequence[str] = (),
    finished: int = 0,
) -> tuple[str, int]:
    """Wait until a trial is in the midst of training; its name and process.

    Args:
        folder: of the sweep.
        process: its driver.
        besides: trials that do not count.
        finished: trials that must have ended before.

    Raises:
        QuietDialError: the driver ended before.
    """
    while process.poll() is None:
        if (folder / "sweep.json").exists():
            rows = read_sweep(folder)["trials"].values()
            if sum(row["status"] == "finished" for row in rows) >= finished:
                for name, pid in in_training(folder):
                    if name not in besides:
                        return name, pid
        time.sleep(0.02)
    raise QuietDialError(f"the sweep in {folder} ended before it could be disturbed")


def weights(folder: Path) -> dict[str, str]:
    """Fingerprints of the final weights of a sweep's trials; of unfinished ones their status."""
    return {
        name: row["result"]["weights_sha256"] if "result" in row else row["status"]
        for name, row in read_sweep(folder)["trials"].items()
    }


class Outcome(NamedTuple):
    """What came of a disturbed sweep.

    Attributes:
        hit: trials that were in the midst of training when they were disturbed.
        weights: fingerprints at the end, by trial.
        starts: how often trials were started in all.
        seconds: how long it took.
    """

    hit: list[str]
    weights: dict[str, str]
    starts: int
    seconds: float


Disturbance = Callable[[LocalCluster, Path, "subprocess.Popen[bytes]"], list[str]]
"""Does harm once in the midst of training and says which trials it hit."""


def lose_node(cluster: LocalCluster, folder: Path, process: subprocess.Popen[bytes]) -> list[str]:
    """Kill the node of a trial in training."""
    while True:
        name, pid = wait_for_training(folder, process, finished=2)
        if cluster.lose_node_of(pid):
            return [name]


def lose_worker(cluster: LocalCluster, folder: Path, process: subprocess.Popen[bytes]) -> list[str]:
    """Kill the process of a trial in training, twice."""
    first, pid = wait_for_training(folder, process)
    kill([pid])
    second, pid = wait_for_training(folder, process, besides=[first])
    kill([pid])
    return [first, second]


def lose_driver(cluster: LocalCluster, folder: Path, process: subprocess.Popen[bytes]) -> list[str]:
    """Kill the command itself."""
    wait_for_training(folder, process, finished=1)
    hit = [name for name, _ in in_training(folder)]
    process.kill()
    return hit


def disturbed(arguments: Sequence[str], folder: Path, harm: Disturbance) -> Outcome:
    """Do a sweep on a cluster of three local nodes and disturb it; start it again if it died.

    Args:
        arguments: of `quietdial sweep`, without the address.
        folder: of the sweep.
        harm: the disturbance.
    """
    began = time.monotonic()
    with LocalCluster() as cluster:
        on = [*arguments, "--ray-address", cluster.address]
        log = folder.with_suffix(".log")
        with driver(on, log) as process:
            hit = harm(cluster, folder, process)
            code = process.wait(_LONGEST_S)
        if code != 0:
            with driver(on, log) as process:
                code = process.wait(_LONGEST_S)
        if code != 0:
            raise QuietDialError(f"the sweep ended with exit code {code}; see {log}")
    rows = read_sweep(folder)["trials"].values()
    starts = sum(row.get("starts", 0) for row in rows)
    return Outcome(hit, weights(folder), starts, time.monotonic() - began)


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Do the sweep here and on clusters, compare, show and write (see `command.Study`)."""
    runs = ["--runs", str(work)]

    def arguments(name: str, grid: Sequence[str]) -> list[str]:
        return [*runs, "--name", name, *SETTINGS, *grid]

    with driver([*arguments("local", GRID), "--jobs", str(processes)], work / "local.log") as local:
        if local.wait() != 0:
            raise QuietDialError(f"the sweep on this machine failed; see {work / 'local.log'}")
    straight = weights(work / "local")
    console.print(f"{len(straight)} trials on this machine")
    rows: list[Plain] = []
    for name, grid, harm in (
        ("node killed", GRID, lose_node),
        ("workers killed", _SMALL, lose_worker),
        ("driver killed and started again", _SMALL, lose_driver),
    ):
        slug = name.split(" ", 1)[0]
        found = disturbed(arguments(slug, grid), work / slug, harm)
        expected = _expected(straight, found.weights)
        rows += _figures(name, found, expected)
        wrong = rows[-4]["value"]
        console.print(
            f"{name}: {len(found.weights)} trials ended, {wrong:.0f} with other weights; "
            f"{len(found.hit)} hit in training, {found.starts} starts, {found.seconds:.0f} s"
        )
    if output is not None:
        seeds = "training seeds 1 to 4; 2 days each for tuning, selection and test"
        write_json_atomic(output, result_file(NAME, COMMAND, seeds, rows))


def _expected(straight: dict[str, str], found: dict[str, str]) -> dict[str, str]:
    """The undisturbed weights of the same trials; the small grid has one learning rate only."""
    return {name: straight.get(name) or straight[f"{name}-learning_rate-0.001"] for name in found}


def _figures(name: str, found: Outcome, expected: dict[str, str]) -> list[dict[str, Any]]:
    n = len(expected)
    wrong = sum(found.weights[trial] != sha for trial, sha in expected.items())
    share = clopper_pearson(wrong, n)
    hit = len(found.hit)
    return [
        figure(
            f"{name}/trials with other weights than the local run",
            wrong,
            "trials",
            n * share.lo,
            n * share.hi,
            n,
            "bit by bit; Clopper-Pearson, 0 of n: one-sided 95 % bound",
        ),
        figure(f"{name}/trials hit in training", hit, "trials", hit, hit, n, ", ".join(found.hit)),
        figure(
            f"{name}/starts of trials", found.starts, "starts", found.starts, found.starts, n, ""
        ),
        figure(f"{name}/wall time", found.seconds, "s", found.seconds, found.seconds, 1, ""),
    ]
