"""The floor as a picture of pixels, drawn with numpy alone: `render_mode="rgb_array"`.

From top to bottom: the clock and the scenario, one tile per agent coloured by its state with a
legend, the calls in flight by their age, the callees who wait in silence, and the silent rate
against the cap. Colours are Okabe and Ito's, which people with any common colour blindness can
tell apart. The same state gives the same pixels on every platform.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.pacing.state import AGENT_STATE, IN_FLIGHT, NOW, WAITING
from quietdial.envs.pacing.world import World
from quietdial.envs.records import STATES
from quietdial.envs.wall_clock import WallClock

Picture = NDArray[np.uint8]

WIDTH: Final = 480
HEIGHT: Final = 360
STATE_COLOURS: Final = {
    "talk": "#0072B2",
    "wrap": "#56B4E9",
    "inbound": "#CC79A7",
    "machine": "#E69F00",
    "held": "#4D4D4D",
    "idle": "#F0E442",
    "break": "#BDBDBD",
    "off": "#ECECEC",
}
"""Colour of every agent state, in the order in which pictures name them."""
STATE_TITLES: Final = {
    "talk": "talking",
    "wrap": "wrap-up",
    "inbound": "inbound",
    "machine": "machine",
    "held": "set aside",
    "idle": "idle",
    "break": "on break",
    "off": "off",
}
SILENT_COLOUR: Final = "#D55E00"
FLIGHT_COLOUR: Final = "#009E73"

_INK, _FAINT, _PALE = "#222222", "#6b6b6b", "#e9e9e9"
_MARGIN = 12
_TILES = (52, 176)  # rows of the agents' tiles
_BARS = (222, 274)  # rows of the calls in flight
_STRIP = (324, 336)  # rows of the silent rate
_MOST_AGES = 60
_LARGEST_TILE = 40

# The 5 x 8 dot matrix of character displays: five columns of eight bits, the top row lowest.
_GLYPHS: Final = {
    " ": "0000000000",
    "%": "2313086462",
    "(": "001C224100",
    ")": "0041221C00",
    "+": "08083E0808",
    ",": "0080703000",
    "-": "0808080808",
    ".": "0000606000",
    "/": "2010080402",
    "0": "3E5149453E",
    "1": "00427F4000",
    "2": "7249494946",
    "3": "2141494D33",
    "4": "1814127F10",
    "5": "2745454539",
    "6": "3C4A494931",
    "7": "4121110907",
    "8": "3649494936",
    "9": "464949291E",
    ":": "0000140000",
    "=": "1414141414",
    "a": "2054547840",
    "b": "7F28444438",
    "c": "3844444428",
    "d": "384444287F",
    "e": "3854545418",
    "f": "00087E0902",
    "g": "18A4A49C78",
    "h": "7F08040478",
    "i": "00447D4000",
    "j": "2040403D00",
    "k": "7F10284400",
    "l": "00417F4000",
    "m": "7C04780478",
    "n": "7C08040478",
    "o": "3844444438",
    "p": "FC18242418",
    "q": "18242418FC",
    "r": "7C08040408",
    "s": "4854545424",
    "t": "04043F4424",
    "u": "3C4040207C",
    "v": "1C2040201C",
    "w": "3C4030403C",
    "x": "4428102844",
    "y": "4C9090907C",
    "z": "4464544C44",
}
_PITCH = 6


class _Floor(NamedTuple):
    """What one picture shows."""

    clock: str
    title: str
    states: NDArray[np.int64]  # (N,) codes of STATES
    by_age: NDArray[np.int64]  # (ages,) calls in flight by whole seconds since their dial
    in_flight: int
    waiting: int
    answered: int
    silent: int
    utilisation: float
    cap: float


_clocks: WeakKeyDictionary[World, WallClock] = WeakKeyDictionary()


def _clock_of(world: World) -> WallClock:
    if world not in _clocks:
        _clocks[world] = WallClock(world.scenario)
    return _clocks[world]


@cache
def _glyph(character: str, scale: int = 1) -> NDArray[np.bool_]:
    """Dots of a character, (8 scale, 5 scale); an unknown one is blank."""
    columns = bytes.fromhex(_GLYPHS.get(character, _GLYPHS[" "]))
    rows = np.unpackbits(np.frombuffer(columns, np.uint8)[None, :], axis=0, bitorder="little")
    return np.kron(rows, np.ones((scale, scale), np.uint8)) > 0


@cache
def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _text(picture: Picture, x: int, y: int, text: str, colour: str = _INK, scale: int = 1) -> int:
    """Write text with its upper left corner at (x, y); returns the column after it."""
    for character in text.lower():
        dots = _glyph(character, scale)
        area = picture[y : y + dots.shape[0], x : x + dots.shape[1]]
        area[dots[: area.shape[0], : area.shape[1]]] = _rgb(colour)
        x += _PITCH * scale
    return x


def _box(picture: Picture, x0: int, y0: int, x1: int, y1: int, colour: str) -> None:
    picture[max(y0, 0) : y1, max(x0, 0) : x1] = _rgb(colour)


def _read(world: World, row: int) -> _Floor:
    """Everything that the picture needs from one row of the state."""
    head, ring = world.state.head[row], world.state.cohort[row]
    now_ms = int(head[NOW])
    n_ages = min(len(ring), _MOST_AGES)
    ages = (now_ms // 1000 - np.arange(n_ages)) % len(ring)
    totals = {name: float(value[row]) for name, value in world.totals().items()}
    available_s = totals["available_s"]
    busy_s = totals["talk_s"] + totals["wrap_s"]
    states = world.state.agent[row, :, AGENT_STATE]  # further codes: kinds of idle
    clock = _clock_of(world)
    return _Floor(
        clock=clock.text(now_ms),
        title=world.scenario.name,
        states=np.where(states < len(STATES), states, STATES.index("idle")),
        by_age=ring[ages],
        in_flight=int(head[IN_FLIGHT]),
        waiting=int(head[WAITING]),
        answered=int(totals["answered"]),
        silent=int(totals.get("counted", totals["silent"])),
        utilisation=busy_s / available_s if available_s else 0.0,
        cap=world.scenario.rule.cap,
    )


def frame_rgb(world: World, row: int) -> Picture:
    """One campaign as a picture: uint8 (HEIGHT, WIDTH, 3), a fresh array, always of one shape."""
    return _draw(_read(world, row))


def _draw(floor: _Floor) -> Picture:
    picture = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    _text(picture, _MARGIN, 8, floor.clock, scale=2)
    right = WIDTH - _MARGIN - _PITCH * len(floor.title)
    _text(picture, right, 8, floor.title, _FAINT)
    busy = f"utilisation {100 * floor.utilisation:.1f} %"
    _text(picture, WIDTH - _MARGIN - _PITCH * len(busy), 20, busy)
    _agents(picture, floor)
    _flight(picture, floor)
    _waiting(picture, floor)
    _rate(picture, floor)
    return picture


def _tile_size(n: int, width: int, height: int) -> int:
    """Largest square [pixels] of which n fit into the area."""
    for size in range(_LARGEST_TILE, 1, -1):
        if (width // size) * (height // size) >= n:
            return size
    return 1


def _agents(picture: Picture, floor: _Floor) -> None:
    top, bottom = _TILES
    width = WIDTH - 2 * _MARGIN
    size = _tile_size(len(floor.states), width, bottom - top)
    gap = 2 if size >= 10 else 1 if size >= 3 else 0
    across = width // size
    for agent, state in enumerate(floor.states.tolist()):
        x, y = _MARGIN + agent % across * size, top + agent // across * size
        _box(picture, x, y, x + size - gap, y + size - gap, STATE_COLOURS[STATES[state]])
    counts = np.bincount(floor.states, minlength=len(STATES))
    _text(picture, _MARGIN, top - 13, f"{len(floor.states)} agents", _FAINT)
    x, y = _MARGIN, bottom + 9
    for state, colour in STATE_COLOURS.items():
        count = int(counts[STATES.index(state)])
        if count == 0 and state in ("inbound", "machine", "held", "off"):
            continue
        label = f"{count} {STATE_TITLES[state]}"
        if x + 12 + _PITCH * len(label) > WIDTH - _MARGIN:
            x, y = _MARGIN, y + 12
        _box(picture, x, y, x + 8, y + 8, colour)
        x = _text(picture, x + 12, y, label) + 9


def _flight(picture: Picture, floor: _Floor) -> None:
    top, bottom = _BARS
    _text(picture, _MARGIN, top - 13, f"{floor.in_flight} calls in flight", _FAINT)
    n_ages = len(floor.by_age)
    step = (WIDTH - 2 * _MARGIN) / n_ages
    unit = min(6.0, (bottom - top) / max(int(floor.by_age.max(initial=0)), 1))
    _box(picture, _MARGIN, bottom, WIDTH - _MARGIN, bottom + 1, _FAINT)
    for age, count in enumerate(floor.by_age.tolist()):
        x0, x1 = _MARGIN + round(age * step), _MARGIN + round((age + 1) * step) - 1
        _box(picture, x0, bottom - round(unit * count), x1, bottom, FLIGHT_COLOUR)
    for age in range(0, n_ages, 10):
        x = _MARGIN + round(age * step)
        _box(picture, x, bottom, x + 1, bottom + 4, _FAINT)
        _text(picture, x + 3, bottom + 4, f"{age} s", _FAINT)


def _waiting(picture: Picture, floor: _Floor) -> None:
    y = _BARS[1] + 18
    x = _text(picture, _MARGIN, y, f"{floor.waiting} waiting in silence", _FAINT) + 6
    fits = (WIDTH - _MARGIN - x) // 10
    for place in range(min(floor.waiting, fits)):
        _box(picture, x + 10 * place, y, x + 10 * place + 8, y + 8, SILENT_COLOUR)


def _rate(picture: Picture, floor: _Floor) -> None:
    top, bottom = _STRIP
    rate = floor.silent / floor.answered if floor.answered else 0.0
    limited = floor.cap < 1.0
    full = min(1.0, 2.0 * floor.cap) if limited else 0.1
    left, width = _MARGIN, WIDTH - 2 * _MARGIN
    at_cap = left + round(width * floor.cap / full) if limited else WIDTH - _MARGIN
    share = f"silent {floor.silent} of {floor.answered} answered = {100 * rate:.2f} %"
    _text(picture, left, top - 13, share)
    _box(picture, left, top, left + width, bottom, _PALE)
    if limited:
        picture[top:bottom, at_cap : left + width] = (250, 226, 211)
    colour = SILENT_COLOUR if limited and rate > floor.cap else FLIGHT_COLOUR
    _box(picture, left, top + 2, left + round(width * min(rate / full, 1.0)), bottom - 2, colour)
    if limited:
        _box(picture, at_cap - 1, top - 4, at_cap + 1, bottom + 4, SILENT_COLOUR)
        _text(picture, at_cap + 5, bottom + 6, f"cap {100 * floor.cap:g} %", SILENT_COLOUR)
    _text(picture, left, bottom + 6, "0 %", _FAINT)
    end = f"{100 * full:g} %"
    _text(picture, WIDTH - _MARGIN - _PITCH * len(end), bottom + 6, end, _FAINT)
