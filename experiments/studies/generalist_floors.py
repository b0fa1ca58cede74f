"""What the studies of one policy for many floors train and judge: floors, seeds, effort."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from quietdial.agents.learners.config import LearnerConfig
from quietdial.envs.randomise import ScenarioRanges, draw_scenario, draw_scenarios
from quietdial.envs.scenario import Scenario, changed
from quietdial.experiments.studies.command import command_of, picture_of

RATE: Final = 0.03
SEEDS: Final = (1, 2, 3)
ASKED_POINTS: Final = 0.5
"""The generalist should be at most so far below the specialist, in points of utilisation."""


class JudgedFloor(NamedTuple):
    """A floor that the generalist is judged on and was not trained on.

    Attributes:
        name: its name in tables.
        seed: seed of its draw.
        said: what is special about it.
        inside: whether it lies inside the range of the training floors.
        ranges: what the draw changes of `ScenarioRanges`.
        n_tune: tuning days.
        n_test: test days.
    """

    name: str
    seed: int
    said: str
    inside: bool
    ranges: Mapping[str, Any]
    n_tune: int
    n_test: int


_PLAIN: Final[dict[str, Any]] = {
    "hours": (4, 4),
    "detections": ("perfect",),
    "p_late_feed": 0.0,
    "rules": ("it_2014",),
}
"""What all judged floors have in common, unless they say otherwise."""


def judged_floor(
    name: str, seed: int, said: str, days: tuple[int, int], *, inside: bool = True, **ranges: Any
) -> JudgedFloor:
    """A judged floor; `days`: of tuning and of test; `ranges`: of its draw, see `JudgedFloor`."""
    return JudgedFloor(name, seed, said, inside, {**_PLAIN, **ranges}, *days)


JUDGED: Final = (
    judged_floor(
        "agents-5",
        0,
        "exponential talk",
        (24, 48),
        n_agents=(5, 5),
        p_answer=(0.25, 0.5),
        talk_kinds=("exponential",),
    ),
    judged_floor(
        "agents-10",
        1,
        "lognormal talk",
        (16, 32),
        n_agents=(10, 10),
        p_answer=(0.08, 0.15),
        talk_kinds=("lognormal",),
    ),
    judged_floor(
        "agents-25-amd",
        2,
        "gamma talk, detector that takes people for machines",
        (12, 24),
        n_agents=(25, 25),
        p_answer=(0.15, 0.3),
        talk_kinds=("gamma",),
        detections=("amd",),
        p_false_machine=(0.004, 0.01),
    ),
    judged_floor(
        "agents-50-late",
        3,
        "Weibull talk, agents seen late",
        (12, 24),
        n_agents=(50, 50),
        p_answer=(0.25, 0.5),
        talk_kinds=("weibull",),
        p_late_feed=1.0,
        feed_delay_s=(1, 3),
    ),
    judged_floor(
        "agents-100",
        7,
        "lognormal talk",
        (8, 16),
        n_agents=(100, 100),
        p_answer=(0.15, 0.3),
        talk_kinds=("lognormal",),
    ),
    judged_floor(
        "agents-3",
        5,
        "fewer agents than in training",
        (24, 48),
        inside=False,
        n_agents=(3, 3),
        p_answer=(0.15, 0.3),
        talk_kinds=("gamma",),
    ),
    judged_floor(
        "answers-3-percent",
        6,
        "fewer answers than in training, 25 agents",
        (12, 24),
        inside=False,
        n_agents=(25, 25),
        p_answer=(0.03, 0.03),
        talk_kinds=("lognormal",),
    ),
)


@dataclass(frozen=True)
class Plan:
    """What is trained and judged for one result.

    Attributes:
        name: of the result.
        title: of the picture.
        ranges: between which bounds the training floors are drawn.
        n_floors: how many.
        floors_seed: seed of their draw.
        judged: the floors of the judgement, those inside the range first.
        generalist_steps: decisions of a generalist's training.
        specialist_steps: decisions of a specialist's.
        n_epochs: passes over each rollout.
        observation: what the learner sees.
        own_threshold: whether each floor trains at its own threshold of the base rule.
        seeds: training seeds.
    """

    name: str
    title: str
    ranges: str
    n_floors: int
    floors_seed: int
    judged: tuple[JudgedFloor, ...]
    generalist_steps: int
    specialist_steps: int
    n_epochs: int
    observation: Literal["full", "wide"] = "full"
    own_threshold: bool = False
    seeds: tuple[int, ...] = SEEDS

    @property
    def command(self) -> str:
        """The command that makes the result."""
        return command_of(self.name)

    @property
    def picture(self) -> Path:
        """The picture of the result."""
        return picture_of(self.name)

    def training_floors(self) -> tuple[Scenario, ...]:
        """The floors that the generalist is trained on."""
        return draw_scenarios(self.n_floors, self.floors_seed, self.ranges)

    def config(self, total_steps: int, seed: int, **settings: Any) -> LearnerConfig:
        """Settings of a training."""
        return LearnerConfig(
            observation=self.observation,
            total_steps=total_steps,
            n_epochs=self.n_epochs,
            seed=seed,
            **settings,
        )


PLAN: Final = Plan(
    "generalist",
    "One policy for many floors",
    ranges="default",
    n_floors=32,
    floors_seed=2026,
    judged=JUDGED,
    generalist_steps=1_310_720,
    specialist_steps=655_360,
    n_epochs=2,  # half of the default, to spend the time on more floors
)


def scenario_of(floor: JudgedFloor) -> Scenario:
    """The floor's scenario."""
    return changed(draw_scenario(ScenarioRanges(**floor.ranges), floor.seed), floor.name)
