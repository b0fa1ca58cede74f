"""Learners with the same information as the rules: in training, in files, in the world."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from quietdial.agents.checkpoint import load_policy
from quietdial.agents.checkpoint_folder import json_bytes
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.learners.cloning import lessons_of
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.learners.fast_policy import starting_bias
from quietdial.agents.learners.training import make_training_env, train
from quietdial.agents.policy import PolicySpec
from quietdial.agents.rules import Marginal
from quietdial.envs.errors import ConfigError
from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.evaluate import make_world
from quietdial.experiments.studies.pool import TrainJob

SMALL: dict[str, Any] = {
    "total_steps": 1024,
    "n_envs": 32,
    "n_steps": 32,
    "batch_size": 256,
    "net": (16,),
    "horizon_s": 300.0,
}
FLOOR = load_scenario("study-real-10")


def _config(**changes: Any) -> LearnerConfig:
    return LearnerConfig(**{**SMALL, **changes})


def _with_scores(auc: float = 0.85, buffer: int = 20) -> Scenario:
    return changed(FLOOR, "scored", calls={"leads": {"auc": auc, "buffer": buffer}})


@pytest.fixture(scope="module")
def chooser(tmp_path_factory: pytest.TempPathFactory) -> tuple[LearnedPolicy, Path]:
    """A policy that chooses its leads by scores, and its checkpoint."""
    config = _config(knowledge="scores+signal-10", observation="leads", action="residual_choice")
    trained = train(config, _with_scores(), checkpoints=tmp_path_factory.mktemp("checkpoints"))
    assert trained.checkpoint is not None
    return trained.policy, trained.checkpoint


def test_config__takes_the_names_of_the_world_only() -> None:
    assert _config().knowledge == "believed"
    assert _config(knowledge="scores+signal-10").knowledge == "scores+signal-10"
    for wrong, message in (
        ("clairvoyant", "must be one of"),
        ("signal-5+signal-10", "give one signal"),
        ("learnt+wrap-hidden", "leave one out"),
    ):
        with pytest.raises(ValidationError, match=message):
            _config(knowledge=wrong)


def test_training_env__shows_what_is_known() -> None:
    """With the true answers the expected ones are whole numbers, with the belief they are not."""
    shown = {}
    for knowledge in ("believed", "true-answers"):
        env = make_training_env(_config(knowledge=knowledge), FLOOR)
        names = [field.name for field in env.observation_spec]
        obs, _ = env.reset(seed=5)
        for _ in range(20):
            obs = env.step(np.full(32, 3))[0]
        idle = [names.index(f"answers_{g}") for g in range(5)]
        shown[knowledge] = np.asarray(obs[:, idle] * np.sqrt(10.0), np.float64)
    assert np.abs(shown["true-answers"] - np.rint(shown["true-answers"])).max() < 1e-5
    assert np.abs(shown["believed"] - np.rint(shown["believed"])).max() > 0.2


def test_train__policy_asks_the_world_for_what_it_knew(
    chooser: tuple[LearnedPolicy, Path],
) -> None:
    policy, checkpoint = chooser
    back = load_policy(checkpoint)
    for one in (policy, back, back.with_knob(0.05)):
        assert one.world_options == {"knowledge": "scores+signal-10"}
    assert (back.spec.action, back.spec.n_actions) == ("residual_choice", 24)
    world = make_world(back, _with_scores(), 4)
    world.begin(np.ones(4, np.bool_), [1, 2, 3, 4])
    actions, _ = back.act(world.observe())
    world.step(actions, np.ones(4, np.bool_))
    with pytest.raises(ConfigError, match="leads"):
        make_world(back, FLOOR, 1)


def test_act__dialing_more_leaves_the_choice_of_the_lead_alone(
    chooser: tuple[LearnedPolicy, Path],
) -> None:
    policy, _ = chooser
    obs = np.random.default_rng(0).random((500, len(policy.spec.features)))
    plain, more, less = (
        policy.act(obs, factor=np.full(500, factor))[0] for factor in (1.0, 1e6, 1e-6)
    )
    assert np.array_equal(plain, policy.act(obs)[0])
    assert (more % 6 == 5).all()
    assert (less % 6 == 0).all()
    leads = policy.logits(obs).reshape(500, 4, 6)
    assert np.array_equal(more // 6, leads[:, :, 5].argmax(axis=1))


def test_load__a_checkpoint_from_before_knowledge_goes_by_the_belief(tmp_path: Path) -> None:
    trained = train(_config(), FLOOR, checkpoints=tmp_path)
    assert trained.checkpoint is not None
    path = trained.checkpoint / "policy-state.json"
    state = json.loads(path.read_text())
    assert state["spec"].pop("knowledge") == state["config"].pop("knowledge") == "believed"
    path.write_text(json.dumps(state))
    manifest = json.loads((trained.checkpoint / "manifest.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest["files"][path.name] = {"bytes": path.stat().st_size, "sha256": digest}
    (trained.checkpoint / "manifest.json").write_bytes(json_bytes(manifest))
    old = load_policy(trained.checkpoint)
    assert old.spec == trained.policy.spec
    assert old.world_options == {}


def test_spec__refuses_knowledge_and_numbers_of_actions_that_do_not_fit(
    chooser: tuple[LearnedPolicy, Path],
) -> None:
    data = chooser[0].spec.model_dump()
    with pytest.raises(ValidationError, match="must be one of"):
        PolicySpec.model_validate({**data, "knowledge": "guesses"})
    with pytest.raises(ValidationError, match="needs 24 actions"):
        PolicySpec.model_validate({**data, "n_actions": 6})


def test_starting_bias__of_a_choice_is_highest_where_the_rule_decides_both() -> None:
    bias = starting_bias("residual_choice", 24, 0.25)
    rule = [-0.5, -0.25, 0.0, -0.25, -0.5, -0.75]
    assert bias == [number - 0.25 for number in rule] * 3 + rule


@pytest.mark.parametrize("knowledge", ["signal-10", "wrap-hidden", "true-answers", "learnt"])
def test_lessons_of__student_sees_the_base_rule_of_its_own_knowledge(knowledge: str) -> None:
    """Of the rule with the same knowledge there is nothing left to learn; of another there is."""
    given: dict[str, Any] = {"observation": "full", "action": "residual", "knowledge": knowledge}
    small: dict[str, Any] = {"n_pairs": 4096, "n_campaigns": 64}
    lessons = lessons_of(Marginal(0.02, knowledge), FLOOR, **given, **small)
    assert (lessons.actions == 2).all()
    if knowledge == "learnt":
        with pytest.raises(ConfigError, match="keeps no tables"):
            lessons_of(Marginal(0.02), FLOOR, **given, **small)
        return
    other = lessons_of(Marginal(0.02), FLOOR, **given, **small)
    assert (other.actions != 2).mean() > 0.003


def test_lessons_of__a_student_with_scores_has_room_for_its_exact_sums() -> None:
    """The teacher has none of them; what the student computes is what a world of its own says."""
    given: dict[str, Any] = {"n_pairs": 2048, "n_campaigns": 64}
    lessons = lessons_of(
        Marginal(0.02),
        _with_scores(buffer=1),
        observation="leads",
        action="residual",
        knowledge="scores",
        **given,
    )
    assert np.isfinite(lessons.obs).all()
    assert 0.0 < (lessons.actions != 2).mean() < 0.5


def test_train_job__is_named_as_before_unless_it_knows_more() -> None:
    plain, more = (
        TrainJob("a", _config(**changes), FLOOR).sha256
        for changes in ({}, {"knowledge": "signal-10"})
    )
    assert plain == TrainJob("a", _config(knowledge="believed"), FLOOR).sha256
    assert plain != more
