"""What each piece of information is worth, learners beside the rule: `information-learners`.

The study of `information.py` with the trainings; on one core it takes most of an hour.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rich.console import Console

from quietdial.experiments.studies import information

NAME: Final = "information-learners"
SEEDS: Final = (1, 2, 3)


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Train, judge, show and write (see `command.Study`)."""
    information.run(
        work=work, processes=processes, output=output, console=console, seeds=SEEDS, name=NAME
    )
