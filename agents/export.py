"""Export a learned policy: one ONNX file with everything inside, and its contract.

The graph checks the range of its inputs, normalises, runs the network in float64, decodes the
action and says whether its answer is valid. It is exported only if :data:`VECTORS` vectors give the
same dials in onnxruntime, in torch and from the plain layers of ``policy.json``.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import re
import secrets
import shutil
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from quietdial.agents.contract import (
    Base,
    ContractAction,
    ContractFeature,
    Decode,
    ExportedAction,
    Normalisation,
    Onnx,
    Parity,
    PlainLayer,
    PolicyContract,
    Regulation,
    Training,
    evaluate,
    load_contract,
)
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.policy import RESIDUAL_OFFSET
from quietdial.agents.rules.base import PRIVILEGED
from quietdial.envs.errors import ExportError, MissingExtraError
from quietdial.envs.pacing.params import knowledge_parts
from quietdial.envs.scenario import describe_validation_error

try:
    import onnx
    import onnxruntime
    import onnxscript  # noqa: F401  # torch's exporter needs it
    import torch
except ImportError as error:  # pragma: no cover - tested in a bare environment
    missing = error.name or "onnx"
    raise MissingExtraError(missing, "export", "exporting a policy") from error

_FILES: Final = ("policy.onnx", "policy.json")
_LEFT_OVER: Final = re.compile(r"\.export-[0-9a-f]{12}(\.old)?\.tmp")

VECTORS: Final = 10_000
"""Vectors that must give the same dials everywhere."""

OPSET: Final = 18
IR_VERSION: Final = 8  # read by onnxruntime from 1.16 (2023) on


class DeployedActor(torch.nn.Module):
    """The policy as it is deployed: range check, normalisation, network, decoding.

    Args:
        policy: the learned policy.
        mean: float64 (F,), subtracted from the observation; None: zeros.
        std: float64 (F,), the observation is divided by it; None: ones.
    """

    low: torch.Tensor
    high: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        policy: LearnedPolicy,
        mean: NDArray[np.float64] | None = None,
        std: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__()
        spec = policy.spec
        n = len(spec.features)
        self.max_dials = spec.max_dials
        self.offset = RESIDUAL_OFFSET if spec.action == "residual" else 0
        for name, values in (
            ("low", [feature.low for feature in spec.features]),
            ("high", [feature.high for feature in spec.features]),
            ("mean", np.zeros(n) if mean is None else mean),
            ("std", np.ones(n) if std is None else std),
        ):
            self.register_buffer(name, torch.tensor(np.asarray(values, dtype=np.float64)))
        self.layers = torch.nn.ModuleList()
        for layer in policy.plain_layers:
            linear = torch.nn.Linear(
                layer.weight.shape[0], layer.weight.shape[1], dtype=torch.float64
            )
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(layer.weight.T.copy()))
                linear.bias.copy_(torch.tensor(layer.bias))
            self.layers.append(linear)

    def forward(
        self, obs: torch.Tensor, base_dials: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decide.

        Args:
            obs: float32 (B, F).
            base_dials: int64 (B,), the base rule's answers; only for residual policies.

        Returns:
            Dials int64 (B,), 0 where invalid, and valid bool (B,).
        """
        x = obs.double()
        in_range = torch.logical_and(x >= self.low, x <= self.high)  # NaN compares as false
        valid = in_range.long().sum(dim=1) == x.shape[1]
        if base_dials is not None:
            base_ok = torch.logical_and(base_dials >= 0, base_dials <= self.max_dials)
            valid = torch.logical_and(valid, base_ok)
        x = torch.where(in_range, x, torch.zeros_like(x))
        x = (x - self.mean) / self.std
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i < len(self.layers) - 1:
                x = torch.tanh(x)
        dials = x.argmax(dim=1) + self.offset
        if base_dials is not None:
            dials = dials + torch.where(valid, base_dials, torch.zeros_like(base_dials))
        dials = dials.clamp(0, self.max_dials)
        return torch.where(valid, dials, torch.zeros_like(dials)), valid


def why_not_exportable(policy: LearnedPolicy) -> str | None:
    """Why a policy cannot be exported yet, in one line; None if it can."""
    if policy.memory is not None:
        return f"{policy.name}: a recurrent policy has a memory, which the contract does not carry"
    if _exported(policy) is None:
        return (
            f"{policy.name}: actions {policy.spec.action!r} are no numbers of calls; only "
            f"{' and '.join(get_args(ExportedAction))} are exported"
        )
    if policy.deployed == "sampled":
        return f"{policy.name}: it is deployed sampled; only argmax policies are exported"
    knowledge = policy.spec.knowledge
    if any(part in PRIVILEGED for part in knowledge_parts(knowledge)):
        return f"{policy.name}: it goes by {knowledge!r}, hidden truth that no dialer can know"
    if knowledge != "believed":
        return (
            f"{policy.name}: it goes by {knowledge!r}, for which the contract has no features and "
            "no base rule; only policies with knowledge 'believed' are exported"
        )
    return None


def _exported(policy: LearnedPolicy) -> ExportedAction | None:
    """The action kind as the contract says it, or None."""
    return next((kind for kind in get_args(ExportedAction) if kind == policy.spec.action), None)


def export_policy(
    policy: LearnedPolicy,
    out_dir: str | Path,
    *,
    created: datetime | None = None,
    seed: int = 0,
    vectors: int = VECTORS,
    mean: NDArray[np.float64] | None = None,
    std: NDArray[np.float64] | None = None,
) -> Path:
    """Write ``policy.onnx`` and ``policy.json`` into a folder, both or neither.

    Args:
        policy: the policy; its `base_theta` goes into the contract.
        out_dir: the folder; made when missing. An earlier export in it is replaced; a folder with
            other files in it is refused.
        created: time of the export; None: now.
        seed: seed of the vectors.
        vectors: number of vectors to compare, at least 100.
        mean: float64 (F,) of an observation normaliser; None: zeros.
        std: float64 (F,) of an observation normaliser; None: ones.

    Returns:
        The folder as it was given.

    Raises:
        ExportError: the policy is of a kind that is not exported, the exported files do not give
            the same dials, or cannot be written.
    """
    reason = why_not_exportable(policy)
    if reason is not None:
        raise ExportError(reason)
    target = Path(os.path.abspath(out_dir))  # the current folder has a name too
    if target.exists() and not target.is_dir():
        raise ExportError(f"{target}: is not a folder; give a folder for the export")
    if target.is_dir():
        foreign = sorted(
            entry.name
            for entry in target.iterdir()
            if entry.name not in _FILES and not _LEFT_OVER.fullmatch(entry.name)
        )
        if foreign:
            raise ExportError(
                f"{target}: holds other files ({foreign[0]}); give a folder of its own"
            )
    if vectors < 100:
        raise ExportError(f"vectors = {vectors} must be at least 100")
    actor = DeployedActor(policy, mean, std).eval()
    model = onnx_bytes(actor, policy)
    try:
        contract = _contract(policy, actor, model, created, seed, vectors)
        text = json.dumps(contract.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)
    except ValidationError as error:
        raise ExportError(describe_validation_error(error, "contract")) from None
    temporary = target.with_name(f".export-{secrets.token_hex(6)}.tmp")
    if target.exists():  # inside it: the folder above may be another file system, or not ours
        temporary = target / temporary.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.mkdir()
            for name, data in zip(_FILES, (model, (text + "\n").encode()), strict=True):
                with (temporary / name).open("xb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
            _check_parity(policy, actor, temporary, seed, vectors)
            if temporary.parent == target:
                _replace_files(temporary, target)
            else:
                temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ExportError(f"{target}: cannot be written: {reason}") from error
    return Path(out_dir)


def _replace_files(new: Path, target: Path) -> None:
    """Put the files of the folder `new` into `target`; all of them, or the old ones stay.

    `target` itself stays the same folder, since a shell or a service may be standing in it.
    """
    old = new.with_suffix(".old.tmp")
    old.mkdir()
    try:
        for name in _FILES:
            if (target / name).exists():
                (target / name).rename(old / name)
        for name in _FILES:
            (new / name).rename(target / name)
    except BaseException:
        for name in _FILES:
            if (old / name).exists():
                (old / name).replace(target / name)
            elif not (new / name).exists():
                (target / name).unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
    for stale in target.glob(".export-*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)


def onnx_bytes(actor: DeployedActor, policy: LearnedPolicy) -> bytes:
    """The actor as a serialised ONNX model; the same bytes every time, without paths or traces."""
    spec = policy.spec
    batch = torch.export.Dim("batch", min=1)
    example: tuple[torch.Tensor, ...] = (torch.zeros(2, len(spec.features)),)
    names, shapes = ["obs"], [{0: batch}]
    if spec.action == "residual":
        example += (torch.zeros(2, dtype=torch.int64),)
        names, shapes = ["obs", "base_dials"], [{0: batch}, {0: batch}]
    with _quiet():
        program = torch.onnx.export(
            actor,
            example,
            dynamo=True,
            input_names=names,
            output_names=["dials", "valid"],
            dynamic_shapes=tuple(shapes),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx.export gave no model")
    model = program.model_proto
    _strip(model)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "quietdial", ""
    model.doc_string = ""
    entry = model.metadata_props.add()
    entry.key = "quietdial.interface"
    entry.value = json.dumps(_interface(policy), sort_keys=True, separators=(",", ":"))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _interface(policy: LearnedPolicy) -> dict[str, Any]:
    """What someone who holds only the ONNX file must know; `feasible`: null if it was not asked."""
    spec = policy.spec
    selection = (policy.training or {}).get("selection")
    return {
        "format": "quietdial-policy/1",
        "features": [[f.name, f.unit, f.low, f.high] for f in spec.features],
        "action": spec.action,
        "base_theta": policy.base_theta if spec.action == "residual" else None,
        "max_dials": spec.max_dials,
        "decision_interval_s": spec.decision_interval_s,
        "fallback": "where valid is false: dial progressively",
        "feasible": None if selection is None else selection["feasible"],
    }


def _strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes about the machine: paths, stack traces, names of modules."""
    del model.metadata_props[:]
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        part.doc_string = ""
        del part.metadata_props[:]
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    for function in model.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Any:
    """Silence the exporter's chatter on standard output, in logs and in warnings."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _contract(
    policy: LearnedPolicy,
    actor: DeployedActor,
    model: bytes,
    created: datetime | None,
    seed: int,
    vectors: int,
) -> PolicyContract:
    spec, kind = policy.spec, _exported(policy)
    if kind is None:
        raise ExportError(f"{policy.name}: actions {spec.action!r} are not exported")
    residual = kind == "residual"
    mean, std = actor.mean.tolist(), actor.std.tolist()
    identity = not any(mean) and all(value == 1.0 for value in std)
    inputs = {"obs": f"float32 (batch, {len(spec.features)})"}
    if residual:
        inputs["base_dials"] = "int64 (batch,)"
    _, _, expected = sample_vectors(policy, seed, vectors)
    return PolicyContract(
        name=policy.name,
        created=(created or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        quietdial=version("quietdial"),
        features=tuple(
            ContractFeature(index=i, **feature.model_dump())
            for i, feature in enumerate(spec.features)
        ),
        normalisation=Normalisation(
            kind="identity" if identity else "mean-std", mean=tuple(mean), std=tuple(std)
        ),
        action=ContractAction(
            kind=kind,
            decode=Decode(n_actions=spec.n_actions, offset=actor.offset, max=spec.max_dials),
            base=Base(theta=policy.base_theta) if residual else None,
        ),
        decision_interval_s=spec.decision_interval_s,
        regulation=Regulation(
            id=spec.rule, cap=spec.cap, wait_limit_s=spec.wait_limit_s, source=spec.rule_source
        ),
        training=Training(
            scenario=spec.scenario,
            scenario_sha256=spec.scenario_sha256,
            n_agents=spec.n_agents,
            observation=spec.observation,
            details=json.loads(json.dumps(dict(policy.training or {}))),
        ),
        parity=Parity(
            vectors=vectors,
            invalid_vectors=int((~expected).sum()),
            seed=seed,
            runtimes={
                "onnxruntime": onnxruntime.__version__,
                "torch": torch.__version__,
                "plain layers of policy.json": "numpy " + np.__version__,
            },
        ),
        onnx=Onnx(
            sha256=hashlib.sha256(model).hexdigest(),
            bytes=len(model),
            opset=OPSET,
            ir_version=IR_VERSION,
            inputs=inputs,
            outputs={"dials": "int64 (batch,), 0 where invalid", "valid": "bool (batch,)"},
        ),
        layers=tuple(
            PlainLayer(
                w=tuple(tuple(row) for row in layer.weight.tolist()),
                b=tuple(layer.bias.tolist()),
                act="identity" if i == len(policy.layers) - 1 else "tanh",
            )
            for i, layer in enumerate(policy.plain_layers)
        ),
    )


def sample_vectors(
    policy: LearnedPolicy, seed: int, n: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Draw inputs to compare on: half inside the bounds, a quarter near them, a quarter broken.

    Near: some features on a bound, or one float32 step inside or outside of it. Broken: features
    that are NaN, infinite or far outside, and here and there a base that is.

    Returns:
        obs float32 (n, F), base_dials int64 (n,), and whether the policy may answer, bool (n,).
    """
    rng = np.random.default_rng(seed)
    features = policy.spec.features
    low = np.array([feature.low for feature in features], dtype=np.float32)
    high = np.array([feature.high for feature in features], dtype=np.float32)
    obs = rng.uniform(low, high, size=(n, len(features))).astype(np.float32).clip(low, high)
    base = rng.integers(0, policy.spec.max_dials + 1, size=n)
    near, broken = slice(n // 2, 3 * n // 4), slice(3 * n // 4, n)

    at_low = rng.random(obs[near].shape) < 0.5
    bound = np.where(at_low, low, high)
    inward = np.where(at_low, np.float32(np.inf), np.float32(-np.inf))
    toward = np.where(rng.random(bound.shape) < 0.02, -inward, inward)
    edge = np.where(rng.random(bound.shape) < 0.6, bound, np.nextafter(bound, toward))
    touched = rng.random(bound.shape) < 0.3
    obs[near] = np.where(touched, edge, obs[near])
    base[near] = rng.choice(np.array([0, policy.spec.max_dials]), size=base[near].shape)

    rows = obs[broken]
    width = high - low
    bad = np.stack(
        [
            np.full_like(rows, np.nan),
            np.full_like(rows, np.inf),
            np.full_like(rows, -np.inf),
            np.broadcast_to(high + width, rows.shape),
            np.broadcast_to(low - width, rows.shape),
            np.full_like(rows, 1e30),
        ]
    )
    which = rng.random(rows.shape) < 1.0 / len(features)
    which[np.arange(len(rows)), rng.integers(0, len(features), size=len(rows))] = True
    kind = rng.integers(0, len(bad), size=rows.shape)
    obs[broken] = np.where(which, np.take_along_axis(bad, kind[None], axis=0)[0], rows)
    if policy.spec.action == "residual":
        far = np.array([-1, -5, policy.spec.max_dials + 1, 2**62, -(2**62)])
        broken_base = rng.random(base[broken].shape) < 0.1
        base[broken] = np.where(broken_base, rng.choice(far, size=base[broken].shape), base[broken])
    valid = np.asarray(((obs >= low) & (obs <= high)).all(axis=1), dtype=np.bool_)
    if policy.spec.action == "residual":
        valid = valid & (base >= 0) & (base <= policy.spec.max_dials)
    return obs, base, valid


def _check_parity(
    policy: LearnedPolicy, actor: DeployedActor, folder: Path, seed: int, n: int
) -> None:
    """Raise ExportError unless every runtime gives the same dials on every vector."""
    obs, base, expected = sample_vectors(policy, seed, n)
    residual = policy.spec.action == "residual"
    with torch.no_grad():
        inputs = (torch.from_numpy(obs),) + ((torch.from_numpy(base),) if residual else ())
        torch_dials, torch_valid = (part.numpy() for part in actor(*inputs))
    contract = load_contract(folder / "policy.json")
    results = {
        "the plain layers of policy.json": evaluate(contract, obs, base if residual else None)
    }
    session = _session(folder / "policy.onnx")
    # the whole at once, then the last rows (broken ones too) in small batches as a dialer asks
    for size, first in ((n, 0), (64, n - 64), (3, n - 63), (1, n - 20)):
        for start in range(first, n, size):
            rows = slice(start, start + size)
            feed = {"obs": obs[rows]} | ({"base_dials": base[rows]} if residual else {})
            got = session.run(["dials", "valid"], feed)
            _compare(f"onnxruntime (batch {size})", got, (torch_dials[rows], torch_valid[rows]))
    for name, result in results.items():
        _compare(name, result, (torch_dials, torch_valid))
    if not np.array_equal(torch_valid, expected):
        wrong = int((torch_valid != expected).sum())
        raise ExportError(f"the range check is wrong on {wrong} of {n} vectors; nothing exported")
    if torch.equal(actor.mean, torch.zeros_like(actor.mean)) and torch.equal(
        actor.std, torch.ones_like(actor.std)
    ):
        actions, _ = policy.act(obs[expected])
        own = np.clip(
            actions + actor.offset + (base[expected] if residual else 0), 0, actor.max_dials
        )
        _compare("the policy as it was evaluated", (own,), (torch_dials[expected],))


def _compare(name: str, got: Any, want: Any) -> None:
    """Raise ExportError when arrays differ in any element."""
    for a, b in zip(got, want, strict=True):
        if not np.array_equal(a, b):
            wrong = int((np.asarray(a) != np.asarray(b)).sum())
            raise ExportError(
                f"{name} and torch disagree on {wrong} of {len(b)} vectors; nothing exported"
            )


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )
