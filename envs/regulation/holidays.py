"""National public holidays by the library `holidays`, imported when a calendar first asks."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final, get_args

from quietdial.envs.errors import ConfigError
from quietdial.envs.regulation.rule import Country

FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2100

_SUBDIVISION: Final = {"GB": "ENG"}
_CATEGORIES: Final = {"CA": ("public", "government")}


@cache
def holidays(country: Country, year: int) -> Mapping[datetime.date, str]:
    """The public holidays of a whole country, by date.

    IT, DE, FR, AU: those that hold in every part of the country. GB: the bank holidays of England
    and Wales. US: the federal holidays. CA: those of federally regulated work. Where the law gives
    a substitute for a day that falls on a weekend, both days are in the list. Single days that were
    proclaimed (a jubilee, a funeral) are in it too. Days that only a state or region keeps are not.

    Source: the rules in the library `holidays` (https://holidays.readthedocs.io), checked here on
    known dates; names in English.

    Args:
        country: two letters, as in `Rule.country`.
        year: 2000 to 2100.

    Returns:
        Date to name, read-only, in the order of the dates.

    Raises:
        ConfigError: the country or the year is not among these.
    """
    if country not in get_args(Country):
        raise ConfigError(
            f"no public holidays are known for country {country!r}; "
            "use one of: " + ", ".join(get_args(Country))
        )
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ConfigError(
            f"no public holidays are known for the year {year}; use {FIRST_YEAR} to {LAST_YEAR}"
        )
    from holidays.utils import country_holidays  # not at the top: most worlds have no calendar

    days = country_holidays(
        country,
        subdiv=_SUBDIVISION.get(country),
        years=year,
        language="en_US",
        categories=_CATEGORIES.get(country, ("public",)),
    )
    return MappingProxyType({day: days[day] for day in sorted(days) if day.year == year})
