"""Write a bundle: all files or none, checked on 10,000 vectors and by the loader itself."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from quietdial.agents.bundle.archive import MANIFEST, SIGNATURE, SUMS, archive_bytes
from quietdial.agents.bundle.card import card
from quietdial.agents.bundle.describe import Seen, contract_of, decode_of, rule_contract, rule_json
from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.evaluate import PlainPolicy, plain_of_tensors
from quietdial.agents.bundle.graph import IR_VERSION, OPSET, graph_bytes, ports_in, ports_out
from quietdial.agents.bundle.load import (
    FORMAT,
    MAX_PLAIN_WEIGHTS,
    ROLES,
    bundle_id,
    graph_metadata,
    load_bundle,
    sha256,
    sums_of,
)
from quietdial.agents.bundle.parity import check_parity
from quietdial.agents.bundle.replay import golden_lines
from quietdial.agents.bundle.signature import sign
from quietdial.agents.bundle.strict import canonical
from quietdial.agents.bundle.tree import Tree, readable
from quietdial.agents.bundle.vectors import golden_vectors
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.rules.base import Rule
from quietdial.agents.runtime.tables import FILE, dict_of_tables
from quietdial.agents.runtime_tables import pacing_tables
from quietdial.envs.errors import ExportError, MissingExtraError
from quietdial.envs.loading import write_bytes_atomic, write_synced
from quietdial.envs.scenario import Scenario

try:
    from safetensors.numpy import save as save_tensors
except ImportError as error:  # pragma: no cover - tested in a bare environment
    raise MissingExtraError("safetensors", "export", "exporting a policy") from error

VECTORS: Final = 10_000
"""Vectors that must get the same answers everywhere."""

_LEFT_OVER: Final = re.compile(r"\.export-[0-9a-f]{12}(\.old)?\.tmp")
_OURS: Final = frozenset(ROLES) | {MANIFEST, SUMS, SIGNATURE}


@dataclass(frozen=True, eq=False)
class Distilled:
    """A tree that may be shipped, with the figures that allow it."""

    tree: Tree
    fidelity: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a bundle comes from: goes into its `training` and its evaluation.json.

    Attributes:
        training: run, commit, settings, seeds, machine, versions.
        evaluation: measured figures with intervals; empty: it was not judged.
        created: time of the export; None: SOURCE_DATE_EPOCH if that is set, else now.
    """

    training: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    created: datetime | None = None


def write_policy(
    policy: LearnedPolicy,
    scenario: Scenario,
    out: str | Path,
    *,
    seen: Seen,
    origin: Origin | None = None,
    table: Distilled | None = None,
    key: Path | None = None,
    seed: int = 0,
    vectors: int = VECTORS,
) -> Path:
    """Write a learned policy as a bundle, in place of an earlier one.

    Args:
        policy: the policy, with the knob that it is to be deployed with.
        scenario: the world that it was trained in.
        out: the folder; made when missing. A folder with other files in it is refused.
        seen: what simulated days of that world showed.
        origin: where it comes from.
        table: a tree to ship.
        key: a private key of OpenSSH to sign with; None: not signed.
        seed: seed of the vectors.
        vectors: number of vectors to compare, at least 100.

    Returns:
        The folder as it was given.

    Raises:
        ExportError: the policy is of a kind that is not exported, a runtime answers otherwise, or
            the folder cannot be written.
    """
    if vectors < 100:
        raise ExportError(f"vectors = {vectors} must be at least 100")
    origin = origin or Origin()
    contract = contract_of(policy, scenario, seen)
    contract_hash = sha256(canonical(contract))
    weights = save_tensors(policy.tensors())
    features = policy.spec.features
    plain = plain_of_tensors(
        policy.tensors(),
        np.array([feature.low for feature in features]),
        np.array([feature.high for feature in features]),
        decode_of(policy),
        contract["log_price"],
    )
    graph = graph_bytes(plain, graph_metadata(contract_hash))
    parity = check_parity(policy, plain, graph, seed, vectors)
    golden = golden_vectors(plain, seen.obs, seed)
    files = {
        "policy.onnx": graph,
        "policy.safetensors": weights,
        "golden.jsonl": golden_lines(golden),
    }
    if plain.memory is None and plain.n_weights <= MAX_PLAIN_WEIGHTS:
        files["policy.json"] = canonical(_policy_json(policy, plain, contract_hash))
    if table is not None:
        names = [feature.name for feature in features]
        files["table.json"] = canonical(
            {
                "format": "quietdial-table/1",
                "contract_sha256": contract_hash,
                "features": names,
                "tree": table.tree.to_dict(),
                "fidelity": dict(table.fidelity),
            }
        )
        files["table.md"] = _table_page(policy.name, table, contract["action"]["unit"], names)
    onnx = {
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "inputs": [port._asdict() for port in ports_in(plain)],
        "outputs": [port._asdict() for port in ports_out(plain)],
        "min_onnxruntime": "1.16",
    }
    more = {"onnx": onnx, "parity": parity}
    return _write(files, contract, policy.name, more, scenario, seen, origin, Path(out), key)


def write_rule(
    rule: Rule,
    scenario: Scenario,
    out: str | Path,
    *,
    seen: Seen,
    origin: Origin | None = None,
    key: Path | None = None,
) -> Path:
    """Declare a hand-built rule as a bundle: its formula and settings, no network.

    Arguments and errors as in :func:`write_policy`.
    """
    contract = rule_contract(rule, scenario, seen)
    files = {"rule.json": canonical(rule_json(rule, scenario))}
    more = {"onnx": None, "parity": None}
    origin = origin or Origin()
    return _write(files, contract, rule.name, more, scenario, seen, origin, Path(out), key)


def write_archive(folder: Path) -> Path:
    """Write the bundle in `folder` once more as one file, `<folder>.zip`; returns its path."""
    from quietdial.agents.bundle.archive import read_files

    folder = Path(os.path.abspath(folder))
    path = folder.with_name(f"{folder.name}.zip")
    write_bytes_atomic(path, archive_bytes(read_files(folder)))
    return path


# ------------------------------------------------------------------------------------- files


def _policy_json(policy: LearnedPolicy, plain: PlainPolicy, contract_hash: str) -> dict[str, Any]:
    last = len(plain.layers) - 1
    return {
        "format": "quietdial-policy/2",
        "contract_sha256": contract_hash,
        "name": policy.name,
        "features": [feature.name for feature in policy.spec.features],
        "low": plain.low.tolist(),
        "high": plain.high.tolist(),
        "layers": [
            {"w": w.tolist(), "b": b.tolist(), "act": "identity" if i == last else "tanh"}
            for i, (w, b) in enumerate(plain.layers)
        ],
        "decode": plain.decode.to_dict(),
    }


def _table_page(name: str, table: Distilled, unit: str, names: list[str]) -> bytes:
    lines = [
        f"# {name} as a table",
        "",
        f"{table.tree.n_leaves} rules, distilled from the policy; each answers in {unit} (of a "
        "residual policy: what is added to the base value). A decision goes down the tree to one "
        "rule; behind each rule stands the share of decisions that it makes. Thresholds are "
        "rounded here, table.json has all digits. `policy.onnx` is the policy itself; this may "
        "stand in for it, since it was measured to be good enough:",
        "",
        *(f"- {_measured(row)}" for row in table.fidelity["figures"]),
        f"- allowed: {table.fidelity['tolerance']}",
        "",
        "```",
        *readable(table.tree, names),
        "```",
    ]
    return ("\n".join(lines) + "\n").encode()


def _measured(row: Mapping[str, Any]) -> str:
    """A paired difference in words; shares in points."""
    factor, unit = (100.0, "points") if row["unit"] == "1" else (1.0, row["unit"])
    value, lo, hi = (f"{factor * row[key]:+.2f}" for key in ("value", "lo", "hi"))
    what = str(row["name"]).rpartition("/")[2].replace("_", " ")
    return f"{what}, table minus policy: {value} ({lo} to {hi}) {unit}, {row['n']} days"


def _write(
    files: dict[str, bytes],
    contract: dict[str, Any],
    name: str,
    more: Mapping[str, Any],
    scenario: Scenario,
    seen: Seen,
    origin: Origin,
    out: Path,
    key: Path | None,
) -> Path:
    evaluation = dict(origin.evaluation) or {"figures": [], "note": "not judged"}
    files = dict(files)
    files["scenario.json"] = canonical(scenario.model_dump(mode="json", exclude_none=True))
    files["evaluation.json"] = canonical(evaluation)
    if contract["knowledge"] == "believed":
        theta = contract["action"]["base"]["theta"] if contract["action"]["base"] else 0.02
        tables = pacing_tables(scenario, base_theta=theta)
        files[FILE] = canonical(dict_of_tables(tables))
    files["card.md"] = card(name, contract, evaluation, has_table="table.json" in files).encode()
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "version": version("quietdial"),
        "created": _created(origin),
        "contract": contract,
        "contract_sha256": sha256(canonical(contract)),
        "files": {
            one: {"bytes": len(data), "sha256": sha256(data), "role": ROLES[one]}
            for one, data in sorted(files.items())
        },
        "training": json.loads(json.dumps(dict(origin.training))),
        "licence": "Apache-2.0",
        **more,
    }
    manifest["bundle_id"] = bundle_id(manifest)
    files[MANIFEST] = canonical(manifest)
    files[SUMS] = sums_of(files)
    if key is not None:
        try:
            files[SIGNATURE] = sign(files[SUMS], key)
        except BundleError as error:
            raise ExportError(str(error)) from None
    _put(files, out)
    return out


def _created(origin: Origin) -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = origin.created or (
        datetime.fromtimestamp(int(epoch), UTC) if epoch.isdigit() else datetime.now(UTC)
    )
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _put(files: Mapping[str, bytes], out: Path) -> None:
    """Write the files into a new folder, load it, and only then put it in place."""
    target = Path(os.path.abspath(out))  # the current folder has a name too
    if target.exists() and not target.is_dir():
        raise ExportError(f"{target}: is not a folder; give a folder for the export")
    if target.is_dir():
        foreign = sorted(
            entry.name
            for entry in target.iterdir()
            if entry.name not in _OURS and not _LEFT_OVER.fullmatch(entry.name)
        )
        if foreign:
            raise ExportError(
                f"{target}: holds other files ({foreign[0]}); give a folder of its own"
            )
    temporary = target.with_name(f".export-{secrets.token_hex(6)}.tmp")
    if target.exists():  # inside it: the folder above may be another file system, or not ours
        temporary = target / temporary.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.mkdir()
            for name, data in files.items():
                write_synced(temporary / name, data)
            try:
                load_bundle(temporary, unsigned=True)
            except BundleError as error:
                raise ExportError(f"the export does not pass its own loader: {error}") from None
            if temporary.parent == target:
                _replace_files(temporary, target, list(files))
            else:
                temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ExportError(f"{target}: cannot be written: {reason}") from error


def _replace_files(new: Path, target: Path, names: list[str]) -> None:
    """Put the files of the folder `new` into `target`; all of them, or the old ones stay.

    `target` itself stays the same folder, since a shell or a service may be standing in it.
    """
    old = new.with_suffix(".old.tmp")
    old.mkdir()
    before = [name for name in sorted(_OURS) if (target / name).exists()]
    try:
        for name in before:
            (target / name).rename(old / name)
        for name in names:
            (new / name).rename(target / name)
    except BaseException:
        for name in names:
            if not (new / name).exists():
                (target / name).unlink(missing_ok=True)
        for name in before:
            if (old / name).exists():
                (old / name).replace(target / name)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
    for stale in target.glob(".export-*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)
