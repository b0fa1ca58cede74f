"""Write what `quietdial calibrate` found in a table of conversations: scenario, report, plot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.calibrate import NOT_IDENTIFIED, QQ_LEVELS, Calibration
from quietdial.envs.errors import RunFolderError
from quietdial.envs.loading import write_json_atomic, write_yaml
from quietdial.envs.scenario import Scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOW_P, _HIGH_P = 0.01, 0.99
_COLOURS = ("#1b5e9c", "#c4621b", "#4d8a57", "#8a5aa3", "#8c8c8c", "#b0973a")


@dataclass(frozen=True)
class CalibrationFiles:
    """What `write_calibration` wrote; `figure` is None where matplotlib is not installed."""

    scenario: Path
    report: Path
    figure: Path | None


def write_calibration(
    calibration: Calibration,
    out_dir: str | Path,
    base_scenario: Scenario,
    *,
    name: str = "calibrated",
    law: str | None = None,
) -> CalibrationFiles:
    """Write `<name>.yaml`, `calibration.json` and `<name>-talk-qq.png` into a folder.

    Args:
        calibration: result of `fit_talk_law`.
        out_dir: folder; made when it is missing.
        base_scenario: scenario that gives everything but the talk law.
        name: name of the new scenario.
        law: name of the law to put in; none: the one with the best held-out likelihood.

    Returns:
        The paths written.

    Raises:
        CalibrationError: `law` is not one of the candidates.
        RunFolderError: the folder or a file cannot be written.
    """
    folder = Path(out_dir)
    fit = calibration.chosen if law is None else calibration.fit(law)
    scenario = calibration.to_scenario(base_scenario, name, law)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RunFolderError(f"folder {folder} cannot be made: {reason}") from error
    scenario_path, report_path = folder / f"{name}.yaml", folder / "calibration.json"
    write_yaml(scenario_path, scenario.model_dump(mode="json", exclude_none=True))
    report = {
        "schema": "quietdial-calibration/1",
        "scenario": name,
        "base": base_scenario.name,
        "law": fit.name,
        "utilisation_error_points": {
            candidate.name: 100.0 * calibration.utilisation_error(base_scenario, candidate.name)
            for candidate in calibration.fits
        },
        "not_identified": NOT_IDENTIFIED,
        "quantile_levels": QQ_LEVELS,
        "calibration": calibration.model_dump(mode="json"),
    }
    write_json_atomic(report_path, report)
    return CalibrationFiles(
        scenario_path, report_path, _draw(calibration, fit.name, folder / f"{name}-talk-qq.png")
    )


def summary_lines(
    calibration: Calibration, base_scenario: Scenario, law: str | None = None
) -> list[str]:
    """What a reader must know beside the table of laws, one line each, for a terminal or a page.

    Args:
        calibration: result of `fit_talk_law`.
        base_scenario: scenario that gives everything but the talk law.
        law: name of the law to speak of; none: the one with the best held-out likelihood.

    Returns:
        Plain text lines.
    """
    fit = calibration.chosen if law is None else calibration.fit(law)
    rank = calibration.fits.index(fit) + 1
    points = 100.0 * calibration.utilisation_error(base_scenario, law)
    return [
        f"{calibration.n_calls} calls (mean {calibration.mean_s:.1f} s, standard deviation "
        f"{calibration.sd_s:.1f} s); {calibration.n_zero} of length zero left out",
        f"law: {fit.name}, rank {rank} of {len(calibration.fits)} by held-out log-likelihood",
        f"largest quantile error between 1 % and 99 %: {fit.largest_error_s:+.1f} s at "
        f"{100 * fit.largest_error_p:g} %",
        f"error of the mean: {fit.mean_error_s:+.2f} s, which is {points:+.2f} points of "
        "utilisation under progressive dialing, less for a policy that keeps agents busier",
        "not in the calls, kept from " + base_scenario.name + ":",
        *(f"  {field}: {reason}" for field, reason in NOT_IDENTIFIED.items()),
    ]


def _draw(calibration: Calibration, chosen: str, path: Path) -> Path | None:
    """Quantile-quantile plot (left) and quantile error by share of calls (right)."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    all_levels, all_calls = np.asarray(QQ_LEVELS), np.asarray(calibration.quantiles_s)
    inside = (all_levels >= _LOW_P) & (all_levels <= _HIGH_P)
    levels, calls_s = all_levels[inside], all_calls[inside]
    fit = calibration.fit(chosen)

    figure = Figure(figsize=(10.4, 4.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    top = float(calls_s[-1]) * 1.12
    left.plot([0, top], [0, top], color="#444444", lw=1, ls=":", label="law = calls", zorder=1)
    right.axhline(0.0, color="#444444", lw=1, ls=":", zorder=1)
    for candidate, colour in zip(calibration.fits, _COLOURS, strict=True):
        law_s: NDArray[np.float64] = candidate.law.quantile_s(levels)
        is_chosen = candidate.name == chosen
        style = {"lw": 2.4, "zorder": 4} if is_chosen else {"lw": 1.1, "zorder": 2}
        label = f"{candidate.name} (chosen)" if is_chosen else candidate.name
        left.plot(calls_s, law_s, color=colour, label=label, **style)
        right.plot(100 * levels, law_s - calls_s, color=colour, **style)

    worst_p, worst_s = fit.largest_error_p, fit.largest_error_s
    at_s = float(np.interp(worst_p, levels, calls_s))
    text = f"largest error {worst_s:+.0f} s".replace("-", "\u2212")
    text += f"\nat {100 * worst_p:g} % of the calls"
    box = {"boxstyle": "round,pad=0.3", "fc": "white", "ec": "none", "alpha": 0.85}
    arrow = {"arrowstyle": "-", "color": "#222222", "lw": 0.9}
    for axes, point, place, align in (
        (left, (at_s, at_s + worst_s), (0.97, 0.14), "right"),
        (right, (100 * worst_p, worst_s), (0.55, 0.16), "center"),
    ):
        axes.plot(*point, "o", mfc="none", mec="#222222", ms=9, zorder=5)
        axes.annotate(
            text,
            point,
            xytext=place,
            textcoords="axes fraction",
            ha=align,
            bbox=box,
            arrowprops=arrow,
            zorder=6,
        )
    left.set(
        xlim=(0, top),
        ylim=(0, top * 1.1),
        xlabel="quantile of the calls [s]",
        ylabel="quantile of the law [s]",
        title="Talk time, 1 % to 99 % of the calls",
    )
    right.set(
        xlim=(0, 100),
        xlabel="share of the calls that are shorter [%]",
        ylabel="law minus calls [s]",
        title="Error of the law",
    )
    left.legend(loc="upper left", frameon=False, fontsize=9)
    source = f" {calibration.source}." if calibration.source else ""
    caption = f"{calibration.n_calls:,} calls, mean {calibration.mean_s:.1f} s.{source}"
    return finished(figure, caption, path)


def finished(figure: Figure, caption: str, path: Path) -> Path:
    """Give a figure of this room its grid and caption, and write it (RunFolderError)."""
    from quietdial.experiments.plots import save_png  # needs matplotlib, as the caller found

    for axes in figure.axes:
        axes.grid(color="#e4e4e4", lw=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(caption, fontsize=8, color="#555555")
    return save_png(figure, path, dpi=110)
