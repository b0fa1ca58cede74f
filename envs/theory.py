"""Closed forms of queueing theory: what the simulator is held to where theory knows the answer.

Notation: `n` servers (agents), calls arrive as a Poisson process with rate `per_s`, handling times
are exponential with mean `handle_s`, the offered load is a = per_s x handle_s erlang.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from quietdial.envs.errors import ConfigError


class LossSystem(NamedTuple):
    """Long-run figures of a system in which callers are lost."""

    utilisation: float  # mean share of busy servers
    lost: float  # share of the arrivals that are lost


def _checked(n: int, per_s: float, handle_s: float) -> float:
    """Offered load in erlang; `ConfigError` for values that make no system."""
    if n < 1 or n != int(n):
        raise ConfigError(f"n = {n!r} must be a whole number of servers, at least 1")
    for name, value in (("per_s", per_s), ("handle_s", handle_s)):
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name} = {value!r} must be a finite number above 0")
    return per_s * handle_s


def erlang_b(n: int, load: float) -> float:
    """Probability that all `n` servers are busy when waiting is impossible (Erlang 1917).

    Recursion B(0) = 1, B(k) = a B(k-1) / (k + a B(k-1)); insensitive to the law of the handling
    time. `n` may be 0.
    """
    if n < 0 or not (math.isfinite(load) and load > 0):
        raise ConfigError(f"erlang_b needs n >= 0 and a load above 0, not {n!r} and {load!r}")
    b = 1.0
    for k in range(1, n + 1):
        b = load * b / (k + load * b)
    return b


def erlang_c(n: int, load: float) -> float:
    """Probability of waiting with `n` servers and endless patience; 1 if the load is n or more."""
    b = erlang_b(n, load)
    return 1.0 if load >= n else n * b / (n - load * (1.0 - b))


def fixed_patience(n: int, per_s: float, handle_s: float, patience_s: float) -> LossSystem:
    """M/M/n + D: callers wait exactly `patience_s` for a server, then are lost.

    With eps = 1 / B(n-1, a), delta = per_s - n mu and
    J = (e^(delta D) - 1) / delta + e^(delta D) / (n mu), the lost share is
    (1 + delta J) / (eps + per_s J) (Baccelli and Hebuterne 1981; form of Zeltyn and Mandelbaum
    2005). D = 0 is Erlang B.
    """
    load = _checked(n, per_s, handle_s)
    if not (math.isfinite(patience_s) and patience_s >= 0):
        raise ConfigError(f"patience_s = {patience_s!r} must be a finite number, at least 0")
    capacity = n / handle_s
    delta = per_s - capacity
    growth = math.exp(delta * patience_s)
    waited = math.expm1(delta * patience_s) / delta if delta else patience_s
    j = waited + growth / capacity
    lost = (1.0 + delta * j) / (1.0 / erlang_b(n - 1, load) + per_s * j)
    return LossSystem(load * (1.0 - lost) / n, lost)


def exponential_patience(n: int, per_s: float, handle_s: float, patience_s: float) -> LossSystem:
    """M/M/n + M (Erlang A): callers wait an exponential time of mean `patience_s`.

    From the stationary law of the birth-death chain: deaths k mu up to n, then n mu + (k - n)/D.
    """
    load = _checked(n, per_s, handle_s)
    if not (math.isfinite(patience_s) and patience_s > 0):
        raise ConfigError(f"patience_s = {patience_s!r} must be a finite number above 0")
    mu, theta = 1.0 / handle_s, 1.0 / patience_s
    weight, total, queue = 1.0, 1.0, 0.0  # relative to the state with all servers busy
    k = 0
    while weight > 1e-18 * total:
        k += 1
        weight *= per_s / (n * mu + k * theta)
        total += weight
        queue += k * weight
    weight = 1.0
    for busy in range(n, 0, -1):
        weight *= busy * mu / per_s
        total += weight
    lost = theta * queue / total / per_s
    return LossSystem(load * (1.0 - lost) / n, lost)


def load_at_loss(n: int, handle_s: float, patience_s: float, lost: float) -> float:
    """Arrival rate [1/s] at which M/M/n + D loses the share `lost`, by bisection to 1e-12."""
    if not 0.0 < lost < 1.0:
        raise ConfigError(f"lost = {lost!r} must lie between 0 and 1")
    low, high = 1e-9 / handle_s, n / handle_s
    while fixed_patience(n, high, handle_s, patience_s).lost < lost:
        high *= 2.0
    while high - low > 1e-12 * high:
        middle = 0.5 * (low + high)
        if fixed_patience(n, middle, handle_s, patience_s).lost < lost:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)
