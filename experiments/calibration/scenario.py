"""From recorded days to a scenario that can be trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from quietdial.envs.dialer_logs import RecordedDays
from quietdial.envs.errors import CalibrationError
from quietdial.envs.part import describe_validation_error
from quietdial.envs.scenario import Scenario
from quietdial.experiments.calibration.dials import UNANSWERED, by_half_hour, estimate_dials
from quietdial.experiments.calibration.estimates import Findings
from quietdial.experiments.calibration.floor import estimate_floor
from quietdial.experiments.calibration.patience import CUT_FIELD, estimate_patience

ALWAYS_OPEN: Final[Mapping[str, str]] = {
    "calls.detection": "people taken for machines stand in the log as machines",
    "calls.patience with comfort noise or a message": "only the silence that was played is seen",
    "calls.max_lines": "how many lines there were is a setting of the dialer, not in the log",
    "people": "how likely the same person answers again needs the list and its history",
    "floor.p_success": "what counts as a success is the campaign's own matter",
    "rule": "what the regulator counts is law, not data",
    "belief": "what the dialer believes is a choice",
}
"""What no log of calls identifies, and why."""


def find(days: RecordedDays, *, with_laws: bool = True) -> Findings:
    """Estimate everything that the recorded days can tell.

    Args:
        days: the days.
        with_laws: fit laws too, which takes most of the time; without them only the numbers.

    Raises:
        CalibrationError: there is nothing to estimate.
    """
    found = Findings(with_laws=with_laws)
    estimate_dials(days, found)
    estimate_patience(days, found)
    estimate_floor(days, found)
    found.by_hour["answer_rate"] = by_half_hour(days)
    for field, reason in ALWAYS_OPEN.items():
        found.open.setdefault(field, reason)
    if not found.estimates:
        raise CalibrationError(f"{days.files[0]}: the log tells nothing that could be estimated")
    return found


def calibrated(
    found: Findings,
    days: RecordedDays,
    base: Scenario,
    name: str,
    credits: tuple[str, ...] = (),
) -> Scenario:
    """`base` with everything that was identified; the rest stays and stands in `assumptions`.

    Args:
        found: what the days tell.
        days: the days.
        base: scenario that gives everything else, the rule among it.
        name: name of the new scenario.
        credits: to whom the data are owed.

    Raises:
        CalibrationError: what was found does not fit the rule of `base`; one line.
    """
    data = base.model_dump(mode="json")
    identified: set[str] = set()
    floor, calls = data["floor"], data["calls"]
    _set_floor(floor, found, base, identified)
    _set_calls(calls, found, identified)
    if base.episode.first_day is None:
        _set_episode(data["episode"], days, identified)
    if found.has(CUT_FIELD):
        cut = found.get(CUT_FIELD)
        limit = base.rule.wait_limit_s
        if abs(cut.interval.value - limit) > max(cut.resolution_s, 0.1):
            found.open["rule.wait_limit_s"] = (
                f"the dialer cut calls after {cut.interval.value:g} s, rule {base.rule.id} after "
                f"{limit:g} s"
            )
    assumptions = {
        key: text
        for key, text in base.assumptions.items()
        if not any(key == field or key.startswith(f"{field}.") for field in identified)
    }
    for field, reason in found.open.items():
        assumptions.setdefault(field[:200], f"Not in the log ({reason}); from {base.name}.")
    data["assumptions"] = assumptions
    data["credits"] = tuple(dict.fromkeys((*base.credits, *credits)))
    data["name"] = name
    data["description"] = (
        f"Scenario {base.name} calibrated to {len(days.days)} recorded days of {days.format} "
        f"({sum(len(day.calls) for day in days.days)} calls): {', '.join(sorted(identified))}. "
        "Everything else is that of the base scenario, see the assumptions."
    )
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        what = f"the calibrated scenario does not fit the base {base.name!r}"
        raise CalibrationError(describe_validation_error(error, what)) from None


def _law(found: Findings, field: str) -> dict[str, Any]:
    return found.laws[field].law.model_dump(mode="json")


def _set_floor(
    floor: dict[str, Any], found: Findings, base: Scenario, identified: set[str]
) -> None:
    if "floor.talk" in found.laws:
        floor["talk"] = _law(found, "floor.talk")
        floor["speed_sd"] = 0.0  # the pooled law holds the differences between agents
        identified.add("floor.talk")
    if "floor.talk_day_sd" in found.values:
        floor["talk_day_sd"] = min(found.values["floor.talk_day_sd"], 1.0)
        floor["talk_drift"] = None
        identified.add("floor.talk_day_sd")
    if "floor.wrap" in found.laws:
        floor["wrap"] = _law(found, "floor.wrap")
        identified.add("floor.wrap")
    if "floor.breaks.duration" in found.laws:
        floor["breaks"] = {
            "p_after_wrap": found.values["floor.breaks.p_after_wrap"],
            "duration": _law(found, "floor.breaks.duration"),
        }
        identified.add("floor.breaks")
    elif "floor.breaks" in found.values:
        floor["breaks"] = None
        identified.add("floor.breaks")
    if "floor.n_agents" not in found.values:
        return
    if base.inbound is not None:
        found.open["floor.n_agents"] = (
            "the base has inbound calls: who of the agents takes them is not in the log"
        )
        return
    shifts = found.values.get("floor.shifts", [])
    floor["shifts"] = shifts
    floor["n_agents"] = sum(s["n_agents"] for s in shifts) or found.values["floor.n_agents"]
    identified |= {"floor.n_agents", "floor.shifts"}


def _set_calls(calls: dict[str, Any], found: Findings, identified: set[str]) -> None:
    if "calls.answer_rate" in found.values:
        calls["answer_rate"] = found.values["calls.answer_rate"]
        identified.add("calls.answer_rate")
    if "calls.time_to_answer" in found.laws:
        calls["time_to_answer"] = _law(found, "calls.time_to_answer")
        calls["setup"] = None  # it is part of the ring time
        identified |= {"calls.time_to_answer", "calls.setup"}
    if found.has("calls.ring_timeout_s") and calls["ring_timeout_s"] is not None:
        calls["ring_timeout_s"] = found.get("calls.ring_timeout_s").interval.value
        identified.add("calls.ring_timeout_s")
    parts: list[dict[str, Any]] = []
    times = {part["outcome"]: part["time"] for part in calls["unanswered"]}
    for name in UNANSWERED:
        field = f"calls.unanswered.{name}"
        if not found.has(f"{field}.share"):
            continue
        if f"{field}.time" in found.laws:
            times[name] = _law(found, f"{field}.time")
        elif name in times:
            found.open[f"{field}.time"] = "too few times for a law, or none in the log"
        else:
            found.open[field] = (
                "no law of their times here or in the base; shared out to the others"
            )
            continue
        share = found.get(f"{field}.share").interval.value
        parts.append({"outcome": name, "share": share, "time": times[name]})
    if parts:
        shares = [round(part["share"] / sum(p["share"] for p in parts), 6) for part in parts]
        shares[int(np.argmax(shares))] += 1.0 - sum(shares)
        for part, share in zip(parts, shares, strict=True):
            part["share"] = share
        calls["unanswered"] = parts
        identified.add("calls.unanswered")
    if "calls.patience" in found.laws:
        calls["patience"] = _law(found, "calls.patience")
        identified.add("calls.patience")


def _set_episode(episode: dict[str, Any], days: RecordedDays, identified: set[str]) -> None:
    """Opening and length of the day, to five minutes."""
    start = 300 * round(float(np.median([day.wall_s for day in days.days])) / 300)
    length = 300 * round(float(np.median([day.length_ms for day in days.days])) / 300_000)
    length = min(max(length, 600), 86_400 - start)
    episode["start"] = f"{start // 3600 % 24:02d}:{start % 3600 // 60:02d}"
    step = episode["decision_interval_s"]
    episode["duration_s"] = step * int(length // step)
    episode["close_s"] = min(episode["close_s"], episode["duration_s"] / 2)
    identified.add("episode.start")
