"""Sinks for MLflow and Weights & Biases, with the real packages, on this machine only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from quietdial.envs.errors import MissingExtraError
from quietdial.experiments.cli import main
from quietdial.experiments.tracking import IDENTITY_FILE, TrackingFormat, require_sink

SETTINGS = {"learner": {"seed": 3, "net": [8]}}

SENDS = """
import sys
import time
from pathlib import Path
import numpy as np
from stable_baselines3.common.logger import Logger
from quietdial.experiments.tracking import TrackingFormat
track, run = sys.argv[1], Path(sys.argv[2])
settings = {"learner": {"seed": 3, "net": [8]}}
with TrackingFormat(track, run, settings) as sink:
    logger = Logger(str(run), [sink])
    logger.record("pacing/utilisation", np.float32(0.5))
    logger.record("train/loss", float("nan"))
    logger.record("note", "text")
    logger.dump(step=64)
time.sleep(1.1)  # Weights & Biases names the part of a run by the second
with TrackingFormat(track, run, settings) as sink:  # a resumed run
    sink.send({"final/utilisation": 0.8, "final/nothing": None}, 128)
"""


def _sent(track: str, run: Path) -> str:
    """Send some numbers in a process of its own; the identity that the run folder keeps."""
    run.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    env = {name: value for name, value in kept.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", SENDS, track, str(run)],
        env=env,
        cwd=run.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    identity = json.loads((run / IDENTITY_FILE).read_text())
    assert identity["track"] == track
    return str(identity["identity"])


def test_mlflow__gets_what_is_logged_and_goes_on_after_a_resume(tmp_path: Path) -> None:
    identity = _sent("mlflow", tmp_path / "one")
    (kept,) = (tmp_path / "mlruns").glob(f"*/{identity}")

    def numbers(tag: str) -> list[list[float]]:
        rows = (kept / "metrics" / tag).read_text().splitlines()
        return [[float(number) for number in row.split()[1:]] for row in rows]

    assert numbers("pacing/utilisation") == [[0.5, 64]]
    assert numbers("final/utilisation") == [[0.8, 128]]
    logged = {str(p.relative_to(kept / "metrics")) for p in (kept / "metrics").rglob("*/*")}
    assert logged == {"pacing/utilisation", "final/utilisation"}
    assert {p.name: p.read_text() for p in (kept / "params").iterdir()} == {
        "learner.seed": "3",
        "learner.net": "[8]",
    }


def test_wandb__is_offline_and_goes_on_after_a_resume(tmp_path: Path) -> None:
    identity = _sent("wandb", tmp_path / "one")
    parts = sorted((tmp_path / "one" / "wandb").glob(f"offline-run-*-{identity}/*.wandb"))
    assert parts
    written = b"".join(part.read_bytes() for part in parts)
    assert b"pacing/utilisation" in written
    assert b"final/utilisation" in written
    assert b"train/loss" not in written


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
