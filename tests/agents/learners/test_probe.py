"""What every algorithm logs while it trains, under the same tags."""

from collections.abc import Sequence
from typing import Any

import pytest
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.logger import KVWriter, Logger

from quietdial.agents.learners.config import ALGORITHM_NAMES, OFF_POLICY, LearnerConfig
from quietdial.agents.learners.training import train
from quietdial.envs import PacingVectorEnv, load_scenario
from quietdial.envs.scenario import Scenario

ALWAYS = {
    "pacing/reward",
    "pacing/utilisation",
    "pacing/conversations_per_agent_h",
    "rollout/ep_rew_mean",
    "safety/cap",
    "safety/cost_per_agent_h",
    "safety/multiplier",
    "safety/silent_rate",
    "time/fps",
}
ON_POLICY = {"train/entropy_loss", "train/approx_kl", "train/explained_variance"}


class _Memory(KVWriter):
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.rows.append({**key_values, "step": step})

    def close(self) -> None:
        pass


def _trained(algorithm: Any, *, shield: str | None = None) -> Sequence[dict[str, Any]]:
    scenario = load_scenario("study-real-5")
    settings: dict[str, Any] = {"total_steps": 2048, "n_envs": 32, "horizon_s": 20.0, "net": (8,)}
    if algorithm in OFF_POLICY:
        settings |= {"batch_size": 64, "learning_starts": 128}
    else:
        settings |= {"n_steps": 16, "batch_size": 256}
    config = LearnerConfig.preset(algorithm, report_every=512, **settings)
    memory = _Memory()

    def make_env(config: LearnerConfig, scenario: Scenario) -> PacingVectorEnv:
        return PacingVectorEnv(
            config.n_envs,
            scenario,
            action=config.action,
            silent_penalty=0.0,
            shield=shield,
            autoreset_mode=AutoresetMode.SAME_STEP,
            start="random",
            horizon_s=config.horizon_s,
        )

    train(config, scenario, logger=Logger(None, [memory]), make_env=make_env)
    return memory.rows


@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_training__logs_what_is_compared_under_the_same_tags(algorithm: str) -> None:
    rows = _trained(algorithm)
    logged = {key for row in rows for key in row}
    own = {"dqn": {"rollout/exploration_rate"}, "sac": {"train/entropy_loss"}}
    own["qr-dqn"] = own["dqn"]
    assert ALWAYS | own.get(algorithm, ON_POLICY) <= logged
    if "train/entropy_loss" in logged and algorithm != "sac":  # of 6 actions: at most log 6
        entropies = [-row["train/entropy_loss"] for row in rows if "train/entropy_loss" in row]
        assert all(0.0 < entropy <= 1.7918 for entropy in entropies)
    if algorithm in ("a2c", "trpo"):  # the updates moved the policy, and not far
        moves = [row["train/approx_kl"] for row in rows if "train/approx_kl" in row]
        assert moves
        assert all(0.0 < move < 0.1 for move in moves)


def test_training__behind_a_shield_logs_how_often_it_acts() -> None:
    rows = _trained("a2c", shield="deterministic")
    acts = [row["safety/shield_acts_per_agent_h"] for row in rows if "pacing/reward" in row]
    calls = [row["safety/shield_calls_per_agent_h"] for row in rows if "pacing/reward" in row]
    assert max(acts) > 0.0
    assert all(call >= act for act, call in zip(acts, calls, strict=True))
