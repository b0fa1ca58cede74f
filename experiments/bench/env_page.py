"""The figures of docs/performance.md, made from the result file of `quietdial bench env`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from quietdial.envs.errors import ConfigError
from quietdial.experiments.bench.results import put_figures

Figures = Mapping[str, Mapping[str, Any]]
AGENTS, CAMPAIGNS = (10, 50, 200), 256
_WORLDS = ("italy-50", "italy-50-full")
_WAYS = ("physics", "markov", "counters", "full+residual")


def refresh_page(results_file: Path, page: Path) -> None:
    """Put the figures of a result file between the marks of a page."""
    put_figures(page, markdown(json.loads(results_file.read_text(encoding="utf-8"))))


def markdown(results: Mapping[str, Any]) -> str:
    """All tables. Raises `ConfigError` if a figure is missing (a quick run has not all)."""
    found = {row["name"]: row for row in results["figures"]}
    try:
        parts = (
            f"{origin(results)} Brackets hold the least and the greatest repeat; rates are per "
            "second of CPU time of one thread, unless wall time is named.",
            _against_simpy(found),
            _environment(found),
            _where(found),
            _events(found),
            _rest(found),
        )
    except KeyError as missing:
        raise ConfigError(
            f"the result file has no figure {missing}; make it with quietdial bench env, "
            "without --quick"
        ) from missing
    return "\n\n".join(parts)


def _value(found: Figures, name: str) -> float:
    return float(found[name]["value"])


def _millions(found: Figures, name: str) -> str:
    return f"{_value(found, name) / 1e6:.2f}"


def _times(found: Figures, name: str, digits: int = 0) -> str:
    """A ratio with its least and greatest repeat."""
    row = found[name]
    value, low, high = (f"{row[key]:.{digits}f}" for key in ("value", "lo", "hi"))
    return f"{value} ({low}-{high})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, all columns but the first to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def origin(results: Mapping[str, Any]) -> str:
    """With what, at which commit, on which machine, under what load the figures were made."""
    found = {row["name"]: row for row in results["figures"]}
    machine, commit = results["machine"], results["commit"]
    before, after = (_value(found, f"machine/load-{when}") for when in ("before", "after"))
    named = f"{machine['cpu']}, {machine['cpu_count']} cores, Python {machine['python']}"
    made = commit["commit"][:12] if commit else "unknown"
    return (
        f"Made with `{results['command']}` at commit {made} on {named}. The load was "
        f"{before:.1f} before and {after:.1f} after."
    )


def _against_simpy(found: Figures) -> str:
    rows = []
    for world in _WORLDS:
        for agents in AGENTS:
            place = f"world/{world}/{agents}-agents/{CAMPAIGNS}-campaigns"
            rows.append(
                (
                    f"`{world}`, {agents} agents",
                    _millions(found, f"{place}/physics/steps_per_s"),
                    f"{_value(found, f'{place}/simpy/steps_per_s') / 1e3:.0f}",
                    _times(found, f"{place}/physics/times_simpy"),
                    _millions(found, f"{place}/full+residual/steps_per_s"),
                )
            )
    head = ("World", "Physics, M steps/s", "SimPy, k steps/s", "times SimPy", "full + residual, M")
    shares = []
    for agents in AGENTS:
        place = f"world/{agents}-agents/{CAMPAIGNS}-campaigns"
        full = _times(found, f"{place}/full-to-plain", 2)
        unused = _times(found, f"{place}/unused-features", 2)
        shares.append((f"{agents} agents", full, unused))
    return (
        f"### Against SimPy\n\n{CAMPAIGNS} campaigns, both models with the same world and rule.\n\n"
        + table(head, rows)
        + "\n\n"
        + table(
            ("", "`italy-50-full` / `italy-50`", "plain / full kernel, both `italy-50`"), shares
        )
    )


def _environment(found: Figures) -> str:
    rows = []
    for agents in AGENTS:
        place = f"{agents}-agents/{CAMPAIGNS}-campaigns"
        for way in _WAYS:
            vector = f"gymnasium/{place}/{way}"
            rows.append(
                (
                    f"{agents} agents, {way}",
                    _millions(found, f"engine/{place}/{way}/steps_per_s"),
                    _millions(found, f"{vector}/steps_per_s"),
                    _times(found, f"{vector}/times_sync"),
                )
            )
    head = ("`study-real`", "`World`, M steps/s", "`PacingVectorEnv`, M", "times `SyncVectorEnv`")
    return "### As an environment\n\nThe vector environment with all of its info.\n\n" + table(
        head, rows
    )


def _where(found: Figures) -> str:
    rows = []
    for world in _WORLDS:
        place = f"world/{world}/50-agents/{CAMPAIGNS}-campaigns"
        physics = 1e9 / _value(found, f"{place}/physics/steps_per_s")
        whole = 1e9 / _value(found, f"{place}/full+residual/steps_per_s")
        rows.append((f"`{world}`", f"{physics:.0f}", f"{whole - physics:.0f}"))
    head = ("50 agents", "physics, ns a step", "`full` observation and residual rule, ns")
    parts = [
        (name.removeprefix("features/"), _times(found, name, 2))
        for name in found
        if name.startswith("features/")
    ]
    return (
        "### Where the time goes\n\n"
        + table(head, rows)
        + "\n\nTime of a step of `italy-50-full`, one feature left out, to that of the whole world "
        "(records: switched on):\n\n" + table(("Feature", "share"), parts)
    )


def _events(found: Figures) -> str:
    rows, left = [], []
    for world in _WORLDS:
        place = f"events/{world}"
        rows += [
            (
                f"`{world}`, {name.split('/')[2].replace('-', ' ')}",
                f"{_value(found, name):.1f}",
                _millions(found, name.removesuffix("step") + "s"),
            )
            for name in found
            if name.startswith(f"{place}/") and name.endswith("/per_step")
        ]
        left.append(_times(found, f"{place}/1000-to-50-agents", 2))
    return (
        "### Events\n\n16 campaigns; an event is a timer that goes off.\n\n"
        + table(("World", "events a step", "M events/s"), rows)
        + f"\n\nEvents per second with 1,000 agents to those with 50: {left[0]} and {left[1]}."
    )


def _rest(found: Figures) -> str:
    place = "threads/1024-campaigns"
    threads = (
        f"Two threads play {_times(found, f'{place}/2-to-1', 2)} times as many steps as one at "
        f"1,024 campaigns of 50 agents ({found[f'{place}/2-to-1']['note']})."
    )
    memory = [
        (f"`{name.removeprefix('memory/')}`", f"{_value(found, name):,.0f}")
        for name in found
        if name.startswith("memory/")
    ]
    starts = [
        (
            f"`{world}`",
            _times(found, f"start/{world}/import_s", 2),
            _times(found, f"start/{world}/first_step_s", 2),
            f"{_value(found, f'start/{world}/compile_s'):.0f}",
        )
        for world in _WORLDS
    ]
    head = ("World", "import, s", "first step, s", "first step, nothing compiled, s")
    return (
        f"### Threads, memory, start\n\n{threads}\n\n"
        + table(("State of one campaign", "bytes"), memory)
        + "\n\nNew processes, wall time:\n\n"
        + table(head, starts)
    )
