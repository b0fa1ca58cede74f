"""The list of runs: what it says of whole runs, of running ones and of damaged ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quietdial.envs.loading import write_json_atomic
from quietdial.experiments.cli import main
from quietdial.experiments.rundir import RESULT_SCHEMA, RunFolder, append_jsonl
from quietdial.experiments.runs import list_runs, read_days, row_of
from quietdial.experiments.verbs.common import EXIT_OK, EXIT_USAGE

CONFIG = {"scenario": "study-real-5", "learner": {"algorithm": "a2c", "seed": 3}}


def _figure(name: str, value: float, half: float) -> dict[str, Any]:
    return {"name": name, "value": value, "lo": value - half, "hi": value + half, "n": 32}


def _finished(root: Path, name: str, *, silent: float = 0.028, feasible: bool = True) -> Path:
    with RunFolder.create(root, name, CONFIG) as folder:
        for step in (1024, 2048):
            append_jsonl(folder.path / "train.jsonl", {"step": step})
        figures = [
            _figure("a2c/utilisation", 0.83, 0.01),
            _figure("a2c/silent_rate", silent, 0.001),
            _figure("a2c/p_day_breaks_cap", 0.25, 0.1),
            _figure("a2c minus best rule/utilisation", -0.012, 0.002),
        ]
        result = {"schema": RESULT_SCHEMA, "cap": 0.03, "figures": figures}
        result["selection"] = {"feasible": feasible}
        write_json_atomic(folder.path / "evaluation.json", result)
    return folder.path


def test_runs__tells_status_and_key_figures(tmp_path: Path, capsys: Any) -> None:
    _finished(tmp_path, "good")
    _finished(tmp_path / "sweep" / "inner", "too-silent", silent=0.0295, feasible=False)
    at_work = RunFolder.create(tmp_path, "going-on", CONFIG)
    RunFolder.create(tmp_path, "killed-one", CONFIG).release()
    assert main(["runs", str(tmp_path), "--json"]) == EXIT_OK
    listed = {row["run"]: row for row in json.loads(capsys.readouterr().out)["runs"]}
    assert set(listed) == {"good", "sweep/inner/too-silent", "going-on", "killed-one"}
    assert listed["killed-one"]["status"] == "killed"
    good, bad, running = listed["good"], listed["sweep/inner/too-silent"], listed["going-on"]
    assert (good["status"], good["algorithm"], good["seed"]) == ("finished", "a2c", 3)
    assert (good["steps"], good["cap"], good["keeps_cap"]) == (2048, 0.03, True)
    assert good["over_best_rule"]["value"] == -0.012
    assert (bad["keeps_cap"], bad["feasible"]) == (False, False)
    assert (running["status"], running["utilisation"]) == ("running", None)
    at_work.release()
    assert main(["runs", str(tmp_path)]) == EXIT_OK
    text = capsys.readouterr().out
    for part in ("good", "going-on", "3 kept", "NOT kept", "infeasible", "-1.20 ± 0.20", "83.00"):
        assert part in text, part


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("manifest.json", None, "manifest.json: missing"),
        ("manifest.json", "{", "manifest.json: damaged, not JSON"),
        ("manifest.json", "[]", "manifest.json: damaged, not a JSON object"),
        ("manifest.json", "{}", "manifest.json: not a run's manifest"),
        ("manifest.json", b"\xff\xfe", "manifest.json: damaged, not text in UTF-8"),
        ("evaluation.json", "", "evaluation.json: damaged, not JSON"),
        ("evaluation.json", '{"schema": "other"}', "evaluation.json: not a result of the judge"),
    ],
)
def test_runs__names_one_reason_for_a_damaged_folder(
    file: str, content: str | bytes | None, reason: str, tmp_path: Path, capsys: Any
) -> None:
    run = _finished(tmp_path, "broken")
    if content is None:
        (run / file).unlink()
    else:
        (run / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    row = row_of(run, "broken")
    assert row.reason is not None
    assert row.reason.startswith(reason)
    assert "\n" not in row.reason
    assert main(["runs", str(tmp_path)]) == EXIT_OK
    assert f"broken: {reason}" in capsys.readouterr().out


def test_runs__survives_any_cut_of_any_file(tmp_path: Path) -> None:
    run = _finished(tmp_path, "cut")
    for file in ("manifest.json", "evaluation.json", "train.jsonl"):
        whole = (run / file).read_bytes()
        for length in range(0, len(whole), max(len(whole) // 40, 1)):
            (run / file).write_bytes(whole[:length])
            (row,) = list_runs(tmp_path)
            assert row.run == "cut"
        (run / file).write_bytes(whole)


def test_runs__of_no_folder_and_of_no_run(tmp_path: Path, capsys: Any) -> None:
    assert main(["runs", str(tmp_path)]) == EXIT_OK
    assert "holds no run" in capsys.readouterr().out
    assert main(["runs", str(tmp_path / "nowhere")]) == EXIT_USAGE
    assert "is not a folder" in capsys.readouterr().err


def test_read_days__is_by_policy_and_column(tmp_path: Path) -> None:
    (tmp_path / "days.csv").write_text("policy,seed,silent\na2c,1,2.0\na2c,2,3\nmarginal,1,0\n")
    assert read_days(tmp_path) == {
        "a2c": {"seed": [1.0, 2.0], "silent": [2.0, 3.0]},
        "marginal": {"seed": [1.0], "silent": [0.0]},
    }
