"""The configuration of a training run: one validated model behind the files and the flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quietdial.agents.learners.config import LearnerConfig
from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import read_yaml
from quietdial.envs.scenario import describe_validation_error
from quietdial.experiments.evaluate import MAX_DAYS

RATE_WITHOUT_CAP: Final = 0.03
"""Silent / answered at which policies are compared where the rule has no limit."""


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

    def target(self, cap: float) -> float:
        """The silent rate that every knob is tuned to, fraction of answered."""
        if self.target_rate is not None:
            return self.target_rate
        return 0.9 * cap if cap < 1.0 else RATE_WITHOUT_CAP


class RunConfig(BaseModel):
    """One training run, from the scenario to the exported policy."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    scenario: str = Field(default="italy-50", description="preset name or path of a YAML file")
    runs: str = Field(default="runs", description="folder of all runs")
    name: str | None = Field(default=None, description="name of the run; none: time and scenario")
    learner: LearnerConfig = LearnerConfig()
    judge: JudgeConfig = JudgeConfig()
    export: bool = Field(default=True, description="export the policy to the run's export/ folder")


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
