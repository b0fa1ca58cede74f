"""The pictures: they show the numbers they are given, and nothing covers anything."""

from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path

import matplotlib.image as mpl_image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from quietdial.envs.errors import ConfigError, RunFolderError
from quietdial.experiments.plots import (
    ActionMap,
    DayTrace,
    FrontierPoint,
    action_map_figure,
    day_figure,
    frontier_figure,
    png_bytes,
    save_png,
    style_of,
)
from quietdial.experiments.stats import Interval


def around(value: float, half: float) -> Interval:
    return Interval(value, max(0.0, value - half), value + half, 64)


POINTS = [
    FrontierPoint("progressive", Interval(0.0, 0.0, 2e-5, 64), around(0.752, 0.018)),
    FrontierPoint("fixed-ratio", around(0.0299, 0.0021), around(0.903, 0.006)),
    FrontierPoint("marginal", around(0.0298, 0.0004), around(0.9466, 0.0011)),
    FrontierPoint("ppo-lagrangian", around(0.0291, 0.0005), around(0.9471, 0.0011)),
]
SWEEP = {"marginal": [(0.05, 0.96), (0.0, 0.9), (0.03, 0.947), (0.01, 0.93)]}


def labels(figure: Figure) -> list[Annotation]:
    texts = figure.axes[0].texts
    return [t for t in texts if isinstance(t, Annotation) and str(t.get_gid()).startswith("label")]


def test_frontier__names_every_policy_and_no_name_covers_anything() -> None:
    figure = frontier_figure(POINTS, cap=0.03, curves=SWEEP)
    found = labels(figure)
    assert sorted(t.get_text() for t in found) == [
        "fixed-ratio  90.3 %",
        "marginal  94.7 %",
        "ppo-lagrangian  94.7 %",
        "progressive  75.2 %",
    ]
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [t.get_window_extent(renderer) for t in found]
    axes = figure.axes[0]
    frame = axes.get_window_extent(renderer)
    for a, b in combinations(boxes, 2):
        assert not a.overlaps(b)
    cap_x = float(axes.transData.transform((3.0, 0.0))[0])
    for box in boxes:
        assert frame.x0 <= box.x0 <= box.x1 <= frame.x1
        assert frame.y0 <= box.y0 <= box.y1 <= frame.y1
        assert not box.x0 <= cap_x <= box.x1
        for point in POINTS:
            x, y = axes.transData.transform(
                (100 * point.silent_rate.value, 100 * point.utilisation.value)
            )
            assert not (box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1)


def test_frontier__holds_the_points_their_intervals_the_cap_and_units() -> None:
    figure = frontier_figure(POINTS, cap=0.03, subtitle="two days")
    axes = figure.axes[0]
    for point in POINTS:
        marks = [
            (float(np.ravel(line.get_xdata())[0]), float(np.ravel(line.get_ydata())[0]))
            for line in axes.get_lines()
            if len(np.ravel(line.get_xdata())) == 1
        ]
        expected = (100 * point.silent_rate.value, 100 * point.utilisation.value)
        assert any(mark == pytest.approx(expected) for mark in marks)
        (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
        assert x0 < 100 * point.silent_rate.lo <= 100 * point.silent_rate.hi < x1
        assert y0 < 100 * point.utilisation.lo <= 100 * point.utilisation.hi < y1
    assert any(np.allclose(line.get_xdata(), 3.0) for line in axes.get_lines())
    assert "cap 3 %" in [text.get_text() for text in axes.texts]
    assert "%" in axes.get_xlabel()
    assert "%" in axes.get_ylabel()
    assert "two days" in [text.get_text() for text in figure.texts]
    shaded = [patch.get_window_extent() for patch in axes.patches]
    assert len(shaded) == 1  # the forbidden side, from the cap to the right edge


def test_frontier__stands_many_policies_at_one_place() -> None:
    crowd = [FrontierPoint(f"policy-{k}", around(0.03, 1e-3), around(0.9, 1e-3)) for k in range(6)]
    figure = frontier_figure(crowd, cap=0.03)
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [t.get_window_extent(renderer) for t in labels(figure)]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_frontier__refuses_nothing_and_a_wrong_cap() -> None:
    with pytest.raises(ConfigError, match="at least one policy"):
        frontier_figure([], cap=0.03)
    with pytest.raises(ConfigError, match=r"cap is 3\.0"):
        frontier_figure(POINTS, cap=3.0)


def test_style_of__keeps_policies_apart() -> None:
    names = ["progressive", "fixed-ratio", "marginal", "ppo-lagrangian", "mine", "yours"]
    styles = [style_of(name, names) for name in names]
    assert len({colour for colour, _ in styles}) == len({mark for _, mark in styles}) == 6
    assert style_of("unlisted")[1] == "v"  # a name that is not in the list still gets a style


def make_trace(n: int = 3600, *, silent: int = 3, opens_s: float | None = 32_400.0) -> DayTrace:
    one = np.ones(n)
    return DayTrace(
        time_s=np.arange(n, dtype=np.float64),
        talk=6 * one,
        wrap=2 * one,
        on_break=0 * one,
        idle=2 * one,
        in_flight=np.arange(n, dtype=np.float64) % 5,
        silent_s=np.linspace(100.0, 3000.0, silent),
        opens_s=opens_s,
    )


def test_day__stacks_the_agents_and_ticks_each_silent_call() -> None:
    figure = day_figure(make_trace())
    upper, lower = figure.axes
    # No agent is ever on break here, so breaks are left out of the stack and of the legend.
    assert upper.get_legend_handles_labels()[1] == ["talking", "wrap-up", "idle"]
    tops = [collection.get_paths()[0].get_extents().y1 for collection in upper.collections]
    assert tops == pytest.approx([6.0, 8.0, 10.0])
    ticks = [c for c in lower.collections if c.get_label() == "silent call"]
    assert len(ticks) == 1
    assert len(ticks[0].get_paths()) == 3
    assert upper.get_ylabel() == "agents"
    assert lower.get_xlabel() == "time of day"
    png_bytes(figure)  # the tick labels are made while drawing
    shown = [label.get_text() for label in lower.get_xticklabels()]
    assert "09:15" in shown
    assert "silent calls: 3, one tick each" in [text.get_text() for text in figure.texts]


def test_day__without_a_clock_counts_hours_and_says_that_nothing_was_silent() -> None:
    figure = day_figure(make_trace(4 * 3600, silent=0, opens_s=None))
    assert figure.axes[1].get_xlabel() == "hours since the day began"
    assert figure.axes[1].get_xlim()[0] == 0.0
    assert "no silent call" in [text.get_text() for text in figure.texts]


def test_day__averages_long_traces_and_keeps_short_ones() -> None:
    # 0, 1, 2, 3, 4, 0, ... over 15 times a cell: mean 2, range 0 to 4.
    line = day_figure(make_trace()).axes[1].get_lines()[0]
    assert len(np.ravel(line.get_ydata())) == 240
    assert np.allclose(np.ravel(line.get_ydata()), 2.0)
    short = day_figure(make_trace(7)).axes[1].get_lines()[0]
    assert np.ravel(short.get_ydata()).tolist() == [0, 1, 2, 3, 4, 0, 1]


def test_day__refuses_columns_that_do_not_fit() -> None:
    one = np.ones(3)
    with pytest.raises(ConfigError, match=r"'idle' has shape \(2,\), allowed is \(3,\)"):
        DayTrace(one, one, one, one, np.ones(2), one, one)
    with pytest.raises(ConfigError, match="at least 2 times"):
        DayTrace(np.ones(1), one, one, one, one, one, one)


def test_action_map__averages_by_hand() -> None:
    # Two decisions with 0 idle and 1 in flight (actions 2 and 4), one with 1 idle and 0 in flight.
    got = ActionMap.of([0, 0, 1], [1, 1, 0], [2.0, 4.0, 7.0], min_visits=1)
    assert got.idle_edges.tolist() == [-0.5, 0.5, 1.5]
    assert got.in_flight_edges.tolist() == [-0.5, 0.5, 1.5]
    assert np.array_equal(got.mean_action, [[np.nan, 3.0], [7.0, np.nan]], equal_nan=True)
    assert got.visits.tolist() == [[0, 2], [1, 0]]
    rare = ActionMap.of([0, 0, 1], [1, 1, 0], [2.0, 4.0, 7.0], min_visits=2)
    assert np.isnan(rare.mean_action[1, 0])


def test_action_map__widens_its_classes_for_large_floors() -> None:
    idle = np.arange(200)
    got = ActionMap.of(idle, idle, idle, max_cells=40, min_visits=1)
    assert got.mean_action.shape == (40, 40)
    assert got.mean_action[0, 0] == 2.0  # 0, 1, 2, 3 and 4 share a class
    assert got.visits.sum() == 200


def test_action_map__draws_every_cell_and_names_its_unit() -> None:
    got = ActionMap.of([0, 0, 1], [1, 1, 0], [2.0, 4.0, 7.0], min_visits=1)
    figure = action_map_figure(got, unit="mean dials per decision")
    axes, bar = figure.axes
    assert axes.get_xlabel() == "calls in flight"
    assert axes.get_ylabel() == "idle agents"
    assert bar.get_ylabel() == "mean dials per decision"
    values = np.ma.getdata(np.ma.asarray(axes.collections[0].get_array()))
    assert sorted(v for v in values.ravel() if np.isfinite(v)) == [3.0, 7.0]
    centred = action_map_figure(got, centre=5.0)
    assert centred.axes[0].collections[0].get_clim() == (3.0, 7.0)


def test_action_map__refuses_what_cannot_be_drawn() -> None:
    with pytest.raises(ConfigError, match="one idle, in-flight and action number"):
        ActionMap.of([0], [1, 2], [3])
    with pytest.raises(ConfigError, match="no cell with enough decisions"):
        action_map_figure(ActionMap.of([0], [1], [3], min_visits=2))
    same = ActionMap.of([0], [1], [3], min_visits=1)
    png_bytes(action_map_figure(same))  # one value only: the scale still has a width
    png_bytes(action_map_figure(same, centre=3.0))


def test_save_png__is_whole_or_not_there(tmp_path: Path) -> None:
    figure = frontier_figure(POINTS, cap=0.03)
    path = save_png(figure, tmp_path / "frontier.png", dpi=100)
    assert mpl_image.imread(io.BytesIO(path.read_bytes())).shape[:2] == (560, 900)
    assert path.read_bytes() == png_bytes(frontier_figure(POINTS, cap=0.03), dpi=100)
    save_png(figure, path, dpi=50)
    assert [entry.name for entry in tmp_path.iterdir()] == ["frontier.png"]
    with pytest.raises(RunFolderError, match="cannot write the picture"):
        save_png(figure, tmp_path / "missing" / "frontier.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(RunFolderError):
        save_png(figure, tmp_path / "folder.png")
    assert not [entry for entry in tmp_path.iterdir() if entry.name.endswith(".tmp")]
