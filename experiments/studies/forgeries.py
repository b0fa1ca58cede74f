"""Forgeries of a bundle: every hash made to fit, as somebody can who has no key.

The loader is asked without a signature then, so that its other rules must refuse them.
"""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251  # made here, never read
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from quietdial.agents.bundle.archive import MANIFEST, SIGNATURE, SUMS, archive_bytes
from quietdial.agents.bundle.load import bundle_id, sha256, sums_of
from quietdial.agents.bundle.strict import canonical
from quietdial.experiments.studies.attacks import Attack, Dice, Files, changed, flip, write_folder


def refitted(files: Files) -> Files:
    """The files with every hash made to fit, as somebody can who has no key."""
    files = {name: data for name, data in files.items() if name != SIGNATURE}
    try:
        manifest = json.loads(files[MANIFEST])
        for name, entry in manifest["files"].items():
            data = files.get(name, b"")
            entry.update(bytes=len(data), sha256=sha256(data))
        manifest["contract_sha256"] = sha256(canonical(manifest["contract"]))
        manifest["bundle_id"] = bundle_id(manifest)
        files[MANIFEST] = canonical(manifest)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # no longer a manifest; its own hash below fits all the same
    files[SUMS] = sums_of(files)
    return files


def _forged(name: str, change: Callable[[Files, Dice], Any], *, refit: bool = True) -> Attack:
    """Change files and make all hashes fit; without `refit` those of SHA256SUMS only."""

    def write(files: Files, path: Path, dice: Dice) -> None:
        bad = {key: data for key, data in files.items() if key != SIGNATURE}
        change(bad, dice)
        bad = refitted(bad) if refit else {**bad, SUMS: sums_of(bad)}
        if dice.random() < 0.7:
            write_folder(bad, path)
        else:
            path.write_bytes(archive_bytes(bad))

    return Attack(name, write)


def _in_manifest(name: str, change: Callable[[dict[str, Any], Dice], Any]) -> Attack:
    def inside(files: Files, dice: Dice) -> None:
        manifest = json.loads(files[MANIFEST])
        change(manifest, dice)
        files[MANIFEST] = canonical(manifest)

    return _forged(f"forged manifest: {name}", inside)


def _in_json(file: str, name: str, change: Callable[[dict[str, Any], Dice], Any]) -> Attack:
    def inside(files: Files, dice: Dice) -> None:
        data = json.loads(files[file])
        change(data, dice)
        files[file] = canonical(data)

    return _forged(f"forged {file}: {name}", inside)


def _in_bytes(file: str, name: str, change: Callable[[bytes, Dice], bytes]) -> Attack:
    def inside(files: Files, dice: Dice) -> None:
        files[file] = changed(files[file], change, dice)

    return _forged(f"forged {file}: {name}", inside, refit=file != MANIFEST)


class _Payload:
    """What a pickle would run; a harmless one, which is never unpickled here."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("true",))


def _pickled(_: bytes, __: Dice) -> bytes:
    return pickle.dumps(_Payload())


def _text_of(text: bytes) -> Callable[[bytes, Dice], bytes]:
    return lambda _, __: text


def _feature(manifest: dict[str, Any], dice: Dice) -> dict[str, Any]:
    features = manifest["contract"]["features"]
    chosen: dict[str, Any] = features[int(dice.integers(len(features)))]
    return chosen


def _same_names(manifest: dict[str, Any], dice: Dice) -> None:
    features = manifest["contract"]["features"]
    a, b = dice.choice(len(features), 2, replace=False)
    features[a]["name"] = features[b]["name"]


def _decode(manifest: dict[str, Any]) -> dict[str, Any]:
    decode: dict[str, Any] = manifest["contract"]["action"]["decode"]
    return decode


def _raw(old: bytes, new: bytes) -> Callable[[bytes, Dice], bytes]:
    return lambda data, _: data.replace(old, new, 1)


_DEEP: Final = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
_MANIFESTS: Final = (
    _in_manifest("unknown format", lambda m, _: m.update(format="quietdial-bundle/2")),
    _in_manifest("unknown field", lambda m, _: m.update(command="rm")),
    _in_manifest("unknown field in the contract", lambda m, _: m["contract"].update(more=1)),
    _in_manifest("field missing", lambda m, d: m.pop(str(d.choice(["licence", "parity", "onnx"])))),
    _in_manifest("wrong type", lambda m, _: m["contract"].update(features={})),
    _in_manifest("truth value as number", lambda m, d: _feature(m, d).update(low=False)),
    _in_manifest("text as number", lambda m, d: _feature(m, d).update(high="1")),
    _in_manifest("unit changed", lambda m, d: _feature(m, d).update(unit="furlongs")),
    _in_manifest("meaning changed", lambda m, d: _feature(m, d).update(meaning="anything")),
    _in_manifest("range widened", lambda m, d: _feature(m, d).update(high=1e30)),
    _in_manifest("range empty", lambda m, d: _feature(m, d).update(low=9.0, high=9.0)),
    _in_manifest("names equal", _same_names),
    _in_manifest("name with a path", lambda m, d: _feature(m, d).update(name="../x")),
    _in_manifest("order changed", lambda m, d: m["contract"]["features"].reverse()),
    _in_manifest("feature dropped", lambda m, d: m["contract"]["features"].pop()),
    _in_manifest("most calls raised", lambda m, _: _decode(m).update(high=4000.0)),
    _in_manifest("floods when invalid", lambda m, _: _decode(m).update(invalid=1.0)),
    _in_manifest("table raised", lambda m, _: _decode(m)["table"].__setitem__(-1, 4000.0)),
    _in_manifest("drawn in place of chosen", lambda m, _: _decode(m).update(read="sample")),
    _in_manifest("cap raised", lambda m, _: m["contract"]["regulation"].update(cap=0.5)),
    _in_manifest("lease lengthened", lambda m, _: m["contract"]["timing"].update(lease_s=1e6)),
    _in_manifest("base changed", lambda m, _: m["contract"]["action"]["base"].update(theta=0.4)),
    _in_manifest("declared feasible", lambda m, _: m["contract"].update(feasible=True)),
    _in_manifest("mismatches admitted", lambda m, _: m["parity"].update(mismatches=3)),
    _in_manifest("path listed", lambda m, _: m["files"].update({"../../etc/passwd": {}})),
    _in_manifest("turned into a rule", lambda m, _: m["contract"].update(kind="rule")),
    _in_bytes(MANIFEST, "deep", _text_of(_DEEP)),
    _in_bytes(MANIFEST, "NaN", _raw(b'"lease_s":3.0', b'"lease_s":NaN')),
    _in_bytes(MANIFEST, "1e999", _raw(b'"lease_s":3.0', b'"lease_s":1e999')),
    _in_bytes(MANIFEST, "huge number", _raw(b'"lease_s":3.0', b'"lease_s":' + b"9" * 5000)),
    _in_bytes(MANIFEST, "key twice", _raw(b'{"bundle_id"', b'{"bundle_id":"","bundle_id"')),
    _in_bytes(MANIFEST, "huge", lambda data, _: data[:-2] + b" " * 1_200_000 + data[-2:]),
    _in_bytes(MANIFEST, "half a surrogate pair", _raw(b'"name":"', b'"name":"\\ud800')),
    _in_bytes(MANIFEST, "not UTF-8", _raw(b'"name":"', b'"name":"\xff')),
    _in_bytes(MANIFEST, "pickle", _pickled),
)


def _weights(data: dict[str, Any], dice: Dice) -> None:
    row = data["layers"][0]["w"][int(dice.integers(len(data["layers"][0]["w"])))]
    row[int(dice.integers(len(row)))] += 0.5


def _onnx_number(data: bytes, dice: Dice) -> bytes:
    half = len(data) // 2  # the numbers of the layers lie around the middle
    at = half + int(dice.integers(-1000, 1000))
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


def _onnx_external(data: bytes, _: Dice) -> bytes:
    # TensorProto.data_location = EXTERNAL with its file beside, as a further initializer
    where = b"\x6a\x16\x0a\x08location\x12\x0a../evil.xx"
    tensor = b"\x08\x01\x10\x01\x42\x01z" + where + b"\x70\x01"
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    return data + b"\x3a" + bytes([len(graph)]) + graph


def _safetensors(head: dict[str, Any], body: bytes) -> Callable[[bytes, Dice], bytes]:
    text = json.dumps(head).encode()
    return lambda _, __: len(text).to_bytes(8, "little") + text + body


_FILES: Final = (
    _in_json("policy.json", "weight changed", _weights),
    _in_json("policy.json", "layer dropped", lambda p, _: p["layers"].pop(0)),
    _in_json("policy.json", "rows of other lengths", lambda p, _: p["layers"][0]["w"][0].pop()),
    _in_json("policy.json", "no tanh", lambda p, _: p["layers"][0].update(act="identity")),
    _in_json("policy.json", "other contract", lambda p, _: p.update(contract_sha256="0" * 64)),
    _in_json("policy.json", "decoding changed", lambda p, _: p["decode"].update(base=False)),
    _in_json("policy.json", "names swapped", lambda p, _: p["features"].reverse()),
    _in_json("policy.json", "range changed", lambda p, _: p["low"].__setitem__(0, -1e9)),
    _in_bytes("policy.json", "deep", _text_of(b'{"layers":' + b"[" * 50_000)),
    _in_bytes("policy.json", "pickle", _pickled),
    _in_bytes("policy.safetensors", "number changed", flip),
    _in_bytes("policy.safetensors", "pickle", _pickled),
    _in_bytes("policy.safetensors", "huge head", _text_of(b"\xff" * 8 + b"{}")),
    _in_bytes(
        "policy.safetensors",
        "huge array",
        _safetensors({"a": {"dtype": "F64", "shape": [2**30], "data_offsets": [0, 8]}}, bytes(8)),
    ),
    _in_bytes(
        "policy.safetensors",
        "overlapping arrays",
        _safetensors(
            {
                "actor.0.weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]},
                "actor.0.bias": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            },
            bytes(4),
        ),
    ),
    _in_bytes("policy.onnx", "number changed", _onnx_number),
    _in_bytes("policy.onnx", "bit flipped", flip),
    _in_bytes("policy.onnx", "external data", _onnx_external),
    _in_bytes("policy.onnx", "custom operator", _raw(b"Tanh", b"Evil")),
    _in_bytes("policy.onnx", "other input", _raw(b"base_dials", b"face_dials")),
    _in_bytes("policy.onnx", "other opset", _raw(b"\x10\x12", b"\x10\x63")),
    _in_bytes("policy.onnx", "pickle", _pickled),
    _in_bytes("policy.onnx", "truncated", lambda data, d: data[: int(d.integers(len(data)))]),
    _in_bytes("golden.jsonl", "fewer vectors", lambda data, _: data[: data.index(b"\n") + 1]),
    _in_bytes("golden.jsonl", "answer changed", _raw(b'"valid":true', b'"valid":false')),
    _in_bytes("golden.jsonl", "NaN as number", _raw(b'"NaN"', b"NaN")),
    _in_bytes("golden.jsonl", "line that is none", lambda data, _: b"[]\n" + data),
    _in_bytes("golden.jsonl", "text as number", _raw(b'"base_dials":', b'"base_dials":"1","x":')),
    _in_bytes("golden.jsonl", "pickle", _pickled),
    _in_json("table.json", "circle", lambda t, _: t["tree"]["left"].__setitem__(0, 0)),
    _in_json(
        "table.json", "child that is none", lambda t, _: t["tree"]["right"].__setitem__(0, 4000)
    ),
    _in_json(
        "table.json", "feature that is none", lambda t, _: t["tree"]["feature"].__setitem__(0, 99)
    ),
    _in_json(
        "table.json", "value of no action", lambda t, _: t["tree"]["value"].__setitem__(-1, 77.0)
    ),
    _in_json("table.json", "other contract", lambda t, _: t.update(contract_sha256="0" * 64)),
    _in_bytes("table.json", "pickle", _pickled),
    _in_bytes("pacing.json", "pickle", _pickled),
    _in_bytes("scenario.json", "pickle", _pickled),
    _in_bytes("evaluation.json", "1e999", _text_of(b'{"a":1e999}\n')),
)

FORGERIES: Final = (*_MANIFESTS, *_FILES)
"""Of the manifest, and of every other file."""
