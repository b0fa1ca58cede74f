"""Writing a bundle: the same answers everywhere or nothing, the same bytes, no trace."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest

from quietdial.agents.bundle import parity
from quietdial.agents.bundle.describe import rule_contract
from quietdial.agents.bundle.evaluate import Inputs
from quietdial.agents.bundle.load import load_bundle, verified_manifest
from quietdial.agents.bundle.sources import source_of
from quietdial.agents.bundle.strict import schema
from quietdial.agents.bundle.vectors import sample_inputs
from quietdial.agents.bundle.write import Origin, write_archive, write_rule
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.rules import Marginal, VICIdial
from quietdial.envs import PacingVectorEnv, Scenario
from quietdial.envs.errors import ExportError
from quietdial.envs.pacing.spec import OBSERVATIONS, observation_fields

from .conftest import seen_of

Make = Callable[..., LearnedPolicy]
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KINDS: dict[str, dict[str, Any]] = {
    "residual": {},
    "residual_choice": {"action": "residual_choice"},
    "dials": {"action": "dials"},
    "threshold": {"action": "threshold"},
    "theta": {"action": "theta"},
    "vicidial_level": {"action": "vicidial_level"},
    "recurrent": {"memory": 8},
    "sampled": {"deployed": "sampled"},
    "priced": {"priced": True},
    "recurrent, sampled, priced": {"memory": 4, "priced": True, "deployed": "sampled"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_export__every_kind_answers_as_the_policy_and_passes_the_schema(
    kind: str, make_policy: Make, bundled: Any, tmp_path: Path
) -> None:
    policy = make_policy(**KINDS[kind])
    folder = bundled(policy, tmp_path / "x", origin=Origin(created=WHEN))
    bundle = load_bundle(folder, unsigned=True)
    manifest = bundle.manifest
    jsonschema.Draft202012Validator(schema()).validate(manifest)
    assert manifest["created"] == "2026-01-02T03:04:05Z"
    assert manifest["parity"]["vectors"] == 500
    assert ("policy.json" in bundle.files) == (not policy.memory)
    assert manifest["contract"]["recurrent"]["size"] == KINDS[kind].get("memory", 0)
    golden = bundle.golden
    assert golden is not None
    assert len(golden.inputs.obs) >= 1000
    assert 0.1 < golden.answers.valid.mean() < 0.9
    if "action" not in KINDS[kind] and not policy.memory:
        assert set(golden.answers.action[golden.answers.valid].tolist()) == set(range(6))

    model = onnx.load_from_string(bundle.files["policy.onnx"])
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert model.ir_version == 8
    again = bundled(policy, tmp_path / "y")
    assert (again / "policy.onnx").read_bytes() == bundle.files["policy.onnx"]


def test_graph__runs_in_any_batch_and_refuses_what_is_out_of_range(residual: Path) -> None:
    policy = load_bundle(residual, unsigned=True).policy
    assert policy is not None
    inputs = sample_inputs(policy, 5, 400)
    session = onnxruntime.InferenceSession(residual / "policy.onnx")
    outputs: list[Any] = []
    for i in range(400):
        row = inputs.rows(slice(i, i + 1))
        outputs.append(session.run(None, {"obs": row.obs, "base_dials": row.base}))
    answer, action, valid = (np.concatenate(part) for part in zip(*outputs, strict=True))
    low, high = policy.low.astype(np.float32), policy.high.astype(np.float32)
    expected = ((inputs.obs >= low) & (inputs.obs <= high)).all(axis=1)
    assert inputs.base is not None
    expected &= (inputs.base >= 0) & (inputs.base <= policy.decode.high)
    assert np.array_equal(valid, expected)
    assert not valid[300:].any()
    assert (answer[~valid] == 0).all()
    assert (action[~valid] == -1).all()
    assert np.array_equal(
        answer[valid], np.clip(inputs.base + action - 2, 0, policy.decode.high)[valid]
    )


def test_bundle__decides_like_the_policy_on_the_floor(
    make_policy: Make, residual: Path, scenario: Scenario
) -> None:
    policy = make_policy()
    session = load_bundle(residual, unsigned=True).session()
    env = PacingVectorEnv(8, scenario, observation=policy.observation, action=policy.action)
    obs, _ = env.reset(seed=3)
    for _ in range(200):
        action, _ = policy.act(obs)
        base = env.world.base_dials()
        got = session.answer(Inputs(obs, base=base))
        assert got.valid.all()
        assert np.array_equal(got.action, action)
        assert np.array_equal(got.answer, np.clip(base + action - 2, 0, scenario.max_dials))
        obs, *_ = env.step(action)


def test_bundle__holds_no_trace_of_the_machine(residual: Path) -> None:
    for path in residual.iterdir():
        data = path.read_bytes()
        for trace in (b"site-packages", str(Path.home()).encode() + b"/", b"/tmp/"):
            assert trace not in data, path.name


def test_bundle__is_the_same_bytes_twice_and_one_archive(
    make_policy: Make, bundled: Any, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        bundled(make_policy(), tmp_path / name, origin=Origin(created=WHEN))
    a, b = (write_archive(tmp_path / name) for name in ("a", "b"))
    assert a.read_bytes() == b.read_bytes()
    assert (
        load_bundle(a, unsigned=True).bundle_id
        == load_bundle(tmp_path / "a", unsigned=True).bundle_id
    )


def test_features__say_where_a_dialer_has_them(residual: Path) -> None:
    contract = load_bundle(residual, unsigned=True).contract
    for feature in contract["features"]:
        assert all("not known" not in text for text in feature["sources"].values()), feature
        assert feature["meaning"]
    assert contract["regulation"]["cap"] == 0.03
    assert contract["regulation"]["numerator"] == ["cut", "left", "amd"]
    assert contract["action"]["base"] == {
        "rule": "marginal",
        "theta": 0.02,
        "input": "base_dials",
    }
    card = (residual / "card.md").read_text()
    assert "| silent_rate | 2.50 % | 2.00 % to 3.00 % |" in card
    assert "theta 0.02" in card


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_sources__of_every_feature_of_the_environment_are_known(name: str) -> None:
    for field in observation_fields(name):
        assert all("not known" not in text for text in source_of(field.name)), field
    assert "not known" in source_of("weather").asterisk


def test_policy__with_other_knowledge_says_so(
    make_policy: Make, bundled: Any, tmp_path: Path
) -> None:
    policy = make_policy()
    spec = policy.spec.model_copy(update={"knowledge": "signal-10"})
    folder = bundled(LearnedPolicy(policy.layers, spec), tmp_path / "x")
    assert load_bundle(folder, unsigned=True).contract["knowledge"] == "signal-10"


def test_policy__of_hidden_truth_is_refused(
    make_policy: Make, bundled: Any, tmp_path: Path
) -> None:
    policy = make_policy()
    spec = policy.spec.model_copy(update={"knowledge": "true-answers"})
    privileged = LearnedPolicy(policy.layers, spec)
    with pytest.raises(ExportError, match="hidden truth that no dialer can know"):
        bundled(privileged, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("where", ["session", "policy"])
def test_export__a_single_mismatch_leaves_nothing(
    where: str, make_policy: Make, bundled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(action: Any) -> Any:
        changed = np.array(action)
        if len(changed) > 100:
            changed[17] += 1
        return changed

    if where == "policy":
        act = LearnedPolicy.act
        monkeypatch.setattr(
            LearnedPolicy, "act", lambda *args: (spoil(act(*args)[0]), act(*args)[1])
        )
    else:
        right = parity.Session.answer

        def answer(self: Any, inputs: Any) -> Any:
            got = right(self, inputs)
            return got._replace(action=spoil(got.action))

        monkeypatch.setattr(parity.Session, "answer", answer)
    with pytest.raises(ExportError, match=r"disagree on 1 of \d+ vectors; nothing exported"):
        bundled(make_policy(), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_export__replaces_an_earlier_export_only(
    make_policy: Make, bundled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundled(make_policy(), ".") == Path()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if target == tmp_path / "policy.json":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ExportError, match="cannot be written: No space left"):
        bundled(make_policy().with_knob(0.03), ".")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    (tmp_path / ".export-0123456789ab.tmp").mkdir()  # left by a killed export
    bundled(make_policy(memory=4), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(before) - {"policy.json"}
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"holds other files \(diary\.txt\)"):
        bundled(make_policy(), tmp_path)
    with pytest.raises(ExportError, match="is not a folder"):
        bundled(make_policy(), tmp_path / "diary.txt")
    with pytest.raises(ExportError, match="at least 100"):
        bundled(make_policy(), tmp_path / "y", vectors=3)


def test_sums__are_what_sha256sum_reads(residual: Path) -> None:
    lines = (residual / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == len(list(residual.iterdir())) - 1
    assert all(re.fullmatch(r"[0-9a-f]{64}  \S+", line) for line in lines)


@pytest.mark.parametrize("rule", [Marginal(), VICIdial("RATIO", 2.5)], ids=lambda rule: rule.name)
def test_rule__is_declared_with_formula_and_settings(
    rule: Any, make_policy: Make, scenario: Scenario, tmp_path: Path
) -> None:
    folder = write_rule(rule, scenario, tmp_path / "x", seen=seen_of(make_policy()))
    bundle = load_bundle(folder, unsigned=True)
    assert bundle.policy is None
    declared = json.loads(bundle.files["rule.json"])
    assert declared["formula"]
    assert {s["name"]: s["value"] for s in declared["settings"]}
    jsonschema.Draft202012Validator(schema()).validate(bundle.manifest)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert verified_manifest(files)["contract"]["kind"] == "rule"
    learnt = rule_contract(Marginal(knowledge="learnt"), scenario, seen_of(make_policy()))
    assert learnt["knowledge"] == "learnt"
    with pytest.raises(ExportError, match="sees hidden truth"):
        rule_contract(Marginal(knowledge="all"), scenario, seen_of(make_policy()))
