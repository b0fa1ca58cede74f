"""The shields at run time: limits on calls in flight, whatever the policy asks for.

The same whole-number tests as `quietdial.envs.pacing.shield`, where the theorem, its proof and its
conditions stand. In short: with S silent and A answered calls of the window (callees who wait count
as silent), q calls in flight, I idle agents and cap c, more calls than idle agents are allowed only
while S <= c A and S + max(q - I, 0) <= c (A + q). Then S <= c A after every event, if

1. a dial gives at most one answer, and only calls in flight can be answered;
2. an idle agent takes an answered call at once, and leaves for nothing else while calls are in
   flight;
3. S, A, q and I are what they are when calls are placed.

`deterministic` keeps that; :func:`unmet` says which conditions do not hold, as far as the pacer can
see. `borrowing` adds the answered calls still to come in the window, by a low estimate, to A: it
lets the cap be passed within the window and rests on traffic that goes on. Its rate of breaches was
measured (docs/pacer.md); no probability is proven.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.floor import Floor
from quietdial.agents.runtime.tables import BREAK, IDLE, OFF
from quietdial.agents.runtime.view import View

UNIT: Final = 1_000_000
"""Caps are whole numbers of 1e-6, so that the test has no rounding."""
_SLACK_MS: Final = 60_000

Kind = Literal["deterministic", "borrowing"]


@dataclass(frozen=True)
class ShieldSettings:
    """Which shield.

    Attributes:
        kind: "deterministic" or "borrowing".
        cap: silent / answered that the first window is kept to; None: the rule's.
        reserves: only idle agents count who will not leave while a call of now may be in flight.
        answers_per_agent_s: answered calls of an agent and second at least; None: as exported.
    """

    kind: Kind = "deterministic"
    cap: float | None = None
    reserves: bool = False
    answers_per_agent_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse settings out of their range."""
        if self.kind not in ("deterministic", "borrowing"):
            raise PacerError(
                f"shield: kind = {self.kind!r} must be one of: deterministic, borrowing"
            )
        if self.cap is not None and not 1.0 / UNIT <= self.cap < 1.0:
            raise PacerError(f"shield: cap = {self.cap!r} must lie in [1e-6, 1)")
        pace = self.answers_per_agent_s
        if pace is not None and not 0.0 <= pace <= 10.0:
            raise PacerError(f"shield: answers_per_agent_s = {pace!r} must lie in [0, 10]")


def most_in_flight(
    idle: int, silent: int, answered: int, cap_millionths: int, to_come: int = 0
) -> int:
    """Most calls that may be in flight, in whole numbers.

    I + floor((c (A + L + I) - S) / (1 - c)) if S <= c (A + L), else I.

    Args:
        idle: I, idle agents who count.
        silent: S, silent calls, waiting callees included.
        answered: A, answered calls, waiting callees included.
        cap_millionths: c in units of 1e-6.
        to_come: L, answered calls that are borrowed.
    """
    budget = cap_millionths * (answered + to_come) - UNIT * silent
    if budget < 0:
        return idle
    return idle + (budget + cap_millionths * idle) // (UNIT - cap_millionths)


class Limit:
    """The test over all windows of a rule, from plain counts: what any shield here is made of.

    Args:
        caps: silent / answered of each window; 1: no limit.
    """

    def __init__(self, caps: Sequence[float]) -> None:
        self._caps = [(w, math.floor(c * UNIT + 1e-6)) for w, c in enumerate(caps) if c < 1.0]

    def room(
        self, idle: int, waiting: int, windows: Sequence[tuple[float, float]], to_come: int = 0
    ) -> int:
        """Most calls that may be in flight, in every window.

        Args:
            idle: idle agents who count.
            waiting: answered callees who wait for an agent; they count as silent.
            windows: (silent, answered) of each of the rule's windows, without those who wait.
            to_come: answered calls that are borrowed in the first window.
        """
        room = None
        for w, cap in self._caps:
            seen, seen_answered = windows[w]
            silent, answered = math.ceil(seen) + waiting, int(seen_answered) + waiting
            most = most_in_flight(idle, silent, answered, cap, to_come if w == 0 else 0)
            room = most if room is None else min(room, most)
        return idle if room is None else room


class Shield:
    """A shield over the windows of a floor's rule.

    Args:
        settings: which shield.
        floor: the floor.

    Raises:
        PacerError: the rule has no limit on the silent rate and the settings name none.
    """

    def __init__(self, settings: ShieldSettings, floor: Floor) -> None:
        self.settings = settings
        self._floor = floor
        tables = floor.tables
        first = tables.cap if settings.cap is None else settings.cap
        if first >= 1.0:
            raise PacerError(
                "shield: the rule has no limit on the silent rate; give the shield a cap, for "
                "example 0.03"
            )
        self._limit = Limit([first, *(window.cap for window in tables.windows[1:])])
        pace = settings.answers_per_agent_s
        self._pace = tables.answers_per_agent_s if pace is None else pace
        self._settled_ms = tables.settled_ms

    def room(self, view: View) -> int:
        """Most calls that may be in flight now, in every window."""
        idle = view.agents[IDLE]
        if self.settings.reserves:
            leaving = self._floor.crew.idle_leaving(view.now_ms, view.now_ms + self._settled_ms)
            idle = max(idle - leaving, 0)
        to_come = self._borrowed(view) if self.settings.kind == "borrowing" else 0
        return self._limit.room(idle, view.waiting, view.windows, to_come)

    def _borrowed(self, view: View) -> int:
        """L, answered calls still to come in the first window, by a low estimate."""
        agents = max(view.n_agents - view.agents[OFF] - 0.5 * view.agents[BREAK], 0.0)
        left_s = max((view.span_ms - view.spent_ms) / 1000.0 - _SLACK_MS / 1000.0, 0.0)
        mean = self._pace * agents * left_s
        return int(max(mean - 2.0 * math.sqrt(mean), 0.0))

    def unmet(self) -> list[str]:
        """Conditions of the deterministic shield that do not hold, as far as the pacer can see."""
        return unmet(self._floor, reserves=self.settings.reserves)


def unmet(floor: Floor, *, reserves: bool) -> list[str]:
    """Conditions of the theorem that do not hold on a floor, one line each; none: all that is seen.

    What cannot be seen from here: silent calls that nobody told, calls that the dialer places
    without telling, and events that come late without saying so.
    """
    tables, crew, calls = floor.tables, floor.crew, floor.calls
    found = []
    if tables.detection == "amd":
        found.append("1: detection takes people for machines, whom no dialer counts")
    if tables.detection != "perfect":
        found.append("1: machines take idle agents without being answered calls")
    if crew.plans and not reserves:
        found.append("2: agents log out or go to lunch while calls are in flight; use `reserves`")
    if crew.left_idle:
        found.append(
            f"2: idle agents left for something else while calls were in flight, "
            f"{crew.left_idle} times so far"
        )
    if tables.feed_delay_ms:
        found.append(f"3: agents are seen {tables.feed_delay_ms / 1000:g} s late")
    if floor.out_of_order:
        found.append(f"3: {floor.out_of_order} events came out of the order of time")
    if calls.lost:
        found.append(f"3: of {calls.lost} dials no end was told")
    if any(window.kind == "hours" for window in tables.windows):
        found.append("the rolling window forgets answered calls, which the theorem does not know")
    return found
