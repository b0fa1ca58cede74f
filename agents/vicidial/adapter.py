"""The adapter: reads the dialer's tables, asks a policy, writes the dial level under a lease.

Every `renew_s` it renews the lease and looks whether an operator changed the level or the dial
method; every `interval_s` it asks for a new level. Between two processes everything it needs is in
the database, so it can be killed and started again at any moment.
"""

from __future__ import annotations

import enum
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from quietdial.agents.vicidial.database import AwayError, Database
from quietdial.agents.vicidial.errors import DialerError
from quietdial.agents.vicidial.tables import Reader, Snapshot

LOWEST: Final = 1.0
HIGHEST: Final = 4.0
"""VICIdial's own limit on the level (`system_settings.auto_dial_limit`) unless it was raised."""
GUARD_MAY_BE_OLD_S: Final = 5.0

_STATE = (
    "SELECT c.dial_method, c.auto_dial_level, l.state, l.holder, l.level, l.previous_level, "
    "l.valid_until > UTC_TIMESTAMP(3), "
    "TIMESTAMPDIFF(MICROSECOND, g.beat, UTC_TIMESTAMP(3)) / 1000000 "
    "FROM vicidial_campaigns AS c JOIN quietdial_guard AS g ON g.one = 1 "
    "LEFT JOIN quietdial_lease AS l ON l.campaign_id = c.campaign_id WHERE c.campaign_id = %s"
)
_WATCH = "SELECT auto_dial_level FROM vicidial_campaigns WHERE campaign_id = %s"
_TAKE = (
    "UPDATE quietdial_lease SET state = 'held', holder = %s, previous_level = %s, level = %s, "
    "lease_ms = %s, valid_until = UTC_TIMESTAMP(3) + INTERVAL %s MICROSECOND, "
    "changed_at = UTC_TIMESTAMP(3) WHERE campaign_id = %s "
    "AND (holder = %s OR state = 'lapsed' OR valid_until < UTC_TIMESTAMP(3)) "
    "AND state IN ('held', 'lapsed')"
)
_RENEW = (
    "UPDATE quietdial_lease SET valid_until = UTC_TIMESTAMP(3) + INTERVAL %s MICROSECOND "
    "WHERE campaign_id = %s AND holder = %s AND state = 'held'"
)
_WRITE = (
    "UPDATE vicidial_campaigns SET auto_dial_level = %s WHERE campaign_id = %s "
    "AND dial_method = 'RATIO' AND CAST(auto_dial_level AS DECIMAL(6,3)) IN (%s, %s)"
)
_GIVE_UP = (
    "UPDATE quietdial_lease SET state = %s, level = 1.0, previous_level = 1.0, holder = '', "
    "changed_at = UTC_TIMESTAMP(3) WHERE campaign_id = %s "
    "AND ((holder = %s AND state = 'held') OR state = 'lapsed')"
)


class Answer(NamedTuple):
    """What a policy says.

    Attributes:
        level: dial level that it wants, lines per agent.
        reason: why, in a few words; empty: the policy's own choice.
        fallback: whether something else than the policy decided.
        stop: whether dialing must end: the campaign goes to MANUAL until an operator starts it.
    """

    level: float
    reason: str = ""
    fallback: bool = False
    stop: bool = False


Decide = Callable[[Snapshot], Answer]


class State(enum.Enum):
    """What the adapter found, or did, at a tick."""

    RUNNING = "running"
    OVERRIDE = "override"
    STOPPED = "stopped"
    OTHER_METHOD = "other-method"
    OTHER_HOLDER = "other-holder"
    NO_GUARD = "no-guard"
    NO_LEASE_ROW = "not-started"
    AWAY = "away"
    WATCHING = "watching"


SAID: Final = {
    State.RUNNING: "steering",
    State.OVERRIDE: "an operator set the level: it stays until `quietdial vicidial start`",
    State.STOPPED: "stopped (dial method MANUAL): only `quietdial vicidial start` goes on",
    State.OTHER_METHOD: "another dial method than RATIO is set: nothing is written",
    State.OTHER_HOLDER: "another adapter holds the lease: nothing is written",
    State.NO_GUARD: "the dead man's switch does not run (event_scheduler=ON?): nothing is written",
    State.NO_LEASE_ROW: "the campaign was never started: run `quietdial vicidial start`",
    State.WATCHING: "dry run: the level is VICIdial's own or the operator's, nothing is written",
    State.AWAY: "the database is away: VICIdial goes back to level 1.0 when the lease is over",
}
"""One line for each state, written once when it begins."""


class Tick(NamedTuple):
    """What a tick did.

    Attributes:
        state: how the adapter stands.
        level: level that stands in the table as far as known; NaN: not known.
        answer: what the policy said; None: it was not asked.
        seen: what it was asked about.
        detail: what the database said, if it is away.
    """

    state: State
    level: float
    answer: Answer | None = None
    seen: Snapshot | None = None
    detail: str = ""


@dataclass(frozen=True)
class Settings:
    """How the adapter behaves.

    Attributes:
        campaign: `campaign_id`.
        interval_s: time between two decisions [s].
        lease_s: a level is worth nothing after so long without the adapter [s].
        renew_s: time between two renewals [s].
        highest: highest level that is ever written.
        step_up: most that the level rises at one decision; down it goes at once.
        holder: name of this adapter; empty: host and process.
        dry_run: decide beside whoever steers, and write nothing at all.
    """

    campaign: str
    interval_s: float = 15.0
    lease_s: float = 3.0
    renew_s: float = 1.0
    highest: float = HIGHEST
    step_up: float = 0.5
    holder: str = ""
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be kept."""
        if not 1 <= len(self.campaign) <= 8:
            raise DialerError(f"campaign {self.campaign!r}: VICIdial's ids have 1 to 8 characters")
        if not LOWEST <= self.highest <= 20:
            raise DialerError(f"highest = {self.highest} must lie between {LOWEST:g} and 20")
        if not self.step_up > 0:
            raise DialerError(f"step_up = {self.step_up} must be above 0")
        if not 0 < self.renew_s < self.lease_s <= 3600:
            raise DialerError(
                f"renew_s = {self.renew_s} must be above 0 and below lease_s = {self.lease_s}, "
                "which is at most an hour"
            )
        if not self.interval_s > 0:
            raise DialerError(f"interval_s = {self.interval_s} must be above 0 s")


class Adapter:
    """Steers one campaign.

    Args:
        database: connection with the adapter's own account.
        reader: reads the campaign.
        decide: the policy.
        settings: see there.
        note: told every tick that has a new state or asked the policy.
        clock: monotonic clock [s]; a test or an accelerated floor brings its own.
    """

    def __init__(
        self,
        database: Database,
        reader: Reader,
        decide: Decide,
        settings: Settings,
        *,
        note: Callable[[Tick], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._reader = reader
        self._decide = decide
        self._settings = settings
        self._note = note
        self._clock = clock
        self._holder = settings.holder or f"{socket.gethostname()[:40]}:{os.getpid()}"
        self._last: State | None = None
        self._next_decision = -math.inf

    def run(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Tick until `stopped` says so, then give the lease back at level 1.0."""
        try:
            while not stopped():
                began = self._clock()
                self.tick()
                time.sleep(max(self._settings.renew_s - (self._clock() - began), 0.0))
        finally:
            self.leave()

    def tick(self) -> Tick:
        """Renew the lease; if it is time, decide and write. Never raises for a database away.

        Raises:
            DialerError: a grant, a table or a column is missing: nothing that waiting mends.
        """
        try:
            done = self._tick()
        except AwayError as error:
            done = Tick(State.AWAY, math.nan, detail=str(error))
        if done.state is not self._last or done.answer is not None:
            self._note(done)
        self._last = done.state
        return done

    def stop(self) -> None:
        """End all dialing: dial method MANUAL. Only an operator starts it again.

        Raises:
            AwayError: the database is away; VICIdial dials on at level 1.0. Try again.
        """
        self._database.change("CALL quietdial_stop(%s)", (self._settings.campaign,))

    def leave(self) -> None:
        """Set the level to 1.0 and give the lease back; what cannot be done now, the event does."""
        campaign = self._settings.campaign
        if self._settings.dry_run:
            self._database.close()
            return
        try:
            row = self._database.rows(_STATE, (campaign,))
            if row and row[0][2] == "held" and row[0][3] == self._holder:
                self._put(LOWEST, row[0][4], row[0][5])
                self._database.change(_GIVE_UP, ("lapsed", campaign, self._holder))
        except DialerError:
            self._database.close()
        self._database.close()

    def _tick(self) -> Tick:
        settings = self._settings
        query = _WATCH if settings.dry_run else _STATE
        found = self._database.rows(query, (settings.campaign,))
        if not found:
            raise DialerError(
                f"campaign {settings.campaign!r} is not in vicidial_campaigns, or the set-up was "
                "not run"
            )
        if settings.dry_run:
            return self._watched(_number(found[0][0]))
        method, text, state, holder, level, previous, valid, beat_age_s = found[0]
        now = _number(text)
        if state is None:
            return Tick(State.NO_LEASE_ROW, now)
        if state == "stopped":
            return Tick(State.STOPPED, now)
        if method == "MANUAL":
            return self._yield_to(State.STOPPED, now)
        if method != "RATIO":
            return self._yield_to(State.OTHER_METHOD, now)
        if state == "override":
            return Tick(State.OVERRIDE, now)
        if not -GUARD_MAY_BE_OLD_S < float(beat_age_s) < GUARD_MAY_BE_OLD_S:
            return self._without_guard(now, level, previous)
        if state == "held" and valid and holder != self._holder:
            return Tick(State.OTHER_HOLDER, now)
        if Decimal(str(now)) not in (level, previous):
            return self._yield_to(State.OVERRIDE, now)
        mine = state == "held" and holder == self._holder
        if mine:
            self._database.change(_RENEW, (self._lease_us, settings.campaign, self._holder))
        if mine and self._clock() < self._next_decision:
            return Tick(State.RUNNING, now)
        return self._decided(now, mine)

    def _watched(self, now: float) -> Tick:
        """Dry run: the policy is asked at its interval, and its answer told, not written."""
        if self._clock() < self._next_decision:
            return Tick(State.WATCHING, now)
        self._next_decision = self._clock() + self._settings.interval_s
        seen = self._reader.read()
        return Tick(State.WATCHING, now, self._asked(seen), seen)

    def _decided(self, now: float, mine: bool) -> Tick:
        settings = self._settings
        self._next_decision = self._clock() + settings.interval_s
        seen = self._reader.read()
        answer = self._asked(seen)
        if answer.stop:
            self.stop()
            return Tick(State.STOPPED, LOWEST, answer, seen)
        wanted = answer.level if math.isfinite(answer.level) else LOWEST
        wanted = min(wanted, settings.highest, now + settings.step_up)
        wanted = round(max(wanted, LOWEST), 3)
        taken = self._database.change(
            _TAKE,
            (
                self._holder,
                _decimal(now),
                _decimal(wanted),
                round(1000 * settings.lease_s),
                self._lease_us,
                settings.campaign,
                self._holder,
            ),
        )
        if not taken:  # the state has changed since it was read
            return Tick(State.RUNNING if mine else State.OTHER_HOLDER, now)
        if not self._put(wanted, _decimal(now), _decimal(wanted)):
            return self._yield_to(State.OVERRIDE, now)
        return Tick(State.RUNNING, wanted, answer, seen)

    def _asked(self, seen: Snapshot) -> Answer:
        """The policy's answer; a policy that fails is level 1.0."""
        try:
            return self._decide(seen)
        except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
            reason = f"the policy failed: {type(error).__name__}: {error}"
            return Answer(LOWEST, " ".join(reason.split())[:200], fallback=True)

    def _put(self, level: float, *known: Decimal) -> bool:
        values = (f"{level:g}" if level != LOWEST else "1.0", self._settings.campaign, *known)
        return self._database.change(_WRITE, values) > 0

    def _without_guard(self, now: float, level: Decimal, previous: Decimal) -> Tick:
        if Decimal(str(now)) in (level, previous):
            self._put(LOWEST, level, previous)
        return Tick(State.NO_GUARD, now)

    def _yield_to(self, state: State, now: float) -> Tick:
        """Somebody else decides: say so in the lease, so that the event leaves the level alone."""
        word = "stopped" if state is State.STOPPED else "override"
        self._database.change(_GIVE_UP, (word, self._settings.campaign, self._holder))
        return Tick(state, now)

    @property
    def _lease_us(self) -> int:
        return round(1e6 * self._settings.lease_s)


def _decimal(level: float) -> Decimal:
    return Decimal(f"{level:.3f}")


def _number(text: object) -> float:
    """A level as VICIdial stores it, text; what is no number counts as 1.0, as there."""
    try:
        value = float(str(text))
    except ValueError:
        return LOWEST
    return round(value, 3) if math.isfinite(value) else LOWEST
