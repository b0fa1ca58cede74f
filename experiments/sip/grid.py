"""What the simulator gains where a dial without an answer ends at the moment of a decision.

A ring timeout of a whole number of decision intervals ends exactly at a decision. In the simulator
the line counts as free for that decision, since decisions come after all events of their
millisecond. A real call ends some milliseconds later (the CANCEL must be answered, clocks are
late), so the dialer sees it one decision later. The first SIP loop found this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from quietdial.agents.rules import FixedRatio, Marginal
from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.bench.results import share_figure
from quietdial.experiments.evaluate import play_days
from quietdial.experiments.sip.worlds import RATIOS, sip_floor
from quietdial.experiments.stats import paired_difference

LATER_S: Final = 0.01
PRESETS: Final = ("italy-10", "italy-50")
_DAYS: Final = 32


def with_timeout(scenario: Scenario, timeout_s: float) -> Scenario:
    """The scenario in which the dialer gives up ringing after another time."""
    endings = [part.model_dump() for part in scenario.calls.unanswered]
    for ending in endings:
        if ending["outcome"] == "no_answer":
            ending["time"] = {"kind": "constant", "value_s": timeout_s}
    new: dict[str, Any] = {"unanswered": endings}
    if scenario.calls.ring_timeout_s is not None:
        new["ring_timeout_s"] = timeout_s
    return changed(scenario, calls=new)


def grid_figures(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Utilisation with timeouts 10 ms after a decision minus at it, over the same draws.

    Args:
        seeds: of the sessions of the SIP floor; presets are played on 32 days from the first on.
    """
    figures = []
    for ratio in RATIOS:
        floor = with_timeout(sip_floor(900.0), 8.0)
        name = f"grid, SIP floor, ratio {ratio:g}"
        figures.append(_figure(name, FixedRatio(ratio), floor, 8.0, np.array(seeds)))
    days = np.arange(seeds[0], seeds[0] + _DAYS)
    for preset in PRESETS:
        scenario = load_scenario(preset)
        for rule in (FixedRatio(2.0), Marginal()):
            name = f"grid, {preset}, {rule.name} {rule.knob:g}"
            figures.append(_figure(name, rule, scenario, 28.0, days))
    return figures


def _figure(
    name: str,
    rule: FixedRatio | Marginal,
    scenario: Scenario,
    timeout_s: float,
    seeds: np.ndarray[Any, np.dtype[np.int64]],
) -> dict[str, Any]:
    found = []
    for late_s in (LATER_S, 0.0):
        days = play_days(rule, with_timeout(scenario, timeout_s + late_s), seeds).days
        found.append((days["talk_s"] + days["wrap_s"]) / days["available_s"])
    note = (
        f"simulator alone: utilisation with no answer after {timeout_s + LATER_S:g} s minus after "
        f"{timeout_s:g} s, which is a decision; paired by day, 95 %"
    )
    return share_figure(name, paired_difference(found[0], found[1]), note)
