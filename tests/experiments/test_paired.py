"""Seeds x days against opponents: equal rates, opponents without the rate, what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quietdial.agents.rules import FixedRatio, Marginal, Progressive
from quietdial.agents.shields import Shielded
from quietdial.envs import ConfigError, Scenario, load_scenario
from quietdial.envs.errors import QuietDialError
from quietdial.envs.pacing.shield import Shield
from quietdial.experiments.stats import Interval
from quietdial.experiments.studies import paired
from quietdial.experiments.studies.paired import (
    AsShipped,
    AtRate,
    Comparison,
    Days,
    compare_at_rate,
    judge_many,
)

RATE = 0.05


@pytest.fixture(scope="module")
def short() -> Scenario:
    """`study-stat-5` with days of one hour."""
    scenario = load_scenario("study-stat-5")
    episode = scenario.episode.model_copy(update={"duration_s": 3600.0})
    return scenario.model_copy(update={"episode": episode})


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which results are kept."""
    return tmp_path_factory.mktemp("judged")


@pytest.fixture(scope="module")
def compared(short: Scenario, work: Path) -> Comparison:
    """Two "seeds" of the marginal rule, from different knobs, against three rules."""
    return compare_at_rate(
        [Marginal(0.02), Marginal(0.06)],
        [Marginal(0.03), FixedRatio(3.0), Progressive()],
        short,
        RATE,
        n_tune=24,
        n_test=24,
        names=("itself", "ratio", "progressive"),
        reference=Marginal(0.02),
        work=work,
    )


def test_compare_at_rate__the_same_policy_has_no_difference(compared: Comparison) -> None:
    itself = compared.against("itself")
    assert itself.reached
    assert itself.matrix.shape == (2, 24)
    # All are the same rule, moved to the same rate along its slope, from knobs tuned to within 2 %.
    assert abs(itself.difference.value) < 0.002
    assert itself.difference.lo <= 0.0 <= itself.difference.hi


def test_compare_at_rate__is_paired_and_at_equal_rate(compared: Comparison) -> None:
    ratio = compared.against("ratio")
    assert ratio.reached
    assert ratio.rate == RATE
    assert ratio.difference.value > 0.01
    by_hand = np.mean([one.values(RATE) for one in compared.learned], axis=0).mean()
    assert ratio.difference.value == pytest.approx(by_hand - ratio.utilisation.value)


def test_compare_at_rate__shows_who_cannot_reach_the_rate_at_its_own(compared: Comparison) -> None:
    progressive = compared.against("progressive")
    assert not progressive.reached
    assert progressive.rate == 0.0
    assert progressive.reference is None  # nothing can be tuned to a rate of 0
    assert progressive.difference.value > compared.against("ratio").difference.value


def test_compare_at_rate__holds_the_reference_against_it(short: Scenario, work: Path) -> None:
    found = compare_at_rate(
        [Marginal(0.02), Marginal(0.06)],
        [AsShipped(FixedRatio(2.0))],
        short,
        RATE,
        n_tune=24,
        n_test=24,
        reference=Marginal(0.02),
        work=work,
    ).facing[0]
    assert not found.reached
    assert (found.name, found.knob) == ("fixed-ratio, shipped", None)
    assert isinstance(found.reference, Interval)
    assert found.reference.value > 0.0


def test_judge_at__takes_what_was_played_from_the_folder(
    short: Scenario, work: Path, compared: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was played again")

    monkeypatch.setattr(paired, "play_days", never)
    monkeypatch.setattr(paired, "tune_rates", never)
    again = paired.judge_at(Marginal(0.02), short, RATE, Days(24, 24), work)
    first = compared.learned[0]
    assert isinstance(again, AtRate)
    assert again.policy == first.policy
    np.testing.assert_allclose(again.values(), first.values(), rtol=0, atol=1e-6)
    with pytest.raises(AssertionError, match="played again"):
        paired.judge_at(Marginal(0.02), short, 0.04, Days(24, 24), work)


def test_as_shipped__has_no_knob_to_set() -> None:
    with pytest.raises(ConfigError, match="no knob to set"):
        AsShipped(FixedRatio(2.0)).with_knob(3.0)


def test_compare_at_rate__refuses_a_single_seed(short: Scenario) -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        compare_at_rate([Marginal()], [], short, RATE)


def test_judge_many__finds_the_same_in_other_processes(short: Scenario) -> None:
    asked = [(Marginal(0.02), RATE), (AsShipped(FixedRatio(2.0)), RATE)]
    here = judge_many(asked, short, Days(4, 4))
    there = judge_many(asked, short, Days(4, 4), processes=2)
    for one, other in zip(here, there, strict=True):
        assert one.policy == other.policy
        assert one.own_rate == other.own_rate
        np.testing.assert_array_equal(one.values(), other.values())


def test_judge_many__names_who_could_not_be_judged(short: Scenario) -> None:
    with pytest.raises(QuietDialError, match=r"marginal at 2: .*rate = 2"):
        judge_many([(Marginal(0.02), 2.0)], short, Days(4, 4))


def test_fingerprint__tells_policies_apart_whatever_stands_around_them(short: Scenario) -> None:
    shields = [Shield(), Shield(reserves=True)]
    policies = [*(Shielded(Marginal(x), s) for x in (0.02, 0.03) for s in shields), Marginal()]
    prints = {paired.fingerprint(one, short, rate=RATE) for one in policies}
    assert len(prints) == 5
