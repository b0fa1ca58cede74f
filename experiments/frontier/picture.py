"""The picture of a frontier: throughput, what it is above the reference, and the price of calls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from quietdial.experiments.frontier.measure import (
    CONDITIONED,
    OPTIMUM,
    PER_CAP,
    REFERENCE,
    Curve,
    Frontier,
)
from quietdial.experiments.frontier.price import exact_price_agent_h
from quietdial.experiments.plots import FAINT, GRID, INK, axes_at, dress, head, new_figure, style_of
from quietdial.experiments.stats import Interval

_STYLES = {
    CONDITIONED: ("#009E73", "o"),
    PER_CAP: ("#CC79A7", "v"),
    OPTIMUM: ("#000000", "*"),
    f"{OPTIMUM}, long run": ("#000000", ""),
}
_WIDTH_IN, _HEIGHT_IN = 9.0, 11.0


def frontier_picture(found: Frontier) -> Figure:
    """Three panels over the silent rate, each with 95 % bands.

    Above: utilisation. Middle: utilisation minus the reference rule's at the same silent rate,
    paired by day. Below: agent-hours of work lost for each silent call avoided.
    """
    figure = new_figure(_WIDTH_IN, _HEIGHT_IN)
    n_days = found.curves[0].points[0].summary.utilisation.n
    head(
        figure,
        f"Throughput against silent calls: {found.scenario}",
        f"{n_days} test days, the same for all; bands and bars: 95 % intervals",
    )
    upper = axes_at(figure, 1.1, 0.2, 7.35, 0.8)
    middle = axes_at(figure, 1.1, 0.2, 4.4, 4.05)
    lower = axes_at(figure, 1.1, 0.2, 1.45, 7.0)
    names = [curve.name for curve in found.curves]
    for curve in found.curves:
        colour, marker = _style(curve.name, names)
        _draw_points(upper, curve, colour, marker)
        if curve.name != REFERENCE:
            _draw_differences(middle, curve, colour, marker)
        _draw_prices(lower, curve, colour, marker)
    middle.axhline(0.0, color=_style(REFERENCE, names)[0], linewidth=1.4)
    if found.exact:
        x = [100 * one.silent_rate for one in found.exact]
        upper.plot(x, [100 * one.utilisation for one in found.exact], "k--", linewidth=1.1)
        prices = [exact_price_agent_h(one) for one in found.exact]
        lower.plot(x, prices, "k--", linewidth=1.1, label=f"{OPTIMUM}, long run: its multiplier")
    _dress_all(upper, middle, lower, found)
    handles, labels = upper.get_legend_handles_labels()
    more = lower.get_legend_handles_labels()
    if found.exact:
        handles, labels = [*handles, more[0][-1]], [*labels, more[1][-1]]
    figure.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(0.07, 0.005),
        ncols=3,
        fontsize=10.5,
        frameon=False,
        labelcolor=INK,
    )
    return figure


def _style(name: str, names: Sequence[str]) -> tuple[str, str]:
    return _STYLES.get(name) or style_of(name, [n for n in names if n not in _STYLES])


def _bars(intervals: Sequence[Interval], scale: float) -> np.ndarray:
    return np.array(
        [
            [scale * (one.value - one.lo) for one in intervals],
            [scale * (one.hi - one.value) for one in intervals],
        ]
    )


def _draw_points(axes: Axes, curve: Curve, colour: str, marker: str) -> None:
    points = sorted(curve.points, key=lambda point: point.summary.silent_rate.value)
    x = [100 * point.summary.silent_rate.value for point in points]
    y = [point.summary.utilisation for point in points]
    axes.plot(
        x,
        [100 * one.value for one in y],
        marker=marker,
        color=colour,
        markersize=10 if marker == "*" else 7,
        markeredgecolor="white",
        linewidth=1.6,
        label=curve.name,
        zorder=4,
    )
    if len(points) > 1:
        low, high = [100 * one.lo for one in y], [100 * one.hi for one in y]
        axes.fill_between(x, low, high, color=colour, alpha=0.10, linewidth=0, zorder=2)
    else:
        axes.errorbar(x, [100 * y[0].value], yerr=_bars(y, 100), color=colour, capsize=4, zorder=3)


def _draw_differences(axes: Axes, curve: Curve, colour: str, marker: str) -> None:
    points = sorted(curve.points, key=lambda point: point.summary.silent_rate.value)
    kept = [(p.summary.silent_rate.value, p.minus_reference) for p in points if p.minus_reference]
    x, y = [100 * rate for rate, _ in kept], [gap for _, gap in kept]
    if not kept:
        return
    axes.errorbar(
        x,
        [100 * one.value for one in y],
        yerr=_bars(y, 100),
        marker=marker,
        color=colour,
        markersize=10 if marker == "*" else 7,
        markeredgecolor="white",
        linewidth=1.6,
        elinewidth=1.2,
        capsize=3,
        zorder=4,
    )


def _draw_prices(axes: Axes, curve: Curve, colour: str, marker: str) -> None:
    prices = [price for price in curve.prices if price.per_call_agent_h.value > 0]
    if not prices:
        return
    x = [100 * price.rate for price in prices]
    y = [price.per_call_agent_h for price in prices]
    axes.plot(
        x,
        [one.value for one in y],
        marker=marker,
        color=colour,
        markersize=10 if marker == "*" else 7,
        markeredgecolor="white",
        linewidth=1.6,
        zorder=4,
    )
    floor = 0.2 * min(one.value for one in y)
    low = [max(one.lo, floor) for one in y]
    axes.fill_between(
        x, low, [one.hi for one in y], color=colour, alpha=0.10, linewidth=0, zorder=2
    )


def _dress_all(upper: Axes, middle: Axes, lower: Axes, found: Frontier) -> None:
    rate = "silent calls per answered call (%)"
    dress(upper, "", "utilisation\n(% of available agent time)")
    dress(middle, "", f"points of utilisation above\n{REFERENCE} at the same rate")
    dress(lower, rate, "agent-hours of work lost\nfor each silent call avoided")
    for axes in (upper, middle, lower):
        axes.yaxis.label.set_fontsize(11)
    rates = [100 * p.summary.silent_rate.value for c in found.curves for p in c.points]
    right = 1.08 * max(100 * max(p.cap or 0.0 for c in found.curves for p in c.points), 0.1)
    right = min(right, 1.08 * max(rates))
    for axes in (upper, middle, lower):
        axes.set_xlim(-0.03 * right, right)
        axes.grid(color=GRID, linewidth=0.8)
        if found.cap < 1.0 and 100 * found.cap < right:
            axes.axvline(100 * found.cap, color=FAINT, linewidth=1.0, linestyle=(0, (5, 3)))
    if found.cap < 1.0 and 100 * found.cap < right:
        upper.text(
            100 * found.cap + 0.006 * right,
            0.03,
            f"cap of the scenario {100 * found.cap:g} %",
            transform=upper.get_xaxis_transform(),
            color=FAINT,
            fontsize=10.5,
        )
    lower.set_yscale("log")
    lower.yaxis.set_major_locator(LogLocator(10.0, subs=(1.0, 2.0, 5.0)))
    lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    lower.yaxis.set_minor_formatter(NullFormatter())
