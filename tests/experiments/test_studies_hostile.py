"""Every attack once: nothing is accepted, nothing crashes; and a good bundle is not refused."""

from pathlib import Path

import pytest

from quietdial.agents.bundle.load import load_bundle
from quietdial.agents.bundle.write import Distilled, write_policy
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.learners.training import train
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.evaluate import select_seeds
from quietdial.experiments.export import distilled_tree, look
from quietdial.experiments.studies.export_parity import shaken, torch_answers
from quietdial.experiments.studies.hostile_bundles import ATTACKS, Keys, attacked, figures


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys") / "k")


@pytest.fixture(scope="module")
def good(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = LearnerConfig.preset(
        "a2c", n_envs=4, n_steps=16, total_steps=64, horizon_s=300.0, net=(8,), report_every=1
    )
    scenario = load_scenario("study-real-5").model_copy(deep=True)
    episode = scenario.episode.model_copy(update={"duration_s": 1800.0})
    scenario = scenario.model_copy(update={"episode": episode})
    policy = shaken(train(config, scenario).policy)
    seen, obs = look(policy, scenario, select_seeds(2))
    table = Distilled(distilled_tree(policy, obs, 8), {"figures": [], "tolerance": "none"})
    out = tmp_path_factory.mktemp("good") / "bundle"
    return write_policy(policy, scenario, out, seen=seen, table=table, key=keys.own, vectors=400)


def test_attacks__are_all_refused_in_one_line(good: Path, keys: Keys, tmp_path: Path) -> None:
    bundle = load_bundle(good, signers=keys.signers)
    assert bundle.table is not None
    assert bundle.table.tree.n_leaves > 2
    outcomes = list(attacked(good, keys, tmp_path / "bad", len(ATTACKS) + 6))
    assert [one.attack for one in outcomes if one.accepted] == []
    assert [(one.attack, one.crash) for one in outcomes if one.crash] == []
    rows = {row["name"]: row for row in figures(outcomes, 0.0)}
    assert rows["accepted"]["value"] == 0.0
    assert 0.0 < rows["accepted"]["hi"] < 0.05
    assert rows["slowest load"]["value"] < 20.0


def test_torch__answers_the_golden_vectors(good: Path) -> None:
    bundle = load_bundle(good, unsigned=True)
    assert bundle.policy is not None
    assert bundle.golden is not None
    got = torch_answers(bundle.policy, bundle.golden.inputs)
    assert (got.action == bundle.golden.answers.action).all()
    assert len(set(got.action.tolist())) > 3
