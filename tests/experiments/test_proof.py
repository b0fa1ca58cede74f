"""The proof room: statistics that find what they say, parts that are kept, the chain's sample."""

import io
import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from quietdial.envs import ConfigError
from quietdial.envs.pacing.markov import MarkovWorld, evaluate
from quietdial.envs.pacing.targets import OrderUpTo
from quietdial.experiments.bench.results import figure
from quietdial.experiments.cli import main
from quietdial.experiments.proof import chain, parts, runner
from quietdial.experiments.proof.family import (
    Comparison,
    judge,
    mean_test,
    pooled_z,
    ratio_test,
    sampled,
)
from quietdial.experiments.proof.parts import FAILURES, PARTS, Part, failed, failures
from quietdial.experiments.rundir import RESULT_SCHEMA


def named(figures):
    """Figures by name."""
    return {row["name"]: row for row in figures}


# --- statistics -----------------------------------------------------------------------------------


def test_judge__keeps_its_false_alarm_rate():
    """20 tests each in 4,000 right families at 5 %: the share that alarms is at most 5 %.

    By Bonferroni and independence it is 1 - (1 - .05/20)^20 = 4.88 %; four standard errors.
    """
    rng = np.random.default_rng(1)
    values = rng.normal(1.0, 1.0, (4000, 20, 30))
    error = values.std(axis=2, ddof=1) / math.sqrt(30)
    z = (values.mean(axis=2) - 1.0) / error
    limit = Comparison("f", "c", 1.0, 1.0, 1.0, 30).limit(0.05 / 20)
    alarms = (np.abs(z) > limit).any(axis=1).mean()
    expected = 1.0 - (1.0 - 0.05 / 20) ** 20
    assert abs(alarms - expected) < 4.0 * math.sqrt(expected / 4000)


def test_smallest_bias__is_found_nine_times_in_ten():
    """5,000 tests with exactly the stated bias; four standard errors and 1 % for the t law."""
    rng = np.random.default_rng(2)
    bias = Comparison("f", "c", 1.0, 1.0, 0.1, 100).smallest_bias(1e-5)
    values = rng.normal(1.0 + bias, 1.0, (5000, 100))  # standard error .1
    tests = [mean_test("f", "c", row, 1.0) for row in values]
    found = np.mean([abs(test.z) > test.limit(1e-5) for test in tests])
    assert abs(found - 0.9) < 4.0 * math.sqrt(0.09 / 5000) + 0.01


def test_ratio_test__is_the_ratio_of_totals():
    rng = np.random.default_rng(3)
    answered = rng.integers(50, 150, 200).astype(float)
    silent = rng.binomial(answered.astype(int), 0.1).astype(float)
    test = ratio_test("f", "c", silent, answered, 0.1)
    assert test.measured == pytest.approx(silent.sum() / answered.sum())
    assert test.error == pytest.approx(math.sqrt(0.09 / answered.sum()), rel=0.3)


def test_judge__shows_what_is_rejected_and_what_could_have_been():
    rng = np.random.default_rng(4)
    good = [mean_test("good", f"world {k}", rng.normal(1, 0.1, 50), 1.0) for k in range(5)]
    bad = mean_test("bad", "crooked world", rng.normal(1.5, 0.1, 50), 1.0)
    rows = named(judge("part", [*good, bad]))
    assert rows["part/good/rejected"]["value"] == 0
    assert rows["part/good/rejected"]["hi"] == pytest.approx(5 * (1 - 0.05 ** (1 / 5)))
    assert rows["part/bad/rejected"]["value"] == 1
    assert "crooked world: 1.5" in rows["part/bad/rejected"]["note"]
    assert rows["part/bad/largest_z"]["value"] > 20
    assert rows["part/good/cells"]["value"] == 5
    assert rows["part/good/campaigns"]["value"] == 50
    total = sum(rows[f"part/{name}/false_alarm_rate"]["value"] for name in ("good", "bad"))
    assert total == pytest.approx(1e-3)
    assert rows["part/good/common/rejected"]["value"] == 0
    assert "part/bad/common/rejected" not in rows
    bias = rows["part/good/smallest_bias"]
    common = rows["part/good/common/smallest_bias"]["value"]
    assert common == pytest.approx(bias["value"] / math.sqrt(5), rel=0.3)
    assert 0.05 < bias["lo"] <= bias["value"] <= bias["hi"] < 0.15
    assert [row["name"] for row in failed(list(rows.values()))] == ["part/bad/rejected"]


def test_judge__finds_a_small_bias_that_all_cells_have():
    """40 cells, each two standard errors off: none is rejected alone, all together are."""
    rng = np.random.default_rng(5)
    values = rng.normal(0.0, 1.0, (40, 100))
    values -= values.mean(axis=1, keepdims=True)
    values *= 0.1 / values.std(axis=1, ddof=1, keepdims=True)
    tests = [mean_test("f", f"world {k}", 1.02 + row, 1.0) for k, row in enumerate(values)]
    assert [test.z for test in tests] == pytest.approx([2.0] * 40)
    found = failed(judge("part", tests))
    assert [row["name"] for row in found] == ["part/f/common/rejected"]
    assert "all 40 cells together: z = 12.5" in found[0]["note"]


def test_pooled_z__is_standard_normal():
    """20,000 families of ten cells; mean and variance within four standard errors, 1 % for t."""
    rng = np.random.default_rng(6)
    t = rng.standard_t(49, (20_000, 10))
    z = np.array([pooled_z([Comparison("f", "c", 1 + x, 1.0, 1.0, 50) for x in row]) for row in t])
    assert abs(z.mean()) < 4.0 / math.sqrt(20_000)
    assert abs(z.var() - 1.0) < 4.0 * math.sqrt(2 / 20_000) + 0.01


def test_tests__a_constant_that_is_wrong_is_rejected():
    test = mean_test("f", "c", np.full(10, 0.5), 0.6)
    assert test.z == -math.inf
    assert failed(judge("part", [test]))
    assert mean_test("f", "c", np.full(10, 0.5), 0.5).z == 0.0


def test_tests__refuse_what_cannot_be_tested():
    with pytest.raises(ConfigError, match="at least 2"):
        mean_test("f", "c", np.ones(1), 1.0)
    for values, exact in ((np.ones(3), 0.0), (np.ones(3), np.nan), (np.full(3, np.nan), 1.0)):
        with pytest.raises(ConfigError, match="finite"):
            mean_test("f", "c", values, exact)
    with pytest.raises(ConfigError, match="no tests"):
        judge("part", [])


def test_sampled__is_everything_at_scale_one_and_spread_below():
    assert sampled(range(100), 1.0, 5) == list(range(100))
    assert sampled(range(100), 0.5, 5) == [0, 25, 50, 74, 99]
    assert sampled(range(3), 0.1, 5) == [0, 1, 2]


def test_failures__names_and_bounds():
    row = failures("x", [f"thing {k}" for k in range(30)], 100, "things")
    assert (row["value"], row["unit"], row["n"]) == (30.0, FAILURES, 100)
    assert row["note"].endswith("thing 19; and 10 more")
    assert row["lo"] < 30 < row["hi"]


# --- the runner -----------------------------------------------------------------------------------


@pytest.fixture
def room(monkeypatch):
    """Two parts that say how often they were played; `bad` can be made to fail or to break."""
    calls = {"good": 0, "bad": 0}
    wrong: dict[str, Any] = {"found": [], "error": None}

    def play(name):
        def run(scale, report):
            calls[name] += 1
            report("half", 0.5)
            if name == "bad" and wrong["error"]:
                raise wrong["error"]
            found = wrong["found"] if name == "bad" else []
            return [
                figure(f"{name}/scale", scale, "1", scale, scale, 1, "scale"),
                failures(f"{name}/rejected", found, 7, "checks [of brackets]"),
            ]

        return run

    monkeypatch.setattr(Part, "load", lambda self: play(self.name))
    both = (Part("good", "nothing", 1), Part("bad", "nothing", 2))
    return SimpleNamespace(calls=calls, wrong=wrong, parts=both)


def played(room, tmp_path, *names, **options):
    """Run the proof; its parts and what was printed."""
    text = io.StringIO()
    settings = {"quick": False, "output": None, "state": tmp_path / "state", **options}
    found = runner.run(names, console=Console(file=text, width=100), parts=room.parts, **settings)
    return found, text.getvalue()


def test_runner__keeps_finished_parts_after_an_interruption(room, tmp_path):
    room.wrong["error"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        played(room, tmp_path)
    assert room.calls == {"good": 1, "bad": 1}
    room.wrong["error"] = None
    found, text = played(room, tmp_path)
    assert room.calls == {"good": 1, "bad": 2}
    assert [one.kept for one in found] == [True, False]
    assert "good: finished before" in text
    assert "bad: nothing; about 2 min" in text
    played(room, tmp_path)
    assert room.calls == {"good": 1, "bad": 2}
    played(room, tmp_path, "good", fresh=True)
    assert room.calls == {"good": 2, "bad": 2}


def test_runner__plays_again_when_the_sources_change(room, tmp_path, monkeypatch):
    played(room, tmp_path)
    monkeypatch.setattr(runner, "sources_sha256", lambda: "other")
    played(room, tmp_path)
    assert room.calls == {"good": 2, "bad": 2}


def test_runner__plays_again_what_is_damaged(room, tmp_path):
    played(room, tmp_path, "good")
    path = tmp_path / "state" / "good.json"
    path.write_text(path.read_text()[:-20])
    played(room, tmp_path, "good")
    assert room.calls["good"] == 2


def test_runner__a_sample_is_no_proof(room, tmp_path):
    quick, _ = played(room, tmp_path, quick=True)
    assert quick[0].figures[0]["value"] == parts.SAMPLE
    full, _ = played(room, tmp_path)
    assert full[0].figures[0]["value"] == 1.0
    assert room.calls == {"good": 2, "bad": 2}


def test_runner__a_failure_is_shown_every_time(room, tmp_path):
    room.wrong["found"] = ["the sky [is] green"]
    for kept in (False, True):
        found, text = played(room, tmp_path)
        assert [bool(one.failed) for one in found] == [False, True]
        assert found[1].kept is kept
        assert "bad 1 FAILED" in text
        assert "the sky [is] green" in text
    assert room.calls["bad"] == 1


def test_runner__writes_all_finished_parts(room, tmp_path):
    output = tmp_path / "proof.json"
    _, text = played(room, tmp_path, "bad", output=output)
    assert "without good" in " ".join(text.split())
    _, text = played(room, tmp_path, "good", output=output, command="quietdial proof good")
    assert "without" not in text
    written = json.loads(output.read_text())
    assert (written["schema"], written["name"]) == (RESULT_SCHEMA, "world-proof")
    assert written["command"] == "quietdial proof good"
    assert [row["name"] for row in written["figures"]] == [
        f"{part}/{name}" for part in ("good", "bad") for name in ("scale", "rejected")
    ]


def test_runner__refuses_an_unknown_part(room, tmp_path):
    with pytest.raises(ConfigError, match=r"no part 'ugly'.*good, bad"):
        played(room, tmp_path, "ugly")


def test_sources__every_change_counts(tmp_path):
    for room_name in ("envs", "agents", "experiments"):
        (tmp_path / room_name).mkdir()
    source = tmp_path / "envs" / "kernel.py"
    source.write_text("x = 1\n")
    first = runner.sources_sha256(tmp_path)
    assert first == runner.sources_sha256(tmp_path)
    source.write_text("x = 2\n")
    second = runner.sources_sha256(tmp_path)
    source.rename(tmp_path / "agents" / "kernel.py")
    assert len({first, second, runner.sources_sha256(tmp_path)}) == 3


def test_parts__can_be_loaded():
    assert len({part.name for part in PARTS}) == len(PARTS)
    for part in PARTS:
        assert callable(part.load())
        assert part.minutes > 0


def test_verb__says_which_parts_there_are(tmp_path, capsys):
    assert main(["proof", "nothing", "--state", str(tmp_path)]) == 2
    assert "erlang, chain" in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1])
def test_verb__exits_with_the_verdict(room, tmp_path, monkeypatch, capsys, code):
    monkeypatch.setattr(runner, "PARTS", room.parts)
    room.wrong["found"] = ["something"] * code
    output = tmp_path / "proof.json"
    args = ["proof", "--quick", "--state", str(tmp_path / "state"), "--output", str(output)]
    assert main(args) == code
    assert ("FAILED" in capsys.readouterr().out) == bool(code)
    assert json.loads(output.read_text())["name"] == "world-proof-sample"


# --- the chain ------------------------------------------------------------------------------------


def test_chain__sample_has_its_exact_figures():
    figures = chain.run(parts.SAMPLE, lambda what, share: None)
    assert [row["note"] for row in failed(figures)] == []
    rows = named(figures)
    assert rows["chain/pairs"]["value"] == chain.SAMPLE_PAIRS
    for family in ("utilisation", "silent_rate", "law_of_busy", "law_of_in_flight"):
        assert rows[f"chain/{family}/rejected"]["n"] >= 5
        assert rows[f"chain/{family}/smallest_bias"]["hi"] < 0.3


def test_pairs__cover_what_they_should():
    pairs = chain.pairs()
    assert len({pair.name for pair in pairs}) == len(pairs) >= 30
    worlds = [pair.world for pair in pairs]
    assert {world.n_agents for world in worlds} == {2, 5, 10, 20, 50}
    assert {world.p_answer for world in worlds} == {0.1, 0.2, 0.3, 0.5}
    assert {world.handle_s for world in worlds} == {60.0, 120.0, 180.0, 300.0}
    assert {world.ring_s for world in worlds} == {5.0, 8.0, 12.0, 20.0}
    assert {world.decision_interval_s for world in worlds} == {0.5, 1.0, 2.0, 5.0}
    small = [pair for pair in pairs if pair.world.n_agents <= 5]
    tables = [pair.policy for pair in small]
    assert any(isinstance(table, np.ndarray) for table in tables)
    assert any(isinstance(table, OrderUpTo) and table.low != table.high for table in tables)
    for pair, table in zip(small, tables, strict=True):
        assert chain.never_silent(table, pair.world.n_agents) == (pair.kind == "progressive")


def test_chain__the_law_gives_the_same_figures():
    world = MarkovWorld(3, 0.3, 60.0, 10.0, 1.0)
    for kind in chain.KINDS:
        exact = chain.exact_of(chain.Pair(kind, world))
        assert exact.gap < 1e-11
        assert exact.law.sum() == pytest.approx(1.0)
        assert exact.law.min() > -1e-15


def test_chain__another_world_is_found():
    """Handling, ringing, answer rate or policy off by a little: taken for wrong."""
    pair = chain.Pair("randomised", MarkovWorld(5, 0.3, 60.0, 10.0, 1.0))
    exact = chain.exact_of(pair)
    assert isinstance(exact.policy, OrderUpTo)
    other = OrderUpTo(exact.policy.low, exact.policy.high, (0.5,) * 6)
    cases = [
        (pair.world._replace(handle_s=66.0), exact),
        (pair.world._replace(ring_s=11.0), exact),
        (pair.world._replace(p_answer=0.33), exact),
        (pair.world, exact._replace(policy=other)),
    ]
    for world, policy in cases:
        wrong = chain.play(world, policy, 2000, 9, 128)
        assert failed(judge("chain", chain.compare(pair, exact, wrong)))
    right = chain.play(pair.world, exact, 2000, 10, 128)
    assert not failed(judge("chain", chain.compare(pair, exact, right)))


def test_chain__three_percent_is_three_percent():
    world = MarkovWorld(5, 0.2, 120.0, 12.0, 1.0)
    policy = chain.Pair("3 %", world).policy
    assert evaluate(policy, *world).silent_rate == pytest.approx(0.03, rel=0.02)


def test_classes__are_about_equally_likely():
    law = np.full(100, 0.01)
    assert np.bincount(chain.classes(law)).tolist() == [20] * 5
    assert chain.classes(np.array([0.9, 0.1])).tolist() == [0, 1]
    assert np.all(np.diff(chain.classes(np.random.default_rng(0).dirichlet(np.ones(9)))) >= 0)
