"""Laws of durations as the simulator draws them, and the largest odds over all ages."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.limits.window_game import STEPS
from quietdial.envs.laws import BODY_CELLS, TAIL_CELLS, Law

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class _Sampled:
    """A law of a duration as the simulator draws it: whole milliseconds, from its quantile table.

    A draw falls uniformly into a cell of the table and is rounded down. So P(duration < k) is
    linear in the whole number k between the knots (after a jump, from one beyond it), and what is
    asked of it below, quotients of such numbers, is monotone there: to look at knots is enough.
    """

    knots_ms: FloatArray
    levels: FloatArray

    def below(self, ms: FloatArray) -> FloatArray:
        """P(duration < ms), for whole numbers of ms; exact."""
        upper = np.clip(np.searchsorted(self.knots_ms, ms), 1, len(self.knots_ms) - 1)
        low, high = self.knots_ms[upper - 1], self.knots_ms[upper]
        share = np.clip((ms - low) / np.maximum(high - low, 1.0), 0.0, 1.0)
        below, above = self.levels[upper - 1], self.levels[upper]
        return np.asarray(below + share * (above - below))

    def up_to(self, length_s: float) -> float:
        """P(duration <= length_s)."""
        return float(self.below(np.array([whole_ms(length_s) + 1.0]))[0])


def sampled(law: Law) -> _Sampled:
    """The law as the simulator draws it; tables are kept."""
    key: Any = law  # frozen, so that it can be one
    return _table_of(key)


@functools.lru_cache(maxsize=64)
def _table_of(law: Law) -> _Sampled:
    knots = law.table_ms().astype(np.float64)
    body = np.arange(BODY_CELLS) / BODY_CELLS
    tail = (BODY_CELLS - 1 + np.arange(1, TAIL_CELLS + 1) / TAIL_CELLS) / BODY_CELLS
    return _Sampled(np.delete(knots, BODY_CELLS), np.concatenate([body, tail]))


def whole_ms(length_s: float) -> float:
    """Milliseconds, rounded up to a whole number: a longer stretch is kinder to the dialer."""
    return math.ceil(1000.0 * length_s - 1e-6)


def ages_ms(
    tables: Sequence[_Sampled], oldest_ms: float, lengths_ms: Sequence[float]
) -> FloatArray:
    """Whole k = 1..oldest_ms at which a quotient of the tables at k and k + lengths may be largest.

    What has age a at the beginning of a window and still lasts is at least k = floor(a) + 1 long.
    """
    knots = np.concatenate([table.knots_ms for table in tables])
    knots = np.unique(np.concatenate([knots, knots + 1.0]))
    shifted = [knots - length for length in (0.0, *lengths_ms)]
    ages = np.unique(np.concatenate([*shifted, [1.0, oldest_ms]]))
    return np.asarray(ages[(ages >= 1.0) & (ages <= oldest_ms)])


def quotient(part: FloatArray, whole: FloatArray) -> FloatArray:
    """`part / whole`, and 0 where there is no whole."""
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0.0))


def profile_of(law: Law, oldest_s: float, window_s: float) -> tuple[float, ...]:
    """Largest share of a window's answers in its first parts, over all ages up to `oldest_s`."""
    table, width = sampled(law), whole_ms(window_s)
    parts = [math.ceil(width * part / STEPS) for part in range(1, STEPS + 1)]
    ages = ages_ms([table], whole_ms(oldest_s), parts)
    before = table.below(ages)
    whole = table.below(ages + width) - before
    shares = [quotient(table.below(ages + part) - before, whole).max() for part in parts]
    return tuple(float(share) for share in shares)


def end_odds(law: Law, window_s: float) -> float:
    """Largest probability that a duration ends within a window, over all ages.

    Ages beyond the last knot but one, which 2^-20 of the durations reach, are not looked at: see
    :func:`old_share`.
    """
    table, width = sampled(law), whole_ms(window_s)
    ages = ages_ms([table], table.knots_ms[-2], (width,))
    before = table.below(ages)
    return float(quotient(table.below(ages + width) - before, 1.0 - before).max())


def old_share(law: Law) -> float:
    """Share of the durations that outlast the ages of :func:`end_odds`, at most 2^-20."""
    table = sampled(law)
    return 1.0 - float(table.below(table.knots_ms[-2:-1] + 1.0)[0])


def most_in(law: Law, length_s: float) -> float:
    """Largest probability that a duration falls into an interval of that length."""
    table, width = sampled(law), whole_ms(length_s)
    ages = ages_ms([table], table.knots_ms[-1] + 1.0, (width,))
    return float((table.below(ages + width) - table.below(ages)).max())


def free_share(law: Law, oldest_s: float, window_s: float) -> float:
    """Share of the answers by calls dialed in the same window, or older than `oldest_s` before it.

    The offset of the grid is uniform: int_0^w F / w + int_0^w (1 - F(oldest + s)) ds / w.
    """
    table = sampled(law)
    after = np.arange(1.0, whole_ms(window_s) + 1.0)
    fast = table.below(after).mean()
    old = (1.0 - table.below(whole_ms(oldest_s) + after)).mean()
    return float(fast + old)


def late_share(law: Law, length_s: float) -> float:
    """Largest probability that a call in flight is answered, but not before `length_s` from now."""
    table, width = sampled(law), whole_ms(length_s)
    ages = ages_ms([table], table.knots_ms[-1] + 1.0, (width,))
    left = 1.0 - table.below(ages)
    return float(quotient(1.0 - table.below(ages + width), left).max())


def moments(law: Law) -> tuple[float, float]:
    """Mean and mean square of a duration, from its sampled table [s, s^2]."""
    knots = law.table_ms() / 1000.0
    body, tail = knots[:BODY_CELLS], knots[BODY_CELLS:]
    squares = []
    for ends, cells in ((body, BODY_CELLS), (tail, BODY_CELLS * TAIL_CELLS)):
        a, b = ends[:-1], ends[1:]
        squares.append(float(np.sum(a * a + a * b + b * b)) / (3.0 * cells))
    return law.sampled_mean_s(), sum(squares)
