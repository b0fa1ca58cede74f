"""Random small worlds for hypothesis: any combination of all features, or none of them."""

from __future__ import annotations

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st
from pydantic import ValidationError

from quietdial.envs.errors import ConfigError
from quietdial.envs.regulation.calendar import sessions_of
from quietdial.envs.scenario import Scenario

__all__ = ["full_worlds", "plain_worlds"]

Data = dict[str, Any]
Draw = Any  # hypothesis' own type of it is generic in what each call returns


def _law(draw: Draw, low_s: float, high_s: float) -> Data:
    """A law of any kind with its weight between the two times."""
    mean_s = (low_s + high_s) / 2
    return dict(
        draw(
            st.sampled_from(
                [
                    {"kind": "constant", "value_s": round(mean_s, 2)},
                    {"kind": "uniform", "low_s": low_s, "high_s": high_s},
                    {"kind": "exponential", "mean_s": mean_s},
                    {"kind": "lognormal", "mean_s": mean_s, "cv": 0.7},
                ]
            )
        )
    )


def _maybe(draw: Draw, value: Any) -> Any:
    """The value or None."""
    return value if draw(st.booleans()) else None


def _drift(draw: Draw) -> Data:
    return {
        "season_amplitude": draw(st.sampled_from([0.0, 0.5])),
        "season_period_s": 500,
        "ou_sd": draw(st.sampled_from([0.0, 0.4])),
        "ou_tau_s": 200,
        "jumps_per_h": draw(st.sampled_from([0, 60])),
        "jump_sd": 0.5,
        "update_s": draw(st.sampled_from([0.5, 7, 60])),
    }


def _episode(draw: Draw) -> Data:
    interval_s = draw(st.sampled_from([2.5, 5, 10, 20]))
    episode: Data = {
        "decision_interval_s": interval_s,
        "duration_s": interval_s * draw(st.integers(12, 40)),
        "close_s": draw(st.sampled_from([0, 20])),
        "controller_on_release": draw(st.booleans()),
        "controller_period_s": draw(st.sampled_from([None, 0.5, 2.5])),
    }
    return episode


def _unanswered(draw: Draw, names: list[str]) -> list[Data]:
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=len(names), unique=True))
    return [
        {"outcome": name, "share": 1 / len(chosen), "time": _law(draw, 1, 15)} for name in chosen
    ]


def _base(draw: Draw, endings: list[str]) -> Data:
    n_agents = draw(st.integers(2, 8))
    floor: Data = {"n_agents": n_agents, "talk": _law(draw, 5, 40)}
    floor["wrap"] = _maybe(draw, _law(draw, 1, 10))
    floor["talk_day_sd"] = draw(st.sampled_from([0, 0.3]))
    floor["breaks"] = _maybe(draw, {"p_after_wrap": 0.2, "duration": _law(draw, 10, 60)})
    rate: Data = {"kind": "constant", "p": draw(st.sampled_from([0.1, 0.4, 0.9]))}
    if draw(st.booleans()):
        drift = _drift(draw) | {"jumps_per_h": 0}
        rate = {"kind": "drifting", "p_low": 0.2, "p_high": 0.7} | drift
    calls: Data = {
        "answer_rate": rate,
        "time_to_answer": _law(draw, 2, 15),
        "unanswered": _unanswered(draw, endings),
        "patience": _maybe(draw, _law(draw, 0.5, 6)),
        "max_lines": draw(st.sampled_from([None, None, 5, 12])),
    }
    rule: Data = {
        "id": "random",
        "cap": 0.03,
        "wait_limit_s": draw(st.sampled_from([0, 0.5, 2, 3])),
        "waiting_hears": draw(st.sampled_from(["silence", "comfort_noise"])),
    }
    return {"floor": floor, "calls": calls, "rule": rule, "episode": _episode(draw)}


def _valid(data: Data) -> Scenario | None:
    try:
        scenario = Scenario.model_validate({"name": "random"} | data)
        sessions_of(scenario)
    except (ValidationError, ConfigError):
        return None
    return scenario


@st.composite
def plain_worlds(draw: Draw) -> Scenario:
    """A world that the plain kernel plays."""
    scenario = _valid(_base(draw, ["machine", "busy", "no_answer", "invalid"]))
    assume(scenario is not None)
    assert scenario is not None  # noqa: S101
    return scenario


@st.composite
def full_worlds(draw: Draw) -> Scenario:
    """A world with any of the features of the full kernel, each about half of the time."""
    data = _base(draw, ["machine", "busy", "no_answer", "invalid", "failure"])
    flip = st.booleans()
    _full_calls(draw, data)
    _full_rule(draw, data["rule"])
    if draw(flip):
        data["people"] = _people(draw)
    if draw(flip):
        data["inbound"] = {
            "periods": [
                {"begins": "10:00", "per_h": draw(st.sampled_from([60, 900]))},
                {"begins": "10:03", "per_h": draw(st.sampled_from([0, 400]))},
            ],
            "day_factor": _maybe(draw, {"kind": "lognormal", "mean_s": 1, "cv": 0.3}),
            "talk": _law(draw, 5, 40),
            "patience": _maybe(draw, _law(draw, 2, 60)),
            "p_balk": draw(st.sampled_from([0, 0.2])),
            "capacity": draw(st.sampled_from([1, 3, 80])),
            "service_level_s": 5,
        }
    floor = data["floor"]
    if draw(flip):
        floor["shifts"] = _shifts(draw, floor["n_agents"], inbound="inbound" in data)
    floor["speed_sd"] = draw(st.sampled_from([0, 0.4]))
    floor["p_success"] = draw(st.sampled_from([0, 0.4]))
    floor["skill_sd"] = draw(st.sampled_from([0, 0.4]))
    floor["reserved_share"] = draw(st.sampled_from([0.1, 0.5]))
    floor["talk_drift"] = _maybe(draw, _drift(draw))
    episode = data["episode"]
    if draw(flip):
        episode |= {
            "first_day": draw(st.sampled_from(["2026-03-27", "2026-04-30", "2026-06-01"])),
            "n_days": draw(st.integers(1, 5)),
        }
    episode["dial_from"] = draw(st.sampled_from([None, "10:01"]))
    episode["dial_until"] = draw(st.sampled_from([None, None, "10:04"]))
    data["belief"] = {
        "feed_delay_s": draw(st.sampled_from([0, 1, 3])) * episode["decision_interval_s"]
    }
    data["blend"] = {
        "min_free": draw(st.integers(0, 2)),
        "extra": draw(st.integers(-1, 2)),
        "less_in_flight": draw(flip),
    }
    scenario = _valid(data)
    assume(scenario is not None)
    assert scenario is not None  # noqa: S101
    return scenario


def _full_calls(draw: Draw, data: Data) -> None:
    calls = data["calls"]
    calls["setup"] = _maybe(draw, _law(draw, 0.2, 3))
    calls["ring_timeout_s"] = draw(st.sampled_from([None, 8, 15]))
    calls["greeting"] = {"start": _law(draw, 0.1, 1), "length": _law(draw, 0.3, 2)}
    calls["trunks"] = draw(st.sampled_from([None, 4, 10]))
    calls["calls_per_s"] = draw(st.sampled_from([None, 0.7, 3]))
    if data["calls"]["answer_rate"]["kind"] == "drifting":
        calls["answer_rate"] |= _drift(draw)
    kind = draw(st.sampled_from(["perfect", "none", "amd"]))
    calls["detection"] = {
        "kind": kind,
        "decision": _law(draw, 0.3, 3) if kind == "amd" else None,
        "p_false_machine": 0.2 if kind == "amd" else 0.0,
        "p_false_person": 0.3 if kind == "amd" else 0.0,
        "audited_share": 0.1,
        "machine_handling": None if kind == "perfect" else _law(draw, 2, 12),
    }


def _full_rule(draw: Draw, rule: Data) -> None:
    flip = st.booleans()
    first = draw(st.sampled_from(["campaign", "day"]))
    others = draw(st.lists(st.sampled_from(["day", "days", "month", "hours"]), max_size=3))
    others = [kind for i, kind in enumerate(others) if kind not in others[:i]]
    rule |= {
        "windows": [{"kind": kind, "length": 2, "cap": 0.03} for kind in [first, *others]],
        "clock": draw(st.sampled_from(["answer", "greeting_start", "greeting_end"])),
        "at_limit": draw(st.sampled_from(["cut", "message", "hold"])),
        "message_s": draw(st.sampled_from([2.0, 8.0])),
        "hold_s": draw(st.sampled_from([1.0, 20.0])),
        "counts_cut": draw(flip),
        "counts_left": draw(flip),
        "counts_amd": draw(flip),
        "estimate": draw(st.sampled_from(["counted", "ofcom"])),
        "min_ring_s": draw(st.sampled_from([None, 4])),
        "may_cancel": draw(flip),
        "quarantine_s": draw(st.sampled_from([0, 30, 90_000])),
        "reserved_after_silent": draw(flip),
        "machine_pause_s": draw(st.sampled_from([0, 60])),
        "refusal_pause_s": draw(st.sampled_from([0, 40])),
        "attempts": {
            "per_day": draw(st.sampled_from([None, 1, 2])),
            "per_week": draw(st.sampled_from([None, 3])),
            "per_30_days": draw(st.sampled_from([None, 1, 4])),
            "per_campaign": draw(st.sampled_from([None, 5])),
        },
    }
    if draw(flip):
        rule["hours"] = {"weekday": [["10:00", "10:02"], ["10:03", "24:00"]], "sunday": []}


def _people(draw: Draw) -> Data:
    pauses = st.sampled_from([5, 30, 90])
    segments = [{"share": 1.0}]
    if draw(st.booleans()):
        segments = [
            {"share": 0.5, "reach": 1.4},
            {"share": 0.5, "by_hour": [1.0] * 10 + [0.4] + [1.0] * 13, "time_zone": "Asia/Tokyo"},
        ]
    return {
        "n_people": draw(st.sampled_from([3, 20, 120])),
        "segments": segments,
        "retry": {
            name: draw(pauses) for name in ("no_answer_s", "busy_s", "machine_s", "failure_s")
        },
        "max_attempts": draw(st.integers(1, 6)),
        "p_callback": draw(st.sampled_from([0, 0.4])),
        "callback_after": _law(draw, 10, 60),
    }


def _shifts(draw: Draw, n_agents: int, *, inbound: bool) -> list[Data]:
    logins, logouts = ["00:00", "10:00", "10:01"], ["10:02", "10:03", "23:59"]
    lunch = {"at": "10:01", "duration": draw(st.sampled_from([60, 90]))}
    first: Data = {"n_agents": 1, "logout": draw(st.sampled_from(logouts))}
    second: Data = {"n_agents": n_agents - 1, "login": draw(st.sampled_from(logins))}
    if draw(st.booleans()):
        first["lunch"] = lunch
    if inbound and draw(st.booleans()):
        first["group"] = "inbound"
    return [first, second]
