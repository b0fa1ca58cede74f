"""A proven upper bound of utilisation, for worlds that are not Markov.

:func:`utilisation_bound` returns a number below 1 that no policy exceeds on average at
the cap, if it cannot see the future and does not cancel calls; it may know everything else: the
true answer rate, the age of every call, the phase of every agent. Durations have the laws of the
simulator's tables. The proof in short (in full in docs/limits.md): cut the day into windows of
`window_s`, on a grid with a random offset. With all that is known at the beginning of a window,
the answers A in it come from calls in flight, the releases R from busy agents. Both are sums of
independent 0/1 variables, each of which is 1 with a probability of at most q or r. The bound plays
a game that is kinder to the dialer than the world: in every window it may choose both means
freely. X is the number of idle agents, negative if callees wait. For a multiplier L >= 0 and the
potential

    h(x) = -L x + sum_j (u_j - v_j) (x - j)^+,   u, v >= 0, slope never below -L,

the linear programme finds the largest c = a - 2 (N - 1) e b - small terms such that

    E[idle s + L (silent - cap x answered) + h(X')] - h(X) >= E[a R - b R (R - 1)]

for every X and every choice. E (x - A)^+ is least, among sums with mean m, if as many terms as
possible have probability q, and greatest for the Poisson law (Hoeffding 1956; Karlin and Novikoff
1963). With these the inequality is, between the nodes m = q n and r k, a sum of bilinear and
concave terms, so that checking it at the nodes proves it everywhere: :meth:`Game.margin`. Two
conversations end in the same window with probability at most e, whatever was known when the
later one began, which bounds the sum of R (R - 1). Summed over a day, L's term vanishes at the cap,
and every conversation costs at least c idle agent-seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from quietdial.agents.limits.covered import plain_world
from quietdial.agents.limits.day_sums import factors, overtime_share, spread_of
from quietdial.agents.limits.durations import late_share, most_in, whole_ms
from quietdial.agents.limits.window_game import (
    STEPS,
    Game,
    Losses,
    NoPricesError,
    Prices,
    Window,
    charge_of,
    free_answers_s,
)
from quietdial.agents.limits.windows import (
    P_CEILING,
    Day,
    day_of,
    fast_share,
    oldest_s_of,
    release_of,
)
from quietdial.envs.errors import ConfigError, QuietDialError
from quietdial.envs.pacing.markov import MarkovWorld
from quietdial.envs.scenario import ConstantAnswer, Scenario, load_scenario

_ROUNDING = 1e-8  # added to the error of a window for the rounding of sums [agent-seconds]


@dataclass(frozen=True)
class UtilisationBound:
    """A proven limit of the mean utilisation, with its certificate.

    Attributes:
        name: the scenario.
        cap: silent / answered that the policies compared keep on average.
        utilisation: no policy is above it.
        idle_s: idle agent-seconds that each conversation costs at least, at the nominal talk times.
        window_s: length of the windows.
        prices: the certificate; `game.margin(prices)` is the proof by numbers.
        game: its inequality.
        error_s: agent-seconds by which the inequality may fail in a window (counted against c).
        p_split: answer rate up to which the inequality holds; above it, it may fail.
        wild_s: mean agent-seconds by which it may fail in a window for that reason.
    """

    name: str
    cap: float
    utilisation: float
    idle_s: float
    window_s: float
    prices: Prices
    game: Game
    error_s: float
    p_split: float
    wild_s: float


def utilisation_bound(
    scenario: str | Scenario, cap: float | None = None, *, window_s: float | None = None
) -> UtilisationBound:
    """A number that the mean utilisation of no policy exceeds at the cap: a proven bound.

    It holds for every policy, deciding at any moments, that does not know how long a conversation
    will last or whether a call in flight will be answered, and cancels no calls; on average over
    days, at silent <= cap x answered on average over days (sums over days in both ratios).

    Args:
        scenario: name, file or model; see docs/limits.md for the worlds that are covered.
        cap: allowed silent / answered; none: the rule's.
        window_s: length of a window, at least the wait limit; none: the better of the wait limit
            and the shortest time to answer.

    Raises `ConfigError` for a world that is not covered.
    """
    world = plain_world(load_scenario(scenario))
    limit = world.rule.cap if cap is None else float(cap)
    if not 0.0 < limit < 0.5:
        raise ConfigError(f"cap = {cap!r} must lie between 0 and 0.5")
    if not world.rule.counts_left or world.rule.clock != "answer":
        raise ConfigError(f"no limit is known for the counting of scenario {world.name!r}")
    return _bound(world, limit, window_s)


def _bound(world: Scenario, cap: float, window_s: float | None) -> UtilisationBound:
    least = max(world.rule.wait_limit_s, 0.5)
    first = float(world.calls.time_to_answer.quantile_s(np.zeros(1))[0])
    lengths = {least, max(least, first)} if window_s is None else {float(window_s)}
    lengths = {whole_ms(length) / 1000.0 for length in lengths}
    if min(lengths) < world.rule.wait_limit_s or max(lengths) > 60.0:
        raise ConfigError(f"window_s = {window_s!r} must be at least the wait limit, at most 60 s")
    if world.episode.close_s < 2.0 * max(lengths):
        raise ConfigError(
            f"no limit is known for scenario {world.name!r}: episode.close_s = "
            f"{world.episode.close_s:g} must be at least two windows of {max(lengths):g} s"
        )
    answer = world.calls.answer_rate
    rates = (answer.p,) if isinstance(answer, ConstantAnswer) else (0.45, 0.6, 0.7, P_CEILING)
    days = [
        day_of(world, rates[-1], oldest, length)
        for length in sorted(lengths)
        for oldest in oldest_s_of(world)
    ]
    best = max(days, key=lambda day: _quick(day, cap))
    days = [day_of(world, p, best.oldest_s, best.window.window_s) for p in rates]
    best = max(days, key=lambda day: _quick(day, cap))
    found: UtilisationBound | None = None
    for level in _levels(best, cap):
        try:
            bound = _judged(best, cap, level)
        except NoPricesError:
            continue
        if found is None or bound.utilisation < found.utilisation:
            found = bound
    if found is None:
        raise QuietDialError(f"no certificate was found for {world.name!r} at cap = {cap}")
    return found


def _quick(day: Day, cap: float) -> float:
    """Idle seconds of a conversation at one multiplier, to choose between the cuts of a day."""
    n = min(day.times.n_agents, 10)
    small = day._replace(
        window=day.window._replace(n_agents=n),
        wild=tuple((share, window._replace(n_agents=n)) for share, window in day.wild),
        losses=day.losses._replace(pair=day.losses.pair * n / day.times.n_agents),
    )
    try:
        prices = Game(small.window, cap).solve(min(50.0, 1.5 / cap), small.losses)
    except NoPricesError:
        return -math.inf
    per_window = n * day.window.window_s / day.times.handle_s
    failure = _wild_s(small, prices, cap) / per_window
    return charge_of(prices, small.losses, day.window.window_s, cap) - failure


def _wild_s(day: Day, prices: Prices, cap: float) -> float:
    """Mean failure of the inequality by answer rates above the split [agent-seconds a window].

    With f(i) the failure up to level i, which rises, and P(i) the probability of rates above level
    i, it is at most the sum of (f(i + 1) - f(i)) P(i).
    """
    total, before = 0.0, 0.0
    for share, window in day.wild:
        failure = max(Game(window, cap).margin(prices), before)
        total += share * (failure - before)
        before = failure
    return total


def _levels(day: Day, cap: float) -> list[float]:
    """Multipliers worth a full judgement: the best of a coarse grid and its neighbours."""
    game = Game(day.window, cap)
    levels = (6.0, 12.0, 20.0, 35.0, 60.0, 100.0)

    def charge(level: float) -> float:
        try:
            prices = game.solve(level, day.losses)
        except NoPricesError:
            return -math.inf
        return charge_of(prices, day.losses, day.window.window_s, cap)

    best = max(levels, key=charge)
    return [0.8 * best, best, 1.25 * best]


def _judged(day: Day, cap: float, multiplier: float) -> UtilisationBound:
    """The bound that one multiplier gives, from the inequality as it holds."""
    game = Game(day.window, cap)
    prices = game.solve(multiplier, day.losses)
    error = game.margin(prices) + _ROUNDING
    wild = _wild_s(day, prices, cap)
    edge = _edge_s(day, prices, cap, error + wild)
    return UtilisationBound(
        name=day.world.name,
        cap=cap,
        utilisation=_utilisation(day, prices, cap, edge),
        idle_s=charge_of(prices, day.losses, day.window.window_s, cap),
        window_s=day.window.window_s,
        prices=prices,
        game=game,
        error_s=error,
        p_split=day.p_split,
        wild_s=wild,
    )


def _edge_s(day: Day, prices: Prices, cap: float, error_s: float) -> float:
    """Agent-seconds of a day that are not charged: failures, its beginning and its end.

    Who waits at the last grid point, and who answers after it, answered in the last two windows
    before the close, so out of calls in flight when dialing ended. Each costs at most L as one who
    waits, L cap as an answer and a as a conversation that is not released in a window of the sum.
    """
    world, n = day.world, day.times.n_agents
    episode, price = world.episode, prices.multiplier_agent_s
    windows = episode.duration_s / day.window.window_s + 2.0
    values = [prices.potential(x) for x in range(n + 1)]
    lines = world.calls.max_lines or 8 * n + 32
    late_s = episode.close_s - 2.0 * day.window.window_s
    late = lines * late_share(world.calls.time_to_answer, late_s)
    end = (price * (1.0 + cap) + prices.per_release_s) * late
    return windows * error_s + n * prices.per_release_s + max(values) - values[n] + end


def _utilisation(day: Day, prices: Prices, cap: float, edge_s: float) -> float:
    """Solve for the bound, averaged over the days' factors of the talk times.

    With C conversations of H + B seconds each on a day, N T + overtime = (H + B) C + idle, and
    idle >= c C - L excess - edge, so that (H + u B) C <= w (N T + overtime + edge + L excess) with
    w = (H + u B) / (H + B + c). The bound u is where the mean of w and of what remains is u.
    """
    times, world = day.times, day.world
    total = times.n_agents * world.episode.duration_s
    price = prices.multiplier_agent_s + free_answers_s(prices, day.losses, day.window.window_s, cap)
    rows, spread, old = [], spread_of(world), release_of(world, day.window.window_s).old
    for low, high, weight in factors(world.floor.talk_day_sd):
        losses = Losses(
            2.0 * (times.n_agents - 1) * most_in(world.floor.talk, day.window.window_s / low),
            fast_share(world, day.window.window_s, low) + old,
            day.losses.free,
        )
        charge = charge_of(prices, losses, day.window.window_s, cap)
        upper = high * times.talk_s + times.wrap_s
        lower = low * times.talk_s + times.wrap_s
        late = overtime_share(spread, high, world.episode.duration_s)
        rows.append((lower, upper, weight, max(charge, 0.0), late))
    largest = rows[-1][3]  # the charge rises with the factor

    def gain(u: float) -> float:
        away = u * times.break_s
        shares = [(h + away) / (h + times.break_s + charge) for _, h, _, charge, _ in rows]
        # where nothing is charged, the excess of the day has no weight either
        least = [
            (h + away) / (h + times.break_s + largest) if charge > 0.0 else 0.0
            for h, _, _, charge, _ in rows
        ]
        top, result = max(shares), 0.0
        for (lower, _, weight, _, overtime), share, low in zip(rows, shares, least, strict=True):
            value = share * (1.0 + edge_s / total)
            if len(rows) > 1:
                missed = price * cap * (top - low)
                value += missed * (1.0 + edge_s / total) / (lower + times.break_s)
            result += weight * (value - u + overtime * max(value - u, 0.0))
        return result

    if gain(1.0) > 0.0:
        return 1.0
    low_u, high_u = 0.0, 1.0
    while high_u - low_u > 1e-10:
        middle = 0.5 * (low_u + high_u)
        low_u, high_u = (middle, high_u) if gain(middle) > 0.0 else (low_u, middle)
    return high_u


def markov_bound(world: MarkovWorld, cap: float) -> float:
    """The same bound for the long-run average of the exactly solved world, to compare with it.

    The windows are the decision intervals, in which no call is dialed.
    """
    n, p, handle_s, ring_s, interval_s = world.checked()
    steps = np.arange(1, STEPS + 1) / STEPS * interval_s / ring_s
    share = -math.expm1(-interval_s / ring_s)
    end = -math.expm1(-interval_s / handle_s)
    profile = tuple((-np.expm1(-steps) / share).tolist())
    window = Window(n, False, interval_s, p * share, end, profile)
    losses = Losses(2.0 * (n - 1) * end, end, 0.0)
    game = Game(window, cap)
    best = 1.0
    for multiplier in (30.0, 60.0, 100.0, 150.0, 250.0):
        try:
            prices = game.solve(multiplier, losses)
        except NoPricesError:
            break
        error = game.margin(prices) + _ROUNDING
        charge = charge_of(prices, losses, interval_s, cap)
        if charge > 0.0:
            slack = 1.0 + error / (interval_s * n)
            best = min(best, slack * handle_s / (handle_s + charge))
    return best
