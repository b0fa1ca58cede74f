"""Kill trainings at random moments, go on with each, and compare with ones that nothing disturbed.

Every run is a process of its own, ended by SIGKILL or SIGTERM at a random moment after it opened
its run folder (one in ten: while it starts), again and again; `quietdial resume` goes on each time.
At the end weights, verdict, log, checkpoints and everything that TensorBoard shows must be those of
the same run undisturbed. Processes are forked from one that has imported the libraries, so that the
kills hit the run and not the imports.
"""

from __future__ import annotations

import json
import logging
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from quietdial.agents.checkpoint import checkpoints_in
from quietdial.envs.errors import QuietDialError
from quietdial.envs.loading import write_json_atomic, write_yaml
from quietdial.envs.scenario import changed, load_scenario
from quietdial.experiments.bench.results import figure, put_figures, result_file
from quietdial.experiments.proof.parts import Figure, failures
from quietdial.experiments.proof.runner import sources_sha256
from quietdial.experiments.rundir import make_folder, read_jsonl
from quietdial.experiments.stats import clopper_pearson
from quietdial.experiments.studies.nursery import Nursery, Process

NAME: Final = "kill-storm"
PAGE: Final = Path("docs/resume.md")
KILLS: Final = 100
"""Kills in all, at least."""

KILLS_OF_A_RUN: Final = 9
"""After so many kills a run is left alone."""

_SHORT: Final = {"study-real-5": 600.0, "study-shift-10": 600.0, "italy-5": 900.0}
"""Worlds with a short day [s], so that judging them is short."""

_SMALL: Final = (
    "--no-export",
    "--learner.n-envs=16",
    "--learner.net=16",
    "--learner.horizon-s=60",
    "--learner.checkpoint-every=3",
    "--learner.report-every=256",
    "--judge.tune-days=2",
    "--judge.test-days=2",
    "--judge.select-days=2",
    "--quiet",
)
_ON_POLICY: Final = ("--learner.n-steps=16", "--learner.batch-size=64")
_STORED: Final = ("--learner.batch-size=64", "--learner.learning-starts=256")
_PRICES: Final = ("--learner.multiplier=fixed", "--learner.conditioned", "50", "500")

RUNS: Final[dict[str, tuple[str, ...]]] = {
    "ppo": ("ppo", *_ON_POLICY),
    "ppo-lagrangian": ("ppo-lagrangian", *_ON_POLICY),
    "maskable-ppo": ("maskable-ppo", *_ON_POLICY, "--learner.action=dials"),
    "a2c": ("a2c", "--learner.n-steps=16", "--learner.total-steps=16384"),
    "trpo": ("trpo", *_ON_POLICY),
    "recurrent-ppo": ("recurrent-ppo", *_ON_POLICY, "--learner.total-steps=4096"),
    "dqn": ("dqn", *_STORED),
    "qr-dqn": ("qr-dqn", *_STORED),
    "sac": ("sac", *_STORED, "--learner.total-steps=4096"),
    "ppo-lagrangian, many prices": (
        "ppo-lagrangian",
        *_ON_POLICY,
        *_PRICES,
    ),
    "dqn, many prices": ("dqn", *_STORED, *_PRICES),
    "ppo-lagrangian, three floors": (
        "ppo-lagrangian",
        *_ON_POLICY,
        "--floors.scenarios",
        "study-real-5",
        "study-shift-10",
        "italy-5",
    ),
    "qr-dqn, two floors": (
        "qr-dqn",
        *_STORED,
        "--floors.scenarios",
        "study-real-5",
        "study-shift-10",
    ),
    "ppo-lagrangian, full world": ("ppo-lagrangian", *_ON_POLICY, "--scenario=italy-5"),
}
"""What is trained, by name: the algorithm, then flags."""


@dataclass(frozen=True)
class Storm:
    """What happened to one run.

    Attributes:
        name: which of `RUNS`.
        seed: of the learner and of the moments.
        sigkills: how often it was killed.
        sigterms: how often it was asked to stop.
        resumes: how often it was gone on with.
        same: whether the weights are those of the undisturbed run, bit for bit.
        twice: values that TensorBoard or the log show twice.
        missing: values that they show of the undisturbed run only, or other values.
        otherwise: what else differs.
    """

    name: str
    seed: int
    sigkills: int
    sigterms: int
    resumes: int
    same: bool
    twice: int
    missing: int
    otherwise: tuple[str, ...]

    @property
    def kills(self) -> int:
        """Signals in all."""
        return self.sigkills + self.sigterms


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Let the storm pass over all runs, show the table and write the figures; see command.py."""
    sources = sources_sha256()
    storms: list[Storm] = []
    seed = 0
    while sum(storm.kills for storm in storms) < KILLS:
        seed += 1
        jobs = [(name, seed) for name in RUNS]
        with ThreadPoolExecutor(processes) as pool:
            for storm in pool.map(lambda job: _kept(job[0], job[1], work, sources), jobs):
                storms.append(storm)
                console.print(
                    f"{storm.name}, seed {storm.seed}: {storm.kills} kills, "
                    f"{'same weights' if storm.same else 'OTHER WEIGHTS'}",
                    highlight=False,
                )
    found = figures(storms)
    text = markdown(found)
    console.print(text, highlight=False)
    if output is not None:
        command = f"quietdial study {NAME} --output {output}"
        seeds = f"learner.seed 1 to {seed}; moments of the kills from (run, seed)"
        write_json_atomic(output, result_file(NAME, command, seeds, found))
        if PAGE.is_file():
            put_figures(PAGE, text, NAME)


# -------------------------------------------------------------------------------- one run


def _kept(name: str, seed: int, work: Path, sources: str) -> Storm:
    """The storm over one run, from an earlier call if nothing changed since."""
    path = work / f"{list(RUNS).index(name):02d}-{seed}.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept.pop("sources") == sources:
            return Storm(**{**kept, "otherwise": tuple(kept["otherwise"])})
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there is none, or it is of other sources
    storm = storm_over(name, seed, work / path.stem)
    write_json_atomic(path, {**asdict(storm), "sources": sources})
    return storm


def storm_over(
    name: str, seed: int, folder: Path, *, most: int = KILLS_OF_A_RUN, steps: int = 8192
) -> Storm:
    """Train one run undisturbed and once more in the storm, and compare.

    Args:
        name: which of `RUNS`.
        seed: of the learner, and of the moments.
        folder: where both lie; must be empty or missing.
        most: kills after which the run is left alone.
        steps: environment steps to train, unless the run says otherwise.

    Raises:
        QuietDialError: a process failed that nobody killed.
    """
    for path in sorted(folder.rglob("*"), reverse=True):  # of a call that was interrupted
        path.rmdir() if path.is_dir() else path.unlink()
    worlds = _short_worlds(make_folder(folder / "worlds"))
    algorithm, *flags = (worlds.get(flag, flag) for flag in RUNS[name])
    flags = [
        f"--scenario={worlds[flag.removeprefix('--scenario=')]}"
        if flag.startswith("--scenario=")
        else flag
        for flag in flags
    ]
    if not any(flag.startswith("--scenario=") for flag in flags):
        flags.append(f"--scenario={worlds['study-real-5']}")
    if not any(flag.startswith("--learner.total-steps") for flag in flags):
        flags.append(f"--learner.total-steps={steps}")
    train = ["train", f"--learner.algorithm={algorithm}", *_SMALL, *flags]
    train += [f"--learner.seed={seed}", f"--runs={folder}"]
    whole, run = folder / "whole", folder / "storm"
    draw = random.Random(f"{name} {seed}")  # noqa: S311  # moments, not secrets
    with Nursery() as nursery:
        process = nursery.start([*train, "--name=whole"])
        opened = process.wait_until_open(whole)
        _must_end_well(process, whole)
        life_s = time.monotonic() - opened
        storm = Storm(name, seed, 0, 0, 0, False, 0, 0, ())
        command = [*train, "--name=storm"]
        while True:
            process = nursery.start(command)
            if storm.kills >= most or not _hit(process, run, draw, life_s):
                _must_end_well(process, run)
                break
            sigkill = process.code == -signal.SIGKILL
            storm = replace(
                storm,
                sigkills=storm.sigkills + sigkill,
                sigterms=storm.sigterms + (not sigkill),
            )
            if (run / "manifest.json").exists():
                command = ["resume", str(run), "--quiet"]
                storm = replace(storm, resumes=storm.resumes + 1)
    return replace(storm, **compared(run, whole))


def _hit(process: Process, run: Path, draw: random.Random, life_s: float) -> bool:
    """Send a signal at a random moment; False if the process ended before."""
    if draw.random() < 0.1:
        time.sleep(draw.uniform(0.0, 0.2))
    else:
        process.wait_until_open(run)
        time.sleep(draw.uniform(0.0, 0.5 * life_s))
    number = signal.SIGKILL if draw.random() < 0.7 else signal.SIGTERM
    code = process.end(number)
    if code in (-signal.SIGKILL, 128 + signal.SIGTERM, -signal.SIGTERM):
        return True
    if code != 0:
        raise QuietDialError(f"{run}: ended with {code} when signal {number} came")
    return False


def _must_end_well(process: Process, run: Path) -> None:
    code = process.wait()
    if code != 0:
        raise QuietDialError(f"{run}: ended with {code} though nobody disturbed it")


def _short_worlds(folder: Path) -> dict[str, str]:
    worlds = {}
    for name, duration_s in _SHORT.items():
        scenario = changed(load_scenario(name), episode={"duration_s": duration_s})
        path = folder / f"{name}.yaml"
        write_yaml(path, scenario.model_dump(mode="json", exclude_none=True))
        worlds[name] = str(path)
    return worlds


# -------------------------------------------------------------------------------- comparing


def compared(run: Path, whole: Path) -> dict[str, Any]:
    """How a run differs from one that nothing disturbed: fields of `Storm`."""
    manifests = [json.loads((path / "manifest.json").read_text("utf-8")) for path in (run, whole)]
    results = [manifest["results"] for manifest in manifests]
    here, there = shown_in_tensorboard(run), shown_in_tensorboard(whole)
    rows, expected = log_rows(run), log_rows(whole)
    steps = Counter(row["step"] for row in rows)
    twice = sum(n - 1 for n in here.values()) + sum(n - 1 for n in steps.values())
    missing = len(there.keys() ^ here.keys())
    missing += sum(row not in rows for row in expected) + max(len(rows) - len(expected), 0)
    otherwise = []
    if results[0]["verdict"] != results[1]["verdict"]:
        otherwise.append("verdict")
    left = [[step for step, _ in checkpoints_in(path / "checkpoints")] for path in (run, whole)]
    if left[0] != left[1]:
        otherwise.append("checkpoints")
    if [path.name for path in run.rglob(".*.tmp")]:
        otherwise.append("debris")
    return {
        "same": results[0]["weights_sha256"] == results[1]["weights_sha256"],
        "twice": twice,
        "missing": missing,
        "otherwise": tuple(otherwise),
    }


def shown_in_tensorboard(run: Path) -> Counter[tuple[str, int]]:
    """How many values TensorBoard shows of each tag at each step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of every purge
    everything = {"scalars": 0, "tensors": 0, "images": 0}
    events = EventAccumulator(str(run), size_guidance=everything).Reload()
    tags = events.Tags()
    shown = [(tag, e.step) for tag in tags["scalars"] for e in events.Scalars(tag)]
    shown += [(tag, e.step) for tag in tags["images"] for e in events.Images(tag)]
    shown += [(tag, e.step) for tag in tags["tensors"] for e in events.Tensors(tag)]
    return Counter(shown)


def log_rows(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's log without times."""
    rows = read_jsonl(run / "train.jsonl")
    return [{key: row[key] for key in row if not key.startswith("time/")} for row in rows]


# -------------------------------------------------------------------------------- figures


def figures(storms: Sequence[Storm]) -> list[Figure]:
    """All figures: by run, then in all."""
    rows: list[Figure] = []
    for name in dict.fromkeys(storm.name for storm in storms):
        its = [storm for storm in storms if storm.name == name]
        rows += _counts(name, its)
    rows += _counts("all", storms)
    n_runs = len(storms)
    kills = sum(storm.kills for storm in storms)
    for what, named in (
        ("other weights", [s for s in storms if not s.same]),
        ("a value twice in TensorBoard or the log", [s for s in storms if s.twice]),
        ("a value missing in TensorBoard or the log", [s for s in storms if s.missing]),
        ("another verdict, other checkpoints or debris", [s for s in storms if s.otherwise]),
    ):
        found = [f"{s.name} seed {s.seed} {s.otherwise or ''}".strip() for s in named]
        rows.append(failures(f"runs with {what}", found, n_runs, f"after {kills} kills"))
    share = clopper_pearson(sum(not storm.same for storm in storms), kills)
    rows.append(
        figure(
            "kills that changed weights",
            share.value,
            "1",
            share.lo,
            share.hi,
            kills,
            "at most the runs with other weights, of all kills; 95 %",
        )
    )
    return rows


def _counts(name: str, storms: Sequence[Storm]) -> list[Figure]:
    def count(what: str, value: int, note: str) -> Figure:
        return figure(f"{name}/{what}", value, what, value, value, len(storms), note)

    return [
        count("SIGKILL", sum(s.sigkills for s in storms), "kills"),
        count("SIGTERM", sum(s.sigterms for s in storms), "kills"),
        count("resumes", sum(s.resumes for s in storms), "the others started anew"),
        count("same weights", sum(s.same for s in storms), f"of {len(storms)} runs, bit for bit"),
        count("twice", sum(s.twice for s in storms), "values in TensorBoard and the log"),
        count("missing", sum(s.missing for s in storms), "values in TensorBoard and the log"),
    ]


def markdown(rows: Sequence[Figure]) -> str:
    """The table of the page."""
    head = ("SIGKILL", "SIGTERM", "resumes", "same weights", "twice", "missing")
    named = {row["name"]: row for row in rows}
    lines = [
        f"| run | runs | {' | '.join(head)} |",
        f"|---|{'---:|' * (1 + len(head))}",
    ]
    for row in rows:
        name, _, what = row["name"].rpartition("/")
        if what == head[0]:
            cells = [f"{named[f'{name}/{column}']['value']:g}" for column in head]
            shown = f"**{name}**" if name == "all" else name
            lines.append(f"| {shown} | {row['n']} | {' | '.join(cells)} |")
    bound = named["kills that changed weights"]
    lines += [
        "",
        f"Of {bound['n']} kills {bound['value'] * bound['n']:g} changed the weights: "
        f"less than {100 * bound['hi']:.2g} % at 95 %.",
    ]
    return "\n".join(lines)
