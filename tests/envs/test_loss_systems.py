"""Open-loop Poisson dialing against closed forms: M/M/n + D, its special cases, Erlang A.

The simulated cells are a sample of the first part of the proof (experiments/proof/erlang.py):
t-tests over independent campaigns that reject a right simulator with probability 1e-3 in all.
"""

import numpy as np
import pytest

from quietdial.envs import ConfigError
from quietdial.envs.laws import ConstantLaw, ExponentialLaw, LognormalLaw
from quietdial.envs.pacing import chance
from quietdial.envs.theory import (
    erlang_b,
    erlang_c,
    exponential_patience,
    fixed_patience,
    load_at_loss,
)
from quietdial.experiments.proof import erlang
from quietdial.experiments.proof.parts import SAMPLE, failed

# dialers, table V4: utilisation in % at exactly 3 % lost, by agents, handling time, drop timer
TABLE_AT_3 = {
    (1, 60): {0: 3.0, 2: 3.1, 5: 3.3},
    (5, 60): {0: 36.4, 2: 37.6, 5: 39.5},
    (10, 60): {0: 53.6, 2: 55.4, 5: 58.1},
    (20, 60): {0: 67.9, 2: 70.1, 5: 73.2},
    (50, 60): {0: 81.3, 2: 83.9, 5: 87.1},
    (100, 60): {0: 88.1, 2: 90.7, 5: 93.5},
    (200, 60): {0: 92.6, 2: 95.1, 5: 97.3},
    (5, 120): {2: 37.0, 5: 37.9},
    (50, 120): {2: 82.7, 5: 84.5},
    (10, 240): {2: 54.1},
    (100, 240): {2: 88.8},
}


@pytest.mark.parametrize(("n", "handle_s"), TABLE_AT_3)
def test_fixed_patience__gives_the_published_table(n, handle_s):
    for timer_s, expected in TABLE_AT_3[n, handle_s].items():
        rate = load_at_loss(n, handle_s, timer_s, 0.03)
        assert 100 * fixed_patience(n, rate, handle_s, timer_s).utilisation == pytest.approx(
            expected, abs=0.051
        )


def test_fixed_patience__without_patience_is_erlang_b():
    for n, load in ((1, 0.3), (10, 8.0), (50, 60.0)):
        assert fixed_patience(n, load / 60, 60, 0.0).lost == pytest.approx(erlang_b(n, load))


def test_erlang_c__is_the_known_value():
    assert erlang_c(10, 8.0) == pytest.approx(0.40918, abs=1e-5)
    assert erlang_c(3, 3.5) == 1.0


def test_exponential_patience__lies_between_none_and_endless():
    none = erlang_b(10, 9.0)
    some = exponential_patience(10, 9.0 / 60, 60, 30.0).lost
    assert 0.0 < some < none
    assert exponential_patience(10, 9.0 / 60, 60, 1e-6).lost == pytest.approx(none, rel=1e-4)
    assert exponential_patience(10, 9.0 / 60, 60, 1e7).lost == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: erlang_b(-1, 1.0),
        lambda: erlang_b(1, float("nan")),
        lambda: fixed_patience(0, 1.0, 1.0, 1.0),
        lambda: fixed_patience(1, 0.0, 1.0, 1.0),
        lambda: fixed_patience(1, 1.0, 1.0, -1.0),
        lambda: exponential_patience(1, 1.0, 1.0, 0.0),
        lambda: load_at_loss(1, 1.0, 1.0, 1.0),
    ],
)
def test_theory__refuses_what_makes_no_system(call):
    with pytest.raises(ConfigError):
        call()


@pytest.fixture(scope="module")
def sample():
    """A sample of the first part of the proof; the whole of it is `make proof`."""
    return erlang.run(SAMPLE, lambda what, share: None)


def test_open_loop__meets_the_closed_forms(sample):
    assert [row["note"] for row in failed(sample)] == []


def test_open_loop__sample_has_every_family(sample):
    """At a false-alarm rate of 1e-3 in all, every family finds biases of a few per cent."""
    named = {row["name"]: row for row in sample}
    families = {name.split("/")[1] for name in named}
    assert families == {"fixed-timer", "erlang-b", "insensitivity", "erlang-c", "erlang-a"}
    rates = [row["value"] for name, row in named.items() if name.endswith("/false_alarm_rate")]
    assert sum(rates) == pytest.approx(1e-3)
    for family in families:
        assert named[f"erlang/{family}/utilisation/smallest_bias"]["hi"] < 0.05


def test_cells__cover_the_grid():
    grid = erlang.cells()
    assert len(grid) >= 60
    assert len({cell.name for cell in grid}) == len(grid)
    timers = {(cell.n_agents, cell.limit_s) for cell in grid if cell.family == "fixed-timer"}
    assert timers == {(n, limit_s) for n in erlang.AGENTS for limit_s in (1.0, 2.0, 3.0, 5.0)}
    assert {cell.n_agents for cell in grid} == {1, 2, 5, 10, 20, 50, 100, 200}
    laws = {cell.talk.kind for cell in grid if cell.family == "insensitivity"}
    assert laws == {"constant", "uniform", "lognormal", "mixture"}
    for cell in grid:
        assert 0.0 < cell.utilisation < 1.0
        assert cell.talk.sampled_mean_s() == pytest.approx(
            erlang.HANDLE_S[cell.n_agents], rel=2e-3
        ) or (cell.family == "erlang-c")


def test_open_loop__another_limit_is_found():
    """The world of a limit of 3 s is not taken for one of 2 s, nor 62 s of talk for 60 s."""
    right = erlang.timer_cell("fixed-timer", 10, ExponentialLaw(mean_s=60), 2.0, 0.1)
    for wrong in (
        right._replace(limit_s=3.0),
        right._replace(talk=ExponentialLaw(mean_s=62)),
        right._replace(per_s=right.per_s * 1.02),
    ):
        tests = erlang.simulate(wrong, 2_000_000, 5)
        assert max(abs(test.z) for test in tests) > 6.0
    tests = erlang.simulate(right, 2_000_000, 6)
    assert max(abs(test.z) for test in tests) < 4.0  # missed with probability 1e-4


def test_played_mean__is_what_the_kernel_draws():
    """Draws spread evenly, no chance: a tenth of a millisecond, where half of one is at stake."""
    law = ExponentialLaw(mean_s=3)
    tables = law.table_ms()[None]
    draws = [np.uint64((2 * k + 1) << 45) for k in range(2**18)]
    drawn_s = np.mean([chance.duration_ms(tables, 0, draw) for draw in draws]) / 1000.0
    assert erlang.played_mean_s(law) == pytest.approx(drawn_s, abs=1e-4)
    assert erlang.played_mean_s(ConstantLaw(value_s=7)) == pytest.approx(7.0, abs=1e-12)


def test_relaxation__is_long_enough():
    assert erlang.relaxation_s(ExponentialLaw(mean_s=60)) == pytest.approx(720, rel=1e-3)
    wide = LognormalLaw(mean_s=60, cv=1.0)
    age = erlang.relaxation_s(wide)
    t = np.linspace(age, wide.max_s(), 100_000)
    left = np.trapezoid(1.0 - wide.cdf(t), t) / 60.0
    assert 3e-6 < left < 9e-6
