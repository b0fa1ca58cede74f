"""What a dialer may send, checked field by field: `Ask` for a decision, `Told` for an outcome.

The limits here are those that `/openapi.json` publishes (`openapi.py` reads them from here).
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.strict import read_json
from quietdial.agents.runtime.counters import OLDEST_S, Ages, Counters
from quietdial.agents.runtime.ledger_protocol import OUTCOMES, Outcome
from quietdial.agents.serve.errors import RequestError

MAX_BODY: Final = 64 * 1024
"""Largest request body and longest line, bytes."""

CAMPAIGN: Final = r"^[A-Za-z0-9_.:-]{1,64}$"
FEATURE: Final = r"^[a-z][a-z0-9_]{0,63}$"
CALL: Final = r"^[!-~]{1,128}$"
PERSON: Final = r"^[0-9a-f]{32,64}$"
DAY: Final = r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}$"
MAX_FEATURES: Final = 512
MAX_WINDOWS: Final = 16
MAX_COUNT: Final = 100_000
MAX_TOTAL: Final = 10**12
"""Largest count that only grows."""
MAX_SEQ: Final = 2**53 - 1
MAX_NUMBER: Final = 1e15
"""Largest feature, of either sign."""
MAX_TIME_S: Final = 1e11
"""Latest moment that is understood, Unix seconds."""

_CAMPAIGN, _FEATURE, _CALL, _PERSON = (
    re.compile(pattern.removesuffix("$") + r"\Z") for pattern in (CAMPAIGN, FEATURE, CALL, PERSON)
)
_DAY: Final = re.compile(DAY.removesuffix("$") + r"\Z")
_COUNTS: Final = ("idle", "in_flight", "waiting")
_MORE_COUNTS: Final = ("present", "base_dials")


class Ask(NamedTuple):
    """One request for a decision.

    Attributes:
        campaign: name of the campaign.
        seq: number of the request, given back; the same number twice gets the same answer.
        observed_at: when the dialer was looked at [Unix s].
        idle: agents without a call.
        in_flight: dials without an outcome.
        waiting: answered callees who wait for an agent.
        features: the policy's inputs by name.
        present: agents logged in and not on break; None: not told.
        base_dials: what the base rule of a residual policy would dial; None: not told.
        windows: (silent, answered) of each of the rule's windows; None: not told.
    """

    campaign: str
    seq: int
    observed_at: float
    idle: int
    in_flight: int
    waiting: int
    features: Mapping[str, float]
    present: int | None = None
    base_dials: int | None = None
    windows: tuple[tuple[float, float], ...] | None = None


COUNTERS: Final = tuple(
    name for name in Counters._fields if name not in ("at_ms", "windows", *Counters._field_defaults)
)
"""Counters that every snapshot holds, each a whole number; `windows` besides."""

MORE_COUNTERS: Final = tuple(
    name for name in Counters._field_defaults if name not in ("list_left", "ages")
)
"""Counters that are 0 if they are not told; `list_left` is 1, `ages` are not known."""

AGES: Final = Ages._fields
"""What `ages` may tell; what is not there has none."""


class Snapshot(NamedTuple):
    """One request for a decision by a dialer's own counters.

    Attributes:
        ask: campaign, number, time and floor, as in `Ask`; without features.
        seen: the counters, at the moment `ask.observed_at`.
        n_agents: agents of the roster.
        first_day: first calendar day of the campaign.
        opens_at: today's session opens [Unix s].
        closes_at: it closes [Unix s].
    """

    ask: Ask
    seen: Counters
    n_agents: int
    first_day: datetime.date
    opens_at: float
    closes_at: float


class Told(NamedTuple):
    """What became of a dial.

    Attributes:
        campaign: name of the campaign.
        call: the dialer's name of the call.
        at: when it became certain [Unix s].
        outcome: what became of it.
        person: keyed hash of the person; None: unknown.
    """

    campaign: str
    call: str
    at: float
    outcome: Outcome
    person: str | None = None


def read_object(data: bytes) -> dict[str, Any]:
    """Parse a request: strict JSON, an object (`RequestError`)."""
    if len(data) > MAX_BODY:
        raise RequestError(f"request: {len(data)} bytes; at most {MAX_BODY} are allowed", 413)
    try:
        value = read_json(data, "request")
    except BundleError as error:
        raise RequestError(str(error)) from None
    if not isinstance(value, dict):
        raise RequestError("request: must be a JSON object")
    return value


def ask_of(value: Mapping[str, Any]) -> Ask:
    """Check a request for a decision (`RequestError`: the first field that is wrong)."""
    needed = ("campaign", "seq", "observed_at", *_COUNTS, "features")
    _fields(value, needed, (*_MORE_COUNTS, "windows"))
    features = value["features"]
    if not isinstance(features, dict) or len(features) > MAX_FEATURES:
        raise RequestError(f"features: must be an object of at most {MAX_FEATURES} numbers")
    for name, number in features.items():
        kind = type(number)
        if (kind is not float and kind is not int) or not -MAX_NUMBER <= number <= MAX_NUMBER:
            raise RequestError(
                f"features.{name[:64]}: must be a number from -{MAX_NUMBER:g} to {MAX_NUMBER:g}"
            )
        if not _FEATURE.match(name):
            raise RequestError(f"features: the name {name[:64]!r} must match {FEATURE}")
    return Ask(
        _text(value, "campaign", _CAMPAIGN, CAMPAIGN),
        _whole(value, "seq", MAX_SEQ),
        _moment(value, "observed_at"),
        _whole(value, "idle"),
        _whole(value, "in_flight"),
        _whole(value, "waiting"),
        features,
        _whole(value, "present") if "present" in value else None,
        _whole(value, "base_dials") if "base_dials" in value else None,
        _windows(value["windows"]) if "windows" in value else None,
    )


def snapshot_of(value: Mapping[str, Any]) -> Snapshot:
    """Check a request with counters (`RequestError`: the first field that is wrong)."""
    names = ("campaign", "seq", "observed_at", "n_agents", "first_day", "opens_at", "closes_at")
    _fields(value, (*names, "counters"), ())
    counters = value["counters"]
    if not isinstance(counters, dict):
        raise RequestError("counters: must be an object")
    _fields(counters, (*COUNTERS, "windows"), (*MORE_COUNTERS, "list_left", "ages"))
    told: dict[str, Any] = {name: _whole(counters, name, MAX_TOTAL) for name in COUNTERS}
    told |= {name: _whole(counters, name) for name in MORE_COUNTERS if name in counters}
    if "list_left" in counters:
        share = counters["list_left"]
        if type(share) not in (int, float) or not 0 <= share <= 1:
            raise RequestError("list_left: must be a number from 0 to 1")
        told["list_left"] = float(share)
    if "ages" in counters:
        told["ages"] = _ages(counters["ages"])
    told["windows"] = _windows(counters["windows"])
    observed_at = _moment(value, "observed_at")
    campaign = _text(value, "campaign", _CAMPAIGN, CAMPAIGN)
    floor = (told["idle"], told["in_flight"], told["waiting"])
    ask = Ask(campaign, _whole(value, "seq", MAX_SEQ), observed_at, *floor, {})
    text = _text(value, "first_day", _DAY, f"{DAY}, a date")
    try:
        first_day = datetime.date.fromisoformat(text)
    except ValueError:
        raise RequestError(f"first_day: {text} is no date") from None
    return Snapshot(
        ask,
        Counters(at_ms=round(1000 * observed_at), **told),
        _whole(value, "n_agents", least=1),
        first_day,
        _moment(value, "opens_at"),
        _moment(value, "closes_at"),
    )


def _windows(value: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(value, list) or len(value) > MAX_WINDOWS:
        raise RequestError(f"windows: must be a list of at most {MAX_WINDOWS}")
    found = []
    for window in value:
        if not isinstance(window, dict):
            raise RequestError("windows: must hold objects of silent and answered")
        _fields(window, ("silent", "answered"), ())
        silent, answered = (_whole(window, name, MAX_TOTAL) for name in ("silent", "answered"))
        found.append((float(silent), float(answered)))
    return tuple(found)


def _ages(value: Any) -> Ages:
    if not isinstance(value, dict):
        raise RequestError("ages: must be an object of lists")
    _fields(value, (), AGES)
    for name, ages in value.items():
        if not isinstance(ages, list) or not all(
            type(age) in (int, float) and 0 <= age <= OLDEST_S for age in ages
        ):
            raise RequestError(f"ages: {name} must be a list of seconds, 0 to {OLDEST_S:.0f}")
    return Ages(**{name: tuple(map(float, ages)) for name, ages in value.items()})


def told_of(value: Mapping[str, Any]) -> Told:
    """Check an outcome (`RequestError`: the first field that is wrong)."""
    _fields(value, ("campaign", "call", "at", "outcome"), ("person",))
    outcome = value["outcome"]
    if not isinstance(outcome, str) or outcome not in OUTCOMES:
        raise RequestError(f"outcome: must be one of {', '.join(OUTCOMES)}")
    person = None
    if "person" in value:
        person = _text(value, "person", _PERSON, f"{PERSON}: a keyed hash, never a number")
    return Told(
        _text(value, "campaign", _CAMPAIGN, CAMPAIGN),
        _text(value, "call", _CALL, CALL),
        _moment(value, "at"),
        outcome,
        person,
    )


def _fields(value: Mapping[str, Any], needed: tuple[str, ...], more: tuple[str, ...]) -> None:
    for name in needed:
        if name not in value:
            raise RequestError(f"{name}: is missing")
    for name in value:
        if name not in needed and name not in more:
            raise RequestError(f"{name[:64]!r}: is not a field; use {', '.join(needed + more)}")


def _text(value: Mapping[str, Any], name: str, form: re.Pattern[str], says: str) -> str:
    text = value[name]
    if not isinstance(text, str) or not form.match(text):
        raise RequestError(f"{name}: must be a text that matches {says}")
    return text


def _whole(value: Mapping[str, Any], name: str, most: int = MAX_COUNT, least: int = 0) -> int:
    number = value[name]
    if type(number) is float and number.is_integer():
        number = int(number)
    if type(number) is not int or not least <= number <= most:
        raise RequestError(f"{name}: must be a whole number from {least} to {most}")
    return number


def _moment(value: Mapping[str, Any], name: str) -> float:
    number = value[name]
    if type(number) not in (int, float) or not 0 <= number <= MAX_TIME_S:
        raise RequestError(f"{name}: must be a number of seconds since 1970, 0 to {MAX_TIME_S:.0f}")
    return float(number)
