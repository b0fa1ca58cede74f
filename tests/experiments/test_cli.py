"""The command line as a user meets it: one whole small run, and every kind of bad input."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from quietdial.envs import load_scenario
from quietdial.experiments.cli import VERBS, main

TINY = [
    "--learner.total-steps=2048",
    "--learner.n-envs=16",
    "--learner.n-steps=32",
    "--learner.batch-size=256",
    "--learner.horizon-s=300",
    "--learner.checkpoint-every=1",
    "--judge.tune-days=4",
    "--judge.test-days=4",
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


def test_train__leaves_a_complete_run_folder(run):
    present = {path.name.split(".")[0] for path in run.iterdir()}
    assert {"config", "manifest", "train", "events", "checkpoints", "policy", "days"} <= present
    assert {"evaluation", "verdict", "export"} <= present
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert (run / "evaluation.png").stat().st_size > 10_000
    assert {path.name for path in (run / "export").iterdir()} == {"policy.json", "policy.onnx"}


def test_train__evaluation_holds_every_policy_with_intervals(run):
    result = json.loads((run / "evaluation.json").read_text())
    names = {figure["name"].split("/")[0] for figure in result["figures"]}
    assert {"ppo-lagrangian", "marginal", "fixed-ratio", "progressive"} <= names
    for figure in result["figures"]:
        assert figure["lo"] <= figure["value"] <= figure["hi"], figure
    rows = (run / "days.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 * 4  # policies x days


def test_train__refuses_a_folder_in_use(run, small_world, capsys):
    runs = str(run.parent)
    code = main(["train", f"--scenario={small_world}", f"--runs={runs}", "--name=one", *TINY])
    assert code == 2
    assert "exists and is not empty" in error_line(capsys)


def test_evaluate__judges_a_run_again(run, small_world, tmp_path, capsys):
    out = tmp_path / "again"
    arguments = [str(run), f"--scenario={small_world}", f"--out={out}"]
    assert main(["evaluate", *arguments, "--tune-days=2", "--test-days=4"]) == 0
    assert "Verdict" in capsys.readouterr().out
    assert (out / "verdict.md").exists()


def test_export__writes_the_two_files(run, tmp_path):
    assert main(["export", str(run), f"--out={tmp_path / 'out'}"]) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"policy.onnx", "policy.json"}


def test_play__shows_the_floor(small_world, capsys):
    arguments = ["marginal", f"--scenario={small_world}", "--speed=0", "--seconds=120"]
    assert main(["play", *arguments]) == 0
    assert "agents:" in capsys.readouterr().out


def test_evaluate__names_a_damaged_checkpoint(run, tmp_path, capsys):
    import shutil

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
        (("rule", "cap"), 1.5, ["rule.cap = 1.5", "less than 1"]),
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
    assert "Interrupted" in out
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) >= 3
    assert json.loads((runs / "stopped" / "manifest.json").read_text())["status"] == "interrupted"
    judge = ["evaluate", str(runs / "stopped"), f"--scenario={small_world}"]
    assert main([*judge, "--tune-days=2", "--test-days=2"]) == 0
