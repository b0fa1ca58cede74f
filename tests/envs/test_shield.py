"""The shields: the theorem against an adversary, the kernel under any policy, where it fails."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quietdial.envs import ConfigError, PacingEnv, PacingVectorEnv, load_scenario
from quietdial.envs.pacing.shield import UNIT, Shield, most_in_flight, shield_of
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario

MOVES = ("dial", "answer", "end", "free", "cut")


def allowed_by_the_theorem(k, q, idle, silent, answered, cap):
    """The test as the theorem states it, in exact fractions."""
    overdial = max(q + k - idle, 0)
    if overdial == 0:
        return True
    within = silent <= cap * answered
    return within and silent + overdial <= cap * (answered + q + k)


@given(
    q=st.integers(0, 60),
    idle=st.integers(0, 40),
    silent=st.integers(0, 60),
    answered=st.integers(0, 2000),
    cap=st.sampled_from([1, 5_000, 30_000, 50_000, 333_333]),
)
def test_most_in_flight__is_the_largest_number_that_the_theorem_allows(
    q, idle, silent, answered, cap
):
    most = most_in_flight(idle, silent, answered, cap)
    share = Fraction(cap, UNIT)
    for k in range(1, 100):
        assert (q + k <= most) == allowed_by_the_theorem(k, q, idle, silent, answered, share)


@settings(max_examples=300)
@given(
    agents=st.integers(1, 6),
    cap=st.sampled_from([30_000, 100_000, 400_000]),
    moves=st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 30))),
    history=st.integers(0, 400),
)
def test_shield__no_adversary_breaks_the_cap(agents, cap, moves, history):
    """Hypothesis decides what is asked for, who answers and when agents are free."""
    idle, q, waiting, silent, answered = agents, 0, 0, 0, history
    for move, size in moves:
        if move == "dial":
            most = most_in_flight(idle, silent + waiting, answered, cap)
            q += min(size, max(most - q, 0))
        elif move == "answer" and q > 0:
            q, answered = q - 1, answered + 1
            if idle > 0:
                idle -= 1
            else:
                waiting += 1
        elif move == "end" and q > 0:
            q -= 1
        elif move == "free" and idle < agents:
            if waiting > 0:
                waiting -= 1
            else:
                idle += 1
        elif move == "cut" and waiting > 0:
            waiting, silent = waiting - 1, silent + 1
        assert UNIT * (silent + waiting) <= cap * answered


def short(preset="study-real-5", duration_s=7200.0, **parts):
    """A preset with a short day and other parts."""
    values = load_scenario(preset).model_dump(exclude_none=True)
    values["episode"] = {**values["episode"], "duration_s": duration_s}
    for name, changes in parts.items():
        values[name] = {**values.get(name, {}), **changes}
    return Scenario.model_validate(values)


def worst_excess(scenario, action, choose, shield, seeds=8):
    """Largest silent - cap x answered over the moments of decisions, waiting callees included."""
    world = World(seeds, scenario, action=action, observation="none", shield=shield)
    everywhere = np.ones(seeds, np.bool_)
    world.begin(everywhere, list(range(seeds)))
    rng = np.random.default_rng(5)
    worst = -np.inf
    over = False
    while not over:
        over = bool(world.step(choose(rng, seeds), everywhere)[0, 4])
        totals = world.totals()
        waiting = totals["answered"] - totals["connected"] - totals["silent"]
        excess = totals["silent"] + waiting - scenario.rule.cap * totals["answered"]
        worst = max(worst, float(excess.max()))
    return worst, world


POLICIES = {
    "dial everything": ("dials", lambda rng, n: np.full(n, 4)),
    "random dials": ("dials", lambda rng, n: rng.integers(0, 5, n)),
    "reckless rule": ("theta", lambda rng, n: np.full((n, 1), 0.5, np.float32)),
    "fixed ratio": ("ratio", lambda rng, n: np.full((n, 1), 6.0, np.float32)),
}


@pytest.mark.parametrize("name", POLICIES)
def test_deterministic_shield__holds_at_every_moment_under_any_policy(name):
    action, choose = POLICIES[name]
    scenario = short()
    bare, _ = worst_excess(scenario, action, choose, None)
    assert bare > 5, "without a shield these policies are far above the cap"
    worst, world = worst_excess(scenario, action, choose, "deterministic")
    assert worst <= 1e-9
    counts = world.interventions()
    assert (counts["shield_acts"] > 0).all()
    assert (counts["shield_calls"] >= counts["shield_acts"]).all()


def test_deterministic_shield__holds_for_a_controller_inside_the_kernel():
    scenario = short(duration_s=14_400.0)
    world = World(
        8,
        scenario,
        action="controller",
        controller="vicidial",
        settings={"dial_method": 0.0},
        knob="auto_dial_level",
        shield="deterministic",
    )
    everywhere = np.ones(8, np.bool_)
    world.begin(everywhere, list(range(8)))
    world.hold(np.full((8, 1), 4.0, np.float32), everywhere, 14_400)
    totals = world.totals()
    assert (totals["silent"] <= scenario.rule.cap * totals["answered"]).all()
    assert world.interventions()["shield_calls"].sum() > 0


def test_shield__costs_nothing_where_it_never_acts():
    """Progressive dialing never over-dials: the same bits with and without a shield."""
    bare = World(4, short(), action="progressive", observation="none")
    shielded = World(4, short(), action="progressive", observation="none", shield="deterministic")
    everywhere = np.ones(4, np.bool_)
    for world in (bare, shielded):
        world.begin(everywhere, [1, 2, 3, 4])
        world.hold(np.zeros(4, np.int64), everywhere, 7200)
    np.testing.assert_array_equal(bare.state.agent, shielded.state.agent)
    assert shielded.interventions()["shield_acts"].sum() == 0


def test_borrowing_shield__allows_more_early_and_keeps_the_window():
    scenario = short("study-real-10", duration_s=28_800.0)
    action, choose = "theta", np.full((32, 1), 0.03, np.float32)
    found = {}
    for kind in ("deterministic", "borrowing"):
        world = World(32, scenario, action=action, observation="none", shield=kind)
        everywhere = np.ones(32, np.bool_)
        world.begin(everywhere, list(range(32)))
        world.hold(choose, everywhere, 3600)
        early = world.totals()["silent"].sum()
        world.hold(choose, everywhere, 28_800)
        totals = world.totals()
        assert (totals["silent"] <= 0.03 * totals["answered"] + 1e-9).all()
        found[kind] = early
    assert found["borrowing"] > 2 * found["deterministic"] + 5


LEAVERS = {
    "n_agents": 10,
    "shifts": [
        {"n_agents": 2, "logout": "15:00"},
        *({"n_agents": 1, "logout": f"10:{m:02d}"} for m in (20, 30, 40, 50)),
        *({"n_agents": 1, "logout": f"11:{m:02d}"} for m in (0, 10, 20, 30)),
    ],
}


def test_reserved_form__covers_planned_log_outs():
    """Agents who go away while calls are in flight break the plain form, not the reserved one."""
    scenario = short("study-real-10", floor=LEAVERS, rule={"cap": 0.2})
    choose = POLICIES["dial everything"][1]
    plain, _ = worst_excess(scenario, "dials", choose, {"kind": "deterministic"}, seeds=48)
    assert plain > 0, "the world must break the condition, else the test says nothing"
    reserved, _ = worst_excess(
        scenario, "dials", choose, {"kind": "deterministic", "reserves": True}, seeds=48
    )
    assert reserved <= 1e-9


def test_stale_shield__breaks_the_cap():
    """A look every 30 s with dialing in between: the excess is there to be measured."""
    action, choose = POLICIES["reckless rule"]
    worst, _ = worst_excess(short(), action, choose, {"kind": "deterministic", "period_s": 30.0})
    assert worst > 0


def test_environments__take_a_shield_as_plain_values():
    vector = PacingVectorEnv(3, short(), action="dials", shield="deterministic")
    scalar = PacingEnv(short(), action="dials", shield={"kind": "deterministic", "cap": 0.03})
    vector.reset(seed=3)
    scalar.reset(seed=3)
    for _ in range(399):
        vector.step(np.full(3, 4))
        scalar.step(4)
    both = vector.step(np.full(3, 4)), scalar.step(4)
    np.testing.assert_array_equal(both[0][0][0], both[1][0])
    assert vector.world.interventions()["shield_calls"][0] > 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("magic", "kind = 'magic' must be one of: deterministic, borrowing"),
        ({"kind": "borrowing", "strength": 2}, "no setting 'strength'"),
        ({"cap": 1.0}, "cap = 1.0 must be a number between"),
        ({"period_s": None}, "period_s = None must be a number"),
        ({"reserves": 1}, "reserves = 1 must be true or false"),
    ],
)
def test_shield_of__says_what_is_wrong(given, message):
    with pytest.raises(ConfigError, match=message):
        shield_of(given)


def test_shield__needs_a_cap():
    with pytest.raises(ConfigError, match="give the shield a cap"):
        World(1, short(rule={"cap": 1.0, "id": "test"}), shield=Shield())
