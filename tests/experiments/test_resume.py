"""Runs that were killed at any moment go on, and end as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from quietdial.envs.loading import write_yaml
from quietdial.envs.scenario import changed, load_scenario
from quietdial.experiments.cli import main
from quietdial.experiments.studies.kill_storm import compared

SMALL = [
    "--no-export",
    "--learner.n-envs=16",
    "--learner.n-steps=16",
    "--learner.batch-size=64",
    "--learner.net=8",
    "--learner.horizon-s=60",
    "--learner.checkpoint-every=2",
    "--learner.total-steps=2048",
    "--judge.tune-days=2",
    "--judge.test-days=2",
    "--judge.select-days=2",
]


def _manifest(run: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((run / "manifest.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that trains in a world whose day is short, so that judging is."""
    scenario = changed(load_scenario("study-real-5"), episode={"duration_s": 600.0})
    path = tmp_path_factory.mktemp("world") / "short.yaml"
    write_yaml(path, scenario.model_dump(mode="json", exclude_none=True))
    return ["train", f"--scenario={path}", *SMALL]


@pytest.fixture(scope="module")
def whole(train: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbs."""
    runs = tmp_path_factory.mktemp("runs")
    assert main([*train, f"--runs={runs}", "--name=whole", "--quiet"]) == 0
    return Path(runs) / "whole"


def _same(run: Path, whole: Path) -> None:
    """Weights, log, TensorBoard, verdict and checkpoints are those of the undisturbed run."""
    assert [_manifest(path)["status"] for path in (run, whole)] == ["finished"] * 2
    nothing = {"same": True, "twice": 0, "missing": 0, "otherwise": ()}
    assert compared(run, whole) == nothing


class _Killed(BaseException):
    """Ends a run as SIGKILL does: nothing of it is caught."""


@pytest.mark.parametrize(
    "moment",
    [
        "quietdial.experiments.train._introduce",
        "quietdial.agents.learners.keeper.prune_checkpoints",
        "quietdial.agents.checkpoint_folder._sync_folder",
        "quietdial.experiments.train.plots.action_map_figure",
    ],
)
def test_resume__after_the_end_of_the_process_anywhere(
    moment: str, train: list[str], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "killed"

    def die(*_: object, **__: object) -> None:
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(moment, die)
        # the process is gone: neither the manifest nor a last checkpoint is written
        patch.setattr("quietdial.experiments.rundir.RunFolder.finish", die)
        with pytest.raises(_Killed):
            main([*train, f"--runs={tmp_path}", "--name=killed", "--quiet"])
    assert _manifest(run)["status"] == "running"
    assert main(["resume", str(run), "--quiet"]) == 0
    _same(run, whole)
    assert len(_manifest(run)["resumed_from"]) == 1


def _start(*arguments: str) -> subprocess.Popen[str]:
    command = "import sys; from quietdial.experiments.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _wait_for_rows(process: subprocess.Popen[str], run: Path, n: int) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        log = run / "train.jsonl"
        if log.exists() and log.read_bytes().count(b"\n") >= n:
            return
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_resume__of_a_process_that_a_signal_ends(
    number: signal.Signals, train: list[str], whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    with _start(*train, f"--runs={tmp_path}", "--name=killed") as process:
        _wait_for_rows(process, run, 3)
        assert main(["resume", str(run)]) == 2  # the process is at work in it
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -number
        assert _manifest(run)["status"] == "running"
    else:
        assert process.returncode == 143
        assert f"Go on with: quietdial resume {run}" in " ".join(out.split())
        assert _manifest(run)["status"] == "interrupted"
    assert main(["resume", str(run), "--quiet"]) == 0
    _same(run, whole)


def test_resume__refuses_a_finished_run_and_what_is_none(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", str(whole)]) == 2
    assert "is finished, there is nothing to resume" in capsys.readouterr().err
    assert main(["resume", str(tmp_path)]) == 2
    assert "holds no config.yaml; give the folder of a training run" in capsys.readouterr().err


def test_reproduce__compares_weights_and_verdict(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["reproduce", str(whole), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["same"]
    assert found["figures"] > 20
    assert found["versions"] == []
    again = Path(found["again"])
    assert again == whole.with_name("whole-again")
    _same(again, whole)
    assert _manifest(again)["results"]["weights_sha256"] == found["weights_sha256"][0]
    judged = json.loads((again / "evaluation.json").read_text())
    judged["figures"][3]["value"] += 1e-9
    (again / "evaluation.json").write_text(json.dumps(judged))
    manifest = _manifest(again)
    manifest["run"]["packages"]["torch"] = "1.0"
    (again / "manifest.json").write_text(json.dumps(manifest))
    assert main(["reproduce", str(whole)]) == 1  # it is there already, and compared only
    said = " ".join(capsys.readouterr().out.split())
    assert "torch" in said
    assert "Weights: the same" in said
    assert "Verdict: DIFFERENT, figures." in said


def test_reproduce__refuses_another_run_and_an_unfinished_one(
    train: list[str], whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--runs={whole.parent}", "--name=other", "--learner.seed=2", "--quiet"]
    assert main([*train, *flags]) == 0
    assert main(["reproduce", str(whole), "--name=other"]) == 2
    assert "learner.seed: 2 there, 1 now" in capsys.readouterr().err
    manifest = _manifest(whole.parent / "other")
    manifest["status"] = "interrupted"
    (whole.parent / "other" / "manifest.json").write_text(json.dumps(manifest))
    assert main(["reproduce", str(whole.parent / "other")]) == 2
    assert "finish it first with: quietdial resume" in capsys.readouterr().err
