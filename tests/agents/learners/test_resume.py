"""Training that was stopped and goes on ends with the same weights, bit for bit."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import KVWriter, Logger

from quietdial.agents.checkpoint import ResumePoint, checkpoints_in, load_policy, resume_point
from quietdial.agents.learners.config import ALGORITHM_NAMES, LearnerConfig
from quietdial.agents.learners.floors import ManyFloors
from quietdial.agents.learners.training import RolloutReport, TrainedPolicy, train
from quietdial.envs.errors import CheckpointError, ConfigError
from quietdial.envs.scenario import Scenario, load_scenario

SMALL: dict[str, Any] = {
    "total_steps": 1280,
    "n_envs": 16,
    "n_steps": 16,
    "batch_size": 64,
    "net": (12,),
    "horizon_s": 60.0,
    "report_every": 256,
    "checkpoint_every": 2,
    "learning_starts": 64,
    "lstm": 8,
    "n_quantiles": 5,
    "buffer_size": 800,
}
WORLD = load_scenario("study-real-5")


def _config(algorithm: Any, **changes: Any) -> LearnerConfig:
    return LearnerConfig.preset(algorithm, **{**SMALL, **changes})


def _after(n: int) -> Callable[[], bool]:
    """Asks for a stop when it was asked so many times."""
    calls = itertools.count(1)
    return lambda: next(calls) > n


class _Rows(KVWriter):
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        timeless = {key: value for key, value in key_values.items() if key[:5] != "time/"}
        self.rows.append({**timeless, "step": step})

    def close(self) -> None:
        pass


def _run(
    config: LearnerConfig,
    root: Path,
    *,
    rows: _Rows | None = None,
    resume: ResumePoint | None = None,
    scenario: Scenario = WORLD,
    **more: Any,
) -> TrainedPolicy:
    logger = Logger(None, [rows or _Rows()])
    return train(config, scenario, logger=logger, checkpoints=root, resume=resume, **more)


def _disturbed(config: LearnerConfig, root: Path, rows: _Rows, **more: Any) -> TrainedPolicy:
    """Stop twice, at a checkpoint's step and between, and go on; numpy and torch drew meanwhile."""
    resume = None
    for stop in (_after(20), _after(25), None):
        trained = _run(config, root, rows=rows, resume=resume, should_stop=stop, **more)
        assert trained.completed == (stop is None)
        torch.rand(3)
        np.random.random(3)  # noqa: NPY002
        resume = resume_point(root, config.planned_steps)
        assert resume is not None
        assert resume.step == trained.steps
        assert resume.weights_sha256 == trained.weights_sha256
    return trained


@pytest.fixture(autouse=True)
def _no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing is pickled")

    for name in ("load", "save"):
        monkeypatch.setattr(torch, name, refuse)


@pytest.mark.parametrize("algorithm", ALGORITHM_NAMES)
def test_resume__every_algorithm_ends_with_the_same_weights(algorithm: str, tmp_path: Path) -> None:
    config = _config(algorithm)
    whole, parts = _Rows(), _Rows()
    undisturbed = _run(config, tmp_path / "whole", rows=whole)
    trained = _disturbed(config, tmp_path / "parts", parts)
    assert trained.weights_sha256 == undisturbed.weights_sha256
    assert trained.multiplier == undisturbed.multiplier
    assert trained.policy.training == undisturbed.policy.training
    assert parts.rows == whole.rows  # nothing twice, nothing missing, every number the same
    left = [[path.name for _, path in checkpoints_in(tmp_path / x)] for x in ("whole", "parts")]
    assert left[0] == left[1]  # so that the same ones are judged


@pytest.mark.parametrize(
    "changes",
    [
        {"conditioned": (50.0, 500.0)},
        {"conditioned": (50.0, 500.0), "critic": "privileged"},
        {"action": "dials", "warm_start": "progressive"},
        {"action": "threshold", "multiplier": "pid"},
        {"action": "vicidial_level", "horizon_s": 300.0},
        {"action": "residual_choice", "knowledge": "scores", "observation": "leads"},
        {"algorithm": "dqn", "conditioned": (50.0, 500.0)},
    ],
)
def test_resume__every_kind_of_training(changes: dict[str, Any], tmp_path: Path) -> None:
    scenario = WORLD
    if changes.get("action") == "residual_choice":
        values = WORLD.model_dump(mode="json", exclude_none=True)
        values["calls"]["leads"] = {"auc": 0.75}
        scenario = Scenario.model_validate(values)
    config = _config(**{"algorithm": "ppo-lagrangian", **changes})
    trained = _disturbed(config, tmp_path / "parts", _Rows(), scenario=scenario)
    undisturbed = _run(config, tmp_path / "whole", scenario=scenario)
    assert trained.weights_sha256 == undisturbed.weights_sha256


def test_resume__many_floors_with_full_worlds(tmp_path: Path) -> None:
    floors = ManyFloors((WORLD, load_scenario("italy-5"), load_scenario("study-shift-10")))
    config = _config("a2c", report_every=512)
    undisturbed = _run(config, tmp_path / "whole", make_env=floors)
    trained = _disturbed(config, tmp_path / "parts", _Rows(), make_env=floors)
    assert trained.weights_sha256 == undisturbed.weights_sha256


def test_resume__after_ctrl_c_goes_on_from_the_last_full_checkpoint(tmp_path: Path) -> None:
    config = _config("a2c", checkpoint_every=1)

    def interrupt(report: RolloutReport) -> None:
        if report.rollout == 3:
            raise KeyboardInterrupt

    stopped = _run(config, tmp_path, on_rollout=interrupt)
    assert not stopped.completed
    assert stopped.steps == 512
    point = resume_point(tmp_path, config.planned_steps)
    assert point is not None
    assert point.step == 512
    trained = _run(config, tmp_path, resume=point)
    assert trained.weights_sha256 == _run(config, tmp_path / "whole").weights_sha256


def test_resume__complete_training_is_not_done_again(tmp_path: Path) -> None:
    config = _config("a2c")
    first = _run(config, tmp_path)
    point = resume_point(tmp_path, config.planned_steps)
    assert point is not None
    assert point.training is None
    rows = _Rows()
    again = _run(config, tmp_path, rows=rows, resume=point)
    assert rows.rows == []
    assert again.completed
    assert (again.steps, again.weights_sha256) == (first.steps, first.weights_sha256)
    assert again.policy.training == first.policy.training


def test_resume_point__skips_damaged_ones_and_says_so(tmp_path: Path) -> None:
    config = _config("ppo", checkpoint_every=1, keep_checkpoints=4)
    _run(config, tmp_path, should_stop=_after(60))
    steps = [step for step, _ in checkpoints_in(tmp_path)]
    assert steps == [1024, 768, 512, 256]
    assert not (tmp_path / "step-256" / "training.json").exists()  # three can be gone on from
    (tmp_path / ".step-1.aa.tmp").mkdir()
    with (tmp_path / "step-1024" / "training.safetensors").open("r+b") as file:
        file.seek(5000)
        file.write(b"?")
    (tmp_path / "step-768" / "training.json").unlink()
    skipped: list[str] = []
    point = resume_point(tmp_path, config.planned_steps, report=skipped.append)
    assert point is not None
    assert point.step == 512
    assert [line.partition(": ")[2].partition(":")[0] for line in skipped] == [
        "damaged or changed",
        "is missing or not a plain file",
    ]
    assert not list(tmp_path.glob(".*"))
    load_policy(tmp_path)  # the weights of the newest are whole
    trained = _run(config, tmp_path, resume=point)
    assert trained.weights_sha256 == _run(config, tmp_path / "whole").weights_sha256
    assert [step for step, _ in checkpoints_in(tmp_path)] == [1280, 1024, 768, 512]
    assert resume_point(tmp_path / "none", 1) is None


def test_resume__refuses_other_settings_and_worlds(tmp_path: Path) -> None:
    config = _config("ppo")
    _run(config, tmp_path, should_stop=_after(20))
    point = resume_point(tmp_path, config.planned_steps)
    with pytest.raises(ConfigError, match=r"learner.seed = 1 there, 2 now"):
        _run(_config("ppo", seed=2), tmp_path, resume=point)
    with pytest.raises(ConfigError, match="another scenario or interface"):
        _run(config, tmp_path, resume=point, scenario=load_scenario("study-real-10"))
    assert point is not None
    assert point.training is not None
    arrays = dict(point.training.arrays)
    arrays["vec_env.world.head"] = arrays["vec_env.world.head"][1:]
    training = type(point.training)(arrays, point.training.values)
    changed = ResumePoint(**{**point.__dict__, "training": training})
    with pytest.raises(CheckpointError, match=r"head is .* is needed"):
        _run(config, tmp_path, resume=changed)
