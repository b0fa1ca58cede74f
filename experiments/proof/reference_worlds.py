"""Small worlds that together use everything in `docs/mechanisms.md`, for the comparison in SimPy.

Floors of 5 to 12 agents over short sessions, so that hundreds of days take seconds. Laws are
continuous wherever a tie within one millisecond could matter, because the two models break ties
differently. The numbers are chosen so that everything happens often; they are no real floor's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from quietdial.envs.scenario import Scenario

Data = dict[str, Any]


class ReferenceWorld(NamedTuple):
    """One world and the rule that dials in it.

    Attributes:
        scenario: the world.
        ratio: of the fixed ratio; None: progressive dialing. With action `blend`: of the
            event-triggered dialer. With `dials_or_cancel`: dials of a decision, see
            `reference.timed`.
    """

    scenario: Scenario
    ratio: float | None


def exponential(mean_s: float) -> Data:
    """An exponential law."""
    return {"kind": "exponential", "mean_s": mean_s}


def uniform(low_s: float, high_s: float) -> Data:
    """A uniform law."""
    return {"kind": "uniform", "low_s": low_s, "high_s": high_s}


def lognormal(mean_s: float, cv: float) -> Data:
    """A lognormal law."""
    return {"kind": "lognormal", "mean_s": mean_s, "cv": cv}


ENDINGS = [
    {"outcome": "machine", "share": 0.35, "time": uniform(10, 24)},
    {"outcome": "busy", "share": 0.1, "time": uniform(1, 4)},
    {"outcome": "invalid", "share": 0.1, "time": uniform(1, 3)},
    {"outcome": "no_answer", "share": 0.45, "time": uniform(20, 30)},
]
WITH_FAILURE = [
    *ENDINGS[:3],
    {"outcome": "no_answer", "share": 0.4, "time": uniform(20, 30)},
    {"outcome": "failure", "share": 0.05, "time": uniform(0.5, 2)},
]
GREETING = {"start": uniform(0.2, 1.0), "length": lognormal(1.2, 0.5)}
AMD = {
    "kind": "amd",
    "decision": uniform(0.5, 3.5),
    "p_false_machine": 0.1,
    "p_false_person": 0.2,
    "machine_handling": uniform(4, 12),
}
NO_DETECTION = {"kind": "none", "machine_handling": uniform(4, 12)}
RETRY = {"no_answer_s": 600, "busy_s": 90, "machine_s": 300, "failure_s": 45}
PLAIN: Mapping[str, Data] = {
    "floor": {"n_agents": 8, "talk": lognormal(70, 0.8), "wrap": lognormal(15, 0.6)},
    "calls": {
        "answer_rate": {"kind": "constant", "p": 0.3},
        "time_to_answer": {"kind": "gamma", "shape": 3, "scale_s": 3, "shift_s": 2},
        "unanswered": ENDINGS,
    },
    "rule": {"id": "test", "cap": 0.03, "wait_limit_s": 3},
    "episode": {"duration_s": 3600, "close_s": 90},
}


def small_world(name: str, **parts: Data | str | None) -> Scenario:
    """The plain world with other values in some of its parts.

    Args:
        name: name of the scenario.
        parts: values for the fields of `floor`, `calls` and `episode`, which are laid over those
            of the plain world; everything else (`rule`, `people`, `inbound`, ...) as it is.

    Raises:
        pydantic.ValidationError: a value is not allowed.
    """
    data: Data = {part: dict(values) for part, values in PLAIN.items()}
    for part, values in parts.items():
        if part in ("floor", "calls", "episode") and isinstance(values, dict):
            data[part] |= values
        else:
            data[part] = values
    return Scenario.model_validate({"name": name} | data)


def _worlds() -> dict[str, ReferenceWorld]:
    three_shifts = [
        {"n_agents": 4, "login": "09:50", "logout": "11:40", "lunch": _lunch("10:45")},
        {"n_agents": 4, "login": "10:15", "logout": "12:00", "lunch": _lunch("11:10")},
        {"n_agents": 2, "login": "10:30", "logout": "11:15"},
    ]
    with_inbound = [{"n_agents": 3, "group": "inbound"}, {"n_agents": 5}]
    callers = {
        "periods": [{"begins": "10:05", "per_h": 120}, {"begins": "10:40", "per_h": 200}],
        "day_factor": lognormal(1.0, 0.3),
        "talk": lognormal(80, 0.7),
        "patience": exponential(60),
        "p_balk": 0.1,
        "capacity": 5,
        "service_level_s": 15,
    }
    drifting = {
        "kind": "drifting",
        "p_low": 0.15,
        "p_high": 0.45,
        "season_amplitude": 0.4,
        "season_period_s": 3600,
        "ou_sd": 0.25,
        "ou_tau_s": 900,
        "jumps_per_h": 5,
        "jump_sd": 0.5,
        "update_s": 7,
    }
    talk_drift = {
        "season_amplitude": 0.3,
        "season_period_s": 2400,
        "ou_sd": 0.2,
        "ou_tau_s": 600,
        "jumps_per_h": 3,
        "jump_sd": 0.3,
        "update_s": 11,
    }
    week = {"first_day": "2026-03-05", "duration_s": 1800, "start": "10:00"}
    worlds = {
        "plain": (small_world("plain"), 2.2),
        "progressive": (small_world("progressive"), None),
        "no-wait": (
            small_world(
                "no-wait",
                calls={"max_dials_per_decision": 2},
                rule={"id": "test", "cap": 0.03, "wait_limit_s": 0},
            ),
            2.2,
        ),
        "amd": (
            small_world(
                "amd",
                calls={
                    "unanswered": WITH_FAILURE,
                    "detection": AMD,
                    "patience": exponential(6),
                },
                rule={
                    "id": "test",
                    "cap": 0.03,
                    "wait_limit_s": 3,
                    "counts_amd": False,
                    "counts_cut": False,
                    "harm": {"silence": 1.3},
                },
            ),
            2.5,
        ),
        "no-detection": (
            small_world(
                "no-detection",
                calls={"detection": NO_DETECTION, "greeting": GREETING, "patience": uniform(1, 8)},
                rule={
                    "id": "test",
                    "cap": 0.03,
                    "wait_limit_s": 2,
                    "clock": "greeting_start",
                    "waiting_hears": "comfort_noise",
                    "counts_left": False,
                    "harm": {"comfort_noise": 0.7},
                },
            ),
            2.0,
        ),
        "greeting-message": (
            small_world(
                "greeting-message",
                calls={"setup": lognormal(2, 0.5), "greeting": GREETING, "trunks": 14},
                rule={"profile": "us_tsr", "hours": {}, "message_s": 9, "harm": {"message": 0.4}},
            ),
            2.5,
        ),
        "hold": (
            small_world(
                "hold",
                calls={"patience": exponential(15)},
                rule={
                    "id": "test",
                    "cap": 0.03,
                    "wait_limit_s": 2,
                    "at_limit": "hold",
                    "hold_s": 12,
                    "harm": {"late": 0.2},
                },
            ),
            3.0,
        ),
        "cancel": (
            small_world(
                "cancel",
                calls={"unanswered": WITH_FAILURE, "setup": uniform(0.5, 4)},
                people={"n_people": 500, "retry": RETRY, "max_attempts": 4},
                rule={
                    "id": "test",
                    "cap": 0.03,
                    "wait_limit_s": 3,
                    "may_cancel": True,
                    "min_ring_s": 6,
                },
                action="dials_or_cancel",
            ),
            0.35,
        ),
        "reserved-paced": (
            small_world(
                "reserved-paced",
                floor={"n_agents": 12, "reserved_share": 0.2},
                calls={"unanswered": WITH_FAILURE, "calls_per_s": 0.35, "detection": AMD},
                people={
                    "n_people": 700,
                    "retry": RETRY,
                    "max_attempts": 6,
                    "p_callback": 0.4,
                    "callback_after": uniform(60, 1200),
                },
                rule={
                    "id": "test",
                    "cap": 0.03,
                    "wait_limit_s": 3,
                    "quarantine_s": 600,
                    "reserved_after_silent": True,
                    "machine_pause_s": 900,
                },
            ),
            2.6,
        ),
        "amd-progressive": (
            small_world(
                "amd-progressive",
                calls={"unanswered": WITH_FAILURE, "detection": AMD, "patience": exponential(8)},
                people={"n_people": 500, "retry": RETRY, "max_attempts": 4},
            ),
            None,
        ),
        "machines-hold": (
            small_world(
                "machines-hold",
                floor={"n_agents": 6},
                calls={"detection": NO_DETECTION, "patience": exponential(15)},
                people={"n_people": 500, "retry": RETRY, "max_attempts": 4},
                rule={
                    "id": "test",
                    "cap": 0.03,
                    "wait_limit_s": 2,
                    "at_limit": "hold",
                    "hold_s": 12,
                    "quarantine_s": 400,
                },
            ),
            3.5,
        ),
        "machines-message": (
            small_world(
                "machines-message",
                floor={"n_agents": 6},
                calls={"detection": NO_DETECTION, "max_lines": 7},
                people={"n_people": 500, "retry": RETRY, "max_attempts": 4},
                rule={
                    "id": "test",
                    "cap": 0.03,
                    "wait_limit_s": 2,
                    "at_limit": "message",
                    "message_s": 15,
                    "quarantine_s": 400,
                    "reserved_after_silent": True,
                },
            ),
            5.0,
        ),
        "lines": (
            small_world(
                "lines",
                floor={"n_agents": 12},
                calls={
                    "unanswered": WITH_FAILURE,
                    "setup": uniform(0.5, 2.5),
                    "ring_timeout_s": 16,
                    "max_lines": 12,
                    "trunks": 20,
                    "calls_per_s": 0.8,
                },
            ),
            4.0,
        ),
        "controller": (
            small_world(
                "controller",
                episode={
                    "controller_period_s": 0.5,
                    "controller_on_release": True,
                    "decision_interval_s": 5,
                },
            ),
            2.2,
        ),
        "shifts": (
            small_world(
                "shifts",
                floor={"n_agents": 10, "shifts": three_shifts, "breaks": _breaks()},
                episode={"duration_s": 7200, "dial_from": "10:02", "dial_until": "11:50"},
            ),
            2.4,
        ),
        "speed-skill": (
            small_world(
                "speed-skill",
                floor={"speed_sd": 0.5, "skill_sd": 0.6, "p_success": 0.25, "breaks": _breaks()},
            ),
            2.2,
        ),
        "retries": (
            small_world(
                "retries",
                floor={"n_agents": 6},
                calls={"unanswered": WITH_FAILURE},
                people={"n_people": 220, "retry": RETRY, "max_attempts": 3},
            ),
            2.2,
        ),
        "caps": (
            small_world(
                "caps",
                floor={"n_agents": 5},
                calls={"unanswered": WITH_FAILURE},
                people={"n_people": 90, "retry": RETRY, "max_attempts": 6},
                rule={
                    "id": "test",
                    "cap": 0.03,
                    "wait_limit_s": 2,
                    "attempts": {"per_day": 2, "per_week": 3, "per_30_days": 5, "per_campaign": 5},
                    "harm": {"growth": 1.5},
                    "refusal_pause_s": 7200,
                    "quarantine_s": 3600,
                },
                episode={**week, "duration_s": 1200, "n_days": 33, "decision_interval_s": 5},
            ),
            1.8,
        ),
        "two-sessions": (
            small_world(
                "two-sessions",
                floor={"shifts": [{"n_agents": 8, "logout": "11:25", "lunch": _lunch("10:25")}]},
                people={
                    "n_people": 400,
                    "retry": RETRY,
                    "p_callback": 0.3,
                    "callback_after": uniform(300, 7200),
                },
                rule={
                    "id": "test",
                    "cap": 0.03,
                    "wait_limit_s": 3,
                    "hours": {"weekday": [["10:00", "10:40"], ["11:00", "11:30"]]},
                },
                episode={**week, "n_days": 2, "duration_s": 7200},
            ),
            2.2,
        ),
        "quarantine": (
            small_world(
                "quarantine",
                floor={"n_agents": 6, "reserved_share": 0.4},
                calls={"unanswered": WITH_FAILURE, "patience": exponential(10)},
                people={
                    "n_people": 500,
                    "retry": RETRY,
                    "max_attempts": 5,
                    "p_callback": 0.25,
                    "callback_after": uniform(600, 86_400),
                },
                rule="it_2014",
                episode={**week, "n_days": 7},
            ),
            2.6,
        ),
        "uk-amd": (
            small_world(
                "uk-amd",
                floor={"n_agents": 6},
                calls={
                    "unanswered": WITH_FAILURE,
                    "detection": AMD,
                    "greeting": GREETING,
                    "ring_timeout_s": 20,
                },
                people={"n_people": 400, "retry": RETRY, "max_attempts": 4},
                rule="uk_2010",
                episode={**week, "n_days": 5, "time_zone": "Europe/London"},
            ),
            2.6,
        ),
        "us-zones": (
            small_world(
                "us-zones",
                calls={"greeting": GREETING},
                people={
                    "n_people": 600,
                    "retry": RETRY,
                    "segments": [
                        {"share": 0.4, "time_zone": "America/New_York", "reach": 0.8},
                        {
                            "share": 0.35,
                            "time_zone": "America/Los_Angeles",
                            "by_hour": [1.0] * 8 + [1.6] + [0.7] * 15,
                        },
                        {
                            "share": 0.25,
                            "time_zone": "America/Chicago",
                            "by_hour": [1.0] * 10 + [1.8] + [0.5] * 13,
                        },
                    ],
                },
                rule="us_tsr",
                episode={
                    "first_day": "2026-06-02",
                    "n_days": 2,
                    "start": "10:30",
                    "time_zone": "America/New_York",
                },
            ),
            2.2,
        ),
        "drift": (
            small_world(
                "drift",
                floor={"talk_day_sd": 0.2, "talk_drift": talk_drift},
                calls={"answer_rate": drifting},
                episode={**week, "n_days": 3, "first_day": "2026-03-03"},
            ),
            2.0,
        ),
        "leads": (
            small_world("leads", calls={"leads": {"auc": 0.8, "buffer": 5}}),
            2.0,
        ),
        "inbound": (
            small_world("inbound", floor={"shifts": with_inbound}, inbound=callers),
            2.0,
        ),
        "blend": (
            small_world(
                "blend",
                floor={"shifts": with_inbound},
                calls={"patience": exponential(5)},
                inbound=callers,
                blend={"min_free": 3, "min_free_outbound": 2, "extra": 1, "less_in_flight": True},
                action="blend",
            ),
            2.0,
        ),
        "everything": (
            small_world(
                "everything",
                floor={
                    "n_agents": 10,
                    "shifts": [
                        {"n_agents": 6, "logout": "10:25", "lunch": _lunch("10:10")},
                        {"n_agents": 2, "login": "10:05", "logout": "10:28"},
                        {"n_agents": 2, "group": "inbound"},
                    ],
                    "talk_day_sd": 0.2,
                    "talk_drift": talk_drift,
                    "breaks": _breaks(),
                    "speed_sd": 0.3,
                    "skill_sd": 0.3,
                    "p_success": 0.2,
                    "reserved_share": 0.3,
                },
                calls={
                    "answer_rate": drifting,
                    "unanswered": WITH_FAILURE,
                    "setup": uniform(0.5, 2.5),
                    "ring_timeout_s": 22,
                    "greeting": GREETING,
                    "detection": AMD,
                    "patience": exponential(9),
                    "trunks": 30,
                    "calls_per_s": 2,
                },
                people={
                    "n_people": 700,
                    "retry": RETRY,
                    "max_attempts": 5,
                    "p_callback": 0.2,
                    "callback_after": uniform(600, 86_400),
                    "segments": [{"share": 0.6, "reach": 1.2}, {"share": 0.4, "reach": 0.7}],
                },
                inbound=callers,
                rule={
                    "profile": "it_2014",
                    "clock": "greeting_end",
                    "at_limit": "hold",
                    "hold_s": 10,
                    "quarantine_s": 100_000,
                    "attempts": {"per_day": 2},
                },
                episode={**week, "n_days": 5},
            ),
            2.0,
        ),
    }
    return {name: ReferenceWorld(*world) for name, world in worlds.items()}


def _lunch(at: str) -> Data:
    return {"at": at, "duration": 900}


def _breaks() -> Data:
    return {"p_after_wrap": 0.1, "duration": lognormal(150, 0.5)}


SCENARIOS: Mapping[str, ReferenceWorld] = _worlds()
"""The worlds of the comparison by name."""
