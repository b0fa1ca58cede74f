"""The command line as a user meets it: one whole small run, and every kind of bad input."""

import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from rich.console import Console

from quietdial.agents.bundle.load import load_bundle
from quietdial.agents.checkpoint import latest_checkpoint, load_policy
from quietdial.agents.learners.floors import ManyFloors
from quietdial.agents.policy import scenario_sha256
from quietdial.envs import ConfigError, load_scenario, preset_names
from quietdial.envs.errors import RunFolderError
from quietdial.envs.loading import write_yaml
from quietdial.envs.randomise import draw_scenarios
from quietdial.experiments import play as play_module
from quietdial.experiments.cli import VERBS, main
from quietdial.experiments.config import FloorsConfig
from quietdial.experiments.evaluate import rules
from quietdial.experiments.run_plan import Plan
from quietdial.experiments.rundir import RESULT_SCHEMA, RunFolder
from quietdial.experiments.train import load_run_policy, policy_scenario
from quietdial.experiments.verbs.common import EXIT_OK, EXIT_UNREAD, EXIT_USAGE

TINY = [
    "--learner.total-steps=2048",
    "--learner.n-envs=16",
    "--learner.n-steps=32",
    "--learner.batch-size=256",
    "--learner.horizon-s=300",
    "--learner.checkpoint-every=1",
    "--judge.tune-days=4",
    "--judge.test-days=4",
    "--judge.select-days=4",
]


@pytest.fixture(scope="module")
def small_world(tmp_path_factory):
    """A scenario file: five agents, days of twenty minutes."""
    data = load_scenario("study-real-5").model_dump(mode="json", exclude_none=True)
    data["name"] = "small"
    data["episode"]["duration_s"] = 1200.0
    path = tmp_path_factory.mktemp("world") / "small.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture(scope="module")
def run(small_world, tmp_path_factory):
    """The folder of one finished run."""
    runs = tmp_path_factory.mktemp("runs")
    code = main(["train", f"--scenario={small_world}", f"--runs={runs}", "--name=one", *TINY])
    assert code == 0
    return runs / "one"


def error_line(capsys):
    """The one line on standard error."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("quietdial: error: ")
    return lines[0]


def assert_result_file(result):
    """The head that every file of figures has."""
    assert result["schema"] == RESULT_SCHEMA
    assert result["command"].startswith("quietdial ")
    assert result["commit"] is None or len(result["commit"]["commit"]) == 40
    assert result["machine"]["packages"]["numpy"] == np.__version__
    assert result["machine"]["cpu_count"] >= 1


def test_train__leaves_a_complete_run_folder(run):
    present = {path.name.split(".")[0] for path in run.iterdir()}
    assert {"config", "manifest", "train", "events", "checkpoints", "policy", "days"} <= present
    assert {"evaluation", "verdict", "export"} <= present
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["seeds"] == {
        "learner": 1,
        "train": 4096,
        "tune": 1_000_000_000,
        "select": 2_000_000_000,
        "test": 3_000_000_000,
    }
    assert (run / "evaluation.png").stat().st_size > 10_000
    bundle = load_bundle(run / "export", unsigned=True)
    assert bundle.policy is not None
    assert bundle.manifest["training"]["run"] == "one"
    assert json.loads(bundle.files["evaluation.json"])["figures"]


def test_train__evaluation_holds_every_policy_with_intervals(run):
    result = json.loads((run / "evaluation.json").read_text())
    names = {figure["name"].split("/")[0] for figure in result["figures"]}
    assert {"ppo-lagrangian", "marginal", "fixed-ratio", "progressive"} <= names
    for figure in result["figures"]:
        assert figure["lo"] <= figure["value"] <= figure["hi"], figure
    assert_result_file(result)
    rows = (run / "days.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 * 4  # policies x days


def test_train__refuses_a_folder_in_use(run, small_world, capsys):
    runs = str(run.parent)
    code = main(["train", f"--scenario={small_world}", f"--runs={runs}", "--name=one", *TINY])
    assert code == 2
    assert "exists and is not empty" in error_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--learner.observation=none"], ["observation", "none", "full"]),
        (["--learner.observation=everything"], ["observation", "everything", "full"]),
        (["--learner.horizon-s=0.5"], ["horizon_s = 0.5", "decision interval"]),
        (["--learner.action=theta"], ["action", "theta", "residual"]),
    ],
)
def test_train__refuses_what_the_scenario_cannot_do_before_a_folder_is_made(
    small_world, tmp_path, capsys, arguments, words
):
    runs = tmp_path / "runs"
    settings = [a for a in TINY if a.split("=")[0] != arguments[0].split("=")[0]]
    assert (
        main(["train", f"--scenario={small_world}", f"--runs={runs}", *settings, *arguments]) == 2
    )
    line = error_line(capsys)
    assert all(word in line for word in words), line
    assert not runs.exists()


def test_evaluate__judges_a_run_again_on_the_scenario_that_it_was_trained_on(
    run, small_world, tmp_path, capsys
):
    assert load_scenario(run / "scenario.yaml") == load_scenario(small_world)
    out = tmp_path / "again"
    assert main(["evaluate", str(run), f"--out={out}", "--tune-days=2", "--test-days=4"]) == 0
    assert "Verdict" in capsys.readouterr().out
    assert (out / "verdict.md").exists()
    result = json.loads((out / "evaluation.json").read_text())
    assert result["scenario"] == "small"
    assert_result_file(result)


def test_evaluate__of_a_checkpoint_leaves_it_whole(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    checkpoint = latest_checkpoint(copy / "checkpoints")
    days = ["--tune-days=2", "--test-days=2"]
    assert main(["evaluate", str(checkpoint), *days]) == 0
    assert (checkpoint.parent / f"evaluation-small-{checkpoint.name}" / "verdict.md").exists()
    assert main(["export", str(checkpoint), "--no-table"]) == 0
    load_bundle(checkpoint.parent / f"export-{checkpoint.name}", unsigned=True)
    load_policy(checkpoint)
    assert latest_checkpoint(copy / "checkpoints") == checkpoint


@pytest.mark.parametrize("verb", ["evaluate", "export"])
def test_results__are_never_put_into_a_checkpoint(run, capsys, verb):
    checkpoint = latest_checkpoint(run / "policy")
    for out in (checkpoint, checkpoint / "deep" / "er"):
        assert main([verb, str(run), f"--out={out}"]) == 2
        assert "is in the checkpoint" in error_line(capsys)
    load_policy(checkpoint)


def test_policy_scenario__of_a_bare_checkpoint_is_the_preset_only_if_it_is_the_same(
    run, small_world, tmp_path, capsys
):
    policy = load_policy(run / "policy")
    bare = shutil.copytree(latest_checkpoint(run / "policy"), tmp_path / "step-1")
    with pytest.raises(ConfigError, match="'small', which is not here; give --scenario FILE"):
        policy_scenario(bare, policy)
    preset = load_scenario("study-real-5")

    def renamed(sha256):
        spec = policy.spec.model_copy(update={"scenario": preset.name, "scenario_sha256": sha256})
        return dataclasses.replace(policy, spec=spec)

    assert policy_scenario(bare, renamed(scenario_sha256(preset))) == preset
    with pytest.raises(ConfigError, match="another scenario of that name than the preset"):
        policy_scenario(bare, renamed(policy.spec.scenario_sha256))
    copy = shutil.copytree(run, tmp_path / "run")
    changed = yaml.safe_load((copy / "scenario.yaml").read_text())
    changed["rule"]["cap"] = 0.05
    (copy / "scenario.yaml").write_text(yaml.safe_dump(changed))
    assert main(["evaluate", str(copy)]) == 2
    assert "another scenario" in error_line(capsys)


def test_scenario_file__reads_back_equal(tmp_path):
    for name in preset_names():
        scenario = load_scenario(name)
        write_yaml(tmp_path / "s.yaml", scenario.model_dump(mode="json", exclude_none=True))
        assert load_scenario(tmp_path / "s.yaml") == scenario


def test_export__of_a_run_or_a_rule_can_be_loaded_even_in_the_current_folder(
    run, small_world, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.chdir(out)
    for _ in range(2):
        assert main(["export", str(run), "--out=.", "--archive"]) == 0
        assert os.path.samefile(".", out)
    bundle = load_bundle(".", unsigned=True)
    assert load_bundle(tmp_path / "out.zip", unsigned=True).bundle_id == bundle.bundle_id
    shown = capsys.readouterr().out
    assert ("NOT shipped" in shown) == (bundle.table is None)
    rule = ["export", "marginal", f"--scenario={small_world}", f"--out={tmp_path / 'rule'}"]
    assert main(rule) == 0
    assert load_bundle(tmp_path / "rule", unsigned=True).contract["kind"] == "rule"


@pytest.mark.parametrize("verb", ["evaluate", "calibrate", "bench"])
def test_unwritable_output__is_refused_before_the_work(run, tmp_path, capsys, monkeypatch, verb):
    def work(*_, **__):
        raise AssertionError("the work has begun")

    for name in (
        "quietdial.experiments.train.judge_with_progress",
        "quietdial.envs.calibrate.fit_talk_law",
        "quietdial.experiments.bench.env_speed.run",
    ):
        monkeypatch.setattr(name, work)
    calls = tmp_path / "calls.csv"
    calls.write_text("duration\n" + "\n".join(str(60 + i) for i in range(300)))
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    place = in_the_way / "deep"
    arguments = {
        "evaluate": ["evaluate", str(run), f"--out={place}"],
        "calibrate": ["calibrate", str(calls), f"--out={place}"],
        "bench": ["bench", "env", f"--output={place / 'speed.json'}"],
    }[verb]
    assert main(arguments) == 2
    assert str(place) in error_line(capsys)
    if verb == "bench":
        assert main(["bench", "env", f"--output={tmp_path}"]) == 2
        assert "it is a folder" in error_line(capsys)


def test_play__shows_the_floor(small_world, capsys):
    arguments = ["marginal", f"--scenario={small_world}", "--speed=0", "--seconds=120"]
    assert main(["play", *arguments]) == 0
    assert "agents:" in capsys.readouterr().out


def test_play__takes_the_scenario_of_the_run(run, capsys):
    assert main(["play", str(run), "--speed=0", "--seconds=30"]) == 0
    assert "agents:" in capsys.readouterr().out


@pytest.mark.parametrize(("speed", "seconds", "least", "most"), [(1, 5, 6, 6), (60, 240, 25, 35)])
def test_play__draws_by_the_clock_on_the_wall(
    small_world, monkeypatch, speed, seconds, least, most
):
    now = [0.0]
    drawn = []

    def sleep(seconds_s):
        now[0] += seconds_s

    clock = SimpleNamespace(perf_counter=lambda: now[0], sleep=sleep)
    monkeypatch.setattr(play_module, "time", clock)
    monkeypatch.setattr(play_module, "frame", lambda *_: drawn.append(now[0]) or "floor")
    console = Console(file=io.StringIO())
    play_module.play(rules()[0], load_scenario(small_world), console, speed=speed, seconds=seconds)
    assert least <= len(drawn) <= most
    assert drawn[-1] == pytest.approx(seconds / speed)


def test_evaluate__names_a_damaged_checkpoint(run, tmp_path, capsys):
    copy = tmp_path / "damaged"
    shutil.copytree(run, copy)
    weights = next((copy / "policy").rglob("policy.safetensors"))
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(bytes(data))
    assert main(["evaluate", str(copy)]) == 2
    assert str(weights.parent) in error_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], ["unknown verb 'frobnicate'", "train"]),
        (["train", "--scenario=nowhere"], ["unknown scenario 'nowhere'", "italy-50"]),
        (["train", "--learner.total-steps=0"], ["total_steps", "greater than or equal to 1", "0"]),
        (["train", "--learner.gamma=nan"], ["gamma", "finite", "nan"]),
        (["train", "--no-such-flag"], ["--no-such-flag"]),
        (["train", "missing.yaml"], ["missing.yaml", "no such file"]),
        (["evaluate", "/no/such/run"], ["/no/such/run"]),
        (["play", "nobody"], ["unknown policy 'nobody'", "progressive"]),
        (["play", "--knob=7"], ["theta = 7", "between"]),
        (["play", "--speed=nan"], ["speed = nan", "finite"]),
        (["calibrate", "/no/such.csv"], ["/no/such.csv"]),
        (["tensorboard", "--port=99999999"], ["port = 99999999", "1 and 65535"]),
        (["tensorboard", "--port=0"], ["port = 0", "1 and 65535"]),
        (["tensorboard", "/no/such/folder"], ["/no/such/folder", "not a folder"]),
    ],
)
def test_bad_input__is_one_line_and_exit_code_2(arguments, words, capsys):
    assert main(arguments) == 2
    line = error_line(capsys)
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("floor", "n_agents"), 0, ["floor.n_agents = 0", "greater than or equal to 1"]),
        (("calls", "answer_rate", "p_low"), float("nan"), ["nan"]),
        (("rule", "cap"), 1.5, ["rule.cap = 1.5", "less than or equal to 1"]),
        (("floor", "nonsense"), 1, ["floor.nonsense", "Extra inputs"]),
    ],
)
def test_bad_scenario__is_one_line_and_exit_code_2(
    small_world, tmp_path, capsys, place, value, words
):
    data = yaml.safe_load(small_world.read_text())
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(data))
    assert main(["play", f"--scenario={path}"]) == 2
    line = error_line(capsys)
    for word in words:
        assert word in line


def test_train__refuses_a_run_folder_that_cannot_be_written(small_world, tmp_path, capsys):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    assert main(["train", f"--scenario={small_world}", f"--runs={in_the_way}", *TINY]) == 2
    assert str(in_the_way) in error_line(capsys)


def test_help__names_every_verb(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_output__that_nobody_reads_is_no_error(arguments):
    code = "import sys; from quietdial.experiments.cli import main; sys.exit(main(sys.argv[1:]))"
    reads, writes = os.pipe()
    os.close(reads)
    child = subprocess.run(
        [sys.executable, "-c", code, *arguments], stdout=writes, stderr=subprocess.PIPE
    )
    os.close(writes)
    assert (child.returncode, child.stderr) == (EXIT_UNREAD, b"")


def test_interrupt__leaves_a_usable_checkpoint_and_every_logged_row(small_world, tmp_path):
    runs = tmp_path / "runs"
    command = [sys.executable, "-c", "import sys; from quietdial.experiments.cli import main; "]
    command[-1] += "sys.exit(main(sys.argv[1:]))"
    settings = [a for a in TINY if "total" not in a] + ["--learner.total-steps=100000000"]
    arguments = ["train", f"--scenario={small_world}", f"--runs={runs}", "--name=stopped"]
    process = subprocess.Popen(
        [*command, *arguments, *settings],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # whoever started the tests in the background has them ignore the interrupt
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    log = runs / "stopped" / "train.jsonl"
    with process:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if log.exists() and log.read_text().count("\n") >= 3:
                process.send_signal(signal.SIGINT)
                break
            time.sleep(0.1)
        else:
            process.kill()
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted; nothing is lost. Go on with: quietdial resume" in out
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) >= 3
    assert json.loads((runs / "stopped" / "manifest.json").read_text())["status"] == "interrupted"
    judge = ["evaluate", str(runs / "stopped")]
    assert main([*judge, "--tune-days=2", "--test-days=2"]) == 0


def test_train__on_many_floors_keeps_them_all_in_its_folder(small_world, tmp_path, capsys):
    other = tmp_path / "other.yaml"
    data = yaml.safe_load(small_world.read_text())
    data["name"] = "other"
    data["floor"]["n_agents"] = 9
    other.write_text(yaml.safe_dump(data))
    floors = ["--floors.scenarios", str(other), "study-real-10", "--floors.drawn=1"]
    flags = [f"--scenario={small_world}", f"--runs={tmp_path}", "--no-export", *TINY]
    few = ["--learner.n-envs=2", "--learner.batch-size=64"]
    assert main(["train", *flags, "--name=few", *floors, *few]) == 2
    assert "at least the number of floors, 3" in capsys.readouterr().err
    assert not (tmp_path / "few").exists()
    assert main(["train", *flags, "--name=many", *floors]) == 0
    run = tmp_path / "many"
    kept = [load_scenario(path) for path in sorted((run / "floors").iterdir())]
    asked = [load_scenario(other), load_scenario("study-real-10"), *draw_scenarios(1, 1)]
    assert kept == asked
    policy = load_run_policy(run)
    assert policy.spec.floors == tuple(floor.name for floor in asked)
    assert policy_scenario(run, policy) == load_scenario(small_world)
    assert yaml.safe_load((run / "config.yaml").read_text())["floors"]["drawn"] == 1
    assert policy.selection is not None  # chosen on floors of the training
    chosen = policy.selection["floors"]
    assert set(chosen["floors"]) <= {floor.name for floor in asked}
    assert chosen["step"] == policy.selection["step"]


def test_train__on_floors_with_their_own_thresholds_keeps_these(small_world, tmp_path):
    floors = ["--floors.scenarios", str(small_world), "study-real-10", "--floors.own-threshold"]
    flags = [f"--scenario={small_world}", f"--runs={tmp_path}", *TINY]
    assert main(["train", *flags, "--name=own", *floors]) == 0
    run = tmp_path / "own"
    thetas = yaml.safe_load((run / "thresholds.yaml").read_text())["base_thetas"]
    assert len(thetas) == 2
    assert thetas[0] != thetas[1]
    plan = Plan.of_run(run)
    assert plan.base_thetas == tuple(thetas)
    assert plan.make_env == ManyFloors(plan.floors, tuple(thetas))  # resumed and done again so
    assert len(plan.floors) == 2
    bundle = load_bundle(run / "export", unsigned=True)  # for the scenario, with its own knob
    assert bundle.contract["action"]["base"]["theta"] == load_run_policy(run).base_theta
    assert bundle.manifest["training"]["base_thetas"] == thetas
    (run / "thresholds.yaml").write_text("base_thetas: much\n")
    with pytest.raises(ConfigError, match="list of numbers"):
        Plan.of_run(run)
    (run / "thresholds.yaml").write_text("base_thetas: [1]\n")
    with pytest.raises(RunFolderError, match=r"thresholds of 2 floors, .* it holds 1"):
        Plan.of_run(run)
    (run / "thresholds.yaml").unlink()  # else the floors would be trained at another threshold
    with pytest.raises(RunFolderError, match=r"thresholds of 2 floors, .* it holds 0"):
        Plan.of_run(run)
    with pytest.raises(ValueError, match="own_threshold needs floors"):
        FloorsConfig(own_threshold=True)


@pytest.mark.parametrize(
    ("flags", "algorithm"),
    [
        ([], "ppo-lagrangian"),  # what `make train` gives
        (["--learner.algorithm=dqn"], "dqn"),
        (["--learner.algorithm", "a2c"], "a2c"),
    ],
)
def test_train__takes_the_preset_of_the_algorithm_or_of_none(
    monkeypatch, tmp_path, flags, algorithm
):
    asked = []
    monkeypatch.setattr(
        "quietdial.experiments.train.run_training",
        lambda config, *_, **__: (asked.append(config) or RunFolder(tmp_path), None),
    )
    main(["train", *flags])
    assert asked[0].learner.algorithm == algorithm


def test_quiet__any_verb_prints_nothing(capsys):
    assert main(["scenarios", "--quiet"]) == EXIT_OK
    assert main(["-q", "scenarios"]) == EXIT_OK
    assert capsys.readouterr().out == ""


def test_quiet__errors_are_still_told(capsys):
    assert main(["scenarios", "--quiet", "--pictures", "all"]) == EXIT_USAGE
    assert capsys.readouterr().err.startswith("quietdial: error: ")


def test_json__is_the_whole_output_and_holds_for_one_command_only(capsys):
    assert main(["scenarios", "--json"]) == EXIT_OK
    assert "italy-50" in json.loads(capsys.readouterr().out)["scenarios"]
    assert main(["scenarios"]) == EXIT_OK
    assert not capsys.readouterr().out.startswith("{")
