"""The floor as text: what a supervisor would see, for terminals and logs."""

from __future__ import annotations

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.state import COUNT, IDLE, IN_FLIGHT, NOW, TALK, WAITING, WRAP
from quietdial.envs.pacing.world import World

_WIDTH = 50
_SYMBOLS = ("#", "+", "-", ".")


def check_render_mode(mode: str | None) -> None:
    """Raise `ConfigError` for a render mode that neither environment has."""
    if mode not in (None, "ansi"):
        raise ConfigError(f"render_mode = {mode!r} must be 'ansi' or None")


def frame(world: World, row: int) -> str:
    """One campaign as a few lines of text, no control characters."""
    head = world.state.head[row]
    totals = {name: float(value[row]) for name, value in world.totals().items()}
    n = world.scenario.floor.n_agents
    counts = [int(head[COUNT + state]) for state in (TALK, WRAP)]
    idle = int(head[COUNT + IDLE])
    away = n - sum(counts) - idle
    scale = min(1.0, _WIDTH / n)
    bar = "".join(
        symbol * round(count * scale)
        for symbol, count in zip(_SYMBOLS, (*counts, away, idle), strict=True)
    )
    start_h, start_m = (int(part) for part in world.scenario.episode.start.split(":"))
    seconds = int(head[NOW]) // 1000 + 3600 * start_h + 60 * start_m
    clock = f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    answered, silent = totals["answered"], totals["silent"]
    rate = 100.0 * silent / answered if answered else 0.0
    available = totals["available_s"]
    busy = 100.0 * (totals["talk_s"] + totals["wrap_s"]) / available if available else 0.0
    return "\n".join(
        (
            f"{clock}  {world.scenario.name}  [{bar:<{min(n, _WIDTH)}}]",
            f"  agents: {counts[0]} talking (#), {counts[1]} wrap-up (+), {away} on break (-), "
            f"{idle} idle (.)",
            f"  calls:  {int(head[IN_FLIGHT])} in flight, {int(head[WAITING])} waiting in silence, "
            f"{int(totals['dialed'])} dialed, {int(answered)} answered",
            f"  today:  utilisation {busy:.1f} %, silent {int(silent)} of {int(answered)} "
            f"answered = {rate:.2f} % (cap {100 * world.scenario.rule.cap:g} %)",
        )
    )
