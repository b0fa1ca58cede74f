"""The blind floor and the proven bound: the inequality, its parts, and what stays below it."""

import itertools

import numpy as np
import pytest
from scipy import stats

from quietdial.agents.limits import (
    blind_floor,
    durations,
    markov_bound,
    utilisation_bound,
    windows,
)
from quietdial.agents.limits.bound import _edge_s
from quietdial.agents.limits.window_game import Game, Losses, NoPricesError, Window
from quietdial.agents.optimal import solve
from quietdial.envs import ConfigError, load_scenario
from quietdial.envs.errors import QuietDialError
from quietdial.envs.laws import ConstantLaw, GammaLaw, LognormalLaw, UniformLaw
from quietdial.envs.pacing import chance
from quietdial.envs.pacing.markov import MarkovWorld
from quietdial.envs.scenario import DriftingAnswer, Scenario

WINDOW = Window(5, True, 3.0, 0.08, 0.17, tuple((np.arange(1, 13) / 12) ** 0.9))
LOSSES = Losses(0.15, 1e-4, 0.007)


@pytest.fixture(scope="module")
def game():
    return Game(WINDOW, 0.03)


@pytest.fixture(scope="module")
def prices(game):
    return game.solve(60.0, LOSSES)


# --- the floor ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agents", "published"), [(5, 0.370), (10, 0.545), (25, 0.729), (50, 0.827), (100, 0.895)]
)
def test_blind_floor__is_the_published_row(agents, published):
    """Science, section 1: M/M/n + D at 3 % loss, D = 3 s, 180 s of talk and wrap-up."""
    floor = blind_floor(f"study-stat-{agents}")
    assert floor.utilisation == pytest.approx(published, abs=6e-4)
    assert floor.silent_rate == pytest.approx(0.03, abs=1e-9)
    assert floor.dials_per_s == pytest.approx(4.0 * floor.answered_per_s)


def test_blind_floor__breaks_are_not_available_time():
    """Worked: with rho of an agent's time away, talk and wrap-up take rho H / (H + B) of all time,
    a break rho B / (H + B); utilisation is the first over one minus the second."""
    floor = blind_floor("study-real-10")
    handle_s, pause_s = 180.0, 0.04 * 300.0
    away = floor.answered_per_s * 0.97 * (handle_s + pause_s) / 10.0
    share = away * handle_s / 192.0 / (1.0 - away * pause_s / 192.0)
    assert floor.utilisation == pytest.approx(share, rel=2e-3)  # sampled means of the laws
    assert floor.utilisation < blind_floor("study-stat-10").utilisation + 0.01


# --- the inequality -------------------------------------------------------------------------------


def test_game__random_answers_and_releases_keep_the_inequality(game, prices):
    """Written out anew, for random sums of unequal 0/1 variables: nothing is below the margin."""
    rng = np.random.default_rng(3)
    tightest = np.inf
    for _ in range(400):
        x = int(rng.integers(-4, 6))
        odds = rng.uniform(0.0, WINDOW.q, rng.integers(0, 90)) * rng.choice([0.1, 1.0])
        leave = rng.uniform(0.0, WINDOW.r, 5 - max(x, 0)) * rng.integers(0, 2)
        answers, released = law_of(odds), law_of(leave)
        value = 0.0
        for r, p_r in enumerate(released):
            for a, p_a in enumerate(answers):
                if x >= 0:
                    silent, after = 0, x + r - a
                else:
                    silent, after = max(-x - r, 0), max(x + r, 0) - a
                cost = 60.0 * (silent - 0.03 * a) + potential(prices, after)
                cost -= prices.per_release_s * r - prices.per_pair_s * r * (r - 1)
                value += p_r * p_a * cost
        for share in WINDOW.profile:  # idle seconds, every part of the window at its end
            sofar = law_of(odds * share)
            idle = sum(p * max(x - a, 0) for a, p in enumerate(sofar))
            value += WINDOW.window_s / len(WINDOW.profile) * idle
        slack = value - potential(prices, x)
        assert slack >= -game.margin(prices) - 1e-9
        tightest = min(tightest, slack)
    assert tightest < 0.5  # the tries come near it


def law_of(odds):
    """Law of the number of successes, one trial after the other."""
    law = np.ones(1)
    for p in odds:
        law = np.convolve(law, [1.0 - p, p])
    return law


def potential(prices, x):
    corners = zip(prices.corners, prices.u, prices.v, strict=True)
    return -60.0 * x + sum((u - v) * max(x - j, 0) for j, u, v in corners)


def test_game__sums_lie_between_the_least_and_the_most(game):
    """E (c - A)^+ of a sum with mean m, against the two laws that the proof uses."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        odds = rng.uniform(0.0, WINDOW.q, rng.integers(1, 80))
        c, mean = int(rng.integers(1, 8)), odds.sum()
        got = sum(p * max(c - a, 0) for a, p in enumerate(law_of(odds)))
        node = mean / WINDOW.q
        low, high = int(node), int(node) + 1
        least = (high - node) * game.least[low, c] + (node - low) * game.least[high, c]
        most = float(stats.poisson.expect(lambda a, c=c: np.maximum(c - a, 0), (mean,)))
        assert least - 1e-9 <= got <= most + 1e-9


def test_margin__finds_a_charge_that_is_too_high(game, prices):
    assert game.margin(prices) < 1e-6
    assert game.margin(prices._replace(per_release_s=1.01 * prices.per_release_s)) > 1e-3
    assert game.margin(prices._replace(per_pair_s=0.9 * prices.per_pair_s)) > 1e-4
    for wrong in (
        prices._replace(per_pair_s=-1.0),
        prices._replace(slope_s=0.5 * prices.slope_s),
        prices._replace(u=(-1.0, *prices.u[1:])),
        prices._replace(v=(prices.u[0] + 1.0, *prices.v[1:])),
    ):
        with pytest.raises(ConfigError, match="no certificate"):
            game.margin(wrong)


def test_solve__a_cap_that_pays_for_itself_has_no_prices():
    with pytest.raises(NoPricesError):
        Game(WINDOW, 0.4).solve(400.0, LOSSES)


# --- what goes into it ----------------------------------------------------------------------------


def sampled(law):
    """P(duration = k ms), from the table as the kernel reads it: a cell of the body has probability
    1/1024, one of the tail 1/1024 of that, and from low to high - 1 every ms of it the same."""
    knots = law.table_ms()
    mass = np.zeros(knots[-1] + 2)
    for part, weight in ((knots[:1024], 1 / 1024), (knots[1024:], 1 / 1024**2)):
        for low, high in itertools.pairwise(part.tolist()):
            mass[low : max(high, low + 1)] += weight / max(high - low, 1)
    assert mass.sum() == pytest.approx(1.0)
    return mass


def up_to(law, ms):
    """P(duration <= ms), by adding up."""
    return np.concatenate([[0.0], np.cumsum(sampled(law))])[np.minimum(ms, law.table_ms()[-1]) + 1]


@pytest.mark.parametrize(
    "law",
    [
        LognormalLaw(mean_s=30, cv=0.6),
        GammaLaw(shape=3, scale_s=3, shift_s=3),
        ConstantLaw(value_s=28),
        UniformLaw(low_s=0, high_s=0.5),  # cells without width
    ],
)
def test_sampled__is_the_law_that_the_kernel_draws(law):
    ms = np.arange(0, int(law.table_ms()[-1]) + 50)
    assert (
        np.abs(durations.sampled(law).below(ms.astype(np.float64) + 1.0) - up_to(law, ms)).max()
        < 1e-10
    )


def test_sampled__draws_of_the_kernel():
    """40,000 draws of talk; Kolmogorov's distance is above 1.95 / sqrt(n) in .1 % of all seeds."""
    law = LognormalLaw(mean_s=150, cv=1)
    bits = np.random.default_rng(9).integers(0, 2**64, 40_000, np.uint64)
    tables = law.table_ms()[None, :]
    drawn = np.sort(np.array([chance.duration_ms(tables, 0, u) for u in bits], np.float64))
    expected = durations.sampled(law).below(drawn + 1.0)
    assert np.abs(expected - np.arange(1, 40_001) / 40_000).max() < 1.95 / np.sqrt(40_000)


def test_answer_odds__no_age_is_above_them():
    """p (F(a+3) - F(a)) / (p (1 - F(a)) + (1 - p) (1 - G(a))) at every ms of age, study-stat-10.

    The window is taken 10 ms longer than it is, which may add 1/300 and a little."""
    world = load_scenario("study-stat-10")
    found = windows.answer_odds(world, 0.25, 27.98, 3.0)
    ages, law = np.arange(27_981), world.calls.time_to_answer
    others = sum(part.share * up_to(part.time, ages) for part in world.calls.unanswered)
    odds = 0.25 * (up_to(law, ages + 3000) - up_to(law, ages))
    odds /= 0.25 * (1 - up_to(law, ages)) + 0.75 * (1 - others)
    assert found == pytest.approx(odds.max(), rel=1e-9)


def test_profile__no_age_is_above_it():
    """(F(a + s) - F(a)) / (F(a + w) - F(a)) at every ms of age and all twelfths; s = w is 1."""
    law = load_scenario("study-stat-10").calls.time_to_answer
    ages = np.arange(27_980)
    whole = up_to(law, ages + 3000) - up_to(law, ages)
    seen = whole > 1e-12
    for part, found in enumerate(durations.profile_of(law, 27.98, 3.0), 1):
        share = (up_to(law, ages + 250 * part) - up_to(law, ages))[seen] / whole[seen]
        assert found == pytest.approx(share.max(), abs=1e-6)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_interval_odds__no_interval_is_above_them(factor):
    """Talk of mean 150 s and CV 1 times a factor, as the kernel scales it: floor(f 2^20) / 2^20."""
    law = LognormalLaw(mean_s=150, cv=1)
    mass = sampled(law)
    scaled = np.bincount(np.arange(len(mass)) * round(factor * 2**20) >> 20, mass)
    total = np.concatenate([[0.0], np.cumsum(scaled)])
    most = (total[3000:] - total[:-3000]).max()
    assert durations.most_in(law, 3.0 / factor) == pytest.approx(most, rel=1e-9)


def test_end_odds__no_age_of_a_wrap_up_is_above_them():
    """At every ms of age that 2^-20 of the wrap-ups reach; the others are the old share."""
    law = LognormalLaw(mean_s=30, cv=0.6)
    found, last = durations.end_odds(law, 3.0), int(law.table_ms()[-2])
    ages = np.arange(last)
    odds = 1.0 - (1.0 - up_to(law, ages + 3000)) / (1.0 - up_to(law, ages))
    assert found == pytest.approx(odds.max(), rel=1e-9)
    old = 1.0 - up_to(law, np.array([last]))[0]
    assert durations.old_share(law) == pytest.approx(old, abs=1e-12)
    assert 0.0 < old <= 2.0**-20


def test_releases__breaks_count_with_their_share():
    """A conversation is released out of an old wrap-up, or in 4 % of the cases an old break."""
    found = windows.release_of(load_scenario("study-real-5"), 3.0)
    wrap, pause = LognormalLaw(mean_s=30, cv=0.6), LognormalLaw(mean_s=300, cv=0.5)
    assert found.old == durations.old_share(wrap) + 0.04 * durations.old_share(pause)
    assert found.odds == max(durations.end_odds(wrap, 3.0), durations.end_odds(pause, 3.0))


def test_fast_share__talk_and_wrap_up_must_both_be_shorter_than_the_window():
    """By adding up: P(talk + wrap < w) <= P(talk <= w / f) P(wrap <= w), the bound; w = 9 s."""
    world = load_scenario("study-stat-5")
    assert world.floor.wrap is not None
    talk, wrap = sampled(world.floor.talk), sampled(world.floor.wrap)
    found = windows.fast_share(world, 9.0)
    assert found == pytest.approx(talk[:9001].sum() * wrap[:9001].sum(), rel=1e-9)
    both = np.dot(talk[:9000], np.cumsum(wrap[:9000])[::-1])
    assert 0.0 < both < found
    slower = windows.fast_share(world, 9.0, 0.5)  # talk at half its length: 18 s fit
    assert slower == pytest.approx(talk[:18_001].sum() * wrap[:9001].sum(), rel=1e-9)


def test_late_share__no_age_is_above_it():
    law = GammaLaw(shape=3, scale_s=3, shift_s=3)
    ages = np.arange(int(law.table_ms()[-1]) - 1)
    left = 1.0 - up_to(law, ages)
    seen = left > 1e-12
    late = (1.0 - up_to(law, ages + 20_000))[seen] / left[seen]
    assert durations.late_share(law, 20.0) == pytest.approx(late.max(), rel=1e-5)
    assert durations.late_share(law, law.max_s()) == 0.0  # nobody takes so long


def test_free_share__is_that_of_random_grids():
    """Simulated: the share of answers by calls dialed in the same window, or older than 27.98 s."""
    law = load_scenario("study-stat-10").calls.time_to_answer
    found = durations.free_share(law, 27.98, 3.0)
    rng = np.random.default_rng(7)
    age = 3.0 + rng.gamma(3.0, 3.0, 400_000)
    since = rng.uniform(0.0, 3.0, 400_000)  # from the beginning of the window to the answer
    share = np.mean((age < since) | (age - since > 27.98))
    assert abs(share - found) < 3.3 * np.sqrt(found / 400_000) + 2e-5  # 99.9 %


def test_wild_share__is_above_that_of_simulated_days():
    answer = load_scenario("study-real-10").calls.answer_rate
    assert isinstance(answer, DriftingAnswer)
    rng = np.random.default_rng(8)
    n, steps = 200_000, 4
    keep = np.exp(-10.0 / answer.ou_tau_s)
    x = rng.normal(0.0, answer.ou_sd, n)
    level = np.exp(rng.uniform(np.log(0.12), np.log(0.45), n))
    phase = rng.uniform(0.0, 2 * np.pi, n)
    highest = np.zeros(n)
    for step in range(steps):
        turn = 2 * np.pi * 10.0 * step / answer.season_period_s
        highest = np.maximum(highest, level * (1 + 0.25 * np.sin(phase + turn)) * np.exp(x))
        x = keep * x + np.sqrt(1 - keep**2) * rng.normal(0.0, answer.ou_sd, n)
    for p in (0.5, 0.7):
        assert np.mean(highest > p) < windows.wild_share(answer, p, 31.0)
    at_once = windows.wild_share(answer, 0.5, 0.0)
    assert np.mean(level * (1 + 0.25 * np.sin(phase)) * np.exp(rng.normal(0, 0.25, n)) > 0.5) == (
        pytest.approx(at_once, rel=0.05)
    )


# --- the bound ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agents", "p", "cap"),
    [
        (1, 0.25, 0.03),
        (2, 0.25, 0.03),
        (2, 0.9, 0.005),
        (5, 0.25, 0.001),
        (5, 0.25, 0.03),
        (5, 0.1, 0.03),
        (5, 0.5, 0.01),
        (10, 0.25, 0.03),
        (10, 0.25, 0.1),
    ],
)
def test_markov_bound__is_above_the_exact_optimum(agents, p, cap):
    optimum = solve(agents, p, 180.0, 12.0, cap, method="policy-iteration")
    bound = markov_bound(optimum.world, cap)
    assert optimum.utilisation < bound < 1.0


def test_markov_bound__other_times():
    for world in (MarkovWorld(3, 0.3, 60.0, 8.0), MarkovWorld(4, 0.6, 90.0, 5.0, 2.0)):
        optimum = solve(*world[:4], 0.03, world[4], method="policy-iteration")
        assert optimum.utilisation < markov_bound(world, 0.03) < 1.0


def test_utilisation_bound__stands_between_the_best_rule_and_one():
    """The best rule that cannot see the future reaches .808 and .852 at 3 % (science B2)."""
    five, ten = utilisation_bound("study-stat-5"), utilisation_bound("study-stat-10")
    assert 0.808 < five.utilisation < 0.975
    assert 0.852 < ten.utilisation < 0.986
    for found in (five, ten):
        assert found.game.margin(found.prices) <= found.error_s
        # with handling times of H s, the share H / (H + c), but for the edges of the day
        assert found.utilisation == pytest.approx(180.0 / (180.0 + found.idle_s), abs=1e-3)


def test_utilisation_bound__a_lower_cap_is_a_lower_limit():
    found = [utilisation_bound("study-stat-5", cap).utilisation for cap in (0.005, 0.03, 0.1)]
    assert found == sorted(found)
    assert found[0] < found[2]


def test_utilisation_bound__days_that_differ():
    """study-real-5: the best rule reaches .799 (science B1)."""
    bound = utilisation_bound("study-real-5")
    assert 0.799 < bound.utilisation < 0.99
    assert bound.p_split < windows.P_CEILING
    assert bound.wild_s > 0.0


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("italy-10", "it has shifts"),
        ("machines-50", "machines"),
        ("blend-40", "inbound"),
        ("italy-month-10", "it has a calendar"),
    ],
)
def test_limits__refuse_worlds_that_are_not_covered(scenario, reason):
    for limit in (blind_floor, utilisation_bound):
        with pytest.raises(ConfigError, match=reason):
            limit(scenario)


def test_utilisation_bound__refuses_what_is_not_allowed():
    with pytest.raises(ConfigError, match=r"cap = 0\.7"):
        utilisation_bound("study-stat-5", 0.7)
    with pytest.raises(ConfigError, match="at least the wait limit"):
        utilisation_bound("study-stat-5", window_s=1.0)


@pytest.mark.parametrize(
    ("episode", "reason"),
    [({"first_day": "2024-03-04"}, "it has a calendar"), ({"close_s": 5.9}, r"close_s = 5\.9")],
)
def test_utilisation_bound__refuses_a_day_with_another_end(episode, reason):
    world = load_scenario("study-stat-5").model_dump(mode="json")
    world["episode"] |= episode
    with pytest.raises(ConfigError, match=reason):
        utilisation_bound(Scenario.model_validate(world))


def test_utilisation_bound__says_so_where_nothing_can_be_proved():
    """A wrap-up of exactly 20 s ends in a given window with certainty: r = 1."""
    world = load_scenario("study-stat-5").model_dump(mode="json")
    world["floor"]["wrap"] = {"kind": "constant", "value_s": 20}
    with pytest.raises(QuietDialError, match="no certificate was found"):
        utilisation_bound(Scenario.model_validate(world))


def test_edge__calls_that_are_answered_late_are_charged():
    """Worked: 72 lines, close 20 s, windows of 3 s: nobody may dial in the last 20 s, and of the
    calls in flight then at most the late share is answered in the last two windows."""
    world = load_scenario("study-stat-5")
    day = windows.day_of(world, 0.25, 27.98, 3.0)
    early = day._replace(
        world=world.model_copy(update={"episode": world.episode.model_copy(update={"close_s": 20})})
    )
    prices = Game(day.window, 0.03).solve(60.0, day.losses)
    more = _edge_s(early, prices, 0.03, 0.0) - _edge_s(day, prices, 0.03, 0.0)
    late = durations.late_share(world.calls.time_to_answer, 14.0)
    assert more == pytest.approx((60.0 * 1.03 + prices.per_release_s) * 72 * late)
    assert more > 0.0
