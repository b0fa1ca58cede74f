"""Fit the talk-time law of a scenario to a table of calls, and say what the table cannot tell.

The candidate laws are fitted by maximum likelihood and compared on calls that they were not fitted
to (five folds): mean log-likelihood per held-out call, the density taken per second and averaged
over the resolution of the record (whole seconds: a recorded 12 stands for 11.5 to 12.5 s).
The laws are exponential, lognormal, gamma, Weibull, a mixture of two lognormals (EM) and the
empirical law: a table of quantiles of the mid-distribution function, linear between them. With
tens of thousands of calls a Kolmogorov-Smirnov test rejects every simple law, so its statistic is
reported as a distance and the choice is made by held-out likelihood.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict
from scipy import special

from quietdial.envs.errors import CalibrationError
from quietdial.envs.fitting import (
    FITTERS,
    N_PARAMETERS,
    Fitter,
    empirical_fitter,
    mid_distribution,
    tally,
)
from quietdial.envs.laws import MAX_DURATION_S, Law, QuantileLaw
from quietdial.envs.scenario import DriftingAnswer, Scenario

__all__ = [
    "NOT_IDENTIFIED",
    "QQ_LEVELS",
    "Calibration",
    "LawFit",
    "fit_talk_law",
    "progressive_utilisation",
    "read_calls",
    "sample_quantiles_s",
]

MIN_CALLS = 100
"""Fewest calls with a conversation that a law is fitted to."""
MIN_DISTINCT = 10
"""Fewest different durations that a law is fitted to."""
N_FOLDS = 5
"""Folds of the cross-validation."""
EMPIRICAL_CELLS = (10, 25, 50, 100, 200, 400)
"""Numbers of quantile cells tried for the empirical law; held-out likelihood chooses."""
QQ_LEVELS: tuple[float, ...] = (*(round(0.005 * k, 3) for k in range(2, 199)), 0.995, 0.998, 0.999)
"""Probabilities at which the quantiles of the calls are kept."""

_ERROR_LEVELS = np.arange(10, 991) / 1000.0
_DENSITY_FLOOR_PER_S = 1e-12

FloatArray = NDArray[np.float64]

NOT_IDENTIFIED: dict[str, str] = {
    "calls.time_to_answer": "ring time: a table of conversations does not say how long a call rang",
    "calls.answer_rate": "answer probability: dials that nobody answered are not in the table",
    "calls.unanswered": "machines, busy lines, invalid numbers and their times: not recorded",
    "calls.patience": "patience of the callee in silence: silent calls are not in the table",
    "floor.wrap": "wrap-up: what agents do between two conversations is not recorded",
    "floor.breaks": "breaks of the agents: not recorded",
    "floor.talk_day_sd": "hidden differences between days: only the pooled talk law is fitted, so "
    "part of this spread may stand in the talk law already",
    "episode.start": "time of day: the table has no clock time",
}
"""Fields of a scenario that conversation lengths cannot identify, and why."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LawFit(_Frozen):
    """One candidate law, fitted to all calls, and how well it stands up.

    Attributes:
        name: name of the family.
        law: the fitted law, as it goes into a scenario.
        n_parameters: free numbers that were fitted.
        held_out: mean log-likelihood of a held-out call (log of a density per second).
        behind: `held_out` of the best law minus this one's; 0 for the best.
        behind_se: standard error of `behind`, paired by call.
        ks: Kolmogorov-Smirnov distance between the law and the calls.
        ks_p_value: asymptotic p-value of `ks`; too high, since the same calls fitted the law.
        mean_s: mean of the law as the world samples it, in seconds.
        mean_error_s: `mean_s` minus the mean of the calls.
        largest_error_s: largest quantile error between 1 % and 99 %, law minus calls, in seconds.
        largest_error_p: probability at which it occurs.
    """

    name: str
    law: Law
    n_parameters: int
    held_out: float
    behind: float
    behind_se: float
    ks: float
    ks_p_value: float
    mean_s: float
    mean_error_s: float
    largest_error_s: float
    largest_error_p: float


class Calibration(_Frozen):
    """Result of `fit_talk_law`: the calls in short, every law tried, and the one chosen.

    Attributes:
        source: where the calls came from, for reports.
        credits: to whom the data are owed; they travel into the scenario.
        seed: seed of the folds.
        n_rows: rows of the table.
        n_zero: rows of length zero, reported and left out (nobody spoke).
        n_calls: calls that the laws were fitted to.
        resolution_s: 1 when every duration is a whole number of seconds, else 0.
        mean_s: mean duration in seconds.
        sd_s: standard deviation in seconds.
        quantiles_s: durations at `QQ_LEVELS` in seconds, shape (len(QQ_LEVELS),).
        fits: candidate laws, best held-out likelihood first.
    """

    source: str
    credits: tuple[str, ...]
    seed: int
    n_rows: int
    n_zero: int
    n_calls: int
    resolution_s: float
    mean_s: float
    sd_s: float
    quantiles_s: tuple[float, ...]
    fits: tuple[LawFit, ...]

    @property
    def chosen(self) -> LawFit:
        """The law with the best held-out likelihood of all."""
        return self.fits[0]

    @property
    def best_parametric(self) -> LawFit:
        """The best law that is a formula."""
        return next(fit for fit in self.fits if fit.name != "empirical quantiles")

    @property
    def empirical(self) -> LawFit:
        """The table of quantiles, always on offer."""
        return self.fit("empirical quantiles")

    def fit(self, name: str) -> LawFit:
        """The candidate called `name`; raises `CalibrationError` for an unknown name."""
        for candidate in self.fits:
            if candidate.name == name:
                return candidate
        known = ", ".join(candidate.name for candidate in self.fits)
        raise CalibrationError(f"unknown law {name!r}; use one of: {known}")

    def rows(self) -> list[dict[str, str]]:
        """The table of laws as text, one row per law, best first; keys are column titles."""
        return [
            {
                "law": candidate.name,
                "parameters": str(candidate.n_parameters),
                "held-out log-likelihood per call": f"{candidate.held_out:.4f}",
                "behind the best": f"{candidate.behind:.4f} ± {candidate.behind_se:.4f}",
                "KS distance": f"{candidate.ks:.4f}",
                "KS p-value": f"{candidate.ks_p_value:.1e}" if candidate.ks_p_value else "< 1e-300",
                "error of the mean [s]": f"{candidate.mean_error_s:+.2f}",
                "largest quantile error [s]": f"{candidate.largest_error_s:+.1f} "
                f"at {100 * candidate.largest_error_p:g} %",
            }
            for candidate in self.fits
        ]

    def utilisation_error(self, base: Scenario, law: str | None = None) -> float:
        """Error of the mean utilisation of progressive dialing that the law's mean causes.

        Progressive dialing is a cycle of idle time and conversation, so the law enters its mean
        utilisation only through its mean. A policy that keeps agents busier has a smaller error:
        with utilisation u it is u (1 - u) dT / (talk + wrap-up), dT the error of the mean.

        Args:
            base: scenario that gives the answer rate, ringing, wrap-up and decision interval.
            law: name of a candidate; none: the chosen one.

        Returns:
            Utilisation with the law minus utilisation with the mean of the calls, as a fraction.
        """
        fit = self.chosen if law is None else self.fit(law)
        return progressive_utilisation(base, fit.mean_s) - progressive_utilisation(
            base, self.mean_s
        )

    def to_scenario(self, base: Scenario, name: str, law: str | None = None) -> Scenario:
        """`base` with the fitted talk law, the credits, and what the calls leave open.

        Args:
            base: scenario that gives everything else.
            name: name of the new scenario.
            law: name of a candidate; none: the chosen one.

        Returns:
            The new scenario. Its assumptions are those of `base` without the talk law, and one for
            each field of `NOT_IDENTIFIED` that `base` says nothing about.
        """
        fit = self.chosen if law is None else self.fit(law)
        assumptions = {key: text for key, text in base.assumptions.items() if key != "floor.talk"}
        for field, reason in NOT_IDENTIFIED.items():
            assumptions.setdefault(field, f"Not in the calls ({reason}); from {base.name}.")
        description = base.description
        if name != base.name:
            description = (
                f"Scenario {base.name} with another talk law: {fit.name}, fitted to "
                f"{self.n_calls} calls (mean {self.mean_s:.1f} s)."
            )
        data = base.model_dump()
        data["name"] = name
        data["description"] = description
        data["credits"] = tuple(dict.fromkeys((*base.credits, *self.credits)))
        data["assumptions"] = assumptions
        data["floor"]["talk"] = fit.law.model_dump()
        return Scenario.model_validate(data)


def read_calls(path: str | Path, column: str = "duration") -> FloatArray:
    """Read the lengths of conversations from a table of calls.

    Args:
        path: a `.csv` or `.csv.gz` file, UTF-8, with a header line; the separator (comma,
            semicolon or tab) is taken from the header.
        column: name of the column with the durations in seconds.

    Returns:
        Durations in seconds in the order of the rows, float64, shape (rows,); zeros included.

    Raises:
        CalibrationError: the file cannot be read, the column is missing, a value is not a number
            of seconds between 0 and 86400, or there are fewer than 100 rows. One line, with the
            line of the file.
    """
    file = Path(path)
    if not file.is_file():
        raise CalibrationError(f"{file}: there is no such file; give a .csv or .csv.gz table")
    try:
        with _open_text(file) as stream:
            values = _read_column(stream, str(file), column)
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise CalibrationError(f"{file}: cannot be read as a UTF-8 csv table: {reason}") from error
    if len(values) < MIN_CALLS:
        raise CalibrationError(
            f"{file}: {len(values)} rows; at least {MIN_CALLS} are needed to fit a law"
        )
    return np.asarray(values, dtype=np.float64)


def _open_text(file: Path) -> TextIO:
    if file.name.endswith(".gz"):
        return io.TextIOWrapper(gzip.open(file, "rb"), encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")


def _read_column(stream: TextIO, name: str, column: str) -> list[float]:
    header = stream.readline()
    separator = max(",;\t", key=header.count)
    titles = next(csv.reader([header], delimiter=separator, strict=True), [])
    if titles.count(column) != 1:
        found = "is missing" if column not in titles else "is there more than once"
        raise CalibrationError(
            f"{name}: column {column!r} {found}; the columns are: {', '.join(titles) or 'none'}"
        )
    index = titles.index(column)
    values: list[float] = []
    reader = csv.reader(stream, delimiter=separator, strict=True)
    for row in reader:
        if not row:
            continue
        text = row[index] if index < len(row) else ""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0.0 <= value <= MAX_DURATION_S:
            raise CalibrationError(
                f"{name}: line {reader.line_num + 1}: {column} = {text!r:.40} is not a number of "
                f"seconds between 0 and {MAX_DURATION_S:.0f}"
            )
        values.append(value)
    return values


def fit_talk_law(
    duration_s: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    resolution_s: float | None = None,
    seed: int = 0,
    source: str = "",
    credits: tuple[str, ...] = (),
) -> Calibration:
    """Fit the candidate laws to the lengths of conversations and compare them on held-out calls.

    Args:
        duration_s: durations in seconds, shape (calls,); zeros are counted and left out.
        weight: of each duration, shape (calls,), above 0; None: 1. Where some calls were cut off,
            the steps of the Kaplan-Meier estimate stand in for those that were not.
        resolution_s: what a recorded duration is rounded to; None: 1 when all are whole seconds.
        seed: seed of the five folds.
        source: where the calls came from, for reports.
        credits: to whom the data are owed.

    Returns:
        The fits, best held-out likelihood first.

    Raises:
        CalibrationError: the durations are not numbers between 0 and 86400 s, fewer than 100 are
            above zero, or fewer than 10 are different.
    """
    x, w, n_rows = _checked(duration_s, weight)
    if resolution_s is None:
        resolution_s = 1.0 if bool(np.all(x == np.rint(x))) else 0.0
    cells = [n for n in EMPIRICAL_CELLS if n == EMPIRICAL_CELLS[0] or x.size >= 20 * n]
    fold = np.random.default_rng(seed).permutation(x.size) % N_FOLDS
    tables = {n: _held_out_score(x, w, fold, empirical_fitter(n), resolution_s) for n in cells}
    n_cells = max(tables, key=lambda n: float(np.average(tables[n], weights=w)))
    fitters = {**FITTERS, "empirical quantiles": empirical_fitter(n_cells)}
    scores = {
        name: _held_out_score(x, w, fold, fitter, resolution_s) for name, fitter in FITTERS.items()
    }
    scores["empirical quantiles"] = tables[n_cells]
    best = max(scores.values(), key=lambda score: float(np.average(score, weights=w)))
    values, counts = tally(x, w)
    fits = [
        _judge(name, fitter(values, counts), (x, w), scores[name], best, resolution_s)
        for name, fitter in fitters.items()
    ]
    mean_s = float(np.average(x, weights=w))
    return Calibration(
        source=source,
        credits=credits,
        seed=seed,
        n_rows=n_rows,
        n_zero=n_rows - x.size,
        n_calls=x.size,
        resolution_s=resolution_s,
        mean_s=mean_s,
        sd_s=math.sqrt(float(np.average((x - mean_s) ** 2, weights=w))),
        quantiles_s=tuple(sample_quantiles_s(x, np.asarray(QQ_LEVELS), w).tolist()),
        fits=tuple(sorted(fits, key=lambda fit: -fit.held_out)),
    )


def sample_quantiles_s(
    x_s: FloatArray, p: FloatArray, weight: FloatArray | None = None
) -> FloatArray:
    """Quantiles of a sample by the mid-distribution function, linear between distinct values.

    Half of the calls of one recorded duration lie below it and half above, which is right for
    durations rounded to whole seconds and the usual (i - 1/2)/n for distinct values.

    Args:
        x_s: durations in seconds, shape (n,).
        p: probabilities, any shape.
        weight: of each duration, shape (n,); None: 1.

    Returns:
        Durations in seconds, shape of `p`.
    """
    levels, knots = mid_distribution(*tally(x_s, weight))
    return np.interp(p, levels, knots)


def progressive_utilisation(scenario: Scenario, talk_mean_s: float) -> float:
    """Mean utilisation of progressive dialing (one line per idle agent), by renewal reward.

    An agent's cycle is a conversation with its wrap-up, then idle time: 1/p dials, each started
    at the next decision (half an interval later on average), (1-p)/p of them unanswered. So it is
    (talk + wrap) / (talk + wrap + idle). A drifting answer rate is averaged over the levels of the
    days (log-uniform); its movement within a day and the day's talk factor are left out.

    Args:
        scenario: gives answer rate, ringing, wrap-up and decision interval.
        talk_mean_s: mean length of a conversation in seconds.

    Returns:
        Utilisation as a fraction.
    """
    calls, rate = scenario.calls, scenario.calls.answer_rate
    if isinstance(rate, DriftingAnswer):
        p = rate.p_low * (rate.p_high / rate.p_low) ** ((np.arange(256) + 0.5) / 256)
    else:
        p = np.array([rate.p])
    unanswered_s = sum(part.share * part.time.sampled_mean_s() for part in calls.unanswered)
    dial_s = 0.5 * scenario.episode.decision_interval_s
    wrap = scenario.floor.wrap
    busy_s = talk_mean_s + (wrap.sampled_mean_s() if wrap is not None else 0.0)
    with np.errstate(divide="ignore"):
        idle_s = calls.time_to_answer.sampled_mean_s() + (dial_s + (1 - p) * unanswered_s) / p
    return float(np.mean(busy_s / (busy_s + idle_s)))


def _checked(duration_s: ArrayLike, weight: ArrayLike | None) -> tuple[FloatArray, FloatArray, int]:
    """Durations above zero and their weights as float64, and the number of rows before that."""
    try:
        rows = np.asarray(duration_s, dtype=np.float64)
    except (TypeError, ValueError):
        raise CalibrationError("the durations are not all numbers; give seconds") from None
    if rows.ndim != 1:
        raise CalibrationError(f"the durations have shape {rows.shape}; give one row per call")
    bad = ~((rows >= 0.0) & (rows <= MAX_DURATION_S))
    if bad.any():
        first = int(np.argmax(bad))
        raise CalibrationError(
            f"duration {first} (counted from 0) = {rows[first]!s} is not a number of seconds "
            f"between 0 and {MAX_DURATION_S:.0f}"
        )
    w = np.ones(rows.size) if weight is None else np.asarray(weight, dtype=np.float64)
    if w.shape != rows.shape or not bool(np.all((w > 0.0) & np.isfinite(w))):
        raise CalibrationError("give one weight above 0 for each duration")
    x, w = rows[rows > 0.0], w[rows > 0.0]
    if x.size < MIN_CALLS:
        raise CalibrationError(
            f"{x.size} of {rows.size} calls are longer than 0 s; at least {MIN_CALLS} are needed"
        )
    distinct = np.unique(x).size
    if distinct < MIN_DISTINCT:
        raise CalibrationError(
            f"only {distinct} different durations; at least {MIN_DISTINCT} are needed"
        )
    return x, w, int(rows.size)


def _held_out_score(
    x: FloatArray, w: FloatArray, fold: NDArray[np.int64], fitter: Fitter, resolution_s: float
) -> FloatArray:
    """Log-likelihood of every call under the law fitted to the other folds, shape (calls,)."""
    score = np.empty(x.size)
    for k in range(N_FOLDS):
        law = fitter(*tally(x[fold != k], w[fold != k]))
        score[fold == k] = _log_density(law, x[fold == k], resolution_s)
    return score


def _judge(
    name: str,
    law: Law,
    sample: tuple[FloatArray, FloatArray],
    score: FloatArray,
    best_score: FloatArray,
    resolution_s: float,
) -> LawFit:
    x, w = sample
    error = law.quantile_s(_ERROR_LEVELS) - sample_quantiles_s(x, _ERROR_LEVELS, w)
    worst = int(np.argmax(np.abs(error)))
    gap = best_score - score
    behind = float(np.average(gap, weights=w))
    spread = math.sqrt(float(np.average((gap - behind) ** 2, weights=w)))
    ks = _ks_distance(law, x, w, resolution_s)
    mean_s = law.sampled_mean_s()
    n_parameters = len(law.p) if isinstance(law, QuantileLaw) else N_PARAMETERS[name]
    return LawFit(
        name=name,
        law=law,
        n_parameters=n_parameters,
        held_out=float(np.average(score, weights=w)),
        behind=behind,
        behind_se=spread / math.sqrt(gap.size),
        ks=ks,
        ks_p_value=float(special.kolmogorov(math.sqrt(x.size) * ks)),
        mean_s=mean_s,
        mean_error_s=mean_s - float(np.average(x, weights=w)),
        largest_error_s=float(error[worst]),
        largest_error_p=float(_ERROR_LEVELS[worst]),
    )


def _log_density(law: Law, x: FloatArray, resolution_s: float) -> FloatArray:
    """Log of the law's density per second, averaged over what a recorded duration stands for."""
    width = resolution_s or 0.01
    mass = law.cdf(x + 0.5 * width) - law.cdf(np.maximum(x - 0.5 * width, 0.0))
    return np.log(np.maximum(mass / width, _DENSITY_FLOOR_PER_S))


def _ks_distance(law: Law, x: FloatArray, w: FloatArray, resolution_s: float) -> float:
    """Largest distance of the two distribution functions, the rounding of the record undone."""
    values, counts = tally(x, w)
    share = counts / counts.sum()
    above = np.cumsum(share)
    high = np.abs(above - law.cdf(values + 0.5 * resolution_s))
    low = np.abs(above - share - law.cdf(values - 0.5 * resolution_s))
    return float(max(high.max(), low.max()))
