"""The judge: disjoint days, common random numbers, knobs tuned to a rate."""

import numpy as np
import pytest

from quietdial.agents.policy import Layer, LearnedPolicy, PolicySpec
from quietdial.agents.rules import FixedRatio, Marginal, Progressive
from quietdial.envs import ConfigError, Scenario, load_scenario
from quietdial.envs.pacing.spec import observation_fields
from quietdial.experiments import evaluate


@pytest.fixture(scope="module")
def short():
    """`study-stat-5` with days of one hour."""
    scenario = load_scenario("study-stat-5")
    episode = scenario.episode.model_copy(update={"duration_s": 3600.0})
    return scenario.model_copy(update={"episode": episode})


def test_seeds__are_disjoint_and_above_training():
    groups = [
        evaluate.tune_seeds(1000),
        evaluate.select_seeds(1000),
        evaluate.test_seeds(1000),
    ]
    together = np.concatenate(groups)
    assert len(np.unique(together)) == 3000
    assert together.min() >= evaluate.TRAIN_SEED_LIMIT


def test_seeds__refuse_a_single_day():
    with pytest.raises(ConfigError, match="between 2 and"):
        evaluate.test_seeds(1)


def test_play_days__do_not_depend_on_the_batch(short):
    seeds = evaluate.test_seeds(6)
    together = evaluate.play_days(Marginal(0.05), short, seeds)
    apart = evaluate.play_days(Marginal(0.05), short, seeds, batch=2)
    for name, values in together.days.items():
        np.testing.assert_array_equal(values, apart.days[name], err_msg=name)


def test_play_days__progressive_is_never_silent(short):
    days = evaluate.play_days(Progressive(), short, evaluate.test_seeds(4))
    assert days.days["silent"].sum() == 0
    assert days.days["answered"].min() > 0


def test_tune__reaches_the_rate_on_the_tuning_days(short):
    tuned = evaluate.tune(Marginal(0.02), short, 0.04, evaluate.tune_seeds(24), tolerance=1e-3)
    assert tuned.reached
    assert abs(tuned.tuning_rate - 0.04) <= 1e-3
    knobs, rates, _ = zip(*tuned.sweep, strict=True)
    assert list(knobs) == sorted(knobs)
    assert rates[-1] > rates[0]  # the silent rate grows with the knob


def test_tune__marks_a_rate_out_of_reach(short):
    tuned = evaluate.tune(FixedRatio(1.0), short, 0.9, evaluate.tune_seeds(2), most_trials=6)
    assert not tuned.reached


def test_tune__leaves_a_rule_without_knob_alone(short):
    tuned = evaluate.tune(Progressive(), short, 0.03, evaluate.tune_seeds(2))
    assert tuned.policy == Progressive()
    assert not tuned.reached


def test_judge__compares_every_policy_with_the_first_on_the_same_days(short):
    verdict = evaluate.judge(
        [Marginal(0.02), Progressive()], short, target_rate=0.05, n_tune_days=4, n_test_days=8
    )
    difference = verdict.difference("progressive").utilisation
    direct = verdict.days[0].utilisation - verdict.days[1].utilisation
    assert difference.value == pytest.approx(direct.mean())
    assert verdict.summary("marginal").utilisation.n == 8


def test_judge__refuses_a_rate_that_is_none(short):
    with pytest.raises(ConfigError, match="target_rate"):
        evaluate.judge([Marginal(0.02)], short, target_rate=0.0)


def test_judge__moves_the_others_to_the_judged_rate(short):
    verdict = evaluate.judge(
        [Marginal(0.02), FixedRatio(2.0), Progressive()],
        short,
        target_rate=0.05,
        n_tune_days=8,
        n_test_days=8,
    )
    equal, progressive = verdict.at_equal_rate
    assert equal is not None
    assert progressive is None
    rates = [row.silent_rate.value for row in verdict.summaries]
    moved = equal.value - verdict.differences[0].utilisation.value
    assert np.sign(moved) == np.sign(rates[1] - rates[0])


def test_ratio__holds_its_target_on_average_and_never_stalls():
    """One agent who is always idle, ratio .5: half of the 33-s blocks want one line."""
    scenario = load_scenario("study-stat-5").model_dump()
    scenario["floor"]["n_agents"] = 1
    scenario["calls"]["answer_rate"] = {"kind": "constant", "p": 0.0}
    scenario = Scenario.model_validate(scenario)
    world = evaluate.make_world(FixedRatio(0.5), scenario, 64)
    everywhere = np.ones(64, np.bool_)
    world.begin(everywhere, list(range(64)))
    for _ in range(7200):
        world.step(np.full((64, 1), 0.5, np.float32), everywhere)
    dialed = world.totals()["dialed"]
    assert dialed.min() > 60  # every campaign dials all the time; 7200 s / 33 s / 2 = 109 blocks
    assert dialed.max() < 1000


def test_make_world__refuses_a_policy_of_another_world(short):
    scenario = load_scenario("markov-5")
    spec = PolicySpec.of(
        scenario,
        observation="markov",
        action="dials",
        fields=observation_fields("markov"),
        n_actions=scenario.max_dials + 1,
    )
    layer = Layer(np.zeros((2, spec.n_actions)), np.zeros(spec.n_actions))
    policy = LearnedPolicy(layers=(layer,), spec=spec)
    evaluate.make_world(policy, scenario, 1)
    with pytest.raises(ConfigError, match="number of actions differ"):
        evaluate.make_world(policy, load_scenario("markov-20"), 1)
    episode = scenario.episode.model_copy(update={"decision_interval_s": 2.0})
    with pytest.raises(ConfigError, match="decision interval"):
        evaluate.make_world(policy, scenario.model_copy(update={"episode": episode}), 1)
