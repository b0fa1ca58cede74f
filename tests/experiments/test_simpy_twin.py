"""The compiled physics against an independent SimPy model of the same world.

For each case, days of the two models are compared by Welch's test: utilisation and answered calls
per hour by their daily means, the silent rate and the share of its cause `silent_left` as ratios of
sums. All tests together raise a false alarm with probability `FALSE_ALARM` at most (Bonferroni);
the seeds are fixed, so the outcome is the same on every run.
"""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from quietdial.envs import Scenario, load_scenario
from quietdial.envs.laws import ExponentialLaw, LognormalLaw
from quietdial.envs.pacing.world import World
from quietdial.experiments.bench.simpy_twin import Day, SimpyFloor, fixed_ratio, progressive

FALSE_ALARM = 1e-3
TWIN_DAYS, KERNEL_DAYS = 100, 512
RATIO = 2.5
Totals = dict[str, NDArray[np.float64]]


def short_day(preset: str, **changes: object) -> Scenario:
    """An hour of the preset, with other values of some of its parts, such as `calls_patience`."""
    data = load_scenario(preset).model_dump()
    data["episode"]["duration_s"] = 3600.0
    for name, value in changes.items():
        part, _, field = name.partition("_")
        data[part][field] = value
    return Scenario.model_validate(data)


CASES = {
    "stat, progressive": (short_day("study-stat-5"), None),
    "stat, ratio": (short_day("study-stat-5"), RATIO),
    "real, progressive": (short_day("study-real-5"), None),
    "real, ratio": (short_day("study-real-5"), RATIO),
    "patience, acts on release": (
        short_day(
            "study-stat-5",
            calls_patience=ExponentialLaw(mean_s=2.0).model_dump(),
            episode_controller_on_release=True,
        ),
        RATIO,
    ),
    "own period, few lines": (
        short_day("study-real-5", calls_max_lines=4, episode_controller_period_s=0.5),
        RATIO,
    ),
}
N_TESTS = 4 * len(CASES)


def twin_days(scenario: Scenario, ratio: float | None) -> Totals:
    days = [
        SimpyFloor(scenario, progressive if ratio is None else fixed_ratio(ratio), seed).run()
        for seed in range(TWIN_DAYS)
    ]
    return {name: np.array([day[name] for day in days]) for name in days[0]}


def kernel_days(scenario: Scenario, ratio: float | None) -> Totals:
    action = "progressive" if ratio is None else "ratio"
    world = World(KERNEL_DAYS, scenario, observation="none", action=action)
    everywhere = np.ones(KERNEL_DAYS, np.bool_)
    world.begin(everywhere, range(KERNEL_DAYS))
    actions = np.full((KERNEL_DAYS, 1), ratio or 0.0, np.float32)
    for _ in range(3600):
        world.step(actions, everywhere)
    return world.totals()


def daily_means(days: Totals) -> dict[str, tuple[float, float, int]]:
    """Estimate, its variance and the number of days of each statistic."""
    n = len(days["answered"])
    found = {}
    for name, values in (
        ("utilisation", (days["talk_s"] + days["wrap_s"]) / days["available_s"]),
        ("answered per hour", days["answered"]),
    ):
        found[name] = (float(values.mean()), float(values.var(ddof=1)) / n, n)
    answered = days["answered"]
    for name in ("silent", "silent_left"):
        rate = days[name].sum() / answered.sum()
        rest = (days[name] - rate * answered) / answered.mean()
        found[name] = (float(rate), float(rest.var(ddof=1)) / n, n)
    return found


def p_values(a: Totals, b: Totals) -> dict[str, float]:
    """Two-sided p-value of every statistic, if a and b were days of one world."""
    result = {}
    of_b = daily_means(b)
    for name, (mean_a, var_a, n_a) in daily_means(a).items():
        mean_b, var_b, n_b = of_b[name]
        if var_a + var_b == 0.0:
            result[name] = 1.0 if mean_a == mean_b else 0.0
            continue
        freedom = (var_a + var_b) ** 2 / (var_a**2 / (n_a - 1) + var_b**2 / (n_b - 1))
        t = (mean_a - mean_b) / np.sqrt(var_a + var_b)
        result[name] = float(2.0 * stats.t.sf(abs(t), freedom))
    return result


@pytest.mark.parametrize("case", CASES)
def test_simpy_twin__agrees_with_the_kernel(case: str) -> None:
    scenario, ratio = CASES[case]
    found = p_values(twin_days(scenario, ratio), kernel_days(scenario, ratio))
    for name, p in found.items():
        assert p > FALSE_ALARM / N_TESTS, f"{case}: {name}, p = {p:.2g}"


def test_simpy_twin__would_notice_talk_times_10_percent_longer() -> None:
    scenario, ratio = CASES["stat, ratio"]
    longer = short_day("study-stat-5", floor_talk=LognormalLaw(mean_s=165, cv=1).model_dump())
    found = p_values(twin_days(scenario, ratio), kernel_days(longer, ratio))
    assert min(found.values()) < FALSE_ALARM / N_TESTS


def test_simpy_twin__same_seed_same_day() -> None:
    scenario, _ = CASES["real, ratio"]
    first, second, other = (
        SimpyFloor(scenario, fixed_ratio(RATIO), seed).run(900.0) for seed in (1, 1, 2)
    )
    assert first == second
    assert first != other


def test_simpy_twin__every_agent_and_call_is_somewhere() -> None:
    scenario, _ = CASES["patience, acts on release"]
    floor = SimpyFloor(scenario, fixed_ratio(8.0), 3)
    for until_s in (100.0, 1000.0, 3600.0):
        t = floor.run(until_s)
        spent = t["idle_s"] + t["talk_s"] + t["wrap_s"] + t["break_s"]
        assert spent == pytest.approx(5 * until_s)
        assert t["answered"] == t["connected"] + t["silent"] + floor.n_waiting
        ended = t["machine"] + t["busy"] + t["no_answer"] + t["invalid"]
        assert t["dialed"] == t["answered"] + ended + floor.n_in_flight
    assert floor.n_in_flight == floor.n_waiting == 0  # drained after the close
    assert t["silent_left"] > 0
    assert t["silent_cut"] > 0


def test_day__level_quantile_spans_the_law() -> None:
    scenario = load_scenario("study-real-5")
    random = np.random.default_rng(0)
    levels = [Day.drawn(scenario, random, at).level for at in (0.0, 0.5, 1.0)]
    assert levels == pytest.approx([0.12, np.sqrt(0.12 * 0.45), 0.45])
