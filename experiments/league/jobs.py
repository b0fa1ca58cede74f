"""One job of the league: one participant on one scenario at all rates, or an exact frontier.

A job is a mapping of plain values, and so is its result, so that they can travel to any executor.
Nothing that a job does depends on when or where it runs.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np

from quietdial.agents.optimal import frontier
from quietdial.agents.optimal_policy import OptimalMarkov
from quietdial.agents.policy import Policy, scenario_sha256
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.markov import MarkovWorld
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.evaluate import (
    TEST_BASE,
    TUNE_BASE,
    Tuned,
    make_world,
    play_days,
    silent_rate,
    test_seeds,
    tune_rates,
    tune_seeds,
)
from quietdial.experiments.executors import Plain
from quietdial.experiments.league.entries import (
    OPTIMUM,
    REFERENCE,
    Entry,
    entry_named,
    policy_of,
    settings_of,
)
from quietdial.experiments.league.settings import Plan, Settings
from quietdial.experiments.league.sources import code_sha256, kernel_sha256
from quietdial.experiments.stats import (
    FloatArray,
    Interval,
    PolicyDays,
    equal_rate_difference,
    paired_difference,
)

JOB_SCHEMA = "quietdial-league-job/1"
JOB_VERSION = 1
"""Raised by hand when a change of this package changes what a job finds."""

FRONTIER = "exact-frontier"
"""Name of the job that solves a Markov world for many caps."""

CAPS = (
    *(0.0, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005),
    *(0.0065, 0.008, 0.009, 0.01, 0.011, 0.012, 0.015),
    *(0.02, 0.024, 0.027, 0.03, 0.033, 0.036, 0.04, 0.045, 0.05, 0.06, 0.07, 0.08, 0.1, 0.12),
    *(0.15, 0.2, 0.25, 0.3, 0.4, 0.5),
)
"""Caps of the exact frontier, dense around the usual rates."""

_KEPT = (
    *("dialed", "answered", "connected", "silent", "repeats"),
    *("talk_s", "wrap_s", "available_s"),
)
PICTURED = ("italy-50", "markov-10")
"""Scenarios with a picture: there the sweeps are made for more rates."""

CURVE_RATES = (0.045, 0.02, 0.005)
"""Further silent rates of the sweeps that are drawn."""

_FEWEST_STEPPED = 16
_SMALLEST_RATE = 1e-5
_NEAR, _NEAR_ZERO = 0.3, 2e-3
"""The reference is compared that is so near to a participant's own rate, as a share of it or as a
rate; the rest is moved along the sweep. On small Markov worlds the rate comes in jumps."""
_SLOPE_FROM, _SLOPE_TO = 0.4, 2.5


class Job(NamedTuple):
    """What is to be done, and what its result depends on."""

    scenario: str  # preset name or file
    name: str  # participant, or FRONTIER
    spec: Plain  # what `run_job` gets
    fingerprint: str
    cost: float  # in agent-hours, roughly
    needs: str  # name of the job on the same scenario whose result it gets; empty: none


def make_job(
    source: str, scenario: Scenario, entry: Entry, settings: Settings, runs: tuple[str, ...]
) -> Job:
    """The job of a participant on a scenario.

    Args:
        source: preset name or file of the scenario.
        scenario: the scenario.
        entry: who plays.
        settings: the league's settings.
        runs: folders of all learned policies, so that a worker finds the entry by its name.
    """
    plan = settings.plan(scenario)
    spec = {
        "kind": "play",
        "source": source,
        "entry": entry.name,
        "settings": settings.to_dict(),
        "runs": list(runs),
    }
    depends = {
        **_common(scenario, settings),
        "entry": [entry.name, entry.tuned, entry.privileged],
        "policy": OPTIMUM if entry.name == OPTIMUM else settings_of(policy_of(entry, scenario)),
        "code": _code_of(entry, scenario),
    }
    days = len(settings.rates) * (4.0 * plan.tune_days + plan.stopping.most)
    needs = "" if entry.name == REFERENCE else REFERENCE
    return Job(source, entry.name, spec, _sha256(depends), days * plan.agent_h, needs)


def make_frontier_job(source: str, scenario: Scenario) -> Job:
    """The job of a Markov world's exact frontier."""
    world = MarkovWorld.of(scenario)
    depends = {
        "job": JOB_VERSION,
        "world": list(world),
        "caps": list(CAPS),
        "code": code_sha256(["quietdial.agents.optimal"], within="quietdial."),
    }
    cost = 10.0 * float(world.n_agents) ** 3
    return Job(source, FRONTIER, {"kind": "frontier", "source": source}, _sha256(depends), cost, "")


def _common(scenario: Scenario, settings: Settings) -> Plain:
    plan = settings.plan(scenario)
    return {
        "job": JOB_VERSION,
        "scenario": scenario_sha256(scenario),
        "rates": list(settings.rates),
        "days": [plan.tune_days, asdict(plan.stopping)],
        "seeds": [TUNE_BASE, TEST_BASE],
        "kernel": kernel_sha256(),
    }


def _code_of(entry: Entry, scenario: Scenario) -> str:
    """Code of a participant: the module of its policy, and its controller's."""
    if entry.name == OPTIMUM:
        return code_sha256(["quietdial.agents.optimal_policy"], within="quietdial.")
    policy = policy_of(entry, scenario)
    digests = [code_sha256([type(policy).__module__], within="quietdial.agents.rules.")]
    controller = getattr(policy, "controller", None)
    if controller is not None:
        from quietdial.envs.pacing.controllers.plug import MODULES

        package = "quietdial.envs.pacing.controllers."
        digests.append(code_sha256([f"{package}{MODULES[controller]}"], within=package))
    return " ".join(digests)


def _sha256(values: object) -> str:
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


# --- the work -------------------------------------------------------------------------------------


def run_job(spec: Mapping[str, Any], reference: Plain | None = None) -> Plain:
    """Do a job.

    Args:
        spec: `Job.spec`.
        reference: result of the reference rule on the same scenario, for the jobs that need it;
            None if it failed, then nothing is compared.

    Returns:
        What it found, plain values; `status` is "done", or "unfit" with a message when the
        participant cannot play this scenario.
    """
    began = time.process_time()
    scenario = load_scenario(spec["source"])
    if spec["kind"] == "frontier":
        found = _frontier(scenario)
    else:
        settings = Settings.of(spec["settings"])
        entry = entry_named(spec["entry"], scenario, tuple(spec["runs"]))
        found = _play(entry, scenario, settings, reference)
    return {"status": "done", **found, "cpu_s": round(time.process_time() - began, 2)}


def _frontier(scenario: Scenario) -> Plain:
    world = MarkovWorld.of(scenario)
    points = frontier(*world[:4], CAPS, world[4])
    return {
        "points": [
            [point.cap, point.utilisation, point.multiplier_agent_s, point.upper_bound]
            for point in points
        ]
    }


def _play(entry: Entry, scenario: Scenario, settings: Settings, reference: Plain | None) -> Plain:
    plan = settings.plan(scenario)
    try:
        policy = policy_of(entry, scenario)
        make_world(policy, scenario, 1)
    except ConfigError as error:
        return {"status": "unfit", "message": str(error)}
    if not getattr(policy, "constant", False):  # Python decides every second: more days at once
        plan = plan._replace(batch=max(plan.batch, _FEWEST_STEPPED))
    targets: tuple[float | None, ...] = settings.rates
    if entry.name == OPTIMUM:
        tuned = _solved(scenario, settings)
    elif entry.tuned and policy.knob is not None:
        tuned = _tuned(policy, scenario, settings, plan)
    else:
        days = play_days(policy, scenario, tune_seeds(plan.tune_days), batch=plan.batch)
        point = (policy.knob or 0.0, silent_rate(days), float(days.utilisation.mean()))
        tuned, targets = [Tuned(policy, point[1], (point,), reached=False)], (None,)
    cells: list[Plain] = []
    for item, target in zip(tuned, targets, strict=True):
        same = [c for c in cells if c["knob"] == item.policy.knob]
        if same and not (item.reached or same[0]["reached"]):  # two rates out of reach: one play
            cells.append({**same[0], "rate": target})
        else:
            cells.append(_cell(item, target, scenario, plan, reference))
    return {
        "scenario": scenario.name,
        "entry": entry.name,
        "tuned": entry.tuned,
        "privileged": entry.privileged,
        "knob_name": policy.knob_name,
        "sweep": [list(point) for point in tuned[0].sweep],
        "cells": cells,
    }


def _tuned(policy: Policy, scenario: Scenario, settings: Settings, plan: Plan) -> list[Tuned]:
    """The policy at every rate, from one sweep; where it is drawn, the sweep is finer."""
    seeds = tune_seeds(plan.tune_days)
    found = tune_rates(policy, scenario, settings.rates, seeds, batch=plan.batch)
    if scenario.name not in PICTURED:
        return list(found)
    finer = tune_rates(
        policy,
        scenario,
        CURVE_RATES,
        seeds,
        tolerance=0.15,
        batch=plan.batch,
        known=found[0].sweep,
    )
    return [replace(item, sweep=finer[0].sweep) for item in found]


def _solved(scenario: Scenario, settings: Settings) -> list[Tuned]:
    """The exact optimum at every rate: its knob is the rate itself."""
    first = OptimalMarkov.of(scenario, settings.rates[0])
    policies = [first, *(first.with_knob(rate) for rate in settings.rates[1:])]
    return [Tuned(policy, policy.cap, (), reached=True) for policy in policies]


def _cell(
    item: Tuned, target: float | None, scenario: Scenario, plan: Plan, reference: Plain | None
) -> Plain:
    """Play one knob on the test days, beside the reference at the same rate."""
    against = _against(item, target, scenario, plan, reference)
    days = _until_narrow(item.policy, scenario, plan, against)
    cell: Plain = {
        "rate": target,
        "knob": item.policy.knob,
        "tuning_rate": item.tuning_rate,
        "reached": item.reached,
        "days": days_to_plain(days),
    }
    if against is not None and not against.shared:
        cell["against"] = {
            "knob": against.policy.knob,
            "tuning_rate": against.tuning_rate,
            "sweep": [list(point) for point in against.sweep],
            "days": days_to_plain(against.days_played(len(days.seeds))),
        }
    return cell


class _Against:
    """The reference rule at the rate of a participant: its days, played as far as needed."""

    def __init__(
        self, tuned: Tuned, scenario: Scenario, plan: Plan, days: PolicyDays | None = None
    ) -> None:
        self.policy, self.tuning_rate, self.sweep = tuned.policy, tuned.tuning_rate, tuned.sweep
        self.shared = days is not None  # the days are those of the reference's own job
        self._scenario, self._plan, self._days = scenario, plan, days

    def days_played(self, n_days: int) -> PolicyDays:
        """The first test days."""
        self._days = _play_on(self.policy, self._scenario, self._plan, self._days, n_days)
        return self._days.first(n_days)

    def difference(self, days: PolicyDays) -> Interval:
        """Utilisation of the participant minus the reference at the participant's rate."""
        return difference_at_equal_rate(days, self.days_played(len(days.seeds)), self.sweep)


def _against(
    item: Tuned, target: float | None, scenario: Scenario, plan: Plan, reference: Plain | None
) -> _Against | None:
    """The reference at the participant's rate; None if there is nothing to compare with."""
    if reference is None or reference.get("status") != "done":
        return None
    sweep = tuple((p[0], p[1], p[2]) for p in reference["sweep"])
    base = policy_of(entry_named(REFERENCE, scenario), scenario)
    if item.reached:
        for cell in reference["cells"]:
            if cell["rate"] == target and cell["reached"]:
                tuned = Tuned(base.with_knob(cell["knob"]), cell["tuning_rate"], sweep, True)
                return _Against(tuned, scenario, plan, days_from_plain(cell["days"], REFERENCE))
    rate = min(max(item.tuning_rate, _SMALLEST_RATE), 0.99)
    found = tune_rates(
        base,
        scenario,
        (rate,),
        tune_seeds(plan.tune_days),
        most_trials=6,
        batch=plan.batch,
        known=sweep,
    )[0]
    if abs(found.tuning_rate - rate) > max(_NEAR_ZERO, _NEAR * rate):
        return None
    return _Against(found, scenario, plan)


def _until_narrow(
    policy: Policy, scenario: Scenario, plan: Plan, against: _Against | None
) -> PolicyDays:
    """Play test days in rounds until the difference to the reference is known well enough."""
    stopping = plan.stopping
    if against is None:
        return _play_on(policy, scenario, plan, None, stopping.most)
    days: PolicyDays | None = None
    for n_days in stopping.rounds():
        days = _play_on(policy, scenario, plan, days, n_days)
        if stopping.enough(against.difference(days)):
            break
    if days is None:
        raise ConfigError(f"{policy.name}: no test days")
    return days


def _play_on(
    policy: Policy, scenario: Scenario, plan: Plan, days: PolicyDays | None, n_days: int
) -> PolicyDays:
    """Days played so far and the missing ones up to `n_days`."""
    done = 0 if days is None else len(days.seeds)
    if days is not None and done >= n_days:
        return days
    more = play_days(policy, scenario, test_seeds(n_days)[done:], batch=plan.batch)
    return more if days is None else days.followed_by(more)


def difference_at_equal_rate(
    days: PolicyDays, reference: PolicyDays, sweep: tuple[tuple[float, float, float], ...]
) -> Interval:
    """Utilisation minus the reference's, moved along its sweep to the rate of `days`."""
    if not days.days["answered"].any() or not reference.days["answered"].any():
        return paired_difference(days.utilisation, reference.utilisation)
    slope = slope_near(sweep, (silent_rate(days) + silent_rate(reference)) / 2.0)
    return equal_rate_difference(days, reference, slope)


def slope_near(sweep: tuple[tuple[float, float, float], ...], rate: float) -> float:
    """Growth of utilisation for each unit of the silent rate along a sweep, near a rate.

    Least squares over the knobs whose rate is within a factor of 2.5; if there are fewer than two
    different ones, over the two whose rates are nearest; 0 if there are none.
    """
    points = sorted({(r, u) for _, r, u in sweep})
    near = [p for p in points if _SLOPE_FROM * rate <= p[0] <= _SLOPE_TO * rate]
    if len(near) < 2 or near[-1][0] - near[0][0] < 0.02 * rate:
        near = sorted(points, key=lambda point: abs(point[0] - rate))[:2]
    rates, utilisations = np.array(near or [(0.0, 0.0)]).T
    if len(near) < 2 or np.ptp(rates) <= 0.0:
        return 0.0
    return float(np.polyfit(rates, utilisations, 1)[0])


# --- days as plain values -------------------------------------------------------------------------


def days_to_plain(days: PolicyDays) -> Plain:
    """Days as plain values; the seeds are consecutive."""

    def columns(values: Mapping[str, FloatArray]) -> dict[str, list[Any]]:
        return {name: _short(array) for name, array in values.items()}

    return {
        "knob_name": days.knob_name,
        "knob": days.knob,
        "first_seed": int(days.seeds[0]),
        "totals": columns({name: days.days[name] for name in _KEPT if name in days.days}),
        "hours": columns(days.hours),
        "windows": columns(days.windows),
    }


def _short(array: FloatArray) -> list[Any]:
    """Whole numbers without a decimal point; others with a millisecond's digits."""
    if np.all(array == np.round(array)):
        return array.astype(np.int64).tolist()  # type: ignore[no-any-return]
    return np.round(array, 3).tolist()  # type: ignore[no-any-return]


def days_from_plain(values: Plain, name: str) -> PolicyDays:
    """What :func:`days_to_plain` wrote."""

    def columns(group: str) -> dict[str, FloatArray]:
        return {key: np.array(column, np.float64) for key, column in values[group].items()}

    totals = columns("totals")
    seeds = values["first_seed"] + np.arange(len(totals["silent"]), dtype=np.int64)
    return PolicyDays(
        name,
        values["knob_name"],
        values["knob"],
        seeds,
        totals,
        hours=columns("hours"),
        windows=columns("windows"),
    )
