"""Random small worlds: any combination of all features, or none of them.

A world is a function of a seed, which hypothesis chooses: features are then independent and evenly
spread, which its own choices are not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from quietdial.envs.errors import ConfigError
from quietdial.envs.regulation.calendar import sessions_of
from quietdial.envs.scenario import Scenario

__all__ = ["full_world", "plain_world"]

Data = dict[str, Any]
Draw = Callable[[Sequence[Any]], Any]
"""Chooses one of several."""
FLIP = (False, True)


def _law(draw: Draw, low_s: float, high_s: float) -> Data:
    """A law of any kind with its weight between the two times."""
    mean_s = (low_s + high_s) / 2
    laws: list[Data] = [
        {"kind": "constant", "value_s": round(mean_s, 2)},
        {"kind": "uniform", "low_s": low_s, "high_s": high_s},
        {"kind": "exponential", "mean_s": mean_s},
        {"kind": "lognormal", "mean_s": mean_s, "cv": 0.7},
    ]
    return dict(draw(laws))


def _maybe(draw: Draw, value: Any) -> Any:
    """The value or None."""
    return value if draw(FLIP) else None


def _drift(draw: Draw) -> Data:
    return {
        "season_amplitude": draw([0.0, 0.5]),
        "season_period_s": 500,
        "ou_sd": draw([0.0, 0.4]),
        "ou_tau_s": 200,
        "jumps_per_h": draw([0, 60]),
        "jump_sd": 0.5,
        "update_s": draw([0.5, 7, 60]),
    }


def _episode(draw: Draw) -> Data:
    interval_s = draw([5, 10, 20])
    episode: Data = {
        "decision_interval_s": interval_s,
        "duration_s": interval_s * draw(range(12, 41)),
        "close_s": draw([0, 20]),
        "controller_on_release": draw(FLIP),
        "controller_period_s": draw([None, 0.5, 2.5]),
    }
    return episode


def _unanswered(draw: Draw, names: list[str]) -> list[Data]:
    chosen = [name for name in names if draw(FLIP)] or names[:1]
    return [
        {"outcome": name, "share": 1 / len(chosen), "time": _law(draw, 1, 15)} for name in chosen
    ]


def _base(draw: Draw, endings: list[str]) -> Data:
    n_agents = draw(range(2, 9))
    floor: Data = {"n_agents": n_agents, "talk": _law(draw, 5, 40)}
    floor["wrap"] = _maybe(draw, _law(draw, 1, 10))
    floor["talk_day_sd"] = draw([0, 0.3])
    floor["breaks"] = _maybe(draw, {"p_after_wrap": 0.2, "duration": _law(draw, 10, 60)})
    rate: Data = {"kind": "constant", "p": draw([0.1, 0.4, 0.9])}
    if draw(FLIP):
        drift = _drift(draw) | {"jumps_per_h": 0}
        rate = {"kind": "drifting", "p_low": 0.2, "p_high": 0.7} | drift
    calls: Data = {
        "answer_rate": rate,
        "time_to_answer": _law(draw, 2, 15),
        "unanswered": _unanswered(draw, endings),
        "patience": _maybe(draw, _law(draw, 0.5, 6)),
        "max_lines": draw([None, None, 5, 12]),
    }
    rule: Data = {
        "id": "random",
        "cap": 0.03,
        "wait_limit_s": draw([0, 0.5, 2, 3]),
        "waiting_hears": draw(["silence", "comfort_noise"]),
    }
    return {"floor": floor, "calls": calls, "rule": rule, "episode": _episode(draw)}


def _valid(data: Data) -> Scenario | None:
    try:
        scenario = Scenario.model_validate({"name": "random"} | data)
        sessions_of(scenario)
    except (ValidationError, ConfigError):
        return None
    return scenario


def plain_world(seed: int) -> Scenario:
    """The world of this seed that the plain kernel plays."""
    draw = random.Random(seed).choice  # noqa: S311
    while True:
        scenario = _valid(_base(draw, ["machine", "busy", "no_answer", "invalid"]))
        if scenario is not None:
            return scenario


def full_world(seed: int) -> Scenario:
    """The world of this seed with features of the full kernel, each about half of the time."""
    draw = random.Random(seed).choice  # noqa: S311
    while True:
        scenario = _valid(_full(draw))
        if scenario is not None:
            return scenario


def _full(draw: Draw) -> Data:
    data = _base(draw, ["machine", "busy", "no_answer", "invalid", "failure"])
    _full_calls(draw, data)
    _full_rule(draw, data["rule"])
    if draw(FLIP):
        data["people"] = _people(draw)
    if draw(FLIP):
        data["inbound"] = {
            "periods": [
                {"begins": "10:00", "per_h": draw([60, 900])},
                {"begins": "10:03", "per_h": draw([0, 400])},
            ],
            "day_factor": _maybe(draw, {"kind": "lognormal", "mean_s": 1, "cv": 0.3}),
            "talk": _law(draw, 5, 40),
            "patience": _maybe(draw, _law(draw, 2, 60)),
            "p_balk": draw([0, 0.2]),
            "capacity": draw([1, 3, 80]),
            "service_level_s": 5,
        }
    floor = data["floor"]
    if draw(FLIP):
        floor["shifts"] = _shifts(draw, floor["n_agents"], inbound="inbound" in data)
    floor["speed_sd"] = draw([0, 0.4])
    floor["p_success"] = draw([0, 0.4])
    floor["skill_sd"] = draw([0, 0.4])
    floor["reserved_share"] = draw([0.1, 0.5])
    floor["talk_drift"] = _maybe(draw, _drift(draw))
    episode = data["episode"]
    if draw(FLIP):
        episode |= {
            "first_day": draw(["2026-03-27", "2026-04-30", "2026-06-01"]),
            "n_days": draw(range(1, 6)),
        }
    episode["dial_from"] = draw([None, "10:01"])
    episode["dial_until"] = draw([None, None, "10:04"])
    data["belief"] = {"feed_delay_s": draw([0, 1, 3]) * episode["decision_interval_s"]}
    data["blend"] = {
        "min_free": draw(range(0, 3)),
        "extra": draw(range(-1, 3)),
        "less_in_flight": draw(FLIP),
    }
    return data


def _full_calls(draw: Draw, data: Data) -> None:
    calls = data["calls"]
    calls["setup"] = _maybe(draw, _law(draw, 0.2, 3))
    calls["ring_timeout_s"] = draw([None, 8, 15])
    calls["greeting"] = {"start": _law(draw, 0.1, 1), "length": _law(draw, 0.3, 2)}
    calls["trunks"] = draw([None, 4, 10])
    calls["calls_per_s"] = draw([None, 0.7, 3])
    if data["calls"]["answer_rate"]["kind"] == "drifting":
        calls["answer_rate"] |= _drift(draw)
    kind = draw(["perfect", "none", "amd"])
    calls["detection"] = {
        "kind": kind,
        "decision": _law(draw, 0.3, 3) if kind == "amd" else None,
        "p_false_machine": 0.2 if kind == "amd" else 0.0,
        "p_false_person": 0.3 if kind == "amd" else 0.0,
        "audited_share": 0.1,
        "machine_handling": None if kind == "perfect" else _law(draw, 2, 12),
    }


def _full_rule(draw: Draw, rule: Data) -> None:
    first = draw(["campaign", "day"])
    others = [kind for kind in ("days", "month", "hours") if draw(FLIP)]
    rule |= {
        "windows": [{"kind": kind, "length": 2, "cap": 0.03} for kind in [first, *others]],
        "clock": draw(["answer", "greeting_start", "greeting_end"]),
        "at_limit": draw(["cut", "message", "hold"]),
        "message_s": draw([2.0, 8.0]),
        "hold_s": draw([1.0, 20.0]),
        "counts_cut": draw(FLIP),
        "counts_left": draw(FLIP),
        "counts_amd": draw(FLIP),
        "estimate": draw(["counted", "ofcom"]),
        "min_ring_s": draw([None, 4]),
        "may_cancel": draw(FLIP),
        "quarantine_s": draw([0, 10, 30, 90_000]),
        "reserved_after_silent": draw(FLIP),
        "machine_pause_s": draw([0, 60]),
        "refusal_pause_s": draw([0, 40]),
        "attempts": {
            "per_day": draw([None, 1, 2]),
            "per_week": draw([None, 3]),
            "per_30_days": draw([None, 1, 4]),
            "per_campaign": draw([None, 5]),
        },
    }
    if draw(FLIP):
        rule["hours"] = {"weekday": [["10:00", "10:02"], ["10:03", "24:00"]], "sunday": []}


def _people(draw: Draw) -> Data:
    pauses = (5, 30, 90)
    segments: list[Data] = [{"share": 1.0}]
    if draw(FLIP):
        segments = [
            {"share": 0.5, "reach": 1.4},
            {"share": 0.5, "by_hour": [1.0] * 10 + [0.4] + [1.0] * 13, "time_zone": "Asia/Tokyo"},
        ]
    return {
        "n_people": draw([3, 20, 120]),
        "segments": segments,
        "retry": {
            name: draw(pauses) for name in ("no_answer_s", "busy_s", "machine_s", "failure_s")
        },
        "max_attempts": draw(range(1, 7)),
        "p_callback": draw([0, 0.4]),
        "callback_after": _law(draw, 5, 30),
    }


def _shifts(draw: Draw, n_agents: int, *, inbound: bool) -> list[Data]:
    logins, logouts = ["00:00", "10:00", "10:01"], ["10:02", "10:03", "23:59"]
    lunch = {"at": "10:01", "duration": draw([60, 90])}
    first: Data = {"n_agents": 1, "logout": draw(logouts)}
    second: Data = {"n_agents": n_agents - 1, "login": draw(logins)}
    if draw(FLIP):
        first["lunch"] = lunch
    if inbound and draw(FLIP):
        first["group"] = "inbound"
    return [first, second]
