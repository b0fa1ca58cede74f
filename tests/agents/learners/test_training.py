"""Training end to end on a small floor: it improves, it stops cleanly, it repeats itself."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from pydantic import ValidationError
from stable_baselines3.common.logger import KVWriter, Logger

from quietdial.agents.checkpoint import load_policy, load_state
from quietdial.agents.learners.training import (
    LearnerConfig,
    RolloutReport,
    train,
)
from quietdial.envs import PacingVectorEnv, Scenario
from quietdial.envs.errors import ConfigError

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
    assert [row["step"] for row in memory.rows] == [1024, 2048, 3072, 4096, 4096]
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
    assert result.steps == 2048
    assert result.checkpoint == tmp_path / "step-2048"


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
