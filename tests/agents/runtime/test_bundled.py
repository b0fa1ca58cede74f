"""A pacer out of a bundle plays what the simulator played: policies of each kind, and rules."""

import numpy as np
import pytest

from quietdial.agents.bundle.describe import Seen
from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.load import load_bundle
from quietdial.agents.bundle.write import write_policy, write_rule
from quietdial.agents.rules.marginal import Marginal
from quietdial.agents.rules.simple import Progressive
from quietdial.agents.rules.vicidial import VICIdial
from quietdial.agents.runtime.bundled import pacer_of, settings_of
from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.agents.runtime.shield import ShieldSettings
from quietdial.agents.runtime_feed import LogFeed
from quietdial.agents.runtime_tables import pacing_tables
from quietdial.envs.pacing import log
from quietdial.envs.pacing.params import SHIELD_RATE_PER_S
from quietdial.envs.pacing.spec import observation_fields
from quietdial.envs.pacing.state import LOGGED
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import changed, load_scenario

OPEN = {
    "cold_start_answered": 0,
    "unix_clock": False,
    "shield": None,
    "at_cap": "policy",
    "min_agents": 1,
}


def seen_of(n: int = 300) -> Seen:
    """Observations within the bounds, in place of simulated days; a wide envelope."""
    rng = np.random.default_rng(7)
    fields = observation_fields("full")
    low = np.array([f.low for f in fields], np.float32)
    high = np.array([f.high for f in fields], np.float32)
    obs = rng.uniform(low, high, (n, len(low))).astype(np.float32).clip(low, high)
    return Seen(obs, (1.0, 10.0), (0.01, 0.99), (100.0, 200.0))


def agreed(bundle, policy, scenario, *, steps=700, **changes) -> int:
    """Play the policy in the world and the bundle beside it; how many calls both placed."""
    action = policy.action
    world = World(1, scenario, observation="full", action=action, records=True)
    pacer = pacer_of(bundle, MemoryLedger(), **{**OPEN, **changes})
    feed = LogFeed(world, pacer)
    on = np.ones(1, np.bool_)
    world.begin(on, [11])
    feed.after_step()
    state, calls = None, 0
    for step in range(steps):
        actions, state = policy.act(world.observe(), state)
        now_ms = round(1000 * world.clock_s()[0])
        decision = pacer.decide(now_ms)
        assert decision.mode == "policy", decision
        world.step(actions, on)
        rows = world.state.log[0, : int(world.state.more[0, LOGGED])]
        placed = int(((rows[:, 1] == log.DIAL) & (rows[:, 0] == now_ms)).sum())
        assert decision.dials == placed, step
        calls += placed
        feed.after_step()
    return calls


@pytest.mark.parametrize("onnx", [False, True], ids=["numpy", "onnxruntime"])
@pytest.mark.parametrize(
    "kind",
    [
        {"action": "residual"},
        {"action": "dials"},
        {"action": "threshold"},
        {"action": "theta"},
        {"action": "residual", "memory": 8},
        {"action": "dials", "deployed": "sampled"},
        {"action": "residual", "priced": True},
    ],
    ids=lambda kind: "-".join(str(value) for value in kind.values()),
)
def test_pacer_of__decides_as_the_policy_did(make_policy, scenario, tmp_path, kind, onnx):
    policy = make_policy(**kind)
    folder = write_policy(policy, scenario, tmp_path / "b", seen=seen_of(), vectors=100)
    bundle = load_bundle(folder, unsigned=True)
    assert agreed(bundle, policy, scenario, onnx=onnx) > 100


def test_pacer_of__plays_marginal_and_progressive_and_no_product(scenario, tmp_path):
    for rule in (Marginal(0.013), Progressive()):
        folder = write_rule(rule, scenario, tmp_path / rule.name, seen=seen_of())
        bundle = load_bundle(folder, unsigned=True)
        assert agreed(bundle, rule, scenario) > 100
    folder = write_rule(VICIdial("RATIO", 2.5), scenario, tmp_path / "v", seen=seen_of())
    with pytest.raises(PacerError, match="played by the product"):
        pacer_of(load_bundle(folder, unsigned=True), MemoryLedger())


def test_pacer_of__obeys_the_contract_and_the_operator(make_policy, scenario, tmp_path):
    folder = write_policy(make_policy(), scenario, tmp_path / "b", seen=seen_of(), vectors=100)
    bundle = load_bundle(folder, unsigned=True)
    settings = settings_of(bundle)
    assert (settings.lease_ms, settings.max_age_ms, settings.skew_ms) == (3000, 2000, 500)
    assert settings.cold_start_answered == 50
    assert settings.envelope.agents == (10.0, 10.0)
    assert settings.shield is not None
    assert settings.shield.kind == "deterministic"
    pacer = pacer_of(bundle, MemoryLedger(), lease_ms=5000, n_agents=12)
    assert (pacer.settings.lease_ms, pacer.crew.n_agents) == (5000, 12)
    assert bundle.bundle_id[:12] in pacer.policy.name


def test_pacer_of__a_rule_without_a_cap_is_paced_without_a_shield(make_policy, scenario, tmp_path):
    free = changed(scenario, rule={"cap": 1.0})
    policy = make_policy(action="dials")
    folder = write_policy(policy, free, tmp_path / "b", seen=seen_of(), vectors=100)
    bundle = load_bundle(folder, unsigned=True)
    assert settings_of(bundle).shield is None
    assert agreed(bundle, policy, free) > 100
    pacer = pacer_of(bundle, MemoryLedger(), shield=ShieldSettings(cap=0.02))
    assert pacer.shield is not None


def test_bundle__a_damaged_pacing_json_is_refused(make_policy, scenario, tmp_path):
    from quietdial.agents.bundle.load import bundle_id, sha256, sums_of
    from quietdial.agents.bundle.strict import canonical, read_json

    folder = write_policy(make_policy(), scenario, tmp_path / "b", seen=seen_of(), vectors=100)

    def spoiled(change) -> None:
        tables = read_json((folder / "pacing.json").read_bytes(), "pacing.json")
        change(tables)
        data = canonical(tables)
        (folder / "pacing.json").write_bytes(data)
        manifest = read_json((folder / "manifest.json").read_bytes(), "manifest.json")
        manifest["files"]["pacing.json"] |= {"bytes": len(data), "sha256": sha256(data)}
        manifest["bundle_id"] = bundle_id(manifest)
        (folder / "manifest.json").write_bytes(canonical(manifest))
        files = {p.name: p.read_bytes() for p in folder.iterdir()}
        (folder / "SHA256SUMS").write_bytes(sums_of(files))

    spoiled(lambda tables: None)
    assert load_bundle(folder, unsigned=True)
    for change in (
        lambda tables: tables.update(format="other"),
        lambda tables: tables.pop("phi"),
        lambda tables: tables.update(n_agents=0),
        lambda tables: tables.update(windows=[]),
        lambda tables: tables["release"].update(talk=[[1.0]]),
        lambda tables: tables.update(ring="far"),
        lambda tables: tables.update(surprise=1),
        lambda tables: tables.update(release=7),
    ):
        before = (folder / "pacing.json").read_bytes()
        spoiled(change)
        with pytest.raises(BundleError, match=r"pacing\.json"):
            load_bundle(folder, unsigned=True)
        (folder / "pacing.json").write_bytes(before)


@pytest.mark.parametrize(("preset", "low"), [("study-real-10", 0.1), ("cold-50", 0.05)])
def test_tables__count_on_the_answered_calls_of_a_bad_day_only(preset, low):
    scenario = load_scenario(preset)
    pace = pacing_tables(scenario).answers_per_agent_s
    calls = scenario.calls
    setup_s = calls.setup.sampled_mean_s() if calls.setup else 0.0
    wrap = scenario.floor.wrap
    assert wrap is not None
    handling_s = scenario.floor.talk.sampled_mean_s() + wrap.sampled_mean_s()
    missed_s = setup_s + sum(p.share * p.time.sampled_mean_s() for p in calls.unanswered)
    each_s = setup_s + calls.time_to_answer.sampled_mean_s() + handling_s
    assert pace == pytest.approx(0.7 / (each_s + (1 / low - 1) * missed_s))
    world = World(1, scenario, action="dials", observation="none", shield="borrowing")
    assert pace < world.params.x[SHIELD_RATE_PER_S]
