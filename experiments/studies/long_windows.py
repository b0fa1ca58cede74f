"""What the shields cost on windows of 40 hours: the result `long-windows`.

The shields' cost lies at the begin and the end of a window, so it weighs less in a long one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rich.console import Console

from quietdial.agents.rules import Marginal
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.scenario import changed, load_scenario
from quietdial.experiments.bench.results import put_figures, result_file
from quietdial.experiments.evaluate import test_seeds
from quietdial.experiments.studies.compliance import PAGE, page_table, play_all
from quietdial.experiments.studies.protected import (
    BORROWING,
    DETERMINISTIC,
    FLOORS,
    Setting,
    alone_and_behind,
)

NAME: Final = "long-windows"
COMMAND: Final = f"quietdial study {NAME} --output experiments/results/{NAME}.json"
N_WINDOWS: Final = 1000
LONG_H: Final = 40.0
"""Length of a window, played through as in the science study."""


def settings() -> list[Setting]:
    """The marginal rule on both floors, alone and behind each shield."""
    found: list[Setting] = []
    for name in FLOORS:
        episode = {"duration_s": LONG_H * 3600.0}
        scenario = changed(load_scenario(name), f"{name}-{LONG_H:g}h", episode=episode)
        found += alone_and_behind(
            scenario, "marginal .02", Marginal(0.02), BORROWING, DETERMINISTIC
        )
    return found


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
    if output is None:
        return
    said = f"test windows 0 to {n_windows - 1}"
    write_json_atomic(output, result_file(NAME, COMMAND, said, figures))
    if PAGE.is_file():
        put_figures(PAGE, page_table(figures), NAME)
