"""Every algorithm: it trains by the one `train`, and its policy in numpy decides as its own net."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from pydantic import ValidationError
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3 import DQN

from quietdial.agents.checkpoint import load_policy, load_state
from quietdial.agents.learned_policy import (
    THETA_SCALE_RANGE,
    LearnedPolicy,
    layers_from,
    memory_from,
)
from quietdial.agents.learners.algorithms import (
    ALGORITHMS,
    PricedReplayBuffer,
    actor_tensors,
    build_model,
)
from quietdial.agents.learners.config import (
    ALGORITHM_NAMES,
    PRESETS,
    AlgorithmName,
    LearnerConfig,
)
from quietdial.agents.learners.sb3_env import SameStepVecEnv
from quietdial.agents.learners.training import RolloutReport, make_training_env, train
from quietdial.agents.policy import PolicySpec, theta_of
from quietdial.envs import PacingVectorEnv, Scenario
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.control import THETAS

SMALL: dict[str, Any] = {
    "total_steps": 512,
    "n_envs": 16,
    "n_steps": 16,
    "batch_size": 64,
    "net": (12, 8),
    "horizon_s": 300.0,
    "report_every": 256,
    "checkpoint_every": 1,
    "learning_starts": 64,
    "lstm": 8,
    "n_quantiles": 5,
}


def _config(algorithm: AlgorithmName, **changes: Any) -> LearnerConfig:
    return LearnerConfig.preset(algorithm, **{**SMALL, **changes})


def _model(config: LearnerConfig, scenario: Scenario) -> tuple[Any, LearnedPolicy]:
    """A model whose weights are random all over, and the same actor as a learned policy."""
    env = make_training_env(config, scenario)
    vec_env = SameStepVecEnv(
        env,
        n_agents=scenario.floor.n_agents,
        cap=0.03,
        theta_range=config.theta_range if config.action == "theta" else None,
        conditioned=config.conditioned,
    )
    model = build_model(config, vec_env, 1.0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape, generator=generator))
    spec = PolicySpec.of(
        scenario,
        observation=config.observation,
        action=config.action,
        fields=env.observation_spec,
        n_actions=getattr(env.single_action_space, "n", 1),
        theta_range=config.theta_range if config.action == "theta" else None,
        conditioned=config.conditioned,
    )
    tensors = actor_tensors(config, model.policy)
    policy = LearnedPolicy(
        layers_from(tensors),
        spec,
        memory=memory_from(tensors),
        multiplier=None if config.conditioned is None else 200.0,
    )
    return model, policy


def _observations(scenario: Scenario, n: int, seed: int = 0) -> Any:
    shape = (n, len(make_training_env(_config("ppo"), scenario).observation_spec))  # type: ignore[arg-type]
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_presets__name_every_algorithm() -> None:
    assert set(ALGORITHMS) == set(PRESETS) == set(ALGORITHM_NAMES)
    for name in ALGORITHM_NAMES:
        config = LearnerConfig.preset(name)
        assert config.algorithm == name
        assert (config.multiplier == "fixed") == (name == "ppo")
    assert LearnerConfig() == LearnerConfig.preset("ppo-lagrangian")


def test_preset__fills_only_what_is_not_given() -> None:
    config = LearnerConfig(algorithm="dqn", n_envs=7)
    assert (config.n_envs, config.batch_size) == (7, 1024)
    moved = LearnerConfig(seed=9, n_envs=32).with_algorithm("sac")
    assert (moved.seed, moved.n_envs, moved.action) == (9, 32, "theta")
    assert moved.with_algorithm("ppo-lagrangian") == LearnerConfig(seed=9, n_envs=32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "reinforce"}, "algorithm"),
        ({"algorithm": "sac", "action": "dials"}, "does not fit algorithm = 'sac'"),
        ({"action": "theta"}, "does not fit algorithm = 'ppo-lagrangian'"),
        ({"algorithm": "dqn", "deployed": "sampled"}, "no probabilities"),
        ({"conditioned": (200.0, 100.0)}, "low < high"),
        ({"conditioned": (50.0, 500.0), "multiplier": "pi"}, "use fixed"),
        ({"theta_range": (0.0, 0.2)}, "theta_range"),
        ({"exploration": (1.5, 0.0)}, "exploration"),
        ({"multiplier": "adam"}, "multiplier"),
    ],
)
def test_config__refuses_what_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LearnerConfig.model_validate(changes)


@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_train__every_algorithm(scenario: Scenario, tmp_path: Path, algorithm: Any) -> None:
    reports: list[RolloutReport] = []
    config = _config(algorithm)
    trained = train(config, scenario, on_rollout=reports.append, checkpoints=tmp_path)
    assert trained.completed
    assert trained.steps == config.planned_steps == 512
    assert [report.step for report in reports] == [256, 512]
    assert trained.policy.name == algorithm
    assert "train/learning_rate" in reports[1].learner
    assert trained.checkpoint is not None
    loaded, state = load_policy(trained.checkpoint), load_state(trained.checkpoint)
    assert LearnerConfig.model_validate(state.config) == config
    obs = _observations(scenario, 50)
    recall = loaded_recall = None
    for _ in range(3):
        action, recall = trained.policy.act(obs, recall)
        again, loaded_recall = loaded.act(obs, loaded_recall)
        assert np.array_equal(action, again)


@pytest.mark.parametrize("algorithm", ["a2c", "dqn", "sac"])
def test_train__repeats_itself(scenario: Scenario, algorithm: Any) -> None:
    one, two, other = (train(_config(algorithm, seed=seed), scenario).policy for seed in (3, 3, 4))
    assert np.array_equal(one.layers[0].weight, two.layers[0].weight)
    assert not np.array_equal(one.layers[0].weight, other.layers[0].weight)


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHM_NAMES) - {"recurrent-ppo", "sac"}))
def test_policy__decides_as_the_net_it_comes_from(scenario: Scenario, algorithm: Any) -> None:
    model, policy = _model(_config(algorithm), scenario)
    obs = _observations(scenario, 2000)
    want, _ = model.policy.predict(obs, deterministic=True)
    assert len(np.unique(want)) > 2
    assert np.array_equal(policy.act(obs)[0], want)


def test_policy__of_sac_is_the_mean_as_a_threshold(scenario: Scenario) -> None:
    config = _config("sac")
    model, policy = _model(config, scenario)
    obs = _observations(scenario, 500)
    want, _ = model.predict(obs, deterministic=True)
    theta, _ = policy.act(obs)
    np.testing.assert_allclose(theta, theta_of(want, config.theta_range), rtol=1e-5)
    assert theta.min() >= config.theta_range[0] * (1 - 1e-9)
    assert np.ptp(theta) > 0.1
    assert policy.action == "theta"


def test_policy__recurrent_remembers_as_the_net_does(scenario: Scenario) -> None:
    model, policy = _model(_config("recurrent-ppo"), scenario)
    state = recall = None
    obs = _observations(scenario, 100)
    first, _ = policy.act(obs)
    got = first
    for step in range(20):
        shown = obs if step == 19 else _observations(scenario, 100, seed=step)
        want, state = model.predict(shown, state=state, deterministic=True)
        got, recall = policy.act(shown, recall)
        assert np.array_equal(got, want)
    assert not np.array_equal(got, first)  # the same observations, another past
    with pytest.raises(ConfigError, match="recurrent"):
        _ = policy.plain_layers


@pytest.mark.parametrize("algorithm", ["ppo", "recurrent-ppo", "dqn"])
def test_policy__conditioned_puts_the_multiplier_into_its_bias(
    scenario: Scenario, algorithm: Any
) -> None:
    model, policy = _model(_config(algorithm, conditioned=(50.0, 500.0)), scenario)
    obs = _observations(scenario, 500)
    for price in (50.0, 200.0, 500.0):
        column = np.full((len(obs), 1), np.log(price / 150.0), np.float32)
        want, _ = model.predict(np.hstack([obs, column]), deterministic=True)
        assert np.array_equal(policy.with_knob(price).act(obs)[0], want)
    assert (policy.knob_name, policy.knob, policy.knob_range) == ("multiplier", 200.0, (50, 500))
    assert policy.knob_lowers
    with pytest.raises(ConfigError, match="multiplier = 49"):
        policy.with_knob(49.0)


def test_policy__threshold_scales_its_levels(scenario: Scenario) -> None:
    model, policy = _model(_config("ppo", action="threshold"), scenario)
    obs = _observations(scenario, 200)
    want, _ = model.predict(obs, deterministic=True)
    levels = np.asarray(THETAS)[want][:, None]
    assert np.array_equal(policy.act(obs)[0], levels)
    np.testing.assert_allclose(policy.with_knob(2.0).act(obs)[0], 2.0 * levels)
    assert policy.with_knob(100.0).act(obs)[0].max() == 1.0
    assert (policy.action, policy.knob_name) == ("theta", "theta_scale")
    assert policy.knob_range == THETA_SCALE_RANGE


def test_policy__threshold_plays_the_world_that_it_was_trained_in(scenario: Scenario) -> None:
    _, policy = _model(_config("ppo", action="threshold"), scenario)
    levels = PacingVectorEnv(4, scenario, observation="full", action="threshold")
    thetas = PacingVectorEnv(4, scenario, observation="full", action="theta")
    obs, _ = levels.reset(seed=1)
    thetas.reset(seed=1)
    for _ in range(300):
        level = policy.logits(obs).argmax(axis=1)
        other, *_ = thetas.step(policy.act(obs)[0])
        obs, *_ = levels.step(level)
        assert np.array_equal(obs, other)


def test_policy__masks_never_sample_what_is_impossible(scenario: Scenario) -> None:
    model, _ = _model(_config("maskable-ppo", action="dials"), scenario)
    n = int(model.action_space.n)
    obs = torch.as_tensor(_observations(scenario, 400))
    masks = np.arange(n)[None] < np.arange(1, 401)[:, None] % n + 1
    actions, _, log_probs = model.policy(obs, action_masks=masks)
    assert masks[np.arange(400), actions].all()
    _, judged, entropy = model.policy.evaluate_actions(obs, actions, action_masks=masks)
    torch.testing.assert_close(judged, log_probs)
    slow = MaskableActorCriticPolicy.evaluate_actions(
        model.policy, obs, actions, torch.as_tensor(masks)
    )
    torch.testing.assert_close(judged, slow[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropy, slow[2], atol=1e-5, rtol=1e-4)


def test_exploration__is_by_row_and_to_a_neighbour(scenario: Scenario) -> None:
    model, _ = _model(_config("dqn"), scenario)
    obs = _observations(scenario, 4000)
    best, _ = model.predict(obs, deterministic=True)
    model.exploration_rate = 0.25
    tried, _ = model.predict(obs, deterministic=False)
    assert np.abs(tried - best).max() == 1
    inner = (best > 0) & (best < model.action_space.n - 1)
    assert (tried != best)[inner].mean() == pytest.approx(0.25, abs=0.05)


def test_build__refuses_a_space_that_is_not_discrete(scenario: Scenario) -> None:
    env = PacingVectorEnv(
        2, scenario, action="theta", silent_penalty=0.0, autoreset_mode=AutoresetMode.SAME_STEP
    )
    with pytest.raises(ConfigError, match="Discrete is needed"):
        build_model(_config("ppo"), SameStepVecEnv(env, n_agents=10, cap=0.03), 1.0)


def test_store__rewards_follow_the_multiplier(scenario: Scenario) -> None:
    config = _config("dqn", train_freq=8)
    vec_env = SameStepVecEnv(make_training_env(config, scenario), n_agents=10, cap=0.03)
    model = build_model(config, vec_env, 1.0)
    assert isinstance(model, DQN)
    assert isinstance(model.replay_buffer, PricedReplayBuffer)
    model.learn(1600)
    store, n = model.replay_buffer, model.replay_buffer.pos
    at_150 = store.rewards[:n].copy()
    vec_env.multiplier = 300.0
    store.sample(1)
    dearer = at_150 - store.rewards[:n]
    vec_env.multiplier = 0.0
    store.sample(1)
    free = store.rewards[:n]
    np.testing.assert_allclose(free - at_150, dearer, atol=1e-5)
    assert (free <= 1e-5).all()  # what is left is the idle share
    assert free.min() >= -config.reward_scale - 1e-5
    assert (dearer > 0.1).any()


def test_train__keeps_the_policy_before_its_training_if_asked(
    scenario: Scenario, tmp_path: Path
) -> None:
    """With residual actions it is the base rule; with one checkpoint kept, it stays besides."""
    config = _config("ppo", keep_start=True, keep_checkpoints=1)
    train(config, scenario, checkpoints=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0", "step-512"]
    start = load_policy(tmp_path / "step-0")
    actions, _ = start.act(_observations(scenario, 200))
    assert (actions == 2).all()


def test_priced_replay_buffer__adds_up_rewards_and_their_prices(scenario: Scenario) -> None:
    """Rewards 1, 2, 3, ... in one row, discount .5, three at a time: 1 + 2/2 + 3/4 = 2.75."""
    env = make_training_env(_config("dqn", n_envs=1), scenario)
    vec_env = SameStepVecEnv(env, n_agents=10, cap=0.03)
    store = PricedReplayBuffer(
        *(16, vec_env.observation_space, vec_env.action_space),
        vec_env=vec_env,
        n_steps=3,
        gamma=0.5,
    )
    obs = np.zeros((1, *(vec_env.observation_space.shape or ())), np.float32)
    for reward in range(1, 11):
        vec_env.last_excess = np.ones(1, np.float32)
        store.add(obs, obs, np.zeros((1, 1)), np.array([float(reward)]), np.zeros(1), [{}])
    first = store._get_samples(np.array([0, 1]))  # pyright: ignore[reportPrivateUsage]
    assert first.rewards.numpy().ravel().tolist() == [2.75, 4.5]
    assert first.discounts is not None
    assert first.discounts.numpy().ravel().tolist() == [0.125, 0.125]
    vec_env.multiplier += 1.0
    store._reprice()  # pyright: ignore[reportPrivateUsage]
    again = store._get_samples(np.array([0]))  # pyright: ignore[reportPrivateUsage]
    assert again.rewards.numpy().item() == pytest.approx(2.75 - 1.75)
