"""Off-policy estimates over short horizons, with an honest effective sample size.

The days are cut into blocks of `horizon` decisions. What is estimated: the policy takes over at the
start of a block for its first K decisions, then the incumbent goes on; what comes out until the end
of the block? A block whose recorded dials the policy would have placed too speaks for it, with
weight prod policy(a | s) / incumbent(a | s) over those K decisions. Outcomes of each decision are
weighted by the product up to it alone, and each sum is divided by the sum of its weights: weighted
per-decision importance sampling (Precup, Sutton and Singh 2000). The effective sample size is
Kish's, (sum w)^2 / sum w^2, in blocks. Intervals: linearisation of the ratio, over clusters of
neighbouring blocks, Student's t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quietdial.experiments.stats import Interval
from quietdial.experiments.stats.intervals import t_quantile

Floats = NDArray[np.float64]

LEAST_ESS: Final = 100.0
"""Below so many effective blocks nothing is said."""
LEAST_CLUSTERS: Final = 5
MEAN_WEIGHT_SLACK: Final = 0.1
"""The mean weight is 1 where the incumbent does all that the policy does; nothing is said where its
99 % interval lies outside of 1 by more than this."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """Recorded days cut into blocks, n blocks of H decisions.

    Attributes:
        ratio: policy(a | s) / incumbent(a | s) of each decision, (n, H).
        answered: people who answered until the next decision, (n, H).
        silent: silent calls of them, (n, H).
        busy_s: agents' busy time [s], (n, H).
        available_s: agents' time [s], (n, H).
        cluster: number of the cluster of each block, (n,).
        interval_s: time between two decisions [s].
    """

    ratio: Floats
    answered: Floats
    silent: Floats
    busy_s: Floats
    available_s: Floats
    cluster: NDArray[np.int64]
    interval_s: float


@dataclass(frozen=True)
class Estimate:
    """What the policy would have done to the blocks when it is in charge of K decisions of each.

    Attributes:
        decisions: K.
        blocks: blocks.
        ess: effective blocks.
        mean_weight: mean weight of a block, 1 if the incumbent does all that the policy does.
        agreement: share of these decisions at which both placed the same.
        refused: why nothing is said; empty: the estimate holds.
        silent_rate: silent / answered under the policy; None if refused.
        utilisation: busy / available time under the policy; None if refused.
        silent_rate_change: policy minus incumbent, on the same blocks.
        utilisation_change: policy minus incumbent.
    """

    decisions: int
    blocks: int
    ess: float
    mean_weight: Interval
    agreement: float
    refused: str
    silent_rate: Interval | None = None
    utilisation: Interval | None = None
    silent_rate_change: Interval | None = None
    utilisation_change: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""

        def plain(value: Interval | None) -> dict[str, Any] | None:
            return None if value is None else value.to_dict()

        return {
            "decisions": self.decisions,
            "blocks": self.blocks,
            "effective_blocks": self.ess,
            "mean_weight": self.mean_weight.to_dict(),
            "agreement": self.agreement,
            "identified": not self.refused,
            "refused": self.refused,
            "silent_rate": plain(self.silent_rate),
            "utilisation": plain(self.utilisation),
            "silent_rate_change": plain(self.silent_rate_change),
            "utilisation_change": plain(self.utilisation_change),
        }


def weights_of(ratio: Floats, decisions: int) -> Floats:
    """Weight of each outcome (n, H): the product of the ratios of the decisions until then."""
    charged = ratio.copy()
    charged[:, decisions:] = 1.0
    return np.asarray(np.cumprod(charged, axis=1), np.float64)


def kish(weights: Floats) -> float:
    """Effective sample size (sum w)^2 / sum w^2 of weights (n,); 0 without any weight."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def estimate(blocks: Blocks, decisions: int, least_ess: float = LEAST_ESS) -> Estimate:
    """What K decisions of the policy in each block would have done.

    Args:
        blocks: the recorded days; more than one cluster.
        decisions: K, from 1 to H.
        least_ess: below so many effective blocks nothing is said.
    """
    n = len(blocks.ratio)
    weights = weights_of(blocks.ratio, decisions)
    last = weights[:, -1]
    ess = kish(last)
    number = blocks.cluster
    mean = _interval(float(last.mean()), last - last.mean(), number, n, 0.99)
    agreement = float((blocks.ratio[:, :decisions] > 0).mean())
    refused = _why_not(ess, mean, len(np.unique(number)), least_ess)
    if refused:
        return Estimate(decisions, n, ess, mean, agreement, refused)
    ones = np.ones_like(weights)
    out = []
    for part, whole in (
        (blocks.silent, blocks.answered),
        (blocks.busy_s, blocks.available_s),
    ):
        value, influence = _ratio(part, whole, weights)
        plain, usual = _ratio(part, whole, ones)
        out.append(_interval(value, influence, number, n))
        out.append(_interval(value - plain, influence - usual, number, n))
    silent, silent_change, busy, busy_change = out
    silent = Interval(silent.value, max(silent.lo, 0.0), min(silent.hi, 1.0), n)
    if silent.value == 0.0:  # the residuals say nothing; 3 / answered is the 95 % bound
        answered = float((weights * blocks.answered).sum() / weights.sum() * weights.shape[1])
        silent = Interval(0.0, 0.0, min(3.0 / max(ess * answered, 3.0), 1.0), n)
    return Estimate(
        decisions,
        n,
        ess,
        mean,
        agreement,
        "",
        silent,
        Interval(busy.value, max(busy.lo, 0.0), min(busy.hi, 1.0), n),
        silent_change,
        busy_change,
    )


def _why_not(ess: float, mean: Interval, clusters: int, least_ess: float) -> str:
    if clusters < LEAST_CLUSTERS:
        return f"not identified: {clusters} stretches of days; {LEAST_CLUSTERS} are needed"
    low, high = 1.0 - MEAN_WEIGHT_SLACK, 1.0 + MEAN_WEIGHT_SLACK
    if ess < least_ess:
        return f"not identified: {ess:.1f} effective blocks; {least_ess:g} are needed"
    if mean.hi < low:
        return (
            f"not identified: the mean weight is {mean.value:.2f}, not 1: the policy does what "
            "the incumbent never does in such a state"
        )
    if mean.lo > high:
        return (
            f"not identified: the mean weight is {mean.value:.2f}, not 1: the incumbent's "
            "probabilities are wrong"
        )
    return ""


def _ratio(part: Floats, whole: Floats, weights: Floats) -> tuple[float, Floats]:
    """A ratio of weighted sums, and the influence of each block on it, (n,)."""
    top, d_top = _total(part, weights)
    bottom, d_bottom = _total(whole, weights)
    if bottom <= 0.0:
        return 0.0, np.zeros(len(part))
    value = top / bottom
    return value, (d_top - value * d_bottom) / bottom


def _total(x: Floats, weights: Floats) -> tuple[float, Floats]:
    """Mean total of a block under the policy, and the influence of each block."""
    mean_weight = weights.mean(axis=0)
    safe = np.where(mean_weight > 0, mean_weight, 1.0)
    means = (weights * x).mean(axis=0) / safe
    influence = (weights * (x - means) / safe).sum(axis=1)
    return float(means.sum()), np.asarray(influence)


def _interval(
    value: float,
    influence: Floats,
    cluster: NDArray[np.int64],
    n: int,
    confidence: float = 0.95,
) -> Interval:
    """A value with its interval over clusters; `influence` has mean 0 over the n blocks."""
    _, place = np.unique(cluster, return_inverse=True)
    sums = np.bincount(place, weights=influence)
    g = len(sums)
    if g < 2:
        return Interval(value, value, value, n)
    variance = g / (g - 1) * float((sums**2).sum()) / n**2
    half = t_quantile(g, confidence) * variance**0.5
    return Interval(value, value - half, value + half, n)
