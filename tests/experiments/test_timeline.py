"""The floor's timeline shows what the records say, along the clock on the wall."""

import datetime
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from quietdial.envs import ConfigError, Scenario, load_scenario
from quietdial.envs.record_files import RecordWriter
from quietdial.envs.records import AgentRecord, CallRecord, Records
from quietdial.envs.wall_clock import WallClock
from quietdial.experiments import timeline
from quietdial.experiments.plots import png_bytes
from quietdial.experiments.timeline import FloorLog, floor_timeline

HOUR_MS = 3_600_000


def world(**episode) -> Scenario:
    """Five agents from ten to twelve."""
    data = load_scenario("study-real-5").model_dump(mode="json", exclude_none=True)
    data["episode"] |= {"duration_s": 7200.0, "start": "10:00", **episode}
    return Scenario.model_validate(data)


def call(number, dialed_ms, ended_ms: Any, outcome: Any = "person", **more) -> CallRecord:
    """A call with these facts and no others."""
    facts: dict[str, Any] = dict.fromkeys(CallRecord._fields) | {
        "campaign": 0,
        "call": number,
        "reserved": False,
        "dialed_ms": dialed_ms,
        "start_ms": dialed_ms,
        "ended_ms": ended_ms,
        "outcome": outcome,
        "picked_up_ms": ended_ms if outcome == "person" else None,
        "late": False,
        "censored": False,
    }
    return CallRecord(**(facts | more))


def agent(number, *stretches) -> list[AgentRecord]:
    """An agent's states: (state, begin, end) [ms]."""
    return [AgentRecord(0, number, state, a, b, None, False) for state, a, b in stretches]


@pytest.fixture
def records() -> Records:
    """Two hours of two agents: 3 of 4 quarters busy; 4 calls, 1 cut, 1 left."""
    end = 2 * HOUR_MS
    agents = agent(0, ("talk", 0, HOUR_MS), ("wrap", HOUR_MS, end))
    agents += agent(1, ("idle", 0, HOUR_MS), ("talk", HOUR_MS, end))
    agents += agent(2, ("off", 0, HOUR_MS), ("break", HOUR_MS, end))
    calls = [
        call(0, 0, 9000, connected_ms=9000, waited_ms=0),
        call(1, 0, 9500, queued_ms=9500, silent_ms=12_500, silent="cut", waited_ms=3000),
        call(2, 10, 8000, "busy"),
        call(3, HOUR_MS, HOUR_MS + 5, queued_ms=HOUR_MS + 5, silent_ms=HOUR_MS + 9, silent="left"),
        call(4, end - 10, None, None),
        call(5, HOUR_MS, HOUR_MS + 6, connected_ms=HOUR_MS + 6, waited_ms=0),
    ]
    return Records(calls, agents, [])


def texts(figure):
    """Everything that is written in a figure."""
    return " | ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_floor_timeline__title_says_how_the_day_went(records):
    shown = texts(floor_timeline(records, world(), policy="marginal"))
    assert "study-real-5, marginal" in shown
    assert "utilisation 75.0 %" in shown
    assert "silent 2 of 4 answered = 50.00 % (cap 3 %)" in shown
    for name in ("talking", "wrap-up", "idle", "on break", "in flight", "most waiting", "cap 3 %"):
        assert name in shown
    for name in ("machine", "inbound", "set aside", "off |"):
        assert name not in shown, "what never came needs no place in the legend"


def test_floor_timeline__counts_as_the_rule_does(records):
    data = world().model_dump(mode="json", exclude_none=True)
    data["rule"] |= {"counts_left": False}
    shown = texts(floor_timeline(records, Scenario.model_validate(data)))
    assert "silent 1 of 4 answered = 25.00 %" in shown


def test_floor_timeline__marks_every_silent_call(records):
    lower = floor_timeline(records, world()).axes[2]
    marks = [
        segment[0][0] for c in lower.collections for segment in getattr(c, "get_segments", list)()
    ]
    expected = np.array([12_500, HOUR_MS + 9]) / HOUR_MS
    np.testing.assert_allclose(sorted(marks), expected)


def test_floor_timeline__running_rate_ends_at_the_days_rate(records):
    lower = floor_timeline(records, world()).axes[2]
    (line,) = (line for line in lower.lines if line.get_label() == "rate so far")
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    assert (x[-1], y[-1]) == (2.0, 50.0)
    assert np.all(np.diff(x) >= 0)
    np.testing.assert_allclose(y[x < 1.0], [0.0, 0.0, 50.0])


def test_floor_timeline__agents_stack_up_to_those_present(records):
    upper = floor_timeline(records, world()).axes[0]
    paths = [path for layer in upper.collections for path in layer.get_paths()]
    highest = max(np.asarray(path.vertices)[:, 1].max() for path in paths)
    assert highest == pytest.approx(3.0)


def test_floor_timeline__cuts_the_nights_out(records):
    scenario = world(first_day="2026-05-04", n_days=2)
    sessions = WallClock(scenario).sessions
    assert len(sessions) == 2
    later = sessions[1].open_ms
    agents = records.agents + agent(
        0, ("off", 2 * HOUR_MS, later), ("talk", later, later + 2 * HOUR_MS)
    )
    figure = floor_timeline(Records(records.calls, agents, []), scenario)
    left, right = figure.axes[0].get_xlim()
    assert 4.0 <= right - left < 4.5
    shown = texts(figure)
    assert "Mon 4 May" in shown
    assert "Tue 5 May" in shown


@pytest.mark.parametrize(
    ("n_days", "label"), [(1, "time of day, Mon 4 May 2026"), (3, "time of day"), (20, "day")]
)
def test_floor_timeline__time_axis_fits_its_length(n_days, label):
    scenario = world(first_day="2026-05-04", n_days=n_days)
    clock = WallClock(scenario)
    stretches = [("talk", s.open_ms, s.close_ms) for s in clock.sessions]
    figure = floor_timeline(Records([], agent(0, *stretches), []), scenario)
    assert figure.axes[2].get_xlabel() == label
    assert len(figure.axes[2].get_xticks()) <= 16
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [t.get_window_extent(renderer) for t in figure.axes[2].get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes)), "labels do not meet"


def test_floor_timeline__legends_lie_inside_the_picture(records):
    causes = [
        call(k, 0, 9, silent_ms=20 + k, silent=c) for k, c in enumerate(("cut", "left", "amd"))
    ]
    agents = agent(1, *((state, k, k + 1) for k, state in enumerate(timeline.STATE_COLOURS)))
    figure = floor_timeline(Records(causes, agents + records.agents, []), world())
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        legend = axes.get_legend()
        assert legend is not None
        box = legend.get_window_extent(renderer)
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1


def test_floor_timeline__folder_and_memory_give_one_picture(records, tmp_path):
    with RecordWriter(tmp_path, world(), policy="p", seed=0) as writer:
        writer.add(records)
        writer.add(Records([], [row._replace(campaign=1) for row in agent(0, ("idle", 0, 50))], []))
        writer.finish()
    one, two = (png_bytes(floor_timeline(source, world())) for source in (records, tmp_path))
    assert one == two
    assert one.startswith(b"\x89PNG")
    assert len(FloorLog.read(tmp_path, campaign=1).dialed_ms) == 0
    with pytest.raises(ConfigError, match="at least one agent"):
        floor_timeline(tmp_path, world(), campaign=2)


def test_floor_timeline__refuses_a_folder_without_records(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        floor_timeline(tmp_path, world())


intervals = st.lists(st.tuples(st.integers(0, 900), st.integers(1, 300)), max_size=30)


@given(intervals, st.integers(1, 40))
def test_counts_of_cells__are_those_of_a_count_by_hand(pairs, width):
    begin = np.array([a for a, _ in pairs], np.int64)
    end = np.array([a + length for a, length in pairs], np.int64)
    edges = np.arange(0, 1000 + width, width)
    level = np.zeros(edges[-1] + 400, np.int64)
    for a, b in zip(begin, end, strict=True):
        level[a:b] += 1
    cells = [level[a:b] for a, b in itertools.pairwise(edges)]
    mean = timeline._mean_count(begin, end, edges)
    np.testing.assert_allclose(mean, [cell.mean() for cell in cells], atol=1e-9)
    lo, hi = timeline._range_count(begin, end, edges)
    for k, cell in enumerate(cells):
        assert lo[k] <= cell.min()
        assert hi[k] >= cell.max()
        assert hi[k] <= level.max() + len(pairs)


def test_axis__day_names_need_no_locale():
    assert timeline._day(datetime.date(2026, 6, 2)) == "Tue 2 Jun"
