"""Differences with their intervals, world by world: the picture of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from quietdial.envs.errors import ConfigError
from quietdial.experiments.plots import (
    FAINT,
    GRID,
    INK,
    axes_at,
    dress,
    head,
    legend_beside,
    new_figure,
    style_of,
)
from quietdial.experiments.stats import Interval

_ROW_IN, _SPREAD = 0.62, 0.5


def differences_figure(
    rows: Mapping[str, Mapping[str, Interval]],
    *,
    title: str,
    subtitle: str,
    band: tuple[float, float] | None = None,
    rule_after: str | None = None,
    x_label: str = "difference of utilisation [points], 95 % intervals",
    left_in: float = 1.75,
    styles: Mapping[str, tuple[str, str]] | None = None,
) -> Figure:
    """One row for each world, one mark with its interval for each opponent.

    Args:
        rows: world, then opponent, then difference in utilisation (fractions; drawn in points).
        title: first line.
        subtitle: second line.
        band: what is asked, in points: shaded; none: nothing.
        rule_after: the world below which a line is drawn across; none: no line.
        x_label: text of the axis.
        left_in: room for the worlds' names, inches.
        styles: colour and marker of each opponent; None: those of the policies.

    Raises:
        ConfigError: there is nothing to draw.
    """
    series: list[str] = []
    for its in rows.values():
        series += [name for name in its if name not in series]
    if not series:
        raise ConfigError("the picture of differences has no row with a difference")
    figure = new_figure(9.0, 1.75 + _ROW_IN * len(rows))
    axes = axes_at(figure, left_in, 1.75, 0.7, 0.8)
    dress(axes, x_label, "")
    head(figure, title, subtitle)
    if band is not None:
        axes.axvspan(*band, color="#eef4ee", zorder=0)
    axes.axvline(0.0, color=FAINT, linewidth=1.0, zorder=1)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    names = list(rows)
    for at, name in enumerate(series):
        colour, marker = style_of(name, series) if styles is None else styles[name]
        shift = _SPREAD * ((at + 0.5) / len(series) - 0.5)
        places = [y for y, world in enumerate(names) if name in rows[world]]
        found = [rows[names[y]][name] for y in places]
        axes.errorbar(
            [100 * one.value for one in found],
            [y + shift for y in places],
            xerr=[
                [max(100 * (one.value - one.lo), 0.0) for one in found],
                [max(100 * (one.hi - one.value), 0.0) for one in found],
            ],
            fmt=marker,
            color=colour,
            markersize=6,
            elinewidth=1.6,
            capsize=2.5,
            label=name,
        )
    if rule_after is not None:
        axes.axhline(names.index(rule_after) + 0.5, color=FAINT, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8))
    handles, labels = axes.get_legend_handles_labels()
    legend_beside(axes, handles, labels)
    return figure


def intervals_of(
    figures: Sequence[Mapping[str, object]], names: Mapping[str, str]
) -> dict[str, Interval]:
    """Intervals from the rows of a result file.

    Args:
        figures: the rows.
        names: series of the picture and the row's name that it is taken from; missing ones are
            left out.
    """
    by_name = {str(row["name"]): row for row in figures}
    found: dict[str, Interval] = {}
    for series, name in names.items():
        row = by_name.get(name)
        if row is not None:
            value, lo, hi = (float(str(row[key])) for key in ("value", "lo", "hi"))
            found[series] = Interval(value, lo, hi, int(str(row["n"])))
    return found
