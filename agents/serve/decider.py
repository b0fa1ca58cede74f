"""Who decides: the interface that the server asks, and the one made of a bundle.

The ladder: the policy, else the bundle's table, else one line for each idle agent ("progressive"),
else nothing ("stop", only while somebody asks for it). Every well-formed request gets a number.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.evaluate import Answers, Inputs, PlainPolicy
from quietdial.agents.bundle.load import Bundle
from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.ledger_protocol import Outcome
from quietdial.agents.runtime.shield import Limit
from quietdial.agents.serve.asks import Ask, Snapshot
from quietdial.agents.serve.errors import ServeError
from quietdial.agents.serve.pacing import Paced, Pacing, slug

CALLS, LEVEL = "new calls", "lines per agent"
"""The units of an answer: new calls to place now; a level as VICIdial's auto_dial_level."""

GUARD_ANSWERED: Final = 100
"""Answered calls of the last 24 h from which on the guard of the silent rate judges."""

KNOWN_CALLS: Final = 4096
"""Calls of a campaign that are remembered, so that an outcome told twice counts once."""

_BROKEN: Final = (BundleError, ArithmeticError, ValueError, LookupError)
"""What a network or table raises whose numbers were damaged in memory."""

_HOUR_S: Final = 3600
HOURS: Final = 24
"""Hours whose outcomes count."""


class Verdict(NamedTuple):
    """One decision.

    Attributes:
        answer: the number, in the decider's unit.
        rung: "policy", "table", "progressive" or "stop".
        reason: why it is a fallback, a short word; empty: it is not.
        detail: the same for people, one line.
        choice: kind of lead to dial, for policies that choose one.
        guards: what cut the answer.
    """

    answer: float
    rung: str
    reason: str = ""
    detail: str = ""
    choice: int | None = None
    guards: tuple[str, ...] = ()


class Counts:
    """Answered and silent calls of the last 24 hours, by hours of the dialer's clock."""

    def __init__(self) -> None:
        self._hours: OrderedDict[int, list[int]] = OrderedDict()
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self.answered = 0
        self.silent = 0

    def add(self, call: str, at_s: float, outcome: Outcome) -> bool:
        """Count an outcome; False: that call was counted before."""
        name = hashlib.blake2b(call.encode(), digest_size=8).digest()
        if name in self._known:
            return False
        self._known[name] = None
        if len(self._known) > KNOWN_CALLS:
            self._known.popitem(last=False)
        silent = outcome in ("cut", "left")
        if silent or outcome == "conversation":
            hour = self._hours.setdefault(int(at_s // _HOUR_S), [0, 0])
            hour[0] += 1
            hour[1] += silent
            while len(self._hours) > HOURS:
                del self._hours[min(self._hours)]
        return True

    def recall(self, hour: int, answered: int, silent: int) -> None:
        """What an hour held before a restart."""
        self._hours[hour] = [answered, silent]

    def look(self, now_s: float) -> None:
        """Bring `answered` and `silent` to a moment."""
        first = int(now_s // _HOUR_S) - HOURS + 1
        hours = [counts for hour, counts in self._hours.items() if hour >= first]
        self.answered = sum(hour[0] for hour in hours)
        self.silent = sum(hour[1] for hour in hours)


@dataclass(slots=True)
class Campaign:
    """What the sidecar remembers of one campaign.

    Attributes:
        counts: outcomes of the last 24 hours.
        last_s: when it was last heard of, monotonic clock.
        memory_at: observation time of the memory's numbers; None: none.
        hidden: float64 (1, H), the memory of a recurrent policy.
        cell: the same of its cell.
        seen: sequence number and observation time of the last request.
        reply: the answer that it got.
        paced: what `pacing.Pacing` remembers of it; None: nothing yet.
    """

    counts: Counts = field(default_factory=Counts)
    last_s: float = 0.0
    memory_at: float | None = None
    hidden: NDArray[np.float64] | None = None
    cell: NDArray[np.float64] | None = None
    seen: tuple[int, float] = (-1, -1.0)
    reply: bytes = b""
    paced: Paced | None = None


class Decider(Protocol):
    """What the server needs of whatever decides."""

    name: str
    bundle_id: str
    signer: str
    unit: str
    highest: float
    lease_s: float

    def decide(self, ask: Ask, campaign: Campaign, now_s: float) -> Verdict:
        """Decide; never raises for a checked request.

        Args:
            ask: the request.
            campaign: its campaign's state, changed in place.
            now_s: the wall clock [Unix s].
        """
        ...

    def pace(self, snapshot: Snapshot, campaign: Campaign, now_s: float) -> Verdict:
        """The same from a dialer's counters, by the pacer with its shield and hours."""
        ...

    def fallback(self, ask: Ask, reason: str, detail: str) -> Verdict:
        """One line for each idle agent."""
        ...

    def stop(self, reason: str, detail: str) -> Verdict:
        """Nothing new."""
        ...


class BundleDecider:
    """A bundle's policy behind its own guards.

    The guards are those of the contract: age of the features, envelope, least agents, cold start,
    and the silent rate. Where the request tells the counts of the rule's windows, cold start and
    silent rate go by them, and the deterministic shield stands behind every answer; else they go by
    the outcomes that were told. A threshold or a rule cannot be asked by features: it needs the
    ages of calls, which come with counters.

    Args:
        bundle: a loaded bundle.
        cold_start: answered calls of a campaign before the policy is asked; None: as it says.

    Raises:
        ServeError: neither features nor counters are enough for it.
    """

    def __init__(self, bundle: Bundle, cold_start: int | None = None) -> None:
        contract = bundle.contract
        action, policy = contract["action"], bundle.policy
        self.bundle = bundle
        self._pacing = Pacing(bundle, cold_start)
        self.name = str(bundle.manifest["name"])
        self.bundle_id = bundle.bundle_id
        self.signer = bundle.signer or ""
        self.unit, self.highest = str(action["unit"]), float(action["highest"])
        self._by_features = policy is not None and self.unit in (CALLS, LEVEL)
        if not self._by_features:
            self.unit, self.highest = CALLS, self._most_calls()
        timing, guards = contract["timing"], contract["guards"]
        self.lease_s = float(timing["lease_s"])
        self.max_age_s = float(timing["max_observation_age_s"])
        self.skew_s = float(timing["clock_skew_s"])
        self.interval_s = float(timing["decision_interval_s"])
        self.policy = policy
        self.features = tuple(str(feature["name"]) for feature in contract["features"])
        self._base = policy is not None and policy.decode.base
        self._sample = policy is not None and policy.decode.read == "sample"
        self._min_agents = int(guards["min_agents"])
        self._cold = int(guards["cold_start_answered"]) if cold_start is None else cold_start
        self._silent_max = float(guards["silent_rate_max"])
        self._present = tuple(float(end) for end in contract["envelope"]["present"])
        self._caps = [float(window["cap"]) for window in contract["regulation"]["windows"]]
        self._limit = Limit(self._caps)
        remembers = policy is not None and policy.memory is not None
        self._memory = int(contract["recurrent"]["size"]) if remembers else 0

    def _most_calls(self) -> float:
        try:
            return float(self._pacing.most_calls())
        except PacerError as error:
            raise ServeError(f"bundle {self.name!r} cannot be served: {error}") from None

    def fallback(self, ask: Ask, reason: str, detail: str) -> Verdict:
        """One line for each idle agent."""
        answer = 1.0
        if self.unit == CALLS:
            answer = min(max(ask.idle - ask.in_flight - ask.waiting, 0), self.highest)
        return Verdict(float(answer), "progressive", reason, detail)

    def stop(self, reason: str, detail: str) -> Verdict:
        """Nothing new; a level cannot go below 1, so the dialer must stop by itself then."""
        return Verdict(0.0, "stop", reason, detail)

    def pace(self, snapshot: Snapshot, campaign: Campaign, now_s: float) -> Verdict:
        """Decide by the pacer, or fall back."""
        try:
            campaign.paced = self._pacing.paced(snapshot, campaign.paced)
            decision = campaign.paced.decide(snapshot, now_s)
        except PacerError as error:
            campaign.paced = None  # begin anew: totals that were set back must not lock it out
            return self.fallback(snapshot.ask, "counters_refused", str(error))
        answer = float(decision.dials) if decision.level is None else decision.level
        if not (math.isfinite(answer) and 0.0 <= answer <= self.highest):
            return self.fallback(snapshot.ask, "policy_failed", f"answer {answer}")
        reason = "" if decision.mode == "policy" else slug(decision.reason)
        return Verdict(answer, decision.mode, reason, decision.reason, guards=decision.guards)

    def decide(self, ask: Ask, campaign: Campaign, now_s: float) -> Verdict:
        """Decide by the policy, or fall back; the shield stands behind either."""
        told = ask.windows
        if told is None:
            return self._decided(ask, campaign, now_s)
        if len(told) != len(self._caps):
            detail = f"{len(told)} windows; the rule has {len(self._caps)}"
            return self.fallback(ask, "counters_refused", detail)
        verdict = self._decided(ask, campaign, now_s)
        room = self._limit.room(ask.idle, ask.waiting, told)
        allowed = max(room - ask.in_flight, 0)
        if self.unit == CALLS:
            if verdict.answer > allowed:
                return verdict._replace(answer=float(allowed), guards=("shield",))
        elif verdict.answer > 1.0 and ask.present is not None:
            calls = int(verdict.answer * ask.present) - ask.in_flight - ask.waiting
            if calls > allowed:
                return verdict._replace(answer=1.0, guards=("shield",))
        return verdict

    def _decided(self, ask: Ask, campaign: Campaign, now_s: float) -> Verdict:
        policy = self.policy
        if policy is None or not self._by_features:
            detail = "a threshold or rule needs the ages of calls; ask /v1/pace, with ages"
            return self.fallback(ask, "needs_counters", detail)
        guard = self._guard(ask, campaign, now_s)
        if guard is not None:
            return self.fallback(ask, *guard)
        try:
            inputs = self._inputs(ask, campaign)
        except KeyError as error:
            name = str(error.args[0])
            return self.fallback(ask, "missing_feature", f"{name} was not told")
        try:
            answers = policy.answer(inputs)
        except _BROKEN as error:
            return self._by_table(ask, inputs, type(error).__name__)
        if not answers.valid[0]:
            return self.fallback(ask, "out_of_range", self._why_invalid(ask, policy))
        answer = float(answers.answer[0])
        if not (math.isfinite(answer) and 0.0 <= answer <= self.highest):
            return self._by_table(ask, inputs, f"answer {answer}")
        if self._memory:
            campaign.hidden, campaign.cell = answers.hidden, answers.cell
            campaign.memory_at = ask.observed_at
        return Verdict(answer, "policy", choice=_choice(answers))

    def _by_table(self, ask: Ask, inputs: Inputs, why: str) -> Verdict:
        """The policy failed although its inputs are right: the table, if there is one."""
        table = self.bundle.table
        if table is not None:
            try:
                answers = table.answer(inputs)
            except _BROKEN:
                answers = None
            if answers is not None and answers.valid[0]:
                answer = float(answers.answer[0])
                if 0.0 <= answer <= self.highest:
                    return Verdict(answer, "table", "policy_failed", why)
        return self.fallback(ask, "policy_failed", why)

    def _guard(self, ask: Ask, campaign: Campaign, now_s: float) -> tuple[str, str] | None:
        """Why the policy may not be asked, or None."""
        age_s = now_s - ask.observed_at
        if age_s > self.max_age_s:
            return "stale", f"observed {age_s:.1f} s ago; at most {self.max_age_s:g} s are allowed"
        if age_s < -self.skew_s:
            return "from_the_future", f"observed {-age_s:.1f} s from now; the clocks differ"
        if ask.present is not None:
            if ask.present < self._min_agents:
                return "few_agents", f"{ask.present} agents; at least {self._min_agents} are needed"
            low, high = self._present
            if not low <= ask.present <= high:
                return "outside_envelope", f"{ask.present} agents; trained with {low:g} to {high:g}"
        elif self.unit == LEVEL and ask.windows is not None:
            return "missing_feature", "present was not told; the shield needs it for a level"
        if ask.windows is not None:
            return self._guard_by(ask.windows)
        counts = campaign.counts
        counts.look(now_s)
        if counts.answered < self._cold:
            return "cold_start", f"{counts.answered} answered calls; {self._cold} are needed"
        if counts.answered >= GUARD_ANSWERED:
            rate = counts.silent / counts.answered
            if rate > self._silent_max:
                return "silent_rate", f"{rate:.4f} silent in 24 h; guard at {self._silent_max:g}"
        return None

    def _guard_by(self, windows: Sequence[tuple[float, float]]) -> tuple[str, str] | None:
        """Cold start and caps by the windows' own counts, as the pacer has them."""
        if windows[0][1] < self._cold:
            return "cold_start", f"{windows[0][1]:g} answered calls; {self._cold} are needed"
        for (silent, answered), cap in zip(windows, self._caps, strict=True):
            if cap < 1.0 and answered >= self._cold and silent > cap * answered:
                return "cap_reached", f"{silent:g} of {answered:g} silent; the cap is {cap:g}"
        return None

    def _inputs(self, ask: Ask, campaign: Campaign) -> Inputs:
        told = ask.features
        with np.errstate(over="ignore"):
            obs = np.array([[told[name] for name in self.features]], np.float32)
        base = None
        if self._base:
            if ask.base_dials is None:
                raise KeyError("base_dials")
            base = np.array([ask.base_dials], np.int64)
        uniform = None
        if self._sample:
            uniform = np.array([_drawn(ask)])
        if not self._memory:
            return Inputs(obs, base, uniform)
        since = campaign.memory_at
        hidden, cell = campaign.hidden, campaign.cell
        gone = since is None or not 0.0 <= ask.observed_at - since <= 3.0 * self.interval_s
        if gone or hidden is None or hidden.shape[1] != self._memory:
            hidden = cell = np.zeros((1, self._memory))
        return Inputs(obs, base, uniform, hidden, cell)

    def _why_invalid(self, ask: Ask, policy: PlainPolicy) -> str:
        ends = zip(self.features, policy.low, policy.high, strict=True)
        for name, low, high in ends:
            if not low <= np.float32(ask.features[name]) <= high:
                return f"{name} = {ask.features[name]:g}; {low:g} to {high:g} is allowed"
        return f"base_dials = {ask.base_dials}; 0 to {self.highest:g} is allowed"


def _choice(answers: Answers) -> int | None:
    return None if answers.choice is None else int(answers.choice[0])


def _drawn(ask: Ask) -> float:
    """A number in [0, 1) for a policy that draws, fixed by campaign, number and time."""
    text = f"{ask.campaign} {ask.seq} {ask.observed_at!r}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest()) / 2.0**56
