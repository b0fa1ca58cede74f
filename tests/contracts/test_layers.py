"""Imports flow one way: envs <- agents <- experiments, and the simulator stays light."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOMS = ("envs", "agents", "experiments")


def lint_imports(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [str(command), "--no-cache"],
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """A copy of the rooms, importable as `quietdial` with the folder on the path."""
    for room in ROOMS:
        shutil.copytree(
            repository / room,
            tmp_path / "quietdial" / room,
            ignore=shutil.ignore_patterns("__pycache__", "results"),
        )
    shutil.copy(repository / "pyproject.toml", tmp_path)
    return tmp_path


def test_layers__hold(repository: Path) -> None:
    result = lint_imports(repository)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 kept, 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("planted_in", "statement", "contract"),
    [
        ("envs", "import quietdial.agents", "Imports flow one way"),
        ("agents", "from quietdial import experiments", "Imports flow one way"),
        ("envs", "import torch", "The simulator needs no learning library"),
        ("envs", "from stable_baselines3 import PPO", "The simulator needs no learning library"),
        ("agents/runtime", "import numba", "The runtime needs numpy"),
        ("agents/runtime", "from quietdial.envs.laws import Law", "The runtime needs numpy"),
    ],
)
def test_layers__break_on_a_planted_import(
    copy: Path, planted_in: str, statement: str, contract: str
) -> None:
    planted = copy / "quietdial" / planted_in / "planted.py"
    planted.write_text(f'"""A module that breaks the rule."""\n\n{statement}\n', encoding="utf-8")
    result = lint_imports(copy, PYTHONPATH=str(copy))
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"quietdial.{planted_in.replace('/', '.')}.planted" in result.stdout
    assert any(contract in line and "BROKEN" in line for line in result.stdout.splitlines())
