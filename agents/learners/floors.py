"""Many floors at once, for one policy that learns all of them.

Every row pays by its own cap and its own number of agents, and all pay one price for a silent call.
The features are scale-free, so what is learned may be played on floors that were not among them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gymnasium.vector import AutoresetMode

from quietdial.agents.learners.config import LearnerConfig, require_cap
from quietdial.agents.policy import scenario_sha256
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.floors import FloorsVectorEnv
from quietdial.envs.scenario import Scenario

__all__ = ["ManyFloors"]


@dataclass(frozen=True)
class ManyFloors:
    """Makes the campaigns of several floors, for the argument `make_env` of `training.train`.

    The scenario that `train` is given is not among the floors unless it is listed here too; it says
    only what the policy is meant for, and must have the floors' decision interval.

    Attributes:
        scenarios: the floors; the rows are shared out evenly among them, in this order.
        base_thetas: threshold of the rule below residual actions on each floor, probabilities in
            (0, 1], best those at which that rule has the floor's target rate
            (`floor_selection.base_thetas` finds them); None: `config.base_theta` on all.
    """

    scenarios: tuple[Scenario, ...]
    base_thetas: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse an empty list, floors without a cap, and thresholds that are not one each."""
        if not self.scenarios:
            raise ConfigError("no floors given; give at least one scenario")
        if self.base_thetas is not None:
            if len(self.base_thetas) != len(self.scenarios):
                raise ConfigError(
                    f"{len(self.base_thetas)} thresholds for {len(self.scenarios)} floors; give "
                    "one for each"
                )
            if not all(0.0 < theta <= 1.0 for theta in self.base_thetas):
                raise ConfigError(f"thresholds {self.base_thetas} must be above 0, at most 1")
        for scenario in self.scenarios:
            require_cap(scenario)

    @property
    def sha256(self) -> str:
        """Fingerprint of all floors, in their order, and of their thresholds (hex)."""
        text = " ".join(scenario_sha256(scenario) for scenario in self.scenarios)
        if self.base_thetas is not None:
            text += f" {self.base_thetas}"
        return hashlib.sha256(text.encode()).hexdigest()

    def __call__(self, config: LearnerConfig, scenario: Scenario) -> FloorsVectorEnv:
        """The campaigns to train on: random starts, truncation after the horizon, no fixed penalty.

        Raises:
            ConfigError: fewer rows than floors, or a floor that does not fit the others or
                `scenario`: another decision interval or, with `dials`, other actions; thresholds of
                their own where there is no base rule or it goes by the price.
        """
        moves = config.priced_theta is not None
        if self.base_thetas is not None and (moves or not config.action.startswith("residual")):
            what = "a base rule that goes by the price" if moves else f"action {config.action!r}"
            raise ConfigError(
                f"floors with their own thresholds do not fit {what}; leave own_threshold out"
            )
        interval_s = scenario.episode.decision_interval_s
        for floor in self.scenarios:
            if floor.episode.decision_interval_s != interval_s:
                raise ConfigError(
                    f"floor {floor.name!r} decides every {floor.episode.decision_interval_s:g} s "
                    f"and scenario {scenario.name!r} every {interval_s:g} s; one policy needs one "
                    "decision interval"
                )
        if config.n_envs < len(self.scenarios):
            raise ConfigError(
                f"learner.n_envs = {config.n_envs} must be at least the number of floors, "
                f"{len(self.scenarios)}"
            )
        return FloorsVectorEnv(
            config.n_envs,
            self.scenarios,
            observation=config.observation,
            action=config.action,
            silent_penalty=0.0,
            base_theta=config.base_theta if self.base_thetas is None else self.base_thetas,
            knowledge=config.knowledge,
            start="random",
            horizon_s=config.horizon_s,
            autoreset_mode=AutoresetMode.SAME_STEP,
            privileged=config.critic == "privileged",
        )
