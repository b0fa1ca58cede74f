"""The result `generalist-large`: the generalists of `generalist`, judged at 100 and 200 agents.

On the floor of 100 agents of `generalist` the list wears down, and the fixed ratio cannot be set to
3 % silent there. On these two the list never runs out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from quietdial.experiments.studies import generalist_floors
from quietdial.experiments.studies.generalist import record
from quietdial.experiments.studies.generalist_floors import judged_floor

NAME: Final = "generalist-large"

JUDGED: Final = (
    judged_floor(
        "agents-100-long",
        8,
        "talk of two kinds, a list that never runs out",
        (8, 16),
        n_agents=(100, 100),
        p_answer=(0.15, 0.3),
        talk_kinds=("two_kinds",),
        p_people=0.0,
    ),
    judged_floor(
        "agents-200",
        9,
        "gamma talk, a list that never runs out",
        (6, 12),
        n_agents=(200, 200),
        p_answer=(0.25, 0.5),
        talk_kinds=("gamma",),
        p_people=0.0,
    ),
)

PLAN: Final = replace(
    generalist_floors.PLAN, name=NAME, title="One policy for many floors: large ones", judged=JUDGED
)


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Do the study (see `command.Study`)."""
    record(PLAN, of=NAME, work=work, processes=processes, output=output, console=console)
