"""The checkpoints of finished trainings, chosen on floors that were trained on, side by side.

A choice is kept as `chosen.json` in the folder of its training (`pool.folder_of`), so that a run
that was killed does not choose again what it has chosen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.policy import scenario_sha256
from quietdial.envs.errors import QuietDialError
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.scenario import Scenario
from quietdial.experiments.executors import (
    InlineExecutor,
    Key,
    LocalExecutor,
    Outcome,
    Plain,
    run_all,
)
from quietdial.experiments.floor_selection import base_rule_of, select_over_floors
from quietdial.experiments.selection import BASE_RULE, kept_policies
from quietdial.experiments.studies.pool import TrainJob, folder_of

__all__ = ["choose_all", "choose_job"]

_CHOSEN = "chosen.json"


def choose_job(spec: Mapping[str, Any], _: Plain | None = None) -> Plain:
    """Choose one training's checkpoint and keep the choice; what a worker calls.

    Args:
        spec: `folder` (text), `floors`, `horizon_s`, `n_floors`, `n_episodes`, `sha256`.
    """
    folder = Path(spec["folder"])
    choice = select_over_floors(
        kept_policies(folder),
        spec["floors"],
        horizon_s=spec["horizon_s"],
        n_floors=spec["n_floors"],
        n_episodes=spec["n_episodes"],
    )
    found: Plain = {**choice.to_dict(), "sha256": spec["sha256"]}
    write_json_atomic(folder / _CHOSEN, found)
    return found


def choose_all(
    asked: Sequence[tuple[TrainJob, Sequence[Scenario]]],
    work: Path,
    *,
    n_floors: int,
    n_episodes: int,
    processes: int = 1,
    said: Callable[[str], None] | None = None,
) -> dict[str, tuple[LearnedPolicy, Plain]]:
    """Choose the checkpoint of each training on its floors, or the base rule below it.

    Args:
        asked: finished trainings, each with the floors that it was trained on.
        work: folder of the trainings.
        n_floors: floors that are looked at, at most.
        n_episodes: episodes on each.
        processes: trainings whose checkpoints are looked at side by side.
        said: told each choice in words.

    Returns:
        The policy and `FloorChoice.to_dict` of each, by the key of the training.

    Raises:
        QuietDialError: one could not be chosen; the others are, and are kept.
    """
    found: dict[str, Plain] = {}
    by_key: dict[Key, Mapping[str, Any]] = {}
    for job, floors in asked:
        folder = folder_of(job, work)
        prints = " ".join([*map(scenario_sha256, floors), f"{n_floors} {n_episodes}"])
        sha = hashlib.sha256(prints.encode()).hexdigest()
        kept = folder / _CHOSEN
        known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
        if known.get("sha256") == sha:
            found[job.key] = known
            continue
        by_key["choose", job.key] = {
            "folder": str(folder),
            "floors": tuple(floors),
            "horizon_s": job.config.horizon_s,
            "n_floors": n_floors,
            "n_episodes": n_episodes,
            "sha256": sha,
        }
    errors: list[str] = []

    def ended(outcome: Outcome, seconds: float) -> None:
        if outcome.result is None:
            errors.append(f"{outcome.key[1]}: {outcome.error}")
            return
        found[outcome.key[1]] = outcome.result
        if said is not None:
            step = outcome.result["step"]
            what = "the base rule" if step == BASE_RULE else f"the checkpoint after {step:,}"
            said(f"{outcome.key[1]}: {what} is chosen ({seconds:.0f} s)")

    number = min(processes, len(by_key))
    if by_key:
        executor = InlineExecutor(choose_job) if number <= 1 else LocalExecutor(number, choose_job)
        run_all(executor, list(by_key), lambda key: (by_key[key], None), ended)
    if errors:
        raise QuietDialError(f"choosing failed: {'; '.join(sorted(errors))}")
    chosen: dict[str, tuple[LearnedPolicy, Plain]] = {}
    for job, _ in asked:
        choice, policies = found[job.key], kept_policies(folder_of(job, work))
        step = int(choice["step"])
        policy = base_rule_of(policies[max(policies)]) if step == BASE_RULE else policies[step]
        chosen[job.key] = policy, choice
    return chosen
