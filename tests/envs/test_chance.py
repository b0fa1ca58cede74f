"""The counter-based draws: uniform, independent between purposes, keys and entities, exact laws.

Every test is deterministic (fixed keys). The statistical ones use the 1e-4 point of their exact or
asymptotic law, so each would reject one correct generator in ten thousand.
"""

import numpy as np
import pytest
from scipy import stats

from quietdial.envs import load_scenario
from quietdial.envs.laws import (
    ConstantLaw,
    ExponentialLaw,
    GammaLaw,
    LognormalLaw,
    MixtureLaw,
    MixturePart,
    QuantileLaw,
    UniformLaw,
    WeibullLaw,
)
from quietdial.envs.pacing import chance
from quietdial.envs.pacing.params import LAW_TALK, make_params

N = 200_000
ALPHA = 1e-4
PURPOSES = [
    value
    for name, value in vars(chance).items()
    if name.isupper() and type(value) is np.uint64 and not name.startswith("_")
]


def draws(key, purpose, n=N):
    with np.errstate(over="ignore"):
        return np.array([chance.draw(key, purpose, i) for i in range(n)], np.uint64)


def key_of(seed, campaign=0):
    return np.uint64(chance.campaign_key(np.uint64(seed), np.uint64(campaign)))


@pytest.fixture(scope="module")
def sample():
    return draws(key_of(1), chance.DIAL_OUTCOME)


def test_purposes__are_distinct_and_all_known():
    assert sorted(int(p) for p in PURPOSES) == list(range(1, len(PURPOSES) + 1))


@pytest.mark.parametrize("shift", [0, 22, 44, 54])
def test_draw__bits_are_uniform(sample, shift):
    """Chi-square over 1024 cells of ten bits, at each place that the tables read."""
    cells = np.bincount(
        ((sample >> np.uint64(shift)) & np.uint64(1023)).astype(int), minlength=1024
    )
    expected = N / 1024
    statistic = float(((cells - expected) ** 2 / expected).sum())
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], 1023)
    assert low < statistic < high


def test_draw__every_bit_is_fair(sample):
    ones = ((sample[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).sum(axis=0)
    z = (ones - N / 2) / np.sqrt(N / 4)
    assert np.max(np.abs(z)) < stats.norm.ppf(1 - ALPHA / 2 / 64)


def test_unit__is_uniform(sample):
    u = np.array([chance.unit(v) for v in sample[:50_000]])
    assert u.min() >= 0.0
    assert u.max() < 1.0
    assert stats.kstest(u, "uniform").pvalue > ALPHA


def test_draw__is_independent_of_neighbours_purposes_and_campaigns(sample):
    """Correlation of the top 53 bits with the next entity, other purposes, campaigns and seeds."""
    base = sample[:20_000].astype(np.float64)
    others = [draws(key_of(1), p, 20_000) for p in PURPOSES if p != chance.DIAL_OUTCOME]
    others += [draws(key_of(1, c), chance.DIAL_OUTCOME, 20_000) for c in (1, 2, 2**40)]
    others += [draws(key_of(s), chance.DIAL_OUTCOME, 20_000) for s in (0, 2, 3, 2**63)]
    others.append(sample[1:20_001])
    bound = stats.norm.ppf(1 - ALPHA / 2 / len(others)) / np.sqrt(20_000)
    for other in others:
        assert abs(np.corrcoef(base, other.astype(np.float64))[0, 1]) < bound
        assert not np.any(sample[:20_000] == other)


def test_campaign_key__differs_for_every_seed_and_campaign():
    keys = {int(key_of(s, c)) for s in range(200) for c in range(200)}
    assert len(keys) == 40_000


def test_draw__never_changes():
    """Published results depend on these very bits."""
    assert int(key_of(0)) == 0xC22765131F540D36
    assert int(chance.draw(key_of(12345, 6), chance.TALK_TIME, 789)) == 0x902D25A1B0E83103


def _mix(z):
    """The splitmix64 finaliser in Python's own integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


@pytest.mark.parametrize("seed", [0, 1, 2**63, 2**64 - 1])
def test_draw__equals_its_definition(seed):
    for campaign, purpose, number in [(0, 1, 0), (1, 5, 12), (2**40, 13, 2**40)]:
        start = _mix((seed + 0x9E3779B97F4A7C15) % 2**64)
        key = _mix((start + (campaign + 1) * 0x94D049BB133111EB) % 2**64)
        assert int(key_of(seed, campaign)) == key
        inner = _mix((key + purpose * 0xBF58476D1CE4E5B9) % 2**64)
        drawn = _mix((inner + number * 0x9E3779B97F4A7C15) % 2**64)
        assert int(chance.draw(np.uint64(key), np.uint64(purpose), number)) == drawn


LAWS = {
    "exponential": ExponentialLaw(mean_s=180.0),
    "lognormal": LognormalLaw(mean_s=150.0, cv=1.0),
    "gamma": GammaLaw(shape=3.0, scale_s=3.0, shift_s=3.0),
    "uniform": UniformLaw(low_s=18.0, high_s=24.0),
    "weibull": WeibullLaw(shape=1.5, scale_s=60.0),
    "mixture": MixtureLaw(
        parts=(
            MixturePart(weight=0.35, law=LognormalLaw(mean_s=25.0, cv=0.5)),
            MixturePart(weight=0.65, law=LognormalLaw(mean_s=220.0, cv=0.5)),
        )
    ),
    "quantiles": QuantileLaw(p=(0.0, 0.5, 1.0), value_s=(10.0, 20.0, 200.0)),
}


def durations(law, u):
    tables = law.table_ms()[None]
    return np.array([chance.duration_ms(tables, 0, v) for v in u]) / 1000.0


@pytest.mark.parametrize("name", LAWS)
def test_duration__follows_the_law(sample, name):
    """Kolmogorov-Smirnov against the exact law: 20,000 draws find an error of 1.6 points."""
    law = LAWS[name]
    t = durations(law, sample[:20_000])
    # a drawn time is cut to the millisecond below; half a millisecond does not matter here
    assert stats.kstest(t, lambda x: law.cdf(np.asarray(x) + 0.0005)).pvalue > ALPHA
    z = (t.mean() - law.sampled_mean_s()) / (t.std() / np.sqrt(len(t)))
    assert abs(z) < stats.norm.ppf(1 - ALPHA / 2)


@pytest.mark.parametrize("name", LAWS)
def test_duration__has_the_quantiles_of_the_law(name):
    """At a draw of exactly p the duration is the quantile of p: no chance, 0.5 % or 2 ms."""
    law = LAWS[name]
    p = np.array([0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999])
    u = np.array([int(x * 2**64) for x in p], np.uint64)
    np.testing.assert_allclose(durations(law, u), law.quantile_s(p), rtol=5e-3, atol=2e-3)


def test_duration__is_exact_for_a_constant(sample):
    t = durations(ConstantLaw(value_s=5.0), sample[:1000])
    assert set(t) == {5.0}


def test_duration__extremes_stay_inside_the_table():
    for law in LAWS.values():
        ends = durations(law, np.array([0, 2**64 - 1], np.uint64))
        assert ends[0] == law.table_ms()[0] / 1000.0
        assert law.max_s() * 0.99 <= ends[1] <= law.max_s()
        assert ends[0] >= 0.001


@pytest.mark.parametrize("preset", ["italy-50", "study-real-5", "study-shift-5", "markov-5"])
def test_sampled_mean__is_close_to_the_law(preset):
    """The quantile table of a preset's talk law has the mean of the law to 0.1 %."""
    scenario = load_scenario(preset)
    params = make_params(
        scenario, silent_penalty=0.0, base_theta=0.02, random_start=False, horizon_s=None
    )
    grid = (np.arange(400_000) + 0.5) / 400_000
    exact = float(np.mean(scenario.floor.talk.quantile_s(grid)))
    assert scenario.floor.talk.sampled_mean_s() == pytest.approx(exact, rel=1e-3)
    np.testing.assert_array_equal(params.tables[LAW_TALK], scenario.floor.talk.table_ms())


def test_curves__are_close_to_the_functions(sample):
    table = chance.curves()
    assert np.all(table * 2.0**30 == np.rint(table * 2.0**30)), "rounded: the same everywhere"
    x = np.linspace(-12, 4, 4001)
    exp = np.array([chance.exp(table, v) for v in x])
    np.testing.assert_allclose(exp, np.exp(x), rtol=2e-6, atol=2.0**-30)
    turns = np.linspace(-3, 3, 4001)
    sine = np.array([chance.sine(table, v) for v in turns])
    np.testing.assert_allclose(sine, np.sin(2 * np.pi * turns), atol=5e-6)
    z = np.linspace(-7, 7, 4001)
    phi = np.array([chance.phi(table, v) for v in z])
    np.testing.assert_allclose(phi, stats.norm.cdf(z), atol=8e-6)
    normal = np.array([chance.normal(table, v) for v in sample[:20_000]])
    assert stats.kstest(normal, "norm").pvalue > ALPHA
