"""A whole scenario: the parts of the world, the rule, the episode, the dialer's belief.

A scenario is a YAML file (or this model). It holds the hidden truth that the kernel plays, the
`belief` that a dialer's rules and features work with, the compliance rule, and the defaults of
observation and action. Units stand in the names: `_s` seconds, `p_` probabilities.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from quietdial.envs.errors import ConfigError
from quietdial.envs.laws import Law
from quietdial.envs.loading import read_yaml
from quietdial.envs.part import ClockTime, Part, TimeZone, describe_validation_error
from quietdial.envs.regulation.rule import Rule
from quietdial.envs.scenario.calls import Calls
from quietdial.envs.scenario.floor import Floor, Inbound
from quietdial.envs.scenario.people import People

ObservationName = Literal["full", "leads", "wide", "counters", "markov", "none"]
ActionName = Literal[
    "residual",
    "residual_choice",
    "dials",
    "dials_or_cancel",
    "threshold",
    "vicidial_level",
    "theta",
    "ratio",
    "progressive",
    "controller",
    "blend",
]


class Belief(Part):
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
    feed_delay_s: float = Field(
        default=0.0,
        ge=0,
        le=300,
        description="the dialer sees the states of its agents so late, "
        "a multiple of the decision interval [s]",
    )

    @model_validator(mode="after")
    def _prior(self) -> Belief:
        if self.prior_answered > self.prior_finished:
            raise ValueError(
                f"prior_answered = {self.prior_answered} must not exceed "
                f"prior_finished = {self.prior_finished}"
            )
        return self


class BlendDialer(Part):
    """Settings of the event-triggered dialer (action `blend`): ContactCenters' threshold policy.

    Whenever a service ends, after the freed agent has looked at the queues: if at least `min_free`
    agents in all and `min_free_outbound` outbound agents are idle, dial
    round(ratio x idle outbound agents) + `extra` calls, less those in flight if `less_in_flight`;
    the ratio is the action. It also acts at a decision when no agent is with a call or in wrap-up
    and nothing is in flight, since no service could end. (L'Ecuyer and Buist, ContactCenters
    library.)
    """

    min_free: int = Field(default=1, ge=0, le=2000)
    min_free_outbound: int = Field(default=1, ge=0, le=2000)
    extra: int = Field(default=0, ge=-2000, le=2000)
    less_in_flight: bool = False


class Episode(Part):
    """The time that is played: one shift without a date, or calendar days.

    With `first_day` the floor is open on each of `n_days` calendar days where the rule's hours and
    the country's holidays allow, within `start` and `start` + `duration_s`; the clock jumps from
    the close of a session to the next opening.
    """

    duration_s: float = Field(
        default=28_800.0, ge=1, le=2_678_400, description="length, with a date: of each day [s]"
    )
    close_s: float = Field(
        default=70.0, ge=0, le=3600, description="no dials in the last ... of each session [s]"
    )
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
    start: ClockTime = "10:00"
    first_day: datetime.date | None = Field(
        default=None, description="first calendar day; none: one shift outside any calendar"
    )
    n_days: int = Field(default=1, ge=1, le=92, description="calendar days from the first")
    time_zone: TimeZone = Field(default="Europe/Rome", description="IANA name")
    dial_from: ClockTime | None = Field(default=None, description="no dials before; none: open")
    dial_until: ClockTime | None = Field(default=None, description="no dials after; none: close")

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
        if self.first_day is None and self.n_days > 1:
            raise ValueError(f"n_days = {self.n_days} needs first_day, a date")
        if self.first_day is not None and self.duration_s > 86_400:
            raise ValueError(
                f"duration_s = {self.duration_s} is the length of a day: at most 86400"
            )
        return self


class Scenario(Part):
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
    people: People | None = Field(default=None, description="none: an endless, anonymous list")
    inbound: Inbound | None = Field(default=None, description="none: no inbound calls")
    blend: BlendDialer = BlendDialer()
    rule: Rule
    episode: Episode = Episode()
    belief: Belief = Belief()
    observation: ObservationName = "full"
    action: ActionName = "residual"

    @model_validator(mode="after")
    def _fits(self) -> Scenario:
        rule, calls = self.rule, self.calls
        timeout = calls.ring_timeout_s
        if timeout is not None:
            if rule.min_ring_s is not None and timeout < rule.min_ring_s:
                raise ValueError(
                    f"calls.ring_timeout_s = {timeout} is below the {rule.min_ring_s} s that rule "
                    f"{rule.id} demands"
                )
            if rule.max_ring_s is not None and timeout > rule.max_ring_s:
                raise ValueError(
                    f"calls.ring_timeout_s = {timeout} is above the {rule.max_ring_s} s that rule "
                    f"{rule.id} allows"
                )
        else:
            self._check_ringing()
        if rule.clock != "answer" and calls.greeting is None:
            raise ValueError(f"rule {rule.id} counts from {rule.clock}: give calls.greeting")
        if calls.leads is not None and self.people is not None:
            raise ValueError("calls.leads has scores for an endless list; leave out `people`")
        if self.action == "residual_choice" and calls.leads is None:
            raise ValueError("action 'residual_choice' chooses among leads: give calls.leads")
        if self.action == "dials_or_cancel" and not rule.may_cancel:
            raise ValueError(f"action 'dials_or_cancel': rule {rule.id} forbids to cancel calls")
        if self.floor.n_outbound < 1:
            raise ValueError("floor.shifts: at least one agent must be in group 'outbound'")
        if self.inbound is None and self.floor.n_outbound < self.floor.n_agents:
            raise ValueError("floor.shifts: group 'inbound' needs the part `inbound`")
        delay, step = self.belief.feed_delay_s, self.episode.decision_interval_s
        if abs(delay / step - round(delay / step)) > 1e-9:
            raise ValueError(
                f"belief.feed_delay_s = {delay} must be a multiple of the decision interval {step}"
            )
        return self

    def _check_ringing(self) -> None:
        """Without a timeout of the dialer, the laws themselves must keep the rule's limits."""
        rule, calls = self.rule, self.calls
        gives_up = [part.time for part in calls.unanswered if part.outcome == "no_answer"]
        machines = [part.time for part in calls.unanswered if part.outcome == "machine"]
        longest_s = max(law.max_s() for law in (calls.time_to_answer, *gives_up, *machines))
        if rule.max_ring_s is not None and longest_s > rule.max_ring_s:
            raise ValueError(
                f"calls may ring for {longest_s:.0f} s, rule {rule.id} allows {rule.max_ring_s} s: "
                "give calls.ring_timeout_s"
            )
        for law in gives_up:
            shortest_s = float(law.table_ms()[0]) / 1000.0
            if rule.min_ring_s is not None and shortest_s < rule.min_ring_s:
                raise ValueError(
                    f"the dialer gives up after {shortest_s:g} s, rule {rule.id} demands "
                    f"{rule.min_ring_s} s: change that law or give calls.ring_timeout_s"
                )

    @property
    def max_dials(self) -> int:
        """Most calls that one decision may place (science: ceil(0.4 N) + 2)."""
        if self.calls.max_dials_per_decision is not None:
            return self.calls.max_dials_per_decision
        return -(-2 * self.floor.n_agents // 5) + 2


def changed(scenario: Scenario, name: str | None = None, /, **parts: Mapping[str, Any]) -> Scenario:
    """The scenario with other values in some of its parts, checked like a file.

    Args:
        scenario: what is changed; it stays as it is.
        name: name of the new one; none: the same.
        **parts: new values by name for each part, for instance `episode={"duration_s": 3600}`.

    Raises:
        ConfigError: one line on what does not fit.
    """
    values = scenario.model_dump(exclude_none=True)
    for part, new in parts.items():
        values[part] = {**values.get(part, {}), **new}
    values["name"] = name or scenario.name
    try:
        return Scenario.model_validate(values)
    except ValidationError as error:
        told = ", ".join(f"{part}.{key}" for part, new in parts.items() for key in new)
        what = f"scenario {scenario.name!r} with other {told}"
        raise ConfigError(describe_validation_error(error, what)) from None


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
