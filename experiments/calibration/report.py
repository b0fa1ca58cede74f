"""Writes what calibration to recorded days found: scenario, figures, picture, and what is open."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich import box
from rich.table import Table

from quietdial.envs.dialer_logs import RecordedDays
from quietdial.envs.loading import write_json_atomic, write_yaml
from quietdial.envs.scenario import Scenario
from quietdial.experiments.calibration.estimates import Estimate, Findings
from quietdial.experiments.calibration.talk_report import CalibrationFiles, finished
from quietdial.experiments.rundir import make_folder

SCHEMA: Final = "quietdial-log-calibration/1"
_COLOURS: Final = ("#1b5e9c", "#c4621b", "#4d8a57", "#8a5aa3", "#8c8c8c", "#b0973a")


def as_json(found: Findings, days: RecordedDays, base: Scenario, name: str) -> dict[str, Any]:
    """Everything that was found, as plain values."""
    km = found.patience
    return {
        "schema": SCHEMA,
        "scenario": name,
        "base": base.name,
        "format": days.format,
        "campaign": days.campaign,
        "days": [day.label for day in days.days],
        "counted": dict(days.counted),
        "estimates": [estimate.to_json() for estimate in found.estimates],
        "laws": {
            field: {
                "family": law.name,
                "law": law.law.model_dump(mode="json"),
                "n": law.n,
                "censored": law.n_censored,
                "mean_s": law.mean_s,
                "mean_error_s": law.error_s,
            }
            for field, law in found.laws.items()
        },
        "not_identified": dict(found.open),
        "patience": None
        if km is None
        else {
            "time_s": km.time_s.tolist(),
            "at_risk": km.at_risk.tolist(),
            "left": km.events.tolist(),
            "survival": km.survival.tolist(),
            "greenwood_se": km.se.tolist(),
            "waits": km.n,
            "longest_s": km.last_s,
        },
        "by_half_hour": found.by_hour,
    }


def write(
    found: Findings,
    days: RecordedDays,
    base: Scenario,
    scenario: Scenario,
    folder: Path,
) -> CalibrationFiles:
    """Write `<name>.yaml`, `calibration.json` and `<name>-days.png`.

    Args:
        found: what the days tell.
        days: the days.
        base: scenario that gave everything else.
        scenario: the calibrated one.
        folder: made when it is missing.

    Raises:
        RunFolderError: a file cannot be written.
    """
    make_folder(folder)
    path, report = folder / f"{scenario.name}.yaml", folder / "calibration.json"
    write_yaml(path, scenario.model_dump(mode="json", exclude_none=True))
    write_json_atomic(report, as_json(found, days, base, scenario.name))
    return CalibrationFiles(path, report, _draw(found, days, folder / f"{scenario.name}-days.png"))


def table(found: Findings) -> Table:
    """The estimates for a terminal."""
    out = Table(
        "estimate", "value", "95 % interval", "n", "cut", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for estimate in found.estimates:
        value, interval = texts_of(estimate)
        n = f"{estimate.interval.n:,} {estimate.of}"
        out.add_row(estimate.what, value, interval, n, f"{estimate.n_censored:,}")
    return out


def texts_of(estimate: Estimate) -> tuple[str, str]:
    """Value and interval of an estimate as text."""
    found, unit = estimate.interval, estimate.unit
    scale, digits, after = 1.0, 2, f" {unit}" if unit != "1" else ""
    if unit == "1" and not estimate.field.endswith("_sd"):
        scale, digits, after = 100.0, 2, " %"
    elif unit == "1":
        digits = 3
    if not math.isfinite(found.lo) or not math.isfinite(found.hi):
        one_day = found.lo <= 0.0
        rest = "one day: none" if one_day else f"at least {scale * found.lo:.{digits}f}"
        return f"{scale * found.value:,.{digits}f}{after}", rest
    lo, value, hi = (f"{scale * v:,.{digits}f}" for v in (found.lo, found.value, found.hi))
    return f"{value}{after}", f"{lo} to {hi}"


def lines_of(found: Findings, days: RecordedDays, base: Scenario) -> list[str]:
    """What a reader must know beside the estimates, one line each."""
    n_calls = sum(len(day.calls) for day in days.days)
    lines = [f"{len(days.days)} days of {days.format}, {n_calls:,} calls; met in the log:"]
    lines += [f"  {n:,} {what}" for what, n in days.counted.items()]
    notes = list(dict.fromkeys(e.note for e in found.estimates if e.note))
    if notes:
        lines += ["notes:", *(f"  {note}" for note in notes)]
    lines.append("laws that were fitted:")
    lines += [
        f"  {field}: {law.name}, {law.n:,} times and {law.n_censored:,} cut off, mean "
        f"{law.mean_s:.2f} s ({law.error_s:+.2f} s off the times)"
        for field, law in found.laws.items()
    ]
    lines.append(f"not identified, as in {base.name}:")
    lines += [f"  {field}: {reason}" for field, reason in found.open.items()]
    return lines


def _draw(found: Findings, days: RecordedDays, path: Path) -> Path | None:
    """Patience, ring times, answer rate and agents by half-hour."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(10.4, 7.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    ((first, second), (third, fourth)) = figure.subplots(2, 2)
    _draw_patience(first, found)
    _draw_rings(second, found)
    _draw_by_hour(third, found.by_hour.get("answer_rate", []), 100.0)
    third.set(
        title="Answered dials", ylabel="of the dials [%]", xlabel="local time [h]", ylim=(0, None)
    )
    _draw_by_hour(fourth, found.by_hour.get("agents", []), 1.0)
    fourth.set(title="Agents logged in", ylabel="agents", xlabel="local time [h]", ylim=(0, None))
    n_calls = sum(len(day.calls) for day in days.days)
    text = f"{len(days.days)} days of {days.format}, {n_calls:,} calls. Bars and band: 95 %."
    return finished(figure, text, path)


def _nothing(axes: Any, why: str) -> None:
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes, color="#555555")


def _draw_patience(axes: Any, found: Findings) -> None:
    axes.set(title="Callees still there in silence", xlabel="wait [s]", ylabel="share [%]")
    km = found.patience
    if km is None:
        _nothing(axes, "not in the log")
        return
    grid = np.unique(np.concatenate([[0.0], km.time_s, [km.last_s]]))
    points = [km.at(float(t)) for t in grid]
    value, lo, hi = (
        [100 * getattr(point, end) for point in points] for end in ("value", "lo", "hi")
    )
    axes.fill_between(grid, lo, hi, step="post", color=_COLOURS[0], alpha=0.2, lw=0)
    axes.step(grid, value, where="post", color=_COLOURS[0], label="Kaplan-Meier")
    law = found.laws.get("calls.patience")
    if law is not None:
        t = np.linspace(0.0, 1.5 * km.last_s, 200)
        seen = t <= km.last_s
        curve = 100 * (1 - law.law.cdf(t))
        axes.plot(t[seen], curve[seen], color=_COLOURS[1], label=law.name)
        axes.plot(t[~seen], curve[~seen], color=_COLOURS[1], ls=":", label="not identified")
    axes.axvline(km.last_s, color="#8c8c8c", lw=0.8, ls="--")
    axes.set_ylim(0, 102)
    axes.legend(fontsize=9, loc="lower left", framealpha=0.9, edgecolor="none")


def _draw_rings(axes: Any, found: Findings) -> None:
    axes.set(title="Ring times", xlabel="since the dial [s]", ylabel="ended [%]")
    names = {
        "calls.time_to_answer": "a person answers",
        **{f"calls.unanswered.{o}.time": o.replace("_", " ") for o in ("machine", "no_answer")},
        **{f"calls.unanswered.{o}.time": o for o in ("busy", "invalid", "failure")},
    }
    shown = [
        (found.laws[field].law, words) for field, words in names.items() if field in found.laws
    ]
    if not shown:
        _nothing(axes, "not in the log")
        return
    longest = max(float(law.quantile_s(np.array([0.99]))[0]) for law, _ in shown)
    t = np.linspace(0.0, 1.1 * longest, 500)
    for (law, words), colour in zip(shown, _COLOURS, strict=False):
        axes.plot(t, 100 * law.cdf(t), color=colour, label=words)
    axes.legend(fontsize=9, framealpha=0.9, edgecolor="none")


def _draw_by_hour(axes: Any, rows: list[dict[str, float]], scale: float) -> None:
    if not rows:
        _nothing(axes, "not in the log")
        return
    for row in rows:
        at, value = row["from_h"] + 0.25, scale * row["value"]
        if "lo" in row:
            axes.plot([at, at], [scale * row["lo"], scale * row["hi"]], color="#8c8c8c", lw=1)
        axes.plot([at], [value], "o", ms=4, color=_COLOURS[0])
