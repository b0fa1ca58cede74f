"""`quietdial simulate`: its figures are the world's, its records add up to the world's totals."""

import inspect
import json

import numpy as np
import pytest
import yaml

from quietdial.agents.rules import Blend, FixedRatio, Marginal, Progressive
from quietdial.envs import ConfigError, Scenario, load_scenario
from quietdial.envs.pacing.world import World
from quietdial.envs.record_files import read_columns, read_source
from quietdial.envs.records import STATES
from quietdial.experiments.cli import main
from quietdial.experiments.evaluate import play_days
from quietdial.experiments.simulate import find_policy, policy_label, simulate

HAS_LOG = "records" in inspect.signature(World).parameters
needs_log = pytest.mark.skipif(not HAS_LOG, reason="this kernel keeps no log")


def short(preset="study-real-10", duration_s=1800.0, **parts) -> Scenario:
    """A preset with a short day and changed parts."""
    data = load_scenario(preset).model_dump(mode="json", exclude_none=True)
    data["episode"] |= {"duration_s": duration_s}
    for part, changes in parts.items():
        data[part] |= changes
    return Scenario.model_validate(data)


@pytest.fixture
def file(tmp_path):
    """A scenario file of a short day."""
    path = tmp_path / "small.yaml"
    path.write_text(
        yaml.safe_dump(short(duration_s=600.0).model_dump(mode="json", exclude_none=True))
    )
    return path


def error_line(capsys):
    """The one line on standard error."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("quietdial: error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("text", "policy", "label"),
    [
        ("progressive", Progressive(), "progressive"),
        ("marginal", Marginal(), "marginal, theta 0.02"),
        ("theta:0.05", Marginal(0.05), "marginal, theta 0.05"),
        ("marginal:0.05", Marginal(0.05), "marginal, theta 0.05"),
        ("ratio:2.5", FixedRatio(2.5), "fixed-ratio, ratio 2.5"),
        ("blend", Blend(), "blend, ratio 2"),
        ("blend:1.5", Blend(1.5), "blend, ratio 1.5"),
    ],
)
def test_find_policy__reads_a_rule_with_its_knob(text, policy, label):
    assert find_policy(text) == policy
    assert policy_label(find_policy(text)) == label


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clever", "unknown policy 'clever'; use one of progressive"),
        ("ratio:many", "'many' is not a number"),
        ("ratio:99", "ratio = 99.0 must be between"),
        ("theta:nan", "theta = nan must be between"),
        ("progressive:2", "no knob"),
    ],
)
def test_find_policy__refuses_with_one_line(text, words):
    with pytest.raises(ConfigError, match=words):
        find_policy(text)


def test_simulate__plays_the_same_days_whatever_stands_side_by_side():
    scenario = short()
    one = simulate(Marginal(), scenario, seed=7, n_days=6)
    two = simulate(Marginal(), scenario, seed=7, n_days=2, n_campaigns=3)
    judge = play_days(Marginal(), scenario, np.arange(7, 13))
    for name, values in judge.days.items():
        np.testing.assert_array_equal(one.totals[name], values)
        np.testing.assert_array_equal(two.totals[name], values)
    assert one.figures() == two.figures()
    assert one.windows == two.windows


def test_simulate__figures_are_those_of_the_totals():
    result = simulate(FixedRatio(3.0), short(), n_campaigns=8)
    t = result.totals
    found = {figure["name"]: figure for figure in result.figures()}
    silent = t.get("counted", t["silent"])
    expected = {
        "utilisation": (t["talk_s"] + t["wrap_s"]).sum() / t["available_s"].sum(),
        "conversations_per_agent_h": 3600 * t["connected"].sum() / t["available_s"].sum(),
        "silent_rate": silent.sum() / t["answered"].sum(),
        "dials_per_answered": t["dialed"].sum() / t["answered"].sum(),
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, rel=1e-12)
        assert found[name]["lo"] < value < found[name]["hi"]
        assert found[name]["n"] == 8
    causes = sum(found[f"silent_rate/{cause}"]["value"] for cause in ("cut", "left", "amd"))
    assert causes == pytest.approx(t["silent"].sum() / t["answered"].sum(), rel=1e-12)


def test_simulate__counts_the_windows_above_the_cap():
    scenario = short()
    result = simulate(FixedRatio(3.0), scenario, n_campaigns=8)
    rate = result.totals["silent"] / result.totals["answered"]
    (tally,) = result.windows
    assert (tally.n, tally.n_above) == (8, np.count_nonzero(rate > scenario.rule.cap))
    assert tally.worst == pytest.approx(rate.max(), rel=1e-12)
    assert tally.n_above > 0


def test_simulate__one_episode_has_no_interval():
    result = simulate(Progressive(), short(duration_s=300.0))
    assert all(figure["lo"] is None for figure in result.figures())
    assert "95 %" not in str(result.table().columns[2].header)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_days": 0}, "days = 0 must be at least 1"),
        ({"n_campaigns": 0}, "campaigns = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"n_days": 10**6}, "at most 100000"),
    ],
)
def test_simulate__refuses_bad_numbers(changes, words):
    with pytest.raises(ConfigError, match=words):
        simulate(Progressive(), short(), **changes)


def test_command__prints_a_table_or_json(file, capsys):
    assert main(["simulate", str(file), "--policy=ratio:2", "--days=2", "--seed=5"]) == 0
    shown = capsys.readouterr().out
    for words in ("utilisation", "silent rate", "cut at the limit", "window: whole campaign"):
        assert words in shown
    assert main(["simulate", str(file), "--policy=ratio:2", "--days=2", "--seed=5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["policy"] == "fixed-ratio, ratio 2"
    assert result["seeds"] == [5, 6]
    assert result["totals"]["dialed"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["preset name or YAML file"]),
        (["nowhere"], ["unknown scenario 'nowhere'"]),
        (["markov-5", "--policy=clever"], ["unknown policy 'clever'"]),
        (["markov-5", "--days=0"], ["days = 0"]),
        (["markov-5", "--days=some"], ["days"]),
        (["markov-5", "--picture=day.jpg"], ["day.jpg", ".png"]),
        (["markov-5", "--records=/dev/null/x"], ["/dev/null/x"]),
    ],
)
def test_command__refuses_with_one_line(arguments, words, capsys):
    assert main(["simulate", *arguments]) == 2
    line = error_line(capsys)
    for word in words:
        assert word in line


# --- records of a real world ----------------------------------------------------------------------


def recorded(folder, scenario, **options):
    """A simulation with records: its result, and the columns of calls and agents."""
    result = simulate(FixedRatio(3.0), scenario, records=folder, **options)
    names = ("campaign", "outcome", "connected_ms", "late", "silent", "waited_ms", "dropped_ms")
    more = ("heard", "repeats", "success", "callback", "reserved", "censored")
    calls = read_columns(folder / "calls.parquet", (*names, *more))
    calls["is_open"] = calls["censored"] & (calls["connected_ms"] >= 0)
    agents = read_columns(folder / "agents.parquet", ("campaign", "state", "from_ms", "to_ms"))
    return result, calls, agents


def check_totals(result, calls, agents):
    """The records of every episode add up to its totals."""
    for k in range(len(result.seeds)):
        total = {name: values[k] for name, values in result.totals.items()}
        mine = calls["campaign"] == k
        person = mine & (calls["outcome"] == "person")
        talked = person & (calls["connected_ms"] >= 0)
        counts = {
            "dialed": mine,
            "answered": person,
            "connected": talked & ~calls["late"],
            "late": talked & calls["late"],
            "silent": mine & (calls["silent"] != ""),
            "message": mine & (calls["heard"] == "message"),
            "machine_agent": mine & (calls["outcome"] == "machine") & (calls["connected_ms"] >= 0),
            "machine_dropped": mine & (calls["dropped_ms"] >= 0),
            "reserved": mine & calls["reserved"],
            "repeats": mine & (calls["repeats"] > 0),
            "successes": mine & calls["success"],
        }
        asked, talks = (np.count_nonzero(mine & calls[name]) for name in ("callback", "is_open"))
        assert asked <= total.get("callbacks", 0) <= asked + talks, "counted when the talk begins"
        for name in ("machine", "busy", "no_answer", "invalid", "failure", "cancelled"):
            counts[name] = mine & (calls["outcome"] == name)
        for name in ("cut", "left", "amd"):
            counts[f"silent_{name}"] = mine & (calls["silent"] == name)
        for name, rows in counts.items():
            assert np.count_nonzero(rows) == total.get(name, 0), (k, name)
        in_flight = np.count_nonzero(mine & (calls["outcome"] == ""))
        endings = ("machine", "busy", "no_answer", "invalid", "failure", "cancelled")
        over = sum(total.get(name, 0) for name in endings)
        assert total["dialed"] == total["answered"] + over + in_flight
        here = agents["campaign"] == k
        for state in STATES:
            inside = here & (agents["state"] == state)
            spent = (agents["to_ms"] - agents["from_ms"])[inside].sum() / 1000
            assert spent == pytest.approx(total.get(f"{state}_s", 0.0), abs=1e-6), (k, state)


@needs_log
@pytest.mark.parametrize("preset", ["study-real-10", "markov-5", "italy-50"])
def test_records__add_up_to_the_totals(preset, tmp_path):
    result, calls, agents = recorded(tmp_path, short(preset), n_days=2, n_campaigns=2)
    check_totals(result, calls, agents)
    assert np.count_nonzero(calls["silent"] != "") > 0


@needs_log
@pytest.mark.slow
@pytest.mark.parametrize("preset", ["italy-50-full", "machines-50", "blend-40", "short-list-10"])
def test_records__add_up_in_worlds_with_every_feature(preset, tmp_path):
    result, calls, agents = recorded(tmp_path, load_scenario(preset))
    check_totals(result, calls, agents)
    if result.scenario.inbound is not None:
        inbound = read_columns(tmp_path / "inbound.parquet", ("served_ms", "lost", "waited_ms"))
        assert len(inbound["lost"]) == result.totals["inbound_arrived"][0]
        served = inbound["served_ms"] >= 0
        assert np.count_nonzero(served) == result.totals["inbound_served"][0]
        assert np.count_nonzero(inbound["lost"] != "") == result.totals["inbound_lost"][0]
        waited_s = inbound["waited_ms"][served].sum() / 1000
        assert waited_s <= result.totals["inbound_wait_s"][0] + 1e-6


@needs_log
def test_records__change_nothing_in_the_world(tmp_path):
    with_records, _, _ = recorded(tmp_path, short())
    without = simulate(FixedRatio(3.0), short())
    for name, values in without.totals.items():
        np.testing.assert_array_equal(with_records.totals[name], values)


@needs_log
def test_command__writes_records_and_a_picture(file, tmp_path, capsys):
    out, picture = tmp_path / "records", tmp_path / "day.png"
    code = main(["simulate", str(file), f"--records={out}", f"--picture={picture}", "--seed=3"])
    assert code == 0
    assert "calls.parquet" in capsys.readouterr().out
    tables = ("agents", "calls", "decisions")
    assert sorted(path.name for path in out.iterdir()) == [f"{name}.parquet" for name in tables]
    assert picture.read_bytes().startswith(b"\x89PNG")
    source = read_source(out)
    assert (source.scenario, source.seed) == (load_scenario(str(file)), 3)
    placed = read_columns(out / "decisions.parquet", ("at_ms", "dials", "probability"))
    calls = read_columns(out / "calls.parquet", ("dialed_ms", "reserved"))
    assert placed["dials"].sum() == (~calls["reserved"]).sum() > 0
    assert np.all(np.diff(placed["at_ms"]) > 0)
    assert np.all(placed["probability"] == 1.0)  # the rule `marginal` never draws
