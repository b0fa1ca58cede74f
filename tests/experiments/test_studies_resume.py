"""Small versions of the storm of kills and of the damages to checkpoints."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from quietdial.experiments.studies import damaged_checkpoints, kill_storm
from quietdial.experiments.studies.damaged_checkpoints import KINDS, damages, faults
from quietdial.experiments.studies.kill_storm import RUNS, Storm, compared, figures, storm_over

CALM = Storm("ppo", 1, 5, 3, 7, True, 0, 0, ())


def test_runs__are_all_algorithms_and_more() -> None:
    from quietdial.agents.learners.config import ALGORITHM_NAMES

    assert {flags[0] for flags in RUNS.values()} == set(ALGORITHM_NAMES)
    assert len(RUNS) >= 12


def test_storm__a_run_that_is_killed_three_times_ends_as_if_nothing_happened(
    tmp_path: Path,
) -> None:
    storm = storm_over("a2c", 3, tmp_path, most=3)
    assert storm.same
    assert (storm.twice, storm.missing, storm.otherwise) == (0, 0, ())
    assert 1 <= storm.kills <= 3
    assert storm.resumes <= storm.kills
    # what is compared is found when it differs
    log, manifest = tmp_path / "storm" / "train.jsonl", tmp_path / "storm" / "manifest.json"
    rows = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*rows[:2], rows[1], *rows[3:]]))
    changed = json.loads(manifest.read_text())
    changed["results"] |= {"weights_sha256": "0", "verdict": []}
    manifest.write_text(json.dumps(changed))
    found = compared(tmp_path / "storm", tmp_path / "whole")
    assert not found["same"]
    assert (found["twice"], found["missing"]) == (1, 1)
    assert found["otherwise"] == ("verdict",)


def test_figures__of_a_storm_bound_its_zero_and_name_what_failed() -> None:
    rows = {row["name"]: row for row in figures([CALM] * 4)}
    assert rows["all/SIGKILL"]["value"] == 20
    assert rows["runs with other weights"]["value"] == 0
    bound = rows["kills that changed weights"]
    assert (bound["n"], bound["value"]) == (32, 0.0)
    assert bound["hi"] == pytest.approx(3 / 32, rel=0.06)
    bad = dataclasses.replace(CALM, same=False, seed=9)
    rows = {row["name"]: row for row in figures([CALM, bad])}
    assert rows["runs with other weights"]["value"] == 1
    assert "ppo seed 9" in rows["runs with other weights"]["note"]
    table = kill_storm.markdown(figures([CALM]))
    assert "| ppo | 1 | 5 | 3 | 7 | 1 | 0 | 0 |" in table
    assert "Of 8 kills 0 changed the weights" in table


def test_damages__of_every_kind_are_found(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in damages(tmp_path, 4 * len(KINDS), lambda _: None)}
    assert rows["all/not found"]["n"] == 4 * len(KINDS)
    assert [row["name"] for row in rows.values() if row["value"]] == []
    assert rows["other weights after a damage"]["n"] == 2 * len(KINDS)
    assert "| **all** | 36 | 0 | 8" in damaged_checkpoints.markdown(list(rows.values()))


def test_damages__that_nobody_finds_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damaged_checkpoints, "damage", lambda *_: "nothing")
    rows = {row["name"]: row for row in damages(tmp_path, 2 * len(KINDS), lambda _: None)}
    assert rows["all/not found"]["value"] == 2 * len(KINDS)


def test_faults__lose_nothing(tmp_path: Path) -> None:
    rows = faults(tmp_path, 2, lambda _: None)
    assert (rows[0]["value"], rows[0]["n"]) == (0, 2)
    assert all(row["value"] == 0 for row in rows)
    if os.geteuid() != 0:
        assert len(rows) == 1
