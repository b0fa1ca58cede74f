"""Sinks for MLflow and Weights & Biases, against stand-ins with the calls that we make.

Neither package is installed here, so what they do with the numbers is not tested.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.logger import Logger

from quietdial.envs.errors import MissingExtraError
from quietdial.experiments.cli import main
from quietdial.experiments.tracking import IDENTITY_FILE, TrackingFormat, require_sink

SETTINGS = {"learner": {"seed": 3, "net": [8]}}


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A stand-in for mlflow that keeps every call."""
    calls: list[Any] = []

    def start_run(run_id: str | None = None, run_name: str | None = None) -> Any:
        calls.append(("start", run_id, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id or "abc"))

    module = SimpleNamespace(
        set_tracking_uri=lambda uri: calls.append(("uri", uri)),
        set_experiment=lambda name: calls.append(("experiment", name)),
        start_run=start_run,
        log_params=lambda params: calls.append(("params", params)),
        log_metrics=lambda metrics, step: calls.append(("metrics", metrics, step)),
        end_run=lambda: calls.append(("end",)),
    )
    monkeypatch.setitem(sys.modules, "mlflow", module)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    return calls


def test_mlflow__gets_what_is_logged_and_goes_on_after_a_resume(
    mlflow: list[Any], tmp_path: Path
) -> None:
    run = tmp_path / "one"
    run.mkdir()
    with TrackingFormat("mlflow", run, SETTINGS) as sink:
        logger = Logger(str(run), [sink])
        logger.record("pacing/utilisation", np.float32(0.5))
        logger.record("train/loss", float("nan"))
        logger.record("note", "text")
        logger.dump(step=64)
    assert mlflow == [
        ("uri", (tmp_path / "mlruns").as_uri()),
        ("experiment", "quietdial"),
        ("start", None, "one"),
        ("params", {"learner.seed": 3, "learner.net": "[8]"}),
        ("metrics", {"pacing/utilisation": 0.5}, 64),
        ("end",),
    ]
    assert json.loads((run / IDENTITY_FILE).read_text()) == {"track": "mlflow", "identity": "abc"}
    mlflow.clear()
    with TrackingFormat("mlflow", run, SETTINGS) as sink:
        sink.send({"final/utilisation": 0.8, "final/nothing": None}, 128)
    assert mlflow[1:] == [
        ("start", "abc", None),
        ("metrics", {"final/utilisation": 0.8}, 128),
        ("end",),
    ]


def test_wandb__is_offline_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[Any] = []

    def init(**arguments: Any) -> Any:
        calls.append(arguments)
        return SimpleNamespace(
            id="xyz",
            log=lambda values, step: calls.append((values, step)),
            finish=lambda: calls.append("finish"),
        )

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with TrackingFormat("wandb", tmp_path, SETTINGS) as sink:
        sink.send({"a": 1.0}, 7)
    assert os.environ.pop("WANDB_MODE") == "offline"
    assert calls[0]["dir"] == str(tmp_path)
    assert calls[1:] == [({"a": 1.0}, 7), "finish"]


def test_track__none_sends_nothing_and_a_missing_package_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    with TrackingFormat("none", tmp_path, SETTINGS) as sink:
        sink.send({"a": 1.0}, 1)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"quietdial\[track\]"):
        require_sink("wandb")
    assert main(["train", "--track", "wandb", f"--runs={tmp_path / 'runs'}"]) == 2
    assert "needs the package 'wandb'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
