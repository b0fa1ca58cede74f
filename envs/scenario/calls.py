"""What becomes of a dial in a scenario."""

from __future__ import annotations

import math
import statistics
from typing import Annotated, Literal

from pydantic import Field, model_validator

from quietdial.envs.laws import Law
from quietdial.envs.part import Part, Probability
from quietdial.envs.scenario.floor import Drift

UnansweredOutcome = Literal["machine", "busy", "no_answer", "invalid", "failure"]


class ConstantAnswer(Part):
    """Every dial is answered by a person with the same probability, all day and every day."""

    kind: Literal["constant"] = "constant"
    p: Probability = Field(description="probability that a dial is answered by a person")


class DriftingAnswer(Drift):
    """An answer rate that differs between days and drifts within the day (hidden from the policy).

    p(t) = p0 (1 + a sin(2 pi t / period + phi)) exp(x(t)), cut to [0.001, 0.95]; log p0 is uniform,
    anew for each day; see `Drift` for the rest.
    """

    kind: Literal["drifting"] = "drifting"
    p_low: Annotated[float, Field(gt=0, le=1)] = Field(description="lowest level p0 of a day")
    p_high: Annotated[float, Field(gt=0, le=1)] = Field(description="highest level p0 of a day")

    @model_validator(mode="after")
    def _ordered(self) -> DriftingAnswer:
        if self.p_high < self.p_low:
            raise ValueError(f"p_high = {self.p_high} must not be below p_low = {self.p_low}")
        return self


AnswerRate = Annotated[ConstantAnswer | DriftingAnswer, Field(discriminator="kind")]


class Unanswered(Part):
    """One way in which a dial ends without a person."""

    outcome: UnansweredOutcome
    share: Probability = Field(description="share among the dials that no person answers")
    time: Law = Field(description="time from the end of set-up to this outcome (to the pick-up)")


class Leads(Part):
    """A list whose people differ in how likely they answer, with a score of each.

    The score of a person who would answer now is normal with mean d and sd 1, that of the others
    standard normal: d = sqrt(2) x the normal quantile of the AUC (binormal ROC curve). So a person
    with score x answers with odds p / (1 - p) x exp(d x - d^2 / 2), and the mean stays p.
    """

    auc: Annotated[float, Field(ge=0.5, le=0.99)] = Field(
        description="area under the ROC curve of the score for 'this dial is answered'"
    )
    buffer: int = Field(
        default=1, ge=1, le=200, description="next people of the list among whom one may choose"
    )

    @property
    def shift(self) -> float:
        """d, the distance of the two means in units of the sd."""
        return math.sqrt(2.0) * statistics.NormalDist().inv_cdf(self.auc)


class Greeting(Part):
    """What a person says after picking up; two clock origins hang on it."""

    start: Law = Field(description="time from the answer to the first word")
    length: Law = Field(description="time from the first word to the end of the greeting")


class Detection(Part):
    """What happens when a machine may have picked up.

    perfect: machines are told apart at the pick-up, at no cost (an ideal). none: every pick-up goes
    to an agent, who handles a machine for a while. amd: answering-machine detection listens first;
    a person taken for a machine is cut off (a silent call), a machine taken for a person goes to an
    agent.
    """

    kind: Literal["perfect", "none", "amd"] = "perfect"
    decision: Law | None = Field(default=None, description="amd: time from pick-up to verdict")
    p_false_machine: Probability = Field(default=0.0, description="amd: P('machine' | person)")
    p_false_person: Probability = Field(default=0.0, description="amd: P('person' | machine)")
    audited_share: Probability = Field(
        default=0.0,
        description="q of Ofcom's formula: the dialer's own audited share of people among its "
        "'machine' verdicts, a belief",
    )
    machine_handling: Law | None = Field(
        default=None, description="none, amd: time that an agent spends with a machine"
    )

    @model_validator(mode="after")
    def _complete(self) -> Detection:
        if self.kind == "amd" and self.decision is None:
            raise ValueError("kind 'amd' needs the law `decision`")
        if self.kind != "perfect" and self.machine_handling is None:
            raise ValueError(f"kind {self.kind!r} needs the law `machine_handling`")
        return self


class Calls(Part):
    """What becomes of a dial."""

    answer_rate: AnswerRate
    setup: Law | None = Field(default=None, description="time from dial to ringing; none: 0")
    time_to_answer: Law = Field(description="time from the end of set-up to a person's answer")
    unanswered: tuple[Unanswered, ...] = Field(min_length=1, max_length=5)
    ring_timeout_s: float | None = Field(
        default=None,
        ge=1,
        le=300,
        description="the dialer gives up ringing after so long; a "
        "later answer becomes no answer; none: the laws stand as they are",
    )
    leads: Leads | None = Field(
        default=None, description="scores of the people to be dialed; none: all are alike"
    )
    greeting: Greeting | None = Field(default=None, description="none: no time at all")
    detection: Detection = Detection()
    patience: Law | None = Field(
        default=None, description="how long an answered callee waits in silence; none: for ever"
    )
    max_dials_per_decision: int | None = Field(
        default=None, ge=1, le=2000, description="none: ceil(0.4 agents) + 2"
    )
    max_lines: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="most calls in flight or waiting; none: 8 agents + 32",
    )
    trunks: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="most calls at one time, conversations with agents included; none: no limit",
    )
    calls_per_s: float | None = Field(
        default=None,
        ge=0.1,
        le=1000,
        description="dials start at least 1/calls_per_s apart; "
        "those that could not start within one second are not placed; none: no limit",
    )

    @model_validator(mode="after")
    def _shares(self) -> Calls:
        total = sum(part.share for part in self.unanswered)
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"the shares of 'unanswered' must add up to 1, not {total}")
        names = [part.outcome for part in self.unanswered]
        if len(set(names)) != len(names):
            raise ValueError(f"each outcome may stand once in 'unanswered', not {names}")
        return self
