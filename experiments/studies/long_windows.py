"""What the shields cost on windows of 40 hours: the result `long-windows`.

The shields' cost lies at the begin and the end of a window, so it weighs less in a long one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rich.console import Console

from quietdial.envs.scenario import load_scenario
from quietdial.experiments.evaluate import test_seeds
from quietdial.experiments.studies.command import command_of
from quietdial.experiments.studies.compliance import play_all, write_figures
from quietdial.experiments.studies.protected import FLOORS, Setting, long_windows

NAME: Final = "long-windows"
COMMAND: Final = command_of(NAME)
N_WINDOWS: Final = 1000
LONG_H: Final = 40.0
"""Length of a window, played through as in the science study."""


def settings() -> list[Setting]:
    """The marginal rule on both floors, alone and behind each shield."""
    return [row for name in FLOORS for row in long_windows(load_scenario(name), LONG_H)]


def run(
    *,
    work: Path,
    processes: int,
    output: Path | None,
    console: Console,
    n_windows: int = N_WINDOWS,
) -> None:
    """Play every setting, show the table and write the figures; nothing is trained here."""
    del processes
    figures = play_all(settings(), test_seeds(n_windows), work, console)
    said = f"test windows 0 to {n_windows - 1}"
    write_figures(output, NAME, COMMAND, said, figures, of=NAME)
