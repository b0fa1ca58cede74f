"""The run folder: complete, refused when in the way, and whole after an interruption."""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietdial.envs.errors import ConfigError, RunFolderError
from quietdial.envs.loading import read_yaml
from quietdial.experiments import rundir
from quietdial.experiments.rundir import (
    RunFolder,
    append_jsonl,
    config_sha256,
    git_state,
    plain,
    read_jsonl,
    truncate_jsonl,
)

CONFIG: dict[str, Any] = {
    "schema_version": 1,
    "env": {"scenario": "italy-50", "num_envs": 64},
    "train": {"learning_rate": 3e-4, "seed": 1, "net": [64, 64], "resume": None},
}


def manifest_of(path: Path) -> dict[str, Any]:
    loaded = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def test_create__writes_the_complete_configuration_and_manifest(tmp_path: Path) -> None:
    folder = RunFolder.create(
        tmp_path / "runs", "first", CONFIG, seeds={"train": 1}, command=["quietdial", "train"]
    )
    assert folder.path == tmp_path / "runs" / "first"
    assert read_yaml(folder.path / "config.yaml") == CONFIG
    manifest = manifest_of(folder.path)
    assert manifest["status"] == "running"
    assert manifest["finished"] is None
    assert manifest["seeds"] == {"train": 1}
    assert manifest["run"]["command"] == ["quietdial", "train"]
    assert manifest["run"]["cpu_count"] >= 1
    assert manifest["run"]["packages"]["numpy"] == np.__version__
    assert "quietdial" in manifest["run"]["packages"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", manifest["started"])
    # Canonical JSON written out by hand: keys sorted at every level, no spaces.
    canonical = (
        '{"env":{"num_envs":64,"scenario":"italy-50"},"schema_version":1,'
        '"train":{"learning_rate":0.0003,"net":[64,64],"resume":null,"seed":1}}'
    )
    assert manifest["config_sha256"] == hashlib.sha256(canonical.encode()).hexdigest()
    assert config_sha256(dict(reversed(CONFIG.items()))) == manifest["config_sha256"]


def test_create__names_a_run_after_time_and_scenario(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path, None, CONFIG)
    second = RunFolder.create(tmp_path, None, CONFIG)
    third = RunFolder.create(tmp_path, None, {"scenario": "my worlds/floor 1.yaml"})
    fourth = RunFolder.create(tmp_path, None, {})
    assert re.fullmatch(r"\d{8}-\d{6}-italy-50", first.path.name)
    assert second.path != first.path  # even within one second
    assert third.path.name.endswith("-floor-1")
    assert fourth.path.name.endswith("-run")


def test_create__refuses_a_folder_that_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path, "empty", CONFIG)
    with pytest.raises(RunFolderError, match="exists and is not empty") as caught:
        RunFolder.create(tmp_path, "empty", CONFIG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "a b", "x" * 101])
def test_create__refuses_names_that_leave_the_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="run name is"):
        RunFolder.create(tmp_path, name, CONFIG)
    assert not any(tmp_path.iterdir())


def test_create__says_in_one_line_that_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(RunFolderError, match="cannot create the run folder") as caught:
        RunFolder.create(tmp_path / "file" / "runs", "first", CONFIG)
    assert "\n" not in str(caught.value)
    assert "choose a folder" in str(caught.value)
    with pytest.raises(RunFolderError):  # the folder's own name is taken by a file
        RunFolder.create(tmp_path, "file", CONFIG)


def test_finish__says_how_the_run_ended(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "done", CONFIG)
    folder.finish("finished", silent_rate=np.float64(0.029), bad=math.nan)
    manifest = manifest_of(folder.path)
    assert manifest["status"] == "finished"
    assert manifest["finished"] >= manifest["started"]
    assert manifest["results"] == {"silent_rate": 0.029, "bad": None}
    with pytest.raises(ConfigError, match="status is 'running'"):
        folder.finish("running")


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "interrupted"), (ValueError, "failed")]
)
def test_context__records_an_exception(
    tmp_path: Path, error: type[BaseException], status: str
) -> None:
    with pytest.raises(error), RunFolder.create(tmp_path, "run", CONFIG):
        raise error
    assert manifest_of(tmp_path / "run")["status"] == status


def test_context__finishes_and_keeps_an_earlier_word(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "run", CONFIG):
        pass
    assert manifest_of(tmp_path / "run")["status"] == "finished"
    with RunFolder.create(tmp_path, "other", CONFIG) as folder:
        folder.finish("interrupted")
    assert manifest_of(tmp_path / "other")["status"] == "interrupted"


def test_resume__keeps_the_history(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path, "run", CONFIG, command=["a"])
    first.finish("interrupted")
    first.release()
    again = RunFolder.create(tmp_path, "run", CONFIG, resume=True, command=["b"])
    manifest = manifest_of(again.path)
    assert manifest["started"] == first.manifest["started"]
    assert (manifest["status"], manifest["finished"]) == ("running", None)
    assert manifest["run"]["command"] == ["b"]
    assert [(r["command"], r["status"]) for r in manifest["resumed_from"]] == [
        (["a"], "interrupted")
    ]
    again.release()  # as the system does for a process that was killed
    third = RunFolder.create(tmp_path, "run", CONFIG, resume=True, command=["c"])
    assert [r["command"] for r in third.manifest["resumed_from"]] == [["a"], ["b"]]


def test_resume__refuses_another_configuration_and_names_the_place(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "run", CONFIG).release()
    changed = {**CONFIG, "env": {"scenario": "italy-50", "num_envs": 128}}
    with pytest.raises(ConfigError, match=r"env\.num_envs: 64 there, 128 now"):
        RunFolder.create(tmp_path, "run", changed, resume=True)
    with pytest.raises(ConfigError, match=r"cap: missing there, 0\.03 now"):
        RunFolder.create(tmp_path, "run", {**CONFIG, "cap": 0.03}, resume=True)


def test_resume__needs_a_whole_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="by its name"):
        RunFolder.create(tmp_path, None, CONFIG, resume=True)
    with pytest.raises(RunFolderError, match=r"no readable manifest\.json"):
        RunFolder.create(tmp_path, "none", CONFIG, resume=True)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunFolderError, match="damaged"):
        RunFolder.create(tmp_path, "bad", CONFIG, resume=True)
    (tmp_path / "bad" / "manifest.json").write_text("[]", encoding="utf-8")
    with pytest.raises(RunFolderError, match="not a run's"):
        RunFolder.create(tmp_path, "bad", CONFIG, resume=True)


def test_jsonl__rows_are_on_disk_at_once_and_without_nan(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run", CONFIG)
    folder.append_jsonl("train.jsonl", {"step": np.int64(1), "x": np.float32(0.5)})
    folder.append_jsonl("train.jsonl", {"step": 2, "x": math.nan, "y": [math.inf, 1.0]})
    text = (folder.path / "train.jsonl").read_text(encoding="utf-8")
    assert text == '{"step": 1, "x": 0.5}\n{"step": 2, "x": null, "y": [null, 1.0]}\n'
    assert read_jsonl(folder.path / "train.jsonl")[1]["y"] == [None, 1.0]


def test_jsonl__a_cut_row_and_later_steps_are_dropped_on_resume(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    assert truncate_jsonl(path, 10) == 0
    for step in (1, 2, 3):
        append_jsonl(path, {"step": step})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"step": 4, "x')  # killed while writing
    assert [row["step"] for row in read_jsonl(path)] == [1, 2, 3]
    assert truncate_jsonl(path, 3) == 2
    append_jsonl(path, {"step": 3})
    assert [row["step"] for row in read_jsonl(path)] == [1, 2, 3]


def test_jsonl__says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="cannot write"):
        append_jsonl(tmp_path, {})
    with pytest.raises(RunFolderError, match="cannot read"):
        read_jsonl(tmp_path / "none")
    path = tmp_path / "bad.jsonl"
    path.write_text("{}\n[]\n", encoding="utf-8")
    with pytest.raises(RunFolderError, match="line 2: not a JSON object"):
        read_jsonl(path)
    path.write_text("{}\nx\n", encoding="utf-8")
    with pytest.raises(RunFolderError, match="line 2: not JSON"):
        read_jsonl(path)


def test_folder__makes_sub_folders_once(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "run", CONFIG)
    assert run.folder("checkpoints") == run.folder("checkpoints") == run.path / "checkpoints"
    with pytest.raises(RunFolderError, match="cannot create"):
        run.folder("config.yaml")


def test_plain__turns_everything_into_json() -> None:
    got = plain({"a": np.arange(2), "p": Path("x"), 3: (True, {1}), "n": -math.inf, "z": None})
    assert got == {"a": [0, 1], "p": "x", "3": [True, [1]], "n": None, "z": None}


def test_git_state__tells_commit_and_changes(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    try:
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=30)
    except OSError:
        pytest.skip("git is not installed")
    assert git_state(tmp_path) is None  # no commit yet
    (tmp_path / "file").write_text("1", encoding="utf-8")
    run = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run([*run, "add", "file"], check=True, timeout=30)
    subprocess.run([*run, "commit", "-qm", "one"], check=True, timeout=30)
    state = git_state(tmp_path)
    assert state is not None
    assert re.fullmatch(r"[0-9a-f]{40}", state["commit"])
    assert state["dirty"] is False
    (tmp_path / "file").write_text("2", encoding="utf-8")
    changed = git_state(tmp_path)
    assert changed is not None
    assert changed["dirty"] is True


def test_git_state__is_silent_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(rundir.subprocess, "run", missing)
    assert git_state(tmp_path) is None
