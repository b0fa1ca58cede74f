"""Choosing one checkpoint of a training on selection days, which neither tune nor test anything.

The best checkpoint is the busiest of the feasible ones. A checkpoint is feasible if, as it is
deployed (argmax or sampled, with its knob), two upper limits are below what is allowed:

* that of the silent rate, pooled over the days, below the rule's cap;
* that of the share of days whose own silent rate is above the cap, below `most_days_above`.

Both are the upper ends of the 95 % intervals of `experiments.stats`. A policy that is exactly at
the cap on average is above it on every second day, so about half of the days is what must be
allowed; with 32 days an upper limit below 70 % means at most 16 days. Who wants fewer such days
needs budget feedback or a shield (docs/compliance.md), and a lower `most_days_above`.

If no checkpoint is feasible, the least violating one is taken and marked infeasible wherever it
appears: the verdict, its files, the checkpoint, the export and TensorBoard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.checkpoint import checkpoints_in, load_policy
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.policy import Policy
from quietdial.envs.errors import CheckpointError, ConfigError
from quietdial.envs.scenario import Scenario
from quietdial.experiments.config import MOST_DAYS_ABOVE, SELECT_DAYS
from quietdial.experiments.evaluate import Report, make_world, play_world, select_seeds
from quietdial.experiments.stats import PolicyDays, PolicySummary, summarise


class PlainChoice(Protocol):
    """An earlier choice, on training floors."""

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        ...


BASE_RULE: Final = 0
"""The step of a policy before any training, which plays the base rule."""


@dataclass(frozen=True)
class Candidate:
    """A checkpoint on the selection days.

    Attributes:
        step: environment steps that it was trained for.
        policy: the policy as it is deployed.
        summary: its figures.
        most_days_above: what the upper limit of the share of days above the cap must stay below.
    """

    step: int
    policy: LearnedPolicy
    summary: PolicySummary
    most_days_above: float

    @property
    def violation(self) -> float:
        """How far the worse of the two upper limits is above what is allowed, as a share of it.

        Below 0 for a feasible checkpoint.
        """
        rate = self.summary.silent_rate.hi / self.summary.cap
        days = self.summary.p_day_breaks_cap.hi / self.most_days_above
        return max(rate, days) - 1.0

    @property
    def feasible(self) -> bool:
        """Whether both upper limits are below what is allowed."""
        return self.violation < 0.0

    def to_dict(self) -> dict[str, Any]:
        """Its figures as plain values."""
        return {
            "step": self.step,
            "feasible": self.feasible,
            "utilisation": self.summary.utilisation.to_dict(),
            "silent_rate": self.summary.silent_rate.to_dict(),
            "p_day_breaks_cap": self.summary.p_day_breaks_cap.to_dict(),
        }


@dataclass(frozen=True)
class Selection:
    """Which checkpoint was chosen, and from what.

    Attributes:
        candidates: all checkpoints that were looked at.
        chosen: the best of them.
        floors: how the only candidate was chosen on training floors before, as plain values
            (`floor_selection.FloorChoice.to_dict`); None: it was not.
    """

    candidates: tuple[Candidate, ...]
    chosen: Candidate
    floors: Mapping[str, Any] | None = None

    @property
    def feasible(self) -> bool:
        """Whether the chosen checkpoint is feasible."""
        return self.chosen.feasible

    @property
    def policy(self) -> LearnedPolicy:
        """The chosen policy; its `training` says how it was chosen."""
        policy = self.chosen.policy
        return replace(policy, training={**(policy.training or {}), "selection": self.to_dict()})

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        summary = self.chosen.summary
        return {
            "feasible": self.feasible,
            "step": self.chosen.step,
            "deployed": self.chosen.policy.deployed,
            "knob": self.chosen.policy.knob,
            "days": summary.utilisation.n,
            "cap": summary.cap,
            "most_days_above": self.chosen.most_days_above,
            "candidates": [one.to_dict() for one in self.candidates],
            **({} if self.floors is None else {"floors": dict(self.floors)}),
        }


def best_of(candidates: Sequence[Candidate]) -> Selection:
    """Choose: the busiest feasible one, else the least violating one; of equals the longer trained.

    Raises:
        ConfigError: there is no candidate.
    """
    if not candidates:
        raise ConfigError("there is no checkpoint to choose from")
    feasible = [one for one in candidates if one.feasible]

    def busiest(one: Candidate) -> tuple[float, int]:
        return one.summary.utilisation.value, one.step

    def least_violating(one: Candidate) -> tuple[float, float, int]:
        return -one.violation, *busiest(one)

    chosen = max(feasible, key=busiest) if feasible else max(candidates, key=least_violating)
    return Selection(tuple(candidates), chosen)


def select(
    policies: Mapping[int, LearnedPolicy],
    scenario: Scenario,
    *,
    n_days: int = SELECT_DAYS,
    most_days_above: float = MOST_DAYS_ABOVE,
    floors: PlainChoice | None = None,
    report: Report | None = None,
) -> Selection:
    """Play the selection days with several checkpoints of one training and choose.

    Args:
        policies: the policies by training step, as they are to be deployed, all with one knob.
        scenario: the world.
        n_days: selection days.
        most_days_above: see :data:`MOST_DAYS_ABOVE`, in (0, 1].
        floors: how the policies were chosen on training floors before, for the files; None: not.
        report: progress callback.

    Raises:
        ConfigError: no policy, or policies that do not share one interface.
    """
    if not 0.0 < most_days_above <= 1.0:
        raise ConfigError(f"most_days_above = {most_days_above!r} must be above 0 and at most 1")
    played = play_abreast(list(policies.values()), scenario, select_seeds(n_days), report=report)
    found = best_of(
        [
            Candidate(step, policy, summarise(days, scenario.rule.cap), most_days_above)
            for (step, policy), days in zip(policies.items(), played, strict=True)
        ]
    )
    return found if floors is None else replace(found, floors=floors.to_dict())


def kept_policies(folder: Path, like: LearnedPolicy | None = None) -> dict[int, LearnedPolicy]:
    """The policies of a folder of checkpoints by training step, oldest first.

    Args:
        folder: the folder; damaged checkpoints are left out as long as one can be read.
        like: policy whose knob all get; None: their own.

    Raises:
        CheckpointError: none can be read.
    """
    found: dict[int, LearnedPolicy] = {}
    broken: list[str] = []
    for step, path in reversed(checkpoints_in(folder)):
        try:
            policy = load_policy(path)
        except CheckpointError as error:
            broken.append(str(error))
            continue
        knob = None if like is None else like.knob
        found[step] = policy if knob is None else policy.with_knob(knob)
    if not found:
        raise CheckpointError(broken[0] if broken else f"{folder}: holds no checkpoint")
    return found


class Abreast:
    """Several policies with one interface, each playing its own block of rows of one world.

    Args:
        policies: who plays.
        n_rows: rows of each block.
    """

    def __init__(self, policies: Sequence[Policy], n_rows: int) -> None:
        self.policies = policies
        self.blocks = [slice(i * n_rows, (i + 1) * n_rows) for i in range(len(policies))]

    def act(
        self, obs: NDArray[np.float32], state: object | None = None
    ) -> tuple[NDArray[Any], object | None]:
        """Every policy decides for its block; the state is a list of theirs."""
        states = state if isinstance(state, list) else [None] * len(self.policies)
        acted = [
            policy.act(obs[rows], its)
            for policy, rows, its in zip(self.policies, self.blocks, states, strict=True)
        ]
        return np.concatenate([actions for actions, _ in acted]), [kept for _, kept in acted]


def play_abreast(
    policies: Sequence[LearnedPolicy],
    scenario: Scenario,
    seeds: NDArray[np.int64],
    *,
    report: Report | None = None,
) -> list[PolicyDays]:
    """The same days with several policies of one interface, in one world; as `play_days` of each.

    Args:
        policies: at least one; same features, actions, decision interval and base threshold.
        scenario: the world.
        seeds: one seed for each day, (D,).
        report: progress callback.
    """
    if not policies:
        raise ConfigError("there is no policy to play")
    first = policies[0]
    for other in policies[1:]:
        if (other.spec, other.base_theta) != (first.spec, first.base_theta):
            raise ConfigError(
                f"{first.name}: policies of different interfaces or base thresholds cannot be "
                "played side by side; choose among checkpoints of one training"
            )
    n = len(seeds)
    world = make_world(first, scenario, n * len(policies))
    abreast: Any = Abreast(policies, n)

    def done(share: float) -> None:
        if report is not None:
            report(f"{len(policies)} checkpoints: {n} selection days", share)

    totals, hours, windows = play_world(abreast, world, np.tile(seeds, len(policies)), done)

    def block(columns: Mapping[str, Any], rows: slice) -> dict[str, Any]:
        return {name: values[rows] for name, values in columns.items()}

    return [
        PolicyDays(
            policy.name,
            policy.knob_name,
            policy.knob,
            seeds,
            block(totals, rows),
            hours=block(hours, rows),
            windows=block(windows, rows),
        )
        for policy, rows in zip(policies, abreast.blocks, strict=True)
    ]


def sentence(selection: Mapping[str, Any]) -> str:
    """How the policy was chosen, in one sentence, from :meth:`Selection.to_dict`."""
    chosen = next(one for one in selection["candidates"] if one["step"] == selection["step"])
    rate, days = chosen["silent_rate"], chosen["p_day_breaks_cap"]
    what = (
        f"on {selection['days']} selection days silent rate {100 * rate['value']:.2f} %, upper "
        f"limit {100 * rate['hi']:.2f} % (cap {100 * selection['cap']:g} %); "
        f"{100 * days['value']:.0f} % of the days above the cap, upper limit "
        f"{100 * days['hi']:.0f} % ({100 * selection['most_days_above']:g} % allowed)"
    )
    n = len(selection["candidates"])
    kept = f"{n} checkpoints" if n > 1 else "1 checkpoint"
    floors = selection.get("floors")
    if floors is not None:
        said = "" if selection["feasible"] else "INFEASIBLE: "
        return f"{said}{_on_floors(floors)}{what}."
    if selection["feasible"]:
        return f"Checkpoint after {selection['step']:,} decisions, chosen among {kept}: {what}."
    return (
        f"INFEASIBLE: none of {kept} surely keeps the limits; the least violating one, after "
        f"{selection['step']:,} decisions: {what}."
    )


def _on_floors(floors: Mapping[str, Any]) -> str:
    """The choice on training floors, up to what the chosen one does on the scenario."""
    gains, n = floors["gains"], len(floors["floors"])
    kept = f"{len(gains)} checkpoint{'s' if len(gains) > 1 else ''}"
    if floors["step"] == BASE_RULE:
        return (
            f"BASE RULE: on {n} training floors no checkpoint of {len(gains)} gains on average on "
            "the base rule without losing to it on one of them, so the policy is the base rule; "
        )
    its = gains[str(floors["step"])]
    return (
        f"Checkpoint after {floors['step']:,} decisions, chosen among {kept} on {n} training "
        f"floors, where it gains {100 * sum(its) / n:+.2f} points over the base rule on average, "
        f"{100 * min(its):+.2f} on the worst; "
    )
