"""Load a bundle: eight rules, each of which refuses with one line (docs/export.md).

1. The files: exactly those listed, plain, small, shallow JSON without tricks.
2. Size and sha256 of every file before any parser sees it; the signature.
3. The format is known; unknown fields are refused, `x_...` ignored.
4. The graph is, byte for byte, the one that the contract and the weights make.
5. The features are in order, with ranges. 6. The action and its table are in range.
7. The plain layers and the graph belong to this contract, with the same weights.
8. Every golden vector is answered as written, by numpy and, where installed, by onnxruntime.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from quietdial.agents.bundle.archive import MANIFEST, MAX_MANIFEST, SIGNATURE, SUMS, read_files
from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.evaluate import (
    Decode,
    PlainPolicy,
    plain_of_json,
    plain_of_tensors,
)
from quietdial.agents.bundle.graph import graph_bytes
from quietdial.agents.bundle.replay import Golden, n_differences, read_golden
from quietdial.agents.bundle.session import Session
from quietdial.agents.bundle.signature import check_whole, verified_signer
from quietdial.agents.bundle.strict import canonical, check_schema, read_canonical
from quietdial.agents.bundle.tensors import read_tensors
from quietdial.agents.bundle.tree import Table, tree_of
from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.tables import FILE, tables_of_json

FORMAT: Final = "quietdial-bundle/1"

ROLES: Final[Mapping[str, str]] = {
    "policy.onnx": "the policy as a graph, with range check and decoding",
    "policy.json": "the policy as plain numbers, for programs in any language",
    "policy.safetensors": "the weights as trained, without the optimizer",
    "golden.jsonl": "vectors with their answers, to be replayed",
    "table.json": "the distilled tree",
    "table.md": "the distilled tree, to be read",
    "rule.json": "the hand-built rule: formula and settings",
    "pacing.json": "what the pacer must know of the floor: of it come features and base values",
    "scenario.json": "the whole world that it was trained or chosen in",
    "evaluation.json": "measured figures with intervals",
    "card.md": "what it is for, what it is not for, in plain words",
}
"""Files that a bundle may list, and what each is."""

_POLICY_FILES: Final = {"policy.onnx", "policy.safetensors", "golden.jsonl"}
_ALWAYS: Final = {"scenario.json", "evaluation.json", "card.md"}
MAX_PLAIN_WEIGHTS: Final = 50_000
"""Weights up to which a policy without memory has a policy.json."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle that passed all rules.

    Attributes:
        manifest: the contract with its provenance, as in manifest.json.
        files: the other files by name, verified bytes.
        signer: who signed it; None: loaded with `unsigned=True`.
        policy: the network; None for a rule.
        table: the distilled tree; None: not shipped.
        golden: the vectors; None for a rule.
    """

    manifest: Mapping[str, Any]
    files: Mapping[str, bytes]
    signer: str | None
    policy: PlainPolicy | None
    table: Table | None
    golden: Golden | None

    @property
    def contract(self) -> Mapping[str, Any]:
        """What a dialer must obey."""
        contract: Mapping[str, Any] = self.manifest["contract"]
        return contract

    @property
    def bundle_id(self) -> str:
        """Sha256 of the manifest without this field (hex)."""
        return str(self.manifest["bundle_id"])

    def session(self) -> Session:
        """The graph in onnxruntime, an evaluator like `policy` (`BundleError` for a rule)."""
        if self.policy is None:
            raise BundleError("a rule has no graph")
        return Session(self.files["policy.onnx"], self.policy)


def load_bundle(path: str | Path, *, signers: Path | None = None, unsigned: bool = False) -> Bundle:
    """Load and verify a bundle; everything is kept in memory, the files are not read again.

    Args:
        path: a folder or an archive.
        signers: file of allowed signers, one of whom must have signed.
        unsigned: load it whoever made it; a signature that is there must still fit.

    Raises:
        BundleError: one line on the first rule that it breaks.
    """
    if (signers is None) != unsigned:
        raise BundleError(
            f"{path}: give a file of allowed signers, or ask for an unsigned bundle on purpose"
        )
    files = read_files(Path(path))
    manifest = verified_manifest(files)
    signer = None
    if signers is not None:
        if SIGNATURE not in files:
            raise BundleError(f"{SIGNATURE}: is missing, so nobody who is allowed has signed")
        signer = verified_signer(files[SUMS], files[SIGNATURE], signers)
    elif SIGNATURE in files:
        check_whole(files[SUMS], files[SIGNATURE])
    try:
        return _understood(manifest, files, signer)
    except (KeyError, TypeError, IndexError, OverflowError, MemoryError) as error:
        raise BundleError(
            f"{path}: cannot be understood ({type(error).__name__})"
        ) from error  # pragma: no cover - the rules above it leave nothing to come here


def verified_manifest(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The manifest of files that it lists exactly and whose hashes fit (rules 1 to 3).

    Raises:
        BundleError: one line on what does not fit.
    """
    for name in (MANIFEST, SUMS):
        if name not in files:
            raise BundleError(f"{name}: is missing; this is no bundle")
    if len(files[MANIFEST]) > MAX_MANIFEST:
        raise BundleError(f"{MANIFEST}: larger than the {MAX_MANIFEST} bytes allowed")
    if files[SUMS] != sums_of(files):
        raise BundleError(f"{SUMS}: does not fit the files: damaged, or files added or missing")
    manifest = read_canonical(files[MANIFEST], MANIFEST)
    found = str(manifest.get("format"))
    if found != FORMAT:
        raise BundleError(f"{MANIFEST}: the format {found!r:.60} is not known; {FORMAT} is")
    check_schema(manifest, "manifest", MANIFEST)
    listed = manifest["files"]
    if set(listed) != set(files) - {MANIFEST, SUMS, SIGNATURE}:
        raise BundleError(f"{MANIFEST}: lists other files than there are")
    for name, entry in listed.items():
        data = files[name]
        if entry["bytes"] != len(data) or entry["sha256"] != sha256(data):
            raise BundleError(f"{name}: is not the file that {MANIFEST} lists")
    if manifest["bundle_id"] != bundle_id(manifest):
        raise BundleError(f"{MANIFEST}: its bundle_id is not that of its content")
    if manifest["contract_sha256"] != sha256(canonical(manifest["contract"])):
        raise BundleError(f"{MANIFEST}: its contract_sha256 is not that of its contract")
    return manifest


def sums_of(files: Mapping[str, bytes]) -> bytes:
    """The content of SHA256SUMS for these files (`sha256sum -c` reads it)."""
    names = sorted(set(files) - {SUMS, SIGNATURE})
    return "".join(f"{sha256(files[name])}  {name}\n" for name in names).encode()


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def bundle_id(manifest: Mapping[str, Any]) -> str:
    """Sha256 of the canonical manifest without its bundle_id."""
    rest = {key: value for key, value in manifest.items() if key != "bundle_id"}
    return sha256(canonical(rest))


def _understood(manifest: dict[str, Any], files: Mapping[str, bytes], signer: str | None) -> Bundle:
    contract = manifest["contract"]
    _check_features(contract["features"])
    for name in ("scenario.json", "evaluation.json"):
        read_canonical(files.get(name, b""), name)
    needed = _ALWAYS | ({"rule.json"} if contract["kind"] == "rule" else _POLICY_FILES)
    missing = needed - set(files)
    if missing:
        raise BundleError(f"{min(missing)}: is missing")
    rest = {name: data for name, data in files.items() if name not in (MANIFEST, SUMS, SIGNATURE)}
    if FILE in rest:
        read_canonical(rest[FILE], FILE)
        try:
            tables_of_json(rest[FILE])
        except PacerError as error:
            raise BundleError(str(error)) from None
    if contract["kind"] == "rule":
        if set(rest) & (_POLICY_FILES | {"policy.json", "table.json", "table.md"}):
            raise BundleError("a rule's bundle holds a policy's files")
        check_schema(read_canonical(rest["rule.json"], "rule.json"), "rule", "rule.json")
        return Bundle(manifest, rest, signer, None, None, None)
    if "rule.json" in rest:
        raise BundleError("rule.json: a policy's bundle holds no rule")
    decode = _checked_action(contract)
    policy = _policy(manifest, rest, decode)
    graph = graph_bytes(policy, graph_metadata(manifest["contract_sha256"]))
    if graph != rest["policy.onnx"]:
        raise BundleError("policy.onnx: is not the graph of this contract and these weights")
    golden = read_golden(rest["golden.jsonl"], policy)
    _replay(policy, golden, graph)
    return Bundle(manifest, rest, signer, policy, _table(rest, policy, manifest), golden)


def _check_features(features: list[dict[str, Any]]) -> None:
    """Rule 5."""
    if len({feature["name"] for feature in features}) != len(features):
        raise BundleError(f"{MANIFEST}: two features have the same name")
    for i, feature in enumerate(features):
        seen, where = feature["seen"], f"{MANIFEST}: the feature {feature['name']!r}"
        if feature["index"] != i:
            raise BundleError(f"{where} is out of order")
        if not feature["low"] < feature["high"]:
            raise BundleError(f"{where} has no range")
        if not feature["low"] <= seen["p01"] <= seen["p99"] <= feature["high"]:
            raise BundleError(f"{where} was seen outside of its range")


def _checked_action(contract: Mapping[str, Any]) -> Decode:
    """Rule 6."""
    if contract["action"]["decode"] is None or contract["action"]["kind"] == "rule":
        raise BundleError(f"{MANIFEST}: a policy needs an action with decoding")
    decode = Decode.of(contract["action"]["decode"])
    most = contract["action"]["highest"]
    ok = (
        0.0 <= decode.low < decode.high <= most
        and decode.low <= decode.invalid <= decode.high
        and (decode.read == "continuous") == (not decode.table)
        and len(decode.choices) in (0, len(decode.table))
        and all(abs(value) <= most for value in decode.table)
        and (decode.base or all(value >= 0.0 for value in decode.table))
        and decode.base == (contract["action"]["base"] is not None)
    )
    if not ok:
        raise BundleError(f"{MANIFEST}: the action's decoding is out of range")
    return decode


def _policy(manifest: Mapping[str, Any], files: Mapping[str, bytes], decode: Decode) -> PlainPolicy:
    """The network, the same in each of its copies (rule 7)."""
    contract = manifest["contract"]
    low = np.array([feature["low"] for feature in contract["features"]], np.float64)
    high = np.array([feature["high"] for feature in contract["features"]], np.float64)
    tensors = read_tensors(files["policy.safetensors"], "policy.safetensors")
    policy = plain_of_tensors(tensors, low, high, decode, contract["log_price"])
    size = 0 if policy.memory is None else len(policy.memory[1])
    if contract["recurrent"]["size"] != size:
        raise BundleError("policy.safetensors: its memory is not that of the contract")
    small = policy.memory is None and policy.n_weights <= MAX_PLAIN_WEIGHTS
    if small != ("policy.json" in files):
        raise BundleError("policy.json: is missing, or there for a policy that has none")
    if small:
        data = read_canonical(files["policy.json"], "policy.json")
        check_schema(data, "policy", "policy.json")
        plain = plain_of_json(data)
        same = (
            data["features"] == [feature["name"] for feature in contract["features"]]
            and data["contract_sha256"] == manifest["contract_sha256"]
            and plain.decode == decode
            and np.array_equal(plain.low, low)
            and np.array_equal(plain.high, high)
            and len(plain.layers) == len(policy.layers)
            and all(
                np.array_equal(w, v) and np.array_equal(b, c)
                for (w, b), (v, c) in zip(plain.layers, policy.layers, strict=True)
            )
        )
        if not same:
            raise BundleError("policy.json: is another policy than policy.safetensors")
    return policy


def graph_metadata(contract_sha256: str) -> dict[str, str]:
    """What policy.onnx says of itself."""
    return {"quietdial.format": FORMAT, "quietdial.contract_sha256": contract_sha256}


def _table(
    files: Mapping[str, bytes], policy: PlainPolicy, manifest: Mapping[str, Any]
) -> Table | None:
    """The distilled tree, if it is there."""
    if ("table.json" in files) != ("table.md" in files):
        raise BundleError("table.json and table.md: only one of them is there")
    if "table.json" not in files:
        return None
    data = read_canonical(files["table.json"], "table.json")
    check_schema(data, "table", "table.json")
    if policy.memory is not None or policy.decode.read == "sample":
        raise BundleError("table.json: a policy with a memory or with draws has none")
    if data["contract_sha256"] != manifest["contract_sha256"]:
        raise BundleError("table.json: belongs to another contract")
    tree = tree_of(data["tree"], len(policy.low), policy.decode)
    return Table(tree, policy.low, policy.high, policy.decode)


def _replay(policy: PlainPolicy, golden: Golden, graph: bytes) -> None:
    """Rule 8."""
    runtimes: dict[str, Any] = {"numpy": policy}
    if find_spec("onnxruntime") is not None:
        runtimes["onnxruntime"] = Session(graph, policy)
    for name, runtime in runtimes.items():
        wrong = n_differences(golden.answers, runtime.answer(golden.inputs), policy.decode)
        if wrong:
            raise BundleError(f"golden.jsonl: {name} answers {wrong} vectors in another way")
