"""How long every rule of the league takes for a day, in units of progressive dialing."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from quietdial.agents.rules.base import Rule
from quietdial.agents.rules.catalogue import catalogue
from quietdial.agents.rules.simple import Progressive
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.bench.results import figure, result_file
from quietdial.experiments.evaluate import make_world

SCENARIO = "italy-50"
COMMAND = "quietdial bench rules"


def _seconds(rule: Rule, n_days: int, hours: float) -> float:
    """CPU time for `n_days` days of `hours` hours side by side, without compilation [s]."""
    scenario = load_scenario(SCENARIO)
    world = make_world(rule, scenario, n_days)
    everywhere = np.ones(n_days, np.bool_)
    world.begin(everywhere, list(range(n_days)))
    actions, _ = rule.act(world.observe())
    world.hold(actions, everywhere, 1)
    began = time.process_time()
    world.hold(actions, everywhere, round(3600 * hours))
    return time.process_time() - began


def run(*, quick: bool, output: Path | None, console: Console) -> None:
    """Measure every rule of the catalogue beside progressive dialing, and show the ratios.

    Args:
        quick: half an hour of 4 days once, instead of 8 hours of 16 days three times.
        output: JSON file for the figures.
        console: where the table goes.
    """
    n_days, hours, repeats = (4, 0.5, 1) if quick else (16, 8.0, 3)
    table = Table("rule", "times progressive", "ms a day", box=None)
    figures = []
    for entry in catalogue():
        pairs = [
            (_seconds(entry.rule, n_days, hours), _seconds(Progressive(), n_days, hours))
            for _ in range(repeats)
        ]
        ratios = sorted(rule / base for rule, base in pairs)
        middle = ratios[len(ratios) // 2]
        day_ms = 1000 * min(rule for rule, _ in pairs) / n_days * (8.0 / hours)
        table.add_row(entry.name, f"{middle:.2f}", f"{day_ms:.1f}")
        note = f"{n_days} days of {hours:g} h on {SCENARIO}, median and range of {repeats} pairs"
        name = f"{entry.name}/times_progressive"
        figures.append(figure(name, middle, "1", ratios[0], ratios[-1], repeats, note))
    console.print(table)
    if output is not None:
        write_json_atomic(
            output, result_file(output.stem, COMMAND, f"days 0 to {n_days - 1}", figures)
        )
        console.print(f"Figures: {output}")
