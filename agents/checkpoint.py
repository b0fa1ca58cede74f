"""Checkpoints as folders of plain files: weights as safetensors, the rest as JSON, no pickle.

``checkpoints/step-<n>/`` holds ``policy.safetensors`` (actor and critic), ``optimizer.safetensors``
(Adam's moments, when given), ``policy-state.json`` (:class:`PolicyState`) and ``manifest.json``
(size and sha256 of each file). A folder is written under another name, synced and renamed, so a
checkpoint that has its name is whole; the loader verifies every file before a parser sees it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from quietdial.agents.learned_policy import Deployed, LearnedPolicy, layers_from, memory_from
from quietdial.agents.policy import Frozen, PolicySpec
from quietdial.envs.errors import (
    CheckpointError,
    ConfigError,
    MissingExtraError,
    RunFolderError,
)
from quietdial.envs.scenario import describe_validation_error

try:
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_tensors
    from safetensors.numpy import save as save_tensors
except ImportError as error:  # pragma: no cover - tested in a bare environment
    raise MissingExtraError("safetensors", "train", "reading and writing checkpoints") from error

__all__ = [
    "PolicyState",
    "is_checkpoint",
    "latest_checkpoint",
    "load_policy",
    "load_state",
    "save_checkpoint",
]

FORMAT: Final = "quietdial-checkpoint/1"
MAX_BYTES: Final = 64 * 1024 * 1024
"""Largest checkpoint that is read, all files together."""

_WEIGHTS, _OPTIMIZER, _STATE, _MANIFEST = (
    "policy.safetensors",
    "optimizer.safetensors",
    "policy-state.json",
    "manifest.json",
)
_STEP_NAME: Final = re.compile(r"step-(\d{1,15})\Z")


class PolicyState(Frozen):
    """What a checkpoint says beside its weights.

    Attributes:
        format: version of this layout.
        step: environment steps trained so far.
        name: name of the policy.
        base_theta: threshold of the base rule that it was trained on, probability.
        spec: the world and interface that it was trained in.
        net: widths of the hidden layers.
        activation: function between the layers.
        multiplier: state of the Lagrangian multiplier.
        config: settings of the learner, complete.
        theta_scale: factor on the thresholds that the policy chooses.
        price: multiplier that a conditioned policy plays for, agent-seconds per silent call.
        deployed: how the policy is read off.
        seed: of the draws of a sampled policy.
        memory: hidden numbers of a recurrent policy's LSTM, or None.
        selection: how it was chosen among several checkpoints; None: it was not.
    """

    format: Literal["quietdial-checkpoint/1"] = "quietdial-checkpoint/1"
    step: int = Field(ge=0)
    name: str = Field(min_length=1, max_length=100)
    base_theta: float
    spec: PolicySpec
    net: tuple[int, ...]
    activation: Literal["tanh"] = "tanh"
    multiplier: Mapping[str, float | None]
    config: Mapping[str, Any]
    theta_scale: float = 1.0
    price: float | None = None
    deployed: Deployed = "argmax"
    seed: int = Field(default=0, ge=0, lt=2**64)
    memory: int | None = Field(default=None, ge=1)
    selection: Mapping[str, Any] | None = None

    def showing(self, policy: LearnedPolicy) -> PolicyState:
        """The same state with the knobs, the deployment and the selection that `policy` has."""
        return self.model_copy(
            update={
                "base_theta": policy.base_theta,
                "theta_scale": policy.theta_scale,
                "price": policy.multiplier,
                "deployed": policy.deployed,
                "seed": policy.seed,
                "selection": (policy.training or {}).get("selection"),
            }
        )


def save_checkpoint(
    root: Path,
    state: PolicyState,
    weights: Mapping[str, NDArray[np.float32]],
    optimizer: Mapping[str, NDArray[np.float32]] | None = None,
    *,
    keep: int = 3,
) -> Path:
    """Write ``root/step-<n>`` in one step and delete all but the newest `keep` checkpoints.

    Args:
        root: folder of the checkpoints; made when missing.
        state: everything but the arrays.
        weights: the actor as `learned_policy.tensors_of` names it, and any more.
        optimizer: the optimizer's arrays; none: no such file.
        keep: how many checkpoints stay, at least 1.

    Returns:
        The folder of the new checkpoint.

    Raises:
        RunFolderError: the folder cannot be written.
    """
    files = {
        _WEIGHTS: save_tensors(dict(weights)),
        _STATE: _json_bytes(state.model_dump(mode="json")),
    }
    if optimizer is not None:
        files[_OPTIMIZER] = save_tensors(dict(optimizer))
    files[_MANIFEST] = _json_bytes(
        {
            "format": FORMAT,
            "files": {
                name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for name, data in files.items()
            },
        }
    )
    target = root / f"step-{state.step}"
    temporary = root / f".{target.name}.{secrets.token_hex(6)}.tmp"
    try:
        root.mkdir(parents=True, exist_ok=True)
        try:
            temporary.mkdir()
            for name, data in files.items():
                with (temporary / name).open("xb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
            _sync_folder(temporary)
            if target.exists():  # the same step again: out of the way, then in one step
                old = root / f".{target.name}.{secrets.token_hex(6)}.tmp"
                target.rename(old)
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(root)
        for stale in root.glob(".step-*.tmp"):
            shutil.rmtree(stale, ignore_errors=True)
        for _, old in checkpoints_in(root)[max(keep, 1) :]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RunFolderError(f"checkpoint {target} cannot be written: {reason}") from error
    return target


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is one checkpoint (whole or damaged), so that nothing may be put into it."""
    return any((path / name).exists() for name in (_WEIGHTS, _STATE))


def latest_checkpoint(root: Path) -> Path:
    """The checkpoint with the most steps in a folder of checkpoints.

    Raises:
        CheckpointError: there is none.
    """
    steps = checkpoints_in(root)
    if not steps:
        raise CheckpointError(f"{root}: holds no checkpoint (a folder named step-<number>)")
    return steps[0][1]


def load_policy(path: str | Path) -> LearnedPolicy:
    """The learned policy of a checkpoint.

    Args:
        path: a checkpoint folder, or a folder of checkpoints (the newest is read).

    Raises:
        CheckpointError: one line on what is missing, damaged or does not fit.
    """
    state, tensors, where = _load(Path(path))
    try:
        return LearnedPolicy(
            layers=layers_from(tensors),
            spec=state.spec,
            base_theta=state.base_theta,
            name=state.name,
            training={
                "step": state.step,
                "config": dict(state.config),
                "multiplier": dict(state.multiplier),
                **({} if state.selection is None else {"selection": dict(state.selection)}),
            },
            theta_scale=state.theta_scale,
            multiplier=state.price,
            deployed=state.deployed,
            seed=state.seed,
            memory=memory_from(tensors),
        )
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from None


def load_state(path: str | Path) -> PolicyState:
    """What a checkpoint says beside its weights; the files are verified all the same."""
    return _load(Path(path))[0]


def _load(path: Path) -> tuple[PolicyState, dict[str, NDArray[Any]], Path]:
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such checkpoint; give a folder step-<number>")
    if path.is_dir() and not (path / _MANIFEST).exists():
        path = latest_checkpoint(path)
    files = _verified_files(path)
    try:
        state = PolicyState.model_validate(_read_json(files[_STATE], path / _STATE))
    except ValidationError as error:
        raise CheckpointError(describe_validation_error(error, str(path / _STATE))) from None
    try:
        tensors = load_tensors(files[_WEIGHTS])
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path / _WEIGHTS}: not a safetensors file that can be read: "
            f"{' '.join(str(error).split())}"
        ) from None
    hidden = tuple(layer.weight.shape[1] for layer in layers_from(tensors)[:-1])
    if hidden != state.net:
        raise CheckpointError(
            f"{path / _WEIGHTS}: hidden layers {list(hidden)} found; "
            f"{_STATE} says {list(state.net)}"
        )
    try:
        memory = memory_from(tensors)
    except ConfigError as error:
        raise CheckpointError(f"{path / _WEIGHTS}: {error}") from None
    if (None if memory is None else memory.size) != state.memory:
        raise CheckpointError(
            f"{path / _WEIGHTS}: a memory of {0 if memory is None else memory.size} numbers found; "
            f"{_STATE} says {state.memory or 0}"
        )
    return state, tensors, path


def _verified_files(path: Path) -> dict[str, bytes]:
    """Read every file that the manifest lists; the hashes must fit and nothing may be extra."""
    if not path.is_dir():
        raise CheckpointError(f"{path}: is not a folder; give a folder step-<number>")
    try:
        manifest = _read_json(_read_bytes(path / _MANIFEST, MAX_BYTES), path / _MANIFEST)
        listed = manifest.get("files")
        if manifest.get("format") != FORMAT or not isinstance(listed, dict):
            raise CheckpointError(f"{path / _MANIFEST}: is not a manifest of format {FORMAT!r}")
        found = {entry.name for entry in path.iterdir()} - {_MANIFEST}
        expected = {_WEIGHTS, _STATE} | ({_OPTIMIZER} & set(listed))
        if set(listed) != expected or found != expected:
            raise CheckpointError(
                f"{path}: holds {sorted(found)} and lists {sorted(listed)}; "
                f"{sorted(expected)} are expected"
            )
        files: dict[str, bytes] = {}
        room = MAX_BYTES
        for name in sorted(expected):
            data = _read_bytes(path / name, room)
            room -= len(data)
            entry = listed[name]
            digest = hashlib.sha256(data).hexdigest()
            if not isinstance(entry, dict) or entry.get("sha256") != digest:
                raise CheckpointError(
                    f"{path / name}: damaged or changed: its sha256 {digest[:12]}... is not the "
                    f"one in {_MANIFEST}"
                )
            files[name] = data
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CheckpointError(f"{path}: cannot be read: {reason}") from error
    return files


def _read_bytes(path: Path, limit: int) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise CheckpointError(f"{path}: is missing or not a plain file")
    with path.open("rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise CheckpointError(f"{path}: larger than the {MAX_BYTES} bytes allowed")
    return data


def _read_json(data: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: is not valid JSON") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: must hold a JSON object")
    return value


def _json_bytes(data: object) -> bytes:
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def checkpoints_in(root: Path) -> list[tuple[int, Path]]:
    """Steps and folders of the checkpoints in a folder, newest first; none without the folder."""
    if not root.is_dir():
        return []
    steps = [
        (int(match.group(1)), entry)
        for entry in root.iterdir()
        if (match := _STEP_NAME.fullmatch(entry.name)) and entry.is_dir()
    ]
    return sorted(steps, reverse=True)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
