"""Run folders of runs that were never played: results as the judge writes them, from a formula."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from quietdial.envs.loading import write_json_atomic, write_text_atomic
from quietdial.experiments import report
from quietdial.experiments.evaluate import Tuned, Verdict
from quietdial.experiments.rundir import RunFolder, append_jsonl, write_yaml
from quietdial.experiments.stats import (
    PolicyDays,
    compare,
    equal_rate_difference,
    summarise,
)

FIRST_DAY = 3_000_000_000
SLOPE = 2.0
"""Utilisation for each unit of the silent rate along the rule's knob: two points for one."""


def make_run(
    root: Path,
    algorithm: str,
    seed: int,
    *,
    utilisation: float = 0.82,
    silent_rate: float = 0.026,
    cap: float = 0.03,
    n_days: int = 16,
    n_rows: int = 30,
    name: str | None = None,
    scenario: str = "small",
    settings: dict[str, Any] | None = None,
) -> Path:
    """A finished run; its rule `marginal` has 84 % at 2.6 % silent, `SLOPE` more for each unit.

    Utilisation of a day: the policy's own, plus something of the day that all policies share, plus
    .1 points of the training seed above 3.
    """
    days = FIRST_DAY + np.arange(n_days)
    luck = 0.01 * np.sin(1.7 * np.arange(n_days))
    own = _days(algorithm, days, utilisation + luck + 0.001 * (seed - 3), silent_rate)
    rule = _days("marginal", days, 0.84 + luck + SLOPE * (silent_rate - 0.026), silent_rate)
    slow = _days("progressive", days, 0.65 + luck, 0.0)
    sweep = tuple((k, r, 0.84 + SLOPE * (r - 0.026)) for k, r in ((1.0, 0.02), (2.0, 0.035)))
    learner: Any = SimpleNamespace(name=algorithm, knob=None, knob_name=None, selection=None)
    marginal: Any = SimpleNamespace(name="marginal", knob=1.5, knob_name="theta")
    progressive: Any = SimpleNamespace(name="progressive", knob=None, knob_name=None)
    judged = (own, rule, slow)
    verdict = Verdict(
        scenario=scenario,
        cap=cap,
        target_rate=silent_rate,
        tuned=(
            Tuned(learner, silent_rate, (), reached=False),
            Tuned(marginal, silent_rate, sweep, reached=True),
            Tuned(progressive, 0.0, (), reached=False),
        ),
        days=judged,
        summaries=tuple(summarise(one, cap) for one in judged),
        differences=tuple(compare(own, one) for one in judged[1:]),
        at_equal_rate=(equal_rate_difference(own, rule, SLOPE), None),
    )
    config = {
        "scenario": scenario,
        "name": name,
        "learner": {"algorithm": algorithm, "seed": seed, **(settings or {})},
    }
    with RunFolder.create(root, name or f"{algorithm}-{seed}", config) as folder:
        write_yaml(folder.path / "scenario.yaml", {"name": scenario, "cap": cap})
        for k in range(1, n_rows + 1):
            share = k / n_rows
            append_jsonl(
                folder.path / "train.jsonl",
                {
                    "step": 32_768 * k,
                    "pacing/utilisation": utilisation - 0.1 * (1 - share) + 0.001 * seed,
                    "pacing/conversations_per_agent_h": 15.0 + share,
                    "safety/silent_rate": silent_rate + 0.3 * (1 - share) ** 4,
                    "safety/multiplier": 150.0 + 50 * share,
                    "time/fps": 20_000,
                },
            )
        write_json_atomic(folder.path / "evaluation.json", report.to_json(verdict, {}))
        write_text_atomic(folder.path / "days.csv", report.days_csv(verdict))
        return folder.path


def _days(name: str, seeds: Any, utilisation: Any, rate: float) -> PolicyDays:
    n = len(seeds)
    answered = 1000.0 + 50.0 * np.cos(np.arange(n))
    silent = rate * answered
    available = np.full(n, 100_000.0)
    busy = np.broadcast_to(np.asarray(utilisation), (n,)) * available
    totals = {
        "dialed": 3 * answered,
        "answered": answered,
        "connected": answered - silent,
        "silent": silent,
        "talk_s": 0.8 * busy,
        "wrap_s": 0.2 * busy,
        "available_s": available,
    }
    return PolicyDays(name, None, None, np.asarray(seeds, np.int64), totals)
