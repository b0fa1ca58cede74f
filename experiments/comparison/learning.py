"""Learning curves of a group: means over its seeds in equal spans of training, with a band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from quietdial.experiments.comparison.reading import JudgedRun
from quietdial.experiments.stats import t_quantile
from quietdial.experiments.stats.intervals import FloatArray

MOST_SPANS: Final = 40


@dataclass(frozen=True, eq=False)
class Curve:
    """One quantity of a group over training.

    Attributes:
        steps: end of each span, environment steps, (K,).
        mean: mean over the seeds of each seed's mean in the span, (K,).
        lo: lower end of the 95 % interval of that mean (Student); the mean itself for one seed.
        hi: upper end.
        n_seeds: seeds that it rests on.
    """

    steps: FloatArray
    mean: FloatArray
    lo: FloatArray
    hi: FloatArray
    n_seeds: int


def curve_of(runs: Sequence[JudgedRun], name: str) -> Curve | None:
    """The curve of one quantity; None if no run logged it.

    Seeds may have logged at different steps: each is averaged within the same spans of training, as
    many as the scarcest has rows, 40 at most. Spans that a seed has no row in are left out.

    Args:
        runs: the runs of a group.
        name: the quantity, as in `train.jsonl`.
    """
    logged = [run.curves[name] for run in runs if name in run.curves]
    if not logged:
        return None
    end = max(float(curve[-1, 0]) for curve in logged)
    n = max(min(MOST_SPANS, *(len(curve) for curve in logged)), 1)
    edges = np.linspace(0.0, end, n + 1)
    table = np.array([_means(curve, edges) for curve in logged])
    whole = np.isfinite(table).all(axis=0)
    steps, table = edges[1:][whole], table[:, whole]
    if not len(steps):
        return None
    mean, half = table.mean(axis=0), np.zeros(len(steps))
    if len(table) > 1:
        spread = table.std(axis=0, ddof=1) / np.sqrt(len(table))
        half = t_quantile(len(table)) * spread
    return Curve(steps, mean, mean - half, mean + half, len(table))


def _means(curve: FloatArray, edges: FloatArray) -> FloatArray:
    """Mean of a curve in each span (after one edge, up to the next); NaN where it has no row."""
    place = np.clip(np.searchsorted(edges, curve[:, 0], side="left") - 1, 0, len(edges) - 2)
    counts = np.bincount(place, minlength=len(edges) - 1).astype(np.float64)
    sums = np.bincount(place, weights=curve[:, 1], minlength=len(edges) - 1)
    means: FloatArray = np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return means
