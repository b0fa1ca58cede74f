"""The floor in the terminal, redrawn in place by the clock on the wall: `render_mode="human"`."""

from __future__ import annotations

import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from quietdial.envs.pacing.viewer import frame
from quietdial.envs.pacing.world import World

REDRAWS_PER_S = 8
"""Most pictures per second of wall time."""


class Screen:
    """One floor as text that is redrawn in place; it never slows the simulation down.

    Args:
        console: the terminal; None: standard output.
        title: line above the floor; empty for none.
    """

    def __init__(self, console: Console | None = None, title: str = "") -> None:
        self._title = title
        self._drawn_s = -1.0
        self._live = Live(
            console=console or Console(highlight=False),
            refresh_per_second=REDRAWS_PER_S,
            transient=False,
        )
        self._live.start()

    def draw(self, world: World, row: int = 0, *, force: bool = False) -> None:
        """Show a row of the world, if the last picture is an eighth of a second old or `force`."""
        now_s = time.perf_counter()
        if not force and self._drawn_s >= 0 and now_s - self._drawn_s < 1 / REDRAWS_PER_S:
            return
        lines = (self._title, frame(world, row)) if self._title else (frame(world, row),)
        self._live.update(Text("\n".join(lines)))
        self._drawn_s = now_s

    def close(self) -> None:
        """Leave the last picture standing and give the terminal back; twice does no harm."""
        self._live.stop()
