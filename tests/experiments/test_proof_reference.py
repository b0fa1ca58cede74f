"""The comparison of the kernel with the SimPy model: it runs, it agrees, and it can fail.

In each world a few campaigns of both models are compared total by total. All these tests together
raise a false alarm with probability `FAMILY_ALPHA` at most (Bonferroni); the seeds are fixed.
"""

import math
from functools import cache

import numpy as np
import pytest

from quietdial.envs import ConfigError
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario
from quietdial.experiments.bench.simpy_twin import SimpyFloor
from quietdial.experiments.proof import reference
from quietdial.experiments.proof.family import FAMILY_ALPHA
from quietdial.experiments.proof.reference import compare, compared, rule_of, simpy_days, timed
from quietdial.experiments.proof.reference_worlds import SCENARIOS, lognormal, small_world

DAYS = 16
PLAIN = ("plain", "progressive", "no-wait", "controller")
"""Worlds that use none of the features behind the second list of totals."""

ALPHA = FAMILY_ALPHA / (45 * len(SCENARIOS))


@cache
def kernel_is_whole() -> bool:
    """Whether the kernel counts what only the whole world has."""
    scenario = SCENARIOS["inbound"].scenario
    return "inbound_served" in World(1, scenario, observation="none", action="ratio").totals()


@pytest.mark.parametrize("name", SCENARIOS)
def test_compare__models_agree(name: str) -> None:
    if name not in PLAIN and not kernel_is_whole():
        pytest.skip("the kernel does not play all of docs/mechanisms.md yet")
    world = SCENARIOS[name]
    rows = compare(world.scenario, world.ratio, DAYS)
    assert len(rows) in (17, 41)
    for total, row in rows.items():
        assert abs(row.z) < row.limit(ALPHA), f"{name}, {total}: {row}"


def test_compare__finds_conversations_20_percent_longer() -> None:
    longer = small_world("longer", floor={"talk": lognormal(84, 0.8)})
    rows = compared(
        simpy_days(longer, 2.2, range(DAYS)),
        simpy_days(SCENARIOS["plain"].scenario, 2.2, range(100, 100 + DAYS)),
    )
    assert abs(rows["answered"].z) > rows["answered"].limit(ALPHA)
    assert rows["answered"].smallest_bias(ALPHA) < 0.2


def test_compared__is_welchs_test() -> None:
    # means 2 and 5, variances 1 and 4 of three values each: z = -3 / sqrt(5/3), 50/17 degrees
    rows = compared(
        {"a": np.array([1.0, 2, 3]), "b": np.ones(3), "c": np.ones(3), "d": np.ones(3)},
        {"a": np.array([3.0, 5, 7]), "b": np.ones(3), "c": np.zeros(3)},
    )
    assert rows["a"].z == pytest.approx(-3 / math.sqrt(5 / 3))
    assert rows["a"].freedom == pytest.approx(50 / 17)
    assert (rows["b"].z, rows["c"].z, sorted(rows)) == (0.0, math.inf, ["a", "b", "c"])


def test_compare__refuses_what_it_cannot_play() -> None:
    with pytest.raises(ConfigError, match="days = 1 must be at least 2"):
        compare(SCENARIOS["plain"].scenario, 2.0, 1)
    with pytest.raises(ConfigError, match="'blend' needs a ratio"):
        simpy_days(SCENARIOS["blend"].scenario, None, [0])


def test_timed__cancels_now_and_then() -> None:
    asked = [timed(0.35, second) for second in range(40)]
    assert [second for second, n in enumerate(asked) if n < 0] == [19, 39]
    assert asked[19] == -2
    # floor(0.35 x 40) dials, less those that the two cancelling decisions would have placed
    assert 12 <= sum(n for n in asked if n > 0) <= 14


def test_scenarios__use_every_field_of_the_world() -> None:
    used: set[str] = set()
    known: set[str] = set()
    for world in SCENARIOS.values():
        _collect(world.scenario, "", used, known)
    missing = {
        name
        for name in known - used
        if name.split(".")[0] not in NO_PHYSICS and name not in NO_PHYSICS and ".kind" not in name
    }
    assert missing == set()


NO_PHYSICS = {
    "assumptions",
    "belief",
    "credits",
    "description",
    "observation",
    "schema_version",
    "calls.detection.audited_share",
    "rule.hours.eve",
    "rule.max_ring_s",
    "rule.windows.verified",
}
"""What the physics under these rules do not depend on."""


def _collect(part: object, path: str, used: set[str], known: set[str]) -> None:
    """Names of the fields of a part and its parts, and of those that differ from the default."""
    fields = getattr(type(part), "model_fields", {})
    for name, field in fields.items():
        value, place = getattr(part, name), f"{path}.{name}".lstrip(".")
        known.add(place)
        if value != field.get_default(call_default_factory=True):
            used.add(place)
        for item in value if isinstance(value, tuple) else (value,):
            _collect(item, place, used, known)


ENDED = ("machine", "busy", "no_answer", "invalid", "failure", "cancelled")


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios__no_agent_or_call_is_lost_in_simpy(name: str) -> None:
    scenario, ratio = SCENARIOS[name]
    floor = SimpyFloor(scenario, rule_of(scenario, ratio), 3)
    last_s = floor.sessions[-1].close_ms / 1000
    before: dict[str, float] = {}
    for until_s in (200.0, 1000.0, 0.6 * last_s, last_s):
        t = floor.run(max(until_s, floor.env.now))
        states = ("idle", "talk", "wrap", "break", "off", "held", "machine", "inbound")
        agents_s = sum(t[f"{state}_s"] for state in states)
        assert agents_s == pytest.approx(scenario.floor.n_agents * floor.env.now)
        assert t["available_s"] == pytest.approx(agents_s - t["break_s"] - t["off_s"])
        ended = sum(t[name] for name in ENDED)
        under_way = floor.n_in_flight - floor.n_detecting + floor.n_reserved
        assert t["dialed"] == under_way + t["answered"] + ended
        waiting = t["answered"] - t["connected"] - t["silent"]
        assert 0 <= waiting <= floor.n_waiting + floor.n_detecting
        assert t["silent"] == t["silent_cut"] + t["silent_left"] + t["silent_amd"]
        assert t["inbound_arrived"] >= t["inbound_served"] + t["inbound_lost"]
        assert t["people_done"] <= (scenario.people.n_people if scenario.people else 0)
        assert all(t[name] >= value - 1e-6 for name, value in before.items())
        before = t
    assert floor.n_in_flight + floor.n_reserved == 0  # drained
    assert before["inbound_arrived"] == before["inbound_served"] + before["inbound_lost"]


def test_run__gives_figures_and_no_rejection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "SCENARIOS", {"plain": SCENARIOS["plain"]})
    told: list[str] = []
    rows = reference.run(0.0, lambda what, _: told.append(what))
    names = ["largest_z", "smallest_bias/answered", "smallest_bias/silent"]
    assert [row["name"] for row in rows] == [
        *(f"reference/plain/{name}" for name in names),
        "reference/rejected",
    ]
    assert rows[-1]["value"] == 0
    assert rows[-1]["unit"] == "failures"
    assert told == ["reference: plain"]


def test_scenarios__are_small() -> None:
    for world in SCENARIOS.values():
        assert isinstance(world.scenario, Scenario)
        assert 5 <= world.scenario.floor.n_agents <= 12
        assert world.scenario.episode.duration_s <= 7200
