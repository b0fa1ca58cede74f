"""Limits for worlds that are not Markov: a floor that is cheap to beat, and a proven upper bound.

The floor. A dialer that looks at nothing and dials as a Poisson stream is the M/M/n + D system;
:func:`blind_floor` gives its utilisation at a silent rate. A rule that does worse has no use.

The bound. :func:`utilisation_bound` returns a number below 1 that no policy exceeds on average at
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

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from quietdial.agents.window_game import (
    STEPS,
    Game,
    Losses,
    NoPricesError,
    Prices,
    Window,
    charge_of,
    free_answers_s,
)
from quietdial.envs.errors import ConfigError, QuietDialError
from quietdial.envs.laws import BODY_CELLS, TAIL_CELLS, ConstantLaw, Law
from quietdial.envs.pacing.markov import MarkovWorld
from quietdial.envs.scenario import ConstantAnswer, DriftingAnswer, Scenario, load_scenario
from quietdial.envs.theory import fixed_patience, load_at_loss

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

P_CEILING: Final = 0.95
"""Largest answer rate that a drifting scenario reaches (`DriftingAnswer` cuts it there)."""

_ROUNDING = 1e-8  # added to the error of a window for the rounding of sums [agent-seconds]
_SPLITS = (0.45, 0.5, 0.55, 0.6, 0.7, 0.8)  # levels of the answer rate


# --- the floor ------------------------------------------------------------------------------------


class BlindFloor(NamedTuple):
    """What dialing at a constant rate, without looking, reaches.

    Attributes:
        utilisation: conversation and wrap-up / (logged in and not on break).
        silent_rate: silent / answered.
        answered_per_s: rate of the answered calls [1/s].
        dials_per_s: rate of the dials [1/s], at the middle of the answer rate's range.
    """

    utilisation: float
    silent_rate: float
    answered_per_s: float
    dials_per_s: float


def blind_floor(scenario: str | Scenario, silent_rate: float | None = None) -> BlindFloor:
    """Utilisation of state-blind Poisson dialing at a silent rate: M/M/n + D, closed form.

    An agent is away for the conversation, the wrap-up and the break that may follow, H + B seconds
    on average; the wait limit is D. With rho the share of the time in which an agent is away,
    utilisation = rho H / (H + B) / (1 - rho B / (H + B)). For D = 0 this is exact for every law of
    the times (Erlang B is insensitive); for D > 0 it is exact for exponential times and was found
    within .25 points for lognormal ones. Answered calls must come at a constant rate: where the
    answer rate drifts, the figure is that of a dialer that is blind to the floor but knows p(t).

    Args:
        scenario: name, file or model; without inbound calls, shifts, people or machines at agents.
        silent_rate: silent / answered; none: the rule's cap.
    """
    world = _plain_world(load_scenario(scenario))
    rate = world.rule.cap if silent_rate is None else float(silent_rate)
    times = _times(world)
    away_s = times.handle_s + times.break_s
    per_s = load_at_loss(times.n_agents, away_s, world.rule.wait_limit_s, rate)
    figures = fixed_patience(times.n_agents, per_s, away_s, world.rule.wait_limit_s)
    share = figures.utilisation
    utilisation = share * times.handle_s / (away_s - share * times.break_s)
    answer = world.calls.answer_rate
    p = answer.p if isinstance(answer, ConstantAnswer) else math.sqrt(answer.p_low * answer.p_high)
    return BlindFloor(utilisation, figures.lost, per_s, per_s / p)


class _Times(NamedTuple):
    n_agents: int
    talk_s: float
    wrap_s: float
    break_s: float  # per conversation

    @property
    def handle_s(self) -> float:
        return self.talk_s + self.wrap_s


def _times(world: Scenario) -> _Times:
    floor = world.floor
    wrap = floor.wrap.sampled_mean_s() if floor.wrap else 0.0
    pause = floor.breaks
    rest = pause.p_after_wrap * pause.duration.sampled_mean_s() if pause else 0.0
    return _Times(floor.n_agents, floor.talk.sampled_mean_s(), wrap, rest)


def _plain_world(world: Scenario) -> Scenario:
    """The scenario, or `ConfigError` with what it has that the limits do not cover."""
    floor, calls = world.floor, world.calls
    reasons = {
        "it has shifts": bool(floor.shifts),
        "agents differ in speed": floor.speed_sd > 0,
        "talk times drift within the day": floor.talk_drift is not None,
        "it has a list of people": world.people is not None,
        "it has inbound calls": world.inbound is not None,
        "machines are not told apart": calls.detection.kind != "perfect",
        "callees may leave before the limit": calls.patience is not None,
        "calls have a set-up time": calls.setup is not None,
        "ringing is given up": calls.ring_timeout_s is not None,
        "answers have a greeting": calls.greeting is not None,
        "calls are not cut at the limit": world.rule.at_limit != "cut",
        "it has a calendar (episode.first_day)": world.episode.first_day is not None,
    }
    found = [reason for reason, holds in reasons.items() if holds]
    if found:
        raise ConfigError(f"no limit is known for scenario {world.name!r}: " + "; ".join(found))
    return world


# --- the bound ------------------------------------------------------------------------------------


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
        return float(self.below(np.array([_ms(length_s) + 1.0]))[0])


def _sampled(law: Law) -> _Sampled:
    key: Any = law  # frozen, so that it can be one
    return _table_of(key)


@functools.lru_cache(maxsize=64)
def _table_of(law: Law) -> _Sampled:
    knots = law.table_ms().astype(np.float64)
    body = np.arange(BODY_CELLS) / BODY_CELLS
    tail = (BODY_CELLS - 1 + np.arange(1, TAIL_CELLS + 1) / TAIL_CELLS) / BODY_CELLS
    return _Sampled(np.delete(knots, BODY_CELLS), np.concatenate([body, tail]))


def _ms(length_s: float) -> float:
    """Milliseconds, rounded up to a whole number: a longer stretch is kinder to the dialer."""
    return math.ceil(1000.0 * length_s - 1e-6)


def _ages(tables: Sequence[_Sampled], oldest_ms: float, lengths_ms: Sequence[float]) -> FloatArray:
    """Whole k = 1..oldest_ms at which a quotient of the tables at k and k + lengths may be largest.

    What has age a at the beginning of a window and still lasts is at least k = floor(a) + 1 long.
    """
    knots = np.concatenate([table.knots_ms for table in tables])
    knots = np.unique(np.concatenate([knots, knots + 1.0]))
    shifted = [knots - length for length in (0.0, *lengths_ms)]
    ages = np.unique(np.concatenate([*shifted, [1.0, oldest_ms]]))
    return np.asarray(ages[(ages >= 1.0) & (ages <= oldest_ms)])


def _quotient(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0.0))


def _answer_odds(world: Scenario, p: float, oldest_s: float, window_s: float) -> float:
    """Largest probability of an answer within a window, for calls of an age up to `oldest_s`.

    p (F(a + w) - F(a)) / (p (1 - F(a)) + (1 - p) (1 - G(a))) over all ages; it rises with p.
    """
    law, width = _sampled(world.calls.time_to_answer), _ms(window_s)
    endings = [(part.share, _sampled(part.time)) for part in world.calls.unanswered]
    ages = _ages([law, *(table for _, table in endings)], _ms(oldest_s), (width,))
    answered, later = law.below(ages), law.below(ages + width)
    others = sum((share * table.below(ages) for share, table in endings), 0.0 * ages)
    left = p * (1.0 - answered) + (1.0 - p) * (1.0 - others)
    return float(_quotient(p * (later - answered), left).max())


def _profile(law: Law, oldest_s: float, window_s: float) -> tuple[float, ...]:
    """Largest share of a window's answers in its first parts, over all ages up to `oldest_s`."""
    table, width = _sampled(law), _ms(window_s)
    parts = [math.ceil(width * part / STEPS) for part in range(1, STEPS + 1)]
    ages = _ages([table], _ms(oldest_s), parts)
    before = table.below(ages)
    whole = table.below(ages + width) - before
    shares = [_quotient(table.below(ages + part) - before, whole).max() for part in parts]
    return tuple(float(share) for share in shares)


class _Release(NamedTuple):
    odds: float  # largest probability that a busy agent is released within a window
    old: float  # mean number of releases of a conversation out of phases older than those looked at


def _release(world: Scenario, window_s: float) -> _Release:
    """Releases within a window, in any phase but the very oldest.

    In conversation: the wrap-up must end, too. In wrap-up or break: the hazard of the law.
    """
    floor = world.floor
    if floor.wrap is None and floor.talk_day_sd > 0:
        raise ConfigError("no limit is known without a wrap-up if talk times differ between days")
    last, pause = floor.wrap or floor.talk, floor.breaks
    odds, old = _end_odds(last, window_s), _old_share(last)
    if floor.wrap is not None:
        odds = max(odds, _sampled(floor.wrap).up_to(window_s))
    if pause is not None:
        odds = max(odds, _end_odds(pause.duration, window_s))
        old += pause.p_after_wrap * _old_share(pause.duration)
    return _Release(odds, old)


def _end_odds(law: Law, window_s: float) -> float:
    """Largest probability that a duration ends within a window, over all ages.

    Ages beyond the last knot but one, which 2^-20 of the durations reach, are not looked at: see
    :func:`_old_share`.
    """
    table, width = _sampled(law), _ms(window_s)
    ages = _ages([table], table.knots_ms[-2], (width,))
    before = table.below(ages)
    return float(_quotient(table.below(ages + width) - before, 1.0 - before).max())


def _old_share(law: Law) -> float:
    """Share of the durations that outlast the ages of :func:`_end_odds`, at most 2^-20."""
    table = _sampled(law)
    return 1.0 - float(table.below(table.knots_ms[-2:-1] + 1.0)[0])


def _most_in(law: Law, length_s: float) -> float:
    """Largest probability that a duration falls into an interval of that length."""
    table, width = _sampled(law), _ms(length_s)
    ages = _ages([table], table.knots_ms[-1] + 1.0, (width,))
    return float((table.below(ages + width) - table.below(ages)).max())


def _fast_share(world: Scenario, window_s: float, factor: float = 1.0) -> float:
    """Bound of the probability that a conversation begins and ends within a window."""
    floor = world.floor
    wrap = _sampled(floor.wrap).up_to(window_s) if floor.wrap else 1.0
    return _sampled(floor.talk).up_to(window_s / factor) * wrap


def _free_share(law: Law, oldest_s: float, window_s: float) -> float:
    """Share of the answers by calls dialed in the same window, or older than `oldest_s` before it.

    The offset of the grid is uniform: int_0^w F / w + int_0^w (1 - F(oldest + s)) ds / w.
    """
    table = _sampled(law)
    after = np.arange(1.0, _ms(window_s) + 1.0)
    fast = table.below(after).mean()
    old = (1.0 - table.below(_ms(oldest_s) + after)).mean()
    return float(fast + old)


def _late_share(law: Law, length_s: float) -> float:
    """Largest probability that a call in flight is answered, but not before `length_s` from now."""
    table, width = _sampled(law), _ms(length_s)
    ages = _ages([table], table.knots_ms[-1] + 1.0, (width,))
    left = 1.0 - table.below(ages)
    return float(_quotient(1.0 - table.below(ages + width), left).max())


def _oldest_s(world: Scenario) -> tuple[float, ...]:
    """Candidates for the greatest age of a call that is looked at: its choice is free."""
    law = world.calls.time_to_answer
    far = _ms(float(law.quantile_s(np.array([0.998]))[0])) / 1000.0
    laws = [part.time for part in world.calls.unanswered]
    ends = [other.value_s for other in laws if isinstance(other, ConstantLaw)]
    near = [end - 0.02 for end in ends if law.cdf(np.array([end]))[0] > 0.9]
    return tuple(dict.fromkeys([min([far, *near]), far]))


def _wild_share(answer: DriftingAnswer, p: float, span_s: float) -> float:
    """Largest probability that the answer rate exceeds `p` at some time of a stretch.

    At any time log p(t) = log p0 + log(1 + a sin phi) + x with p0 log-uniform, phi uniform and x
    normal, all by upper sums; over the stretch the sum over the values that it can hold.
    """
    if answer.jumps_per_h > 0:
        raise ConfigError("no limit is known for an answer rate that jumps")
    if p >= P_CEILING:
        return 0.0
    cells = np.arange(1, 401) / 400
    level = math.log(answer.p_low) + cells * math.log(answer.p_high / answer.p_low)
    season = np.log1p(answer.season_amplitude * np.sin(math.pi * (cells - 0.5)))
    room = math.log(p) - level[:, None] - season[None, :]
    above = stats.norm.sf(room / answer.ou_sd) if answer.ou_sd > 0 else room <= 0.0
    return min(float(np.mean(above)) * (math.ceil(span_s / answer.update_s) + 1), 1.0)


class _Day(NamedTuple):
    """A world, cut into windows: what does not depend on the multiplier."""

    world: Scenario
    times: _Times
    window: Window
    wild: tuple[tuple[float, Window], ...]  # P(rate above a level), window up to the next level
    p_split: float
    oldest_s: float
    losses: Losses


def _day(world: Scenario, p: float, oldest_s: float, window_s: float) -> _Day:
    times, calls = _times(world), world.calls
    release = _release(world, window_s)
    profile = _profile(calls.time_to_answer, oldest_s, window_s)
    waits = world.rule.wait_limit_s > 0

    def window(rate: float) -> Window:
        odds = _answer_odds(world, rate, oldest_s, window_s)
        return Window(times.n_agents, waits, window_s, odds, release.odds, profile)

    answer, wild = calls.answer_rate, []
    if isinstance(answer, DriftingAnswer) and p < P_CEILING:
        levels = [*(level for level in _SPLITS if level >= p), P_CEILING]
        for low, high in itertools.pairwise(levels):
            wild.append((_wild_share(answer, low, oldest_s + window_s), window(high)))
    losses = Losses(
        2.0 * (times.n_agents - 1) * _most_in(world.floor.talk, window_s),
        _fast_share(world, window_s) + release.old,
        _free_share(calls.time_to_answer, oldest_s, window_s),
    )
    return _Day(world, times, window(p), tuple(wild), p, oldest_s, losses)


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
    world = _plain_world(load_scenario(scenario))
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
    lengths = {_ms(length) / 1000.0 for length in lengths}
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
        _day(world, rates[-1], oldest, length)
        for length in sorted(lengths)
        for oldest in _oldest_s(world)
    ]
    best = max(days, key=lambda day: _quick(day, cap))
    days = [_day(world, p, best.oldest_s, best.window.window_s) for p in rates]
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


def _quick(day: _Day, cap: float) -> float:
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


def _wild_s(day: _Day, prices: Prices, cap: float) -> float:
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


def _levels(day: _Day, cap: float) -> list[float]:
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


def _judged(day: _Day, cap: float, multiplier: float) -> UtilisationBound:
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


def _edge_s(day: _Day, prices: Prices, cap: float, error_s: float) -> float:
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
    late = lines * _late_share(world.calls.time_to_answer, late_s)
    end = (price * (1.0 + cap) + prices.per_release_s) * late
    return windows * error_s + n * prices.per_release_s + max(values) - values[n] + end


def _utilisation(day: _Day, prices: Prices, cap: float, edge_s: float) -> float:
    """Solve for the bound, averaged over the days' factors of the talk times.

    With C conversations of H + B seconds each on a day, N T + overtime = (H + B) C + idle, and
    idle >= c C - L excess - edge, so that (H + u B) C <= w (N T + overtime + edge + L excess) with
    w = (H + u B) / (H + B + c). The bound u is where the mean of w and of what remains is u.
    """
    times, world = day.times, day.world
    total = times.n_agents * world.episode.duration_s
    price = prices.multiplier_agent_s + free_answers_s(prices, day.losses, day.window.window_s, cap)
    rows, spread, old = [], _spread(world), _release(world, day.window.window_s).old
    for low, high, weight in _factors(world.floor.talk_day_sd):
        losses = Losses(
            2.0 * (times.n_agents - 1) * _most_in(world.floor.talk, day.window.window_s / low),
            _fast_share(world, day.window.window_s, low) + old,
            day.losses.free,
        )
        charge = charge_of(prices, losses, day.window.window_s, cap)
        upper = high * times.talk_s + times.wrap_s
        lower = low * times.talk_s + times.wrap_s
        late = _overtime_share(spread, high, world.episode.duration_s)
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


def _factors(sd: float) -> list[tuple[float, float, float]]:
    """Cells (low, high, weight) of the day's lognormal factor exp(sd z)."""
    if sd == 0.0:
        return [(1.0, 1.0, 1.0)]
    ends = np.linspace(-5.0, 5.0, 101)
    weights = np.diff(stats.norm.cdf(ends))
    cells = [
        (math.exp(sd * a), math.exp(sd * b), float(w))
        for a, b, w in zip(ends[:-1], ends[1:], weights, strict=True)
    ]
    return cells


class _Spread(NamedTuple):
    """Mean and variance of the talk time, and of wrap-up and break together [s, s^2]."""

    talk: tuple[float, float]
    rest: tuple[float, float]


def _spread(world: Scenario) -> _Spread:
    floor = world.floor
    talk, talk_square = _moments(floor.talk)
    wrap, wrap_square = _moments(floor.wrap) if floor.wrap else (0.0, 0.0)
    pause, pause_square = _moments(floor.breaks.duration) if floor.breaks else (0.0, 0.0)
    share = floor.breaks.p_after_wrap if floor.breaks else 0.0
    rest = wrap_square - wrap**2 + share * pause_square - (share * pause) ** 2
    return _Spread((talk, talk_square - talk**2), (wrap + share * pause, rest))


def _overtime_share(spread: _Spread, factor: float, duration_s: float) -> float:
    """Bound of the mean overtime / (N T) on a day with that factor of the talk times.

    An agent's last conversation is no longer than the root of the sum of the squares of all; with
    x the mean overtime, x^2 <= (T + x) E[T^2] / E[T] (Jensen, Wald).
    """
    mean = factor * spread.talk[0] + spread.rest[0]
    ratio = mean + (factor**2 * spread.talk[1] + spread.rest[1]) / mean
    return (0.5 * ratio + math.sqrt(0.25 * ratio**2 + duration_s * ratio)) / duration_s


def _moments(law: Law) -> tuple[float, float]:
    """Mean and mean square of a duration, from its sampled table [s, s^2]."""
    knots = law.table_ms() / 1000.0
    body, tail = knots[:BODY_CELLS], knots[BODY_CELLS:]
    squares = []
    for ends, cells in ((body, BODY_CELLS), (tail, BODY_CELLS * TAIL_CELLS)):
        a, b = ends[:-1], ends[1:]
        squares.append(float(np.sum(a * a + a * b + b * b)) / (3.0 * cells))
    return law.sampled_mean_s(), sum(squares)


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
