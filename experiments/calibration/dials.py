"""What became of dials: outcome shares, ring times, the answer rate and how it moves."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.dialer_logs import RecordedDay, RecordedDays
from quietdial.experiments.calibration.estimates import Estimate, Findings, mean_of, share_of
from quietdial.experiments.calibration.laws import FEWEST, Times, fit_law, mean_estimate
from quietdial.experiments.stats.intervals import Interval, ratio_interval, t_quantile

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
UNANSWERED: Final = ("machine", "busy", "no_answer", "invalid", "failure")
BIN_S: Final = 600.0
"""The answer rate is looked at in spans of ten minutes."""
MOST_LAG: Final = 12
"""The longest time between two spans, two hours."""
FEWEST_DAYS: Final = 5
"""With fewer days the differences between days are not told."""
N_BOOTSTRAP: Final = 200
_DIALS: Final = ("dialed_ms", "ended_ms", "outcome")


def estimate_dials(days: RecordedDays, found: Findings) -> None:
    """Add shares, ring times and the answer rate to what was found."""
    if not days.known("calls", *_DIALS):
        why = next(
            day.calls.unknown[name]
            for day in days.days
            for name in _DIALS
            if name in day.calls.unknown
        )
        for field in ("calls.answer_rate", "calls.unanswered", "calls.time_to_answer"):
            found.open[field] = why
        _shares_without_dials(days, found)
        return
    _shares(days, found)
    _ring_times(days, found)
    _answer_rate(days, found)


def _ended(day: RecordedDay) -> NDArray[np.bool_]:
    """Dials that came to an end within the log."""
    calls = day.calls
    ended = (calls["ended_ms"] >= 0) & (calls["outcome"] != "cancelled")
    return np.asarray(ended & ~_is_open(day), np.bool_)


def _is_open(day: RecordedDay) -> NDArray[np.bool_]:
    """Calls whose outcome the log did not come to say."""
    return np.asarray(day.calls["censored"] & (day.calls["outcome"] == ""), np.bool_)


def _shares_without_dials(days: RecordedDays, found: Findings) -> None:
    """VICIdial without its carrier log still has every outcome, only no times of dials."""
    if not days.known("calls", "ended_ms", "outcome"):
        return
    why = found.open.pop("calls.answer_rate")
    found.open.pop("calls.unanswered")
    _shares(days, found)
    if "calls.answer_rate" not in found.open:
        p = found.get("calls.answered_share").interval.value
        found.values["calls.answer_rate"] = {"kind": "constant", "p": _rounded(p)}
        found.open["calls.answer_rate.drift"] = why


def _shares(days: RecordedDays, found: Findings) -> None:
    outcomes = [day.calls["outcome"][_ended(day)] for day in days.days]
    n = np.array([len(outcome) for outcome in outcomes], np.float64)
    n_open = sum(int(_is_open(day).sum()) for day in days.days)
    source = days.days[0].calls.source.get("outcome", "")
    untold = np.array([(outcome == "").sum() for outcome in outcomes], np.float64)
    people = np.array([(outcome == "person").sum() for outcome in outcomes], np.float64)
    note = ""
    if untold.sum() > 0.001 * n.sum():
        low, high = share_of(people, n), share_of(people + untold, n)
        both = Interval(low.value, low.lo, high.hi, low.n)
        note = (
            f"{int(untold.sum())} dials were picked up by nobody can say whom: the interval "
            "reaches from none of them a person to all of them"
        )
        found.open["calls.answer_rate"] = note
        found.open["calls.unanswered"] = note
    else:
        both = share_of(people, n)
    found.estimates.append(
        Estimate(
            "calls.answered_share",
            "dials that a person answered",
            both,
            "1",
            "dials",
            n_open,
            source,
            note=note,
        )
    )
    lost = n - people - untold
    if lost.sum() < FEWEST or "calls.unanswered" in found.open:
        return
    for name in UNANSWERED:
        part = np.array([(outcome == name).sum() for outcome in outcomes], np.float64)
        if part.sum():
            found.estimates.append(
                Estimate(
                    f"calls.unanswered.{name}.share",
                    f"{name.replace('_', ' ')}, of the dials that no person answered",
                    share_of(part, lost),
                    "1",
                    "dials",
                    n_open,
                    source,
                    note="invalid numbers are in it: the log does not tell them apart"
                    if name == "failure" and days.format == "asterisk"
                    else "",
                )
            )


def _ring_times(days: RecordedDays, found: Findings) -> None:
    step = days.days[0].calls.step_ms("dialed_ms", "ended_ms") / 1000.0
    step = step if step > 0.001 else 0.0
    source = ", ".join(
        dict.fromkeys(days.days[0].calls.source.get(name, "") for name in ("dialed_ms", "ended_ms"))
    )
    n_days = len(days.days)
    for name in ("person", *UNANSWERED):
        parts, where = [], []
        for number, day in enumerate(days.days):
            mine = _ended(day) & (day.calls["outcome"] == name) & (day.calls["start_ms"] >= 0)
            ring = (day.calls["ended_ms"] - day.calls["start_ms"])[mine] / 1000.0
            parts.append(ring[ring >= 0])
            where.append(np.full(int((ring >= 0).sum()), number, np.int64))
        ring_s, day_of = np.concatenate(parts), np.concatenate(where)
        none = np.zeros(0)
        times = Times(ring_s, day_of, none, none.astype(np.int64), step)
        field = "calls.time_to_answer" if name == "person" else f"calls.unanswered.{name}.time"
        words = "until a person answers" if name == "person" else f"until {name.replace('_', ' ')}"
        estimate = mean_estimate(field, f"mean ring time {words}", times, n_days, source)
        if estimate is not None:
            found.estimates.append(_widened(estimate, step))
        law = fit_law(times) if found.with_laws else None
        if law is not None:
            found.laws[field] = law
        elif name == "person":
            found.open[field] = f"only {ring_s.size} answered dials have a ring time"
        if name == "no_answer" and ring_s.size >= FEWEST:
            _time_out(ring_s, step, source, found)


def _widened(estimate: Estimate, step: float) -> Estimate:
    """Half a step at both ends: a log in whole seconds may cut lengths down or moments."""
    if not step:
        return estimate
    found = estimate.interval
    lo, hi = max(found.lo - step / 2, 0.0), found.hi + step / 2
    return dataclasses.replace(
        estimate,
        interval=Interval(found.value, lo, hi, found.n),
        note="half a second is added at both ends: whether lengths are cut down is not known",
    )


def _time_out(ring_s: FloatArray, step: float, source: str, found: Findings) -> None:
    """Where the dialer gave up: dials that reached it are cut off, not finished."""
    top = float(np.quantile(ring_s, 0.95))
    at_top = np.abs(ring_s - top) <= max(2 * step, 0.5)
    if float(at_top.mean()) < 0.5:
        return
    value = float(np.median(ring_s[at_top]))
    found.estimates.append(
        Estimate(
            "calls.ring_timeout_s",
            "the dialer gives up ringing after",
            Interval(value, value - step, value + step, int(at_top.sum())),
            "s",
            "dials cut off there",
            int(at_top.sum()),
            source,
            step,
            "who would have answered later is not known",
        )
    )


# --- the answer rate and how it moves -------------------------------------------------------------


@dataclass(frozen=True)
class _Moments:
    """Sums of one day: spans, their mean rate, products of rates by time between spans."""

    n: float
    total: float
    products: FloatArray
    pairs: FloatArray


def _answer_rate(days: RecordedDays, found: Findings) -> None:
    if "calls.answer_rate" in found.open:
        return
    moments, rates = [], []
    source = days.days[0].calls.source.get("outcome", "")
    for day in days.days:
        answered, finished = _spans(day)
        has = finished >= 2
        if has.sum() >= 2:
            moments.append(_moments(answered, finished, has))
            rates.append(float((answered[has] / finished[has]).mean()))
    if not moments:
        found.open["calls.answer_rate"] = "no day has two spans of ten minutes with dials"
        return
    level = found.get("calls.answered_share").interval
    time_mean = mean_of(rates)
    found.estimates.append(
        Estimate(
            "calls.answer_rate.mean",
            "answer rate, mean over time (dials are more where it is low)",
            time_mean,
            "1",
            "days",
            0,
            source,
        )
    )
    if len(moments) < FEWEST_DAYS:
        found.values["calls.answer_rate"] = {"kind": "constant", "p": _rounded(level.value)}
        found.open["calls.answer_rate.drift"] = (
            f"{len(moments)} days with dials; differences between days take at least {FEWEST_DAYS}"
        )
        return
    fitted, lows, highs = _drift_interval(moments)
    names = (
        ("calls.answer_rate.p_low", "lowest level of a day", "1"),
        ("calls.answer_rate.p_high", "highest level of a day", "1"),
        ("calls.answer_rate.ou_sd", "sd of the log of the rate within a day", "1"),
        ("calls.answer_rate.ou_tau_s", "relaxation time of the rate within a day", "s"),
    )
    for place, (field, what, unit) in enumerate(names):
        lo, hi = lows[place], highs[place]
        found.estimates.append(
            Estimate(
                field,
                what,
                Interval(fitted[place], lo, hi, len(moments)),
                unit,
                "days",
                0,
                source,
                note="interval by leaving out days",
            )
        )
    p_low, p_high, sd, tau = fitted
    if p_high / p_low < 1.02 and sd < 0.02:
        found.values["calls.answer_rate"] = {"kind": "constant", "p": _rounded(level.value)}
        return
    found.values["calls.answer_rate"] = {
        "kind": "drifting",
        "p_low": _rounded(p_low),
        "p_high": _rounded(p_high),
        "ou_sd": _rounded(sd),
        "ou_tau_s": float(round(tau)),
        "update_s": 10.0,
    }
    found.open["calls.answer_rate.season_amplitude"] = (
        "a slow wave within the day is not told apart from slow noise: both stand in ou_sd"
    )


def _rounded(p: float) -> float:
    return float(f"{p:.4g}")


def _spans(day: RecordedDay) -> tuple[FloatArray, FloatArray]:
    """Answered and finished dials by ten minutes of their dial, up to where all could finish."""
    calls = day.calls
    dialed, ended = calls["dialed_ms"], calls["ended_ms"]
    done = _ended(day) & (dialed >= 0)
    if not done.any():
        return np.zeros(0), np.zeros(0)
    longest = float((ended[done] - dialed[done]).max())
    n_spans = int(max(day.length_ms - longest, 0.0) // (1000 * BIN_S))
    span = (dialed // int(1000 * BIN_S)).astype(np.int64)
    inside = done & (span < n_spans)
    finished, answered = np.zeros(n_spans), np.zeros(n_spans)
    np.add.at(finished, span[inside], 1.0)
    np.add.at(answered, span[inside & (calls["outcome"] == "person")], 1.0)
    return answered, finished


def _moments(answered: FloatArray, finished: FloatArray, has: NDArray[np.bool_]) -> _Moments:
    """Unbiased products: of two spans k k' / (n n'), given that calls are independent."""
    rate = np.where(has, answered / np.maximum(finished, 1.0), 0.0)
    products, pairs = np.zeros(MOST_LAG + 1), np.zeros(MOST_LAG + 1)
    for lag in range(1, min(MOST_LAG, len(rate) - 1) + 1):
        both = has[lag:] & has[:-lag]
        products[lag] = float((rate[lag:] * rate[:-lag])[both].sum())
        pairs[lag] = float(both.sum())
    return _Moments(float(has.sum()), float(rate[has].sum()), products, pairs)


_TAUS_S: Final = np.geomspace(300.0, 14_400.0, 40)


Four = tuple[float, float, float, float]


class _Fit(NamedTuple):
    """Mean rate, log of its second moment between days, variance within, relaxation time [s]."""

    mean: float
    between: float
    within: float
    tau_s: float

    def levels(self) -> Four:
        """p_low, p_high, ou_sd and ou_tau_s."""
        low, high = _ends(self.mean, _width_of(math.exp(max(self.between, 0.0))), self.within)
        return low, high, _sd(self.within), self.tau_s


def _ends(mean: float, width: float, within: float) -> tuple[float, float]:
    """p_low and p_high of a log-uniform level of a given width whose process has this mean."""
    half = width / 2
    centre = mean * math.exp(-max(within, 0.0) / 2) * half / math.sinh(half)
    low = min(max(centre * math.exp(-half), 1e-4), 0.95)
    return low, max(min(centre * math.exp(half), 0.95), low)


def _sd(variance: float) -> float:
    return min(math.sqrt(max(variance, 0.0)), 2.0)


def _drift(moments: list[_Moments]) -> _Fit:
    """Differences between days and movement within them, from the products of rates.

    With p(t) = p0 exp(x(t)), log p0 uniform of width w for each day, x an Ornstein-Uhlenbeck
    process: E p(t) p(t + L) / (E p)^2 = (w/2) coth(w/2) exp(sd^2 exp(-L / tau)). For each tau the
    logarithm is a straight line in exp(-L / tau); the tau with the least squares is taken. (E p)^2
    is estimated by products of different days, which have no bias.
    """
    mean_of_day = np.array([m.total / m.n for m in moments])
    n = len(moments)
    square = float(mean_of_day.sum() ** 2 - (mean_of_day**2).sum()) / (n * (n - 1))
    pairs = np.sum([m.pairs for m in moments], axis=0)[1:]
    products = np.sum([m.products for m in moments], axis=0)[1:]
    use = pairs > 0
    lag_s = BIN_S * np.arange(1, MOST_LAG + 1)[use]
    c = np.log(np.maximum(products[use] / pairs[use], 1e-12) / max(square, 1e-12))
    share = pairs[use] / pairs[use].sum()
    fade = np.exp(-lag_s / _TAUS_S[:, None])  # (taus, lags)
    f, g = fade - (fade * share).sum(axis=1, keepdims=True), c - float((c * share).sum())
    slope = np.maximum((f * g * share).sum(axis=1) / (f * f * share).sum(axis=1), 0.0)
    base = ((c - slope[:, None] * fade) * share).sum(axis=1)
    error = ((c - base[:, None] - slope[:, None] * fade) ** 2 * share).sum(axis=1)
    best = int(np.argmin(error))
    mean = float(mean_of_day.mean())
    return _Fit(mean, float(base[best]), float(slope[best]), float(_TAUS_S[best]))


def _drift_interval(moments: list[_Moments]) -> tuple[Four, Four, Four]:
    """p_low, p_high, ou_sd, ou_tau_s and their 95 % intervals by leaving out one day at a time.

    Jackknife standard errors (Tukey 1958) with Student's t for the mean, for what is between days
    and for what is within them; the ends of p_low and p_high put the ends of mean and width
    together. The interval of tau is by resampling days.
    """
    fit, n = _drift(moments), len(moments)
    without = np.array([_drift(moments[:k] + moments[k + 1 :])[:3] for k in range(n)])
    spread = np.sqrt((n - 1) / n * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    reach = t_quantile(n) * spread
    lo, hi = (np.array(fit[:3]) + sign * reach for sign in (-1.0, 1.0))
    narrow, wide = (_width_of(math.exp(max(float(end[1]), 0.0))) for end in (lo, hi))
    least, most = max(float(lo[0]), 1e-4), float(hi[0])
    low = _ends(least, wide, fit.within)[0], _ends(most, narrow, fit.within)[0]
    high = _ends(least, narrow, fit.within)[1], _ends(most, wide, fit.within)[1]
    rng = np.random.default_rng(0)
    taus = [_drift([moments[k] for k in rng.integers(0, n, n)]).tau_s for _ in range(N_BOOTSTRAP)]
    early, late = np.quantile(taus, (0.025, 0.975)).tolist()
    return (
        fit.levels(),
        (low[0], high[0], _sd(float(lo[2])), early),
        (low[1], high[1], _sd(float(hi[2])), late),
    )


def _width_of(ratio: float) -> float:
    """Width w of a log-uniform law with (w/2) coth(w/2) = ratio, at least 1e-6."""
    low, high = 1e-6, 20.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        half = 0.5 * middle
        low, high = (middle, high) if half / math.tanh(half) < ratio else (low, middle)
    return 0.5 * (low + high)


def by_half_hour(days: RecordedDays) -> list[dict[str, float]]:
    """Answer rate and answers by half-hour of the local day, with intervals over days."""
    if not days.known("calls", *_DIALS):
        return []
    table: dict[int, list[tuple[float, float]]] = {}
    for day in days.days:
        done = _ended(day) & (day.calls["dialed_ms"] >= 0)
        half = (day.local_s(day.calls["dialed_ms"]) // 1800).astype(np.int64)
        person = day.calls["outcome"] == "person"
        for slot in np.unique(half[done]).tolist():
            mine = done & (half == slot)
            table.setdefault(slot, []).append((float((mine & person).sum()), float(mine.sum())))
    rows: list[dict[str, float]] = []
    for slot, counts in sorted(table.items()):
        k, n = np.array(counts).T
        rate = share_of(k, n) if len(k) < 2 else ratio_interval(k, n, upper_bound=1.0)
        rows.append(
            {
                "from_h": slot / 2,
                "value": rate.value,
                "lo": rate.lo,
                "hi": rate.hi,
                "dials": float(n.sum()),
                "answered_per_h": 2 * float(k.mean()),
                "days": len(k),
            }
        )
    return rows
