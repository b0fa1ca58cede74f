"""The calls of a campaign as the dialer sees them: in flight by age, under detection, waiting.

Each dial goes: dialed, then either ended without an answer, or picked up; a pick-up goes to
detection (if there is any), then waits for an agent until it is connected or dropped. Events of
calls that nobody told of before (after a restart) are counted all the same.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.ledger_protocol import Outcome
from quietdial.agents.runtime.tables import PacingTables

Cause = Literal["cut", "left"]
_RINGING, _LISTENED, _WAITING, _HELD_ON, _DONE = range(5)
_SECOND_MS: Final = 1000


@dataclass(slots=True)
class _Call:
    """A call that is under way."""

    dialed_ms: int
    slot: int
    reserved: bool
    place: int = _RINGING
    told: bool = False  # its outcome is known


class Calls:
    """Calls of one campaign; each method returns the outcome that the event makes certain, or None.

    Args:
        tables: the floor.
    """

    def __init__(self, tables: PacingTables) -> None:
        self._t = tables
        self._calls: dict[str, _Call] = {}
        self._order: deque[tuple[int, str]] = deque()
        self._given: deque[int] = deque()
        self._hearing: deque[int] = deque()
        n = len(tables.ring)
        self.cohort = np.zeros(n)
        seconds = np.arange(n)
        self._by_age = (seconds[:, None] - seconds[None, :]) % n
        self.in_flight = 0
        self.waiting = 0
        self.analysed = 0
        self.picked_up_seen = 0
        self.finished = 0
        self.lost = 0
        self._lines_used = 0

    def lines_free(self, now_ms: int) -> int:
        """Calls that may still be placed now."""
        while self._hearing and self._hearing[0] <= now_ms:
            self._hearing.popleft()
        return max(self._t.n_lines - self._lines_used - len(self._hearing), 0)

    def by_age(self, now_ms: int) -> NDArray[np.float64]:
        """Calls in flight by whole seconds since their dial, (R,)."""
        at = now_ms // _SECOND_MS % len(self.cohort)
        return np.asarray(self.cohort[self._by_age[at]])

    def unseen_since(self, seen_ms: int) -> float:
        """Calls given to agents after that moment; earlier ones are forgotten."""
        while self._given and self._given[0] <= seen_ms:
            self._given.popleft()
        return float(len(self._given))

    def dialed(self, name: str, at_ms: int, *, reserved: bool = False) -> None:
        """A dial is placed; `reserved`: an agent is set aside for it.

        Raises:
            PacerError: a call of that name is under way.
        """
        if name in self._calls:
            raise PacerError(f"call {name!r} is under way already; give each dial its own name")
        slot = at_ms // _SECOND_MS % len(self.cohort)
        self._calls[name] = _Call(at_ms, slot, reserved)
        self._lines_used += 1
        if not reserved:
            self._order.append((at_ms, name))
            self.cohort[slot] += 1.0
            self.in_flight += 1

    def ended(self, name: str, *, cancelled: bool = False) -> Outcome | None:
        """A dial ended without a pick-up: busy, no answer, invalid, failed, machine, cancelled."""
        call = self._calls.pop(name, None)
        if call is None:
            return "unanswered"
        self._leave_flight(call)
        self._free_line(call)
        if not call.reserved and not cancelled:
            self.finished += 1
        return "unanswered"

    def picked_up(self, name: str, at_ms: int) -> Outcome | None:
        """Somebody, or a machine that nobody has told apart yet, picks up."""
        call = self._known(name, at_ms)
        if call.reserved:
            call.place = _DONE
            return None
        self._pick_up(call)
        return None

    def judged(self, name: str, at_ms: int, *, machine: bool) -> Outcome | None:
        """Detection decides."""
        call = self._known(name, at_ms)
        if call.place == _RINGING and not call.reserved:
            self._pick_up(call)
        self._stop_listening(call)
        if machine:
            self._forget(name, call)
            return "machine_verdict"
        self._queue_up(call)
        return None

    def connected(self, name: str, at_ms: int, *, machine: bool = False) -> Outcome | None:
        """An agent takes the call; `machine`: and finds a machine."""
        call = self._known(name, at_ms)
        told = call.told
        if call.place == _RINGING and not call.reserved:
            self._pick_up(call)
        if call.place == _LISTENED:
            self._stop_listening(call)
            self._queue_up(call)
        self._stop_waiting(call)
        self._forget(name, call)
        if not told or machine:
            self._given.append(at_ms)
        if machine:
            return "machine_agent"
        return None if told else "conversation"  # late: it was counted as cut

    def dropped(self, name: str, at_ms: int, cause: Cause, *, held: bool = False) -> Outcome | None:
        """A picked-up call has no agent by the limit, or the callee leaves before.

        Args:
            name: the call.
            at_ms: when [ms].
            cause: "cut" or "left".
            held: the callee stays on the line and may be connected late.

        Raises:
            PacerError: an unknown cause.
        """
        if cause not in ("cut", "left"):
            raise PacerError(f"cause {cause!r} of call {name!r}: use 'cut' or 'left'")
        call = self._known(name, at_ms)
        if call.place == _RINGING and not call.reserved:
            self._pick_up(call)
        unjudged = call.place == _LISTENED
        self._stop_listening(call)
        outcome: Outcome | None = None if call.told else cause
        if held and call.place == _WAITING:
            call.told = True
            call.place = _HELD_ON
            return outcome
        self._stop_waiting(call)
        self._forget(name, call)
        if self._t.at_limit == "message" and cause == "cut" and not unjudged:
            self._hearing.append(at_ms + self._t.message_ms)
        return outcome

    def gone(self, name: str) -> Outcome | None:
        """A callee who was held on after the limit goes without an agent."""
        call = self._calls.get(name)
        if call is not None:
            self._stop_waiting(call)
            self._forget(name, call)
        return None

    def forget_lost(self, now_ms: int) -> list[str]:
        """Dials that must have ended long ago, but of which no end was told, are forgotten."""
        lost = []
        longest_ms = _SECOND_MS * (len(self.cohort) - 1)
        while self._order and self._order[0][0] + longest_ms < now_ms:
            _, name = self._order.popleft()
            call = self._calls.get(name)
            if call is not None and call.place in (_RINGING, _LISTENED):
                self._stop_listening(call)
                self._leave_flight(call)
                self._forget(name, call)
                self.lost += 1
                lost.append(name)
        return lost

    # --- places of a call -----------------------------------------------------------------------

    def _known(self, name: str, at_ms: int) -> _Call:
        """The call; one of which nobody told is no longer in flight."""
        call = self._calls.get(name)
        if call is None:
            call = _Call(at_ms, 0, reserved=False, place=_DONE)
            self._calls[name] = call
            self._lines_used += 1
        return call

    def _pick_up(self, call: _Call) -> None:
        """A dial has its answer; it waits for an agent, or for detection first."""
        self.finished += 1
        if self._t.detection == "amd":
            call.place = _LISTENED
            self.analysed += 1
            return
        self._leave_flight(call)
        self._queue_up(call)

    def _leave_flight(self, call: _Call) -> None:
        if call.place in (_RINGING, _LISTENED) and not call.reserved:
            self.in_flight -= 1
            self.cohort[call.slot] -= 1.0
        call.place = _DONE

    def _stop_listening(self, call: _Call) -> None:
        if call.place == _LISTENED:
            self.analysed -= 1
            self._leave_flight(call)

    def _queue_up(self, call: _Call) -> None:
        self.picked_up_seen += 1
        self.waiting += 1
        call.place = _WAITING

    def _stop_waiting(self, call: _Call) -> None:
        if call.place in (_WAITING, _HELD_ON):
            self.waiting -= 1
            call.place = _DONE

    def _forget(self, name: str, call: _Call) -> None:
        """The line of a call is free again."""
        if call.place == _RINGING:  # an event in between was lost
            self._leave_flight(call)
        del self._calls[name]
        self._free_line(call)

    def _free_line(self, call: _Call) -> None:
        self._lines_used -= 1
