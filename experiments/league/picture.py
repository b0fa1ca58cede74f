"""Pictures of the league: throughput against silent rate, every rule a curve, names beside them.

The curves are the sweeps of knobs on the tuning days; the points are the test days' figures at the
rates asked for. Names stand in a column on the right, in the order of the curves, so that any
number of rules stays legible.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quietdial.experiments import plots
from quietdial.experiments.executors import Plain
from quietdial.experiments.league.entries import OPTIMUM, REFERENCE
from quietdial.experiments.league.jobs import FRONTIER, PICTURED
from quietdial.experiments.league.rows import Results, Row, frontier_of
from quietdial.experiments.league.settings import Settings
from quietdial.experiments.league.table import label

SHORT = "league.png"
_SHORT_LIST = (
    *("marginal", "marginal-true-parameters", "marginal-all", "quantile-age", "quantile-blind"),
    *("predict1", "vicidial-average", "vicidial-ratio", "vicidial-average, shipped", "osdial"),
    *("genesys", "amazon", "issabel", "uccx", "webitel", "fixed-ratio", "progressive"),
)
_FEW = 9
_NEAR_RATE, _NEAR_BUSY = 0.25, 1.0  # percent, points
_COLOURS = (
    *("#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D31", "#637939"),
    *("#7B4173", "#3182BD", "#A55194", "#31A354", "#E6550D", "#756BB1"),
)
_REFERENCE_COLOUR = "#0072B2"
_PRIVILEGED_COLOUR = "#888888"

FloatArray = NDArray[np.float64]


class Curve(NamedTuple):
    """What the picture shows of one participant.

    Attributes:
        name: text of its label.
        entry: name of the participant.
        privileged: whether it sees hidden truth.
        xy: silent rate and utilisation of its sweep, in percent, by knob, (K, 2).
        rows: its rows on the test days.
    """

    name: str
    entry: str
    privileged: bool
    xy: FloatArray
    rows: list[Row]


class _Label(NamedTuple):
    text: str
    colour: str
    at: tuple[float, float]  # where its curve ends, in data units
    bold: bool


def draw(results: Results, rows: Sequence[Row], settings: Settings, folder: Path) -> list[Path]:
    """Write the pictures of the scenarios in `PICTURED` that were played; returns the files."""
    written: list[Path] = []
    for scenario in PICTURED:  # the first one also in short
        its = [row for row in rows if row.scenario == scenario]
        if not its:
            continue
        curves = _curves(scenario, results, its)
        frontier = results.get((scenario, FRONTIER))
        path = folder / f"league-{scenario}.png"
        tall = 3.4 + 0.145 * max(len(curves), 20)
        plots.save_png(_figure(scenario, curves, frontier, settings, 9.6, tall), path)
        written.append(path)
        if scenario == PICTURED[0]:
            short = _shortened(curves)
            plots.save_png(_figure(scenario, short, frontier, settings, 9.6, 5.4), folder / SHORT)
            written.append(folder / SHORT)
    return written


def _curves(scenario: str, results: Results, rows: Sequence[Row]) -> list[Curve]:
    found: list[Curve] = []
    for (name, entry), result in results.items():
        its = [row for row in rows if row.entry == entry]
        if name != scenario or not its or entry == OPTIMUM:
            continue
        points = [(100 * rate, 100 * busy) for _, rate, busy in result["sweep"]]
        text = label(entry, tuned=result["tuned"], privileged=result["privileged"])
        xy = _thinned(np.array(points, np.float64).reshape(-1, 2))
        found.append(Curve(text, entry, result["privileged"], xy, its))
    return found


def _thinned(xy: FloatArray) -> FloatArray:
    """A curve without points so near to the one before that only the luck of days shows."""
    kept = [0] if len(xy) else []
    for i in range(1, len(xy)):
        rate, busy = np.abs(xy[i] - xy[kept[-1]])
        if np.hypot(rate / _NEAR_RATE, busy / _NEAR_BUSY) >= 1.0 or i == len(xy) - 1:
            kept.append(i)
    return xy[kept]


def _shortened(curves: Sequence[Curve]) -> list[Curve]:
    """A few well-known participants; where these are missing, every n-th by utilisation."""
    known = [curve for curve in curves if curve.entry in _SHORT_LIST]
    if len(known) >= _FEW:
        return known
    ranked = sorted(curves, key=lambda curve: -max(r.utilisation.value for r in curve.rows))
    places = np.unique(np.linspace(0, len(ranked) - 1, _FEW).round().astype(int))
    return [ranked[int(place)] for place in places]


def _figure(
    scenario: str,
    curves: Sequence[Curve],
    frontier: Plain | None,
    settings: Settings,
    width_in: float,
    height_in: float,
) -> Figure:
    figure = plots.new_figure(width_in, height_in)
    right = 100 * 1.35 * settings.rates[0]
    outside = [f"{c.name} {_own(c)}" for c in curves if not _rows_within(c, right)]
    bottom = 0.95 if outside else 0.65
    axes = plots.axes_at(figure, 0.77, 2.65, bottom, 0.8)
    plots.dress(axes, "silent calls per answered call (%)", "utilisation (% of agent time)")
    axes.grid(color=plots.GRID, linewidth=0.8)
    subtitle = (
        f"{scenario}; curves: settings of a rule's knob; points: test days, 95 % intervals; "
        "squares: as shipped; *: sees hidden truth"
    )
    plots.head(figure, "Busy agents against silent calls", subtitle)
    colour_of = _colours(curves)
    labels: list[_Label] = []
    if frontier is not None:
        labels.append(_draw_frontier(axes, frontier, right))
    labels += [
        _draw(axes, curve, colour_of(curve), right)
        for curve in curves
        if _rows_within(curve, right)
    ]
    axes.set_xlim(-0.02 * right, right)
    _limit(axes, labels, right)
    for rate in settings.rates:
        axes.axvline(100 * rate, color=plots.FAINT, linewidth=1.0, linestyle=(0, (5, 3)), zorder=1)
    _write_labels(axes, labels, height_in - bottom - 0.8)
    if outside:
        text = "further right (silent, utilisation): " + ", ".join(outside)
        lines = textwrap.wrap(text, 150)
        figure.text(0.015, 0.06 / height_in, "\n".join(lines), fontsize=7.5, color=plots.FAINT)
    return figure


def _rows_within(curve: Curve, right: float) -> list[Row]:
    """Its rows that are not more silent than the picture is wide."""
    return [row for row in curve.rows if 100 * row.silent_rate.value <= right]


def _own(curve: Curve) -> str:
    row = curve.rows[0]
    return f"({100 * row.silent_rate.value:.1f} %, {100 * row.utilisation.value:.1f} %)"


def _colours(curves: Sequence[Curve]) -> Callable[[Curve], str]:
    """One colour for each family of rules, the first word of their names."""
    families = sorted({curve.entry.split("-")[0] for curve in curves if not curve.privileged})

    def colour(curve: Curve) -> str:
        if curve.entry == REFERENCE:
            return _REFERENCE_COLOUR
        if curve.privileged:
            return _PRIVILEGED_COLOUR
        return _COLOURS[families.index(curve.entry.split("-")[0]) % len(_COLOURS)]

    return colour


def _draw_frontier(axes: Axes, frontier: Plain, right: float) -> _Label:
    rates = (right / 100) * np.linspace(0.0, 1.0, 200) ** 2
    xy = 100 * np.column_stack([rates, frontier_of(frontier)(rates)])
    axes.plot(xy[:, 0], xy[:, 1], color="#000000", linewidth=2.2, zorder=6)
    return _Label("exact optimum", "#000000", (float(xy[-1, 0]), float(xy[-1, 1])), True)


def _cut(xy: FloatArray, right: float) -> FloatArray:
    """A curve up to where it leaves the picture for the last time, with the point there."""
    inside = np.flatnonzero(xy[:, 0] <= right)
    if not len(inside):
        return xy[:0]
    last = int(inside[-1])
    if last + 1 == len(xy):
        return xy
    (x0, y0), (x1, y1) = xy[last], xy[last + 1]
    return np.vstack([xy[: last + 1], [[right, y0 + (right - x0) / (x1 - x0) * (y1 - y0)]]])


def _draw(axes: Axes, curve: Curve, colour: str, right: float) -> _Label:
    """Draw one participant, its curve and its points; returns its name for the column."""
    xy, rows = _cut(curve.xy, right), _rows_within(curve, right)
    style = (0, (4, 2)) if curve.privileged else "-"
    bold = curve.entry == REFERENCE
    if len(xy) > 1:
        axes.plot(
            xy[:, 0], xy[:, 1], color=colour, linewidth=2.4 if bold else 1.3, linestyle=style,
            alpha=0.9, zorder=5 if bold else 3,
        )  # fmt: skip
    for row in rows:
        x, y = 100 * row.silent_rate.value, 100 * row.utilisation.value
        axes.errorbar(
            x, y,
            xerr=[[100 * (row.silent_rate.value - row.silent_rate.lo)],
                  [100 * (row.silent_rate.hi - row.silent_rate.value)]],
            yerr=100 * row.utilisation.half_width,
            fmt="o" if row.tuned else "s", color=colour, markersize=5,
            markerfacecolor=colour if row.tuned else "white", elinewidth=0.8, alpha=0.9,
            zorder=6 if bold else 4,
        )  # fmt: skip
    ends = [(100 * row.silent_rate.value, 100 * row.utilisation.value) for row in rows]
    if len(xy) > 1:
        ends.append((float(xy[-1, 0]), float(xy[-1, 1])))
    return _Label(curve.name, colour, max(ends), bold)


def _limit(axes: Axes, labels: Sequence[_Label], right: float) -> None:
    """From the lowest thing that is drawn to just above the highest one."""
    values = [item.at[1] for item in labels]
    for line in axes.get_lines():
        x = np.asarray(line.get_xdata(), np.float64)
        y = np.asarray(line.get_ydata(), np.float64)
        values += y[(x >= 0) & (x <= right)].tolist()
    low, high = min(values), max(values)
    room = max(0.04 * (high - low), 0.3)
    axes.set_ylim(low - room, min(high + room, 100.5))


def _write_labels(axes: Axes, labels: Sequence[_Label], axes_in: float) -> None:
    """Names in a column right of the axes, evenly pushed apart, with a line to each curve's end."""
    size = 8.5 if len(labels) > 20 else 10.0
    least = 1.25 * size / 72.0 / axes_in  # height of a line, share of the axes
    ordered = sorted(labels, key=lambda item: (item.at[1], item.text))
    low, high = axes.get_ylim()
    wanted = [(item.at[1] - low) / (high - low) for item in ordered]
    for item, place in zip(ordered, _apart(wanted, least), strict=True):
        colour = _darker(item.colour)
        axes.annotate(
            item.text,
            xy=item.at,
            xytext=(1.035, place),
            xycoords="data",
            textcoords="axes fraction",
            fontsize=size,
            weight="bold" if item.bold else "normal",
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.7,
                "shrinkA": 1, "shrinkB": 0, "relpos": (0.0, 0.5),
            },
        )  # fmt: skip


def _apart(wanted: Sequence[float], least: float) -> list[float]:
    """Places in the same order, at least `least` apart, near the wanted ones, within [0, 1]."""
    places: list[float] = []
    for value in wanted:
        places.append(max(value, places[-1] + least) if places else max(value, 0.0))
    top = max(1.0, least * (len(places) - 1))
    for i in reversed(range(len(places))):
        places[i] = min(places[i], top - least * (len(places) - 1 - i))
    return places


def _darker(colour: str) -> str:
    red, green, blue = (int(int(colour[i : i + 2], 16) * 0.75) for i in (1, 3, 5))
    return f"#{red:02x}{green:02x}{blue:02x}"
