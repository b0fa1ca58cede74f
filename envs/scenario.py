"""Scenarios: everything that describes one world, as validated, frozen data.

A scenario is a YAML file (or this model). It holds the hidden truth that the kernel plays, the
`belief` that a dialer's rules and features work with, the compliance rule, and the defaults of
observation and action. Units stand in the names: `_s` seconds, `p_` probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from quietdial.envs.errors import ConfigError
from quietdial.envs.laws import Law
from quietdial.envs.loading import read_yaml

Probability = Annotated[float, Field(ge=0, le=1)]
ObservationName = Literal["full", "counters", "markov", "none"]
ActionName = Literal["residual", "dials", "threshold", "theta", "ratio", "progressive"]


class _Part(BaseModel):
    """A frozen part of a scenario; unknown keys and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Break(_Part):
    """Short breaks that agents take after some of their wrap-ups."""

    p_after_wrap: Probability = Field(description="probability of a break after a wrap-up")
    duration: Law = Field(description="length of a break")


class Floor(_Part):
    """The agents and how they work."""

    n_agents: int = Field(ge=1, le=2000, description="agents logged in all day")
    talk: Law = Field(description="length of a conversation")
    talk_day_sd: float = Field(
        default=0.0, ge=0, le=1, description="sd of the log of the day's talk-time factor, hidden"
    )
    wrap: Law | None = Field(default=None, description="length of the wrap-up; none: no wrap-up")
    breaks: Break | None = Field(default=None, description="breaks; none: no breaks")


class ConstantAnswer(_Part):
    """Every dial is answered by a person with the same probability, all day and every day."""

    kind: Literal["constant"] = "constant"
    p: Probability = Field(description="probability that a dial is answered by a person")


class DriftingAnswer(_Part):
    """An answer rate that differs between days and drifts within the day (hidden from the policy).

    p(t) = p0 (1 + a sin(2 pi t / period + phi)) exp(x(t)), cut to [0.001, 0.95]; log p0 is uniform,
    phi is uniform, x is an Ornstein-Uhlenbeck process that starts in its stationary law.
    """

    kind: Literal["drifting"] = "drifting"
    p_low: Annotated[float, Field(gt=0, le=1)] = Field(description="lowest level p0 of a day")
    p_high: Annotated[float, Field(gt=0, le=1)] = Field(description="highest level p0 of a day")
    season_amplitude: float = Field(default=0.0, ge=0, lt=1, description="a, share of p0")
    season_period_s: float = Field(default=28_800.0, gt=0, le=604_800, description="period [s]")
    ou_sd: float = Field(default=0.0, ge=0, le=2, description="stationary sd of x")
    ou_tau_s: float = Field(default=1_800.0, gt=0, le=604_800, description="relaxation time [s]")
    update_s: float = Field(default=10.0, ge=0.25, le=3600, description="p(t) is held so long [s]")

    @model_validator(mode="after")
    def _ordered(self) -> DriftingAnswer:
        if self.p_high < self.p_low:
            raise ValueError(f"p_high = {self.p_high} must not be below p_low = {self.p_low}")
        return self


AnswerRate = Annotated[ConstantAnswer | DriftingAnswer, Field(discriminator="kind")]
UnansweredOutcome = Literal["machine", "busy", "no_answer", "invalid"]


class Unanswered(_Part):
    """One way in which a dial ends without a person."""

    outcome: UnansweredOutcome
    share: Probability = Field(description="share among the dials that no person answers")
    time: Law = Field(description="time from dial to this outcome")


class Calls(_Part):
    """What becomes of a dial."""

    answer_rate: AnswerRate
    time_to_answer: Law = Field(description="time from dial to a person's answer")
    unanswered: tuple[Unanswered, ...] = Field(min_length=1, max_length=4)
    patience: Law | None = Field(
        default=None, description="how long an answered callee waits in silence; none: for ever"
    )
    max_dials_per_decision: int | None = Field(
        default=None, ge=1, le=2000, description="none: ceil(0.4 agents) + 2"
    )
    max_lines: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="most calls in flight or waiting; none: 8 agents + 32",
    )

    @model_validator(mode="after")
    def _shares(self) -> Calls:
        total = sum(part.share for part in self.unanswered)
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"the shares of 'unanswered' must add up to 1, not {total}")
        names = [part.outcome for part in self.unanswered]
        if len(set(names)) != len(names):
            raise ValueError(f"each outcome may stand once in 'unanswered', not {names}")
        return self


class Rule(_Part):
    """The compliance rule: when a call is silent, and how many may be."""

    id: str = Field(description="name of the rule, for reports")
    cap: Annotated[float, Field(gt=0, lt=1, description="allowed silent / answered")]
    wait_limit_s: Annotated[float, Field(ge=0, le=60, description="answered calls are cut here")]
    source: str = Field(default="", description="where the rule is written")


class Belief(_Part):
    """What the dialer's rules and features take for true; a missing law is the true nominal one."""

    answer_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="a known answer rate; none: estimated from the calls' outcomes"
    )
    prior_answered: float = Field(default=2.0, gt=0, le=1e6, description="prior answered dials")
    prior_finished: float = Field(default=8.0, gt=0, le=1e6, description="prior finished dials")
    memory_s: float = Field(default=600.0, ge=1, le=1e6, description="time constant of p-hat [s]")
    talk: Law | None = None
    wrap: Law | None = None
    time_to_answer: Law | None = None

    @model_validator(mode="after")
    def _prior(self) -> Belief:
        if self.prior_answered > self.prior_finished:
            raise ValueError(
                f"prior_answered = {self.prior_answered} must not exceed "
                f"prior_finished = {self.prior_finished}"
            )
        return self


class Episode(_Part):
    """One compliance window."""

    duration_s: float = Field(default=28_800.0, ge=1, le=2_678_400, description="length [s]")
    close_s: float = Field(default=70.0, ge=0, le=3600, description="no dials in the last ... [s]")
    decision_interval_s: float = Field(default=1.0, ge=0.25, le=300, description="interval [s]")
    controller_period_s: float | None = Field(
        default=None,
        ge=0.25,
        le=300,
        description="own period of the inner controller, a multiple of 0.25 s; none: at decisions",
    )
    controller_on_release: bool = Field(
        default=False, description="the inner controller also acts when an agent becomes free"
    )
    start: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "10:00"

    @model_validator(mode="after")
    def _grid(self) -> Episode:
        for name in ("duration_s", "close_s", "decision_interval_s", "controller_period_s"):
            value = getattr(self, name)
            if value is not None and abs(value * 1000 - round(value * 1000)) > 1e-6:
                raise ValueError(f"{name} = {value} must be a whole number of milliseconds")
        period = self.controller_period_s
        if period is not None and round(period * 1000) % 250:
            raise ValueError(f"controller_period_s = {period} must be a multiple of 0.25 s")
        if round(self.duration_s * 1000) % round(self.decision_interval_s * 1000):
            raise ValueError(
                f"duration_s = {self.duration_s} must be a multiple of "
                f"decision_interval_s = {self.decision_interval_s}"
            )
        if self.close_s >= self.duration_s:
            raise ValueError(f"close_s = {self.close_s} must be below duration_s")
        return self


class Scenario(_Part):
    """A file that fully describes a world."""

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    description: str = ""
    credits: tuple[str, ...] = ()
    assumptions: Mapping[str, str] = Field(
        default_factory=dict,
        description="fields that no data stand behind, and where they are from",
    )
    floor: Floor
    calls: Calls
    rule: Rule
    episode: Episode = Episode()
    belief: Belief = Belief()
    observation: ObservationName = "full"
    action: ActionName = "residual"

    @property
    def max_dials(self) -> int:
        """Most calls that one decision may place (science: ceil(0.4 N) + 2)."""
        if self.calls.max_dials_per_decision is not None:
            return self.calls.max_dials_per_decision
        return -(-2 * self.floor.n_agents // 5) + 2


def describe_validation_error(error: ValidationError, what: str) -> str:
    """Turn pydantic's report into one line: what, where, the value, what is allowed."""
    parts = []
    for item in error.errors(include_url=False):
        where = ".".join(str(step) for step in item["loc"]) or "(whole file)"
        message = item["msg"].removeprefix("Value error, ")
        value = item.get("input")
        shown = "" if isinstance(value, (dict, list, tuple)) else f" = {value!r}"
        parts.append(f"{where}{shown}: {message}")
    return f"{what}: " + "; ".join(parts)


def preset_names() -> list[str]:
    """Names of the scenarios that are shipped with quietdial."""
    folder = resources.files("quietdial.envs").joinpath("presets")
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def load_scenario(source: str | Path | Scenario) -> Scenario:
    """A scenario by preset name, from a YAML file, or as it is.

    Raises `ConfigError` with one line when the name is unknown or the file is not allowed.
    """
    if isinstance(source, Scenario):
        return source
    text = str(source)
    if text.endswith((".yaml", ".yml")):
        path, what = Path(text), f"scenario file {text}"
        data = read_yaml(path)
    else:
        names = preset_names()
        if text not in names:
            raise ConfigError(
                f"unknown scenario {text!r}; use a path that ends in .yaml or one of: "
                + ", ".join(names)
            )
        what = f"preset {text!r}"
        entry = resources.files("quietdial.envs").joinpath("presets", f"{text}.yaml")
        with resources.as_file(entry) as path:
            data = read_yaml(path)
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, what)) from None
