"""The game of one window, which is kinder to the dialer than the world: the bound's certificate.

What it is for and why it proves something stands in bound.py and docs/limits.md, section 2. Here
are the linear programme that finds a potential and prices, and :meth:`Game.margin`, which checks
them apart from the solver.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import linprog

from quietdial.envs.errors import ConfigError, QuietDialError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

STEPS: Final = 12
"""Parts of a window over which its idle seconds are summed."""

_MOST_WAITING = 8  # the potential has corners down to so many waiting callees
_ROUNDS = 60
_TOLERANCE = 1e-7


class Window(NamedTuple):
    """What is known about a window, whatever happened before it.

    Attributes:
        n_agents: N.
        waits: callees may wait (at most one window).
        window_s: its length [s].
        q: largest probability that a call in flight is answered in it.
        r: largest probability that a busy agent is released in it.
        profile: largest share of those answers that come in the first 1/12, 2/12, .. of it.
    """

    n_agents: int
    waits: bool
    window_s: float
    q: float
    r: float
    profile: tuple[float, ...]


class Prices(NamedTuple):
    """A solution of the linear programme: the certificate of a bound.

    Attributes:
        multiplier_agent_s: L, agent-seconds per silent call.
        per_release_s: a, idle seconds charged for a release.
        per_pair_s: b, discount for two releases in one window.
        slope_s: largest slope of the potential.
        corners: j, where the potential's slope changes.
        u: its convex part, by corner.
        v: its concave part, by corner.
    """

    multiplier_agent_s: float
    per_release_s: float
    per_pair_s: float
    slope_s: float
    corners: tuple[int, ...]
    u: tuple[float, ...]
    v: tuple[float, ...]

    def potential(self, idle: int) -> float:
        """h(x) [agent-seconds]."""
        corners = zip(self.corners, self.u, self.v, strict=True)
        bends = sum((u - v) * max(idle - j, 0) for j, u, v in corners)
        return bends - self.multiplier_agent_s * idle


class Losses(NamedTuple):
    """What one conversation takes off the charge a for what the game leaves out.

    Attributes:
        pair: 2 (N - 1) e, expected pairs of releases in one window for each conversation.
        fast_release: probability that a conversation begins and ends within a window, or is
            released out of a phase older than those looked at.
        free: share of the answers that are given away, as if the dialer could place them at will.
    """

    pair: float
    fast_release: float
    free: float


class NoPricesError(QuietDialError):
    """The multiplier is too high: answers within the cap would pay for themselves."""


def _binomials(p: float, n: int, most: int) -> FloatArray:
    """Binomial(i, p) on 0..most for i = 0..n, (n + 1, most + 1)."""
    law = np.zeros((n + 1, most + 1))
    law[0, 0] = 1.0
    for i in range(n):
        law[i + 1] = law[i] * (1.0 - p)
        law[i + 1, 1:] += law[i, :-1] * p
    return law


class _Releases(NamedTuple):
    """Releases in a window that begins with X idle agents, for k = 0..busy nodes of their mean."""

    free: IntArray  # agents free for the answers after R = 0..busy releases
    mean: FloatArray  # (K,)
    least: FloatArray  # law of R that is least in convex order, (K, R)
    most: FloatArray  # greatest in convex order, (K, R)
    pairs: FloatArray  # least E[R (R - 1)], (K,)


class Game:
    """The game of one window under a cap: what the dialer could gain at best, and its price.

    Args:
        window: the window.
        cap: allowed silent / answered.
    """

    def __init__(self, window: Window, cap: float) -> None:
        n, q = window.n_agents, window.q
        self.window, self.cap = window, cap
        self.nodes = math.ceil((1.3 * n + 12.0) / q)
        self.means = q * np.arange(self.nodes + 1)
        self.waiting = min(n, _MOST_WAITING) if window.waits else 0
        span = n + self.waiting
        over = np.arange(span + 1)
        hinge = np.maximum(over[None, :] - over[:, None], 0.0)
        self.least = _binomials(q, self.nodes, span) @ hinge  # E (c - A)^+, least, (node, c)
        poisson = stats.poisson.pmf(over[None, :], self.means[:, None])
        self.most = np.asarray(poisson @ hinge)  # the same for the Poisson law, the greatest
        self.idle = self._idle_s()
        lowest = -n if window.waits else 0
        self.states = range(lowest, n + 1)
        self.releases = {x: self._releases(x) for x in self.states}

    def _idle_s(self) -> FloatArray:
        """Least idle agent-seconds of a window by idle agents at its beginning, (N + 1, node).

        E int (x - A(s))^+ ds is at least the integral of the least E (x - A)^+ at mean m g(s), a
        convex function of m. On each piece between two nodes it is replaced by its tangent at
        the middle, and at a node by the smaller of the two tangents.
        """
        q, means = self.window.q, self.means
        result = np.zeros((self.window.n_agents + 1, len(means)))
        middle = means[:-1] + 0.5 * q
        step_s = self.window.window_s / len(self.window.profile)
        for x in range(1, len(result)):
            slope = np.diff(self.least[:, x]) / q
            value, change = np.zeros(len(middle)), np.zeros(len(middle))
            for share in self.window.profile:
                at = middle * share
                piece = np.minimum((at / q).astype(np.int64), len(slope) - 1)
                value += self.least[piece, x] + slope[piece] * (at - means[piece])
                change += share * slope[piece]
            left, right = value - 0.5 * q * change, value + 0.5 * q * change
            result[x, :-1] = left
            result[x, -1] = right[-1]
            result[x, 1:-1] = np.minimum(left[1:], right[:-1])
        return step_s * result

    def _releases(self, x: int) -> _Releases:
        busy = self.window.n_agents - max(x, 0)
        count = np.arange(busy + 1)
        mean = self.window.r * count.astype(np.float64)
        least = _binomials(self.window.r, busy, busy)
        odds = (mean / max(busy, 1))[:, None]
        most = np.asarray(stats.binom.pmf(count[None, :], busy, odds), np.float64)
        pairs: FloatArray = least @ (count * (count - 1.0))
        free = np.maximum(x + count, 0) if x < 0 else x + count
        return _Releases(free, mean, least, most, pairs)

    # --- the inequality ---------------------------------------------------------------------------

    def _slack(
        self, x: int, prices: Prices, least: FloatArray, most: FloatArray, first: int = 0
    ) -> FloatArray:
        """Left side minus right side of the inequality at state x, (node, k), from a node on.

        `least` and `most`: E sum u (y - j - A)^+ and E sum v (y - j - A)^+ by node and free agents.
        """
        releases, price = self.releases[x], prices.multiplier_agent_s
        here = prices.potential(x) + price * x
        slack = least[:, releases.free] @ releases.least.T - most[:, releases.free] @ (
            releases.most.T
        )
        slack += price * (1.0 - self.cap) * self.means[first:, None] - here
        slack -= (price + prices.per_release_s) * releases.mean
        slack += prices.per_pair_s * releases.pairs
        if x > 0:
            slack += self.idle[x][first:, None]
        return slack

    def _bends(self, prices: Prices) -> tuple[FloatArray, FloatArray]:
        free = np.arange(self.window.n_agents + 1)[:, None]
        over = np.clip(free - np.asarray(prices.corners), 0, self.least.shape[1] - 1)
        return (
            np.asarray(self.least[:, over] @ np.asarray(prices.u)),
            np.asarray(self.most[:, over] @ np.asarray(prices.v)),
        )

    def margin(self, prices: Prices) -> float:
        """By how much the inequality fails at worst, in agent-seconds a window; 0 if it holds.

        Checks every state and node, and all means beyond the last node: there the terms with u and
        the idle seconds are left out, and those with v, which fall with the mean, taken at it.

        Raises:
            ConfigError: the prices are not of the form that the proof needs.
        """
        slopes = np.cumsum(np.subtract(prices.u, prices.v)) - prices.multiplier_agent_s
        if (
            min(*prices.u, *prices.v, prices.per_pair_s, prices.per_release_s) < 0.0
            or slopes.min() < -prices.multiplier_agent_s - 1e-9
            or slopes.max() > prices.slope_s + 1e-9
            or list(prices.corners) != sorted(set(prices.corners))
            or prices.corners[0] < -self.waiting
        ):
            raise ConfigError("these prices are no certificate: a sign or a slope is not allowed")
        least, most = self._bends(prices)
        worst = 0.0
        for x in self.states:
            worst = min(worst, float(self._slack(x, prices, least, most).min()))
            beyond = self._slack(x, prices, np.zeros_like(least[-1:]), most[-1:], self.nodes)
            idle = self.idle[x][-1] if x > 0 else 0.0
            worst = min(worst, float(beyond.min()) - float(idle))
        return -worst

    # --- the linear programme ---------------------------------------------------------------------

    def _row(
        self, x: int, node: int, k: int, corners: IntArray, multiplier: float
    ) -> tuple[FloatArray, float]:
        """The inequality at one state and node: coefficients of (u, v, a, b, slope), constant."""
        releases = self.releases[x]
        over = np.clip(releases.free[:, None] - corners, 0, self.least.shape[1] - 1)
        own = np.maximum(x - corners, 0.0)
        row = np.concatenate(
            [
                releases.least[k] @ self.least[node][over] - own,
                own - releases.most[k] @ self.most[node][over],
                [-releases.mean[k], releases.pairs[k], 0.0],
            ]
        )
        constant = multiplier * ((1.0 - self.cap) * self.means[node] - releases.mean[k])
        return row, constant + (self.idle[x, node] if x > 0 else 0.0)

    def _corners(self) -> IntArray:
        """Every number near 0, then ever fewer."""
        corners, at = list(range(-self.waiting, min(6, self.window.n_agents))), 6.0
        while at < self.window.n_agents:
            corners.append(int(at))
            at = max(at + 1.0, 1.3 * at)
        return np.array(corners)

    def solve(self, multiplier: float, losses: Losses) -> Prices:
        """The prices with the largest c for one multiplier, by cutting planes.

        They may miss the inequality by the solver's tolerance; :meth:`margin` says by how much.
        """
        corners = self._corners()
        count = len(corners)
        rows, right = [], []
        for last in range(count):
            slope = np.zeros(2 * count + 3)
            slope[: last + 1], slope[count : count + last + 1] = 1.0, -1.0
            rows.append(-slope)  # slope >= -L
            right.append(0.0)
            slope = slope.copy()
            slope[-1] = -1.0
            rows.append(slope)  # slope <= slope_s
            right.append(multiplier)
        for x in self.states:
            busy = len(self.releases[x].mean) - 1
            for node in (0, self.nodes // 8, self.nodes // 4, self.nodes // 2, self.nodes):
                for k in sorted({0, min(1, busy), min(3, busy), busy}):
                    row, constant = self._row(x, node, k, corners, multiplier)
                    rows.append(-row)
                    right.append(constant)
        cost = np.zeros(2 * count + 3)
        cost[-3:] = -(1.0 - losses.fast_release), losses.pair, losses.free / (1.0 - self.cap)
        bounds = [(0.0, 50.0 * multiplier)] * (2 * count) + [(0.0, 1e3), (0.0, 1e4), (0.0, None)]
        for _ in range(_ROUNDS):
            answer = linprog(
                cost, A_ub=np.array(rows), b_ub=np.array(right), bounds=bounds, method="highs-ds"
            )
            if answer.status == 2:
                raise NoPricesError(f"no prices hold at a multiplier of {multiplier}")
            if answer.status != 0:
                raise QuietDialError(f"the linear programme of the bound failed: {answer.message}")
            prices = _prices(multiplier, corners, np.maximum(answer.x, 0.0))
            least, most = self._bends(prices)
            missed = 0
            for x in self.states:
                slack = self._slack(x, prices, least, most)
                worst = slack.argmin(axis=0)
                values = slack[worst, np.arange(slack.shape[1])]
                for k in np.argsort(values)[:3]:
                    if values[k] < -_TOLERANCE:
                        row, constant = self._row(x, int(worst[k]), int(k), corners, multiplier)
                        rows.append(-row)
                        right.append(constant)
                        missed += 1
            if not missed:
                return prices
        raise QuietDialError(f"the cutting planes did not end after {_ROUNDS} rounds")


def _prices(multiplier: float, corners: IntArray, x: FloatArray) -> Prices:
    count = len(corners)
    u, v = x[:count], x[count : 2 * count]
    both = np.minimum(u, v)
    return Prices(
        multiplier,
        float(x[-3]),
        float(x[-2]),
        float(max(x[-1], np.max(np.cumsum(u - v)) - multiplier)),
        tuple(corners.tolist()),
        tuple((u - both).tolist()),
        tuple((v - both).tolist()),
    )


def charge_of(prices: Prices, losses: Losses, window_s: float, cap: float) -> float:
    """c: idle agent-seconds that every conversation costs at least."""
    return (
        prices.per_release_s * (1.0 - losses.fast_release)
        - prices.per_pair_s * losses.pair
        - prices.multiplier_agent_s * losses.fast_release
        - free_answers_s(prices, losses, window_s, cap)
    )


def free_answers_s(prices: Prices, losses: Losses, window_s: float, cap: float) -> float:
    """What free answers save the dialer for each conversation; answered = (C + excess) / (1 - cap).

    It is also what they add to the price of an excess silent call.
    """
    each = prices.slope_s + window_s + prices.multiplier_agent_s * cap
    return losses.free * each / (1.0 - cap)
