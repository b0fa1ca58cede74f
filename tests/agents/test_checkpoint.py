"""Checkpoints: whole or absent, verified before they are read, and no pickle anywhere."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietdial.agents.checkpoint import (
    PolicyState,
    latest_checkpoint,
    load_policy,
    load_state,
    save_checkpoint,
)
from quietdial.agents.checkpoint_folder import json_bytes
from quietdial.agents.learned_policy import LearnedPolicy, tensors_of
from quietdial.envs.errors import CheckpointError, RunFolderError

Make = Callable[..., LearnedPolicy]


def _state(policy: LearnedPolicy, step: int) -> PolicyState:
    return PolicyState(
        step=step,
        name=policy.name,
        base_theta=policy.base_theta,
        spec=policy.spec,
        net=(16, 16),
        multiplier={"value": 150.0, "rate": None},
        config={"total_steps": 5, "net": [16, 16]},
    )


@pytest.fixture
def saved(tmp_path: Path, make_policy: Make) -> Path:
    policy = make_policy()
    return save_checkpoint(tmp_path / "c", _state(policy, 10), tensors_of(policy.layers))


def test_load_policy__gives_the_same_decisions(saved: Path, make_policy: Make) -> None:
    policy, back = make_policy(), load_policy(saved)
    obs = np.random.default_rng(0).normal(size=(500, len(policy.spec.features)))
    assert np.array_equal(policy.logits(obs), back.logits(obs))
    assert back.spec == policy.spec
    assert back.training is not None
    assert back.training["step"] == 10
    assert load_state(saved) == _state(policy, 10)


def test_save_checkpoint__keeps_the_newest(tmp_path: Path, make_policy: Make) -> None:
    policy = make_policy()
    for step in (5, 9, 20, 100, 1000):
        save_checkpoint(tmp_path, _state(policy, step), tensors_of(policy.layers))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-100", "step-1000", "step-20"]
    assert latest_checkpoint(tmp_path).name == "step-1000"
    assert load_policy(tmp_path).training["step"] == 1000  # type: ignore[index]


def test_save_checkpoint__replaces_the_same_step(saved: Path, make_policy: Make) -> None:
    other = make_policy(seed=1)
    again = save_checkpoint(saved.parent, _state(other, 10), tensors_of(other.layers))
    assert again == saved
    assert np.array_equal(load_policy(saved).layers[0].weight, other.layers[0].weight)
    assert [p.name for p in saved.parent.iterdir()] == ["step-10"]


def test_save_checkpoint__an_interrupted_write_leaves_nothing(
    saved: Path, make_policy: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy()

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(saved.parent, _state(policy, 11), tensors_of(policy.layers))
    assert [p.name for p in saved.parent.iterdir()] == ["step-10"]
    load_policy(saved.parent)


def test_save_checkpoint__clears_what_a_killed_run_left(saved: Path, make_policy: Make) -> None:
    (saved.parent / ".step-9.abc.tmp").mkdir()
    policy = make_policy()
    save_checkpoint(saved.parent, _state(policy, 11), tensors_of(policy.layers))
    assert sorted(p.name for p in saved.parent.iterdir()) == ["step-10", "step-11"]


def test_save_checkpoint__says_when_it_cannot_write(tmp_path: Path, make_policy: Make) -> None:
    policy = make_policy()
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunFolderError, match=r"checkpoint .*step-1 cannot be written"):
        save_checkpoint(tmp_path / "file", _state(policy, 1), tensors_of(policy.layers))


@pytest.mark.parametrize("name", ["policy.safetensors", "policy-state.json"])
def test_load__finds_every_single_flipped_bit(saved: Path, name: str) -> None:
    path = saved / name
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), size=50):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        with pytest.raises(CheckpointError, match="damaged or changed") as error:
            load_policy(saved)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["policy.safetensors", "policy-state.json", "manifest.json"])
def test_load__misses_every_file(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(CheckpointError):
        load_policy(saved)


def test_load__refuses_more_files_links_and_folders(saved: Path, tmp_path: Path) -> None:
    (saved / "more").write_text("x")
    with pytest.raises(CheckpointError, match="nothing else may be there"):
        load_policy(saved)
    (saved / "more").unlink()
    away = tmp_path / "away"
    shutil.move(saved / "policy.safetensors", away)
    (saved / "policy.safetensors").symlink_to(away)
    with pytest.raises(CheckpointError, match="not a plain file"):
        load_policy(saved)


def _rewrite(saved: Path, name: str, data: bytes) -> None:
    """Change a file and its entry in the manifest, as someone who forges would."""
    (saved / name).write_bytes(data)
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (saved / "manifest.json").write_bytes(json_bytes(manifest))


def test_load__says_what_is_wrong_inside(saved: Path) -> None:
    good: dict[str, Any] = json.loads((saved / "policy-state.json").read_text())
    for change, message in (
        ({"base_theta": 7.0}, r"base_theta = 7\.0 must be between"),
        ({"net": [16, 8]}, r"hidden layers \[16, 16\] found"),
        ({"surprise": 1}, "surprise"),
        ({"format": "quietdial-checkpoint/9"}, "format"),
        ({"spec": {**good["spec"], "n_actions": 5}}, "5 actions need as many"),
    ):
        _rewrite(saved, "policy-state.json", json.dumps({**good, **change}).encode())
        with pytest.raises(CheckpointError, match=message) as error:
            load_policy(saved)
        assert "\n" not in str(error.value)
    for junk in (b"[1, 2]", b"{", b"\xff\xfe", b"[" * 100_000):
        _rewrite(saved, "policy-state.json", junk)
        with pytest.raises(CheckpointError, match=r"policy-state\.json: "):
            load_policy(saved)
    _rewrite(saved, "policy-state.json", json.dumps(good).encode())
    _rewrite(saved, "policy.safetensors", b"not a tensor file")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_policy(saved)


def test_load__refuses_other_manifests(saved: Path) -> None:
    (saved / "manifest.json").write_text('{"format": "else"}')
    with pytest.raises(CheckpointError, match="is not a manifest"):
        load_policy(saved)


def test_load__says_when_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        load_policy(tmp_path / "no")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_policy(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="is not a folder"):
        load_policy(tmp_path / "file")


def test_files__hold_no_pickle(saved: Path) -> None:
    assert {p.suffix for p in saved.iterdir()} == {".safetensors", ".json"}
    header = (saved / "policy.safetensors").read_bytes()
    json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
