"""Names of time zones in scenarios: known ones only, and the list is read once."""

import zoneinfo

import pytest
from pydantic import ValidationError

from quietdial.envs.part import _time_zones
from quietdial.envs.scenario import Episode, Segment


@pytest.mark.parametrize("name", ["Europe/Rom", "", "../etc/passwd", "europe/rome"])
def test_time_zone__that_is_unknown_is_refused(name):
    with pytest.raises(ValidationError, match=r"time_zone\n.*is not an IANA time zone"):
        Episode(time_zone=name)
    with pytest.raises(ValidationError, match=r"time_zone\n.*is not an IANA time zone"):
        Segment(share=1.0, time_zone=name)


def test_time_zone__that_is_known_is_taken():
    assert Episode(time_zone="America/Los_Angeles").time_zone == "America/Los_Angeles"
    assert Segment(share=1.0).time_zone is None
    assert Segment(share=1.0, time_zone="Pacific/Honolulu").time_zone == "Pacific/Honolulu"


def test_time_zones__are_read_from_the_disk_once(monkeypatch):
    _time_zones.cache_clear()
    calls = []

    def available():
        calls.append(1)
        return {"Europe/Rome", "Europe/Paris"}

    monkeypatch.setattr(zoneinfo, "available_timezones", available)
    for name in ("Europe/Rome", "Europe/Paris", "Europe/Rome"):
        Episode(time_zone=name)
    assert len(calls) == 1
    _time_zones.cache_clear()
