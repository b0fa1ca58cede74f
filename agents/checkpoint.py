"""Checkpoints as folders of plain files: weights as safetensors, the rest as JSON, no pickle.

``checkpoints/step-<n>/`` holds ``policy.safetensors`` (actor and critic) and ``policy-state.json``
(:class:`PolicyState`), which is all that playing the policy takes, and in the newest ones also
``training.safetensors`` and ``training.json`` (:class:`TrainingState`), from which training goes
on. How a folder is written whole and verified: checkpoint_folder.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from quietdial.agents.checkpoint_folder import (
    MANIFEST,
    checkpoints_in,
    clear_stale,
    json_bytes,
    latest_checkpoint,
    prune,
    read_files,
    read_json,
    write_folder,
)
from quietdial.agents.learned_policy import Deployed, LearnedPolicy, layers_from, memory_from
from quietdial.agents.policy import Frozen, PolicySpec
from quietdial.envs.errors import CheckpointError, ConfigError, MissingExtraError
from quietdial.envs.scenario import describe_validation_error

try:
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_tensors
    from safetensors.numpy import save as save_tensors
except ImportError as error:  # pragma: no cover - tested in a bare environment
    raise MissingExtraError("safetensors", "train", "reading and writing checkpoints") from error

__all__ = [
    "PolicyState",
    "ResumePoint",
    "TrainingState",
    "checkpoints_in",
    "is_checkpoint",
    "latest_checkpoint",
    "load_policy",
    "load_state",
    "prune_checkpoints",
    "resume_point",
    "save_checkpoint",
    "weights_sha256",
]

MAX_BYTES: Final = 64 * 1024 * 1024
"""Largest policy that is read, weights and state together."""

MAX_TRAINING_BYTES: Final = 8 * 1024**3
"""Largest training state that is read; a store of 200,000 transitions takes 50 to 100 MB."""

STATES_KEPT: Final = 3
"""So many of the newest checkpoints keep their training state."""

_WEIGHTS, _STATE = "policy.safetensors", "policy-state.json"
_TRAINING: Final = ("training.safetensors", "training.json")
_SPARSE: Final = "sparse"
_AT, _IS = "#at", "#is"
_LEAST_PACKED: Final = 4096


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


@dataclass(frozen=True)
class TrainingState:
    """What training needs to go on beside its settings and its world.

    Attributes:
        arrays: by name; on disk arrays that are mostly zeros are packed, bit for bit.
        values: by name, what JSON can hold; numbers come back exactly.
    """

    arrays: Mapping[str, NDArray[Any]]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class ResumePoint:
    """The newest checkpoint from which a training goes on.

    Attributes:
        step: environment steps trained so far.
        path: the checkpoint.
        state: what it says beside its weights.
        policy: its policy.
        weights_sha256: fingerprint of its weights, see :func:`weights_sha256`.
        training: the state to go on from; None: training was complete.
    """

    step: int
    path: Path
    state: PolicyState
    policy: LearnedPolicy
    weights_sha256: str
    training: TrainingState | None


def save_checkpoint(
    root: Path,
    state: PolicyState,
    weights: Mapping[str, NDArray[np.float32]],
    training: TrainingState | None = None,
    *,
    keep: int = 3,
    regular: Callable[[int], bool] = lambda _: True,
) -> Path:
    """Write ``root/step-<n>`` in one step and delete all but the newest `keep` checkpoints.

    Args:
        root: folder of the checkpoints; made when missing.
        state: everything but the arrays.
        weights: the actor as `learned_policy.tensors_of` names it, and any more.
        training: what training needs to go on; none: it cannot go on from here.
        keep: how many checkpoints stay, at least 1.
        regular: whether a checkpoint of a step counts in `keep`, see :func:`prune_checkpoints`.

    Returns:
        The folder of the new checkpoint.

    Raises:
        RunFolderError: the folder cannot be written; earlier checkpoints are untouched.
    """
    files = {
        _WEIGHTS: save_tensors(dict(weights)),
        _STATE: json_bytes(state.model_dump(mode="json")),
    }
    if training is not None:
        files |= dict(zip(_TRAINING, _packed(training), strict=True))
    target = root / f"step-{state.step}"
    write_folder(target, files)
    prune_checkpoints(root, state.step, keep=keep, regular=regular)
    return target


def prune_checkpoints(
    root: Path,
    newest: int,
    *,
    keep: int,
    regular: Callable[[int], bool],
    complete: bool = False,
) -> None:
    """Delete checkpoints that are not needed any more.

    Args:
        root: the folder.
        newest: step of the one written last; later ones are of a training that was interrupted and
            went on from an earlier step: they go.
        keep: how many regular ones stay, whatever they hold.
        regular: whether a training without interruptions writes a checkpoint at a step. Others stay
            only while they are among the newest from which training can go on.
        complete: training is over: only the regular ones stay.
    """
    prune(
        root,
        newest,
        keep=keep,
        large=_TRAINING,
        keep_large=0 if complete else min(keep, STATES_KEPT),
        regular=regular,
    )


def weights_sha256(weights: Mapping[str, NDArray[Any]]) -> str:
    """Fingerprint of all weights, bit for bit: sha256 over names, types, shapes and bytes (hex)."""
    digest = hashlib.sha256()
    for name, array in sorted(weights.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.asarray(array, order="C").tobytes())
    return digest.hexdigest()


def resume_point(
    root: Path, planned_steps: int, *, report: Callable[[str], None] = lambda _: None
) -> ResumePoint | None:
    """The newest whole checkpoint from which training goes on, or at which it was complete.

    Every file is verified. What a killed process left half written is deleted.

    Args:
        root: folder of the checkpoints of one training.
        planned_steps: where that training is complete.
        report: told one line on each damaged checkpoint that is left out.

    Returns:
        The point; None when there is no such checkpoint and training starts anew.
    """
    clear_stale(root)
    for step, path in checkpoints_in(root):
        complete = step >= planned_steps
        if not complete and not any((path / name).exists() for name in _TRAINING):
            continue
        try:
            state, tensors, _ = _load(path)
            if state.step != step:
                raise CheckpointError(f"{path}: holds the policy of step {state.step}")
            training = None if complete else _unpacked(path)
            policy = _policy(state, tensors, path)
        except CheckpointError as error:
            report(str(error))
            continue
        return ResumePoint(step, path, state, policy, weights_sha256(tensors), training)
    return None


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is one checkpoint (whole or damaged), so that nothing may be put into it."""
    weights = (path / _WEIGHTS).exists() and not (path / "SHA256SUMS").exists()  # no bundle
    return weights or (path / _STATE).exists()


def load_policy(path: str | Path) -> LearnedPolicy:
    """The learned policy of a checkpoint.

    Args:
        path: a checkpoint folder, or a folder of checkpoints (the newest is read).

    Raises:
        CheckpointError: one line on what is missing, damaged or does not fit.
    """
    return _policy(*_load(Path(path)))


def load_state(path: str | Path) -> PolicyState:
    """What a checkpoint says beside its weights; the files are verified all the same."""
    return _load(Path(path))[0]


def _policy(state: PolicyState, tensors: Mapping[str, NDArray[Any]], where: Path) -> LearnedPolicy:
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


def _load(path: Path) -> tuple[PolicyState, dict[str, NDArray[Any]], Path]:
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such checkpoint; give a folder step-<number>")
    if path.is_dir() and not (path / MANIFEST).exists():
        path = latest_checkpoint(path)
    files = read_files(path, (_WEIGHTS, _STATE), MAX_BYTES)
    try:
        state = PolicyState.model_validate(read_json(files[_STATE], path / _STATE))
    except ValidationError as error:
        raise CheckpointError(describe_validation_error(error, str(path / _STATE))) from None
    tensors = _tensors(files[_WEIGHTS], path / _WEIGHTS)
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


def _tensors(data: bytes, path: Path) -> dict[str, NDArray[Any]]:
    try:
        return load_tensors(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a safetensors file that can be read: {' '.join(str(error).split())}"
        ) from None


# ---------------------------------------------------------------------------- training state


def _packed(training: TrainingState) -> tuple[bytes, bytes]:
    """The two files of a training state.

    An array that is mostly zeros, as the people of a list who were never dialed, is kept as the
    places and values of the others. Zero means that all bits are: -0.0 is kept.
    """
    arrays: dict[str, NDArray[Any]] = {}
    shapes: dict[str, list[int]] = {}
    for name, array in training.arrays.items():
        whole = np.asarray(array, order="C")
        flat = whole.reshape(-1)
        if _LEAST_PACKED <= flat.size < 2**32:
            places = np.flatnonzero(flat.view(f"u{flat.itemsize}"))
            if 2 * places.size * (flat.itemsize + 4) < flat.nbytes:
                arrays[name + _AT], arrays[name + _IS] = places.astype(np.uint32), flat[places]
                shapes[name] = list(whole.shape)
                continue
        arrays[name] = whole
    values = json_bytes({"values": training.values, _SPARSE: shapes})
    return save_tensors(arrays), values


def _unpacked(path: Path) -> TrainingState:
    files = read_files(path, _TRAINING, MAX_TRAINING_BYTES)
    tensors, described = (path / name for name in _TRAINING)
    arrays = _tensors(files[tensors.name], tensors)
    data = read_json(files[described.name], described)
    try:
        for name, shape in data[_SPARSE].items():
            places, values = arrays.pop(name + _AT), arrays.pop(name + _IS)
            whole = np.zeros(int(np.prod(shape)), values.dtype)
            whole[places] = values
            arrays[name] = whole.reshape(shape)
        return TrainingState(arrays, data["values"])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CheckpointError(f"{described}: does not fit {tensors.name}: {error!r}") from None
