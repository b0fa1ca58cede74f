"""The agents of a scenario: how many, when they are there, how they work, what else they handle."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from quietdial.envs.laws import Law
from quietdial.envs.part import ClockTime, Part, Probability, seconds_of


class Break(Part):
    """Short breaks that agents take after some of their wrap-ups."""

    p_after_wrap: Probability = Field(description="probability of a break after a wrap-up")
    duration: Law = Field(description="length of a break")


class Lunch(Part):
    """A long break that begins at a time of day, or when the agent is free after it."""

    at: ClockTime = Field(description="begin")
    duration: Annotated[float, Field(ge=60, le=14_400)] = Field(description="length [s]")


class Shift(Part):
    """Agents who work the same hours."""

    n_agents: int = Field(ge=1, le=2000)
    login: ClockTime = Field(default="00:00", description="logged in from here")
    logout: ClockTime = Field(default="23:59", description="or later, after the last call")
    lunch: Lunch | None = None
    group: Literal["outbound", "inbound"] = Field(
        default="outbound",
        description="outbound: takes answered dials, and inbound calls if there are any (blend); "
        "inbound: takes inbound calls only",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Shift:
        begin, end = seconds_of(self.login), seconds_of(self.logout)
        if begin >= end:
            raise ValueError(f"login {self.login} must be before logout {self.logout}")
        if self.lunch and not begin < seconds_of(self.lunch.at) < end:
            raise ValueError(f"lunch at {self.lunch.at} must lie between login and logout")
        return self


class Drift(Part):
    """How a hidden level wanders within the day: season, noise and jumps.

    level(t) = day's level x (1 + a sin(2 pi t / period + phi)) exp(x(t)): phi is uniform, x is an
    Ornstein-Uhlenbeck process that starts in its stationary law and, at rate `jumps_per_h`, jumps
    by a normal amount without warning.
    """

    season_amplitude: float = Field(default=0.0, ge=0, lt=1, description="a")
    season_period_s: float = Field(default=28_800.0, gt=0, le=604_800, description="period [s]")
    ou_sd: float = Field(default=0.0, ge=0, le=2, description="stationary sd of x")
    ou_tau_s: float = Field(default=1_800.0, gt=0, le=604_800, description="relaxation time [s]")
    jumps_per_h: float = Field(default=0.0, ge=0, le=60, description="mean jumps an hour")
    jump_sd: float = Field(default=0.0, ge=0, le=3, description="sd of a jump of x")
    update_s: float = Field(default=10.0, ge=0.25, le=3600, description="the level is held so long")


class Floor(Part):
    """The agents and how they work."""

    n_agents: int = Field(ge=1, le=2000, description="agents in all")
    talk: Law = Field(description="length of a conversation")
    talk_day_sd: float = Field(
        default=0.0, ge=0, le=1, description="sd of the log of the day's talk-time factor, hidden"
    )
    talk_drift: Drift | None = Field(
        default=None, description="drift of the talk-time factor within the day, hidden"
    )
    wrap: Law | None = Field(default=None, description="length of the wrap-up; none: no wrap-up")
    breaks: Break | None = Field(default=None, description="breaks; none: no breaks")
    shifts: tuple[Shift, ...] = Field(
        default=(), max_length=64, description="who works when; none: all agents, all the time"
    )
    speed_sd: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="sd of the log of an agent's own factor of talk and "
        "wrap-up times (mean 1); the same agent every day",
    )
    p_success: Probability = Field(
        default=0.0, description="probability that a conversation reaches its aim (a sale)"
    )
    skill_sd: float = Field(
        default=0.0, ge=0, le=2, description="sd of the log of an agent's own factor of p_success"
    )
    reserved_share: Probability = Field(
        default=0.1,
        description="largest share of the logged-in agents who may be held at one time for calls "
        "that the world places itself (callbacks, people after a silent call); at least one agent",
    )

    @model_validator(mode="after")
    def _complete(self) -> Floor:
        if self.shifts and sum(s.n_agents for s in self.shifts) != self.n_agents:
            total = sum(s.n_agents for s in self.shifts)
            raise ValueError(f"the shifts have {total} agents, n_agents is {self.n_agents}")
        return self

    @property
    def n_outbound(self) -> int:
        """Agents who take answered dials."""
        inbound = sum(s.n_agents for s in self.shifts if s.group == "inbound")
        return self.n_agents - inbound


class InboundPeriod(Part):
    """A stretch of the day with a constant rate of inbound calls."""

    begins: ClockTime
    per_h: Annotated[float, Field(ge=0, le=100_000)] = Field(description="mean calls an hour")


class Inbound(Part):
    """Calls that come in by themselves and share agents with the dialer (blending).

    Arrivals are Poisson with the period's rate times the day's factor. A caller goes to the longest
    idle inbound agent, else to the longest idle outbound agent, else waits, first come first
    served. A freed outbound agent takes a waiting answered dial first, then a waiting caller.
    """

    periods: tuple[InboundPeriod, ...] = Field(min_length=1, max_length=96)
    day_factor: Law | None = Field(
        default=None, description="law of the day's factor of the rates, in 'seconds', mean 1"
    )
    talk: Law = Field(description="length of an inbound conversation, wrap-up included")
    patience: Law | None = Field(default=None, description="longest wait; none: for ever")
    p_balk: Probability = Field(default=0.0, description="leaves at once if it must wait")
    capacity: int = Field(default=80, ge=1, le=2000, description="most callers who wait")
    service_level_s: float = Field(default=20.0, ge=0, le=600, description="reported threshold")

    @model_validator(mode="after")
    def _ordered(self) -> Inbound:
        begins = [seconds_of(p.begins) for p in self.periods]
        if begins != sorted(set(begins)):
            raise ValueError("periods must begin one after the other")
        return self
