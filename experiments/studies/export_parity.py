"""Do all evaluators of a bundle answer alike? The result `export-parity`.

A policy of every algorithm, trained for a moment only (what is compared is the export, not its
quality) and its last layer shaken, so that it takes all its actions; every kind of action and
deployment is among them. 10,000 vectors each, a quarter of them broken. numpy is the reference;
torch, onnxruntime and the seven programs of `examples/evaluators/` are compared. Actions must be
the same, thresholds within 1e-5.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from quietdial.agents.bundle.archive import MANIFEST
from quietdial.agents.bundle.evaluate import Answers, PlainPolicy
from quietdial.agents.bundle.load import load_bundle
from quietdial.agents.bundle.replay import Golden, golden_lines, n_differences
from quietdial.agents.bundle.vectors import sample_inputs
from quietdial.agents.bundle.write import write_policy
from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.agents.learners.config import LearnerConfig
from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_bytes_atomic, write_json_atomic
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.bench.results import figure, result_file
from quietdial.experiments.evaluate import select_seeds
from quietdial.experiments.export import look
from quietdial.experiments.rundir import make_folder
from quietdial.experiments.stats import clopper_pearson
from quietdial.experiments.studies.command import progress
from quietdial.experiments.studies.evaluators import (
    PROGRAMS,
    answers_of,
    build,
    torch_answers,
    why_not,
)
from quietdial.experiments.studies.pool import TrainJob, train_all

NAME: Final = "export-parity"
SCENARIO: Final = "study-real-5"
VECTORS: Final = 10_000
SEED: Final = 20_260

_SHORT: Final[Mapping[str, Any]] = {
    "n_envs": 16,
    "horizon_s": 600.0,
    "net": (16, 16),
    "report_every": 1,
}
_ROLLOUTS: Final[Mapping[str, Any]] = {"n_steps": 32, "total_steps": 1024}
_BATCHES: Final[Mapping[str, Any]] = {**_ROLLOUTS, "batch_size": 128}
_STORED: Final[Mapping[str, Any]] = {
    "total_steps": 1024,
    "batch_size": 64,
    "learning_starts": 64,
    "buffer_size": 2000,
}
_POLICIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "ppo, residual": {"algorithm": "ppo", **_BATCHES},
    "ppo, dials, sampled": {
        "algorithm": "ppo",
        "action": "dials",
        "deployed": "sampled",
        **_BATCHES,
    },
    "ppo-lagrangian, residual, priced": {
        "algorithm": "ppo-lagrangian",
        "conditioned": (50.0, 500.0),
        **_BATCHES,
    },
    "maskable-ppo, dials": {"algorithm": "maskable-ppo", "action": "dials", **_BATCHES},
    "a2c, threshold": {"algorithm": "a2c", "action": "threshold", **_ROLLOUTS},
    "trpo, vicidial_level": {"algorithm": "trpo", "action": "vicidial_level", **_BATCHES},
    "recurrent-ppo, residual": {"algorithm": "recurrent-ppo", "lstm": 8, **_BATCHES},
    "dqn, dials": {"algorithm": "dqn", "action": "dials", **_STORED},
    "qr-dqn, residual": {"algorithm": "qr-dqn", **_STORED},
    "sac, theta": {"algorithm": "sac", **_STORED},
}


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Train for a moment, export, ask every evaluator, record.

    Args:
        work: folder of trainings, bundles and built programs.
        processes: trainings at the same time.
        output: JSON file for the figures.
        console: where the table goes.

    Raises:
        ConfigError: a language's tools are not installed, so the result would lack it.
    """
    missing = [reason for reason in map(why_not, PROGRAMS) if reason is not None]
    if missing:
        raise ConfigError("; ".join(missing))
    work = work.resolve()  # the programs run elsewhere
    scenario = load_scenario(SCENARIO)
    jobs = [
        TrainJob(name, LearnerConfig.preset(**{**_SHORT, **settings}), scenario)
        for name, settings in _POLICIES.items()
    ]
    policies = train_all(jobs, work / "trainings", processes, progress(console))
    programs = make_folder(work / "programs")
    for language in PROGRAMS:
        build(language, programs)
    rows: list[dict[str, Any]] = []
    table = Table("Policy", "Evaluator", "Vectors", "Mismatches", "Largest difference")
    for name, trained in policies.items():
        folder = work / "bundles" / name.replace(", ", "-")
        shutil.rmtree(folder, ignore_errors=True)
        policy = shaken(trained)
        seen, _ = look(policy, scenario, select_seeds(2))
        write_policy(policy, scenario, folder, seen=seen)
        found, taken = compared(folder, programs, VECTORS)
        for evaluator, wrong, worst in found:
            share = clopper_pearson(wrong, VECTORS)
            note = f"largest difference of an answer {worst:.3g}; {taken} answers occur"
            rows.append(
                figure(f"{name}/{evaluator}", share.value, "1", share.lo, share.hi, VECTORS, note)
            )
            table.add_row(name, evaluator, f"{VECTORS:,}", str(wrong), f"{worst:.3g}")
    console.print(table)
    n = VECTORS * len(rows)
    bad = round(sum(row["value"] * VECTORS for row in rows))
    share = clopper_pearson(bad, n)
    rows.append(figure("all/all", share.value, "1", share.lo, share.hi, n, f"{bad} mismatches"))
    console.print(f"{bad} mismatches in {n:,} comparisons; 95 %: at most {share.hi:.2g}")
    if output is not None:
        command = f"quietdial study {NAME} --output {output}"
        seeds = f"trainings 1; vectors {SEED}"
        write_json_atomic(output, result_file(NAME, command, seeds, rows))


def shaken(policy: LearnedPolicy) -> LearnedPolicy:
    """The same network with random numbers added to its last layer, in float32 as all weights."""
    rng = np.random.default_rng(SEED)
    *first, last = policy.layers
    weight = last.weight + rng.normal(0.0, 1.0, last.weight.shape)
    bias = rng.normal(0.0, 0.3, last.bias.shape)
    parts = (part.astype(np.float32).astype(np.float64) for part in (weight, bias))
    return replace(policy, layers=(*first, Layer(*parts)))


def compared(folder: Path, programs: Path, n: int) -> tuple[list[tuple[str, int, float]], int]:
    """Ask every evaluator that can carry a bundle.

    Args:
        folder: the bundle.
        programs: folder of the built programs.
        n: vectors.

    Returns:
        For each evaluator its name, mismatches with numpy and largest difference of an answer; and
        how many different answers occur.
    """
    bundle = load_bundle(folder, unsigned=True)
    policy = bundle.policy
    if policy is None:
        raise ConfigError(f"{folder / MANIFEST}: a rule has nothing to compare")
    inputs = sample_inputs(policy, SEED, n)
    wanted = policy.answer(inputs)
    found = {
        "torch": torch_answers(policy, inputs),
        "onnxruntime": bundle.session().answer(inputs),
    }
    if "policy.json" in bundle.files:
        vectors = programs / "vectors.jsonl"
        write_bytes_atomic(vectors, golden_lines(Golden(inputs, wanted)))
        for language in PROGRAMS:
            found[language] = answers_of(language, programs, folder / "policy.json", vectors)
    rows = [(name, *_difference(policy, wanted, got)) for name, got in found.items()]
    return rows, len(np.unique(wanted.answer[wanted.valid]))


def _difference(policy: PlainPolicy, wanted: Answers, got: Answers) -> tuple[int, float]:
    return (
        n_differences(wanted, got, policy.decode),
        float(np.abs(wanted.answer - got.answer).max()),
    )
