"""Each shipped floor can be run within its rule: one session of the SimPy reference model, paced
one call for each idle agent, which no policy undercuts by much.
"""

import math

import pytest

from quietdial.envs.scenario import load_scenario, preset_names
from quietdial.experiments.bench.simpy_twin import SimpyFloor, blend, fixed_ratio, progressive
from quietdial.experiments.scenario_pages import is_reference

SEED = 11
LARGE = ("italy-100", "italy-500")  # as italy-50-full, but slow in SimPy
BLENDED = ("blend-40", "contactcenters-blend")  # their agents have incoming calls to wait for
FLOORS = [name for name in preset_names() if not is_reference(name) and name not in LARGE]
PACED = [name for name in FLOORS if name != "contactcenters-blend"]  # it overdials as published
OUTBOUND = [name for name in FLOORS if name not in BLENDED]
Z = 3.29  # one-sided, 1 false alarm in 2000 for each floor


@pytest.mark.parametrize("name", PACED)
def test_floor__progressive_dialing_keeps_the_cap(name: str) -> None:
    """Silent calls at most cap x answered + Z sd of a binomial count at the cap."""
    scenario = load_scenario(name)
    cap = scenario.rule.cap
    if cap == 1:
        cap = 0.05  # no cap: far from useless all the same
    floor = SimpyFloor(scenario, progressive, SEED)
    day = floor.run(floor.sessions[0].close_ms / 1000)
    assert day["answered"] > 100
    expected = cap * day["answered"]
    assert day["silent"] < expected + Z * math.sqrt(expected)


@pytest.mark.parametrize("name", OUTBOUND)
def test_floor__overdialing_keeps_the_agents_busy_unless_the_list_runs_dry(name: str) -> None:
    scenario = load_scenario(name)
    floor = SimpyFloor(scenario, fixed_ratio(12.0), SEED)
    day = floor.run(floor.sessions[0].close_ms / 1000)
    busy = (day["talk_s"] + day["wrap_s"]) / day["available_s"]
    if name == "short-list-10":
        assert busy < 0.6
    else:
        assert busy > 0.85


def test_contactcenters_blend__agrees_with_the_published_days() -> None:
    """z tests of 60 days against the 95 % half-widths of 1000 published days.

    Seven measures at 3.9 standard errors: a false alarm at most once in 1400 for the family.
    """
    scenario = load_scenario("contactcenters-blend")
    days = [SimpyFloor(scenario, blend(2.0), seed).run() for seed in range(60)]
    published = {
        "dialed": (1109.04, 16.0),
        "answered": (321.90, 4.62),
        "connected": (298.88, 4.24),
        "silent": (23.02, 0.47),
        "inbound_arrived": (848.59, 9.69),
        "inbound_served": (843.48, 9.28),
        "inbound_waited": (70.24, 5.4),
    }
    for measure, (mean, half_width) in published.items():
        values = [day[measure] for day in days]
        ours = math.fsum(values) / len(values)
        variance = math.fsum((v - ours) ** 2 for v in values) / (len(values) - 1) / len(values)
        error = math.sqrt(variance + (half_width / 1.96) ** 2)
        assert abs(ours - mean) < 3.9 * error, (measure, ours, mean)
