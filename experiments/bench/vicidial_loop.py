"""The loop policy, adapter, MariaDB, simulated dialer against the same policy in the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from quietdial.envs.loading import write_json_atomic
from quietdial.envs.pacing.spec import OBSERVATIONS
from quietdial.experiments.bench.results import figure, result_file
from quietdial.experiments.dialer import mariadb
from quietdial.experiments.dialer.floor import SimulatedFloor
from quietdial.experiments.dialer.loop import play_loop, play_simulator
from quietdial.experiments.dialer.tables import add_campaign, make_tables
from quietdial.experiments.stats import mean_interval

FIRST_SEED: Final = 4100
SCENARIO: Final = "italy-50"
_ESTIMATED: Final = (
    "answer_rate",
    "answer_rate_1min",
    "answer_rate_5min",
    "answer_rate_20min",
    "answers_due",
)
"""Features that rest on the estimate of the answer rate, which the tables give approximately."""


def run(days: int, hours: float, output: Path | None, command: str) -> list[dict[str, Any]]:
    """Play days both ways, and write the figures to `output` if given; the figures."""
    seeds = range(FIRST_SEED, FIRST_SEED + days)
    pairs = []
    with mariadb.private_server() as socket:
        root = mariadb.connect(socket)
        make_tables(root)
        for seed in seeds:
            campaign = f"L{seed}"
            add_campaign(root, campaign)
            floor = SimulatedFloor(root, campaign, SCENARIO, seed=seed)
            pairs.append((play_loop(floor, socket, hours), play_simulator(SCENARIO, seed, hours)))
        root.close()
    figures = []
    for name, unit, values in (
        ("utilisation-loop", "1", [a.utilisation for a, _ in pairs]),
        ("utilisation-difference", "1", [a.utilisation - b.utilisation for a, b in pairs]),
        ("silent-rate-loop", "1", [a.silent / a.answered for a, _ in pairs]),
        (
            "silent-rate-difference",
            "1",
            [a.silent / a.answered - b.silent / b.answered for a, b in pairs],
        ),
        (
            "decisions-that-differ",
            "1",
            [float(np.mean(np.array(a.levels) != np.array(b.levels))) for a, b in pairs],
        ),
    ):
        mean = mean_interval(np.array(values))
        note = f"{hours:g} h of {SCENARIO} with the plain level rule, mean over days, 95 %"
        figures.append(figure(name, mean.value, unit, mean.lo, mean.hi, days, note))
    errors = np.array([a.error for a, _ in pairs])
    names = [field.name for field in OBSERVATIONS["counters"]]
    estimated = np.isin(names, _ESTIMATED)
    for name, which in (("counters-exact", ~estimated), ("counters-estimated", estimated)):
        worst = float(errors[:, which].max())
        note = "largest difference of a feature between the tables and the simulator: " + ", ".join(
            np.array(names)[which]
        )
        figures.append(figure(name, worst, "1", 0.0, worst, days, note))
    if output is not None:
        text = f"{seeds.start} to {seeds.stop - 1}"
        write_json_atomic(output, result_file("vicidial-loop", command, text, figures))
    return figures
