"""What the features and the base rule need to know of a floor: `pacing.json` of a bundle.

The numbers are made from the scenario at export time (`quietdial.agents.runtime_tables`) and read
here, exactly: JSON writes every float64 so that it is read back bit for bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.runtime.errors import PacerError

FORMAT: Final = "quietdial-pacing/1"
FILE: Final = "pacing.json"
MAX_BYTES: Final = 16 * 1024 * 1024

STATES: Final = (
    "idle",
    "talk",
    "wrap",
    "break",
    "off",
    "held",
    "machine",
    "inbound",
    "spare",
)
"""States of an agent: without a call, in conversation, in wrap-up, on break, logged out, set aside
for a dial, with a machine, in an inbound conversation; an inbound-only agent without a call is
"spare"."""
IDLE, TALK, WRAP, BREAK, OFF, HELD, MACHINE, INBOUND, SPARE = range(9)

GRID: Final = 5
"""Number of look-ahead times."""
N_MEMORIES: Final = 4
"""Number of answer-rate estimates, each with its memory."""

Floats = NDArray[np.float64]
WindowKind = Literal["campaign", "day", "days", "month", "hours"]


@dataclass(frozen=True)
class Window:
    """One span of time over which the silent rate must hold.

    Attributes:
        kind: campaign, day, days, month, or hours (rolling).
        length: days or hours, for those two kinds.
        cap: allowed silent / answered; 1: no limit.
    """

    kind: WindowKind
    length: int
    cap: float


@dataclass(frozen=True, eq=False)
class PacingTables:
    """A floor as the features know it.

    Attributes:
        scenario: name of the world that the numbers are from.
        n_agents: agents of the floor.
        n_lines: calls in flight, waiting or hearing a message at most.
        max_dials: most new calls of one decision.
        step_ms: time between two decisions [ms].
        windows: the rule's windows, the first is the one of the budget.
        counts_cut: whether calls that were cut enter the numerator.
        counts_left: the same of those that the callee left.
        counts_amd: the same of those that detection took for machines.
        detection: "perfect", "none" or "amd".
        ofcom: whether the dialer estimates its rate by Ofcom's formula.
        audited_share: share of people among the verdicts "machine", from an audit.
        at_limit: "cut", "message" or "hold".
        message_ms: length of an information message [ms].
        feed_delay_ms: agents are seen so late [ms].
        known_rate: whether the answer rate is known.
        prior_rate: the answer rate, or its prior.
        prior_weight: dials that the prior stands for.
        keep: decay of the answer-rate estimates in one decision, (N_MEMORIES,).
        base_theta: threshold of the base rule.
        weight: share of answered calls that each look-ahead stands for, (GRID,).
        age_shift: an agent's age bin is age [ms] >> age_shift.
        release: (9 states, bins, 2 GRID) P(free within the look-ahead | state, age), q and q (1-q).
        ring: (R, 2 + GRID) of calls by whole seconds since the dial: share of the answered still
            ringing, of the others, P(answered within the look-ahead).
        phi_limit: the table of the normal distribution begins at -phi_limit.
        phi_per_unit: its cells per unit.
        phi: its values.
        settled_ms: every call is surely settled after so long [ms].
        answers_per_agent_s: answered calls of an agent and second at least, for the borrowing
            shield.
        quarantine_ms: no dial to a person so long after a silent call [ms].
        reserved_after_silent: later dials to that person only with an agent set aside.
        per_day: most dials to a person a calendar day; 0: no cap.
        per_week: the same from Monday to Sunday.
        per_30_days: the same in any 30 days.
        per_campaign: the same in the whole campaign.
        hours: permitted hours by kind of day ("weekday", "saturday", "sunday", "holiday"): spans of
            seconds since midnight; "holiday" is missing where it is as any day.
        time_zone: IANA name of the campaign's time zone.
    """

    scenario: str
    n_agents: int
    n_lines: int
    max_dials: int
    step_ms: int
    windows: tuple[Window, ...]
    counts_cut: bool
    counts_left: bool
    counts_amd: bool
    detection: Literal["perfect", "none", "amd"]
    ofcom: bool
    audited_share: float
    at_limit: Literal["cut", "message", "hold"]
    message_ms: int
    feed_delay_ms: int
    known_rate: bool
    prior_rate: float
    prior_weight: float
    keep: tuple[float, ...]
    base_theta: float
    weight: Floats
    age_shift: int
    release: Floats
    ring: Floats
    phi_limit: float
    phi_per_unit: int
    phi: Floats
    settled_ms: int
    answers_per_agent_s: float
    quarantine_ms: int
    reserved_after_silent: bool
    per_day: int
    per_week: int
    per_30_days: int
    per_campaign: int
    hours: Mapping[str, tuple[tuple[int, int], ...]]
    time_zone: str

    @property
    def cap(self) -> float:
        """Cap of the first window."""
        return self.windows[0].cap


_ARRAYS: Final = ("weight", "release", "ring", "phi")


def tables_of_json(data: bytes) -> PacingTables:
    """Read `pacing.json`.

    Raises:
        PacerError: one line on what is missing or wrong.
    """
    if len(data) > MAX_BYTES:
        raise PacerError(f"{FILE}: {len(data)} bytes; at most {MAX_BYTES} are allowed")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise PacerError(f"{FILE}: is not valid JSON") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise PacerError(f"{FILE}: the field 'format' must be {FORMAT!r}; export the policy again")
    try:
        return _tables_of(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PacerError(f"{FILE}: cannot be understood: {error!r}; export it again") from None


def _tables_of(value: dict[str, Any]) -> PacingTables:
    given = {name: entry for name, entry in value.items() if name != "format"}
    given["windows"] = tuple(
        Window(kind=w["kind"], length=int(w["length"]), cap=float(w["cap"]))
        for w in value["windows"]
    )
    given["keep"] = tuple(float(k) for k in value["keep"])
    given["hours"] = {
        kind: tuple((int(opens), int(closes)) for opens, closes in spans)
        for kind, spans in value["hours"].items()
    }
    given["release"] = _release_of(value["release"], int(value.pop("age_bins")))
    del given["age_bins"]
    for name in ("weight", "ring", "phi"):
        given[name] = np.array(value[name], np.float64)
    tables = PacingTables(**given)
    shapes = (tables.weight.shape == (GRID,), tables.ring.ndim == 2, tables.phi.ndim == 1)
    if not all(shapes) or tables.ring.shape[1] != 2 + GRID or len(tables.keep) != N_MEMORIES:
        raise ValueError("arrays of wrong shape")
    if not all(np.isfinite(getattr(tables, name)).all() for name in _ARRAYS):
        raise ValueError("numbers that are not finite")
    for name in ("n_agents", "n_lines", "max_dials", "step_ms"):
        if type(getattr(tables, name)) is not int or getattr(tables, name) < 1:
            raise ValueError(f"{name} = {getattr(tables, name)!r}")
    if not tables.windows or not all(0 < window.cap <= 1 for window in tables.windows):
        raise ValueError("windows without a cap in (0, 1]")
    if len(tables.phi) != int(2 * tables.phi_limit * tables.phi_per_unit) + 1:
        raise ValueError("phi of wrong length")
    return tables


def _release_of(by_state: Mapping[str, list[list[float]]], bins: int) -> Floats:
    """The table of releases from its rows; the last row of a state stands for all later ages."""
    table = np.zeros((len(STATES), bins, 2 * GRID))
    for state, rows in by_state.items():
        q = np.array(rows, np.float64)
        if q.shape != (len(q), GRID) or not 1 <= len(q) <= bins:
            raise ValueError(f"release of {state!r} has shape {q.shape}")
        of_state = table[STATES.index(state)]
        of_state[: len(q), :GRID] = q
        of_state[len(q) :, :GRID] = q[-1]
        of_state[:, GRID:] = of_state[:, :GRID] * (1.0 - of_state[:, :GRID])
    return table


def json_of_tables(tables: PacingTables) -> bytes:
    """Write `pacing.json`: one line, keys in order, so that it is the same every time.

    Raises:
        PacerError: a number is not finite.
    """
    return (json.dumps(dict_of_tables(tables), sort_keys=True, allow_nan=False) + "\n").encode()


def dict_of_tables(tables: PacingTables) -> dict[str, Any]:
    """The content of `pacing.json` (`PacerError`: a number is not finite)."""
    value: dict[str, Any] = {"format": FORMAT, "age_bins": tables.release.shape[1]}
    for name, entry in vars(tables).items():
        value[name] = entry.tolist() if isinstance(entry, np.ndarray) else entry
    value["windows"] = [vars(window) for window in tables.windows]
    value["release"] = _rows_by_state(tables.release)
    if not all(math.isfinite(k) for k in (*tables.keep, tables.prior_rate, tables.base_theta)):
        raise PacerError(f"{FILE}: a number is not finite")
    return value


def _rows_by_state(release: Floats) -> dict[str, list[list[float]]]:
    """Rows of each state that has any, without the last ones that are all the same."""
    found = {}
    for state, of_state in zip(STATES, release[:, :, :GRID], strict=True):
        if of_state.any():
            changes = np.flatnonzero((of_state[1:] != of_state[:-1]).any(axis=1))
            last = int(changes[-1]) + 2 if len(changes) else 1
            found[state] = of_state[:last].tolist()
    return found
