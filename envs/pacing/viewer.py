"""The floor as text: what a supervisor would see, for terminals and logs."""

from __future__ import annotations

import datetime

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.params import DAY, OPENS, WALL_S
from quietdial.envs.pacing.state import (
    BREAK,
    COUNT,
    HELD,
    IDLE,
    IN_FLIGHT,
    INBOUND_TALK,
    MACHINE_TALK,
    NOW,
    OFF,
    SESSION,
    SPARE,
    TALK,
    WAITING,
    WRAP,
)
from quietdial.envs.pacing.world import World

RENDER_MODES = ("ansi", "human", "rgb_array")
_WIDTH = 50
_SYMBOLS = ("#", "+", "i", "m", "-", ".")


def check_render_mode(mode: str | None) -> None:
    """Raise `ConfigError` for a render mode that neither environment has."""
    if mode not in (None, *RENDER_MODES):
        raise ConfigError(
            f"render_mode = {mode!r} must be one of {', '.join(RENDER_MODES)} or None"
        )


def frame(world: World, row: int) -> str:
    """One campaign as a few lines of text, no control characters."""
    head = world.state.head[row]
    totals = {name: float(value[row]) for name, value in world.totals().items()}
    n = world.scenario.floor.n_agents
    counts = {
        "talking (#)": int(head[COUNT + TALK]),
        "wrap-up (+)": int(head[COUNT + WRAP]),
        "with inbound callers (i)": int(head[COUNT + INBOUND_TALK]),
        "with machines or held (m)": int(head[COUNT + MACHINE_TALK] + head[COUNT + HELD]),
        "on break (-)": int(head[COUNT + BREAK]),
        "idle (.)": int(head[COUNT + IDLE] + head[COUNT + SPARE]),
        "logged out": int(head[COUNT + OFF]),
    }
    always = ("talking (#)", "wrap-up (+)", "on break (-)", "idle (.)")
    agents = ", ".join(f"{c} {name}" for name, c in counts.items() if c or name in always)
    scale = min(1.0, _WIDTH / n)
    shown = list(counts.values())[: len(_SYMBOLS)]
    bar = "".join(s * round(c * scale) for s, c in zip(_SYMBOLS, shown, strict=True))
    answered, silent = totals["answered"], totals["silent"]
    rate = 100.0 * silent / answered if answered else 0.0
    available = totals["available_s"]
    busy = 100.0 * (totals["talk_s"] + totals["wrap_s"]) / available if available else 0.0
    rule = world.scenario.rule
    cap = f"(cap {100 * rule.cap:g} %)" if rule.cap < 1 else "(no cap)"
    return "\n".join(
        (
            f"{_clock(world, row)}  {world.scenario.name}  [{bar:<{min(n, _WIDTH)}}]",
            f"  agents: {agents}",
            f"  calls:  {int(head[IN_FLIGHT])} in flight, {int(head[WAITING])} waiting in silence, "
            f"{int(totals['dialed'])} dialed, {int(answered)} answered",
            f"  so far: utilisation {busy:.1f} %, silent {int(silent)} of {int(answered)} "
            f"answered = {rate:.2f} % {cap}",
        )
    )


def _clock(world: World, row: int) -> str:
    """Local time of day of a row, with the date in a calendar."""
    number = int(world.state.more[row, SESSION]) if world.is_full else 0
    opens_ms, wall_s = (int(world.params.sessions[number, c]) for c in (OPENS, WALL_S))
    seconds = wall_s + (int(world.state.head[row, NOW]) - opens_ms) // 1000
    day = world.scenario.episode.first_day
    date = ""
    if day is not None:
        day += datetime.timedelta(days=int(world.params.sessions[number, DAY]))
        date = f"{day:%a %d %b} "
    return f"{date}{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
