"""The judge: disjoint days, common random numbers, knobs tuned to a rate."""

import numpy as np
import pytest

from quietdial.agents.rules import FixedRatio, Marginal, Progressive
from quietdial.envs import ConfigError, load_scenario
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
