"""Evolution strategies: the search finds known optima, and moves rules within their limits."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quietdial.agents.learners.evolution import (
    Generation,
    IndexWeights,
    Played,
    RuleSettings,
    ThetaIndex,
    evolve,
    index_features,
    lagrangian,
)
from quietdial.agents.learners.lagrange import make_multiplier
from quietdial.agents.policy import Policy
from quietdial.agents.rules import Marginal, Predict1, RatioManager, VICIdial
from quietdial.agents.rules.base import ControllerRule
from quietdial.agents.rules.catalogue import catalogue
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import load_scenario

WORLD = load_scenario("study-stat-10")


@dataclass(frozen=True)
class _Bowl:
    """Two numbers as the first weights of an index; the play below likes (-3, 0.7) best."""

    start: NDArray[np.float64]
    spread: NDArray[np.float64]

    def policy(self, x: NDArray[np.float64]) -> Policy:
        return ThetaIndex((float(x[0]), float(x[1]), 0.0, 0.0, 0.0, 0.0))


def _bowl(policy: Policy, days: NDArray[np.int64]) -> Played:
    assert isinstance(policy, ThetaIndex)
    luck = float(days.sum() % 7)  # the same for all candidates of a generation
    a, b = policy.weights[:2]
    return Played(luck - (a + 3.0) ** 2 - 4.0 * (b - 0.7) ** 2, 3.0, 100.0, 1000.0)


def _search(seed: int = 1, **changes: Any) -> Any:
    bowl = _Bowl(np.array([-4.0, 0.0]), np.array([0.3, 0.3]))
    given: dict[str, Any] = {"seed": seed, "n_generations": 40, "n_pairs": 4}
    return evolve(bowl, _bowl, make_multiplier("fixed", 0.03), **{**given, **changes})


def test_evolve__finds_the_top_of_a_hill_despite_luck_of_the_days() -> None:
    found = _search()
    assert found.policy.weights[:2] == pytest.approx((-3.0, 0.7), abs=0.03)
    assert (found.generations[-1].spread < 0.1).all()


def test_evolve__repeats_itself_with_the_same_seed() -> None:
    first, again, other = _search(n_generations=3), _search(n_generations=3), _search(2)
    assert first.policy == again.policy != other.policy


def test_evolve__days_differ_between_generations_and_stay_below_the_judged_ones() -> None:
    days: list[NDArray[np.int64]] = []

    def play(policy: Policy, seeds: NDArray[np.int64]) -> Played:
        days.append(seeds)
        return _bowl(policy, seeds)

    start = _Bowl(np.array([-4.0, 0.0]), np.array([0.3, 0.3]))
    evolve(start, play, make_multiplier("fixed", 0.03), seed=999, n_generations=3, n_pairs=2)
    by_generation = {tuple(seeds.tolist()) for seeds in days}
    assert len(days) == 3 * 4
    assert len(by_generation) == 3
    assert len({seed for seeds in by_generation for seed in seeds}) == 3 * 24
    assert max(max(seeds) for seeds in by_generation) < 1_000_000_000


def test_evolve__multiplier_is_told_the_counts_of_a_generation() -> None:
    told: list[Generation] = []
    m = make_multiplier("gradient", 0.02)
    bowl = _Bowl(np.array([-4.0, 0.0]), np.array([0.3, 0.3]))
    evolve(bowl, _bowl, m, n_generations=2, n_pairs=2, on_generation=told.append)
    assert [g.silent_rate for g in told] == [0.03, 0.03]
    assert [g.multiplier for g in told] == [150.0, pytest.approx(150 * math.exp(0.05))]
    assert m.value == pytest.approx(150 * math.exp(0.1))


def test_lagrangian__charges_only_the_excess() -> None:
    m = make_multiplier("fixed", 0.03, 200.0)
    at_target = Played(0.8, 30.0, 1000.0, 100_000.0)
    assert lagrangian(at_target, m) == pytest.approx(0.8)
    assert lagrangian(at_target._replace(silent=40.0), m) == pytest.approx(0.8 - 0.02)


def test_rule_settings__start_is_the_rule_itself() -> None:
    rule = Predict1(predict_adjust=120.0)
    searched = RuleSettings(rule)
    back = searched.policy(searched.start)
    assert back.settings == pytest.approx(rule.settings)


CONTROLLERS = [item.rule for item in catalogue() if isinstance(item.rule, ControllerRule)]


@pytest.mark.parametrize("rule", CONTROLLERS, ids=lambda rule: str(rule.name))
def test_rule_settings__stay_within_limits_wherever_the_search_goes(rule: ControllerRule) -> None:
    searched = RuleSettings(rule)
    rng = np.random.default_rng(4)
    refused = []
    for _ in range(20):
        try:
            searched.policy(rng.normal(0.5, 3.0, len(searched.names)))
        except ConfigError as error:  # each is within its limits, but they may not go together
            refused.append(str(error))
    assert not [text for text in refused if "must be at least lowest_level" not in text]


def test_evolve__numbers_that_do_not_go_together_rank_last() -> None:
    rule = RatioManager(lowest_level=2.0, highest_level=2.2)
    seen = []

    def play(policy: Policy, days: NDArray[np.int64]) -> Played:
        assert isinstance(policy, RatioManager)
        seen.append(policy)
        return Played(-policy.highest_level, 0.0, 0.0, 1.0)  # wishes for what is not allowed

    found = evolve(
        RuleSettings(rule, ("lowest_level", "highest_level"), spread_share=0.02),
        play,
        make_multiplier("fixed", 0.03),
        n_generations=10,
        n_pairs=6,
    )
    assert 0 < len(seen) < 120
    assert isinstance(found.policy, RatioManager)


def test_rule_settings__only_the_named_ones_move() -> None:
    moved = RuleSettings(Predict1(), ("predict_adjust",)).policy(np.array([0.9]))
    assert moved.knob == pytest.approx(900.0)
    assert moved.with_knob(150.0) == Predict1()


def test_rule_settings__refuses_what_is_no_number() -> None:
    with pytest.raises(ConfigError, match="'dial_method' is not among its settings"):
        RuleSettings(VICIdial(), ("dial_method",))


def _world(policy: Policy, n: int) -> World:
    world = World(n, WORLD, observation=policy.observation, action=policy.action, start="random")
    world.begin(np.ones(n, np.bool_), list(range(n)))
    return world


def test_theta_index__without_slopes_is_marginal() -> None:
    totals = []
    for policy in (ThetaIndex(), Marginal(0.02)):
        world = _world(policy, 8)
        for _ in range(300):
            world.step(policy.act(world.observe())[0], np.ones(8, np.bool_))
        totals.append(world.totals())
    for name, values in totals[0].items():
        assert (values == totals[1][name]).all(), name


def test_theta_index__reads_the_state_in_plain_units() -> None:
    world = _world(ThetaIndex(), 16)
    obs = world.observe()
    features = index_features(obs)
    assert (features[:, 0] == 1).all()
    assert (features[:, 1] == (obs[:, 0] == 0)).all()
    assert features[:, 3] == pytest.approx(0.0, abs=1e-6)  # the answer rate is known: 0.25
    steep = ThetaIndex((math.log(0.02), -1.0, 0.5, 0.0, 0.0, 0.0))
    expected = 0.02 * np.exp(-features[:, 1] + 0.5 * features[:, 2])
    assert steep.act(obs)[0][:, 0] == pytest.approx(expected, rel=1e-6)


def test_theta_index__knob_moves_the_base_alone() -> None:
    moved = ThetaIndex((math.log(0.02), -1.0, 0.5, 0.0, 0.0, 0.0)).with_knob(0.05)
    assert moved.knob == pytest.approx(0.05)
    assert moved.weights[1:] == (-1.0, 0.5, 0.0, 0.0, 0.0)
    with pytest.raises(ConfigError, match=r"theta = 0\.9"):
        moved.with_knob(0.9)


def test_theta_index__refuses_another_number_of_weights() -> None:
    with pytest.raises(ConfigError, match="6 numbers"):
        ThetaIndex((1.0,))


def test_index_weights__base_is_kept_within_its_limits() -> None:
    policy = IndexWeights().policy(np.array([5.0, 0, 0, 0, 0, 0]))
    assert policy.knob == pytest.approx(0.5)
