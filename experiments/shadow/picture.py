"""Pictures of a shadow: lines of both over the day, disagreement by hour, drift of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from quietdial.agents.shadow.replay import Shadowed
from quietdial.experiments.plots import (
    FAINT,
    FORBIDDEN,
    GRID,
    INK,
    axes_at,
    clock_label,
    dress,
    head,
    legend_beside,
    new_figure,
)
from quietdial.experiments.shadow.drift import PSI_MUCH, FeatureDrift

_INCUMBENT, _POLICY, _FALLBACK = "#555555", "#0072B2", "#BDBDBD"
_MORE, _FEWER = "#D55E00", "#56B4E9"
_BIN_S: Final = 300.0
_MOST_FEATURES: Final = 18


def lines_figure(day: Shadowed, policy: str) -> Figure:
    """Calls in flight of the incumbent, and those that the policy asked for, over a day."""
    figure = new_figure(10.0, 4.4)
    head(
        figure,
        "Calls in flight: the incumbent, and the policy in its shadow",
        f"{day.label}; means of five minutes; {policy}",
    )
    axes = axes_at(figure, 0.75, 2.2, 0.6, 0.85)
    dress(axes, "local time", "calls in flight after the decision")
    axes.grid(color=GRID, linewidth=0.8)
    cell = (day.local_s // _BIN_S).astype(np.int64)
    cells = np.unique(cell)
    handles: list[Artist] = []
    for values, colour, width in (
        (day.lines, _INCUMBENT, 2.0),
        (day.lines_wanted, _POLICY, 2.0),
    ):
        means = [float(values[cell == c].mean()) for c in cells]
        x = (cells + 0.5) * _BIN_S / 3600.0
        (line,) = axes.plot(x, means, color=colour, linewidth=width)
        handles.append(line)
    fallback = day.mode != "policy"
    if fallback.any():
        for c in cells[[bool(fallback[cell == c].mean() > 0.5) for c in cells]]:
            axes.axvspan(
                c * _BIN_S / 3600, (c + 1) * _BIN_S / 3600, color="#eeeeee", zorder=0, linewidth=0
            )
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(FuncFormatter(clock_label))
    axes.xaxis.set_major_locator(MaxNLocator(9))
    names = ["incumbent", "policy would hold"]
    if fallback.any():
        handles.append(Patch(color="#eeeeee"))
        names.append("fallback, mostly")
    legend_beside(axes, handles, names)
    return figure


def hours_figure(hours: Sequence[dict[str, Any]], policy: str) -> Figure:
    """Share of decisions at which the policy would place more or fewer, by hour of the day."""
    figure = new_figure(10.0, 4.2)
    head(figure, "Where the policy disagrees", f"share of decisions by hour of the day; {policy}")
    axes = axes_at(figure, 0.75, 2.2, 0.6, 0.85)
    dress(axes, "hour of the day", "decisions (%)")
    axes.grid(color=GRID, linewidth=0.8, axis="y")
    x = np.arange(len(hours))
    more = 100 * np.array([one["more"] for one in hours])
    fewer = 100 * np.array([one["fewer"] for one in hours])
    fallback = 100 * np.array([one["fallback"] for one in hours])
    axes.bar(x - 0.2, more, 0.38, color=_MORE)
    axes.bar(x - 0.2, fewer, 0.38, bottom=more, color=_FEWER)
    axes.bar(x + 0.2, fallback, 0.38, color=_FALLBACK)
    axes.set_xticks(x, [f"{one['hour']:02d}" for one in hours])
    axes.set_ylim(0, max(5.0, 1.1 * float(np.max([more + fewer, fallback]))))
    handles = [Patch(color=colour) for colour in (_MORE, _FEWER, _FALLBACK)]
    legend_beside(axes, handles, ["policy places more", "policy places fewer", "fallback"])
    return figure


def drift_figure(features: Sequence[FeatureDrift], policy: str) -> Figure:
    """The features that lie furthest from training."""
    measured = [f for f in features if f.psi is not None]
    shown = sorted(measured, key=lambda f: -(f.psi or 0.0))[:_MOST_FEATURES]
    rows = shown or sorted(features, key=lambda f: -f.outside)[:_MOST_FEATURES]
    figure = new_figure(9.0, 1.5 + 0.3 * len(rows))
    head(
        figure,
        "How the recorded days lie from training",
        f"{len(rows)} of {len(features)} features, the furthest first; {policy}",
    )
    axes = axes_at(figure, 2.2, 0.3, 0.65, 0.85)
    label = "population stability index" if shown else "outside of training's 1 to 99 % (%)"
    dress(axes, label, "")
    axes.grid(color=GRID, linewidth=0.8, axis="x")
    values = [f.psi or 0.0 for f in rows] if shown else [100 * f.outside for f in rows]
    y = np.arange(len(rows))[::-1]
    limit = PSI_MUCH if shown else 20.0
    colours = [FORBIDDEN if value > limit else _POLICY for value in values]
    axes.barh(y, values, 0.7, color=colours)
    axes.axvline(limit, color=FAINT, linewidth=1.2, linestyle="--")
    axes.set_yticks(y, [f.name for f in rows], fontsize=10, color=INK)
    axes.set_xlim(0, max(1.2 * limit, 1.05 * max(values, default=0.0)))
    return figure
