"""What the shields cost on usual days, part of the study `shield`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.rules import Marginal
from quietdial.agents.runtime_tables import pacing_tables
from quietdial.agents.shields import Shielded
from quietdial.envs.pacing.shield import Shield
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.bench.results import figure
from quietdial.experiments.evaluate import play_days, test_seeds
from quietdial.experiments.stats import clopper_pearson, mean_interval, paired_difference

USUAL_PACE: Final = "by the pace of a usual day"
_EXPORTED: Final = "borrowing, as exported"


def exported_borrowing(scenario: Scenario) -> Shield:
    """The borrowing shield with the estimate of traffic that an export writes."""
    pace = pacing_tables(scenario).answers_per_agent_s
    return Shield("borrowing", answers_per_agent_s=pace)


def days_hit(name: str, hit: NDArray[np.bool_], note: str) -> dict[str, Any]:
    """The share of days that were hit; none: the upper 95 % bound by Clopper and Pearson."""
    k, n = int(hit.sum()), len(hit)
    share = clopper_pearson(k, n)
    how = f"{k} of {n}; Clopper-Pearson" + (", one-sided" if k == 0 else "")
    return figure(name, share.value, "1", share.lo, share.hi, n, f"{how}; {note}".rstrip("; "))


def usual_figures(n_days: int, name: str = "study-real-10") -> list[dict[str, Any]]:
    """The rule `marginal` on usual days, alone and behind each shield."""
    scenario, rule = load_scenario(name), Marginal(0.02)
    seeds, cap = test_seeds(n_days), scenario.rule.cap
    exported = exported_borrowing(scenario)
    shields = {
        "alone": None,
        "deterministic": Shield("deterministic"),
        f"borrowing, {USUAL_PACE}": Shield("borrowing"),
        _EXPORTED: exported,
    }
    played = {
        label: play_days(
            rule if shield is None else Shielded(rule, shield), scenario, seeds, batch=250
        )
        for label, shield in shields.items()
    }
    cost = paired_difference(
        played[_EXPORTED].utilisation, played[f"borrowing, {USUAL_PACE}"].utilisation
    )
    price = (
        f"{exported.answers_per_agent_s:.4f} answers per agent-second; against the row before "
        f"{100 * cost.value:+.2f} points ({100 * cost.lo:+.2f} to {100 * cost.hi:+.2f})"
    )
    rows = []
    for label, days in played.items():
        what = f"usual days of {name}, marginal .02, {label}"
        busy, worst = mean_interval(days.utilisation), float(days.silent_rate.max())
        over = days.days["silent"] > cap * days.days["answered"] + 1e-9
        said = "mean of days"
        rows += [
            days_hit(f"{what}: windows over the cap", over, price if label == _EXPORTED else ""),
            figure(f"{what}: worst window", worst, "1", worst, worst, n_days, "highest rate"),
            figure(f"{what}: utilisation", busy.value, "1", busy.lo, busy.hi, n_days, said),
        ]
    return rows
