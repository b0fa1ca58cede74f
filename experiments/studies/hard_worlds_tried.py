"""The result `hard-worlds-tried`: worlds that were not won, once more with other learners.

Three of the worlds of `hard-worlds` in which the learner was not surely above the best rule, each
with a critic that is told the truth (`learner.critic`) and with a policy that remembers
(`recurrent-ppo`), 2 M decisions each. Training seeds and judging are as there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from quietdial.experiments.studies.hard_worlds import WORLDS, HardWorld, Plan, record

NAME: Final = "hard-worlds-tried"
AGAIN: Final = ("late-feed", "small-team", "jumps")
"""Worlds that are asked about again: agents seen late, few of them, and what changes at once."""
TRIED: Final[dict[str, dict[str, Any]]] = {
    "told": {"critic": "privileged", "total_steps": 2_000_000},
    "recurrent": {"algorithm": "recurrent-ppo", "total_steps": 2_000_000},
}
"""What is tried in each of them: ending of the name, and settings of the learner."""
SAID: Final = {"told": "the critic is told the truth", "recurrent": "the policy remembers"}


def _again(world: HardWorld, kind: str) -> HardWorld:
    return replace(
        world,
        name=f"{world.name}-{kind}",
        missing=f"{world.missing}; {SAID[kind]}",
        settings={**world.settings, **TRIED[kind]},
    )


PLAN: Final = Plan(
    NAME,
    tuple(_again(world, kind) for world in WORLDS if world.name in AGAIN for kind in TRIED),
    learner="learner",
)


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Do the study (see `command.Study`)."""
    record(PLAN, work=work, processes=processes, output=output, console=console)
