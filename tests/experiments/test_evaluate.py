"""The judge: disjoint days, common random numbers, knobs tuned to a rate."""

from typing import Any

import numpy as np
import pytest

from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.agents.policy import PolicySpec
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


class Stepwise:
    """A rule that is played one decision after the other, as a learned policy is."""

    constant = False

    def __init__(self, rule):
        self._rule = rule

    def __getattr__(self, name):
        return getattr(self._rule, name)


@pytest.mark.parametrize("name", ["italy-5", "uk-50", "study-shift-5"])
@pytest.mark.parametrize("rule", [Marginal(0.05), FixedRatio(2.5), Progressive()])
def test_play_days__holds_a_constant_action_with_the_same_bits(name, rule):
    scenario = load_scenario(name)
    if scenario.episode.n_days > 1:
        episode = scenario.episode.model_copy(update={"n_days": 2})
        scenario = scenario.model_copy(update={"episode": episode})
    held = evaluate.play_days(rule, scenario, evaluate.test_seeds(2))
    each: Any = Stepwise(rule)
    stepped = evaluate.play_days(each, scenario, evaluate.test_seeds(2))
    for group in ("days", "hours", "windows"):
        one, other = getattr(held, group), getattr(stepped, group)
        assert one.keys() == other.keys()
        for key, values in one.items():
            np.testing.assert_array_equal(values, other[key], err_msg=key)


def test_play_days__hours_add_up_to_the_days():
    scenario = load_scenario("italy-5")  # one day of nine hours
    days = evaluate.play_days(Marginal(0.05), scenario, evaluate.test_seeds(3))
    assert days.hours["silent"].shape == (3, 9)
    for key in ("silent", "answered"):
        np.testing.assert_array_equal(days.hours[key].sum(axis=1), days.days[key])
    assert days.windows["closed"].tolist() == [1.0, 1.0, 1.0]
    above = days.days["silent"] > scenario.rule.cap * days.days["answered"]
    np.testing.assert_array_equal(days.windows["breached"], above)


def test_play_days__hours_of_all_sessions_are_counted_together():
    scenario = load_scenario("uk-50")  # several sessions of eleven hours, a window a day
    days = evaluate.play_days(Marginal(0.05), scenario, evaluate.test_seeds(2))
    assert days.hours["answered"].shape == (2, 11)
    assert (days.hours["answered"].sum(axis=0) > 0).all()
    np.testing.assert_array_equal(days.hours["answered"].sum(axis=1), days.days["answered"])
    assert days.windows["closed"].tolist() == [5.0, 5.0]


def test_tune_rates__reaches_several_rates_from_one_sweep(short):
    seeds = evaluate.tune_seeds(24)
    three, one = evaluate.tune_rates(Marginal(0.2), short, (0.03, 0.01), seeds, tolerance=0.05)
    assert three.reached
    assert one.reached
    assert three.sweep == one.sweep
    assert abs(three.tuning_rate - 0.03) <= 0.003
    assert abs(one.tuning_rate - 0.01) <= 0.001
    assert one.policy.knob is not None
    assert three.policy.knob is not None
    assert one.policy.knob < three.policy.knob
    for item in (three, one):  # what it says of its knob is what playing it again gives
        again = evaluate.play_days(item.policy, short, seeds)
        assert evaluate.silent_rate(again) == item.tuning_rate


def test_tune_rates__measures_nothing_that_is_known(short, monkeypatch):
    seeds = evaluate.tune_seeds(24)
    (first,) = evaluate.tune_rates(Marginal(0.2), short, (0.03,), seeds, tolerance=0.1)
    monkeypatch.setattr(evaluate, "play_days", None)  # playing anything would fail
    (again,) = evaluate.tune_rates(
        Marginal(0.2), short, (0.03,), seeds, tolerance=0.1, known=first.sweep
    )
    assert again == first


def test_tune_rates__marks_a_rate_out_of_reach_at_the_end_of_the_range(short):
    (tuned,) = evaluate.tune_rates(FixedRatio(3.0), short, (0.95,), evaluate.tune_seeds(2))
    assert not tuned.reached
    assert tuned.policy.knob == pytest.approx(20.0)


def test_tune_rates__finds_a_knob_whose_range_begins_below_zero(short):
    """Knobs that may be negative are searched by differences, not by ratios."""

    class Shifted(Stepwise):
        """The ratio with -2 taken off, so that it lies in -1.8 to 18."""

        constant = True
        name = "shifted"
        knob_range = (-1.8, 18.0)

        @property
        def knob(self):
            return self._rule.ratio - 2.0

        def with_knob(self, value):
            return Shifted(FixedRatio(value + 2.0))

    seeds = evaluate.tune_seeds(24)
    shifted: Any = Shifted(FixedRatio(1.0))
    (tuned,) = evaluate.tune_rates(shifted, short, (0.03,), seeds)
    (plain,) = evaluate.tune_rates(FixedRatio(1.0), short, (0.03,), seeds)
    assert tuned.reached
    assert tuned.policy.knob is not None
    assert tuned.policy.knob + 2.0 == pytest.approx(plain.policy.knob, rel=0.05)


def test_tune_rates__takes_the_busiest_setting_of_a_rule_that_gets_worse_beyond_it(
    short, monkeypatch
):
    """A made-up rule: silent rate knob / 100, utilisation .9 - (knob - 2)^2 / 100.

    3 % is at knob 3, with .89; the busiest setting below it is knob 2, with .90 and 2 % silent:
    busier by .01, which is clear. 1 % is at knob 1 with .89, and nothing below is busier.
    """

    def play(policy, scenario, seeds, *, batch):
        knob = policy.knob
        answered = 1e6 * np.ones(len(seeds))
        days = {
            **dict.fromkeys(("dialed", "answered", "connected"), answered),
            "silent": answered * knob / 100.0,
            "talk_s": np.full(len(seeds), 0.9 - (knob - 2.0) ** 2 / 100.0),
            "wrap_s": np.zeros(len(seeds)),
            "available_s": np.ones(len(seeds)),
        }
        return evaluate.PolicyDays("rule", "ratio", knob, seeds, days)

    monkeypatch.setattr(evaluate, "play_days", play)
    three, one = evaluate.tune_rates(
        FixedRatio(5.0), short, (0.03, 0.01), evaluate.tune_seeds(2), tolerance=0.01
    )
    assert not three.reached
    assert three.policy.knob == pytest.approx(2.0, abs=0.25)  # utilisation .8994 or more
    assert three.tuning_rate < 0.0225
    assert one.reached
    assert one.policy.knob == pytest.approx(1.0, abs=0.02)


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
