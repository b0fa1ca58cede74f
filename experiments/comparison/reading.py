"""Judged runs, from the result files in their folders; event files are never read.

Of each run these are read: `manifest.json` (configuration), `evaluation.json` (cap, knobs, sweeps),
`days.csv` (totals of the judged days of its policy and of the rules), `train.jsonl` (its learning
curves) and the bytes of `scenario.yaml`, which tell whether two runs met the same world.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from quietdial.envs.errors import ConfigError, QuietDialError, RunFolderError
from quietdial.experiments.rundir import read_jsonl
from quietdial.experiments.runs import (
    find_runs,
    read_days,
    read_manifest,
    read_result,
    setting,
)
from quietdial.experiments.stats import PolicyDays, exchange_rate
from quietdial.experiments.stats.intervals import FloatArray

CURVES: Final = (
    "pacing/utilisation",
    "pacing/conversations_per_agent_h",
    "pacing/reward",
    "safety/silent_rate",
    "safety/cost_per_agent_h",
    "safety/multiplier",
    "train/entropy_loss",
    "train/approx_kl",
    "train/explained_variance",
    "time/fps",
)
"""Quantities of `train.jsonl` that are compared."""

EACH_RUN: Final = "run"
"""Key that makes every run a group of its own."""


@dataclass(frozen=True, eq=False)
class JudgedRule:
    """A rule as it was judged beside one run.

    Attributes:
        days: its judged days, at the knob to which it was tuned.
        reached: whether its knob could be tuned to the run's silent rate.
        sweep: silent rate and utilisation (fractions) on the tuning days, by knob.
        slope: utilisation for each unit of the silent rate along its knob near the run's rate;
            None if that is not known.
    """

    days: PolicyDays
    reached: bool
    sweep: tuple[tuple[float, float], ...]
    slope: float | None


@dataclass(frozen=True, eq=False)
class JudgedRun:
    """A run with what its judge found.

    Attributes:
        name: what it is called in the report.
        path: its folder.
        group: value of the setting by which runs are grouped.
        seed: seed of its learner; -1 if it has none.
        scenario: name of the world.
        world: fingerprint of the world's file.
        cap: the allowed silent rate, fraction.
        steps: environment steps trained.
        feasible: whether its checkpoint surely kept the limits on the selection days; None if that
            was not asked.
        days: judged days of its policy.
        rules: the rules judged beside it, by name.
        curves: steps and values of `CURVES` by name, (K, 2) each, rising; those that it logged.
        config: its configuration.
        command: the command that made it; empty if that is not known.
        commit: the commit it was made at, marked if files differed; empty if not known.
    """

    name: str
    path: Path
    group: str
    seed: int
    scenario: str
    world: str
    cap: float
    steps: int
    feasible: bool | None
    days: PolicyDays
    rules: Mapping[str, JudgedRule]
    curves: Mapping[str, FloatArray]
    config: Mapping[str, Any]
    command: str
    commit: str


@dataclass(frozen=True)
class LeftOut:
    """A run that is not compared, and the one reason."""

    name: str
    reason: str


def read_runs(paths: Sequence[Path], by: str) -> tuple[list[JudgedRun], list[LeftOut]]:
    """All runs in these folders, and those that cannot be compared.

    Args:
        paths: runs, or folders of runs.
        by: setting that makes the groups, dotted, such as `learner.algorithm`; `run`: each its own.

    Raises:
        RunFolderError: a path is no folder.
        ConfigError: no run at all was found, or none can be compared.
    """
    folders: list[Path] = []
    seen: set[Path] = set()
    for path in paths:
        for run in find_runs(path):
            if run.resolve() not in seen:
                seen.add(run.resolve())
                folders.append(run)
    if not folders:
        raise ConfigError(
            f"{', '.join(map(str, paths))}: no run in there; give runs, or folders of runs"
        )
    names = _names(folders)
    runs: list[JudgedRun] = []
    left_out: list[LeftOut] = []
    for folder in folders:
        try:
            runs.append(_read_run(folder, names[folder], by))
        except QuietDialError as error:
            reason = " ".join(str(error).replace(f"{folder}/", "").split())
            left_out.append(LeftOut(names[folder], reason))
    if not runs:
        first = left_out[0]
        raise ConfigError(
            f"none of {len(folders)} runs can be compared; the first, {first.name}: {first.reason}"
        )
    return runs, left_out


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """The shortest end of each path that tells it from the others; at most three parts."""
    for parts in (1, 2, 3):
        names = {folder: "/".join(folder.resolve().parts[-parts:]) for folder in folders}
        if len(set(names.values())) == len(folders):
            return names
    return {folder: str(folder) for folder in folders}


def _read_run(folder: Path, name: str, by: str) -> JudgedRun:
    manifest = read_manifest(folder)
    if not (folder / "evaluation.json").exists():
        raise RunFolderError(
            f"{manifest['status']} and not judged; finish it, or judge it with quietdial evaluate"
        )
    result, config = read_result(folder), manifest["config"]
    try:
        world = hashlib.sha256((folder / "scenario.yaml").read_bytes()).hexdigest()
    except OSError:
        raise RunFolderError("scenario.yaml: missing, so its world is not known") from None
    cap, scenario = result.get("cap"), result.get("scenario")
    if not isinstance(cap, int | float) or not 0.0 < cap <= 1.0 or not isinstance(scenario, str):
        raise RunFolderError("evaluation.json: damaged, no cap or no scenario")
    days = {policy: _policy_days(policy, columns) for policy, columns in read_days(folder).items()}
    if not days:
        raise RunFolderError("days.csv: damaged, no day in it")
    own, *others = days
    rate = float(days[own].days["silent"].sum() / max(days[own].days["answered"].sum(), 1.0))
    tuning = {item["policy"]: item for item in _tuning(result)}
    seed = setting(config, "learner.seed")
    curves = _curves(folder)
    selection = result.get("selection")
    return JudgedRun(
        name=name,
        path=folder,
        group=_group(config, by, name),
        seed=seed if isinstance(seed, int) else -1,
        scenario=scenario,
        world=world,
        cap=float(cap),
        steps=int(max((curve[-1, 0] for curve in curves.values()), default=0)),
        feasible=bool(selection.get("feasible")) if isinstance(selection, dict) else None,
        days=days[own],
        rules={rule: _rule(days[rule], tuning.get(rule), rate) for rule in others},
        curves=curves,
        config=config,
        **_origin(manifest),
    )


def _origin(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Command and commit of a run, from its manifest."""
    started = manifest.get("run")
    started = started if isinstance(started, dict) else {}
    command, git = started.get("command"), started.get("git")
    commit = ""
    if isinstance(git, dict) and isinstance(git.get("commit"), str):
        commit = git["commit"][:12] + (" with changes" if git.get("dirty") else "")
    words = [str(word) for word in command] if isinstance(command, list) else []
    return {"command": shlex.join(words), "commit": commit}


def _group(config: Mapping[str, Any], by: str, name: str) -> str:
    if by == EACH_RUN:
        return name
    value = setting(config, by)
    if value is None:
        raise ConfigError(f"its configuration has no {by!r}, by which runs are to be grouped")
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _policy_days(policy: str, columns: Mapping[str, Sequence[float]]) -> PolicyDays:
    seeds = np.array(columns["seed"], dtype=np.int64)
    totals = {key: np.array(values) for key, values in columns.items() if key != "seed"}
    return PolicyDays(policy, None, None, seeds, totals)


def _tuning(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = result.get("tuning")
    if not isinstance(found, list):
        return []
    return [item for item in found if isinstance(item, dict) and "policy" in item]


def _rule(days: PolicyDays, tuning: Mapping[str, Any] | None, rate: float) -> JudgedRule:
    try:
        sweep = tuple(
            (float(point["silent_rate"]), float(point["utilisation"]))
            for point in (tuning or {}).get("sweep", ())
        )
    except (TypeError, KeyError, ValueError):
        raise RunFolderError("evaluation.json: damaged, a sweep of knobs is not readable") from None
    reached = bool((tuning or {}).get("reached"))
    slope = exchange_rate(sweep, rate) if reached and sweep else None
    return JudgedRule(days, reached, sweep, slope)


def _curves(folder: Path) -> dict[str, FloatArray]:
    path = folder / "train.jsonl"
    if not path.exists():
        return {}
    rows = read_jsonl(path)
    found: dict[str, FloatArray] = {}
    for name in CURVES:
        points = [
            (row["step"], row[name])
            for row in rows
            if isinstance(row.get("step"), int) and isinstance(row.get(name), int | float)
        ]
        if points:
            found[name] = np.array(points, dtype=np.float64)
    return found


__all__ = ["CURVES", "EACH_RUN", "JudgedRule", "JudgedRun", "LeftOut", "read_runs"]
