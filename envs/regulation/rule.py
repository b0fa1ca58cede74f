"""Rules on silent calls as data: what counts, in which windows, and what is forbidden outright.

Three layers are kept apart. *Hard rules* (hours, quarantine, caps on attempts, ring limits, what
happens at the limit) are carried out by the world itself and cannot be reached by an action. The
*rate* of silent calls is a constraint, counted in windows. The *harm* of each silent call is a
cost that is charged even below the cap. The shipped profiles are `profiles/*.yaml`; each says where
its values are from and how sure they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import read_yaml
from quietdial.envs.part import ClockTime, Part, describe_validation_error, seconds_of

WindowKind = Literal["campaign", "day", "days", "month", "hours"]
Clock = Literal["answer", "greeting_start", "greeting_end"]
Country = Literal["IT", "GB", "US", "CA", "DE", "FR", "AU"]
Confidence = Literal["S", "2", "M", "D", "I"]


class Window(Part):
    """One span of time over which the silent rate must hold."""

    kind: WindowKind = Field(
        description="campaign: the whole episode; day: each calendar day; days: successive blocks "
        "of `length` days from the first; month: each calendar month; hours: rolling"
    )
    length: int = Field(default=1, ge=1, le=366, description="days or hours, for those two kinds")
    cap: Annotated[float, Field(gt=0, le=1, description="allowed rate; 1: no limit")]
    verified: bool = Field(default=True, description="false: one unconfirmed source only")


EndTime = Annotated[str, Field(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")]
"""The end of a span of hours: a time of day, or "24:00" for the end of the day."""
Spans = tuple[tuple[ClockTime, EndTime], ...]
ALL_DAY: Spans = (("00:00", "24:00"),)


class Hours(Part):
    """When calls may ring, by kind of day; an empty list: never.

    A call may ring from the first time of a span on, and no longer at its second one.
    """

    weekday: Spans = ALL_DAY
    saturday: Spans = ALL_DAY
    sunday: Spans = ALL_DAY
    holiday: Spans | None = Field(
        default=None, description="public holidays, on any day of the week; none: as any day"
    )
    eve: Spans | None = Field(
        default=None, description="Monday to Friday before a holiday; none: as any weekday"
    )
    callee_time: bool = Field(
        default=False, description="the hours are those of the callee's time zone"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Hours:
        if self.eve is not None and self.holiday is None:
            raise ValueError("eve needs `holiday`: without holidays there are no eves")
        for name in ("weekday", "saturday", "sunday", "holiday", "eve"):
            last = -1
            for opens, closes in getattr(self, name) or ():
                if not last <= seconds_of(opens) < seconds_of(closes):
                    raise ValueError(f"{name}: {opens}-{closes} is out of order")
                last = seconds_of(closes)
        return self


class AttemptCaps(Part):
    """Most dials to one person; none: no cap."""

    per_day: int | None = Field(default=None, ge=1, le=1000, description="calendar day")
    per_week: int | None = Field(default=None, ge=1, le=1000, description="Monday to Sunday")
    per_30_days: int | None = Field(default=None, ge=1, le=16, description="any 30 days")
    per_campaign: int | None = Field(default=None, ge=1, le=1000, description="whole episode")


class Harm(Part):
    """Weights of the harm of one silent call; free parameters, no study gives them.

    harm = base(what is heard) x growth^k, k = earlier silent calls to the same person, at most 8.
    """

    silence: float = Field(default=1.0, ge=0, le=100, description="heard silence")
    comfort_noise: float = Field(default=0.8, ge=0, le=100, description="heard background noise")
    message: float = Field(default=0.5, ge=0, le=100, description="heard an information message")
    late: float = Field(default=0.3, ge=0, le=100, description="an agent came after the limit")
    growth: float = Field(default=2.0, ge=1, le=4, description="factor for each repeat")


class Fact(Part):
    """Where a value of a profile comes from."""

    note: str = Field(default="", description="what the rule says, in our words")
    source: str = Field(min_length=3, description="short name and address")
    confidence: Confidence = Field(
        description="S: rule text seen; 2: secondary source; M: memory; D: derived; I: inferred"
    )


class Rule(Part):
    """The compliance rule of a campaign: a profile, or a profile with changes.

    In a scenario file a rule is a profile's name (`rule: it_2014`) or a mapping; the key `profile`
    of a mapping starts from that profile.
    """

    id: str = Field(min_length=1, max_length=64, description="name of the rule, for reports")
    title: str = ""
    cap: Annotated[float, Field(gt=0, le=1)] = Field(
        description="allowed silent / answered of the first window; 1: no limit on the rate"
    )
    windows: tuple[Window, ...] = Field(
        default=(), max_length=4, description="all must hold; none: the whole episode at `cap`"
    )
    wait_limit_s: Annotated[float, Field(ge=0, le=60)] = Field(
        description="an agent must be there so long after the clock's origin [s]"
    )
    clock: Clock = Field(default="answer", description="what the limit is counted from")
    at_limit: Literal["cut", "message", "hold"] = Field(
        default="cut",
        description="cut: forced hang-up; message: information message, then hang-up; hold: the "
        "callee stays on the line and may be connected late, which counts as silent",
    )
    waiting_hears: Literal["silence", "comfort_noise"] = "silence"
    message_s: float = Field(default=8.0, gt=0, le=60, description="length of the message [s]")
    hold_s: float = Field(default=30.0, gt=0, le=300, description="longest wait when held [s]")
    counts_cut: bool = Field(default=True, description="numerator: cut, message or late")
    counts_left: bool = Field(default=True, description="numerator: left before the limit")
    counts_amd: bool = Field(default=True, description="numerator: taken for a machine")
    estimate: Literal["counted", "ofcom"] = Field(
        default="counted",
        description="how the dialer estimates its rate: counted = dropped / (dropped + handled); "
        "ofcom = Ofcom's formula (see regulation/counting.py)",
    )
    min_ring_s: float | None = Field(default=None, ge=0, le=120, description="ring at least [s]")
    max_ring_s: float | None = Field(default=None, gt=0, le=300, description="ring at most [s]")
    may_cancel: bool = Field(default=False, description="ringing calls may be cancelled (logged)")
    quarantine_s: float = Field(
        default=0.0, ge=0, le=31_536_000, description="no dial after a silent call [s]"
    )
    reserved_after_silent: bool = Field(
        default=False, description="later dials only with an agent set aside"
    )
    machine_pause_s: float = Field(
        default=0.0, ge=0, le=2_592_000, description="no dial after an AMD machine verdict [s]"
    )
    refusal_pause_s: float = Field(
        default=0.0, ge=0, le=31_536_000, description="no dial after a conversation [s]"
    )
    attempts: AttemptCaps = AttemptCaps()
    hours: Hours = Hours()
    country: Country | None = Field(default=None, description="calendar of public holidays")
    retention_s: float | None = Field(default=None, gt=0, description="records are kept so long")
    harm: Harm = Harm()
    source: str = Field(default="", description="where the rule is written")
    facts: Mapping[str, Fact] = Field(
        default_factory=dict,
        description="source of each field: its name, or `field.part`; `windows.KIND` for a window",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_profile(cls, data: Any) -> Any:
        if isinstance(data, str):
            return profile_data(data)
        if isinstance(data, Mapping) and "profile" in data:
            changes = {key: value for key, value in data.items() if key != "profile"}
            base = profile_data(str(data["profile"]))
            if "cap" in changes and "windows" not in changes and base.get("windows"):
                first, *others = base["windows"]
                base = base | {"windows": [{**first, "cap": changes["cap"]}, *others]}
            return base | changes
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Rule:
        if self.windows and self.windows[0].cap != self.cap:
            raise ValueError(
                f"cap = {self.cap} must be that of the first window, {self.windows[0].cap}"
            )
        if sum(w.kind == "hours" for w in self.windows) > 1:
            raise ValueError("windows: at most one may be of kind 'hours'")
        if self.min_ring_s and self.max_ring_s and self.min_ring_s > self.max_ring_s:
            raise ValueError(f"min_ring_s = {self.min_ring_s} exceeds max_ring_s")
        return self

    @property
    def all_windows(self) -> tuple[Window, ...]:
        """The windows that must hold; without any, the whole episode at `cap`."""
        return self.windows or (Window(kind="campaign", cap=self.cap),)


def profile_names() -> list[str]:
    """Names of the shipped profiles."""
    folder = resources.files("quietdial.envs.regulation").joinpath("profiles")
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


@cache
def _profile(name: str) -> dict[str, Any]:
    entry = resources.files("quietdial.envs.regulation").joinpath("profiles", f"{name}.yaml")
    with resources.as_file(entry) as path:
        data = dict(read_yaml(path))
    if data.pop("schema_version", 1) != 1:
        raise ConfigError(f"profile {name!r}: schema_version must be 1")
    return data


def profile_data(name: str) -> dict[str, Any]:
    """A shipped profile as plain data. Raises `ValueError` for an unknown name."""
    names = profile_names()
    if name not in names:
        raise ValueError(f"unknown profile {name!r}; use one of: " + ", ".join(names))
    return dict(_profile(name))


def load_rule(name: str) -> Rule:
    """A shipped profile. Raises `ConfigError` with one line when it is unknown."""
    try:
        return Rule.model_validate(name)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, "rule")) from None
