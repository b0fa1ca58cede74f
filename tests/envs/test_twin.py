"""The compiled observations equal their plain numpy twin, bit for bit."""

import numpy as np
import pytest

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import control, features, spec
from quietdial.envs.pacing.params import BASE_THETA
from quietdial.envs.pacing.state import BASE, IN_FLIGHT, OWN_THETA, WAITING
from quietdial.envs.pacing.twin import (
    answer_rate_twin,
    base_dials_twin,
    look_ahead_twin,
    observe_twin,
    phi_twin,
)
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import changed, load_scenario


def _play(world: World, steps: int, *, seed: int):
    """Play random actions, half of them small, and yield after every observation."""
    rng = np.random.default_rng(seed)
    b = world.n_campaigns
    every = np.ones(b, np.bool_)
    world.begin(every, [seed + i for i in range(b)])
    yield world.observe()
    n = int(getattr(world.action_space, "n", 0))
    for _ in range(steps):
        few = rng.integers(0, min(n, 4), b)
        actions = np.where(rng.random(b) < 0.1, rng.integers(0, n, b), few)
        world.step(actions, every)
        yield world.observe()


@pytest.mark.parametrize(
    ("preset", "observation", "action"),
    [
        ("italy-50", "full", "residual"),
        ("study-real-10", "full", "residual"),
        ("study-shift-5", "full", "dials"),
        ("study-stat-25", "counters", "residual"),
        ("study-real-5", "counters", "threshold"),
        ("study-real-10", "wide", "residual"),
        ("markov-10", "markov", "dials"),
    ],
)
def test_observe__equals_twin_bit_for_bit(preset, observation, action):
    world = World(2, preset, observation=observation, action=action, start="random")
    code = features.SET_CODES[observation]
    residual = action == "residual"
    seen = set()
    for observed in _play(world, 3600, seed=7):
        twin = observe_twin(world.state, world.params, code, residual)
        np.testing.assert_array_equal(twin.view(np.uint32), observed.view(np.uint32))
        seen.add(observed.tobytes())
        if residual:
            theta = float(world.params.x[BASE_THETA])
            base = [base_dials_twin(world.state, world.params, b, theta) for b in range(2)]
            np.testing.assert_array_equal(base, world.state.head[:, BASE])
    assert len(seen) > 500, "the hour must not stand still"


def test_observe__asks_each_rows_base_rule_with_its_own_threshold():
    """As a world of that threshold does, kernel and twin, until the row's episode ends."""
    thetas = np.array([0.002, 0.02, 0.02, 0.3])
    own = World(4, "study-real-10", action="residual")
    alone = [World(4, "study-real-10", action="residual", base_theta=t) for t in (0.002, 0.02, 0.3)]
    everywhere = np.ones(4, np.bool_)
    for world in (own, *alone):
        world.begin(everywhere, [7, 8, 9, 10])
    of_row = [alone[0], alone[1], alone[1], alone[2]]
    own.set_base_thetas(thetas)
    moved = 0
    for _ in range(200):
        seen = own.observe()
        expected = np.stack([world.observe()[row] for row, world in enumerate(of_row)])
        np.testing.assert_array_equal(seen, expected)
        twin = observe_twin(own.state, own.params, features.SET_CODES["full"], residual=True)
        np.testing.assert_array_equal(seen, twin)
        assert own.base_dials().tolist() == [w.base_dials()[row] for row, w in enumerate(of_row)]
        moved += int((seen[[0, 3], -1] != alone[1].observe()[[0, 3], -1]).sum())
        for world in (own, *alone):
            world.step(np.full(4, -control.RESIDUAL_LOW), everywhere)
    assert moved > 0
    own.begin(np.array([True, False, False, True]), [7, 8, 9, 10])
    assert own.state.head[:, OWN_THETA].astype(bool).tolist() == [False, True, True, False]


def test_set_base_thetas__refuses_what_is_no_threshold():
    world = World(2, "study-real-10", action="residual")
    for thetas in (np.array([0.1]), np.array([0.1, 0.0]), np.array([0.1, np.nan])):
        with pytest.raises(ConfigError, match="2 numbers above 0"):
            world.set_base_thetas(thetas)
    with pytest.raises(ConfigError, match="'dials' has no base rule"):
        World(1, "study-real-10", action="dials").set_base_thetas(np.array([0.1]))


def test_observe__equals_twin_at_the_opening_and_the_close():
    world = World(1, "study-real-5")
    end_s = world.scenario.episode.duration_s
    code = features.SET_CODES["full"]
    checked = 0
    for step, observed in enumerate(_play(world, int(end_s), seed=3)):
        if step < 60 or step > end_s - 120:
            twin = observe_twin(world.state, world.params, code, True)
            np.testing.assert_array_equal(twin, observed)
            checked += 1
    assert checked == 180
    assert world.state.head[0, IN_FLIGHT] == 0
    assert world.state.head[0, WAITING] == 0


def test_twin__parts_equal_the_compiled_parts():
    world = World(1, "study-real-10", action="threshold")
    for step, _ in enumerate(_play(world, 400, seed=11)):
        if step % 20:
            continue
        s, p = world.state, world.params
        assert answer_rate_twin(s, p, 0) == control.answer_rate(0, s, p)
        control.look_ahead(0, s, p)
        for theta in (0.0, 0.02, 0.2, 1.0):
            assert base_dials_twin(s, p, 0, theta) == control.marginal_dials(0, s, p, theta)
        assert all(part.shape == (5,) for part in look_ahead_twin(s, p, 0))


def test_phi_twin__is_the_normal_distribution_function():
    from scipy.special import ndtr

    world = World(1, "markov-5")
    z = np.linspace(-8, 8, 20_001)
    assert np.max(np.abs(phi_twin(world.params.curves, z) - ndtr(z))) < 8e-6


def test_observe_twin__leaves_the_state_alone():
    world = World(1, "study-real-10")
    for _ in _play(world, 200, seed=5):
        pass
    before = [array.copy() for array in world.state]
    observe_twin(world.state, world.params, features.FULL, True)
    for array, copy in zip(world.state, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("late_s", [0.0, 3.0])
def test_observe__wide_equals_twin_where_everything_that_it_tells_of_happens(late_s):
    detection = {
        "kind": "amd",
        "decision": {"kind": "uniform", "low_s": 1.0, "high_s": 2.0},
        "p_false_machine": 0.02,
        "p_false_person": 0.05,
        "machine_handling": {"kind": "exponential", "mean_s": 8.0},
    }
    blend = load_scenario("blend-40")
    inbound = [group.model_dump(exclude_none=True) for group in blend.floor.shifts]
    outbound = {"n_agents": 3, "lunch": {"at": "09:40", "duration": 600}}
    leaving = [{**outbound, "logout": f"{9 + i // 2:02}:{30 * (i % 2):02}"} for i in range(2, 8)]
    scenario = changed(
        blend,
        "busy-floor",
        belief={"feed_delay_s": late_s},
        calls={"detection": detection},
        floor={"n_agents": 40 + 18, "shifts": [*inbound, *leaving]},
    )
    world = World(2, scenario, observation="wide", action="residual", start="random")
    names = [field.name for field in spec.WIDE_FIELDS]
    at = [field.name for field in spec.OBSERVATIONS["wide"]].index(names[0])
    told = []
    for step, observed in enumerate(_play(world, 3600, seed=7)):
        told.append(observed[:, at : at + len(names)])
        if step % 5 == 0:
            twin = observe_twin(world.state, world.params, features.WIDE, True)
            np.testing.assert_array_equal(twin.view(np.uint32), observed.view(np.uint32))
    spread = np.concatenate(told).std(axis=0)
    silent = [name for name, sd in zip(names, spread, strict=True) if sd == 0]
    assert silent == ([] if late_s else ["given_unseen"])
