"""Figures with their intervals as text, for tables and sentences."""

from __future__ import annotations

from quietdial.experiments.stats import Interval


def plus_minus(interval: Interval, scale: float = 100.0, digits: int = 2, sign: str = "") -> str:
    """`value ± half width`; `value (lo to hi)` where the interval is not symmetric."""
    value, lo, hi = (scale * x for x in (interval.value, interval.lo, interval.hi))
    if value == 0.0 and lo == 0.0:
        return f"0 (< {hi:.2g})"  # a count of zero has a bound, not a width
    up, down = f"{hi - value:.{digits}f}", f"{value - lo:.{digits}f}"
    if up == down:
        return f"{value:{sign}.{digits}f} ± {up}"
    return f"{value:{sign}.{digits}f} ({lo:.{digits}f} to {hi:.{digits}f})"


def points(interval: Interval) -> str:
    """A difference of utilisations in points with its interval."""
    lo, hi, value = 100 * interval.lo, 100 * interval.hi, 100 * interval.value
    return f"{value:+.2f} ({lo:+.2f} to {hi:+.2f})"


def significance(gap: Interval) -> str:
    """What a difference says, between two names: more than, less than, or neither."""
    if gap.lo > 0:
        return "more than"
    return "less than" if gap.hi < 0 else "no significant difference to"
