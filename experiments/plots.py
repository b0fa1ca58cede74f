"""The judge's pictures: frontier, one simulated day, and what a policy does where.

Every function takes plain numbers and returns a `matplotlib.figure.Figure` that belongs to no
window and no global state (`save_png` writes it). Colours are Okabe and Ito's, which people with
any common colour blindness can tell apart; policies differ by marker as well.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike, NDArray

from quietdial.envs.errors import ConfigError, RunFolderError
from quietdial.envs.loading import write_bytes_atomic
from quietdial.experiments.label_places import curve_boxes, free_place
from quietdial.experiments.stats import Interval, PolicySummary

FloatArray = NDArray[np.float64]

INK = "#222222"
FAINT = "#6b6b6b"
GRID = "#e3e3e3"
FORBIDDEN = "#D55E00"

_STYLES: dict[str, tuple[str, str]] = {
    "progressive": ("#555555", "s"),
    "fixed-ratio": ("#E69F00", "^"),
    "marginal": ("#0072B2", "D"),
    "ppo-lagrangian": ("#009E73", "o"),
}
_MORE_STYLES = (
    *(("#CC79A7", "v"), ("#56B4E9", "P"), ("#000000", "X"), ("#B8A800", "<")),
    *(("#882255", "p"), ("#44AA99", "*"), ("#8C6D31", ">"), ("#6A51A3", "h")),
)

_TALK, _WRAP, _BREAK, _IDLE = "#0072B2", "#56B4E9", "#BDBDBD", "#F0E442"


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """One policy in the frontier picture; both intervals are fractions."""

    name: str
    silent_rate: Interval
    utilisation: Interval

    @classmethod
    def of(cls, summary: PolicySummary) -> FrontierPoint:
        """The point of one row of the judge's table."""
        return cls(summary.name, summary.silent_rate, summary.utilisation)


@dataclass(frozen=True, eq=False, slots=True)
class DayTrace:
    """One simulated day of one campaign, sampled at each decision.

    Attributes:
        time_s: Time since the day began, seconds, rising, float64 (T,).
        talk: Agents in conversation at each time, (T,).
        wrap: Agents in wrap-up, (T,).
        on_break: Agents on break, (T,).
        idle: Agents idle, (T,).
        in_flight: Calls dialed and not yet decided, (T,).
        silent_s: Time of each silent call since the day began, seconds, (K,).
        opens_s: Time of day at which the day began, seconds after midnight; None if it has none.
    """

    time_s: FloatArray
    talk: FloatArray
    wrap: FloatArray
    on_break: FloatArray
    idle: FloatArray
    in_flight: FloatArray
    silent_s: FloatArray
    opens_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse columns of different lengths."""
        columns = ("talk", "wrap", "on_break", "idle", "in_flight")
        shape = np.shape(self.time_s)
        if len(shape) != 1 or shape[0] < 2:
            raise ConfigError(f"a day's picture needs at least 2 times, got shape {shape}")
        for name in columns:
            if np.shape(getattr(self, name)) != shape:
                raise ConfigError(
                    f"a day's picture: {name!r} has shape {np.shape(getattr(self, name))}, "
                    f"allowed is {shape}, one number per time"
                )


@dataclass(frozen=True, eq=False, slots=True)
class ActionMap:
    """Mean action where a policy was seen, by idle agents and calls in flight.

    Attributes:
        idle_edges: Edges of the classes of idle agents, rising, (I + 1,).
        in_flight_edges: Edges of the classes of calls in flight, rising, (J + 1,).
        mean_action: Mean action, (I, J); NaN where the policy never was.
        visits: Number of decisions in each cell, (I, J).
    """

    idle_edges: FloatArray
    in_flight_edges: FloatArray
    mean_action: FloatArray
    visits: FloatArray

    @classmethod
    def of(
        cls,
        idle: ArrayLike,
        in_flight: ArrayLike,
        action: ArrayLike,
        *,
        max_cells: int = 40,
        min_visits: int = 5,
    ) -> ActionMap:
        """Average actions over classes of equal, whole-numbered width.

        Args:
            idle: Idle agents at each decision, (K,).
            in_flight: Calls in flight at each decision, (K,).
            action: Action at each decision, in any unit, (K,).
            max_cells: Most classes along one axis.
            min_visits: Cells with fewer decisions than this stay empty.
        """
        i, j, a = (np.asarray(v, dtype=np.float64).ravel() for v in (idle, in_flight, action))
        if not len(i) == len(j) == len(a) or len(i) == 0:
            raise ConfigError(
                f"an action map needs one idle, in-flight and action number per decision, "
                f"got {len(i)}, {len(j)} and {len(a)}"
            )
        edges = [_whole_edges(v, max_cells) for v in (i, j)]
        visits = np.histogram2d(i, j, bins=edges)[0]
        total = np.histogram2d(i, j, bins=edges, weights=a)[0]
        seen = visits >= min_visits
        mean = np.divide(total, visits, out=np.full_like(total, np.nan), where=seen)
        return cls(edges[0], edges[1], mean, visits)


def _whole_edges(values: FloatArray, max_cells: int) -> FloatArray:
    top = int(values.max()) + 1
    width = -(-top // max_cells)
    return np.arange(0, top + width, width, dtype=np.float64) - 0.5


def style_of(name: str, others: Sequence[str] = ()) -> tuple[str, str]:
    """Colour and marker of a policy: fixed for the built-in ones, by order for `others`."""
    if name in _STYLES:
        return _STYLES[name]
    strangers = [other for other in others if other not in _STYLES]
    place = strangers.index(name) if name in strangers else 0
    return _MORE_STYLES[place % len(_MORE_STYLES)]


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty white figure of this size in inches that belongs to no window."""
    figure = Figure(figsize=(width_in, height_in), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, x_label: str, y_label: str) -> None:
    """Labels and a frame in the house look."""
    axes.set_xlabel(x_label, fontsize=12, color=INK)
    axes.set_ylabel(y_label, fontsize=12, color=INK)
    axes.tick_params(labelsize=11, colors=INK, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.set_axisbelow(True)


def head(figure: Figure, title: str, subtitle: str) -> None:
    """Title and subtitle flush left, at a fixed distance in inches from the upper edge."""
    height = float(figure.get_size_inches()[1])
    figure.text(0.015, 1 - 0.14 / height, title, fontsize=14, weight="bold", color=INK, va="top")
    figure.text(0.015, 1 - 0.42 / height, subtitle, fontsize=11, color=FAINT, va="top")


def axes_at(figure: Figure, left: float, right: float, bottom: float, top: float) -> Axes:
    """Axes whose edges stand at these distances in inches from the figure's edges."""
    width, height = (float(v) for v in figure.get_size_inches())
    return figure.add_axes(
        (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    )


# --------------------------------------------------------------------------------------- frontier


def frontier_figure(
    points: Sequence[FrontierPoint],
    *,
    cap: float,
    curves: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    title: str = "Busy agents against silent calls",
    subtitle: str = "",
) -> Figure:
    """Throughput against silent rate: each policy with both 95 % intervals.

    Args:
        points: The policies.
        cap: The allowed silent rate, fraction; what lies beyond is shaded; 1: no limit, no line.
        curves: Knob sweeps by policy name: (silent rate, utilisation) as fractions, any order.
        title: First line.
        subtitle: Second line, for instance the scenario and the number of days; empty for one
            made from the points.
    """
    if not points:
        raise ConfigError("the frontier picture needs at least one policy")
    if not 0.0 < cap <= 1.0:
        raise ConfigError(f"cap is {cap!r}, allowed is a fraction above 0 and at most 1")
    figure = new_figure(9.0, 5.6)
    axes = axes_at(figure, 0.77, 0.15, 0.65, 0.8)
    dress(axes, "silent calls per answered call (%)", "utilisation (% of available agent time)")
    axes.grid(color=GRID, linewidth=0.8)
    if not subtitle:
        subtitle = f"{points[0].utilisation.n} days, 95 % intervals"
        subtitle += "; right of the line is forbidden" if cap < 1.0 else ""
    if curves:
        subtitle += "; curves: other knob settings"
    head(figure, title, subtitle)
    names = [point.name for point in points] + list(curves or {})
    _draw_curves(axes, curves or {}, names)
    for point in points:
        colour, marker = style_of(point.name, names)
        x, y = 100 * point.silent_rate.value, 100 * point.utilisation.value
        axes.errorbar(
            x,
            y,
            xerr=_bars(point.silent_rate),
            yerr=_bars(point.utilisation),
            fmt=marker,
            color=colour,
            markersize=9,
            markeredgecolor="white",
            markeredgewidth=1.0,
            elinewidth=1.8,
            capsize=4,
            capthick=1.8,
            zorder=5,
        )
    _limit_frontier(axes, points, cap)
    if cap < 1.0:
        _draw_cap(axes, cap)
    _label_points(figure, axes, points, names, 100 * cap)
    return figure


def _bars(value: Interval) -> FloatArray:
    reach = 100 * np.array([[value.value - value.lo], [value.hi - value.value]])
    bars: FloatArray = np.maximum(reach, 0.0)  # rounding may put an end on the wrong side
    return bars


def _draw_curves(
    axes: Axes, curves: Mapping[str, Sequence[tuple[float, float]]], names: Sequence[str]
) -> None:
    for name, sweep in curves.items():
        colour, marker = style_of(name, names)
        xy = 100 * np.array(sorted(sweep), dtype=np.float64).reshape(-1, 2)
        axes.plot(xy[:, 0], xy[:, 1], "-", color=colour, linewidth=1.8, alpha=0.75, zorder=3)
        axes.plot(
            xy[:, 0], xy[:, 1], marker, color=colour, markersize=3.5, alpha=0.75, zorder=3, ls=""
        )


def _limit_frontier(axes: Axes, points: Sequence[FrontierPoint], cap: float) -> None:
    """Frame the points and the cap; curves may run out of the frame."""
    right = max(1.08 * p.silent_rate.hi for p in points)
    right = max(1.25 * cap, right) if cap < 1.0 else min(max(right, 0.001), 1.05)
    lows = [100 * p.utilisation.lo for p in points]
    highs = [100 * p.utilisation.hi for p in points]
    for line in axes.get_lines():
        x = np.asarray(line.get_xdata(), dtype=np.float64)
        y = np.asarray(line.get_ydata(), dtype=np.float64)
        inside = y[(x <= 100 * right) & (x >= 0)]
        if len(inside):
            lows.append(float(inside.min()))
            highs.append(float(inside.max()))
    room = max(1.0, 0.09 * (max(highs) - min(lows)))
    axes.set_xlim(-0.04 * 100 * right, 100 * right)
    axes.set_ylim(min(lows) - room, min(100.5, max(highs) + room))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 2.5, 5, 10]))


def _draw_cap(axes: Axes, cap: float) -> None:
    low, high = axes.get_xlim()
    axes.axvspan(100 * cap, high, color=FORBIDDEN, alpha=0.10, linewidth=0, zorder=1)
    axes.axvline(100 * cap, color=FORBIDDEN, linewidth=1.6, linestyle=(0, (5, 3)), zorder=2)
    axes.text(
        100 * cap + 0.008 * (high - low),
        0.015,
        f"cap {100 * cap:g} %",
        transform=axes.get_xaxis_transform(),
        color=FORBIDDEN,
        fontsize=11,
        va="bottom",
        ha="left",
        zorder=4,
        gid="cap-label",
    )


def _label_points(
    figure: Figure,
    axes: Axes,
    points: Sequence[FrontierPoint],
    names: Sequence[str],
    cap_percent: float,
) -> None:
    """Name each point in the nearest free place, with a thin line where that is not beside it.

    A place is free if it meets no other name, no interval, no part of a curve, not the cap's line
    and not the frame.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    frame = axes.get_window_extent(renderer)
    taken: list[Bbox] = [
        text.get_window_extent(renderer) for text in axes.texts if text.get_gid() == "cap-label"
    ]
    for point in points:
        taken.extend(_cross(axes, point))
    taken.extend(curve_boxes(axes, frame))
    x_cap = _pixel(axes, cap_percent, 0.0)[0]
    taken.append(Bbox.from_extents(x_cap - 2, frame.y0, x_cap + 2, frame.y1))
    pixels = figure.dpi / 72
    for point in sorted(points, key=lambda p: -p.utilisation.value):
        colour, _ = style_of(point.name, names)
        x, y = 100 * point.silent_rate.value, 100 * point.utilisation.value
        label = axes.annotate(
            f"{point.name}  {y:.1f} %",
            (x, y),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=11.5,
            weight="bold",
            color=_darker(colour),
            zorder=6,
            gid=f"label-{point.name}",
        )
        size = label.get_window_extent(renderer)
        place, far = free_place(_pixel(axes, x, y), size.width, size.height, frame, taken)
        corner = (place.x0 - _pixel(axes, x, y)[0], place.y0 - _pixel(axes, x, y)[1])
        label.set_position((corner[0] / pixels, corner[1] / pixels))
        taken.append(place)
        if far:
            _leader(axes, (x, y), place, _darker(colour))


def _pixel(axes: Axes, x: float, y: float) -> tuple[float, float]:
    px, py = axes.transData.transform((x, y))
    return float(px), float(py)


def _darker(colour: str) -> str:
    """The colour mixed with a third of black, so that text in it can be read on white."""
    red, green, blue = (int(int(colour[i : i + 2], 16) * 0.68) for i in (1, 3, 5))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _cross(axes: Axes, point: FrontierPoint) -> list[Bbox]:
    """The pixels of a point's two intervals and of its marker."""
    silent, busy = point.silent_rate, point.utilisation
    x, y = _pixel(axes, 100 * silent.value, 100 * busy.value)
    x0, y0 = _pixel(axes, 100 * silent.lo, 100 * busy.lo)
    x1, y1 = _pixel(axes, 100 * silent.hi, 100 * busy.hi)
    return [
        Bbox.from_extents(x0 - 3, y - 6, x1 + 3, y + 6),
        Bbox.from_extents(x - 6, y0 - 3, x + 6, y1 + 3),
        Bbox.from_extents(x - 9, y - 9, x + 9, y + 9),
    ]


def _leader(axes: Axes, point: tuple[float, float], place: Bbox, colour: str) -> None:
    """A thin line from a point to the nearest spot of its label's box."""
    px, py = _pixel(axes, *point)
    end = (min(max(px, place.x0), place.x1), min(max(py, place.y0), place.y1))
    x, y = axes.transData.inverted().transform(end)
    axes.plot(
        [point[0], float(x)], [point[1], float(y)], color=colour, linewidth=0.9, zorder=4, ls="--"
    ).pop().set_linestyle((0, (1, 1)))


# -------------------------------------------------------------------------------------------- day

_DAY_CELLS = 240


def day_figure(trace: DayTrace, *, title: str = "One simulated day", subtitle: str = "") -> Figure:
    """One day of one campaign: what the agents do, the calls in flight, and each silent call.

    Args:
        trace: The day; longer traces are averaged over at most 240 equal spans of time.
        title: First line.
        subtitle: Second line, for instance the policy and the scenario; empty for counts.
    """
    figure = new_figure(9.0, 5.8)
    upper = axes_at(figure, 0.77, 1.35, 2.5, 0.8)
    lower = axes_at(figure, 0.77, 1.35, 0.65, 3.5)
    lower.sharex(upper)
    dress(upper, "", "agents")
    clock = trace.opens_s is not None
    dress(lower, "time of day" if clock else "hours since the day began", "calls in flight")
    start = trace.opens_s or 0.0
    silent_h = (np.asarray(trace.silent_s, dtype=np.float64) + start) / 3600
    if not subtitle:
        n = len(silent_h)
        subtitle = f"silent calls: {n}, one tick each" if n else "no silent call"
    head(figure, title, subtitle)
    time_h, cells = _cells(trace, start)
    layers = (
        ("talking", cells["talk"], _TALK),
        ("wrap-up", cells["wrap"], _WRAP),
        ("idle", cells["idle"], _IDLE),
        ("on break", cells["on_break"], _BREAK),
    )
    shown = [layer for layer in layers if float(layer[1].max()) > 0]
    upper.stackplot(
        time_h,
        *(values for _, values, _ in shown),
        colors=[colour for _, _, colour in shown],
        labels=[name for name, _, _ in shown],
        linewidth=0,
    )
    upper.set_ylim(0, float(np.sum([values for _, values, _ in shown], axis=0).max()) * 1.02)
    upper.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    upper.tick_params(labelbottom=False)
    handles, names = upper.get_legend_handles_labels()
    legend_beside(upper, handles[::-1], names[::-1])
    lower.fill_between(
        time_h,
        cells["flight_lo"],
        cells["flight_hi"],
        color="#009E73",
        alpha=0.22,
        linewidth=0,
        label="its range",
    )
    lower.plot(time_h, cells["flight"], color="#009E73", linewidth=1.6, label="in flight")
    top = max(1.0, 1.1 * float(cells["flight_hi"].max()))
    lower.set_ylim(-0.2 * top, top)
    lower.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    lower.set_yticks([tick for tick in lower.get_yticks() if 0 <= tick <= top])
    lower.vlines(
        silent_h, -0.17 * top, -0.04 * top, color=FORBIDDEN, linewidth=1.1, label="silent call"
    )
    lower.grid(axis="x", color=GRID, linewidth=0.8)
    handles, names = lower.get_legend_handles_labels()
    order = [names.index(name) for name in ("in flight", "its range", "silent call")]
    legend_beside(lower, [handles[k] for k in order], [names[k] for k in order])
    first, last = ((float(trace.time_s[place]) + start) / 3600 for place in (0, -1))
    upper.set_xlim(first, last)
    span = last - first
    lower.xaxis.set_major_locator(MultipleLocator(1.0 if span > 3 else 0.5 if span > 1 else 0.25))
    if clock:
        lower.xaxis.set_major_formatter(FuncFormatter(clock_label))
    return figure


def clock_label(hours: float, _: object) -> str:
    """Hours since midnight as a time of day, for the ticks of an axis."""
    minutes = round(60 * hours)
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


def legend_beside(axes: Axes, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """A legend to the right of the axes, in the order given."""
    axes.legend(
        handles,
        names,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        fontsize=11,
        labelcolor=INK,
        handlelength=1.2,
        borderaxespad=0.3,
    )


def _cells(trace: DayTrace, start_s: float) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Means over equal spans of time (and the range for calls in flight), times in hours."""
    time_s = np.asarray(trace.time_s, dtype=np.float64)
    pieces = np.array_split(np.arange(len(time_s)), min(_DAY_CELLS, len(time_s)))
    first = np.array([piece[0] for piece in pieces])
    length = np.array([len(piece) for piece in pieces], dtype=np.float64)

    def mean(values: FloatArray) -> FloatArray:
        sums: FloatArray = np.add.reduceat(np.asarray(values, dtype=np.float64), first)
        return sums / length

    flight = np.asarray(trace.in_flight, dtype=np.float64)
    cells = {name: mean(getattr(trace, name)) for name in ("talk", "wrap", "on_break", "idle")}
    cells["flight"] = mean(flight)
    cells["flight_lo"] = np.minimum.reduceat(flight, first)
    cells["flight_hi"] = np.maximum.reduceat(flight, first)
    return (mean(time_s) + start_s) / 3600, cells


# ------------------------------------------------------------------------------------- action map


def action_map_figure(
    actions: ActionMap,
    *,
    unit: str = "mean dials per decision",
    centre: float | None = None,
    title: str = "What the policy does where",
    subtitle: str = "",
) -> Figure:
    """Mean action over idle agents and calls in flight; states that never came stay grey.

    Args:
        actions: The averaged actions.
        unit: Text of the colour bar, with its unit.
        centre: Value shown in neutral white between two hues (0 for corrections of a base rule);
            None for one hue from low to high.
        title: First line.
        subtitle: Second line; empty for the number of decisions.
    """
    seen = np.isfinite(actions.mean_action)
    if not seen.any():
        raise ConfigError("the action map has no cell with enough decisions")
    figure = new_figure(9.0, 5.4)
    axes = axes_at(figure, 0.77, 1.15, 0.65, 0.8)
    dress(axes, "calls in flight", "idle agents")
    if not subtitle:
        subtitle = f"{int(actions.visits.sum()):,} decisions; grey: hardly ever seen"
    head(figure, title, subtitle)
    axes.set_facecolor("#ededed")
    low, high = float(actions.mean_action[seen].min()), float(actions.mean_action[seen].max())
    norm: Normalize
    if centre is None:
        norm, colours = Normalize(low, high if high > low else low + 1.0), "viridis"
    else:
        reach = max(abs(high - centre), abs(low - centre), 1e-9)
        norm, colours = TwoSlopeNorm(centre, centre - reach, centre + reach), "PuOr"
    mesh = axes.pcolormesh(
        actions.in_flight_edges,
        actions.idle_edges,
        np.ma.masked_invalid(actions.mean_action),
        cmap=colours,
        norm=norm,
        linewidth=0,
        rasterized=True,
    )
    rows, columns = np.nonzero(seen)
    across, up = actions.in_flight_edges, actions.idle_edges
    axes.set_xlim(float(across[columns.min()]), float(across[columns.max() + 1]))
    axes.set_ylim(float(up[rows.min()]), float(up[rows.max() + 1]))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    bar = figure.colorbar(mesh, cax=axes_at(figure, 8.0, 0.8, 0.65, 0.8))
    bar.set_label(unit, fontsize=12, color=INK)
    bar.ax.tick_params(labelsize=11, colors=INK, length=3)
    bar.outline.set_visible(False)
    return figure


# ------------------------------------------------------------------------------------------ files


def png_bytes(figure: Figure, *, dpi: int = 150) -> bytes:
    """The figure as PNG, the same bytes for the same figure and library versions."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def save_png(figure: Figure, path: str | Path, *, dpi: int = 150) -> Path:
    """Write the figure as PNG in one step: a reader sees the old picture or the new one.

    Args:
        figure: What to write.
        path: The file; its folder must exist.
        dpi: Pixels per inch; the figures are 9 inches wide, so 150 gives 1350 pixels.
    """
    path = Path(path)
    content = png_bytes(figure, dpi=dpi)
    try:
        write_bytes_atomic(path, content)
    except RunFolderError as error:
        raise RunFolderError(f"cannot write the picture: {error}") from error
    return path
