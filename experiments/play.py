"""`quietdial play`: watch a floor live in the terminal under any policy."""

from __future__ import annotations

import math
import time

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from quietdial.agents.budget import decide
from quietdial.agents.policy import Policy
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.viewer import frame
from quietdial.envs.scenario import Scenario
from quietdial.experiments.evaluate import make_world

REDRAWS_PER_S = 8
"""Most pictures per second of wall time."""


def play(
    policy: Policy,
    scenario: Scenario,
    console: Console,
    *,
    seed: int = 0,
    speed: float = 60.0,
    seconds: float | None = None,
) -> dict[str, float]:
    """Play one episode live.

    Args:
        policy: who decides.
        scenario: the world.
        console: the terminal.
        seed: the day.
        speed: simulated seconds per real second; 0: as fast as it goes.
        seconds: simulated seconds to play; None: the whole episode.

    Returns:
        The totals at the end.
    """
    if not math.isfinite(speed) or speed < 0:
        raise ConfigError(f"speed = {speed} must be a finite number, at least 0")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"seconds = {seconds} must be a finite number above 0")
    world = make_world(policy, scenario, 1)
    everywhere = np.ones(1, np.bool_)
    world.begin(everywhere, [seed])
    interval_s = world.scenario.episode.decision_interval_s
    last_step = math.inf if seconds is None else max(round(seconds / interval_s), 1)
    state: object | None = None
    begun = time.perf_counter()
    title = f"{policy.name}, day {seed}, Ctrl-C to stop"
    drawn = begun
    with Live(console=console, refresh_per_second=REDRAWS_PER_S, transient=False) as live:
        live.update(Text(f"{title}\n{frame(world, 0)}"))
        try:
            step, over = 0, False
            while not over:
                actions, state = decide(policy, world, state)
                over = bool(world.step(actions, everywhere)[0, 4]) or step + 1 >= last_step
                if speed:
                    ahead = (step + 1) * interval_s / speed - (time.perf_counter() - begun)
                    if ahead > 0:
                        time.sleep(ahead)
                now = time.perf_counter()
                if now - drawn >= 1 / REDRAWS_PER_S or over:
                    live.update(Text(f"{title}\n{frame(world, 0)}"))
                    drawn = now
                step += 1
        except KeyboardInterrupt:
            live.update(Text(f"{title}\n{frame(world, 0)}"))
    return {name: float(value[0]) for name, value in world.totals().items()}
