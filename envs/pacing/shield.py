"""Shields: limits on dials that keep silent / answered within the cap, whatever a policy wants.

**Theorem (deterministic shield; pathwise, at every moment).** Let S be the silent calls so far
(callees who wait count as silent), A the answered ones, q the calls in flight, I the idle agents
and c the cap, all of one compliance window. Suppose that

1. a dial gives at most one answer, and only calls in flight can be answered;
2. an idle agent takes an answered call at once, and while calls are in flight idle agents leave
   for nothing else (no log-out, no break, no other work);
3. the dialer sees S, A, q and I as they are when it dials.

Let k calls be dialed only if the overdial o = max(q + k - I, 0) is 0, or if S <= c A and
S + o <= c (A + q + k). Then S <= c A after every event, for any policy and whatever is answered.

*Proof.* Let g(a) = S + max(a - I, 0) - c (A + a): the excess if a of the calls in flight are
answered before any agent is released. Claim: g(a) <= 0 for every a in 0..q, at every moment. At
the start S = A = q = 0. The function g is convex in a, so it is at most 0 on 0..n if it is at 0 and
at n. A dial with o > 0 has g(0) = S - c A <= 0 (S itself with waiting callees) and
g(q + k) = S + o - c (A + q + k) <= 0. A dial with o = 0 has max(a - I, 0) = 0 for all a <= q + k,
and g(a) = S - c A - c a <= 0, since g(0) <= 0 held before. An answer that an idle agent takes turns
(q, A, I) into (q - 1, A + 1, I - 1) and g into g'(a) = g(a + 1); one that nobody takes turns
(q, A, S) into (q - 1, A + 1, S + 1) with I = 0, and again g'(a) = g(a + 1). A call that ends
otherwise shortens the range. A released agent raises I or takes a waiting callee, which lowers S:
both lower g. A waiting callee who is cut was counted already. So S - c A = g(0) <= 0 always. QED.

The same test read for o: o <= floor((c (A + I) - S) / (1 - c)). It is the least restrictive rule
with this guarantee: where it fails, all q + k calls may be answered before any release, and the cap
is broken at that moment. (Science study, part D.)

**Where a condition fails** the guarantee is void, and only then: idle agents who log out, go to
lunch or take inbound calls while calls are in flight (2); agents' states that come late, or a
placer that goes on dialing from an old count (3); silent calls that no dialer sees, such as people
whom detection takes for machines, which are counted apart (1 holds, but S is not what is counted).

**Reserved form** (`reserves`). Only agents count as idle who will stay at least as long as any call
may be in flight: those whose log-out or lunch is farther away. Then every call that counts on an
agent is settled before the agent leaves, so planned departures do not break condition 2: at a
leave all calls in flight were dialed when the agent no longer counted, or are none.

**Borrowing shield** (no guarantee). The same test with A + L in place of A, where L is a low
estimate of the answered calls still to come in the window when dialing progressively:
L = max(r n T - 2 sqrt(r n T), 0), n agents less half of those on break, T the rest of the window
less 60 s, r answered calls per agent-second. S <= c A holds at the end of the window whenever at
least L calls are answered; nothing is promised before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.controllers.plug import Setting, checked_setting
from quietdial.envs.pacing.full.windows import first_window, first_window_time
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.params import (
    DETECT_AMD,
    DETECTION,
    HAS_SHIFTS,
    IS_FULL,
    LAW_DECISION,
    LIMIT_MS,
    LUNCH_S,
    N_AGENTS,
    N_COHORTS,
    OPENS,
    SHIELD,
    SHIELD_CAP,
    SHIELD_PERIOD_MS,
    SHIELD_RATE_PER_S,
    SHIELD_RESERVES,
    SHIELD_SETTLED_MS,
    WALL_S,
    Params,
)
from quietdial.envs.pacing.state import (
    COUNT,
    IDLE,
    IDLE_HEAD,
    IN_FLIGHT,
    NOW,
    OUT_AT,
    SESSION,
    SHIELD_ACTS,
    SHIELD_CALLS,
    SHIELD_NEXT,
    SHIELD_ROOM,
    WAITING,
)
from quietdial.envs.scenario import Scenario

UNIT: Final = 1_000_000
"""Caps are whole numbers of 1e-6, so that the test has no rounding."""

STUDY_PACE: Final = 0.0023 * 180.0
"""Answered calls of a progressive floor per agent and mean handling time, a low value: 0.0023 per
agent-second where a conversation with wrap-up takes 180 s (science study, part D)."""

_SETTINGS: Final = (
    Setting("cap", "share", 0.03, 1.0 / UNIT, 1.0 - 1.0 / UNIT, "silent / answered to keep"),
    Setting("period_s", "s", 0.0, 0.0, 3600.0, "time between two looks"),
    Setting("answers_per_agent_s", "1/s", 0.0023, 0.0, 10.0, "answered calls to come"),
)
Kind = Literal["deterministic", "borrowing"]
_KINDS: tuple[Kind, ...] = ("deterministic", "borrowing")


@dataclass(frozen=True)
class Shield:
    """A limit on the dials of any policy, applied inside the world at every dial.

    Attributes:
        kind: "deterministic" (proven under its conditions) or "borrowing".
        cap: silent / answered that it keeps; None: the cap of the rule's first window. Rounded down
            to a multiple of 1e-6.
        reserves: count only idle agents who will not leave while a call may be in flight.
        period_s: the floor is looked at only so often, and the number of calls in flight that was
            right then stands in between, as with a placer that ticks by itself; 0: at every dial.
        answers_per_agent_s: r of the borrowing shield; None: 0.414 / (talk + wrap-up).
    """

    kind: Kind = "deterministic"
    cap: float | None = None
    reserves: bool = False
    period_s: float = 0.0
    answers_per_agent_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse settings out of their range."""
        if self.kind not in _KINDS:
            raise ConfigError(f"shield: kind = {self.kind!r} must be one of: " + ", ".join(_KINDS))
        if not isinstance(self.reserves, bool):
            raise ConfigError(f"shield: reserves = {self.reserves!r} must be true or false")
        for setting in _SETTINGS:
            value = getattr(self, setting.name)
            if value is not None or setting.name == "period_s":
                checked_setting("shield", setting, value)

    def to_dict(self) -> dict[str, Any]:
        """Its settings as plain values."""
        return asdict(self)


def shield_of(given: Shield | Mapping[str, Any] | str | None) -> Shield | None:
    """A shield from its kind, its settings by name, or itself.

    Raises:
        ConfigError: an unknown kind or setting, or a value that is not allowed.
    """
    if given is None or isinstance(given, Shield):
        return given
    settings: dict[str, Any] = {"kind": given} if isinstance(given, str) else dict(given)
    unknown = sorted(set(settings) - set(asdict(Shield())))
    if unknown:
        raise ConfigError(
            f"shield has no setting {unknown[0]!r}; it has: " + ", ".join(asdict(Shield()))
        )
    return Shield(**settings)


def write_shield(shield: Shield, scenario: Scenario, params: Params) -> None:
    """Write a shield into the parameters of a world.

    Raises:
        ConfigError: the rule has no limit on the silent rate and the shield names none.
    """
    n, x = params.n, params.x
    cap = scenario.rule.all_windows[0].cap if shield.cap is None else shield.cap
    if cap >= 1.0:
        raise ConfigError(
            f"shield: rule {scenario.rule.id!r} has no limit on the silent rate; give the shield a "
            "cap, for example 0.03"
        )
    pace = shield.answers_per_agent_s
    settled_ms = 1000 * int(n[N_COHORTS]) + int(n[LIMIT_MS])
    if n[DETECTION] == DETECT_AMD:
        settled_ms += int(params.tables[LAW_DECISION, -1])
    n[SHIELD] = 1 + _KINDS.index(shield.kind)
    n[SHIELD_CAP] = math.floor(cap * UNIT + 1e-6)
    n[SHIELD_RESERVES] = shield.reserves
    n[SHIELD_PERIOD_MS] = round(shield.period_s * 1000)
    n[SHIELD_SETTLED_MS] = settled_ms
    x[SHIELD_RATE_PER_S] = _pace(scenario) if pace is None else pace


def _pace(scenario: Scenario) -> float:
    """Answered calls per agent-second that a progressive floor will surely reach."""
    talk = scenario.belief.talk or scenario.floor.talk
    wrap = scenario.belief.wrap or scenario.floor.wrap
    handling_s = talk.sampled_mean_s() + (wrap.sampled_mean_s() if wrap is not None else 0.0)
    return STUDY_PACE / max(handling_s, 1.0)


def most_in_flight(
    idle: int, silent: int, answered: int, cap_millionths: int, to_come: int = 0
) -> int:
    """Most calls that may be in flight under the test, in whole numbers.

    Formula: I + floor((c (A + L + I) - S) / (1 - c)) if S <= c (A + L), else I (module docstring).

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


_most_in_flight = compiled()(most_in_flight)


@compiled()
def shielded(b, s, p, wanted, idle, breaks, off):  # type: ignore[no-untyped-def]
    """Of `wanted` dials those that the shield allows now; counts what it refuses.

    `idle`, `breaks` and `off` are the agents in these states as the dialer sees them.
    """
    now = s.head[b, NOW]
    if p.n[SHIELD_PERIOD_MS] == 0 or now >= s.head[b, SHIELD_NEXT]:
        s.head[b, SHIELD_ROOM] = _room(b, s, p, idle, breaks, off)
        s.head[b, SHIELD_NEXT] = now + p.n[SHIELD_PERIOD_MS]
    allowed = max(s.head[b, SHIELD_ROOM] - s.head[b, IN_FLIGHT], 0)
    if wanted <= allowed:
        return wanted
    s.head[b, SHIELD_ACTS] += 1
    s.head[b, SHIELD_CALLS] += wanted - allowed
    return allowed


@compiled()
def _room(b, s, p, idle, breaks, off):  # type: ignore[no-untyped-def]
    """Most calls in flight now."""
    if p.n[SHIELD_RESERVES] and p.n[IS_FULL] and p.n[HAS_SHIFTS]:
        idle = max(idle - _about_to_leave(b, s, p), 0)
    waiting = s.head[b, WAITING]
    seen, seen_answered = first_window(b, s, p)
    silent, answered = np.int64(np.ceil(seen)) + waiting, np.int64(seen_answered) + waiting
    to_come = np.int64(0)
    if p.n[SHIELD] == 2:
        to_come = _borrowed(b, s, p, p.n[N_AGENTS] - off - 0.5 * breaks)
    return _most_in_flight(np.int64(idle), silent, answered, p.n[SHIELD_CAP], to_come)


@compiled()
def _about_to_leave(b, s, p):  # type: ignore[no-untyped-def]
    """Idle agents whose log-out or lunch comes before every call of now is surely settled."""
    until = s.head[b, NOW] + p.n[SHIELD_SETTLED_MS]
    leaving = np.int64(0)
    for i in range(s.head[b, COUNT + IDLE]):
        agent = s.idle[b, (s.head[b, IDLE_HEAD] + i) % p.n[N_AGENTS]]
        if leaves_by(b, s, p, agent, until):
            leaving += 1
    return leaving


@compiled(inline="always")
def leaves_by(b, s, p, agent, until):  # type: ignore[no-untyped-def]
    """Whether the agent's log-out or lunch lies between now and then."""
    now = s.head[b, NOW]
    session = s.more[b, SESSION]
    lunch = p.sessions[session, OPENS]
    lunch += (p.shifts[agent, LUNCH_S] - p.sessions[session, WALL_S]) * 1000
    to_lunch = p.shifts[agent, LUNCH_S] >= 0 and now < lunch <= until
    return to_lunch or now < s.trait[b, agent, OUT_AT] <= until


@compiled()
def _borrowed(b, s, p, agents):  # type: ignore[no-untyped-def]
    """L of the borrowing shield, rounded down."""
    spent, span = first_window_time(b, s, p)
    mean = p.x[SHIELD_RATE_PER_S] * max(agents, 0.0) * max((span - spent) / 1000.0 - 60.0, 0.0)
    return np.int64(max(mean - 2.0 * np.sqrt(mean), 0.0))


__all__ = ["Shield", "leaves_by", "most_in_flight", "shield_of", "shielded", "write_shield"]
