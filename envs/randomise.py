"""Random scenarios: many different worlds from one seed, so that a policy learns all of them.

`draw_scenario("default", 7)` is one world, `draw_scenarios(64, 7)` are 64. What may differ, between
which bounds and why stands in `ScenarioRanges`; `RANGES` names four of them. Every quantity has a
random stream of its own, made from the seed and the quantity's name, so that a new quantity, or
another range for one of them, leaves the draws of the others as they were.
"""

from __future__ import annotations

import datetime
import math
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, ValidationError

from quietdial.envs.errors import ConfigError
from quietdial.envs.part import Part, Probability, describe_validation_error
from quietdial.envs.regulation.rule import load_rule
from quietdial.envs.scenario import Scenario

TalkKind = Literal["exponential", "lognormal", "gamma", "weibull", "two_kinds"]
DetectionKind = Literal["perfect", "none", "amd"]

MAX_PEOPLE = 400_000
"""Longest list that is drawn."""

_TRANSFERS_S = 12.0  # mean gap between two conversations of a busy agent, for the length of lists


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound {bounds[0]} is above the upper bound {bounds[1]}")
    return bounds


Bounds = Annotated[
    tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], AfterValidator(_ordered)
]
Positive = Annotated[
    tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]], AfterValidator(_ordered)
]
Share = Annotated[tuple[Probability, Probability], AfterValidator(_ordered)]


class ScenarioRanges(Part):
    """Between which bounds worlds are drawn; the defaults are the range `default`.

    Bounds are (lowest, highest). Quantities marked "log" are uniform in their logarithm, all others
    uniform; of a tuple of names each is equally likely. Reasons are from published typical values
    of dialers where there are any, else from the range of the presets.
    """

    n_agents: tuple[int, int] = Field(
        default=(5, 200), description="agents, log; from the smallest floor to a large one"
    )
    hours: tuple[int, int] = Field(
        default=(4, 10), description="length of the day [whole hours]; half a shift to two"
    )
    p_answer: Share = Field(
        default=(0.06, 0.6),
        description="answer rate of the middle of a day's range, log; cold lists have .08 to .15, "
        "warm ones .2 to .4, customers more",
    )
    day_ratio: Positive = Field(
        default=(1.0, 3.0), description="highest / lowest answer rate of a day, log"
    )
    p_constant: Probability = Field(
        default=0.1, description="probability of an answer rate that is constant, every day alike"
    )
    season_amplitude: Share = Field(
        default=(0.0, 0.3), description="swing of the answer rate within the day; Bell Canada: .2"
    )
    ou_sd: Bounds = Field(
        default=(0.0, 0.35), description="noise of the log answer rate; the study has .25"
    )
    ou_tau_s: Positive = Field(
        default=(600.0, 7200.0), description="relaxation time of that noise [s], log"
    )
    p_jumps: Probability = Field(
        default=0.25, description="probability that the answer rate jumps without warning"
    )
    jumps_per_h: Bounds = Field(default=(0.25, 2.0), description="jumps an hour, if there are any")
    jump_sd: Bounds = Field(default=(0.2, 0.6), description="size of a jump of the log answer rate")
    talk_kinds: tuple[TalkKind, ...] = Field(
        default=("exponential", "lognormal", "gamma", "weibull", "two_kinds"),
        min_length=1,
        description="shape of the talk law; two_kinds: short refusals mixed with conversations",
    )
    talk_mean_s: Positive = Field(
        default=(45.0, 450.0),
        description="mean talk time [s], log; a log of 2013 has 66, Bell Canada 440",
    )
    talk_cv: Positive = Field(
        default=(0.5, 1.4), description="standard deviation / mean of the talk time"
    )
    talk_day_sd: Share = Field(
        default=(0.0, 0.25), description="spread of the talk times between days (log)"
    )
    p_talk_drift: Probability = Field(
        default=0.5, description="probability that talk times drift within the day"
    )
    talk_drift_sd: Bounds = Field(default=(0.03, 0.15), description="size of that drift (log)")
    speed_sd: Share = Field(
        default=(0.0, 0.25), description="spread of the speed of the agents (log)"
    )
    p_wrap: Probability = Field(default=0.9, description="probability that there is a wrap-up")
    wrap_mean_s: Positive = Field(
        default=(5.0, 60.0), description="mean wrap-up [s], log; 15 to 30 are usual"
    )
    p_breaks: Probability = Field(default=0.7, description="probability that agents take breaks")
    break_share: Share = Field(
        default=(0.01, 0.08), description="share of wrap-ups with a break after it"
    )
    p_shifts: Probability = Field(
        default=0.5, description="probability of two shifts with lunch; else all agents all day"
    )
    setup_mean_s: Positive = Field(
        default=(0.5, 4.0), description="mean time from dial to ringing [s]"
    )
    answer_mean_s: Positive = Field(
        default=(6.0, 15.0), description="mean ringing before an answer [s]; mobiles: 8.7"
    )
    ring_timeout_s: tuple[int, int] = Field(
        default=(18, 35),
        description="whole seconds of ringing, then cut to the rule's limits; 25 to 28 are usual",
    )
    machine_share: Share = Field(
        default=(0.1, 0.7), description="machines among the dials that no person answers"
    )
    quick_share: Share = Field(
        default=(0.05, 0.3), description="busy, invalid and failed among the rest"
    )
    detections: tuple[DetectionKind, ...] = Field(
        default=("perfect", "none", "amd"), min_length=1, description="how machines are told apart"
    )
    amd_decision_s: Positive = Field(
        default=(0.6, 1.1),
        description="mean time of a verdict [s]; the rule's clock runs, so 2 s from the answer "
        "leave little more",
    )
    p_false_machine: Share = Field(
        default=(0.002, 0.02),
        description="people taken for machines, log; more than 1 in 50 breaks a 3 % cap alone",
    )
    p_false_person: Share = Field(default=(0.02, 0.15), description="machines taken for people")
    p_at_once: Share = Field(
        default=(0.0, 0.6), description="callees who hang up within a second; no data, a sweep"
    )
    patience_mean_s: Positive = Field(
        default=(2.0, 12.0), description="mean patience of the others [s], log; no data, a sweep"
    )
    amd_patience_mean_s: Positive = Field(
        default=(8.0, 14.0),
        description="with a detector: mean patience of all callees [s]; shorter, they leave during "
        "the verdict and no pacing keeps a cap",
    )
    p_late_feed: Probability = Field(
        default=0.25, description="probability that the states of agents are seen late"
    )
    feed_delay_s: tuple[int, int] = Field(
        default=(1, 5), description="how late [whole seconds], if so; polled telephone systems"
    )
    talk_error: Positive = Field(
        default=(0.8, 1.25), description="mean talk time that the dialer believes / true one, log"
    )
    p_people: Probability = Field(
        default=0.6, description="probability of a finite list; else numbers never run out"
    )
    list_depth: Positive = Field(
        default=(0.3, 2.5),
        description="length of the list / dials of a busy day, log; below 1 it wears down",
    )
    n_segments: tuple[int, int] = Field(default=(1, 4), description="segments of the list")
    reach_sd: Bounds = Field(default=(0.0, 0.4), description="spread of their reach (log)")
    rules: tuple[str, ...] = Field(
        default=("it_2014", "us_tsr", "uk_2010", "ca"),
        min_length=1,
        description="profiles of the rule; these four limit the rate",
    )


RANGES: Mapping[str, ScenarioRanges] = MappingProxyType(
    {
        "narrow": ScenarioRanges(
            n_agents=(25, 75),
            hours=(8, 8),
            p_answer=(0.15, 0.4),
            day_ratio=(1.2, 2.0),
            p_constant=0.0,
            season_amplitude=(0.1, 0.25),
            ou_sd=(0.1, 0.25),
            p_jumps=0.0,
            talk_kinds=("lognormal", "two_kinds"),
            talk_mean_s=(120.0, 300.0),
            talk_cv=(0.8, 1.2),
            wrap_mean_s=(15.0, 30.0),
            machine_share=(0.2, 0.4),
            detections=("perfect",),
            p_at_once=(0.1, 0.4),
            p_late_feed=0.0,
            talk_error=(0.9, 1.1),
            list_depth=(1.0, 2.5),
            rules=("it_2014",),
        ),
        "default": ScenarioRanges(),
        "late": ScenarioRanges(n_agents=(5, 25), p_late_feed=1.0, feed_delay_s=(2, 5)),
        "wide": ScenarioRanges(
            n_agents=(2, 500),
            hours=(1, 12),
            p_answer=(0.03, 0.8),
            day_ratio=(1.0, 5.0),
            season_amplitude=(0.0, 0.6),
            ou_sd=(0.0, 0.7),
            ou_tau_s=(120.0, 14_400.0),
            p_jumps=0.5,
            jumps_per_h=(0.25, 6.0),
            jump_sd=(0.2, 1.2),
            talk_mean_s=(20.0, 900.0),
            talk_cv=(0.2, 2.5),
            talk_day_sd=(0.0, 0.5),
            talk_drift_sd=(0.03, 0.4),
            speed_sd=(0.0, 0.5),
            wrap_mean_s=(1.0, 180.0),
            answer_mean_s=(4.0, 20.0),
            machine_share=(0.0, 0.9),
            amd_decision_s=(0.6, 2.5),
            p_false_machine=(0.001, 0.08),
            p_false_person=(0.0, 0.4),
            p_at_once=(0.0, 0.95),
            patience_mean_s=(0.5, 30.0),
            amd_patience_mean_s=(3.0, 30.0),
            feed_delay_s=(1, 15),
            talk_error=(0.5, 2.0),
            list_depth=(0.1, 3.0),
            n_segments=(1, 8),
            reach_sd=(0.0, 0.8),
            rules=("it_2014", "it_2024", "us_tsr", "uk_2010", "uk_2017", "ca", "de", "fr", "au"),
        ),
    }
)
"""narrow: a floor like italy-50, a little different each time; default: what contact centres are
like; late: the same on small floors whose agents are seen late, where rules fall short and there is
most to learn; wide: beyond what is likely, for stress and for policies that must not break."""


class _Draws:
    """The random quantities of one scenario, each from its own stream."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, name: str) -> np.random.Generator:
        """The generator of one quantity."""
        key = zlib.crc32(name.encode())
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(key,)))

    def uniform(self, name: str, bounds: tuple[float, float]) -> float:
        """Uniform within the bounds, 4 significant digits."""
        return _rounded(self.stream(name).uniform(*bounds), bounds)

    def log_uniform(self, name: str, bounds: tuple[float, float]) -> float:
        """Uniform in the logarithm within positive bounds, 4 significant digits."""
        low, high = math.log(bounds[0]), math.log(bounds[1])
        return _rounded(math.exp(self.stream(name).uniform(low, high)), bounds)

    def whole(self, name: str, bounds: tuple[int, int]) -> int:
        """A whole number within the bounds, both included."""
        return int(self.stream(name).integers(bounds[0], bounds[1], endpoint=True))

    def happens(self, name: str, p: float) -> bool:
        """True with probability p."""
        return bool(self.stream(name).random() < p)

    def one_of(self, name: str, options: tuple[str, ...]) -> str:
        """One of the options, all equally likely."""
        return options[int(self.stream(name).integers(len(options)))]


def _rounded(value: float, bounds: tuple[float, float]) -> float:
    return min(max(float(f"{value:.4g}"), bounds[0]), bounds[1])


def _talk_law(kind: str, mean_s: float, cv: float) -> dict[str, Any]:
    """A talk law with this mean; the exponential one has its own cv of 1.

    Weibull: the shape is that of Justus' approximation, cv^-1.086, and the scale makes the mean
    exact. two_kinds: three in ten last a tenth of the mean, the rest make the mean whole.
    """
    if kind == "exponential":
        return {"kind": kind, "mean_s": mean_s}
    if kind == "gamma":
        return {"kind": kind, "shape": cv**-2, "scale_s": mean_s * cv**2}
    if kind == "weibull":
        shape = cv**-1.086
        return {"kind": kind, "shape": shape, "scale_s": mean_s / math.gamma(1 + 1 / shape)}
    if kind == "lognormal":
        return {"kind": kind, "mean_s": mean_s, "cv": cv}
    long_s = (mean_s - 0.3 * 0.1 * mean_s) / 0.7
    parts = [
        {"weight": 0.3, "law": {"kind": "lognormal", "mean_s": 0.1 * mean_s, "cv": 0.6}},
        {"weight": 0.7, "law": {"kind": "lognormal", "mean_s": long_s, "cv": cv}},
    ]
    return {"kind": "mixture", "parts": parts}


def _answer_rate(ranges: ScenarioRanges, draws: _Draws) -> dict[str, Any]:
    p = draws.log_uniform("p_answer", ranges.p_answer)
    if draws.happens("p_constant", ranges.p_constant):
        return {"kind": "constant", "p": p}
    spread = math.sqrt(draws.log_uniform("day_ratio", ranges.day_ratio))
    rate: dict[str, Any] = {
        "kind": "drifting",
        "p_low": _rounded(p / spread, ranges.p_answer),
        "p_high": _rounded(p * spread, ranges.p_answer),
        "season_amplitude": min(draws.uniform("season_amplitude", ranges.season_amplitude), 0.99),
        "ou_sd": draws.uniform("ou_sd", ranges.ou_sd),
        "ou_tau_s": draws.log_uniform("ou_tau_s", ranges.ou_tau_s),
    }
    if draws.happens("p_jumps", ranges.p_jumps):
        rate["jumps_per_h"] = draws.uniform("jumps_per_h", ranges.jumps_per_h)
        rate["jump_sd"] = draws.uniform("jump_sd", ranges.jump_sd)
    return rate


_MONDAY = datetime.date(2026, 3, 2)
"""Drawn days are the weekdays of this week, which has no public holiday in any of the countries."""


def _shifts(n_agents: int, start: int, hours: int) -> list[dict[str, Any]]:
    """Two thirds all day, lunch in the middle, one third from the middle of the day to its end."""
    late = n_agents // 3
    middle, end = start + hours // 2, start + hours
    day: dict[str, Any] = {"n_agents": n_agents - late, "logout": f"{end:02d}:00"}
    day["login"] = f"{start:02d}:00"
    if hours >= 6:
        day["lunch"] = {"at": f"{middle:02d}:00", "duration": 1800}
    if late == 0 or hours < 2:
        return [day | {"n_agents": n_agents}]
    return [
        day,
        {"n_agents": late, "login": f"{middle:02d}:00", "logout": f"{end:02d}:00"},
    ]


def _floor(ranges: ScenarioRanges, draws: _Draws, start: int, hours: int) -> dict[str, Any]:
    n_agents = round(draws.log_uniform("n_agents", ranges.n_agents))
    mean_s = draws.log_uniform("talk_mean_s", ranges.talk_mean_s)
    kind = draws.one_of("talk_kinds", ranges.talk_kinds)
    floor: dict[str, Any] = {
        "n_agents": n_agents,
        "talk": _talk_law(kind, mean_s, draws.uniform("talk_cv", ranges.talk_cv)),
        "talk_day_sd": draws.uniform("talk_day_sd", ranges.talk_day_sd),
        "speed_sd": draws.uniform("speed_sd", ranges.speed_sd),
        "p_success": 0.05,
    }
    if draws.happens("p_talk_drift", ranges.p_talk_drift):
        floor["talk_drift"] = {"ou_sd": draws.uniform("talk_drift_sd", ranges.talk_drift_sd)}
    if draws.happens("p_wrap", ranges.p_wrap):
        wrap_s = draws.log_uniform("wrap_mean_s", ranges.wrap_mean_s)
        floor["wrap"] = {"kind": "lognormal", "mean_s": wrap_s, "cv": 0.6}
    if draws.happens("p_breaks", ranges.p_breaks):
        floor["breaks"] = {
            "p_after_wrap": draws.uniform("break_share", ranges.break_share),
            "duration": {"kind": "lognormal", "mean_s": 300, "cv": 0.5},
        }
    if draws.happens("p_shifts", ranges.p_shifts):
        floor["shifts"] = _shifts(n_agents, start, hours)
    return floor


def _unanswered(ranges: ScenarioRanges, draws: _Draws) -> list[dict[str, Any]]:
    machine = draws.uniform("machine_share", ranges.machine_share)
    quick = draws.uniform("quick_share", ranges.quick_share) * (1 - machine)
    shares = {"busy": 0.4 * quick, "invalid": 0.4 * quick, "failure": 0.2 * quick}
    shares["machine"] = machine
    shares["no_answer"] = 1 - sum(shares.values())
    at_once = {"kind": "uniform", "low_s": 0.5, "high_s": 4}
    laws: dict[str, dict[str, Any]] = {
        "machine": {"kind": "uniform", "low_s": 12, "high_s": 24},
        "no_answer": {"kind": "constant", "value_s": 60},
    }
    return [
        {"outcome": outcome, "share": share, "time": laws.get(outcome, at_once)}
        for outcome, share in shares.items()
        if share > 0
    ]


def _detection(ranges: ScenarioRanges, draws: _Draws) -> dict[str, Any]:
    kind = draws.one_of("detections", ranges.detections)
    if kind == "perfect":
        return {"kind": kind}
    handling = {"kind": "lognormal", "mean_s": 9, "cv": 0.5}
    if kind == "none":
        return {"kind": kind, "machine_handling": handling}
    decision_s = draws.uniform("amd_decision_s", ranges.amd_decision_s)
    return {
        "kind": kind,
        "decision": {"kind": "lognormal", "mean_s": decision_s, "cv": 0.25},
        "p_false_machine": draws.log_uniform("p_false_machine", ranges.p_false_machine),
        "p_false_person": draws.uniform("p_false_person", ranges.p_false_person),
        "audited_share": 0.01,
        "machine_handling": handling,
    }


def _patience(ranges: ScenarioRanges, draws: _Draws, detection: str) -> dict[str, Any]:
    if detection == "amd":
        mean_s = draws.uniform("amd_patience_mean_s", ranges.amd_patience_mean_s)
        return {"kind": "lognormal", "mean_s": mean_s, "cv": 0.6}
    at_once = draws.uniform("p_at_once", ranges.p_at_once)
    later = {
        "kind": "exponential",
        "mean_s": draws.log_uniform("patience_mean_s", ranges.patience_mean_s),
    }
    if at_once == 0:
        return later
    soon = {"kind": "uniform", "low_s": 0.2, "high_s": 1}
    if at_once == 1:
        return soon
    parts = [{"weight": at_once, "law": soon}, {"weight": 1 - at_once, "law": later}]
    return {"kind": "mixture", "parts": parts}


def _people(ranges: ScenarioRanges, draws: _Draws, busy_dials: float) -> dict[str, Any] | None:
    if not draws.happens("p_people", ranges.p_people):
        return None
    depth = draws.log_uniform("list_depth", ranges.list_depth)
    n_segments = draws.whole("n_segments", ranges.n_segments)
    stream = draws.stream("segments")
    shares = stream.dirichlet(np.full(n_segments, 4.0))
    reach = np.exp(draws.uniform("reach_sd", ranges.reach_sd) * stream.standard_normal(n_segments))
    evening = stream.uniform(-0.3, 0.3, n_segments)
    segments = [
        {
            "share": float(shares[i]) if i else float(1 - shares[1:].sum()),
            "reach": float(round(min(reach[i], 5.0), 3)),
            "by_hour": [round(1 + float(evening[i]) * (hour - 14) / 7, 3) for hour in range(24)],
        }
        for i in range(n_segments)
    ]
    return {
        "n_people": min(max(round(depth * busy_dials), 20), MAX_PEOPLE),
        "segments": segments,
        "max_attempts": 6,
        "p_callback": 0.05,
        "callback_after": {"kind": "lognormal", "mean_s": 5400, "cv": 0.8},
    }


def draw_scenario(ranges: ScenarioRanges | str, seed: int) -> Scenario:
    """One world drawn from the ranges; the same ranges and seed give the same world.

    Args:
        ranges: the bounds, or the name of some: narrow, default, late, wide.
        seed: 0 or above; the scenario's name carries it.

    Raises:
        ConfigError: unknown name, negative seed, or ranges of which no valid world can be made.
    """
    label, bounds = _resolved(ranges)
    if seed < 0:
        raise ConfigError(f"seed = {seed} is not allowed; give 0 or a positive whole number")
    draws = _Draws(seed)
    hours = draws.whole("hours", bounds.hours)
    start = min(10, 23 - hours)
    floor = _floor(bounds, draws, start, hours)
    rate = _answer_rate(bounds, draws)
    rule = load_rule(draws.one_of("rules", bounds.rules))
    mean_s = draws.log_uniform("talk_mean_s", bounds.talk_mean_s)
    believed_s = mean_s * draws.log_uniform("talk_error", bounds.talk_error)
    p = math.sqrt(rate["p_low"] * rate["p_high"]) if "p_low" in rate else rate["p"]
    wrap_s = floor["wrap"]["mean_s"] if "wrap" in floor else 0.0
    busy_dials = floor["n_agents"] * hours * 3600 / (mean_s + wrap_s + _TRANSFERS_S) / p
    answer_s = draws.uniform("answer_mean_s", bounds.answer_mean_s)
    setup_s = draws.uniform("setup_mean_s", bounds.setup_mean_s)
    detection = _detection(bounds, draws)
    late = draws.happens("p_late_feed", bounds.p_late_feed)
    timeout_s = max(
        float(draws.whole("ring_timeout_s", bounds.ring_timeout_s)), rule.min_ring_s or 0
    )
    data: dict[str, Any] = {
        "name": f"random-{label}-{seed}",
        "description": f"Drawn from the ranges {label} with seed {seed}.",
        "assumptions": {"floor": "Every number is drawn at random from documented ranges."},
        "floor": floor,
        "calls": {
            "answer_rate": rate,
            "setup": {"kind": "lognormal", "mean_s": setup_s, "cv": 0.4},
            "time_to_answer": {"kind": "lognormal", "mean_s": answer_s, "cv": 0.6},
            "unanswered": _unanswered(bounds, draws),
            "ring_timeout_s": min(timeout_s, rule.max_ring_s or timeout_s),
            "greeting": {
                "start": {"kind": "lognormal", "mean_s": 0.7, "cv": 0.5},
                "length": {"kind": "lognormal", "mean_s": 1.1, "cv": 0.6},
            },
            "detection": detection,
            "patience": _patience(bounds, draws, detection["kind"]),
        },
        "people": _people(bounds, draws, busy_dials),
        "rule": rule,
        "episode": {
            "duration_s": 3600 * hours,
            "close_s": 90,
            "start": f"{start:02d}:00",
            "first_day": _MONDAY + datetime.timedelta(days=draws.whole("weekday", (0, 4))),
        },
        "belief": {
            "prior_answered": 2,
            "prior_finished": 10,
            "talk": {"kind": "lognormal", "mean_s": believed_s, "cv": 1},
            "feed_delay_s": draws.whole("feed_delay_s", bounds.feed_delay_s) if late else 0,
        },
    }
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        what = f"scenario drawn from {label} with seed {seed}"
        raise ConfigError(describe_validation_error(error, what)) from None


def draw_scenarios(
    n: int, seed: int, ranges: ScenarioRanges | str = "default"
) -> tuple[Scenario, ...]:
    """`n` different worlds; the first ones do not depend on `n`.

    Each name carries the seed with which `draw_scenario` gives that one world again.

    Raises:
        ConfigError: as `draw_scenario`; or `n` is negative.
    """
    if n < 0:
        raise ConfigError(f"n = {n} scenarios is not allowed; give 0 or more")
    if seed < 0:
        raise ConfigError(f"seed = {seed} is not allowed; give 0 or a positive whole number")
    children = (
        int(np.random.SeedSequence(seed, spawn_key=(i,)).generate_state(1, np.uint64)[0] >> 1)
        for i in range(n)
    )
    return tuple(draw_scenario(ranges, child) for child in children)


def _resolved(ranges: ScenarioRanges | str) -> tuple[str, ScenarioRanges]:
    if isinstance(ranges, ScenarioRanges):
        return next((name for name, named in RANGES.items() if named == ranges), "own"), ranges
    if ranges not in RANGES:
        raise ConfigError(f"unknown ranges {ranges!r}; use one of: " + ", ".join(RANGES))
    return ranges, RANGES[ranges]
