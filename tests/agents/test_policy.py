"""The learned policy as plain arrays, and the record of where it was trained."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from quietdial.agents.learned_policy import Layer, LearnedPolicy, layers_from, tensors_of
from quietdial.agents.policy import Feature, Policy, PolicySpec, features_of, scenario_sha256
from quietdial.envs import PacingVectorEnv, Scenario, load_scenario
from quietdial.envs.errors import ConfigError

Make = Callable[..., LearnedPolicy]


def test_learned_policy__is_a_policy(make_policy: Make) -> None:
    assert isinstance(make_policy(), Policy)
    assert isinstance(make_policy("dials"), Policy)


def test_act__is_argmax_of_a_hand_worked_network(make_policy: Make) -> None:
    fields = (Feature(name="x", unit="1", low=-2, high=2, meaning="x"),)
    spec = make_policy().spec.model_copy(update={"features": fields, "n_actions": 2})
    one = Layer(np.array([[2.0]]), np.array([0.5]))
    two = Layer(np.array([[1.0, -1.0]]), np.array([0.0, 0.25]))
    policy = LearnedPolicy((one, two), spec)
    x = np.array([[-1.0], [0.0], [1.0]], np.float32)
    h = np.tanh(2 * x.astype(np.float64) + 0.5)
    np.testing.assert_allclose(policy.logits(x), np.hstack([h, 0.25 - h]), atol=1e-15)
    action, state = policy.act(x, "kept")
    assert action.tolist() == [1, 0, 0]
    assert action.dtype == np.int64
    assert state == "kept"


def test_act__does_not_depend_on_the_batch(make_policy: Make) -> None:
    policy = make_policy()
    rng = np.random.default_rng(3)
    obs = rng.normal(size=(200, len(policy.spec.features))).astype(np.float32)
    one_by_one = np.concatenate([policy.act(row[None])[0] for row in obs])
    assert np.array_equal(policy.act(obs)[0], one_by_one)


def test_act__fits_the_environment(make_policy: Make, scenario: Scenario) -> None:
    policy = make_policy()
    env = PacingVectorEnv(3, scenario, observation=policy.observation, action=policy.action)
    obs, _ = env.reset(seed=1)
    assert env.action_space.contains(policy.act(obs)[0])


def test_with_knob__is_the_base_threshold(make_policy: Make) -> None:
    policy = make_policy()
    assert (policy.knob_name, policy.knob, policy.knob_range) == ("base_theta", 0.02, (1e-4, 0.5))
    bolder = policy.with_knob(0.03)
    assert bolder.base_theta == bolder.knob == 0.03
    assert bolder.layers is policy.layers
    with pytest.raises(ConfigError, match=r"base_theta = 0\.7 must be between"):
        policy.with_knob(0.7)


def test_with_knob__is_refused_without_a_base_rule(make_policy: Make) -> None:
    policy = make_policy("dials")
    assert policy.knob_range is None
    with pytest.raises(ConfigError, match="has no knob"):
        policy.with_knob(0.03)


def test_act__refuses_observations_of_another_shape(make_policy: Make) -> None:
    with pytest.raises(ConfigError, match=r"shape \(2, 3\) given; expected \(batch, "):
        make_policy().act(np.zeros((2, 3), np.float32))


def test_constructor__refuses_layers_that_do_not_fit(make_policy: Make) -> None:
    policy = make_policy()
    first, second, last = policy.layers
    with pytest.raises(ConfigError, match="does not follow"):
        replace(policy, layers=(second, last))
    with pytest.raises(ConfigError, match="6 actions need as many"):
        replace(policy, layers=(first, second))
    with pytest.raises(ConfigError, match="not finite"):
        replace(policy, layers=(first, second, Layer(last.weight * np.nan, last.bias)))


def test_tensors__round_trip(make_policy: Make) -> None:
    policy = make_policy()
    back = layers_from({**tensors_of(policy.layers), "critic": np.zeros(3, np.float32)})
    assert len(back) == len(policy.layers)
    for a, b in zip(back, policy.layers, strict=True):
        assert np.array_equal(a.weight, b.weight)
        assert np.array_equal(a.bias, b.bias)


def test_scenario_sha256__tells_worlds_apart(scenario: Scenario) -> None:
    assert scenario_sha256(scenario) == scenario_sha256(load_scenario("study-stat-10"))
    assert scenario_sha256(scenario) != scenario_sha256(load_scenario("study-stat-25"))


def test_features__are_those_of_the_environment(scenario: Scenario) -> None:
    env = PacingVectorEnv(1, scenario, observation="full")
    features = features_of(env.observation_spec)
    box = env.single_observation_space
    assert [f.low for f in features] == box.low.tolist()  # type: ignore[attr-defined]
    assert [f.high for f in features] == box.high.tolist()  # type: ignore[attr-defined]


def test_spec__refuses_what_does_not_fit(make_policy: Make) -> None:
    data = make_policy("dials").spec.model_dump()
    with pytest.raises(ValidationError, match="'dials' with max_dials"):
        PolicySpec.model_validate({**data, "n_actions": 3})
    with pytest.raises(ValidationError, match="must differ"):
        PolicySpec.model_validate({**data, "features": data["features"] * 2})
    with pytest.raises(ValidationError, match="must be below"):
        Feature(name="x", unit="1", low=1, high=1, meaning="")


def test_rooms__without_torch_config_and_rules_still_import() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'stable_baselines3', 'safetensors', 'onnx'):\n"
        "    sys.modules[name] = None\n"
        "from quietdial.agents import policy, rules\n"
        "from quietdial.agents.bundle import load\n"
        "from quietdial.agents.learners import config, lagrange\n"
        "from quietdial.envs.errors import MissingExtraError\n"
        "try:\n"
        "    from quietdial.agents.learners import training\n"
        "except MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "quietdial[train]"' in done.stdout
