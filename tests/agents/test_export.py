"""Export: the same dials everywhere or nothing, the same bytes, no trace of the machine."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from quietdial.agents import export
from quietdial.agents.contract import load_contract
from quietdial.agents.export import DeployedActor, export_policy, onnx_bytes, sample_vectors
from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.envs import PacingVectorEnv, Scenario
from quietdial.envs.errors import ExportError

Make = Callable[..., LearnedPolicy]
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module", params=["residual", "dials"])
def exported(
    request: pytest.FixtureRequest, make_policy: Make, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LearnedPolicy, Path]:
    policy = make_policy(request.param)
    folder = tmp_path_factory.mktemp("export") / "out"
    assert export_policy(policy, folder, created=WHEN) == folder
    return policy, folder


def _run(folder: Path, obs: Any, base: Any | None) -> Any:
    session = onnxruntime.InferenceSession(folder / "policy.onnx")
    feed = {"obs": obs} | ({} if base is None else {"base_dials": base})
    return session.run(["dials", "valid"], feed)


def test_export__writes_two_files_that_agree(exported: tuple[LearnedPolicy, Path]) -> None:
    policy, folder = exported
    assert sorted(p.name for p in folder.iterdir()) == ["policy.json", "policy.onnx"]
    contract = load_contract(folder / "policy.json")
    model = (folder / "policy.onnx").read_bytes()
    assert contract.onnx.sha256 == hashlib.sha256(model).hexdigest()
    assert contract.onnx.bytes == len(model)
    assert contract.created == "2026-01-02T03:04:05Z"
    assert contract.parity.vectors == 10_000
    assert contract.parity.invalid_vectors >= 2_500
    assert [f.name for f in contract.features] == [f.name for f in policy.spec.features]
    assert contract.training.details["step"] == 7
    if policy.action == "residual":
        assert contract.action.base is not None
        assert contract.action.base.theta == policy.base_theta
    else:
        assert contract.action.base is None


def test_export__model_is_plain_small_and_portable(exported: tuple[LearnedPolicy, Path]) -> None:
    policy, folder = exported
    data = (folder / "policy.onnx").read_bytes()
    model = onnx.load_from_string(data)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert model.ir_version == 8
    assert not model.functions
    assert not any(t.external_data for t in model.graph.initializer)
    for trace in (b".py", b"site-packages", b"stack", b"torch", str(Path.home()).encode() + b"/"):
        assert trace not in data
    interface = json.loads(model.metadata_props[0].value)
    assert interface["max_dials"] == policy.spec.max_dials
    assert len(interface["features"]) == len(policy.spec.features)


def test_export__invalid_rows_stop_dialing(exported: tuple[LearnedPolicy, Path]) -> None:
    policy, folder = exported
    obs, base, valid = sample_vectors(policy, 5, 2_000)
    dials, flags = _run(folder, obs, base if policy.action == "residual" else None)
    assert np.array_equal(flags, valid)
    assert (dials[~valid] == 0).all()
    assert dials.min() >= 0
    assert dials.max() <= policy.spec.max_dials
    assert len(np.unique(dials[valid])) > 3


def test_export__decides_like_the_policy_on_the_floor(
    exported: tuple[LearnedPolicy, Path], scenario: Scenario
) -> None:
    policy, folder = exported
    env = PacingVectorEnv(8, scenario, observation=policy.observation, action=policy.action)
    session = onnxruntime.InferenceSession(folder / "policy.onnx")
    obs, _ = env.reset(seed=3)
    for _ in range(300):
        action, _ = policy.act(obs)
        feed: dict[str, Any] = {"obs": obs}
        wanted = action
        if policy.action == "residual":
            base = env.world.base_dials()
            feed["base_dials"] = base
            wanted = np.clip(base + action - 2, 0, scenario.max_dials)
        result: Any = session.run(["dials", "valid"], feed)
        dials, valid = result
        assert valid.all()
        assert np.array_equal(dials, wanted)
        obs, *_ = env.step(action)


def test_onnx_bytes__are_the_same_every_time(exported: tuple[LearnedPolicy, Path]) -> None:
    policy, folder = exported
    again = onnx_bytes(DeployedActor(policy).eval(), policy)
    assert again == (folder / "policy.onnx").read_bytes()


def test_export__is_silent(
    make_policy: Make, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    policy = make_policy()
    onnx_bytes(DeployedActor(policy).eval(), policy)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    assert not recwarn.list


def test_export__normalisation_is_in_the_graph(make_policy: Make, tmp_path: Path) -> None:
    policy = make_policy()
    n = len(policy.spec.features)
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=n), rng.uniform(0.5, 2.0, size=n)
    export_policy(policy, tmp_path / "x", mean=mean, std=std, vectors=1000)
    contract = load_contract(tmp_path / "x" / "policy.json")
    assert contract.normalisation.kind == "mean-std"
    # folding the normalisation into the first layer gives the same policy
    first, *rest = policy.layers
    weight = first.weight / std[:, None]
    folded = replace(policy, layers=(Layer(weight, first.bias - mean @ weight), *rest))
    obs, base, valid = sample_vectors(policy, 1, 1000)
    dials, _ = _run(tmp_path / "x", obs, base)
    wanted = np.clip(base + folded.act(np.where(valid[:, None], obs, 0))[0] - 2, 0, 100)
    wanted = np.minimum(wanted, policy.spec.max_dials)
    assert np.array_equal(dials[valid], wanted[valid])


@pytest.mark.parametrize("where", ["session", "evaluate"])
def test_export__a_single_mismatch_leaves_nothing(
    where: str, make_policy: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(result: Any) -> Any:
        dials, valid = (np.array(part) for part in result)
        if len(dials) > 100:
            dials[17] += 1
        return dials, valid

    if where == "evaluate":
        right = export.evaluate
        monkeypatch.setattr(export, "evaluate", lambda *args: spoil(right(*args)))
    else:
        real = export._session

        class Wrong:
            def __init__(self, path: Path) -> None:
                self.session = real(path)

            def run(self, names: Any, feed: Any) -> Any:
                return spoil(self.session.run(names, feed))

        monkeypatch.setattr(export, "_session", Wrong)
    with pytest.raises(ExportError, match=r"disagree on 1 of 1000 vectors; nothing exported"):
        export_policy(make_policy(), tmp_path / "x", vectors=1000)
    assert list(tmp_path.iterdir()) == []


def test_export__replaces_an_earlier_export_only(make_policy: Make, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    export_policy(make_policy(), folder, vectors=200)
    export_policy(make_policy().with_knob(0.03), folder, vectors=200)
    base = load_contract(folder / "policy.json").action.base
    assert base is not None
    assert base.theta == 0.03
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"holds other files \(diary\.txt\)"):
        export_policy(make_policy(), folder, vectors=200)
    with pytest.raises(ExportError, match="is not a folder"):
        export_policy(make_policy(), folder / "diary.txt", vectors=200)
    with pytest.raises(ExportError, match="at least 100"):
        export_policy(make_policy(), tmp_path / "y", vectors=3)


def test_export__a_failed_replacement_keeps_the_old_files(
    make_policy: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert export_policy(make_policy(), ".", vectors=200) == Path()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if target == tmp_path / "policy.json":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ExportError, match="cannot be written: No space left"):
        export_policy(make_policy().with_knob(0.03), ".", vectors=200)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    (tmp_path / ".export-0123456789ab.tmp").mkdir()  # left by a killed export
    export_policy(make_policy().with_knob(0.03), tmp_path, vectors=200)
    assert {path.name for path in tmp_path.iterdir()} == set(before)


def test_sample_vectors__has_the_promised_shares(make_policy: Make) -> None:
    policy = make_policy()
    obs, _, valid = sample_vectors(policy, 0, 10_000)
    low = np.array([f.low for f in policy.spec.features], np.float32)
    high = np.array([f.high for f in policy.spec.features], np.float32)
    assert valid[:5000].all()
    assert 0.5 < valid[5000:7500].mean() < 1.0
    assert not valid[7500:].any()
    near = obs[5000:7500]
    assert ((near == low) | (near == high)).mean() > 0.1
    assert np.isnan(obs[7500:]).any()
    assert np.isposinf(obs[7500:]).any()
    assert np.isneginf(obs[7500:]).any()
