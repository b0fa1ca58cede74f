"""The incumbent's probabilities, where nobody wrote them down: a model fitted to what it did.

A multinomial logistic model of the number of calls placed, on the features that the policy sees and
its base rule's; fitted on other days than those that it is used on (cross-fitting), with an L2
penalty. It is only as good as what it is shown: where the incumbent goes by something that neither
the features nor the log show, and that matters for what comes out, the estimate is confounded. And
an incumbent that always does the same in the same state has no probabilities but 0 and 1.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]

MOST: Final = 4
"""So many calls and more are one class; within it, shares are those of the days fitted to."""
PENALTY: Final = 1e-4
N_FOLDS: Final = 5
_ROUNDS: Final = 150
CERTAIN: Final = 0.999
"""Where the model gives the placed number so much on average, the incumbent looks deterministic."""


class Behaviour(NamedTuple):
    """What was found.

    Attributes:
        probability: of the number that the incumbent placed, (T,), held out.
        gain: mean log-likelihood of a decision minus that of plain shares, held out [nats].
        surest: mean probability of the likeliest number.
    """

    probability: Floats
    gain: float
    surest: float


def fit_behaviour(
    obs: NDArray[np.float32], placed: NDArray[np.int64], fold: NDArray[np.int64]
) -> Behaviour:
    """The incumbent's probabilities.

    Args:
        obs: what was seen at each decision, (T, F), finite.
        placed: calls placed, (T,).
        fold: number of the fold of each decision, (T,); at least two folds.
    """
    x = _inputs(obs)
    y = np.minimum(placed, MOST)
    out, plain = np.zeros(len(y)), np.zeros(len(y))
    surest = np.zeros(len(y))
    for number in np.unique(fold).tolist():
        mine = fold == number
        classes = np.unique(y[~mine])
        scale = np.maximum(x[~mine].std(axis=0), 1e-6)
        centre = x[~mine].mean(axis=0)
        train = _with_one((x[~mine] - centre) / scale)
        held = _with_one(np.clip((x[mine] - centre) / scale, -8.0, 8.0))
        chances = special.softmax(held @ _fit(train, np.searchsorted(classes, y[~mine])), axis=1)
        within = _within(placed[~mine], placed[mine])
        out[mine] = _of_class(chances, classes, y[mine]) * within
        counts = np.bincount(np.searchsorted(classes, y[~mine])) / (~mine).sum()
        shares = np.repeat(counts[None, :], mine.sum(), 0)
        plain[mine] = _of_class(shares, classes, y[mine]) * within
        surest[mine] = chances.max(axis=1)
    gain = float(np.log(np.maximum(out, 1e-12)).mean() - np.log(np.maximum(plain, 1e-12)).mean())
    return Behaviour(out, gain, float(surest.mean()))


def _inputs(obs: NDArray[np.float32]) -> Floats:
    """Features, and their squares: a number of calls often has its peak in the middle."""
    x = obs.astype(np.float64)
    return np.concatenate([x, x * x], axis=1)


def _with_one(x: Floats) -> Floats:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _of_class(chances: Floats, classes: NDArray[np.int64], y: NDArray[np.int64]) -> Floats:
    """Probability of each row's class; 0 if nobody saw it."""
    place = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    known = classes[place] == y
    return np.where(known, chances[np.arange(len(y)), place], 0.0)


def _within(seen: NDArray[np.int64], asked: NDArray[np.int64]) -> Floats:
    """Share of the very number within its class, (T,)."""
    large = seen[seen >= MOST]
    if not len(large):
        return np.where(asked >= MOST, 0.0, 1.0)
    counts = np.bincount(large, minlength=int(max(asked.max(initial=0), large.max())) + 1)
    return np.where(asked >= MOST, counts[asked] / len(large), 1.0)


def _fit(x: Floats, y: NDArray[np.int64]) -> Floats:
    """Weights (F, C) of the model, by L-BFGS."""
    n, c = len(x), int(y.max()) + 1
    target = np.eye(c)[y]

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(-1, c)
        numbers = x @ weights
        numbers -= numbers.max(axis=1, keepdims=True)
        logs = numbers - np.log(np.exp(numbers).sum(axis=1, keepdims=True))
        value = -float((target * logs).sum()) / n + PENALTY * float((weights**2).sum())
        slope = x.T @ (np.exp(logs) - target) / n + 2 * PENALTY * weights
        return value, slope.ravel()

    start = np.zeros(x.shape[1] * c)
    found = optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _ROUNDS}
    )
    return np.asarray(found.x).reshape(-1, c)
