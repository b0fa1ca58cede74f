"""The configuration of a training run: one validated model behind the files and the flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from quietdial.agents.learners.config import SEED_STRIDE, LearnerConfig
from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import read_yaml
from quietdial.envs.randomise import draw_scenarios
from quietdial.envs.scenario import Scenario, describe_validation_error, load_scenario
from quietdial.experiments.evaluate import MAX_DAYS

RATE_WITHOUT_CAP: Final = 0.03
"""Silent / answered at which policies are compared where the rule has no limit."""

MOST_DAYS_ABOVE: Final = 0.7
"""Share of days above the cap that the upper limit must stay below, if nothing else is said."""

SELECT_DAYS: Final = 32
"""Selection days, if nothing else is said."""


class JudgeConfig(BaseModel):
    """How the trained policy is compared with the rules."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    target_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="silent / answered that every knob is tuned to; none: 0.9 of the rule's cap, "
        "so that the upper limit of the rate meets the cap too, or 0.03 if the rule has none",
    )
    tune_days: int = Field(default=48, ge=2, le=MAX_DAYS, description="days for the knobs")
    test_days: int = Field(default=64, ge=2, le=MAX_DAYS, description="days for the figures")
    select_days: int = Field(
        default=SELECT_DAYS,
        ge=2,
        le=MAX_DAYS,
        description="days on which the checkpoint is chosen, neither tuning nor test days",
    )
    most_days_above: float = Field(
        default=MOST_DAYS_ABOVE,
        gt=0,
        le=1,
        description="a checkpoint is feasible only if the upper 95 % limit of the share of days "
        "above the cap is below this; with 32 days .7 means at most 16 days",
    )

    def target(self, cap: float) -> float:
        """The silent rate that every knob is tuned to, fraction of answered."""
        if self.target_rate is not None:
            return self.target_rate
        return 0.9 * cap if cap < 1.0 else RATE_WITHOUT_CAP


class FloorsConfig(BaseModel):
    """Floors that one policy is trained on together, listed, drawn at random, or both."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scenarios: tuple[str, ...] = Field(
        default=(), description="preset names or paths of YAML files; one may occur more than once"
    )
    drawn: int = Field(
        default=0, ge=0, le=SEED_STRIDE, description="random floors besides, from ranges and seed"
    )
    ranges: Literal["narrow", "default", "late"] = Field(
        default="default",
        description="between which bounds they are drawn; of `wide` some have no cap to train for",
    )
    seed: int = Field(default=1, ge=0, description="seed of the draw")
    own_threshold: bool = Field(
        default=False,
        description="train each floor at the threshold at which the base rule has the floor's cap, "
        "measured before training (seconds a floor), in place of learner.base_theta on all",
    )

    @model_validator(mode="after")
    def _has_floors(self) -> FloorsConfig:
        if self.own_threshold and not (self.scenarios or self.drawn):
            raise ValueError("own_threshold needs floors: give scenarios, or drawn above 0")
        return self

    def load(self) -> tuple[Scenario, ...]:
        """The floors: those listed, then those drawn; empty if the run has one floor only."""
        listed = tuple(load_scenario(scenario) for scenario in self.scenarios)
        return listed + draw_scenarios(self.drawn, self.seed, self.ranges)


class RunConfig(BaseModel):
    """One training run, from the scenario to the exported policy."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    scenario: str = Field(
        default="italy-50",
        description="preset name or path of a YAML file: what the policy is judged on, and trained "
        "on unless `floors` names others",
    )
    floors: FloorsConfig = FloorsConfig()
    runs: str = Field(default="runs", description="folder of all runs")
    name: str | None = Field(default=None, description="name of the run; none: time and scenario")
    learner: LearnerConfig = LearnerConfig()
    judge: JudgeConfig = JudgeConfig()
    export: bool = Field(default=True, description="export the policy to the run's export/ folder")
    track: Literal["none", "mlflow", "wandb"] = Field(
        default="none",
        description="send the run's numbers to MLflow or Weights & Biases too; neither leaves this "
        "machine unless MLFLOW_TRACKING_URI or WANDB_MODE says so",
    )


def load_run_config(path: str | Path) -> RunConfig:
    """A run configuration from a YAML file; missing keys take their defaults.

    Raises `ConfigError` with one line when the file is not allowed.
    """
    return parse_run_config(read_yaml(Path(path)), f"run configuration {path}")


def parse_run_config(data: dict[str, Any], what: str) -> RunConfig:
    """Validate plain values; `what` names their origin in the error."""
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, what)) from None
