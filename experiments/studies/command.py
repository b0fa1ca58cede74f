"""`quietdial study NAME`: the studies by the name of the result that they record."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, cast

from rich.console import Console

from quietdial.envs.errors import ConfigError
from quietdial.experiments.progress import duration
from quietdial.experiments.rundir import writable_file, writable_folder
from quietdial.experiments.studies.pool import Trained

STUDIES: Final[dict[str, str]] = {
    "budget-plan": "budget_plan",
    "long-windows": "long_windows",
    "compliance": "compliance",
    "damaged-checkpoints": "damaged_checkpoints",
    "export-parity": "export_parity",
    "generalist": "generalist",
    "generalist-large": "generalist_large",
    "generalist-late": "generalist_late",
    "hard-worlds": "hard_worlds",
    "hard-worlds-tried": "hard_worlds_tried",
    "hostile-bundles": "hostile_bundles",
    "information": "information",
    "information-choice": "information_choice",
    "information-learners": "information_learners",
    "kill-storm": "kill_storm",
    "learners": "learners",
    "late-worlds": "late_worlds",
    "log-calibration": "log_calibration",
    "markov-optimum": "markov",
    "pacer-parity": "pacer_parity",
    "ray-node-loss": "node_loss",
    "realistic-3pct": "realistic",
    "shadow-estimates": "shadow_estimates",
    "shield": "shield_days",
}
"""Result and the module of this folder whose `run` makes it."""


def command_of(name: str) -> str:
    """The command that makes and records the result of a study, as users type it."""
    return f"quietdial study {name} --output experiments/results/{name}.json"


def picture_of(name: str) -> Path:
    """The picture of a study's result in the docs."""
    return Path(f"docs/figures/{name}.png")


class Study(Protocol):
    """What the module of a study holds as `run`."""

    def __call__(
        self, *, work: Path, processes: int, output: Path | None, console: Console
    ) -> None:
        """Train what is missing, judge it, show the figures and write them.

        Args:
            work: folder of the trainings; what is finished there is taken.
            processes: trainings that run at the same time.
            output: JSON file for the figures; none: not written.
            console: where progress and tables go.
        """


def run_study(
    name: str, *, work: Path, processes: int, output: Path | None, console: Console
) -> None:
    """Run a study by its name (ConfigError: there is none of that name)."""
    if name not in STUDIES:
        raise ConfigError(f"study {name!r} must be one of: {', '.join(STUDIES)}")
    if processes < 1:
        raise ConfigError(f"processes = {processes} must be at least 1")
    if output is not None:
        writable_file(output)
    module = import_module(f"quietdial.experiments.studies.{STUDIES[name]}")
    study = cast("Study", module.run)
    study(work=writable_folder(work / name), processes=processes, output=output, console=console)


def progress(console: Console) -> Callable[[Trained], None]:
    """A report of :func:`~.pool.train_all`: a line for every training, with the time left."""
    began: list[tuple[float, int]] = []

    def report(step: Trained) -> None:
        now = time.monotonic()
        if not began:  # trainings of earlier calls took no time now
            began.append((now - step.seconds, step.done - 1))
        said = step.error or f"{step.seconds:.0f} s"
        if step.done < step.total:
            then, before = began[0]
            left_s = (now - then) / (step.done - before) * (step.total - step.done)
            said += f", about {duration(left_s)} left"
        console.print(f"{step.done}/{step.total} {step.key}: {said}", highlight=False)

    return report
