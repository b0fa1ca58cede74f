"""The marginal silent probability: the strongest index rule, with believed, learnt or true tables.

What the rule needs of the world (ages of calls and of conversations) is looked up inside the kernel
(`envs.pacing.control`); the variants differ in where its tables come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.policy import THETA_RANGE, checked_knob
from quietdial.agents.rules.base import Card, card_with, checked_knowledge, name_with
from quietdial.envs.pacing.controllers.plug import Setting
from quietdial.envs.pacing.params import Knowledge


@dataclass(frozen=True)
class Marginal:
    """Dial one more while the new call, if answered, would go silent with probability <= theta.

    Formula: sum_g w_g Phi((mu_A(h_g) - mu_R(h_g + wait limit) - I + .5) / sqrt(var)) <= theta, with
    I idle minus waiting, A the answers of the calls in flight within h_g, R the agents released
    until the call would be cut, and w_g the weights of the answer times h_g; progressive dialing is
    always allowed. Source: science study B, rule `marginal`, the strongest rule known there.
    Knob: `theta`, a probability, 1e-4 to 0.5; 0.02 gives close to 3 % silent untuned.
    Decision interval: the scenario's. Sees: ages of calls in flight and of agent states, waiting
    callees, its own answer rate.

    Attributes:
        theta: allowed probability that the marginal answered call goes silent.
        knowledge: where the tables come from. "believed": the scenario's belief, with the answer
            rate estimated (Beta-Bernoulli with fading memory); "learnt": hazards of talk, wrap-up
            and ringing estimated from the episode's own calls as well, the belief as prior.
            Privileged, for the value of information only: "true-rate", "true-parameters" (answer
            rate and talk-time law of now), "true-releases" (when each agent will be free),
            "true-answers" (which calls in flight will be answered, and when), "all".
    """

    theta: float = 0.02
    knowledge: Knowledge = "believed"

    observation: str = field(default="none", init=False, repr=False)
    action: str = field(default="theta", init=False, repr=False)
    base_theta: float = field(default=0.02, init=False, repr=False)
    knob_name: str | None = field(default="theta", init=False, repr=False)
    knob_range: tuple[float, float] | None = field(default=THETA_RANGE, init=False, repr=False)
    constant: bool = field(default=True, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a threshold outside the knob's range and unknown knowledge."""
        checked_knob("marginal", "theta", self.theta, THETA_RANGE)
        checked_knowledge("marginal", self.knowledge)

    @property
    def name(self) -> str:
        """`marginal`, with what it knows behind it."""
        return name_with("marginal", self.knowledge)

    @property
    def world_options(self) -> Mapping[str, Any]:
        """What the world must be told: where the tables come from."""
        return {} if self.knowledge == "believed" else {"knowledge": self.knowledge}

    @property
    def card(self) -> Card:
        """Settings, period and sight."""
        theta = Setting("theta", "probability", 0.02, *THETA_RANGE, "that one more goes silent")
        sees = (
            "ages of calls in flight",
            "ages of agent states",
            "waiting callees",
            "answered and finished calls",
        )
        return card_with(Card((theta,), (self.theta,), None, sees), self.knowledge)

    @property
    def knob(self) -> float:
        """The threshold, a probability."""
        return self.theta

    def act(
        self, obs: NDArray[Any], state: object | None = None
    ) -> tuple[NDArray[np.float32], object | None]:
        """Return the threshold for every campaign, float32 (B, 1)."""
        return np.full((len(obs), 1), self.theta, dtype=np.float32), state

    def with_knob(self, value: float) -> Marginal:
        """Return the rule with another threshold."""
        return replace(self, theta=checked_knob("marginal", "theta", value, THETA_RANGE))
