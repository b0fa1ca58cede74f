"""The blind floor and the proven bound: the inequality, its parts, and what stays below it."""

import numpy as np
import pytest
from scipy import stats

from quietdial.agents import limits
from quietdial.agents.limits import (
    Game,
    Losses,
    Window,
    blind_floor,
    markov_bound,
    utilisation_bound,
)
from quietdial.agents.optimal import solve
from quietdial.envs import ConfigError, load_scenario
from quietdial.envs.laws import LognormalLaw
from quietdial.envs.pacing.markov import MarkovWorld
from quietdial.envs.scenario import DriftingAnswer

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
    with pytest.raises(limits._NoPricesError):
        Game(WINDOW, 0.4).solve(400.0, LOSSES)


# --- what goes into it ----------------------------------------------------------------------------


def test_answer_odds__no_age_is_above_them():
    """p (F(a+3) - F(a)) / (p (1 - F(a)) + (1 - p) (1 - G(a))) at random ages, study-stat-10."""
    world = load_scenario("study-stat-10")
    found = limits._answer_odds(world, 0.25, 27.98, 3.0)
    ages = np.random.default_rng(5).uniform(0.0, 27.98, 20_000)
    law = stats.gamma(3, loc=3, scale=3)
    others = 0.15 * np.clip((ages - 1) / 3, 0, 1) + 0.25 * np.clip((ages - 18) / 6, 0, 1)
    odds = 0.25 * (law.cdf(ages + 3) - law.cdf(ages))
    odds /= 0.25 * law.sf(ages) + 0.75 * (1 - others)
    assert odds.max() <= found <= 1.005 * odds.max()


def test_interval_odds__are_those_of_the_density_at_its_highest():
    """Lognormal talk, mean 150 s, CV 1: density at the mode exp(mu - sigma^2) times 3 s."""
    found = limits._most_in(LognormalLaw(mean_s=150, cv=1), 3.0)
    sigma = np.sqrt(np.log(2.0))
    mode = 150.0 / np.sqrt(2.0) * np.exp(-(sigma**2))
    assert found == pytest.approx(
        3.0 * stats.lognorm.pdf(mode, sigma, 0, 150 / np.sqrt(2)), rel=0.05
    )
    assert found >= 3.0 * stats.lognorm.pdf(mode, sigma, 0, 150 / np.sqrt(2)) * 0.999


def test_end_odds__no_age_of_a_wrap_up_is_above_them():
    law = LognormalLaw(mean_s=30, cv=0.6)
    found = limits._end_odds(law, 3.0)
    ages = np.random.default_rng(6).uniform(0.0, 300.0, 20_000)
    odds = 1.0 - (1.0 - law.cdf(ages + 3.0)) / (1.0 - law.cdf(ages))
    assert odds.max() <= found <= 1.01 * odds.max()


def test_free_share__is_that_of_random_grids():
    """Simulated: the share of answers by calls dialed in the same window, or older than 27.98 s."""
    law = load_scenario("study-stat-10").calls.time_to_answer
    found = limits._free_share(law, 27.98, 3.0)
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
        assert np.mean(highest > p) < limits._wild_share(answer, p, 31.0)
    at_once = limits._wild_share(answer, 0.5, 0.0)
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
    for bound in (five, ten):
        assert bound.game.margin(bound.prices) <= bound.error_s
        # with handling times of H s, the share H / (H + c), but for the edges of the day
        assert bound.utilisation == pytest.approx(180.0 / (180.0 + bound.idle_s), abs=1e-3)


def test_utilisation_bound__a_lower_cap_is_a_lower_limit():
    found = [utilisation_bound("study-stat-5", cap).utilisation for cap in (0.005, 0.03, 0.1)]
    assert found == sorted(found)
    assert found[0] < found[2]


def test_utilisation_bound__days_that_differ():
    """study-real-5: the best rule reaches .799 (science B1)."""
    bound = utilisation_bound("study-real-5")
    assert 0.799 < bound.utilisation < 0.99
    assert bound.p_split < limits.P_CEILING
    assert bound.wild_s > 0.0


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [("italy-10", "it has shifts"), ("machines-50", "machines"), ("blend-40", "inbound")],
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
