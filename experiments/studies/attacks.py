"""What can be wrong with a bundle: damages, and forgeries with all hashes made to fit.

An attack takes the files of a good bundle and writes a bad one. Forgeries are what somebody can do
who has no key but everything else: the loader is asked without a signature then, so that the other
rules must refuse them.
"""

from __future__ import annotations

import io
import json
import os
import pickle  # noqa: TID251  # made here, never read
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from quietdial.agents.bundle.archive import MANIFEST, SIGNATURE, SUMS, archive_bytes
from quietdial.agents.bundle.load import bundle_id, sha256, sums_of
from quietdial.agents.bundle.strict import canonical

Files = dict[str, bytes]
Dice = np.random.Generator


class Attack(NamedTuple):
    """One way to spoil a bundle.

    Attributes:
        name: what is done.
        write: write the bad bundle of these files to a path that does not exist yet.
    """

    name: str
    write: Callable[[Files, Path, Dice], None]


def write_folder(files: Files, path: Path) -> None:
    """Write files as a folder, whatever their names are."""
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)


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


# --------------------------------------------------------------------------- damages


def _pick(files: Files, dice: Dice) -> str:
    return str(dice.choice(sorted(files)))


def _damage(name: str, spoil: Callable[[bytes, Dice], bytes]) -> Attack:
    """Spoil one file, in a folder or in the archive as a whole."""

    def write(files: Files, path: Path, dice: Dice) -> None:
        if dice.random() < 0.3:
            good = archive_bytes(files)
            path.write_bytes(_changed(good, spoil, dice))
            return
        victim = _pick(files, dice)
        write_folder({**files, victim: _changed(files[victim], spoil, dice)}, path)

    return Attack(name, write)


def _changed(data: bytes, spoil: Callable[[bytes, Dice], bytes], dice: Dice) -> bytes:
    for _ in range(100):
        bad = spoil(data, dice)
        if bad != data:
            return bad
    return data + b"\0"


def _flip(data: bytes, dice: Dice) -> bytes:
    at = int(dice.integers(len(data)))
    return data[:at] + bytes([data[at] ^ 1 << int(dice.integers(8))]) + data[at + 1 :]


def _zeros(data: bytes, dice: Dice) -> bytes:
    at = int(dice.integers(len(data)))
    n = min(int(dice.integers(1, 512)), len(data) - at)
    return data[:at] + bytes(n) + data[at + n :]


def _swap(files: Files, path: Path, dice: Dice) -> None:
    a, b = dice.choice(sorted(files), 2, replace=False)
    write_folder({**files, str(a): files[str(b)], str(b): files[str(a)]}, path)


def _missing(files: Files, path: Path, dice: Dice) -> None:
    # without its signature alone, a bundle is a whole one that nobody signed
    victim = _pick({name: b"" for name in files if name != SIGNATURE}, dice)
    write_folder({name: data for name, data in files.items() if name != victim}, path)


def _extra(files: Files, path: Path, dice: Dice) -> None:
    name = str(dice.choice(["run.sh", ".hidden", "policy.pkl", "x" * 200, "Policy.onnx", "a\nb"]))
    write_folder({**files, name: b"#!/bin/sh\n"}, path)


def _link(files: Files, path: Path, dice: Dice) -> None:
    victim = _pick(files, dice)
    write_folder(files, path)
    outside = path.with_name("outside")
    outside.write_bytes(files[victim])
    (path / victim).unlink()
    (path / victim).symlink_to(outside)


def _link_to_folder(files: Files, path: Path, dice: Dice) -> None:
    inner = path.with_name("inner")
    write_folder(files, inner)
    path.symlink_to(inner, target_is_directory=True)


def _special(files: Files, path: Path, dice: Dice) -> None:
    victim = _pick(files, dice)
    write_folder({name: data for name, data in files.items() if name != victim}, path)
    if dice.random() < 0.5:
        os.mkfifo(path / victim)
    else:
        (path / victim).mkdir()


# --------------------------------------------------------------------------- archives


def _zip(
    entries: list[tuple[zipfile.ZipInfo | str, bytes]], how: int = zipfile.ZIP_STORED
) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return stream.getvalue()


def _paths(files: Files, path: Path, dice: Dice) -> None:
    name = str(
        dice.choice(["../evil", "/etc/evil", "a/../../evil", "C:\\evil", "./policy.onnx", "a/b"])
    )
    path.write_bytes(archive_bytes({**files, name: b"evil"}))


def _zip_link(files: Files, path: Path, dice: Dice) -> None:
    victim = _pick(files, dice)
    link = zipfile.ZipInfo(victim, (1980, 1, 1, 0, 0, 0))
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    others = [(name, data) for name, data in sorted(files.items()) if name != victim]
    path.write_bytes(_zip([(link, b"/etc/passwd"), *others]))


def _zip_compressed(files: Files, path: Path, dice: Dice) -> None:
    path.write_bytes(_zip(sorted(files.items()), zipfile.ZIP_DEFLATED))


def _zip_bomb(files: Files, path: Path, dice: Dice) -> None:
    victim = _pick(files, dice)
    bomb = {**files, victim: bytes(80 * 1024 * 1024)}
    path.write_bytes(_zip(sorted(bomb.items()), zipfile.ZIP_DEFLATED))


def _zip_twice(files: Files, path: Path, dice: Dice) -> None:
    import warnings

    victim = _pick(files, dice)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile says that the name is there already
        path.write_bytes(_zip([*sorted(files.items()), (victim, b"another")]))


def _zip_comment(files: Files, path: Path, dice: Dice) -> None:
    stream = io.BytesIO(archive_bytes(files))
    with zipfile.ZipFile(stream, "a") as archive:
        archive.comment = b"read me"
    path.write_bytes(stream.getvalue())


def _zip_around(files: Files, path: Path, dice: Dice) -> None:
    around = [b"MZ" + bytes(100), b""]
    dice.shuffle(around)
    path.write_bytes(around[0] + archive_bytes(files) + (around[1] or b"tail"))


# --------------------------------------------------------------------------- forgeries


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
        files[file] = _changed(files[file], change, dice)

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


def _any_text(data: bytes, dice: Dice) -> bytes:
    return bytes(dice.integers(0, 256, size=len(data), dtype=np.uint8))


_DEEP: Final = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
_DAMAGES: Final = (
    _damage("bit flipped", _flip),
    _damage("truncated", lambda data, dice: data[: int(dice.integers(len(data)))]),
    _damage("stretch of zeros", _zeros),
    _damage("bytes appended", lambda data, dice: data + bytes(int(dice.integers(1, 100)))),
    _damage("emptied", lambda data, dice: b""),
    _damage("random bytes", _any_text),
    Attack("two files swapped", _swap),
    Attack("file missing", _missing),
    Attack("file added", _extra),
    Attack("file is a link", _link),
    Attack("folder is a link", _link_to_folder),
    Attack("file is a pipe or a folder", _special),
    Attack("archive with paths", _paths),
    Attack("archive with a link", _zip_link),
    Attack("archive compressed", _zip_compressed),
    Attack("archive bomb", _zip_bomb),
    Attack("archive with a name twice", _zip_twice),
    Attack("archive with a comment", _zip_comment),
    Attack("archive with bytes around", _zip_around),
)

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
    _in_bytes("policy.safetensors", "number changed", _flip),
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
    _in_bytes("policy.onnx", "bit flipped", _flip),
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

ATTACKS: Final = (*_DAMAGES, *_MANIFESTS, *_FILES)
"""All of them; the damages are of a signed bundle, the forgeries lose the signature."""
