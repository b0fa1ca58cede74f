"""The best checkpoint of a training at one silent rate, chosen on selection days.

`experiments.selection` asks which checkpoint surely keeps the cap, all having one knob. Here every
checkpoint has its own knob, tuned to the rate on the tuning days, and the busiest at that rate on
the selection days is taken; one that cannot be set to the rate is taken only if none can. With
`learner.keep_start` the policy before its training is among them: with residual actions it is the
base rule, so that a training that harms its policy is seen, and not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.policy import Policy
from quietdial.envs.errors import ConfigError
from quietdial.envs.scenario import Scenario
from quietdial.experiments.selection import kept_policies
from quietdial.experiments.studies.paired import AtRate, Days, judge_many
from quietdial.experiments.studies.pool import TrainJob, folder_of


class Chosen(NamedTuple):
    """A checkpoint that was chosen.

    Attributes:
        step: decisions that it was trained on; 0: the policy before its training.
        policy: the policy.
    """

    step: int
    policy: LearnedPolicy


def choose(
    jobs: Sequence[TrainJob],
    work: Path,
    scenario: Scenario,
    rate: float,
    days: Days,
    *,
    processes: int = 1,
) -> list[Chosen]:
    """Choose one checkpoint of each finished training.

    Args:
        jobs: the trainings, all in the same world.
        work: their work folder; what is judged is kept in its folder `judged`.
        scenario: the world.
        rate: silent / answered at which they are compared.
        days: days for the knobs, and `days.test` selection days.
        processes: policies that are judged side by side.
    """
    kept = [kept_policies(folder_of(job, work)) for job in jobs]
    asked: list[tuple[Policy, float]] = [
        (policy, rate) for policies in kept for policy in policies.values()
    ]
    judged = iter(
        judge_many(asked, scenario, days, work / "judged", processes=processes, on="select")
    )
    return [best_at_rate(policies, {step: next(judged) for step in policies}) for policies in kept]


def best_at_rate(policies: Mapping[int, LearnedPolicy], judged: Mapping[int, AtRate]) -> Chosen:
    """The busiest checkpoint at the rate; of equals the longer trained.

    Args:
        policies: the checkpoints by step.
        judged: what each did on the selection days.

    Raises:
        ConfigError: there is none.
    """
    if not policies:
        raise ConfigError("there is no checkpoint to choose from")
    reached = [step for step in policies if judged[step].reached] or list(policies)
    step = max(reached, key=lambda at: (float(judged[at].values().mean()), at))
    return Chosen(step, policies[step])
