"""A target-rate controller in the style of Amazon Connect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quietdial.agents.rules.base import ControllerRule


@dataclass(frozen=True)
class Amazon(ControllerRule):
    """Keep the expected answers below the expected agents by a margin that is fed back.

    Formula: every second, dial one more while A + 1/2 + z sd <= idle - waiting + R. A: expected
    answers of the calls in flight and of those just added; R: agents expected to be released within
    the mean time to answer and the scenario's limit, if handling times are exponential; sd: of A -
    R. One call for each idle agent is always allowed. z = `start_margin` + `gain` x (abandoned -
    target x answered), cut to [-2, 6], with both counts over the evaluation window: a call too
    many widens the margin, every call in time narrows it a little.
    Estimates: p of a new call = (pick-ups + 1) / (ended calls + 4) of 15 minutes; each call placed
    adds p to the answers to come, which pass through two stages of ringing, each half of the mean
    time to answer, and are never more than the calls in flight; mean times are of the episode.
    Progressive before ten conversations.
    Source: Amazon Connect's outbound campaigns have a target rate, an evaluation window of 1 to 24
    hours and a connection threshold (survey of dialers, section 1.6). The law is not public: this
    one is our own design and says nothing about the product.
    Knob: `target_rate`, 0 to 1 of the answered calls.
    Sees: counts only: idle and busy agents, callees waiting, calls in flight and placed, pick-ups,
    ringing, ended calls, time of talk and wrap-up, answered and abandoned calls.
    Interpreted: the connection threshold is the scenario's limit; the window moves on in steps of
    1/24 of its length and goes on through the night.

    Attributes:
        target_rate: share of the answered calls that may be abandoned.
        window_h: evaluation window [h].
        gain: standard deviations of margin per abandoned call above the target.
        start_margin: margin when the rate is on target [standard deviations].
    """

    controller: ClassVar[str] = "amazon"

    target_rate: float = 0.03
    window_h: float = 24.0
    gain: float = 0.05
    start_margin: float = 2.0
