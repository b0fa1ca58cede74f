"""Choosing a checkpoint: the rule on made-up days, and side by side on real ones."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from quietdial.agents.checkpoint import latest_checkpoint, load_policy, load_state
from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.agents.policy import PolicySpec
from quietdial.agents.shields import Shielded
from quietdial.agents.wrapped import shown_name
from quietdial.envs import ConfigError, load_scenario
from quietdial.envs.errors import CheckpointError
from quietdial.envs.pacing.spec import observation_fields
from quietdial.envs.scenario import changed
from quietdial.experiments import selection
from quietdial.experiments.cli import main
from quietdial.experiments.evaluate import play_days
from quietdial.experiments.league.entries import run_name
from quietdial.experiments.selection import Candidate, best_of
from quietdial.experiments.stats import PolicyDays, summarise

SMALL = changed(load_scenario("study-real-5"), "small", episode={"duration_s": 1200.0})


def candidate(step: int, utilisation: float, silent: list[float], most: float = 0.7) -> Candidate:
    """A checkpoint whose days have 1,000 answered calls and so many silent ones, cap 3 %."""
    n = len(silent)
    totals = {name: np.full(n, 1000.0) for name in ("dialed", "answered", "connected")}
    totals |= {"silent": np.array(silent), "talk_s": np.full(n, 1000.0 * utilisation)}
    totals |= {"wrap_s": np.zeros(n), "available_s": np.full(n, 1000.0)}
    days = PolicyDays("made-up", None, None, np.arange(n), totals)
    nobody: Any = SimpleNamespace(deployed="argmax", knob=None)
    return Candidate(step, nobody, summarise(days, 0.03), most)


LOW, ON, HIGH = [20.0, 22.0] * 16, [29.9, 30.1] * 16, [35.0, 37.0] * 16


def test_best_of__is_the_busiest_that_surely_keeps_the_cap():
    found = best_of(
        [
            candidate(1, 0.80, LOW),
            candidate(2, 0.84, LOW),
            candidate(3, 0.85, ON),  # on the cap on average, so not surely below it
            candidate(4, 0.90, HIGH),
            candidate(5, 0.82, LOW),
        ]
    )
    assert (found.chosen.step, found.feasible) == (2, True)
    assert [one.feasible for one in found.candidates] == [True, True, False, False, True]


def test_best_of__counts_days_above_the_cap_beside_the_rate():
    """The mean rate of both is far below the cap; one gets there by days that are above it."""
    steady, gambler = candidate(1, 0.8, LOW), candidate(2, 0.9, [31.0] * 20 + [2.0] * 12)
    assert gambler.summary.silent_rate.hi < 0.03
    assert gambler.summary.p_day_breaks_cap.hi > 0.7
    assert best_of([steady, gambler]).chosen is steady
    assert best_of([steady, replace(gambler, most_days_above=0.9)]).chosen.step == 2


def test_best_of__without_a_feasible_one_is_the_least_violating_and_says_so():
    found = best_of([candidate(1, 0.95, HIGH), candidate(2, 0.85, ON), candidate(3, 0.97, HIGH)])
    assert (found.chosen.step, found.feasible) == (2, False)
    said = selection.sentence(found.to_dict())
    assert said.startswith("INFEASIBLE: none of 3 checkpoints")
    assert "cap 3 %" in said
    marked = actor(1, training={"selection": found.to_dict()})
    assert shown_name(Shielded(marked)) == "ppo-lagrangian+deterministic (infeasible)"
    assert shown_name(actor(1, training={"step": 1})) == "ppo-lagrangian"
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_best_of__of_equals_is_the_longer_trained():
    assert best_of([candidate(1, 0.8, LOW), candidate(2, 0.8, LOW)]).chosen.step == 2
    assert best_of([candidate(2, 0.8, HIGH), candidate(1, 0.8, HIGH)]).chosen.step == 2
    with pytest.raises(ConfigError, match="no checkpoint to choose from"):
        best_of([])


def actor(seed: int, **changes: Any) -> LearnedPolicy:
    """A random residual actor that mostly adds nothing."""
    spec = PolicySpec.of(
        SMALL,
        observation="full",
        action="residual",
        fields=observation_fields("full"),
        n_actions=6,
    )
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 0.3, (len(spec.features), 6))
    layer = Layer(weight, np.array([0.0, 0.5, 1.0, 0.5, 0.0, 0.0]))
    return LearnedPolicy((layer,), spec, **changes)


@pytest.mark.parametrize("deployed", ["argmax", "sampled"])
def test_play_abreast__gives_the_days_that_each_would_play_alone(deployed):
    policies = [actor(1, deployed=deployed), actor(2, deployed=deployed)]
    together = selection.play_abreast(policies, SMALL, np.arange(3))
    for policy, days in zip(policies, together, strict=True):
        alone = play_days(policy, SMALL, np.arange(3))
        for name, values in alone.days.items():
            np.testing.assert_array_equal(days.days[name], values, err_msg=name)
    assert (together[0].days["dialed"] != together[1].days["dialed"]).any()


def test_play_abreast__refuses_policies_that_cannot_share_a_world():
    with pytest.raises(ConfigError, match="checkpoints of one training"):
        selection.play_abreast([actor(1), actor(2, base_theta=0.03)], SMALL, np.arange(2))
    with pytest.raises(ConfigError, match="most_days_above = 0"):
        selection.select({1: actor(1)}, SMALL, most_days_above=0.0)


def test_select__looks_at_the_policy_as_it_is_deployed():
    found = {
        mode: selection.select({7: actor(1, deployed=mode)}, SMALL, n_days=3)
        for mode in ("argmax", "sampled")
    }
    rates = [found[mode].chosen.summary.silent_rate.value for mode in found]
    assert rates[0] != rates[1]
    assert found["sampled"].policy.training == {"selection": found["sampled"].to_dict()}
    assert found["sampled"].to_dict()["deployed"] == "sampled"


TINY = ["--learner.total-steps=1536", "--learner.n-envs=16", "--learner.n-steps=32"]
TINY += ["--learner.batch-size=256", "--learner.horizon-s=300", "--learner.checkpoint-every=1"]
TINY += ["--judge.tune-days=2", "--judge.test-days=2", "--judge.select-days=3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run whose checkpoints cannot be feasible, however good they are."""
    runs = tmp_path_factory.mktemp("runs")
    world = runs / "small.yaml"
    world.write_text(json.dumps(SMALL.model_dump(mode="json", exclude_none=True)))
    asked = ["train", f"--scenario={world}", f"--runs={runs}", "--name=one", *TINY]
    assert main([*asked, "--judge.most-days-above=0.001"]) == 0
    return runs / "one"


def test_train__marks_an_infeasible_policy_wherever_it_appears(run):
    verdict = (run / "verdict.md").read_text()
    assert "INFEASIBLE: none of 3 checkpoints" in verdict
    assert "| ppo-lagrangian (infeasible) |" in verdict
    result = json.loads((run / "evaluation.json").read_text())["selection"]
    assert not result["feasible"]
    assert [one["step"] for one in result["candidates"]] == [512, 1024, 1536]
    manifest = json.loads((run / "manifest.json").read_text())
    assert any("INFEASIBLE" in line for line in manifest["results"]["verdict"])
    manifest = json.loads((run / "export" / "manifest.json").read_text())
    assert manifest["training"]["selection"] == result
    assert manifest["contract"]["feasible"] is False
    assert "INFEASIBLE" in (run / "export" / "card.md").read_text()
    policy = load_policy(run / "policy")
    assert policy.infeasible
    assert policy.training is not None
    assert run_name(str(run)) == "learned:one-infeasible"
    assert run_name("elsewhere/two") == "learned:two"
    assert policy.training["step"] == result["step"]


def test_select__keeps_the_best_checkpoint_of_a_run_and_evaluate_says_so(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "run")
    knob = load_policy(copy / "policy").knob
    shutil.rmtree(copy / "checkpoints" / "step-1536")  # an older one is chosen now
    (copy / "checkpoints" / "step-1024" / "policy.safetensors").write_bytes(b"damaged")
    before = capsys.readouterr()
    assert main(["select", str(copy), "--days=3", "--most-days-above=1"]) == 0
    shown = capsys.readouterr().out
    assert "512" in shown, before
    state = load_state(latest_checkpoint(copy / "policy"))
    assert (state.step, state.base_theta) == (512, knob)
    assert state.selection is not None
    assert main(["evaluate", str(copy), "--tune-days=2", "--test-days=2"]) == 0
    assert "decisions" in (copy / "evaluation-small" / "verdict.md").read_text()


def test_kept_policies__without_a_readable_checkpoint_is_one_clear_error(run, tmp_path, capsys):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        selection.kept_policies(tmp_path)
    broken = shutil.copytree(run, tmp_path / "broken")
    for path in (broken / "checkpoints").iterdir():
        (path / "manifest.json").write_text("{}")
    assert main(["select", str(broken)]) == 2
    assert "is not a manifest" in capsys.readouterr().err
