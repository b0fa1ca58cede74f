"""Learners where those of `information-learners` fell behind the rule: `information-choice`.

Three steps of `information.py` on ten agents, and what they are compared with. The learners start
as the rule that knows the same, in number and choice of leads, and the policy before their training
is among the checkpoints from which selection days choose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rich.console import Console

from quietdial.experiments.studies import information
from quietdial.experiments.studies.information_learners import SEEDS
from quietdial.experiments.studies.paired import Days

NAME: Final = "information-choice"
LABELS: Final = (
    "scores, AUC .75, choice of 20",
    "scores, AUC .85, choice of 20",
    "scores .75 and signal 10 s",
)
DAYS: Final = Days(tune=24, test=64, tolerance=0.05, most_trials=5)
SELECT_DAYS: Final = Days(tune=12, test=16, tolerance=0.05, most_trials=5)
N_STEPS: Final = 400_000


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Train, judge, show and write (see `command.Study`)."""
    information.run(
        work=work,
        processes=processes,
        output=output,
        console=console,
        floors=information.LEARNERS_ON,
        steps=[step for step in information.STEPS if step.label in LABELS],
        seeds=SEEDS,
        days=DAYS,
        select=SELECT_DAYS,
        n_steps=N_STEPS,
        name=NAME,
        of=NAME,
    )
