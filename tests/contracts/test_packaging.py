"""The wheel holds every module, works alone, and its simulator needs no PyTorch."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path

import pytest

ROOMS = ("envs", "agents", "experiments")
HEAVY = (
    "torch",
    "stable_baselines3",
    "tensorboard",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "simpy",
    "pyarrow",
)


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command that sees nothing of this checkout but what it is given."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        command,
        cwd=folder,
        env=clean | {"NO_COLOR": "1", "COLUMNS": "120"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def source_files(repository: Path) -> set[str]:
    """Every file of the rooms as the wheel should name it; results are not for users."""
    return {
        f"quietdial/{path.relative_to(repository).as_posix()}"
        for room in ROOMS
        for path in (repository / room).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.relative_to(repository).parts[:2] != ("experiments", "results")
    }


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that no old build folder of the checkout gets in."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(repository / name, tree)
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(repository / room, tree / room, ignore=ignored)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    result = run([*command, str(tree)], tree)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """The wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def bare(repository: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the wheel and what it requires, nothing else."""
    home = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    bin_ = home / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(bin_ / "python"), "--quiet", "install"]
    pins = ["--no-compile", "--constraint", str(repository / "constraints.txt")]
    result = run([*pip, *pins, str(wheel)], home)
    assert result.returncode == 0, result.stdout + result.stderr
    return bin_


def test_wheel__holds_every_file_of_the_rooms(repository: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = source_files(repository)
    assert packed == expected
    assert {f"quietdial/{room}/py.typed" for room in ROOMS} <= packed
    assert "quietdial/envs/presets/italy-50.yaml" in packed


def test_wheel__says_what_it_is(metadata: Message) -> None:
    assert metadata["Name"] == "quietdial"
    assert metadata["Version"] == version("quietdial")
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.11"
    extras = set(metadata.get_all("Provides-Extra", []))
    base = {"train", "export", "sweep", "serve", "vicidial", "track", "bench", "records"}
    assert extras == base | {"dev"}


def test_wheel__requires_no_learning_library(metadata: Message) -> None:
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert required
    for line in required:
        assert not line.replace("-", "_").startswith(HEAVY)


def test_wheel__works_in_a_bare_environment(bare: Path, tmp_path: Path) -> None:
    result = run([str(bare / "quietdial"), "--help"], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    for verb in ("train", "evaluate", "calibrate", "export", "play", "bench"):
        assert verb in result.stdout

    code = (
        "import importlib.util, json, sys\n"
        "import quietdial.envs\n"
        f"print(json.dumps([name for name in {HEAVY!r} if importlib.util.find_spec(name)]))\n"
        "print(quietdial.envs.__file__)\n"
        "print(sorted(quietdial.envs.preset_names())[:1])\n"
    )
    result = run([str(bare / "python"), "-W", "error", "-c", code], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    heavy, origin, presets = result.stdout.splitlines()
    assert json.loads(heavy) == []
    assert Path(origin).is_relative_to(bare.parent)
    assert presets != "[]"


def test_wheel__names_the_extra_that_training_needs(bare: Path, tmp_path: Path) -> None:
    result = run([str(bare / "quietdial"), "train"], tmp_path)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "quietdial[train]" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_rooms__refuse_to_be_imported_by_their_folder(room: str, repository: Path) -> None:
    result = run([sys.executable, "-c", f"import {room}"], repository)
    assert result.returncode == 1
    assert f"ImportError: import this package as 'quietdial.{room}', not as '{room}'" in (
        result.stderr
    )
