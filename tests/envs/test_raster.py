"""The picture of a floor shows the state of the floor, and always has the same form."""

import io

import numpy as np
import pytest
from rich.console import Console

from quietdial.envs.pacing import raster, screen
from quietdial.envs.pacing.raster import HEIGHT, STATE_COLOURS, WIDTH, frame_rgb
from quietdial.envs.pacing.state import AGENT_STATE
from quietdial.envs.pacing.world import World
from quietdial.envs.records import STATES


def played(n_campaigns=2, scenario="study-real-10", steps=400):
    """A world after some steps of the marginal rule."""
    world = World(n_campaigns, scenario, observation="none", action="theta")
    everywhere = np.ones(n_campaigns, np.bool_)
    world.begin(everywhere, list(range(n_campaigns)))
    for _ in range(steps):
        world.step(np.full((n_campaigns, 1), 0.2, np.float32), everywhere)
    return world


def floor(**changes):
    """A made-up floor of eight agents, one in each state."""
    values = {
        "clock": "2026-05-04 11:22:33",
        "title": "made-up",
        "states": np.arange(len(STATES)),
        "by_age": np.zeros(60, np.int64),
        "in_flight": 0,
        "waiting": 0,
        "answered": 100,
        "silent": 1,
        "utilisation": 0.8,
        "cap": 0.03,
    }
    return raster._Floor(**(values | changes))


def pixels(picture, colour):
    """Which pixels have a colour, (H, W) bool."""
    return (picture == raster._rgb(colour)).all(axis=2)


def agent_rows(picture):
    """The part of a picture with the agents' tiles."""
    top, bottom = raster._TILES
    return picture[top:bottom]


def test_frame_rgb__has_one_form_and_is_fresh():
    world = played()
    first, again = frame_rgb(world, 0), frame_rgb(world, 0)
    assert first.shape == (HEIGHT, WIDTH, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    first[:] = 0
    np.testing.assert_array_equal(frame_rgb(world, 0), again)


def test_frame_rgb__shows_its_own_row_at_its_own_time():
    world, twin = played(), played()
    for row in range(2):
        np.testing.assert_array_equal(frame_rgb(world, row), frame_rgb(twin, row))
    assert (frame_rgb(world, 0) != frame_rgb(world, 1)).any()
    before = frame_rgb(world, 0)
    world.step(np.zeros((2, 1), np.float32), np.ones(2, np.bool_))
    assert (frame_rgb(world, 0) != before).any(), "the clock goes on"


def test_frame_rgb__has_a_tile_for_every_agent_in_its_state():
    world = played(scenario="study-real-50")
    picture = agent_rows(frame_rgb(world, 1))
    states = world.state.agent[1, :, AGENT_STATE]
    shown = {state: pixels(picture, colour).sum() for state, colour in STATE_COLOURS.items()}
    tile = sum(shown.values()) // len(states)
    for code, state in enumerate(STATES):
        assert shown[state] == tile * np.count_nonzero(states == code), state


@pytest.mark.parametrize("n_agents", [1, 5, 50, 500, 2000])
def test_draw__fits_any_number_of_agents(n_agents):
    states = np.arange(n_agents) % len(STATES)
    picture = raster._draw(floor(states=states))
    tiles = agent_rows(picture)
    area = sum(pixels(tiles, colour).sum() for colour in STATE_COLOURS.values())
    assert area % n_agents == 0, "all tiles have one size and lie inside"
    assert area // n_agents >= 4
    assert (picture[:, : raster._MARGIN] == 255).all()
    assert (picture[:, WIDTH - raster._MARGIN + 1 :] == 255).all()


def test_draw__bars_are_calls_in_flight_by_age():
    by_age = np.zeros(60, np.int64)
    by_age[[0, 7, 30]] = 1, 4, 2
    top, bottom = raster._BARS
    bars = pixels(raster._draw(floor(by_age=by_age)), raster.FLIGHT_COLOUR)[top:bottom]
    heights = bars.sum(axis=0)
    step = (WIDTH - 2 * raster._MARGIN) / 60
    middles = [raster._MARGIN + round((age + 0.5) * step) for age in range(60)]
    np.testing.assert_array_equal(heights[middles], 6 * by_age)


@pytest.mark.parametrize(("waiting", "shown"), [(0, 0), (3, 3), (500, 31)])
def test_draw__waiting_callees_are_boxes(waiting, shown):
    y = raster._BARS[1] + 18
    marks = pixels(raster._draw(floor(waiting=waiting)), raster.SILENT_COLOUR)[y : y + 8]
    assert marks.sum() == 64 * shown


@pytest.mark.parametrize(
    ("silent", "cap", "share", "colour"),
    [
        (1, 0.03, 1 / 6, raster.FLIGHT_COLOUR),
        (3, 0.03, 1 / 2, raster.FLIGHT_COLOUR),
        (4, 0.03, 2 / 3, raster.SILENT_COLOUR),
        (50, 0.03, 1.0, raster.SILENT_COLOUR),
        (5, 1.0, 1 / 2, raster.FLIGHT_COLOUR),
    ],
)
def test_draw__strip_is_the_silent_rate_against_the_cap(silent, cap, share, colour):
    top, bottom = raster._STRIP
    row = raster._draw(floor(silent=silent, cap=cap))[(top + bottom) // 2][None]
    length = pixels(row, colour).sum()
    assert length == pytest.approx(share * (WIDTH - 2 * raster._MARGIN), abs=3)


def test_draw__every_character_has_a_glyph():
    written = "2026-05-04 11:22:33 (1.5 %), + / = abcdefghijklmnopqrstuvwxyz 0123456789"
    assert set(written) <= set(raster._GLYPHS)
    dots = {character: raster._glyph(character).tobytes() for character in raster._GLYPHS}
    assert len(set(dots.values())) == len(dots), "no two look the same"


def test_screen__redraws_by_the_clock_on_the_wall(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(screen.time, "perf_counter", lambda: now[0])
    drawn = []
    monkeypatch.setattr(screen, "frame", lambda world, row: drawn.append(row) or "floor")
    world = played(1, steps=1)
    shown = io.StringIO()
    view = screen.Screen(Console(file=shown, width=100), title="title")
    for _ in range(20):
        view.draw(world)
        now[0] += 0.05
    view.draw(world, force=True)
    view.close()
    view.close()
    assert len(drawn) == 7 + 1
    assert "title\nfloor" in shown.getvalue()
