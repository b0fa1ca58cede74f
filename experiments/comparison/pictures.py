"""The four pictures of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from quietdial.experiments.comparison.groups import Group, Section
from quietdial.experiments.comparison.learning import Curve, curve_of
from quietdial.experiments.plots import (
    FAINT,
    FORBIDDEN,
    GRID,
    FrontierPoint,
    axes_at,
    dress,
    frontier_figure,
    head,
    new_figure,
    style_of,
)
from quietdial.experiments.stats import Interval, PolicySummary
from quietdial.experiments.studies.picture import differences_figure


def draw(section: Section) -> dict[str, Figure]:
    """All pictures of a section by key, as `words.PICTURES` names them."""
    names = [group.name for group in section.groups]
    pictures = {
        "curves": _curves(section, names),
        "throughput": _throughput(section, names),
        "profile": _profile(section, names),
    }
    if section.pairs:
        pictures["differences"] = _differences(section)
    return pictures


def _subtitle(section: Section) -> str:
    seeds = sorted({len(group.runs) for group in section.groups})
    each = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    word = "seed" if seeds == [1] else "seeds"
    return f"{section.scenario}, {each} {word} each"


# -------------------------------------------------------------------------------- learning curves


def _curves(section: Section, names: Sequence[str]) -> Figure:
    figure = new_figure(9.0, 7.2)
    upper = axes_at(figure, 0.77, 2.0, 3.95, 0.8)
    lower = axes_at(figure, 0.77, 2.0, 0.65, 3.75)
    lower.sharex(upper)
    dress(upper, "", "utilisation (%)")
    dress(lower, "environment steps (millions)", "silent per answered (%), log scale")
    head(figure, "Learning curves", f"{_subtitle(section)}; bands: 95 % of the mean over seeds")
    busy = _panel(upper, section, names, "pacing/utilisation")
    silent = _panel(lower, section, names, "safety/silent_rate")
    shown = [rule for rule in section.rules if rule.name != "progressive"]
    for rule in shown:
        _flat(upper, rule, 100 * rule.utilisation.value)
    if section.has_cap:
        lower.axhline(100 * section.cap, color=FORBIDDEN, linewidth=1.6, linestyle=(0, (5, 3)))
        lower.annotate(
            f"cap {100 * section.cap:g} %",
            (1.012, 100 * section.cap),
            xycoords=("axes fraction", "data"),
            color=FORBIDDEN,
            fontsize=10.5,
            va="center",
            annotation_clip=False,
        )
    _frame_busy(upper, busy, [100 * rule.utilisation.value for rule in shown])
    _frame_silent(lower, silent, [100 * section.cap] if section.has_cap else [])
    upper.tick_params(labelbottom=False)
    handles, labels = upper.get_legend_handles_labels()
    upper.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.02),
        frameon=False,
        fontsize=10.5,
        handlelength=1.6,
        borderaxespad=0.2,
    )
    return figure


def _panel(axes: Axes, section: Section, names: Sequence[str], quantity: str) -> list[Curve]:
    axes.grid(color=GRID, linewidth=0.8)
    found: list[Curve] = []
    for group in section.groups:
        curve = curve_of(group.runs, quantity)
        if curve is None:
            continue
        colour, _ = style_of(group.name, names)
        x = curve.steps / 1e6
        axes.plot(x, 100 * curve.mean, color=colour, linewidth=1.9, label=group.name, zorder=4)
        if curve.n_seeds > 2:  # of two seeds the interval is wider than any picture
            axes.fill_between(
                x, 100 * curve.lo, 100 * curve.hi, color=colour, alpha=0.14, linewidth=0, zorder=2
            )
        found.append(curve)
    return found


def _flat(axes: Axes, rule: PolicySummary, value: float) -> None:
    colour, _ = style_of(rule.name)
    axes.axhline(
        value, color=colour, linewidth=1.4, linestyle=(0, (4, 2)), zorder=3,
        label=f"{rule.name}, judged",
    )  # fmt: skip


_SETTLED = 0.3  # share of training after which a curve sets the frame
_BAND_POINTS = 6.0  # how far a band beside its mean sets the frame


def _frame_busy(axes: Axes, curves: Sequence[Curve], flat: Sequence[float]) -> None:
    """From the lowest thing after the first part of training to the highest, 100 % at most."""
    values = list(flat)
    for curve in curves:
        late = curve.steps > _SETTLED * curve.steps[-1]
        mean = 100 * curve.mean[late]
        values += np.maximum(100 * curve.lo[late], mean - _BAND_POINTS).tolist()
        values += np.minimum(100 * curve.hi[late], mean + _BAND_POINTS).tolist()
    if values:
        room = max(0.06 * (max(values) - min(values)), 0.2)
        axes.set_ylim(max(min(values) - room, 0.0), min(max(values) + room, 100.5))
    axes.set_xlim(0.0, max((curve.steps[-1] for curve in curves), default=1e6) / 1e6)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7))


def _frame_silent(axes: Axes, curves: Sequence[Curve], flat: Sequence[float]) -> None:
    """A logarithmic scale: training begins at ten times the cap and more, and ends near it."""
    values = list(flat)
    for curve in curves:
        values += (100 * curve.mean).tolist()
    low = min((value for value in values if value > 0.0), default=1.0)
    high = max(values, default=10.0)
    axes.set_yscale("log")
    axes.set_ylim(max(low / 1.6, 0.05), min(max(1.3 * high, 3.0 * low), 110.0))
    axes.yaxis.set_major_locator(LogLocator(base=10.0, subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


# ------------------------------------------------------------------- throughput, and differences


def _throughput(section: Section, names: Sequence[str]) -> Figure:
    groups = [FrontierPoint(g.name, g.silent_rate, g.utilisation) for g in section.groups]
    rules = [FrontierPoint.of(rule) for rule in section.rules]
    every = [*names, *(rule.name for rule in section.rules)]
    figure = frontier_figure(
        [*groups, *rules],
        cap=section.cap,
        curves=section.sweeps,
        title="Throughput against silent calls",
        subtitle=f"{_subtitle(section)}, {len(section.seeds)} test days, 95 % intervals",
    )
    axes = figure.axes[0]
    for group in section.groups:
        if len(group.runs) < 2:
            continue
        colour, marker = style_of(group.name, every)
        axes.plot(
            [100 * its.silent_rate.value for its in group.summaries],
            [100 * its.utilisation.value for its in group.summaries],
            marker,
            color=colour,
            markersize=4.5,
            alpha=0.55,
            markeredgewidth=0,
            zorder=4,
            clip_on=True,
        )
    return figure


def _differences(section: Section) -> Figure:
    rows: dict[str, dict[str, Interval]] = {}
    first = section.groups[0].name
    for pair in section.pairs:
        if pair.a == first:
            rows[f"{pair.b}\nminus {first}"] = {
                "as judged": _turned(pair.utilisation),
                "at equal\nsilent rate": _turned(pair.at_equal_rate),
            }
    last = list(rows)[-1]
    for group in section.groups:
        rows[f"{group.name}\nminus {section.best_rule}"] = {
            "at equal\nsilent rate": group.over_rule
        }
    return differences_figure(
        rows,
        title="What a group brings or costs",
        subtitle=f"{_subtitle(section)}, {len(section.seeds)} test days, paired by day and seed",
        rule_after=last,
        x_label="difference of utilisation (points), 95 % intervals",
        left_in=2.2,
        styles={"as judged": ("#7a7a7a", "s"), "at equal\nsilent rate": ("#0072B2", "o")},
    )


def _turned(gap: Interval) -> Interval:
    return Interval(-gap.value, -gap.hi, -gap.lo, gap.n)


def _profile(section: Section, names: Sequence[str]) -> Figure:
    figure = new_figure(9.0, 4.6)
    axes = axes_at(figure, 0.77, 2.0, 0.65, 0.8)
    dress(axes, f"points over {section.best_rule} at equal silent rate", "share of runs above (%)")
    axes.grid(color=GRID, linewidth=0.8)
    head(figure, "Performance profile", f"{_subtitle(section)}; bands: 95 %, bootstrap over runs")
    for group in section.groups:
        colour, _ = style_of(group.name, names)
        profile = section.profiles[group.name]
        x = 100 * profile.thresholds
        axes.step(
            x, 100 * profile.share, color=colour, linewidth=2.0, where="post", label=group.name
        )
        axes.fill_between(
            x, 100 * profile.lo, 100 * profile.hi, color=colour, alpha=0.08, linewidth=0,
            step="post",
        )  # fmt: skip
    axes.axvline(0.0, color=FAINT, linewidth=1.0)
    axes.set_ylim(-3, 103)
    axes.set_xlim(*_profile_span(section.groups))
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=10.5,
        handlelength=1.6, borderaxespad=0.2,
    )  # fmt: skip
    return figure


def _profile_span(groups: Sequence[Group]) -> tuple[float, float]:
    every = 100 * np.concatenate([group.scores for group in groups])
    room = max(0.06 * float(np.ptp(every)), 0.05)
    return float(every.min()) - room, float(every.max()) + room
