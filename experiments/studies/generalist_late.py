"""The result `generalist-late`: one policy for many small floors whose agents are seen late.

Where agents are seen late, a learner has something to gain on the rules (`late_worlds`). This asks
whether one policy gains it on floors that it never saw: the procedure of `generalist`, with
training floors of the range `late`, each at its own threshold of the base rule, the set `wide`, and
more decisions on each floor. A generalist has twice as many decisions as a specialist, but a
twelfth of its decisions on one floor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from rich.console import Console

from quietdial.experiments.studies.generalist import record
from quietdial.experiments.studies.generalist_floors import JudgedFloor, Plan, judged_floor

NAME: Final = "generalist-late"


def _seen_late(
    n_agents: int, seed: int, said: str, delay_s: int, *, inside: bool = True, **ranges: Any
) -> JudgedFloor:
    return judged_floor(
        f"late-{n_agents}" if delay_s else f"on-time-{n_agents}",
        seed,
        f"{said}, seen {delay_s} s late" if delay_s else said,
        (16, 32),
        inside=inside,
        n_agents=(n_agents, n_agents),
        p_late_feed=1.0 if delay_s else 0.0,
        feed_delay_s=(delay_s, delay_s),
        **ranges,
    )


JUDGED: Final = (
    _seen_late(5, 0, "exponential talk", 3, p_answer=(0.25, 0.5), talk_kinds=("exponential",)),
    _seen_late(8, 1, "gamma talk", 5, p_answer=(0.15, 0.3), talk_kinds=("gamma",)),
    _seen_late(10, 2, "lognormal talk", 4, p_answer=(0.08, 0.15), talk_kinds=("lognormal",)),
    _seen_late(20, 4, "Weibull talk", 4, p_answer=(0.25, 0.5), talk_kinds=("weibull",)),
    _seen_late(
        3,
        5,
        "fewer agents than in training",
        4,
        inside=False,
        p_answer=(0.15, 0.3),
        talk_kinds=("gamma",),
    ),
    _seen_late(
        10,
        6,
        "agents seen at once",
        0,
        inside=False,
        p_answer=(0.15, 0.3),
        talk_kinds=("lognormal",),
    ),
)

PLAN: Final = Plan(
    NAME,
    "One policy for many small floors seen late",
    ranges="late",
    n_floors=24,
    floors_seed=2027,
    judged=JUDGED,
    generalist_steps=4_000_000,
    specialist_steps=2_000_000,
    n_epochs=4,
    observation="wide",
    own_threshold=True,
)


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Do the study (see `command.Study`)."""
    record(PLAN, of=NAME, work=work, processes=processes, output=output, console=console)
