"""A critic that is told the truth: what it sees, and that the actor does not see it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quietdial.agents.learners.algorithms import build_model
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.learners.sb3_env import N_TRUTHS, SameStepVecEnv, truth_for_critic
from quietdial.agents.learners.training import make_training_env, train
from quietdial.agents.policy import features_of
from quietdial.envs import Scenario
from quietdial.experiments.evaluate import play_days, tune_seeds

SMALL = {"n_envs": 4, "n_steps": 16, "batch_size": 32, "total_steps": 256, "net": (8,)}


def _told(scenario: Scenario, **changes: Any) -> tuple[SameStepVecEnv, Any, LearnerConfig]:
    config = LearnerConfig.model_validate({**SMALL, "critic": "privileged", **changes})
    env = make_training_env(config, scenario)
    n_agents = scenario.floor.n_agents
    return SameStepVecEnv(env, n_agents=n_agents, cap=0.03, tells_critic=True), env, config


def test_truth__is_in_the_scale_of_the_observations() -> None:
    row = [0.25, math.e, 7.0, 1.0, 2.0, 3.0, 4.0, 2.0, 4.0, 6.0]
    seen = truth_for_critic(np.array([row, row]), np.array([10, 5]))
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen[0], [0, 1, 0.3, 0.6, 0.9, 1.2, 0.6, 1.2, 1.8], atol=1e-6)
    np.testing.assert_allclose(seen[1, 2:], 2 * seen[0, 2:], rtol=1e-6)


def test_observation__ends_with_the_truth_of_the_same_moment(scenario: Scenario) -> None:
    vec, env, _ = _told(scenario, horizon_s=60.0)
    vec.seed(3)
    obs: Any = vec.reset()
    ends = 0
    for _ in range(150):
        told = truth_for_critic(env.world.privileged(), scenario.floor.n_agents)
        assert np.array_equal(obs[:, -N_TRUTHS:], told)
        assert obs.shape[1] == len(env.observation_spec) + N_TRUTHS
        obs, _, dones, infos = vec.step(np.full(4, 5))
        ends += int(dones.sum())
        for row in np.flatnonzero(dones):  # the truth of the old episode, not of the new one
            last = infos[row]["terminal_observation"]
            assert last.shape == obs[row].shape
            assert not np.array_equal(last[-N_TRUTHS:], obs[row, -N_TRUTHS:])
    assert ends >= 8
    assert np.abs(obs[:, -N_TRUTHS + 2 :]).max() > 0.0


@pytest.mark.parametrize("algorithm", ["ppo-lagrangian", "maskable-ppo"])
def test_actor__does_not_see_the_truth(algorithm: str, scenario: Scenario) -> None:
    vec, _, config = _told(scenario, algorithm=algorithm)
    policy: Any = build_model(config, vec, 1.0).policy
    obs = torch.as_tensor(vec.reset())
    other = obs.clone()
    other[:, -N_TRUTHS:] += 1.0
    with torch.no_grad():
        logits = [policy.get_distribution(x).distribution.logits for x in (obs, other)]
        values = [policy.predict_values(x) for x in (obs, other)]
        forward = [policy(x, deterministic=True) for x in (obs, other)]
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(forward[0][0], forward[1][0])
    assert (values[0] - values[1]).abs().min() > 1e-6


def test_trained_policy__plays_where_nobody_is_told_the_truth(
    scenario: Scenario, tmp_path: Path
) -> None:
    config = LearnerConfig.model_validate({**SMALL, "critic": "privileged"})
    trained = train(config, scenario, checkpoints=tmp_path)
    policy = trained.policy
    plain = make_training_env(LearnerConfig.model_validate(SMALL), scenario)
    assert policy.spec.features == features_of(plain.observation_spec)
    assert policy.layers[0].weight.shape == (len(policy.spec.features), 8)
    assert play_days(policy, scenario, tune_seeds(2)).days["answered"].sum() > 0
    told = make_training_env(config, scenario)
    assert "privileged" in told.reset(seed=1)[1]


@pytest.mark.parametrize(
    "changes", [{"algorithm": "dqn"}, {"algorithm": "recurrent-ppo"}, {"warm_start": "marginal"}]
)
def test_config__refuses_what_has_no_such_critic(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="critic = 'privileged' needs algorithm"):
        LearnerConfig.model_validate({**changes, "critic": "privileged"})
