"""The pacer beside the simulator over whole days: the same bits at every decision: `pacer-parity`.

A simulated dialer tells the pacer its events, call by call. At every decision the features and the
base value that the pacer makes of them are compared with those that the compiled kernel computed
from its state.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console

from quietdial.agents.runtime.decision import PacerSettings
from quietdial.agents.runtime.evaluator import Answer, Kind
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.agents.runtime.pacer import Pacer
from quietdial.agents.runtime.tables import json_of_tables, tables_of_json
from quietdial.agents.runtime_feed import LogFeed
from quietdial.agents.runtime_tables import pacing_tables
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.pacing.control import RESIDUAL_LOW
from quietdial.envs.pacing.state import BASE
from quietdial.envs.pacing.world import World
from quietdial.experiments.bench.pacer_speed import measure
from quietdial.experiments.bench.results import figure, put_figures, result_file
from quietdial.experiments.stats import clopper_pearson

NAME: Final = "pacer-parity"
PAGE: Final = Path("docs/pacer.md")
FIRST_SEED: Final = 7_600_000
N_SPEED: Final = 3
"""Processes whose speed is measured; the fastest is shown, since others share the machine."""


class Day(NamedTuple):
    """A day to compare.

    Attributes:
        preset: the world.
        observation: observation set.
        policy: "follows" (the base rule), "random", or "eager" (always the most above the base).
        hours: at most so long.
    """

    preset: str
    observation: str
    policy: str
    hours: float = 8.0


DAYS: Final = (
    Day("study-real-10", "full", "follows"),
    Day("study-real-10", "full", "random"),
    Day("study-real-10", "full", "eager"),
    Day("study-real-10", "counters", "random"),
    Day("study-shift-25", "wide", "follows"),
    Day("italy-50", "full", "follows"),
    Day("italy-50", "full", "random"),
    Day("italy-50", "counters", "follows"),
    Day("italy-50-full", "wide", "follows", 11.0),
    Day("uk-50", "wide", "follows", 12.0),
    Day("machines-50", "full", "random"),
    Day("late-feed-50", "wide", "follows"),
    Day("blend-40", "wide", "follows", 9.0),
    Day("italy-month-10", "full", "follows", 36.0),
)


class Found(NamedTuple):
    """What a day showed.

    Attributes:
        decisions: decisions compared.
        features: those at which a feature had other bits.
        base: those at which the base value differed.
        numbers: features compared.
        events: events told.
    """

    decisions: int
    features: int
    base: int
    numbers: int
    events: int


class _Silent:
    """A policy that lets the pacer make its features, and asks for nothing."""

    name = "none"
    answers: Kind = "dials"
    base_theta: float | None = 0.02

    def __init__(self, observation: str) -> None:
        self.observation = observation

    def reset(self) -> None:
        """It remembers nothing."""

    def answer(self, obs: Any, base: int) -> Answer:
        """Nothing."""
        return Answer(0.0)


def compare(day: Day, seed: int) -> Found:
    """Play a day with the pacer beside the kernel."""
    world = World(1, day.preset, observation=day.observation, action="residual", records=True)
    tables = tables_of_json(json_of_tables(pacing_tables(day.preset)))
    settings = PacerSettings(
        shield=None,
        cold_start_answered=0,
        unix_clock=False,
        at_cap="policy",
        keeps_decisions=False,
    )
    pacer = Pacer(tables, _Silent(day.observation), MemoryLedger(), settings)
    feed = LogFeed(world, pacer)
    on, rng = np.ones(1, np.bool_), np.random.default_rng(seed)
    world.begin(on, [seed])
    feed.after_step()
    found = Found(0, 0, 0, 0, 0)
    over = False
    while not over and world.clock_s()[0] < 3600.0 * day.hours:
        seen = world.observe()[0]
        decision = pacer.decide(round(1000 * world.clock_s()[0]))
        if decision.mode == "policy":
            found = Found(
                found.decisions + 1,
                found.features + (pacer.last_obs.tobytes() != seen.tobytes()),
                found.base + (pacer.last_base != int(world.state.head[0, BASE])),
                found.numbers + len(seen),
                feed.events,
            )
        choice = {"follows": -RESIDUAL_LOW, "eager": 5, "random": int(rng.integers(0, 6))}
        over = bool(world.step(np.array([choice[day.policy]]), on)[0, 4])
        feed.after_step()
    return found


def figures_of(day: Day, found: Found) -> list[dict[str, Any]]:
    """The published numbers of a day."""
    where = f"{day.preset}, {day.observation}, {day.policy}"
    rows = []
    for what, k in (("features", found.features), ("base value", found.base)):
        share = clopper_pearson(k, found.decisions)
        note = f"{k} of {found.decisions} decisions, {found.events} events"
        rows.append(
            figure(
                f"{where}: {what} with other bits",
                share.value,
                "1",
                share.lo,
                share.hi,
                found.decisions,
                note,
            )
        )
    return rows


def speed_figures() -> list[dict[str, Any]]:
    """How soon, how small and how fast the pacer is, on this machine."""
    best = min((measure() for _ in range(N_SPEED)), key=lambda one: float(one["median_us"]))
    note = f"italy-50, a process of its own, fastest of {N_SPEED}; other work on the machine"
    rows = (
        ("one decision, median", "median_us", "us"),
        ("import, numpy's included, processor time", "import_s", "s"),
        ("import of numpy alone, processor time", "numpy_s", "s"),
        ("largest resident memory", "peak_mb", "MB"),
    )
    return [
        figure(name, float(best[key]), unit, float(best[key]), float(best[key]), N_SPEED, note)
        for name, key, unit in rows
    ]


def page_table(figures: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| World, observation set, policy | Decisions | Events | Features differ | Base differs |",
        "|---|---|---|---|---|",
    ]
    by_day: dict[str, dict[str, dict[str, Any]]] = {}
    for one in figures:
        if ": " in one["name"]:
            where, what = one["name"].split(": ")
            by_day.setdefault(where, {})[what.split(" ")[0]] = one
    for where, both in by_day.items():
        events = both["features"]["note"].split(", ")[1].split(" ")[0]
        shares = [
            f"{100 * both[what]['value']:.3g} % (below {100 * both[what]['hi']:.2g} %)"
            for what in ("features", "base")
        ]
        lines.append(f"| {where} | {both['features']['n']} | {events} | {' | '.join(shares)} |")
    lines += ["", "| Speed | Value |", "|---|---|"]
    lines += [
        f"| {one['name']} | {one['value']:.3g} {one['unit']} |"
        for one in figures
        if ": " not in one["name"]
    ]
    return "\n".join(lines) + "\n"


def run(
    *,
    work: Path,
    processes: int,
    output: Path | None,
    console: Console,
    days: tuple[Day, ...] = DAYS,
    speed: bool = True,
) -> None:
    """Play the days, show the figures and write them; nothing is trained here."""
    del work, processes
    figures: list[dict[str, Any]] = []
    for number, day in enumerate(days):
        found = compare(day, FIRST_SEED + number)
        figures += figures_of(day, found)
        console.print(
            f"{day.preset}, {day.observation}, {day.policy}: {found.decisions} decisions, "
            f"{found.features} with other features, {found.base} with another base",
            highlight=False,
        )
    if speed:
        figures += speed_figures()
    console.print(page_table(figures), highlight=False)
    if output is not None:
        command = f"quietdial study {NAME} --output {output}"
        said = f"{FIRST_SEED} and the following, one a day"
        write_json_atomic(output, result_file(NAME, command, said, figures))
        if PAGE.is_file():
            put_figures(PAGE, page_table(figures), NAME)
