"""What a campaign has to keep: caps by window, causes that count, pauses, attempts, retention."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from quietdial.agents.ledger.errors import LedgerError

DAY_S: Final = 86_400.0
TWO_YEARS_S: Final = 731 * DAY_S
KINDS: Final = ("campaign", "day", "days", "month", "hours")
FOREVER_MS: Final = 2**62
"""A date that never comes: as long as the campaign is kept."""


@dataclass(frozen=True)
class WindowTerm:
    """One span of time with its cap, as `envs.regulation.rule.Window`.

    Attributes:
        kind: campaign, day, days (blocks from the first day), month, or hours (rolling).
        cap: allowed silent / answered.
        length: days or hours, for those two kinds.
    """

    kind: str
    cap: float
    length: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be counted."""
        if self.kind not in KINDS:
            raise LedgerError(f"window {self.kind!r}: use one of " + ", ".join(KINDS))
        if not (math.isfinite(self.cap) and 0 < self.cap <= 1):
            raise LedgerError(f"window {self.kind}: cap = {self.cap!r} must lie in (0, 1]")
        if type(self.length) is not int or not 1 <= self.length <= 366:
            raise LedgerError(f"window {self.kind}: length = {self.length!r} must be 1 to 366")


@dataclass(frozen=True)
class Terms:
    """What a campaign has to keep.

    Attributes:
        rule: name of the compliance rule.
        windows: all must hold; the first is the main one.
        time_zone: IANA name of the zone whose midnight ends a day.
        first_day: first calendar day; windows are numbered from it.
        counts_cut, counts_left, counts_amd: causes that enter the numerator.
        quarantine_s: no call to a person so long after a silent one [s].
        machine_pause_s: the same after a verdict "machine" [s].
        refusal_pause_s: the same after a conversation [s].
        per_day, per_week, per_30_days, per_campaign: most dials to one person; None: no cap.
        retention_s: the campaign's statistics are kept so long after its last event [s].
    """

    rule: str
    windows: tuple[WindowTerm, ...]
    time_zone: str
    first_day: datetime.date
    counts_cut: bool = True
    counts_left: bool = True
    counts_amd: bool = True
    quarantine_s: float = 0.0
    machine_pause_s: float = 0.0
    refusal_pause_s: float = 0.0
    per_day: int | None = None
    per_week: int | None = None
    per_30_days: int | None = None
    per_campaign: int | None = None
    retention_s: float = TWO_YEARS_S

    def __post_init__(self) -> None:
        """Refuse terms that cannot be kept."""
        if not 1 <= len(self.windows) <= 4:
            raise LedgerError(f"terms: {len(self.windows)} windows; give 1 to 4")
        if len({(w.kind, w.length) for w in self.windows}) < len(self.windows):
            raise LedgerError("terms: two windows of the same kind and length; give one cap each")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise LedgerError(
                f"terms: time_zone = {self.time_zone!r} is not known; use a name such as "
                "Europe/Rome"
            ) from None
        for name in ("quarantine_s", "machine_pause_s", "refusal_pause_s", "retention_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 100 * 366 * DAY_S):
                raise LedgerError(f"terms: {name} = {value!r} must be 0 s to 100 years")
        for name in ("per_day", "per_week", "per_30_days", "per_campaign"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise LedgerError(f"terms: {name} = {value!r} must be a count, at least 1")

    def day_of(self, at_ms: int) -> datetime.date:
        """The calendar day of a moment [ms since 1970, UTC] in the campaign's time zone."""
        return datetime.datetime.fromtimestamp(at_ms / 1000.0, ZoneInfo(self.time_zone)).date()

    def number_of(self, window: WindowTerm, day: datetime.date) -> int:
        """Number of the window that a day lies in, from 0 (0 for rolling hours)."""
        elapsed = (day - self.first_day).days
        if window.kind == "day":
            return elapsed
        if window.kind == "days":
            return elapsed // window.length
        if window.kind == "month":
            return 12 * (day.year - self.first_day.year) + day.month - self.first_day.month
        return 0

    def persons_s(self, least_s: float) -> float:
        """How long a person's hash is needed [s]; infinite with a cap on the whole campaign."""
        if self.per_campaign is not None:
            return math.inf
        spans = [least_s, self.quarantine_s, self.machine_pause_s, self.refusal_pause_s]
        spans += [DAY_S * days for cap, days in self._spans() if cap is not None]
        return max(spans)

    def _spans(self) -> tuple[tuple[int | None, int], ...]:
        return (self.per_day, 2), (self.per_week, 8), (self.per_30_days, 30)

    def to_json(self) -> str:
        """Canonical JSON."""
        plain = dataclasses.asdict(self) | {"first_day": self.first_day.isoformat()}
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Terms:
        """The terms that `to_json` wrote; `LedgerError` for anything else."""
        try:
            plain = json.loads(text)
            plain["windows"] = tuple(WindowTerm(**window) for window in plain["windows"])
            plain["first_day"] = datetime.date.fromisoformat(plain["first_day"])
            return cls(**plain)
        except (TypeError, KeyError, ValueError) as error:
            raise LedgerError(f"the ledger's terms of a campaign are damaged: {error}") from None


@dataclass(frozen=True)
class Retention:
    """How long details are kept, beside the campaign's statistics (`Terms.retention_s`).

    Attributes:
        persons_s: hashes of numbers [s]; longer where a quarantine or a cap needs them.
        decisions_s: single decisions with their features [s].
    """

    persons_s: float = 30 * DAY_S
    decisions_s: float = 90 * DAY_S

    def __post_init__(self) -> None:
        """Refuse a time that is no time."""
        for name in ("persons_s", "decisions_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise LedgerError(f"retention: {name} = {value!r} must be a number of seconds >= 0")


def terms_of(rule: Any, time_zone: str, first_day: datetime.date) -> Terms:
    """The terms of a campaign under a compliance rule; two years of retention if it says none.

    Args:
        rule: `envs.regulation.rule.Rule`, or what has its fields.
        time_zone: IANA name of the zone whose midnight ends a day.
        first_day: first calendar day.
    """
    caps: Mapping[str, int | None] = {
        name: getattr(rule.attempts, name)
        for name in ("per_day", "per_week", "per_30_days", "per_campaign")
    }
    return Terms(
        rule=rule.id,
        windows=tuple(WindowTerm(w.kind, w.cap, w.length) for w in rule.all_windows),
        time_zone=time_zone,
        first_day=first_day,
        counts_cut=rule.counts_cut,
        counts_left=rule.counts_left,
        counts_amd=rule.counts_amd,
        quarantine_s=rule.quarantine_s,
        machine_pause_s=rule.machine_pause_s,
        refusal_pause_s=rule.refusal_pause_s,
        retention_s=TWO_YEARS_S if rule.retention_s is None else rule.retention_s,
        **caps,
    )
