"""The record of the limits: classical rules evaluated exactly (science A2), and the file itself."""

import json

import numpy as np
import pytest
from scipy import stats

from quietdial.agents.optimal import solve
from quietdial.envs import ConfigError
from quietdial.envs.pacing.markov import MarkovWorld, evaluate
from quietdial.experiments import limits
from quietdial.experiments.bench.results import BEGIN, END
from quietdial.experiments.limits import (
    at_cap,
    best_quantile,
    level_table,
    play_optimum,
    quantile_table,
    ratio_table,
    run_limits,
)


def world(agents, p=0.25):
    return MarkovWorld(agents, p, 180.0, 12.0)


def test_quantile_table__one_agent_worked_by_hand():
    """N = 1, p = .25, h = 12 s: a call is answered with .25 (1 - 1/e) = .15803.

    Idle: two calls overflow with .15803^2 = .02497, three with 3 x .02497 x .84197 + .00395 =
    .06703; eps = .03 allows two. Busy (freed with 1 - exp(-12/180) = .06449): one call overflows
    with .15803 x .93551 = .1478, so none.
    """
    assert quantile_table(world(1), 0.03, 12.0).low == (2, 0)
    assert quantile_table(world(1), 0.07, 12.0).low == (3, 0)
    assert quantile_table(world(1), 0.15, 12.0).low[1] == 1


def test_quantile_table__agrees_with_a_count_of_every_case():
    for eps, h in ((0.02, 8.0), (0.2, 20.0)):
        table = quantile_table(world(4), eps, h).low
        answer, release = 0.25 * (1 - np.exp(-h / 12)), 1 - np.exp(-h / 180)
        for busy in range(5):
            for calls, within in ((table[busy], True), (table[busy] + 1, False)):
                overflow = sum(
                    stats.binom.pmf(a, calls, answer) * stats.binom.pmf(r, busy, release)
                    for a in range(calls + 1)
                    for r in range(busy + 1)
                    if a > 4 - busy + r
                )
                assert bool(overflow <= eps) is within


def test_tables__ratio_and_level():
    """N = 4: 2.5 calls per idle agent, rounded down; 1.5 x 4 - busy."""
    assert ratio_table(world(4), 2.5).low == (10, 7, 5, 2, 0)
    assert level_table(world(4), 1.5).low == (6, 5, 4, 3, 2)


@pytest.mark.parametrize(
    ("agents", "p", "published"),
    [
        (2, 0.25, 0.8101),
        (5, 0.25, 0.8367),
        (10, 0.25, 0.8664),
        (5, 0.1, 0.7771),
        (5, 0.5, 0.8911),
        (10, 0.5, 0.9002),
    ],
)
def test_quantile_rule__reaches_the_published_figure(agents, p, published):
    """Science A2, to its fourth digit, and at least 99.9 % of the optimum."""
    found, _ = best_quantile(world(agents, p), 0.03)
    best = solve(agents, p, 180.0, 12.0, 0.03, method="policy-iteration").utilisation
    assert found.utilisation == pytest.approx(published, abs=2e-4)
    assert found.silent_rate == pytest.approx(0.03, abs=1e-8)
    assert 0.999 * best <= found.utilisation <= best + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agents", "p", "published"), [(20, 0.25, 0.9017), (10, 0.1, 0.8409), (20, 0.5, 0.9183)]
)
def test_quantile_rule__reaches_the_published_figure_in_larger_worlds(agents, p, published):
    test_quantile_rule__reaches_the_published_figure(agents, p, published)


@pytest.mark.parametrize(
    ("agents", "published"), [(2, 0.7841), (5, 0.7879), (10, 0.8016), (20, 0.8488)]
)
def test_level_on_all_lines__has_the_published_figure(agents, published):
    """Science A2; the study's mixture of two tables may be another one: .0015 are allowed."""
    it = world(agents)
    found = at_cap(it, lambda knob: level_table(it, knob), 1.0, 30.0, 0.03)
    assert found.utilisation == pytest.approx(published, abs=1.5e-3)


@pytest.mark.parametrize(
    ("agents", "p", "published"),
    [
        (2, 0.25, 0.8069),
        (5, 0.25, 0.8297),
        (10, 0.25, 0.8528),
        (20, 0.25, 0.8984),
        (5, 0.1, 0.7658),
        (10, 0.1, 0.8294),
    ],
)
def test_fixed_ratio__is_at_least_the_published_figure(agents, p, published):
    """Science A2 tried ratios on a grid; tuned finely, the rule is up to .6 points better."""
    it = world(agents, p)
    found = at_cap(it, lambda knob: ratio_table(it, knob), 1.0, 60.0, 0.03)
    assert published - 2e-4 < found.utilisation < published + 7e-3


@pytest.mark.parametrize(("agents", "published"), [(5, 0.8297), (10, 0.8528)])
def test_fixed_ratio__in_steps_of_a_half_has_the_published_figure(agents, published):
    """The two ratios around 3 %, each played for a part of the time: averages are linear in it."""
    it = world(agents)
    ratio = 1.0
    while evaluate(ratio_table(it, ratio + 0.5), *it).silent_rate <= 0.03:
        ratio += 0.5
    one, two = (evaluate(ratio_table(it, r), *it) for r in (ratio, ratio + 0.5))
    excess = [f.silent_per_s - 0.03 * f.answered_per_s for f in (one, two)]
    share = excess[0] / (excess[0] - excess[1])
    mixed = (1 - share) * one.utilisation + share * two.utilisation
    assert mixed == pytest.approx(published, abs=1e-4)


def test_at_cap__needs_a_range_around_the_cap():
    it = world(2)
    with pytest.raises(ConfigError, match="does not enclose"):
        at_cap(it, lambda knob: ratio_table(it, knob), 1.0, 1.5, 0.03)


def test_play_optimum__has_the_exact_figures_within_its_interval():
    """300 campaigns of half an hour; another seed fails with probability .02."""
    found = play_optimum("markov-5", 300, played_s=1800, first_seed=11)
    assert found.inside
    assert 0.0 < found.utilisation[1] < 0.006
    assert found.exact.utilisation == pytest.approx(0.8367, abs=1e-4)


def test_run_limits__writes_the_house_format(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_WARM_S", 60)
    told = []
    target = tmp_path / "deep" / "exact-optimum.json"
    written = run_limits(output=target, quick=True, report=told.append)
    assert json.loads(target.read_text()) == written
    assert (written["name"], written["command"]) == (limits.NAME, limits.COMMAND)
    assert len(told) == len(written["figures"]) > 15
    by_name = {row["name"]: row for row in written["figures"]}
    assert by_name["markov-5/optimum at 3 %"]["value"] == pytest.approx(0.8367, abs=1e-4)
    assert abs(by_name["markov-5/linear programme minus policy iteration at 3 %"]["value"]) < 1e-6
    assert by_name["study-stat-5/proven upper bound at 3 %"]["value"] < 1.0
    for row in written["figures"]:
        assert row["lo"] <= row["value"] <= row["hi"]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    limits.refresh_page(target, page)
    text = page.read_text()
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| markov-5 | 0.7825 | " in text
    assert "| study-stat-5 | 0.3699 | 0.97" in text
    assert "| markov-5 | utilisation | " in text
