"""Open-loop Poisson dialing against closed forms: M/M/n + D, its special cases, Erlang A.

Poisson arrivals come exactly out of the `dials` action: a Poisson number of calls every second,
each answered after a uniform time within that second. Every simulated cell is a z-test over
independent campaigns; with FAMILY_ALPHA spread over all of them (Bonferroni) a right simulator
fails this file with at most that probability.
"""

import numpy as np
import pytest
from scipy import special

from quietdial.envs import ConfigError
from quietdial.envs.laws import ConstantLaw, ExponentialLaw, LognormalLaw, UniformLaw
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import (
    Calls,
    ConstantAnswer,
    Episode,
    Floor,
    Rule,
    Scenario,
    Unanswered,
)
from quietdial.envs.theory import (
    erlang_b,
    erlang_c,
    exponential_patience,
    fixed_patience,
    load_at_loss,
)

FAMILY_ALPHA = 1e-3
CAMPAIGNS = 96
WARM_S, LENGTH_S = 1800, 9000

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


def open_loop(n, talk, timer_s, patience=None):
    """A world of `n` agents in which every dial is answered within the second."""
    return Scenario(
        name="open-loop",
        floor=Floor(n_agents=n, talk=talk),
        calls=Calls(
            answer_rate=ConstantAnswer(p=1.0),
            time_to_answer=UniformLaw(low_s=0.0, high_s=1.0),
            unanswered=(Unanswered(outcome="invalid", share=1.0, time=ConstantLaw(value_s=1)),),
            patience=patience,
            max_dials_per_decision=500,
            max_lines=2000,
        ),
        rule=Rule(id="test", cap=0.03, wait_limit_s=timer_s),
        episode=Episode(duration_s=LENGTH_S, close_s=0.0),
        observation="none",
        action="dials",
    )


def simulate(scenario, per_s, seed):
    """Utilisation and lost share of each campaign after warm-up, (CAMPAIGNS,) each."""
    world = World(CAMPAIGNS, scenario)
    everywhere = np.ones(CAMPAIGNS, np.bool_)
    world.begin(everywhere, list(range(seed, seed + CAMPAIGNS)))
    dials = np.random.default_rng(seed).poisson(per_s, (LENGTH_S, CAMPAIGNS))
    before = {}
    for second in range(LENGTH_S):
        if second == WARM_S:
            before = world.totals()
        world.step(dials[second], everywhere)
    after = world.totals()
    grown = {name: after[name] - before[name] for name in after}
    return grown["talk_s"] / grown["available_s"], grown["silent"], grown["answered"]


CELLS = [
    *[(n, ExponentialLaw(mean_s=60), timer, 0.03) for n in (1, 5, 20) for timer in (0.0, 2.0, 5.0)],
    (50, ExponentialLaw(mean_s=120), 3.0, 0.03),
    (10, ExponentialLaw(mean_s=60), 3.0, 0.10),
    (10, LognormalLaw(mean_s=60, cv=1.3), 0.0, 0.03),  # Erlang B holds for any handling law
    (10, ConstantLaw(value_s=60), 0.0, 0.05),
]
Z_LIMIT = -special.ndtri(FAMILY_ALPHA / (2 * 2 * (len(CELLS) + 1)))


def check(name, values, expected):
    error = values.std(ddof=1) / np.sqrt(len(values))
    z = (values.mean() - expected) / error
    assert abs(z) <= Z_LIMIT, f"{name}: {values.mean():.5f} against {expected:.5f}, z = {z:.2f}"


@pytest.mark.parametrize("cell", range(len(CELLS)))
def test_open_loop__meets_the_closed_form(cell):
    n, talk, timer_s, lost = CELLS[cell]
    handle_s = talk.sampled_mean_s()
    per_s = load_at_loss(n, handle_s, timer_s, lost)
    theory = fixed_patience(n, per_s, handle_s, timer_s)
    utilisation, silent, answered = simulate(open_loop(n, talk, timer_s), per_s, 1000 * cell)
    check("utilisation", utilisation, theory.utilisation)
    residual = (silent - theory.lost * answered) / answered.mean()  # of a ratio of totals
    check("lost", residual, 0.0)


def test_open_loop__meets_erlang_a_when_callees_are_impatient():
    n, handle_s, patience_s, per_s = 10, 60.0, 4.0, 10.0 / 60
    scenario = open_loop(
        n, ExponentialLaw(mean_s=handle_s), 60.0, ExponentialLaw(mean_s=patience_s)
    )
    theory = exponential_patience(n, per_s, handle_s, patience_s)
    utilisation, silent, answered = simulate(scenario, per_s, 77_000)
    check("utilisation", utilisation, theory.utilisation)
    check("lost", (silent - theory.lost * answered) / answered.mean(), 0.0)
