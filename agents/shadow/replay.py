"""A pacer in shadow: it follows recorded days and says what it would have dialed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.bundle.evaluate import Inputs
from quietdial.agents.bundle.load import Bundle
from quietdial.agents.runtime.bundled import pacer_of
from quietdial.agents.runtime.decision import Decision, Envelope
from quietdial.agents.runtime.floor import rates
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.agents.runtime.pacer import Pacer
from quietdial.agents.runtime.tables import BREAK, OFF
from quietdial.agents.shadow.campaigns import ShadowCampaign, ShadowDay
from quietdial.agents.shadow.events import events_of
from quietdial.envs.dialer_logs import RecordedDay

UNGUARDED: Final[dict[str, Any]] = {
    "cold_start_answered": 0,
    "min_agents": 1,
    "shield": None,
    "envelope": Envelope(),
    "at_cap": "policy",
}
"""The policy alone, as it plays in the simulator."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shadowed:
    """What came out of a day, one entry for each decision at which dialing was open, (T,).

    Attributes:
        label: the day.
        at_ms: when, since the day's time 0 [ms].
        local_s: local time of day [s since midnight].
        incumbent: calls that the incumbent placed until the next decision.
        policy: calls that the policy would have placed, guards included.
        asked: calls that it asked for before the guards.
        level: lines per agent that it asked for; NaN for policies that answer in calls.
        mode: who answered, see `runtime.decision.Mode`.
        reason: why not the policy; empty if it was.
        guards: what cut the answer, joined by commas.
        obs: what the policy saw, float32 (T, F); NaN where it was not asked.
        incumbent_p: probability with which the incumbent placed so many; NaN: not known.
        policy_p: probability with which the policy places as many as the incumbent did.
        in_flight: calls in flight at the decision, before its dials.
        rate: estimated answer rate.
        present: agents logged in and not on break.
        answered: people who answered until the next decision, when what became of it was certain.
        silent: silent calls of them.
        busy_s: agents' time in conversation and wrap-up until the next decision [s].
        available_s: agents' time logged in and not on break [s].
        interval_s: time to the next decision [s].
    """

    label: str
    at_ms: NDArray[np.int64]
    local_s: Floats
    incumbent: NDArray[np.int64]
    policy: NDArray[np.int64]
    asked: NDArray[np.int64]
    level: Floats
    mode: NDArray[np.str_]
    reason: NDArray[np.str_]
    guards: NDArray[np.str_]
    obs: NDArray[np.float32]
    incumbent_p: Floats
    policy_p: Floats
    in_flight: NDArray[np.int64]
    rate: Floats
    present: NDArray[np.int64]
    answered: Floats
    silent: Floats
    busy_s: Floats
    available_s: Floats
    interval_s: float

    @property
    def lines(self) -> NDArray[np.int64]:
        """Calls in flight after the incumbent's dials."""
        return self.in_flight + self.incumbent

    @property
    def lines_wanted(self) -> NDArray[np.int64]:
        """Calls in flight after the policy's dials.

        Lines compare, sums of dials do not: a call that the incumbent does not place is asked for
        again at the next decision.
        """
        return self.in_flight + self.policy

    def __len__(self) -> int:
        """Decisions."""
        return len(self.at_ms)


def shadow(
    bundle: Bundle,
    campaign: ShadowCampaign,
    *,
    guarded: bool = True,
    report: Callable[[float], None] | None = None,
) -> list[Shadowed]:
    """Follow a campaign with the pacer of a bundle.

    The recorded dials are told to it; its own are placed nowhere. It decides at the bundle's
    interval, counted from the opening.

    Args:
        bundle: a verified bundle.
        campaign: the days.
        guarded: as its contract says: shield, cold start, envelope; else the policy alone.
        report: called with the share of the days that is done.

    Raises:
        PacerError: the runtime cannot play the bundle.
    """
    changes: dict[str, Any] = {} if guarded else dict(UNGUARDED)
    pacer = pacer_of(
        bundle,
        MemoryLedger(),
        n_agents=campaign.n_agents,
        unix_clock=campaign.unix_clock,
        keeps_decisions=False,
        **changes,
    )
    step_ms = round(1000 * bundle.contract["timing"]["decision_interval_s"])
    chances = _Chances(bundle)
    out = []
    for number, day in enumerate(campaign.days):
        out.append(_follow(pacer, day, step_ms, chances))
        if report is not None:
            report((number + 1) / len(campaign.days))
    return out


def _follow(pacer: Pacer, day: ShadowDay, step_ms: int, chances: _Chances) -> Shadowed:
    """One day, from its opening on."""
    session, recorded = day.session, day.day
    shift = day.log.shift_ms
    events = events_of(recorded, day.log)
    pacer.open_session(session, session.opens_ms)
    day.opens(pacer)
    times = np.arange(session.opens_ms, session.closes_ms, step_ms, dtype=np.int64)
    placed = _placed(recorded, times - shift, step_ms)
    noted = day.noted
    rows: list[tuple[Any, ...]] = []
    observed: list[NDArray[np.float32]] = []
    n_features = len(chances.bundle.contract["features"])
    nothing = np.full(n_features, np.nan, np.float32)
    at = 0
    for k, now in enumerate(times.tolist()):
        while at < len(events) and events[at][:2] < (now, True):
            events[at].tell(pacer)
            at += 1
        if noted is not None and k < len(noted.at_ms):
            pacer.seen_list(float(noted.list_left[k]))
            pacer.seen_callers(int(noted.callers[k]))
        pacer.tick(now)
        if not session.dial_from_ms <= now < session.dial_until_ms:
            continue
        before = pacer.last_obs
        decision = pacer.decide(now)
        asked = pacer.last_obs is not before and len(pacer.last_obs) == n_features
        observed.append(pacer.last_obs if asked else nothing)
        rows.append(
            (
                now - shift,
                placed[k],
                decision.dials,
                decision.asked,
                np.nan if decision.level is None else decision.level,
                decision.mode,
                decision.reason,
                ",".join(decision.guards),
                _known(noted, k),
                chances.of(pacer, decision, int(placed[k]), now),
                pacer.calls.in_flight,
                rates(pacer.tables, pacer.estimates)[0],
                pacer.crew.n_agents - pacer.crew.counts[BREAK] - pacer.crew.counts[OFF],
            )
        )
    while at < len(events):
        events[at].tell(pacer)
        at += 1
    return _shadowed(recorded, rows, observed, step_ms)


def _known(noted: Any, k: int) -> float:
    return float(noted.probability[k]) if noted is not None and k < len(noted.at_ms) else np.nan


def _placed(day: RecordedDay, times: NDArray[np.int64], step_ms: int) -> NDArray[np.int64]:
    """The incumbent's dials from each decision until the next."""
    dialed = day.calls["dialed_ms"]
    own = dialed >= 0
    if "reserved" in day.calls:
        own = own & ~day.calls["reserved"]
    place = (dialed[own] - times[0]) // step_ms
    place = place[(place >= 0) & (place < len(times))]
    return np.bincount(place, minlength=len(times)).astype(np.int64)


def _shadowed(
    day: RecordedDay, rows: list[tuple[Any, ...]], observed: list[NDArray[np.float32]], step_ms: int
) -> Shadowed:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 13
    at_ms = np.array(columns[0], np.int64)
    edges = np.append(at_ms, at_ms[-1:] + step_ms)
    answered, silent = _outcomes(day, edges)
    return Shadowed(
        label=day.label,
        at_ms=at_ms,
        local_s=day.local_s(at_ms),
        incumbent=np.array(columns[1], np.int64),
        policy=np.array(columns[2], np.int64),
        asked=np.array(columns[3], np.int64),
        level=np.array(columns[4], np.float64),
        mode=np.array(columns[5], np.str_),
        reason=np.array(columns[6], np.str_),
        guards=np.array(columns[7], np.str_),
        obs=np.array(observed, np.float32),
        incumbent_p=np.array(columns[8], np.float64),
        policy_p=np.array(columns[9], np.float64),
        in_flight=np.array(columns[10], np.int64),
        rate=np.array(columns[11], np.float64),
        present=np.array(columns[12], np.int64),
        answered=answered,
        silent=silent,
        busy_s=_time_in(day, ("talk", "wrap"), edges),
        available_s=_time_in(
            day, ("idle", "talk", "wrap", "held", "machine", "inbound", "spare"), edges
        ),
        interval_s=step_ms / 1000.0,
    )


def _outcomes(day: RecordedDay, edges: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(people who answered, silent calls) in each interval, when they were certain."""
    calls = day.calls
    people = calls["outcome"] == "person"
    never = np.full(len(calls), -1, np.int64)
    silent_ms = calls.columns.get("silent_ms", never)
    is_silent = people & (silent_ms >= 0)
    in_time = people & ~is_silent & (calls["connected_ms"] >= 0)
    silent = _count(silent_ms[is_silent], edges)
    return silent + _count(calls["connected_ms"][in_time], edges), silent


def _count(times: NDArray[np.int64], edges: NDArray[np.int64]) -> Floats:
    """Moments in (edge, next edge]."""
    place = np.searchsorted(np.sort(times), edges, side="right")
    return np.diff(place).astype(np.float64)


def _time_in(day: RecordedDay, states: tuple[str, ...], edges: NDArray[np.int64]) -> Floats:
    """Agents' time in some states in each interval [s]."""
    mine = np.isin(day.agents["state"], states)
    begin, end = day.agents["from_ms"][mine], day.agents["to_ms"][mine]
    moments = np.concatenate([begin, end])
    change = np.concatenate([np.ones(len(begin)), -np.ones(len(end))])
    order = np.argsort(moments, kind="stable")
    moments, agents = moments[order], np.cumsum(change[order])
    if not len(moments):
        return np.zeros(max(len(edges) - 1, 0))
    spent = np.concatenate([[0.0], np.cumsum(agents[:-1] * np.diff(moments))])
    return np.asarray(np.diff(np.interp(edges, moments, spent)) / 1000.0)


class _Chances:
    """With which probability a policy places as many calls as the incumbent did."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        policy = bundle.policy
        self._draws = policy is not None and policy.decode.read == "sample"
        self._in_calls = bundle.contract["action"]["kind"] in ("dials", "residual")

    def of(self, pacer: Pacer, decision: Decision, placed: int, now_ms: int) -> float:
        """1 or 0 for a policy that does not draw; NaN: not known."""
        policy = self.bundle.policy
        if not self._draws or decision.mode != "policy" or policy is None:
            return float(decision.dials == placed)
        if not self._in_calls or policy.memory is not None:
            return np.nan
        decode = policy.decode
        numbers = policy.numbers(Inputs(pacer.last_obs[None, :], base=None))[0][0]
        shares = np.exp(numbers - numbers.max())
        base = pacer.last_base if decode.base else 0
        most = min(pacer.tables.max_dials, pacer.calls.lines_free(now_ms))
        if pacer.last_room is not None:
            most = min(most, max(pacer.last_room - pacer.calls.in_flight, 0))
        value = np.minimum(np.maximum(np.asarray(decode.table) + base, 0.0), most)
        return float(shares[value.astype(np.int64) == placed].sum() / shares.sum())
