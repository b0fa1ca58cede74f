"""Verbs for looking at runs: tensorboard."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Annotated

import tyro

from quietdial.envs.errors import ConfigError, MissingExtraError
from quietdial.experiments.verbs.common import EXIT_OK, Args, parse


@dataclasses.dataclass(frozen=True)
class TensorboardArgs:
    """Open TensorBoard on a folder of runs."""

    runs: Annotated[Path, tyro.conf.Positional] = Path("runs")
    """folder of runs, or one run"""
    port: int = 6006
    """port on this machine"""


def tensorboard(args: Args) -> int:
    """Open TensorBoard on the runs."""
    asked = parse(TensorboardArgs, args, "tensorboard")
    if not 1 <= asked.port <= 65_535:
        raise ConfigError(f"port = {asked.port} must be between 1 and 65535")
    if not asked.runs.is_dir():
        raise ConfigError(f"{asked.runs} is not a folder; give the folder of the runs")
    beside = Path(sys.executable).parent / "tensorboard"
    program = str(beside) if beside.exists() else shutil.which("tensorboard")
    if program is None:
        raise MissingExtraError("tensorboard", "train", "quietdial tensorboard")
    import subprocess  # our own installed program, fixed arguments

    address = ["--host", "127.0.0.1", "--port", str(asked.port)]
    command = [program, "--logdir", str(asked.runs), *address]
    try:
        return subprocess.run(command, check=False).returncode  # noqa: S603
    except KeyboardInterrupt:
        return EXIT_OK
