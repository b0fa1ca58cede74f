"""Training end to end on a small floor: it improves, it stops cleanly, it repeats itself."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from pydantic import ValidationError
from stable_baselines3.common.logger import KVWriter, Logger

from quietdial.agents.checkpoint import load_policy, load_state
from quietdial.agents.learned_policy import Layer
from quietdial.agents.learners.sb3_env import SameStepVecEnv
from quietdial.agents.learners.training import (
    LearnerConfig,
    RolloutReport,
    make_training_env,
    train,
)
from quietdial.agents.policy import THETA_RANGE
from quietdial.envs import PacingVectorEnv, Scenario
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.state import OWN_THETA
from quietdial.envs.scenario import changed
from quietdial.experiments.evaluate import play_days, silent_rate, tune, tune_seeds

SMALL = LearnerConfig(
    total_steps=4096,
    n_envs=32,
    n_steps=32,
    batch_size=256,
    net=(16,),
    horizon_s=300.0,
    checkpoint_every=1,
)


def _config(**changes: Any) -> LearnerConfig:
    return LearnerConfig.model_validate({**SMALL.model_dump(), **changes})


class _Memory(KVWriter):
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.rows.append({**key_values, "step": step})

    def close(self) -> None:
        pass


def test_config__default_discount_and_target() -> None:
    config = LearnerConfig()
    assert config.discount(1.0) == pytest.approx(math.exp(-1 / 20))
    assert _config(gamma=0.9).discount(1.0) == 0.9
    assert config.target(0.03) == pytest.approx(0.0285)
    assert _config(target_silent_rate=0.02).target(0.03) == 0.02
    assert LearnerConfig(total_steps=1).planned_steps == 256 * 128


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 1000}, "batch_size = 1000 must divide"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"gamma": 1.0}, "gamma"),
        ({"seed": -1}, "seed"),
        ({"net": []}, "net"),
        ({"action": "theta"}, "action"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_config__refuses_bad_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _config(**changes)


def test_train__runs_logs_reports_and_saves(scenario: Scenario, tmp_path: Path) -> None:
    memory, reports = _Memory(), list[RolloutReport]()
    threads = torch.get_num_threads()
    result = train(
        SMALL,
        scenario,
        logger=Logger(None, [memory]),
        on_rollout=reports.append,
        checkpoints=tmp_path / "checkpoints",
    )
    assert result.completed
    assert result.steps == SMALL.planned_steps == 4096
    assert torch.get_num_threads() == threads
    assert [report.step for report in reports] == [1024, 2048, 3072, 4096]
    assert all(0 < report.utilisation < 1 for report in reports)
    assert all(report.conversations_per_agent_h > 0 for report in reports)
    assert reports[0].learner == {}
    assert "train/explained_variance" in reports[1].learner
    wanted = {
        "safety/silent_rate",
        "safety/silent_rate_ema",
        "safety/multiplier",
        "safety/target",
        "pacing/utilisation",
        "pacing/conversations_per_agent_h",
        "time/fps",
    }
    assert wanted <= memory.rows[0].keys()
    assert {"train/loss", "train/learning_rate"} <= memory.rows[-1].keys()
    assert [row["step"] for row in memory.rows] == [1024, 2048, 3072, 4096]
    assert result.checkpoint is not None
    assert result.checkpoint == tmp_path / "checkpoints" / "step-4096"
    assert len(list((tmp_path / "checkpoints").iterdir())) == 3
    obs = np.random.default_rng(0).normal(size=(200, len(result.policy.spec.features)))
    assert np.array_equal(load_policy(result.checkpoint).logits(obs), result.policy.logits(obs))
    state = load_state(result.checkpoint)
    assert state.step == 4096
    assert state.multiplier == result.multiplier
    assert LearnerConfig.model_validate(state.config) == SMALL


def test_train__repeats_itself_from_the_same_seed(scenario: Scenario) -> None:
    one, two, other = (train(_config(total_steps=2048, seed=seed), scenario) for seed in (3, 3, 4))
    for a, b, c in zip(one.policy.layers, two.policy.layers, other.policy.layers, strict=True):
        assert np.array_equal(a.weight, b.weight)
        assert not np.array_equal(a.weight, c.weight)


def test_train__stops_when_asked(scenario: Scenario, tmp_path: Path) -> None:
    calls = itertools.count()
    result = train(
        _config(total_steps=1_000_000),
        scenario,
        should_stop=lambda: next(calls) >= 75,  # in the middle of the third rollout
        checkpoints=tmp_path,
    )
    assert not result.completed
    assert result.steps == 3072  # the update that was under way is done
    assert result.checkpoint == tmp_path / "step-3072"


def test_train__ctrl_c_leaves_the_last_whole_update(scenario: Scenario, tmp_path: Path) -> None:
    def interrupt(report: RolloutReport) -> None:
        if report.rollout == 2:
            raise KeyboardInterrupt

    result = train(
        _config(total_steps=1_000_000, checkpoint_every=1000),
        scenario,
        on_rollout=interrupt,
        checkpoints=tmp_path,
    )
    assert not result.completed
    assert result.steps == 1024
    obs = np.zeros((1, len(result.policy.spec.features)))
    assert np.array_equal(load_policy(tmp_path).logits(obs), result.policy.logits(obs))


def test_train__dials_actions_start_at_no_dials(scenario: Scenario) -> None:
    result = train(_config(total_steps=1024, action="dials", learning_rate=1e-9), scenario)
    assert result.policy.spec.n_actions == scenario.max_dials + 1
    obs = np.random.default_rng(0).normal(size=(100, len(result.policy.spec.features)))
    assert (result.policy.act(obs)[0] == 0).all()


def test_train__refuses_a_continuous_action(scenario: Scenario) -> None:
    def make(config: LearnerConfig, world: Scenario) -> Any:
        return PacingVectorEnv(
            config.n_envs, world, action="theta", autoreset_mode=AutoresetMode.SAME_STEP
        )

    with pytest.raises(ConfigError, match="Discrete is needed"):
        train(SMALL, scenario, make_env=make)


def test_train__improves_the_constrained_objective(scenario: Scenario) -> None:
    """More work less the price of silent calls than at the start, and fewer silent calls."""
    reports: list[RolloutReport] = []
    train(
        LearnerConfig(total_steps=150_000, n_envs=64, n_steps=64, batch_size=1024, seed=2),
        scenario,
        on_rollout=reports.append,
    )

    def value(part: list[RolloutReport]) -> float:
        """Busy share less the price of silent calls above target, at one fixed price."""
        return float(
            np.mean(
                [
                    r.utilisation
                    - 150 / 3600 * r.conversations_per_agent_h * (r.silent_rate - 0.0285)
                    for r in part
                ]
            )
        )

    assert value(reports[-10:]) > value(reports[1:6]) + 0.05
    assert np.mean([r.silent_rate for r in reports[-10:]]) < reports[0].silent_rate


def test_train__keeps_as_many_checkpoints_as_asked(scenario: Scenario, tmp_path: Path) -> None:
    train(_config(keep_checkpoints=5), scenario, checkpoints=tmp_path)
    steps = sorted(int(folder.name.removeprefix("step-")) for folder in tmp_path.iterdir())
    assert steps == [1024, 2048, 3072, 4096]


def test_train__starts_as_a_copy_of_a_rule(scenario: Scenario) -> None:
    given: dict[str, Any] = {"total_steps": 1024, "learning_rate": 1e-9, "action": "dials"}
    plain, clone, priced = (
        train(_config(**given, **changes), scenario).policy
        for changes in (
            {},
            {"warm_start": "progressive"},
            {"warm_start": "progressive", "conditioned": (50.0, 500.0), "multiplier": "fixed"},
        )
    )
    env = PacingVectorEnv(64, scenario, observation="full", action="dials")
    obs, _ = env.reset(seed=1)
    assert (plain.act(obs)[0] == 0).all()
    for policy in (clone, priced):
        assert (policy.act(obs)[0] > 0).all()  # everybody is idle


def test_train__refuses_a_rule_that_is_not_known(scenario: Scenario) -> None:
    with pytest.raises(ConfigError, match="rule 'nobody' is not known"):
        train(_config(warm_start="nobody"), scenario)
    with pytest.raises(ValidationError, match="warm_start"):
        LearnerConfig.preset("dqn", warm_start="marginal")


class _TwoFloors(PacingVectorEnv):
    """Half of the rows pretend to be floors of 20 agents with half the cap."""

    n_agents_by_row = np.repeat([10, 20], 16)
    caps_by_row = np.repeat([0.03, 0.015], 16)


def test_train__rows_pay_by_their_own_floor(scenario: Scenario) -> None:
    def make(config: LearnerConfig, world: Scenario) -> Any:
        return _TwoFloors(
            config.n_envs,
            world,
            observation="full",
            action="residual",
            silent_penalty=0.0,
            start="random",
            autoreset_mode=AutoresetMode.SAME_STEP,
        )

    reports: list[RolloutReport] = []
    trained = train(SMALL, scenario, make_env=make, on_rollout=reports.append)
    assert trained.completed
    vec = SameStepVecEnv(
        make(SMALL, scenario),
        n_agents=_TwoFloors.n_agents_by_row,
        cap=_TwoFloors.caps_by_row,
        multiplier=100.0,
    )
    vec.seed(3)
    vec.reset()
    for _ in range(200):
        vec.step(np.full(32, 4))
    window = vec.take_window()
    allowed = (0.03 / 10 + 0.015 / 20) / 2 * window["answered"]
    assert window["window_allowed_share"] == pytest.approx(allowed, rel=0.1)
    # the multiplier measures silent calls in units of what the rows' own caps allow
    assert reports[0].silent_rate_ema > reports[0].silent_rate


def test_conditioned__every_episode_has_a_price_of_its_own(scenario: Scenario) -> None:
    def vec_env(seed: int = 5) -> SameStepVecEnv:
        env = PacingVectorEnv(
            8, scenario, silent_penalty=0.0, horizon_s=40.0, autoreset_mode=AutoresetMode.SAME_STEP
        )
        return SameStepVecEnv(
            env, n_agents=10, cap=0.03, reward_scale=1.0, conditioned=(50.0, 500.0), seed=seed
        )

    vec, again, other = vec_env(), vec_env(), vec_env(seed=6)
    for one in (vec, again, other):
        one.seed(1)
    obs = vec.reset()
    assert isinstance(obs, np.ndarray)
    assert np.array_equal(obs, again.reset())
    assert not np.array_equal(obs, other.reset())
    prices = np.array(vec.multiplier)
    assert len(np.unique(prices)) == 8
    assert ((prices >= 50) & (prices <= 500)).all()
    np.testing.assert_allclose(obs[:, -1], np.log(prices / 150.0), rtol=1e-6)
    space = vec.observation_space
    assert space.shape == (obs.shape[1],)
    n_ended = 0
    for _ in range(90):
        before = np.array(vec.multiplier)
        obs, _, dones, infos = vec.step(np.full(8, 3))
        after = np.array(vec.multiplier)
        assert np.array_equal(before != after, dones)
        for row in np.flatnonzero(dones):
            last = infos[row]["terminal_observation"]
            assert last[-1] == pytest.approx(np.log(before[row] / 150.0), rel=1e-5)
            n_ended += 1
    assert n_ended >= 8
    assert isinstance(obs, np.ndarray)
    np.testing.assert_allclose(obs[:, -1], np.log(np.array(vec.multiplier) / 150.0), rtol=1e-6)


def test_conditioned__the_base_rule_goes_by_the_price(scenario: Scenario) -> None:
    """A dear silent call: a base rule with a lower threshold, in training and in play alike."""
    config = _config(
        total_steps=1024, conditioned=(20.0, 2000.0), multiplier="fixed", base_theta=0.03
    )
    env = make_training_env(config, scenario)
    vec = SameStepVecEnv(
        env, n_agents=10, cap=0.03, conditioned=config.conditioned, priced_theta=config.priced_theta
    )
    vec.seed(3)
    obs = vec.reset()
    dials = np.full(vec.num_envs, 2)
    ended = 0
    for _ in range(int(config.horizon_s) + 200):
        assert isinstance(obs, np.ndarray)
        prices = np.array(vec.multiplier)
        thetas = np.clip(0.03 * 150.0 / prices, *THETA_RANGE)
        state = env.get_state()["head"][:, OWN_THETA] * 2.0**-53
        np.testing.assert_allclose(state, thetas, rtol=1e-12)
        obs, _, dones, _ = vec.step(dials)
        ended += int(dones.sum())
    assert ended >= vec.num_envs
    policy = train(config, scenario).policy
    assert policy.spec.priced_theta == 0.03
    assert policy.base_theta == pytest.approx(0.03)
    assert policy.with_knob(600.0).base_theta == pytest.approx(0.0075)
    assert policy.with_knob(600.0).with_knob(150.0).base_theta == pytest.approx(0.03)


def test_deployed__sampled_policies_draw_by_seed_and_past(scenario: Scenario) -> None:
    policy = train(_config(total_steps=1024, deployed="sampled"), scenario).policy
    assert policy.deployed == "sampled"
    obs = np.random.default_rng(0).normal(size=(2000, len(policy.spec.features)))
    obs = obs.astype(np.float32)
    first, past = policy.act(obs)
    again, _ = policy.act(obs)
    later, _ = policy.act(obs, past)
    other, _ = replace(policy, seed=99).act(obs)
    assert np.array_equal(first, again)
    assert np.array_equal(first[::-1], policy.act(obs[::-1])[0])  # whatever the arrangement
    assert not np.array_equal(first, later)
    assert not np.array_equal(first, other)
    logits = policy.logits(obs)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    counts = np.bincount(first, minlength=policy.spec.n_actions) / len(obs)
    np.testing.assert_allclose(counts, chances.mean(axis=0), atol=0.04)


def test_tune__finds_the_rate_of_a_price_which_lowers_it(scenario: Scenario) -> None:
    """A policy that dials less the higher its price is; its knob falls where others rise."""
    policy = train(
        _config(total_steps=1024, conditioned=(50.0, 500.0), multiplier="fixed"), scenario
    ).policy
    inputs = policy.spec.n_inputs
    weight = np.zeros((inputs, policy.spec.n_actions))
    weight[-1] = 3.0 * -np.arange(policy.spec.n_actions)
    priced = replace(policy, layers=(Layer(weight, np.array([0.0, 1.0, 1.5, 1.0, 0.0, -2.0])),))
    short = scenario.model_copy(
        update={"episode": scenario.episode.model_copy(update={"duration_s": 3600.0})}
    )
    low, high = (
        silent_rate(play_days(priced.with_knob(price), short, tune_seeds(4)))
        for price in (500.0, 50.0)
    )
    assert low < high
    tuned = tune(priced, short, 0.5 * (low + high), tune_seeds(4), most_trials=6)
    knobs = [knob for knob, *_ in tuned.sweep]
    assert len(knobs) > 2
    assert abs(tuned.tuning_rate - 0.5 * (low + high)) < 0.5 * (high - low)


def test_train__decides_as_often_as_the_action_kind_does(scenario: Scenario) -> None:
    """Levels of VICIdial stand for 15 s: the discount, the days and the policy go by that."""
    hours = changed(scenario, episode={"duration_s": 7200.0})
    policy = train(_config(action="vicidial_level", horizon_s=1800.0), hours).policy
    assert policy.spec.decision_interval_s == 15.0
    days = play_days(policy, hours, np.arange(2))
    most_s = 7200.0 * hours.floor.n_agents
    assert (days.days["available_s"] > 0.7 * most_s).all()
    assert (days.days["available_s"] <= most_s).all(), "not a step beyond the end of the day"
