"""What a run does: its configuration and the worlds that this names, or those in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from quietdial.agents.learners.config import SEED_STRIDE, LearnerConfig, require_cap
from quietdial.agents.learners.floors import ManyFloors
from quietdial.agents.learners.sb3_env import BatchedPacing
from quietdial.agents.learners.training import make_training_env
from quietdial.agents.rules.catalogue import rule_named
from quietdial.envs.errors import ConfigError, RunFolderError
from quietdial.envs.loading import read_yaml
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.config import RunConfig, parse_run_config
from quietdial.experiments.evaluate import Report, select_seeds, test_seeds, tune_seeds
from quietdial.experiments.floor_selection import base_thetas

CONFIG_FILE: Final = "config.yaml"
"""The complete configuration of a run, in its folder."""

SCENARIO_FILE: Final = "scenario.yaml"
"""The complete scenario of a run, in its folder."""

FLOORS_FOLDER: Final = "floors"
"""The complete floors of a run that was trained on several, numbered in their order."""

THRESHOLDS_FILE: Final = "thresholds.yaml"
"""Threshold of the base rule on each of these floors, in their order, if each has its own."""


@dataclass(frozen=True)
class Plan:
    """A run that may be carried out.

    Attributes:
        config: the complete configuration.
        values: the same as plain values, as they stand in the run's folder.
        scenario: what the policy is judged on, and trained on unless there are floors.
        floors: what one policy is trained on together; none: the scenario.
        base_thetas: each floor's own threshold of the base rule; None: the learner's on all.
    """

    config: RunConfig
    values: Mapping[str, Any]
    scenario: Scenario
    floors: tuple[Scenario, ...]
    base_thetas: tuple[float, ...] | None = None

    @classmethod
    def of(cls, config: RunConfig) -> Plan:
        """The plan of a configuration; `ConfigError` if anything in it cannot work."""
        scenario = load_scenario(config.scenario)
        require_cap(scenario)
        plan = cls(config, config.model_dump(mode="json"), scenario, config.floors.load())
        fewest = min(config.learner.n_envs, max(len(plan.floors), 1))
        few = config.learner.model_copy(update={"n_envs": fewest})
        own = plan.floors and config.floors.own_threshold
        trial = replace(plan, base_thetas=(few.base_theta,) * len(plan.floors)) if own else plan
        trial.make_env(few, scenario).close()
        if config.learner.warm_start is not None:
            rule_named(config.learner.warm_start)
        return plan

    @classmethod
    def of_run(cls, run: Path) -> Plan:
        """What a run does, from its folder alone.

        Raises:
            RunFolderError: it is not the folder of a training run, or the thresholds that its
                floors were to have are not there.
            ConfigError: a file of it cannot be read.
        """
        for name in (CONFIG_FILE, SCENARIO_FILE):
            if not (run / name).is_file():
                raise RunFolderError(f"{run}: holds no {name}; give the folder of a training run")
        values = read_yaml(run / CONFIG_FILE)
        config = parse_run_config(dict(values), str(run / CONFIG_FILE))
        scenario, floors, thetas = load_scenario(run / SCENARIO_FILE), floors_of(run), None
        if floors and config.floors.own_threshold:
            thetas = thresholds_of(run)
            if thetas is None or len(thetas) != len(floors):
                raise RunFolderError(
                    f"{run / THRESHOLDS_FILE} must hold the thresholds of {len(floors)} floors, "
                    f"with which the run was begun; it holds {len(thetas or ())}"
                )
        return cls(config, values, scenario, floors, thetas)

    def with_thresholds(self, report: Report | None = None) -> Plan:
        """The plan with each floor's own threshold measured, if the configuration asks for it."""
        if not (self.floors and self.config.floors.own_threshold):
            return self
        learner = self.config.learner
        thetas = base_thetas(
            self.floors, horizon_s=learner.horizon_s, knowledge=learner.knowledge, report=report
        )
        return replace(self, base_thetas=thetas)

    @property
    def make_env(self) -> Callable[[LearnerConfig, Scenario], BatchedPacing]:
        """Makes the campaigns to train on."""
        return ManyFloors(self.floors, self.base_thetas) if self.floors else make_training_env

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Values of the worlds' files by path in the run's folder."""
        files = {SCENARIO_FILE: _values(self.scenario)}
        for number, floor in enumerate(self.floors):
            files[f"{FLOORS_FOLDER}/{number:04d}-{floor.name}.yaml"] = _values(floor)
        if self.base_thetas is not None:
            files[THRESHOLDS_FILE] = {"base_thetas": list(self.base_thetas)}
        return files

    @property
    def seeds(self) -> dict[str, int]:
        """The first seed of each purpose."""
        return {
            "learner": self.config.learner.seed,
            "train": self.config.learner.seed * SEED_STRIDE,
            "tune": int(tune_seeds(2)[0]),
            "select": int(select_seeds(2)[0]),
            "test": int(test_seeds(2)[0]),
        }

    @property
    def words(self) -> str:
        """What is trained on, in words; bold until the name ends."""
        rule = f"cap {100 * self.scenario.rule.cap:g} % silent ({self.scenario.rule.id})"
        own = f"{self.scenario.name}: {self.scenario.floor.n_agents} agents, {rule}"
        if not self.floors:
            return own.replace(":", "[/]:", 1)
        agents = sorted(floor.floor.n_agents for floor in self.floors)
        return (
            f"{len(self.floors)} floors[/] of {agents[0]} to {agents[-1]} agents, each under its "
            f"own cap, for {own}"
        )


def floors_of(run: Path) -> tuple[Scenario, ...]:
    """The floors that the policy of a run was trained on together, from its folder; none: one."""
    files = sorted((run / FLOORS_FOLDER).glob("*.yaml"))
    return tuple(load_scenario(file) for file in files)


def thresholds_of(run: Path) -> tuple[float, ...] | None:
    """The floors' own thresholds of the base rule, from a run's folder; None: they have none.

    Raises:
        ConfigError: its file cannot be read.
    """
    path = run / THRESHOLDS_FILE
    if not path.is_file():
        return None
    found = read_yaml(path).get("base_thetas")
    if not isinstance(found, list) or not all(type(one) in (int, float) for one in found):
        raise ConfigError(f"{path}: base_thetas must be a list of numbers")
    return tuple(float(one) for one in found)


def _values(scenario: Scenario) -> dict[str, Any]:
    return scenario.model_dump(mode="json", exclude_none=True)
