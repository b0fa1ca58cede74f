"""`make demo-dialer`: an exported policy steers a simulated VICIdial floor, live in the terminal.

MariaDB, the floor and the adapter are the real programs; the floor's time runs faster than the
clock. After a while the adapter is killed with SIGKILL: the database brings the level back to 1.0,
and a new adapter goes on.
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from quietdial.agents.ledger import Ledger, make_key, terms_of
from quietdial.agents.ledger.reading import report, verify
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.dialer import mariadb
from quietdial.experiments.dialer.floor import STEP_S, SimulatedFloor
from quietdial.experiments.dialer.loop import INTERVAL_S
from quietdial.experiments.dialer.policy import export_level_rule
from quietdial.experiments.dialer.process import start_adapter
from quietdial.experiments.dialer.tables import make_tables

CAMPAIGN: Final = "DEMO"
TIME_ZONE: Final = "Europe/Rome"
LEASE_S: Final = 2.0
_FRAME_S: Final = 0.25
_BEFORE_S: Final = 900.0
"""The floor has been open so long, at level 1.0, when the first adapter starts [s]."""
_REST_S: Final = 4.0
"""A new adapter starts so long after the level came back [s]."""
_WIDTH, _PANEL = 60, 72
_AGENT_STYLES: Final = {
    "INCALL": "green",
    "READY": "yellow",
    "wrap-up": "cyan",
    "break": "bright_black",
}
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


@dataclass
class Trace:
    """What the picture shows; one value a frame."""

    levels: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=_WIDTH))
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=_WIDTH))
    events: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=4))


@dataclass
class Show:
    """What came of a demonstration.

    Attributes:
        kills: adapters killed.
        returned_s: time from each kill to level 1.0 [s].
        answered, silent: calls of the floor.
        highest: highest level that was seen.
        kept_answered, kept_silent: calls that the ledger has; those still talking come later.
        faults: what is wrong with the ledger; empty: nothing.
    """

    kills: int = 0
    returned_s: list[float] = field(default_factory=list)
    answered: int = 0
    silent: int = 0
    highest: float = 1.0
    kept_answered: int = 0
    kept_silent: int = 0
    faults: tuple[str, ...] = ()


class Stage:
    """Floor and adapter, moved on frame by frame."""

    def __init__(
        self, socket: Path, root: Any, floor: SimulatedFloor, flags: list[str], alive_s: float
    ) -> None:
        self.floor = floor
        self.show = Show()
        self.said = 0
        self.trace = Trace()
        self._socket = socket
        self._root = root
        self._flags = flags
        self._alive_s = alive_s
        self._process: subprocess.Popen[bytes] | None = None
        self._began = time.monotonic()
        self._from_s = floor.elapsed_s
        self._started = 0.0
        self._killed: float | None = None
        self._back: float | None = None
        self._level = 1.0

    @property
    def alive(self) -> bool:
        """Whether the adapter runs."""
        return self._process is not None and self._process.poll() is None

    def say(self, text: str, style: str = "") -> None:
        """Add an event with the floor's time."""
        self.said += 1
        self.trace.events.append((f"{self.floor.now:%H:%M:%S}  {text}", style))

    def start(self) -> None:
        """Start an adapter."""
        self._process = start_adapter(self._socket, CAMPAIGN, *self._flags)
        self._started = time.monotonic()
        self._killed = self._back = None
        self.say(f"adapter started, process {self._process.pid}", "green")

    def end(self) -> None:
        """End the adapter, the way an operator would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def frame(self, speed: float) -> None:
        """Move on to the present."""
        passed = time.monotonic() - self._began
        behind = self._from_s + speed * passed - self.floor.elapsed_s
        if behind > speed * 2:  # a slow machine: show what there is, do not run after it
            self._began += behind / speed
            behind = STEP_S
        for _ in range(int(behind / STEP_S)):
            if not self.floor.over:
                self.floor.step()
        with self._root.cursor() as cursor:
            cursor.execute("SELECT auto_dial_level FROM vicidial_campaigns")
            level = float(cursor.fetchone()[0])
        self._act(level)
        self._level = level
        totals = self.floor.totals()
        self.show.answered, self.show.silent = int(totals["answered"]), int(totals["silent"])
        self.show.highest = max(self.show.highest, level)
        self.trace.levels.append((level, self.alive))
        self.trace.rates.append(self.show.silent / max(self.show.answered, 1))

    def _act(self, level: float) -> None:
        """Kill the adapter when its time has come, and start the next one."""
        now = time.monotonic()
        returned = self._killed is not None and self._back is None and level == 1.0
        if level != self._level and not returned:
            self.say(f"level {self._level:g} -> {level:g}")
        if self.alive and now - self._started > self._alive_s and level > 1.0 and self._process:
            self._process.kill()
            self._process.wait()
            self._killed = now
            self.show.kills += 1
            self.say(f"adapter killed (SIGKILL) at level {level:g}", "bold red")
        elif returned and self._killed is not None:
            self._back = now
            passed = now - self._killed
            self.show.returned_s.append(passed)
            self.say(f"the database set level 1.0, {passed:.1f} s after the kill", "bold yellow")
        elif self._back is not None and now - self._back > _REST_S:
            self.start()


def chart(
    values: list[float],
    span_of: tuple[float, float],
    styles: list[str],
    rows: int,
    line: float | None = None,
) -> Text:
    """Values as columns of blocks, newest at the right; `line`: a dotted mark behind them."""
    text = Text(no_wrap=True)
    low, high = span_of
    span = (high - low) / rows
    pad = _WIDTH - len(values)
    for row in range(rows - 1, -1, -1):
        bottom = low + row * span
        marked = line is not None and bottom <= line < bottom + span
        label = f"{high:5.2f} " if row == rows - 1 else f"{low:5.2f} " if row == 0 else " " * 6
        text.append(label, "dim")
        text.append(("┄" if marked else " ") * pad, "red dim")
        for value, style in zip(values, styles, strict=True):
            part = min(max((value - bottom) / span, 0.0), 1.0)
            block = _BLOCKS[round(part * 8)]
            behind = marked and block == " "
            text.append("┄" if behind else block, "red dim" if behind else style)
        text.append("\n")
    text.right_crop(1)
    return text


def picture(stage: Stage, speed: float, rows: int = 4) -> RenderableType:
    """The floor as it stands; `rows`: height of each chart."""
    trace, floor = stage.trace, stage.floor
    cap = floor.scenario.rule.cap
    levels = [level for level, _ in trace.levels]
    alive = ["green" if on else "red" for _, on in trace.levels]
    level = levels[-1] if levels else 1.0
    rate = trace.rates[-1] if trace.rates else 0.0
    state = "[green]adapter runs[/]" if stage.alive else "[bold red]adapter is dead[/]"
    top_level = max(2.0, *levels) if levels else 2.0
    percents = [100 * value for value in trace.rates]
    top_rate = max(100 * cap * 1.5, *percents) if percents else 100 * cap * 1.5
    over = ["red" if value > 100 * cap else "cyan" for value in percents]
    charts = Table.grid()
    charts.add_row(
        Panel(
            chart(levels, (0.75, top_level), alive, rows),
            title=f"auto_dial_level  [bold]{level:g}[/]",
            subtitle="green: an adapter runs; red: it is dead",
            width=_PANEL,
        )
    )
    charts.add_row(
        Panel(
            chart(percents, (0.0, top_rate), over, rows, 100 * cap),
            title=f"silent calls  [bold]{100 * rate:.2f} %[/] of {stage.show.answered} answered",
            subtitle=f"dotted: the cap, {100 * cap:g} %",
            width=_PANEL,
        )
    )
    agents, legend = Text(), Text()
    for name, n in floor.counts().items():
        agents.append("●" * n, _AGENT_STYLES[name])
        legend.append(f"{name} {n}   ", _AGENT_STYLES[name])
    lines = Text("\n").join(Text(text, style) for text, style in trace.events)
    head = Text.from_markup(
        f"[bold]quietdial on a simulated VICIdial[/]   {floor.now:%H:%M:%S}   x{speed:g}   {state}"
    )
    return Group(
        head,
        charts,
        Panel(Group(agents, legend), title="agents", width=_PANEL),
        Panel(lines, title="what happened", height=6, width=_PANEL),
    )


def run_demo(
    console: Console,
    *,
    scenario: str = "italy-50",
    bundle: Path | None = None,
    speed: float = 12.0,
    seconds: float | None = None,
    alive_s: float = 14.0,
) -> Show:
    """Show the loop until `seconds` have passed, the day is over or Ctrl-C.

    Args:
        console: the terminal; where it is none, one line for each event.
        scenario: the floor.
        bundle: exported policy (`counters`, `vicidial_level`); None: the plain level rule is
            exported first.
        speed: simulated seconds a second.
        seconds: how long; None: until Ctrl-C.
        alive_s: an adapter is killed so long after its start [s].
    """
    world = load_scenario(scenario)
    with tempfile.TemporaryDirectory() as folder, mariadb.private_server() as socket:
        with console.status("making ready (the simulator is compiled once: a minute or two)"):
            root = mariadb.connect(socket)
            make_tables(root, CAMPAIGN)
            floor = SimulatedFloor(root, CAMPAIGN, world, seed=11)
            exported = export_level_rule(floor, Path(folder) / "bundle", _BEFORE_S / 60.0)
            bundle = bundle or exported
        ledger = Path(folder) / "ledger"
        key = make_key(Path(folder) / "ledger.key")
        with Ledger(ledger, key, make=True) as book:
            terms = terms_of(world.rule, TIME_ZONE, floor.opens.date())
            book.agree(CAMPAIGN, terms, who="demo", at_ms=0, why="demonstration")
        flags = [
            *("--ledger", str(ledger), "--time-zone", TIME_ZONE),
            *("--bundle", str(bundle.resolve()), "--unsigned"),
            *("--window-from", floor.opens.isoformat()),
            *("--window-hours", str(world.episode.duration_s / 3600.0)),
            *("--interval", str(INTERVAL_S / speed), "--renew", "0.2", "--lease", str(LEASE_S)),
        ]
        stage = Stage(socket, root, floor, flags, alive_s)
        stage.start()
        try:
            _play(console, stage, speed, seconds)
        except KeyboardInterrupt:
            console.print("ended")
        finally:
            stage.end()
            root.close()
        _read_ledger(stage.show, ledger, key)
    return stage.show


def _read_ledger(show: Show, ledger: Path, key: bytes) -> None:
    (campaign,) = report(ledger).campaigns
    show.kept_answered = sum(day.answered for day in campaign.days)
    show.kept_silent = sum(day.silent for day in campaign.days)
    show.faults = tuple(verify(ledger, key))


def _play(console: Console, stage: Stage, speed: float, seconds: float | None) -> None:
    until = time.monotonic() + (1e9 if seconds is None else seconds)
    told = 0
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    if live is not None:
        live.start()
    try:
        while time.monotonic() < until and not stage.floor.over:
            stage.frame(speed)
            if live is not None:
                rows = max(3, min(8, (console.size.height - 16) // 2))
                live.update(picture(stage, speed, rows), refresh=True)
            time.sleep(_FRAME_S)
            if live is None:
                told = _tell(console, stage, told)
    finally:
        if live is not None:
            live.stop()


def _tell(console: Console, stage: Stage, told: int) -> int:
    """Print events that were not printed yet; how many there were in all."""
    events = list(stage.trace.events)
    for text, _ in events[max(len(events) - (stage.said - told), 0) :]:
        console.print(text)
    return stage.said
