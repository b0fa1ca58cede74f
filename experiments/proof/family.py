"""Families of t-tests of simulated means against exact values, with what they could have missed.

Every test compares the mean of independent and equally distributed campaigns with an exact value.
The false-alarm rate of all tests of a part together is at most `FAMILY_ALPHA` (Bonferroni: each of
m two-sided tests has `FAMILY_ALPHA` / m), whatever their dependence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

from quietdial.envs.errors import ConfigError
from quietdial.experiments.bench.results import figure
from quietdial.experiments.proof.parts import Figure, failures

FloatArray = NDArray[np.float64]
Item = TypeVar("Item")

FAMILY_ALPHA = 1e-3
"""Probability that any test of a part rejects a right simulator, at most."""

POWER = 0.9
"""Probability of finding a bias of the stated smallest detectable size."""

_LEAST_POOLED = 5  # cells
_NO_ERROR_AT_ALL = 1e9  # shown for a wrong value that does not scatter


class Comparison(NamedTuple):
    """One comparison of a simulated mean with its exact value."""

    family: str
    cell: str  # the world
    measured: float
    exact: float
    error: float  # standard error of `measured`
    n: int  # independent campaigns
    at: str = ""  # which of several numbers of the cell

    @property
    def place(self) -> str:
        """The number that was tested."""
        return f"{self.at}; {self.cell}" if self.at else self.cell

    @property
    def z(self) -> float:
        """Distance in standard errors: a t statistic with n - 1 degrees of freedom."""
        gap = self.measured - self.exact
        if self.error > 0.0:
            return gap / self.error
        return 0.0 if gap == 0.0 else math.copysign(math.inf, gap)

    def limit(self, alpha: float) -> float:
        """|z| above which the two-sided test of level `alpha` rejects."""
        return float(-special.stdtrit(self.n - 1, alpha / 2))

    def smallest_bias(self, alpha: float) -> float:
        """Bias, relative to the exact value, that is found with probability `POWER`.

        (t quantile of the level + normal quantile of the power) x standard error / exact value.
        """
        return (self.limit(alpha) + float(special.ndtri(POWER))) * self.error / abs(self.exact)

    def line(self) -> str:
        """What a rejected test says."""
        return (
            f"{self.family}, {self.place}: {self.measured:.6g} against {self.exact:.6g}, "
            f"z = {self.z:.2f}"
        )


def mean_test(family: str, cell: str, values: FloatArray, exact: float, at: str = "") -> Comparison:
    """Test the mean of one value per campaign, (C,) with C at least 2, against one other than 0."""
    if len(values) < 2:
        raise ConfigError(f"{family}, {cell}: {len(values)} campaigns given, at least 2 are needed")
    if not (math.isfinite(exact) and exact != 0.0 and np.isfinite(values).all()):
        raise ConfigError(f"{family}, {cell}: values must be finite, and {exact!r} other than 0")
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return Comparison(family, cell, float(values.mean()), exact, error, len(values), at)


def ratio_test(
    family: str, cell: str, top: FloatArray, bottom: FloatArray, exact: float
) -> Comparison:
    """Test a ratio of totals, such as silent / answered, from one pair per campaign, (C,) each.

    Under the hypothesis top - exact x bottom has mean 0, so the test is one of a mean; divided by
    the mean of `bottom` it is the ratio estimator's deviation from `exact`.
    """
    residual = (top - exact * bottom) / bottom.mean()
    return mean_test(family, cell, exact + residual, exact)


def sampled(items: Sequence[Item], scale: float, least: int) -> list[Item]:
    """All items at scale 1; below, `least` of them spread evenly over the list."""
    if scale >= 1.0 or least >= len(items):
        return [*items]
    places = np.round(np.linspace(0, len(items) - 1, least)).astype(int)
    return [items[place] for place in places]


def pooled_z(tests: Sequence[Comparison]) -> float:
    """What all tests of independent cells say together: their sum over its standard deviation.

    A t statistic of d degrees of freedom has the variance d / (d - 2), so that under the
    hypothesis the result is standard normal to a good approximation. It finds a small bias that
    all cells have in common (Stouffer's method).
    """
    variance = sum((test.n - 1) / (test.n - 3) for test in tests)
    return sum(test.z for test in tests) / math.sqrt(variance)


def _pools(tests: Sequence[Comparison]) -> bool:
    """Whether the tests come from as many independent cells, enough of them."""
    cells = len({test.cell for test in tests})
    return cells == len(tests) >= _LEAST_POOLED and min(test.n for test in tests) > 3


def judge(part: str, tests: Iterable[Comparison], alpha: float = FAMILY_ALPHA) -> list[Figure]:
    """Decide all tests of a part, and say for each family what was found and what could be.

    Args:
        part: first word of the figures' names.
        tests: all of them; the level of one is `alpha` / (their number + one for each family).
        alpha: false-alarm rate of all together.

    Returns:
        For every family: cells, campaigns, false_alarm_rate, rejected (with a 95 % bound),
        largest_z and smallest_bias; with one test for each of enough cells also common/rejected,
        common/largest_z and common/smallest_bias, of a bias that all cells have in common.
    """
    rows = list(tests)
    if not rows:
        raise ConfigError(f"part {part!r} has no tests")
    families: dict[str, list[Comparison]] = {}
    for row in rows:
        families.setdefault(row.family, []).append(row)
    each = alpha / (len(rows) + len(families))
    figures = []
    for family, mine in families.items():
        figures += _family(f"{part}/{family}", mine, each)
        if _pools(mine):
            figures += _common(f"{part}/{family}/common", mine, each)
    return figures


def _family(name: str, tests: Sequence[Comparison], each: float) -> list[Figure]:
    cells = len({test.cell for test in tests})
    fewest, most = min(t.n for t in tests), max(t.n for t in tests)
    rejected = [test for test in tests if abs(test.z) > test.limit(each)]
    worst = max(tests, key=lambda test: abs(test.z))
    limits = [test.limit(each) for test in tests]
    biases = np.array([test.smallest_bias(each) for test in tests])
    widest = tests[int(biases.argmax())]

    def row(what: str, value: float, unit: str, lo: float, hi: float, note: str) -> Figure:
        return figure(f"{name}/{what}", value, unit, lo, hi, len(tests), note)

    def count(what: str, value: int, note: str) -> Figure:
        return row(what, value, "1", value, value, note)

    alpha = each * (len(tests) + 1)
    largest = min(abs(worst.z), _NO_ERROR_AT_ALL)
    return [
        count("cells", cells, "worlds"),
        row(
            "campaigns",
            float(np.mean([t.n for t in tests])),
            "campaigns",
            fewest,
            most,
            "independent replications of each cell; lo and hi: fewest and most",
        ),
        row(
            "false_alarm_rate",
            alpha,
            "1",
            0.0,
            alpha,
            f"at most: {len(tests)} tests and the common one; Bonferroni over the part",
        ),
        failures(
            f"{name}/rejected",
            [test.line() for test in rejected],
            len(tests),
            f"two-sided t-tests, |z| above {min(limits):.2f} to {max(limits):.2f} by campaigns",
        ),
        row(
            "largest_z",
            largest,
            "standard errors",
            largest,
            largest,
            f"in {worst.place}: {worst.measured:.6g} against {worst.exact:.6g}",
        ),
        row(
            "smallest_bias",
            float(np.median(biases)),
            "1",
            float(biases.min()),
            float(biases.max()),
            f"relative bias found with probability {POWER}: median, least and greatest of the "
            f"cells; greatest in {widest.place}",
        ),
    ]


def _common(name: str, tests: Sequence[Comparison], each: float) -> list[Figure]:
    """The pooled test of a family; see `pooled_z`."""
    z = pooled_z(tests)
    limit = float(-special.ndtri(each / 2))
    found = [f"all {len(tests)} cells together: z = {z:.2f}"] if abs(z) > limit else []
    largest = min(abs(z), _NO_ERROR_AT_ALL)
    weight = sum(abs(test.exact) / test.error for test in tests if test.error > 0.0)
    bias = (limit + float(special.ndtri(POWER))) * math.sqrt(len(tests))
    bias = bias / weight if weight else 0.0
    n = len(tests)
    return [
        failures(f"{name}/rejected", found, 1, f"pooled z-test, |z| above {limit:.2f}"),
        figure(
            f"{name}/largest_z", largest, "standard errors", largest, largest, n, f"z = {z:.2f}"
        ),
        figure(
            f"{name}/smallest_bias",
            bias,
            "1",
            bias,
            bias,
            n,
            f"relative bias, the same in all cells, found with probability {POWER}",
        ),
    ]
