"""The verb `evolve`: a run folder like that of a training, with a rule in place of a policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietdial.agents.bundle.load import load_bundle
from quietdial.agents.learners.evolution import ThetaIndex
from quietdial.agents.rules import Marginal, Predict1
from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_yaml
from quietdial.envs.scenario import load_scenario
from quietdial.experiments import evolve
from quietdial.experiments.cli import main
from quietdial.experiments.runs import row_of


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A small floor with days of an hour."""
    values: dict[str, Any] = load_scenario("study-real-5").model_dump(
        mode="json", exclude_none=True
    )
    values["episode"]["duration_s"] = 3600.0
    path = tmp_path / "short.yaml"
    write_yaml(path, values)
    return path


def test_evolve__makes_a_run_that_is_listed_judged_and_exported(
    world: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    asked = ["evolve", "--scenario", str(world), "--runs", str(runs), "--name", "found", "--quiet"]
    asked += ["--learner.rule", "predict1", "--learner.generations", "2"]
    asked += ["--learner.pairs", "2", "--learner.campaigns", "4", "--learner.horizon-s", "600"]
    asked += ["--judge.tune-days", "4", "--judge.test-days", "4"]
    assert main(asked) == 0
    run = runs / "found"
    row = row_of(run, "found")
    assert (row.status, row.algorithm, row.seed) == ("finished", "evolution", 1)
    assert row.steps == 2 * 4 * 4 * 600
    assert row.utilisation is not None
    rows = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
    assert [one["step"] for one in rows] == [9600, 19200]
    rule = evolve.load_rule(run)
    assert isinstance(rule, Predict1)
    assert rule != Predict1()
    assert load_bundle(run / "export", unsigned=True).contract["algorithm"] == "predict1"
    assert main(["export", str(run), "--out", str(tmp_path / "again"), "--quiet"]) == 0
    again, first = (
        json.loads((folder / "rule.json").read_text())
        for folder in (tmp_path / "again", run / "export")
    )
    assert again == first


def test_play_in__is_the_same_call_by_call_and_held(world: Path) -> None:
    """The index without slopes decides each second what `marginal` is held at."""
    play = evolve.play_in(load_scenario(str(world)), 900.0)
    seeds = np.arange(6)
    assert play(ThetaIndex(), seeds) == play(Marginal(0.02), seeds)


@pytest.mark.parametrize(
    ("rule", "settings", "message"),
    [
        ("progressive", (), "no settings to search"),
        ("theta-index", ("theta",), "leave settings out"),
        ("predict1", ("speed",), "not among its settings"),
        ("nobody", (), "is not known"),
    ],
)
def test_searched__refuses_what_has_no_numbers(
    rule: str, settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        evolve.EvolutionConfig(rule=rule, settings=settings).searched()


def test_load_rule__reads_back_weights_and_refuses_damage(tmp_path: Path) -> None:
    index = ThetaIndex((-4.0, 0.1, 0.2, 0.3, 0.4, 0.5))
    path = tmp_path / evolve.RULE_FILE
    path.write_text(json.dumps(evolve.rule_values("theta-index", index)))
    assert evolve.load_rule(tmp_path) == index
    with pytest.raises(ConfigError, match="bundles of rules do not"):
        evolve.exportable_rule(tmp_path)
    path.write_text('{"rule": "predict1", "settings": {"predict_adjust": 1e9}}')
    with pytest.raises(ConfigError, match="predict_adjust"):
        evolve.load_rule(tmp_path)
