"""What all parts of scenarios and rules have in common."""

from __future__ import annotations

import zoneinfo
from functools import cache
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

Probability = Annotated[float, Field(ge=0, le=1)]
ClockTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
"""A time of day, "09:30"."""


@cache
def _time_zones() -> frozenset[str]:
    """Names of all time zones; kept, because it takes 20 ms to read them from the disk."""
    return frozenset(zoneinfo.available_timezones())


def _known_time_zone(name: str) -> str:
    if name not in _time_zones():
        raise ValueError("is not an IANA time zone; use a name like 'Europe/Rome'")
    return name


TimeZone = Annotated[str, AfterValidator(_known_time_zone)]
"""Name of a time zone in the IANA data base, "Europe/Rome"."""


class Part(BaseModel):
    """A frozen part of a scenario; unknown keys and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def seconds_of(clock: str) -> int:
    """Seconds from midnight to a time of day."""
    hours, minutes = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes)


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
