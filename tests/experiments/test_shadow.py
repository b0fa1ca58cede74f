"""`quietdial shadow` from recorded days and an exported bundle to the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from quietdial.agents.bundle.describe import Seen
from quietdial.agents.bundle.load import load_bundle
from quietdial.agents.bundle.write import write_policy
from quietdial.agents.bundle_policy import bundle_policy
from quietdial.agents.exploring import Exploring
from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.agents.policy import PolicySpec
from quietdial.agents.rules.marginal import Marginal
from quietdial.agents.shadow.replay import Shadowed
from quietdial.envs.loading import write_yaml
from quietdial.envs.pacing.spec import N_RESIDUALS, observation_fields
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.cli import main
from quietdial.experiments.shadow.assemble import blocks_of, chances_of
from quietdial.experiments.shadow.drift import feature_drift
from quietdial.experiments.simulate import simulate

SHARE = 0.1


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return changed(load_scenario("study-real-10"), "short", episode={"duration_s": 2400})


@pytest.fixture(scope="module")
def policy(scenario: Scenario) -> LearnedPolicy:
    """The base rule itself, as a network: whatever it sees, it adds nothing."""
    fields = observation_fields("full")
    spec = PolicySpec.of(
        scenario, observation="full", action="residual", fields=fields, n_actions=N_RESIDUALS
    )
    bias = np.zeros(N_RESIDUALS)
    bias[2] = 1.0
    layers = (Layer(np.zeros((len(fields), N_RESIDUALS)), bias),)
    return LearnedPolicy(layers, spec, training={"config": {"seed": 0}})


@pytest.fixture(scope="module")
def recorded(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short days on which the base rule explored."""
    folder = tmp_path_factory.mktemp("shadow") / "records"
    simulate(Exploring(Marginal(0.02), SHARE, seed=1), scenario, n_days=3, records=folder)
    return folder


@pytest.fixture(scope="module")
def bundle(
    scenario: Scenario, policy: LearnedPolicy, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    world = World(4, scenario, observation="full", action="residual")
    on = np.ones(4, np.bool_)
    world.begin(on, [90, 91, 92, 93])
    rows = []
    for _ in range(1500):
        rows.append(world.observe())
        world.step(np.full(4, 2), on)
    seen = Seen(np.concatenate(rows), (5.0, 10.0), (0.05, 0.6), (80.0, 300.0))
    out = tmp_path_factory.mktemp("shadow") / "bundle"
    return write_policy(policy, scenario, out, seen=seen, vectors=100)


def test_command__reports_on_recorded_days(
    recorded: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    flags = ["--guards=none", "--horizon=30", "--least-effective=10", "--json"]
    code = main(["shadow", str(bundle), str(recorded), "--output", str(out), *flags])
    found = json.loads(capsys.readouterr().out)
    assert code == (0 if found["drift"]["inside"] else 1)
    assert json.loads((out / "shadow.json").read_text())["totals"] == found["totals"]
    totals = found["totals"]
    # it disagrees where the incumbent explored, unless one call fewer than none was drawn
    assert 1.0 - SHARE - 0.02 < totals["same"] < 1.0 - 0.4 * SHARE
    assert totals["fallback"] == 0.0
    estimates = {one["decisions"]: one for one in found["off_policy"]["estimates"]}
    assert sorted(estimates) == [1, 5, 15, 30]
    effective = [estimates[k]["effective_blocks"] for k in (1, 5, 15, 30)]
    assert sorted(effective, reverse=True) == effective
    first = estimates[1]
    assert first["identified"]
    assert first["mean_weight"]["lo"] <= 1.0 <= first["mean_weight"]["hi"]
    assert first["blocks"] == 3 * (2330 // 30)
    page = (out / "shadow.md").read_text()
    for text in ("What the log does not say", "were recorded, so the weights are exact", "By hour"):
        assert text in page
    for name in ("lines", "hours", "drift"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    table = pq.read_table(out / "decisions.parquet")
    assert table.num_rows == totals["decisions"]
    assert {"incumbent", "policy", "mode", "reason", "feature_idle_share"} <= set(
        table.column_names
    )


def test_command__says_that_a_rule_that_never_draws_cannot_be_estimated(
    scenario: Scenario, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = changed(scenario, episode={"duration_s": 1200})
    simulate(Marginal(0.05), short, n_days=2, records=tmp_path / "days")
    world = tmp_path / "world.yaml"
    write_yaml(world, short.model_dump(mode="json", exclude_none=True))
    args = ["shadow", str(bundle), str(tmp_path / "days"), "--output", str(tmp_path / "out")]
    main([*args, "--json", f"--scenario={world}", "--incumbent=theta:0.05", "--simulated-days=2"])
    found = json.loads(capsys.readouterr().out)
    assert "never draws" in found["off_policy"]["refused"]
    assert found["off_policy"]["estimates"] == []
    assert found["totals"]["fallback_reasons"]["cold start"] > 100
    both = found["simulated"]
    assert both["policy"]["silent_rate"]["value"] < both["incumbent"]["silent_rate"]["value"]
    page = (tmp_path / "out" / "shadow.md").read_text()
    assert "Not the recorded days" in page
    assert "Not estimated: the incumbent never draws" in page


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--horizon=2"], "horizon = 2 s must lie between 10 and 3600"),
        (["--incumbent=theta:0.02"], "a simulation needs both"),
        (["--least-effective=1"], "must be at least 2"),
    ],
)
def test_command__refuses_settings_in_one_line(
    flags: list[str],
    message: str,
    recorded: Path,
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = str(tmp_path / "out")
    assert main(["shadow", str(bundle), str(recorded), "--output", out, *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_bundle_policy__plays_what_the_policy_played(
    bundle: Path, policy: LearnedPolicy, scenario: Scenario
) -> None:
    player = bundle_policy(load_bundle(bundle, unsigned=True))
    short = changed(scenario, episode={"duration_s": 600})
    theirs, ours = simulate(policy, short, seed=5), simulate(player, short, seed=5)
    assert ours.totals["dialed"] == theirs.totals["dialed"] > 0


def day_of(obs: np.ndarray, placed: np.ndarray, chance: float, agrees: bool) -> Shadowed:
    n = len(placed)
    zeros, texts = np.zeros(n), np.full(n, "")
    names = ("local_s", "level", "rate", "answered", "silent", "busy_s")
    more: dict[str, Any] = dict.fromkeys(names, zeros)
    return Shadowed(
        label="a day",
        at_ms=1000 * np.arange(n, dtype=np.int64),
        incumbent=placed,
        policy=placed if agrees else placed + 1,
        asked=placed,
        mode=texts,
        reason=texts,
        guards=texts,
        obs=obs.astype(np.float32),
        incumbent_p=np.full(n, chance),
        policy_p=np.full(n, float(agrees)),
        in_flight=placed,
        present=placed,
        available_s=zeros,
        interval_s=1.0,
        **more,
    )


def test_chances_of__are_recorded_fitted_or_refused() -> None:
    rng = np.random.default_rng(2)
    obs = rng.normal(0, 1, (9000, 2))
    drawn = (rng.random(9000) < 0.3).astype(np.int64)
    assert chances_of([day_of(obs, drawn, 0.5, agrees=False)]).source == "recorded"
    assert "never draws" in chances_of([day_of(obs, drawn, 1.0, agrees=False)]).refused
    assert chances_of([day_of(obs, drawn, 1.0, agrees=True)]).source == "recorded"
    fitted = chances_of([day_of(obs, drawn, np.nan, agrees=False)])
    assert fitted.source == "fitted"
    assert fitted.of_days[0][drawn == 1].mean() == pytest.approx(0.3, abs=0.03)
    always = chances_of([day_of(obs, 0 * drawn, np.nan, agrees=False)])
    assert "looks deterministic" in always.refused


def test_blocks_of__have_days_for_clusters_where_there_are_enough() -> None:
    placed = np.ones(7200, np.int64)
    day = day_of(np.zeros((7200, 2)), placed, 0.5, agrees=True)
    few = blocks_of([day] * 3, [day.incumbent_p] * 3, 120)
    many = blocks_of([day] * 9, [day.incumbent_p] * 9, 120)
    assert few is not None
    assert many is not None
    assert (few.ratio.shape, len(np.unique(few.cluster))) == ((180, 120), 12)
    assert (many.ratio.shape, len(np.unique(many.cluster))) == ((540, 120), 9)
    assert np.all(many.ratio == 2.0)
    assert blocks_of([day], [day.incumbent_p], 7201) is None


def test_feature_drift__is_none_on_the_days_of_training_and_large_elsewhere(bundle: Path) -> None:
    contract = load_bundle(bundle, unsigned=True).contract
    seen = [feature["seen"] for feature in contract["features"]]
    rng = np.random.default_rng(3)
    obs = np.empty((4000, len(seen)))
    for i, one in enumerate(seen):  # a value of each bin, in training's shares
        values = [*one["edges"], max(one["edges"][-1], one["p99"]) + 1e-3]
        obs[:, i] = rng.choice(values, 4000, p=np.array(one["shares"]) / sum(one["shares"]))
    same = feature_drift([day_of(obs, np.zeros(4000, np.int64), 1.0, True)], contract)
    assert max(one.psi for one in same if one.psi is not None) < 0.05
    assert max(one.distance for one in same if one.distance is not None) < 0.06
    other = feature_drift([day_of(obs + 0.5, np.zeros(4000, np.int64), 1.0, True)], contract)
    assert np.mean([one.psi is not None and one.psi > 0.25 for one in other]) > 0.5
    without = [
        {**f, "seen": {k: f["seen"][k] for k in ("mean", "std", "p01", "p99")}}
        for f in contract["features"]
    ]
    old = feature_drift(
        [day_of(obs, np.zeros(4000, np.int64), 1.0, True)], {**contract, "features": without}
    )
    assert all(one.psi is None for one in old)
