"""The profiles: each value has its source, the page says what they hold, bad rules are told."""

import datetime
import re

import pytest
from pydantic import BaseModel, ValidationError

from quietdial.envs import ConfigError
from quietdial.envs.loading import read_yaml, write_yaml
from quietdial.envs.regulation.page import page, shown
from quietdial.envs.regulation.rule import (
    Hours,
    Rule,
    Window,
    load_rule,
    profile_data,
    profile_names,
)

DAY_S = 86_400
NAMES = {"it_2014", "it_2024", "us_tsr", "uk_2010", "uk_2017", "ca", "de", "fr", "au", "none"}
DESCRIPTION = {"id", "title", "source", "facts"}

# cap, windows, limit, clock, at the limit, rings, quarantine, machine pause
EXPECTED = {
    "it_2014": (0.03, ["campaign"], 3, "answer", "cut", (None, None), 5, 0),
    "it_2024": (0.03, ["campaign"], 3, "answer", "cut", (None, None), 5, 0),
    "us_tsr": (0.03, ["days"], 2, "greeting_end", "message", (15, None), 0, 0),
    "uk_2010": (0.03, ["day"], 2, "greeting_start", "message", (15, None), 3, 1),
    "uk_2017": (1, [], 2, "greeting_start", "message", (15, None), 3, 0),
    "ca": (0.05, ["month"], 2, "answer", "cut", (None, None), 0, 0),
    "de": (1, [], 2, "answer", "message", (15, 40), 0, 0),
    "fr": (1, [], 2, "answer", "cut", (None, None), 0, 0),
    "au": (1, [], 2, "answer", "cut", (None, None), 0, 0),
    "none": (1, [], 60, "answer", "hold", (None, None), 0, 0),
}


def test_profiles__are_these_ten():
    assert set(profile_names()) == NAMES == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_profile__holds_the_rule(name):
    cap, windows, limit, clock, at_limit, rings, quarantine, machine = EXPECTED[name]
    rule = load_rule(name)
    assert rule.id == name
    assert rule.cap == rule.all_windows[0].cap == cap
    assert [w.kind for w in rule.windows] == windows
    assert (rule.wait_limit_s, rule.clock, rule.at_limit) == (limit, clock, at_limit)
    assert (rule.min_ring_s, rule.max_ring_s) == rings
    assert rule.quarantine_s == quarantine * DAY_S
    assert rule.reserved_after_silent == (quarantine > 0)
    assert rule.machine_pause_s == machine * DAY_S
    assert rule.may_cancel == (name == "none")
    assert rule.estimate == ("ofcom" if name.startswith("uk") else "counted")


def test_profiles__caps_on_attempts_and_pauses():
    de, fr = load_rule("de").attempts, load_rule("fr")
    assert (de.per_day, de.per_week, de.per_30_days, de.per_campaign) == (3, 15, None, 30)
    assert (fr.attempts.per_30_days, fr.refusal_pause_s) == (4, 60 * DAY_S)
    for name in NAMES - {"de", "fr"}:
        assert load_rule(name).attempts == type(de)()


def test_profiles__records_are_kept_long_enough():
    years = {"it_2014": 2, "it_2024": 2, "us_tsr": 5, "ca": 3}
    for name, n in years.items():
        kept = load_rule(name).retention_s
        assert kept is not None
        begins = [datetime.date(year, 1, 1) for year in range(2024, 2028)]
        longest = max(day.replace(year=day.year + n) - day for day in begins)
        assert kept >= longest.days * DAY_S, name
    assert load_rule("uk_2010").retention_s == 184 * DAY_S


def test_profiles__the_unverified_daily_ceiling_of_italy_is_off_but_mentioned():
    for name in ("it_2014", "it_2024"):
        rule = load_rule(name)
        assert all(window.verified for window in rule.windows)
        assert "unconfirmed" in rule.facts["windows.day"].note
    switched_on = Rule.model_validate(
        {
            "profile": "it_2014",
            "windows": [
                {"kind": "campaign", "cap": 0.03},
                {"kind": "day", "cap": 0.04, "verified": False},
            ],
        }
    )
    assert shown(switched_on, "windows.day") == "4 % per calendar day (unverified)"


def changed_fields(part: BaseModel) -> set[str]:
    """Fields that differ from their default; a required one always does."""
    found = set()
    for name, field in type(part).model_fields.items():
        if field.is_required() or getattr(part, name) != field.get_default():
            found.add(name)
    return found


@pytest.mark.parametrize("name", sorted(NAMES))
def test_profile__every_value_that_is_no_default_has_a_source(name):
    rule = load_rule(name)
    for field in changed_fields(rule) - DESCRIPTION:
        value = getattr(rule, field)
        if isinstance(value, BaseModel):
            parts = {f"{field}.{part}" for part in changed_fields(value)}
            assert field in rule.facts or parts <= set(rule.facts), (field, parts)
        elif field == "windows":
            assert {f"windows.{window.kind}" for window in value} <= set(rule.facts)
        else:
            assert field in rule.facts, field
    for fact in rule.facts.values():
        assert fact.note
        if fact.confidence in "S2":
            assert "http" in fact.source or "GitHub" in fact.source, fact
    assert rule.title
    assert rule.source


@pytest.mark.parametrize("name", sorted(NAMES))
def test_profile__every_fact_names_a_field(name):
    rule = load_rule(name)
    kinds = set(Window.model_json_schema()["properties"]["kind"]["enum"])
    for field in rule.facts:
        head, _, part = field.partition(".")
        assert head in Rule.model_fields, field
        if head == "windows":
            assert part in kinds
        elif part:
            assert part in type(getattr(rule, head)).model_fields, field
        assert shown(rule, field)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_profile__survives_writing(name, tmp_path):
    rule = load_rule(name)
    path = tmp_path / "rule.yaml"
    write_yaml(path, rule.model_dump(mode="json", exclude_none=True))
    assert Rule.model_validate(read_yaml(path)) == rule
    assert profile_data(name)["id"] == name


def test_rules_page__is_the_profiles(repository):
    written = (repository / "docs" / "rules.md").read_text(encoding="utf-8")
    assert written == page(), "run: quietdial rules > docs/rules.md"


def test_rules_page__is_no_advice_and_has_every_fact():
    text = page()
    assert "**Not legal advice.**" in text
    for name in NAMES:
        assert f"\n## `{name}`: " in text
        for field, fact in load_rule(name).facts.items():
            assert f"| `{field}` | " in text
            assert f" | {fact.note} | {fact.confidence} | {fact.source} |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {len(NAMES) + 2, 6, 3}


# ---------------------------------------------------------------------------------- bad rules


def told(data: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Rule.model_validate(data)
    return str(caught.value)


def test_rule__unknown_profile_is_told():
    with pytest.raises(
        ConfigError, match="unknown profile 'it_2015'; use one of: au, ca"
    ) as caught:
        load_rule("it_2015")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": [{"kind": "day", "cap": 0.04}]}, "must be that of the first window"),
        ({"windows": [{"kind": "hours", "cap": 0.03}] * 2}, "at most one"),
        ({"min_ring_s": 20, "max_ring_s": 15}, "exceeds max_ring_s"),
        ({"hours": {"weekday": [["21:00", "09:00"]]}}, "out of order"),
        ({"hours": {"weekday": [["09:00", "12:00"], ["11:00", "13:00"]]}}, "out of order"),
        ({"hours": {"weekday": [["24:00", "24:00"]]}}, "pattern"),
        ({"hours": {"weekday": [["09:00", "24:01"]]}}, "pattern"),
        ({"hours": {"eve": [["10:00", "19:00"]]}}, "eve needs `holiday`"),
        ({"country": "XX"}, "country"),
        ({"quarantine_d": 5}, "Extra inputs"),
    ],
)
def test_rule__bad_value_is_told(changes, message):
    assert re.search(message, told({"profile": "it_2014", **changes}))


def test_rule__new_cap_reaches_the_first_window():
    rule = Rule.model_validate({"profile": "us_tsr", "cap": 0.02})
    assert rule.windows == (Window(kind="days", length=30, cap=0.02),)


def test_hours__default_is_always():
    assert shown(load_rule("none"), "hours") == "always"
    assert Hours().weekday == (("00:00", "24:00"),)
