"""Quantile rules: dial while the probability of more answers than free agents is at most eps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from quietdial.agents.rules.base import (
    Card,
    ControllerRule,
    card_with,
    checked_knowledge,
    name_with,
)
from quietdial.envs.pacing.params import Knowledge


@dataclass(frozen=True)
class LookAheadRule(ControllerRule):
    """A rule that looks ahead by the world's tables of calls and agents.

    Attributes:
        knowledge: where the tables and the answer rate come from. "believed": the scenario's
            belief, with the answer rate estimated (Beta-Bernoulli with fading memory); "learnt":
            laws of talk, wrap-up and ringing estimated from the episode's own calls as well, the
            belief as prior. Privileged, for the value of information only: "true-rate",
            "true-parameters", "true-releases", "true-answers", "all".
    """

    knowledge: Knowledge = field(default="believed", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse unknown knowledge, and settings that the controller does not allow."""
        checked_knowledge(self.controller, self.knowledge)
        super().__post_init__()

    @property
    def name(self) -> str:
        """The controller, with what it knows behind it."""
        return name_with(self.controller, self.knowledge)

    @property
    def card(self) -> Card:
        """Settings, period and sight, hidden truth among it."""
        return card_with(super().card, self.knowledge)

    @property
    def world_options(self) -> Mapping[str, Any]:
        """What the world must be told: the controller, its settings, its knob and the tables."""
        options = dict(super().world_options)
        return options if self.knowledge == "believed" else {**options, "knowledge": self.knowledge}


@dataclass(frozen=True)
class QuantileBlind(LookAheadRule):
    """Quantile rule with pooled means, blind to the ages of calls and of conversations.

    Formula: dial as many calls as keep P(A > I + R) <= eps, with I idle agents less waiting
    callees, A ~ Bin(calls in flight and new ones, p (1 - e^(-h / ring))), R ~ Bin(agents with a
    call or in wrap-up, 1 - e^(-h / handle)), `ring` the mean time to answer, `handle` the mean of
    talk and wrap-up, p the estimated answer rate; both laws exact. As many calls as progressive
    dialing are always allowed, and at most the scenario's `max_dials` at a time. In a Markov world
    it is exact, and close to the optimum.
    Source: science study, rule `quantile_blind` of part B; part A2 for the Markov world.
    Interpreted: the study names no h; here 14 s, the best of 8, 14, 20 and 30 s in study-real-10
    and markov-10. The means are those of the believed laws, with `knowledge="learnt"` those of the
    laws learnt from the day's calls, renewed every 5 minutes; agents on a break do not come back.
    Knob: `eps`, a probability, 1e-9 to 0.99. Acts every second. Sees: idle and busy agents, waiting
    callees, calls in flight, its own answer rate and mean times.

    Attributes:
        eps: allowed probability of more answers than free agents.
        horizon_s: h, how far ahead answers and releases are counted [s].
    """

    controller: ClassVar[str] = "quantile-blind"

    eps: float = 0.012
    horizon_s: float = 14.0


@dataclass(frozen=True)
class QuantileAge(LookAheadRule):
    """Quantile rule that knows the age of every call and of every agent's state.

    Formula: dial as many calls as keep P(A > I + R) <= eps, with I idle agents less waiting
    callees, A the number of calls in flight and new ones that are answered within h, each with its
    probability at its age, R the number of busy agents free within h and the wait limit, each with
    its probability at the age of the state. Both counts are exact Poisson-binomial ones (masses
    below 1e-16 left out). As many calls as progressive dialing are always allowed, and at most the
    scenario's `max_dials` at a time.
    Source: science study, rule `quantile_age` of part B (h = 20 s).
    Interpreted: h is the look-ahead time of the tables nearest to `horizon_s`; they are the 10, 30,
    50, 70 and 90 % quantiles of the time to answer (in the study's worlds 19 s is nearest to 20 s;
    14 s is a little better there).
    With a delayed feed only the expected releases are seen; R is then binomial over the agents who
    are not idle, which is never less spread out than the exact law.
    Knob: `eps`, a probability, 1e-9 to 0.99. Acts every second. Sees: ages of calls in flight and
    of agent states, waiting callees, its own answer rate.

    Attributes:
        eps: allowed probability of more answers than free agents.
        horizon_s: h, how far ahead answers are counted [s].
    """

    controller: ClassVar[str] = "quantile-age"

    eps: float = 0.006
    horizon_s: float = 20.0
