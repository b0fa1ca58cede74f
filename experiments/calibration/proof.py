"""The round trip: a known world, seen only through each dialer's logs, and what calibration finds.

The world differs from the base scenario in everything that a log can tell. Its days are recorded,
written as each format's logs, read back and calibrated. Held against the truth: each number with
its interval, and the calibrated world played by the same rule as the true one.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from quietdial.agents.policy import Policy
from quietdial.envs.dialer_logs import FORMATS, LogFormat, RecordedDays, read_logs
from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.calibration.estimates import Estimate, Findings
from quietdial.experiments.calibration.scenario import calibrated, find
from quietdial.experiments.calibration.writers import write_asterisk, write_vicidial
from quietdial.experiments.simulate import Simulation, find_policy, simulate

BASE: Final = "study-real-50"
"""What the calibrated scenario starts from: nothing of it is true here."""
PATIENCE_S: Final = 4.0
P_LOW, P_HIGH, OU_SD, OU_TAU_S = 0.15, 0.35, 0.3, 1800.0
TALK_S, TALK_DAY_SD, WRAP_S = 120.0, 0.15, 20.0
P_BREAK, BREAK_S = 0.05, 240.0
SHARES: Final = {"busy": 0.08, "invalid": 0.05, "machine": 0.35, "no_answer": 0.52}


def true_world(n_agents: int = 12, duration_s: float = 14_400.0) -> Scenario:
    """A floor of four hours whose every law differs from the base's."""
    rate = {
        "kind": "drifting",
        "p_low": P_LOW,
        "p_high": P_HIGH,
        "ou_sd": OU_SD,
        "ou_tau_s": OU_TAU_S,
        "update_s": 10.0,
    }
    times: dict[str, dict[str, Any]] = {
        "busy": {"kind": "uniform", "low_s": 2, "high_s": 6},
        "invalid": {"kind": "uniform", "low_s": 2, "high_s": 4},
        "machine": {"kind": "gamma", "shape": 16, "scale_s": 1},
        "no_answer": {"kind": "constant", "value_s": 24},
    }
    return changed(
        load_scenario("study-real-10"),
        "true-world",
        floor={
            "n_agents": n_agents,
            "talk": {"kind": "lognormal", "mean_s": TALK_S, "cv": 0.9},
            "talk_day_sd": TALK_DAY_SD,
            "wrap": {"kind": "gamma", "shape": 2, "scale_s": WRAP_S / 2},
            "breaks": {
                "p_after_wrap": P_BREAK,
                "duration": {"kind": "lognormal", "mean_s": BREAK_S, "cv": 0.4},
            },
        },
        calls={
            "answer_rate": rate,
            "time_to_answer": {"kind": "gamma", "shape": 4, "scale_s": 2, "shift_s": 2},
            "unanswered": [
                {"outcome": name, "share": share, "time": times[name]}
                for name, share in SHARES.items()
            ],
            "patience": {"kind": "exponential", "mean_s": PATIENCE_S},
        },
        episode={"duration_s": duration_s, "start": "10:00"},
    )


def truth() -> dict[str, float]:
    """The true value of each number, by field."""
    mean_rate = (P_HIGH - P_LOW) / math.log(P_HIGH / P_LOW) * math.exp(OU_SD**2 / 2)
    return {
        **{f"calls.unanswered.{name}.share": share for name, share in SHARES.items()},
        "calls.time_to_answer": 10.0,
        "calls.unanswered.busy.time": 4.0,
        "calls.unanswered.invalid.time": 3.0,
        "calls.unanswered.machine.time": 16.0,
        "calls.unanswered.no_answer.time": 24.0,
        "calls.ring_timeout_s": 24.0,
        "calls.answer_rate.mean": mean_rate,
        "calls.answer_rate.p_low": P_LOW,
        "calls.answer_rate.p_high": P_HIGH,
        "calls.answer_rate.ou_sd": OU_SD,
        "calls.answer_rate.ou_tau_s": OU_TAU_S,
        "calls.patience.survival_1_s": math.exp(-1 / PATIENCE_S),
        "calls.patience.survival_2_s": math.exp(-2 / PATIENCE_S),
        "calls.patience.mean_s": PATIENCE_S,
        "floor.talk": TALK_S * math.exp(TALK_DAY_SD**2 / 2),
        "floor.talk_day_sd": TALK_DAY_SD,
        "floor.speed_sd": 0.0,
        "floor.wrap": WRAP_S,
        "floor.breaks.p_after_wrap": P_BREAK,
        "floor.breaks.duration": BREAK_S,
    }


def record(world: Scenario, n_days: int, seed: int, folder: Path, policy: str) -> None:
    """Play days of a world and write each format's logs into folders by the format's name."""
    ours = folder / "records"
    simulate(find_policy(policy), world, seed=seed, n_days=1, n_campaigns=n_days, records=ours)
    days = read_logs(ours)
    for name, write in (("vicidial", write_vicidial), ("asterisk", write_asterisk)):
        place = folder / name
        place.mkdir()
        write(days, place)


@dataclass(frozen=True)
class Seen:
    """What one format showed of the same days."""

    format: LogFormat
    days: RecordedDays
    found: Findings


def look(world: Scenario, n_days: int, seed: int, policy: str, *, with_laws: bool) -> list[Seen]:
    """Record days, read them back in each format and calibrate."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        record(world, n_days, seed, folder, policy)
        seen: list[Seen] = []
        for name in FORMATS:
            days = read_logs(folder / name, name)
            seen.append(Seen(name, days, find(days, with_laws=with_laws)))
    return seen


def covers(estimate: Estimate, value: float) -> bool:
    """Whether the interval of an estimate holds a value."""
    return estimate.interval.lo <= value <= estimate.interval.hi


@dataclass(frozen=True)
class Replay:
    """The calibrated world beside the true one, under the same rule on days of their own."""

    format: LogFormat
    recorded: Findings
    true: Simulation
    copy: Simulation


def replay(
    seen: list[Seen],
    world: Scenario,
    policy: str,
    *,
    n_days: int,
    seed: int,
    report: Callable[[str], None],
) -> list[Replay]:
    """Play each format's calibrated world and the true one under the same rule."""

    def play(scenario: Scenario) -> Simulation:
        player: Policy = find_policy(policy)
        return simulate(player, scenario, seed=seed, n_days=1, n_campaigns=n_days)

    true = play(world)
    base = changed(load_scenario(BASE), calls={"patience": {"kind": "constant", "value_s": 2.0}})
    out: list[Replay] = []
    for one in seen:
        copy = calibrated(one.found, one.days, base, f"from-{one.format}")
        out.append(Replay(one.format, one.found, true, play(copy)))
        report(f"{one.format}: played the calibrated world")
    return out


def counts_of(days: RecordedDays) -> list[dict[str, int]]:
    """What every format can count, by day: how calls ended that were over when the log ended."""
    rows: list[dict[str, int]] = []
    for day in days.days:
        outcome, silent = day.calls["outcome"], day.calls["silent"]
        row = {name: int((outcome == name).sum()) for name in ("machine", "busy", "no_answer")}
        row["invalid or failure"] = int(((outcome == "invalid") | (outcome == "failure")).sum())
        row |= {name: int((silent == name).sum()) for name in ("cut", "left")}
        row["talked"] = int((day.calls["talk_ms"] >= 0).sum())
        row["wrapped up"] = int((day.calls["wrap_ms"] >= 0).sum())
        rows.append(row)
    return rows


def disagreements(seen: list[Seen]) -> tuple[int, list[str]]:
    """How many counts were compared with those of our own records, and which differ."""
    first, *others = [(one.format, counts_of(one.days)) for one in seen]
    n, wrong = 0, []
    for name, rows in others:
        for number, (ours, theirs) in enumerate(zip(first[1], rows, strict=True)):
            for what, count in ours.items():
                n += 1
                if theirs[what] != count:
                    wrong.append(f"{name}, day {number}: {theirs[what]} {what}, not {count}")
    return n, wrong
