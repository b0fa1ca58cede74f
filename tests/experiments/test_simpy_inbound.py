"""The SimPy model alone: its hidden levels, its inbound calls and the dialer of blended floors.

Constant laws where figures are worked out by hand; where chance is needed, a test is two-sided with
the false-alarm rate of `Z` standard errors.
"""

import math
from typing import Any

import numpy as np
import pytest

from quietdial.envs import Scenario
from quietdial.envs.scenario import Drift
from quietdial.envs.theory import erlang_b
from quietdial.experiments.bench.simpy_reference.base import Draws, simpy
from quietdial.experiments.bench.simpy_reference.hidden import Day, Levels
from quietdial.experiments.bench.simpy_twin import Rule, SimpyFloor, blend
from quietdial.experiments.proof.reference_worlds import small_world

Z = 4.0  # false-alarm rate 6e-5 of each of the three comparisons
NEVER_ANSWERED: dict[str, Any] = {"answer_rate": {"kind": "constant", "p": 0.0}}


def constant(value_s: float) -> dict[str, Any]:
    return {"kind": "constant", "value_s": value_s}


def nothing(_: SimpyFloor) -> int:
    return 0


def played(scenario: Scenario, rule: Rule, *times_s: float) -> list[Any]:
    """Totals at these times."""
    floor = SimpyFloor(scenario, rule, seed=1)
    return [floor.run(time_s) for time_s in times_s]


# ------------------------------------------------------------------------------ hidden levels


def test_drift__season_and_jumps() -> None:
    # without noise, ln(p/p0) is multiplied by k at each update, and jumps with probability 1 - 1/e
    rate = {
        "kind": "drifting",
        "p_low": 0.3,
        "p_high": 0.3,
        "ou_tau_s": 600_000,
        "jumps_per_h": 60,
        "jump_sd": 0.02,
        "update_s": 60,
    }
    levels = _levels(
        small_world("by-hand", calls={"answer_rate": rate}, episode={"duration_s": 90_000})
    )
    x = np.log(np.array([p for p, _ in levels]) / 0.3)
    jumped = np.abs(x[1:] - math.exp(-60 / 600_000) * x[:-1]) > 1e-9
    share = 1 - math.exp(-1)
    assert abs(jumped.mean() - share) < Z * math.sqrt(share * (1 - share) / len(jumped))


def test_talk_drift__multiplies_the_days_factor() -> None:
    drift = {"season_amplitude": 0.5, "season_period_s": 240, "update_s": 60}
    levels = _levels(
        small_world("by-hand", floor={"talk_drift": drift}),
        Day(1.0, talk_factor=2.0, talk_phase=0.25),
    )
    # sin(2 pi (t/240 + 1/4)) at t = 0, 60, 120, 180
    assert [factor for _, factor in levels[:4]] == pytest.approx([3, 2, 1, 2])


def _levels(scenario: Scenario, day: Day | None = None) -> list[tuple[float, float]]:
    """Answer rate and talk factor after each minute's update."""
    env, draws = simpy.Environment(), Draws(5)
    levels = Levels(env, scenario, draws)
    levels.open(day or Day.drawn(scenario, draws.random), scenario.episode.duration_s)
    found = []
    for minute in range(int(scenario.episode.duration_s // 60)):
        env.run(until=60 * minute + 1)
        found.append((levels.p_answer, levels.talk_factor))
    return found


def test_drift__has_no_fields_that_these_tests_forget() -> None:
    fields = {"season_amplitude", "season_period_s", "ou_sd", "ou_tau_s"}
    assert set(Drift.model_fields) == fields | {"jumps_per_h", "jump_sd", "update_s"}


# ------------------------------------------------------------------------------------ inbound


def with_inbound(n_inbound: int, n_outbound: int = 1, **more: Any) -> Scenario:
    shifts: list[dict[str, Any]] = [{"n_agents": n_outbound}]
    if n_inbound:
        shifts.insert(0, {"n_agents": n_inbound, "group": "inbound"})
    inbound = {"periods": [{"begins": "10:00", "per_h": 360}], "talk": constant(20)}
    return small_world(
        "by-hand",
        floor={"n_agents": n_inbound + n_outbound, "shifts": shifts},
        calls=NEVER_ANSWERED,
        inbound=inbound | more.pop("inbound", {}),
        episode={"duration_s": 3600, "close_s": 0},
        **more,
    )


def test_inbound__without_waiting_is_erlang_b() -> None:
    # 2 calls offered at a time, 2 + 1 agents, everybody who must wait balks
    scenario = with_inbound(2, inbound={"p_balk": 1.0})
    days = [SimpyFloor(scenario, nothing, seed).run() for seed in range(60)]
    arrived, lost = (np.array([d[f"inbound_{x}"] for d in days]) for x in ("arrived", "lost"))
    assert abs(arrived.mean() - 360) < Z * math.sqrt(360 / 60)
    rest = lost - erlang_b(3, 2.0) * arrived
    assert abs(rest.mean()) < Z * rest.std() / math.sqrt(60)
    for day in days:
        assert day["inbound_waited"] == day["inbound_lost"]
        assert day["inbound_served"] == day["inbound_in_time"]


def test_inbound__patience_capacity_and_the_close_lose_callers() -> None:
    # The agent comes with the close: everybody waits, one at a time, for 30 s.
    scenario = with_inbound(0, inbound={"patience": constant(30), "capacity": 1})
    late = scenario.model_copy(
        update={
            "floor": small_world(
                "by-hand", floor={"n_agents": 1, "shifts": [{"n_agents": 1, "login": "11:00"}]}
            ).floor
        }
    )
    (end,) = played(late, nothing, 3600)
    assert end["inbound_arrived"] == end["inbound_lost"] == end["inbound_waited"] > 200
    assert 30 * 40 < end["inbound_wait_s"] <= 3600


def test_inbound__who_waits_at_the_last_close_is_lost() -> None:
    # one agent, calls of 1000 s: three or four are served, all others wait for ever
    scenario = with_inbound(0, inbound={"talk": constant(1000)})
    before, end = played(scenario, nothing, 3599.5, 3600)
    assert before["inbound_lost"] == before["inbound_arrived"] - 80 - before["inbound_served"]
    assert end["inbound_lost"] == end["inbound_arrived"] - end["inbound_served"]
    assert SimpyFloor(scenario, nothing, seed=1).run() == end


def test_inbound__service_takes_the_agents_time_and_periods_end() -> None:
    periods = [{"begins": "10:10", "per_h": 360}, {"begins": "10:40", "per_h": 0}]
    scenario = with_inbound(3, inbound={"periods": periods, "service_level_s": 0})
    at_600, at_2500, end = played(scenario, nothing, 600, 2600, 3600)
    assert at_600["inbound_arrived"] == 0
    assert at_2500["inbound_arrived"] == end["inbound_arrived"] == end["inbound_served"]
    assert end["inbound_s"] == pytest.approx(20 * end["inbound_served"])
    assert end["inbound_in_time"] == end["inbound_arrived"] - end["inbound_waited"]


@pytest.mark.parametrize("less_in_flight", [False, True])
def test_blend__dials_when_a_service_ends_or_everything_is_at_rest(less_in_flight: bool) -> None:
    # Nobody answers, so the services are inbound. One outbound agent: two dials if it is idle.
    scenario = with_inbound(
        0,
        action="blend",
        blend={"min_free": 1, "extra": 1, "less_in_flight": less_in_flight},
        inbound={"periods": [{"begins": "10:00", "per_h": 120}]},
    )
    ending = {"outcome": "no_answer", "share": 1, "time": constant(60)}
    calls = small_world("by-hand", calls=NEVER_ANSWERED | {"unanswered": [ending]}).calls
    asked: list[int] = []
    n_decisions = 0
    expected: list[int] = []

    def rule(floor: SimpyFloor) -> int:
        nonlocal n_decisions
        if abs(floor.env.now - round(floor.env.now)) < 1e-6:  # no service ends in a full second
            n_decisions += 1
            assert (floor.n_in_flight, floor.n_idle) == (0, 1)
        asked.append(blend(1.0)(floor))
        in_flight = floor.n_in_flight if less_in_flight else 0
        expected.append(2 - in_flight if floor.n_idle else 0)
        return asked[-1]

    (end,) = played(scenario.model_copy(update={"calls": calls}), rule, 3600)
    n_services = len(asked) - n_decisions
    assert end["inbound_served"] - 1 <= n_services <= end["inbound_served"]
    assert n_decisions > 0
    assert asked == expected
    # With those in flight taken off, 0 is also asked for while two are on their way.
    assert set(asked) == {0, 2}
    assert end["dialed"] == sum(asked)


def test_blend__wants_enough_idle_agents() -> None:
    # both agents are idle after each service, or one and the other serves
    for least, dials in ((2, True), (3, False)):
        scenario = with_inbound(1, action="blend", blend={"min_free": least})
        (end,) = played(scenario, blend(1.0), 3600)
        assert (end["dialed"] > 0) == dials


def test_blend__begins_by_itself() -> None:
    # one agent, answered 10 s after the first decision, talked to until 40, the next dial then
    scenario = small_world(
        "by-hand",
        floor={"n_agents": 1, "talk": constant(30), "wrap": None},
        calls={"answer_rate": {"kind": "constant", "p": 1.0}, "time_to_answer": constant(10)},
        action="blend",
    )
    at_1, at_39, at_40 = (t["dialed"] for t in played(scenario, blend(1.0), 1, 39.5, 40))
    assert (at_1, at_39, at_40) == (1, 1, 2)
