"""The SIP loop: the simulator's draws, real calls through SIPp, the comparison."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from quietdial.agents.rules import FixedRatio
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.world import World
from quietdial.envs.records import Assembler
from quietdial.envs.scenario import changed, load_scenario
from quietdial.experiments.evaluate import play_world
from quietdial.experiments.sip import prove as proving
from quietdial.experiments.sip.callees import Fate, network, why_not
from quietdial.experiments.sip.compare import MEASURES, compare
from quietdial.experiments.sip.fates import Draws
from quietdial.experiments.sip.grid import _figure, with_timeout
from quietdial.experiments.sip.play import EXAMPLES, play
from quietdial.experiments.sip.worlds import Setting, ratio_policy, simulate, sip_floor

with_sipp = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def short_floor(seconds):
    """Six agents and calls so short that much happens in a few seconds."""
    uniform = {"kind": "uniform", "low_s": 0.1, "high_s": 0.8}
    return changed(
        sip_floor(600.0),
        "sip-short",
        floor={
            "n_agents": 6,
            "talk": {"kind": "exponential", "mean_s": 1.5},
            "wrap": {"kind": "exponential", "mean_s": 0.5},
        },
        calls={
            "time_to_answer": {"kind": "uniform", "low_s": 0.2, "high_s": 1.3},
            "unanswered": [
                {"outcome": "busy", "share": 0.4, "time": uniform},
                {"outcome": "invalid", "share": 0.2, "time": uniform},
                {
                    "outcome": "no_answer",
                    "share": 0.4,
                    "time": {"kind": "constant", "value_s": 1.2},
                },
            ],
            "ring_timeout_s": 1.2,
            "patience": {"kind": "exponential", "mean_s": 0.7},
        },
        rule={"wait_limit_s": 0.8},
        episode={"duration_s": seconds, "close_s": 5.0},
    )


def test_draws__are_those_that_the_simulator_plays():
    """Every outcome, time and length of a simulated day, from its records."""
    scenario = short_floor(600.0)
    world = World(1, scenario, observation="none", action="ratio", records=True)
    everywhere = np.ones(1, np.bool_)
    world.begin(everywhere, [77])
    assembler = Assembler(scenario)
    done = False
    while not done:
        played = world.step(np.full((1, 1), 3.0, np.float32), everywhere)
        done = bool(played[0, 4])
        assembler.feed(world.drain_log()[0])
    assembler.close(600_000)
    records = assembler.take()
    draws = Draws(scenario, 77)
    calls = sorted(records.calls, key=lambda call: call.call)
    assert len(calls) > 500
    for call in calls:
        fate = draws.fate(call.call, 1000 + call.call)
        late = fate.outcome == "person" and fate.ring_ms > 1200
        assert call.outcome == ("no_answer" if late else fate.outcome)
        assert call.ended_ms == call.dialed_ms + min(fate.ring_ms, 1200)
        if call.silent == "left":
            assert call.silent_ms == call.dialed_ms + fate.ring_ms + fate.patience_ms
    lengths = [draws.conversation(k) for k in range(len(calls))]
    found = [(call.talk_ms, call.wrap_ms) for call in calls if call.wrap_ms and not call.censored]
    assert set(found) <= set(lengths)
    assert len(found) > 200
    assert sum(call.silent == "left" for call in calls) > 2


def test_draws__of_a_world_that_calls_cannot_show_are_refused():
    with pytest.raises(ConfigError, match="constant answer rate"):
        Draws(load_scenario("italy-50"), 1)


def test_ratio_policy__is_the_fixed_ratio_rule():
    for ratio in (1.0, 2.0, 4.0):
        scenario = sip_floor(200.0)
        seeds = list(range(20))
        net = simulate(Setting("x", ratio_policy(scenario, ratio), scenario), seeds)
        world = World(len(seeds), scenario, observation="none", action="ratio")
        rule = play_world(FixedRatio(ratio), world, np.array(seeds), lambda _: None)[0]
        for name, values in rule.items():
            np.testing.assert_array_equal(net[name], values, err_msg=name)


@pytest.mark.parametrize(("off", "found"), [(0.0, False), (0.03, True)])
def test_compare__finds_a_difference_and_only_that(off, found):
    """Utilisation of 8 sessions with sd .01: z of a shift of .03 is about 8."""
    rng = np.random.default_rng(3)

    def sessions(n, shift=0.0):
        busy = 18000.0 * (0.8 + shift + rng.normal(0, 0.01, n))
        return {"talk_s": busy, "wrap_s": 0 * busy, "available_s": np.full(n, 18000.0)}

    both = compare(MEASURES[1], sessions(8, off), sessions(8), sessions(1000), 1)
    assert (both.p < 0.001) == found
    assert (both.difference.lo > 0) == found
    assert both.difference.value == pytest.approx(off, abs=0.01)
    assert both.real.value == pytest.approx(0.8 + off, abs=0.01)


def test_compare__takes_two_rates_of_zero_as_equal():
    silent = {"silent": np.zeros(4), "answered": np.full(4, 100.0)}
    both = compare(MEASURES[0], silent, silent, silent, 1)
    assert (both.z, both.p, both.paired_p, both.difference.value) == (0.0, 1.0, 1.0, 0.0)


@with_sipp
def test_loop__every_real_call_is_accounted_for_on_both_sides(tmp_path):
    """Two dialers, one sidecar, one SIPp for 14 s; the counts, outcomes and decisions agree."""
    scenario = short_floor(14.0)
    setting = Setting("ratio 3", ratio_policy(scenario, 3.0), scenario, 3.0)
    played = play([setting], [5, 6], tmp_path, lambda _: None)
    rows = {row["name"]: row for row in proving._counts([setting], played)}
    rows |= {row["name"]: row for row in proving._decisions([setting], played)}
    must = [row for row in rows.values() if row["note"].startswith("must be 0")]
    assert len(must) == 4
    assert [row["value"] for row in must] == [0.0] * 4, must
    assert rows["calls-unaccounted"]["n"] > 40
    for session in played.sessions:
        told = session.totals
        assert min(told[name] for name in ("busy", "no_answer", "invalid", "connected")) > 0
        assert told["unconfirmed"] is False
        assert told["idle_s"] + told["talk_s"] + told["wrap_s"] == pytest.approx(84.0, abs=3.0)
        assert session.decisions[0]["calls"] == scenario.max_dials  # all six agents idle
    assert played.networks["ratio 3"]["callee_ended"] > 0


@with_sipp
def test_dialer__loses_no_call_where_messages_are_lost(tmp_path):
    """SIPp drops 5 % of what it sends and receives; answers cross CANCELs."""
    kinds = ["person", "busy", "crosses", "invalid", "no_answer"]
    fates = [Fate(1_000_000 + k, kinds[k % 5], 150 + 40 * (k % 9), 500) for k in range(400)]
    with network(tmp_path / "network", fates, ["-lost", "5"]) as made:
        settings = {
            "peer": ["127.0.0.1", made.port],
            "local": ["127.0.0.1", 0],
            "sidecar": str(tmp_path / "nobody"),
            "campaign": "it-1",
            "n_agents": 12,
            "seconds": 8,
            "close_s": 3,
            "interval_s": 0.5,
            "limit_s": 0.6,
            "ring_timeout_s": 0.7,
            "first_number": 1_000_000,
            "lines": 60,
            "talk_s": 0.8,
            "wrap_s": 0.2,
            "t1_s": 0.05,
            "log": str(tmp_path / "calls.jsonl"),
        }
        path = tmp_path / "settings.json"
        path.write_text(json.dumps(settings))
        done = subprocess.run(
            [sys.executable, "-m", "sip_dialer", str(path)],
            env={**os.environ, "PYTHONPATH": str(EXAMPLES)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    told = json.loads(done.stdout)
    assert done.stderr == ""
    assert set(told["decided_by"]) == {"client"}  # nobody answered: one line for each idle agent
    outcomes = ("answered", "busy", "no_answer", "invalid", "failure")
    assert told["dialed"] == sum(told[name] for name in outcomes) > 40
    assert told["answered"] == told["connected"] + told["silent_cut"] + told["silent_left"]
    assert told["resent"] > 0
    assert told["crossed"] > 0
    records = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    right = {"person": "person", "crosses": "person", "busy": "busy", "invalid": "invalid"}
    same = [right.get(kinds[k % 5], "no_answer") == r["outcome"] for k, r in enumerate(records)]
    assert np.mean(same) > 0.7  # the rest: the response came after the dialer had given up


def test_dialer__without_settings_says_how_it_is_used():
    done = subprocess.run(
        [sys.executable, "-m", "sip_dialer"], cwd=EXAMPLES, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "settings.json" in done.stderr


def test_proof__without_sipp_says_where_to_get_it(monkeypatch, capsys):
    from quietdial.experiments.cli import main

    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["sip", "proof", "--quick"]) == 2
    assert "apt-get install sip-tester" in capsys.readouterr().err


def test_page__shows_both_tables():
    silent = {"silent": np.ones(3), "answered": np.full(3, 50.0)}
    compared = compare(MEASURES[0], silent, silent, silent, 1)
    rows = []
    for measure in MEASURES:
        rows += proving._figures_of(f"ratio 1: {measure.name}", measure.unit, compared)
    rows.append(proving._never("calls-unaccounted", 0, 100, "all"))
    result = {"command": "quietdial sip proof", "commit": None, "figures": rows}
    text = proving.comparison_table(result)
    assert "| ratio 1 | silent rate | 2.00 (2.00 to 2.00) % | 2.00 %" in text
    assert text.count("| ratio 1 |") == 4
    assert "| `calls-unaccounted` | 0 | 0 to 0.0295 | 100 |" in proving.table(result)
    assert "ratio" not in proving.table(result)


def test_grid__a_timeout_at_a_decision_gains_what_the_first_loop_lost():
    """Ratio 1: 2.0 points lower with real calls, 1.9 lower with 10 ms more in the simulator."""
    floor = with_timeout(sip_floor(900.0), 8.0)
    row = _figure("x", FixedRatio(1.0), floor, 8.0, np.arange(8))
    assert row["hi"] < -0.012
    off_grid = _figure("x", FixedRatio(1.0), floor, 7.6, np.arange(8))
    assert abs(off_grid["value"]) < 0.003
