"""The list of a campaign: who can be called, how likely they are reached, when they are retried."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from quietdial.envs.laws import Law
from quietdial.envs.part import Part, Probability, TimeZone

Factor = Annotated[float, Field(ge=0, le=20)]
Pause = Annotated[float, Field(ge=0, le=2_592_000)]


class Segment(Part):
    """People who are alike."""

    share: Probability = Field(description="share of the list")
    reach: Factor = Field(default=1.0, description="factor of the answer rate")
    by_hour: tuple[Factor, ...] = Field(
        default=(1.0,) * 24, description="factor of the answer rate by the callee's hour, 0 to 23"
    )
    time_zone: TimeZone | None = Field(default=None, description="IANA name; none: the campaign's")

    @field_validator("by_hour")
    @classmethod
    def _whole_day(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) != 24:
            raise ValueError(f"by_hour has {len(value)} factors; give 24")
        return value


class Retry(Part):
    """How long a number rests after a dial that reached nobody [s]."""

    no_answer_s: Pause = 7200.0
    busy_s: Pause = 900.0
    machine_s: Pause = 14_400.0
    failure_s: Pause = 600.0


class People(Part):
    """A finite list of people; one person, one number.

    Due retries go before people who were never dialed; these come in the order of the list.
    """

    n_people: int = Field(ge=1, le=500_000, description="length of the list")
    segments: tuple[Segment, ...] = Field(default=(Segment(share=1.0),), min_length=1, max_length=8)
    retry: Retry = Retry()
    max_attempts: int = Field(default=8, ge=1, le=100, description="most dials to one person")
    p_callback: Probability = Field(
        default=0.0, description="a person who was talked to asks to be called again"
    )
    callback_after: Law | None = Field(default=None, description="time until that callback is due")

    @model_validator(mode="after")
    def _complete(self) -> People:
        total = sum(segment.share for segment in self.segments)
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"the shares of 'segments' must add up to 1, not {total}")
        if self.p_callback > 0 and self.callback_after is None:
            raise ValueError("p_callback needs the law `callback_after`")
        return self
