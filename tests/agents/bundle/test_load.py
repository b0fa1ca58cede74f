"""The loader: its eight rules, one by one, and what it costs to import."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from quietdial.agents.bundle.archive import MANIFEST, SIGNATURE, SUMS, read_files
from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.load import load_bundle
from quietdial.agents.bundle.strict import (
    KEYWORDS,
    canonical,
    check_schema,
    read_canonical,
    read_json,
    schema,
)
from quietdial.agents.bundle.tensors import read_tensors
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.experiments.studies.attacks import write_folder
from quietdial.experiments.studies.forgeries import refitted
from quietdial.experiments.studies.hostile_bundles import Keys

Make = Callable[..., LearnedPolicy]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys") / "k")


@pytest.fixture
def forge(residual: Path, tmp_path: Path) -> Callable[..., Path]:
    """The residual bundle with changes in a file, all hashes made to fit."""

    def write(name: str, change: Callable[[Any], Any], *, refit: bool = True) -> Path:
        files = read_files(residual)
        if name.endswith(".json"):
            data = json.loads(files[name])
            change(data)
            files[name] = canonical(data)
        else:
            files[name] = change(files[name])
        write_folder(refitted(files) if refit else files, tmp_path / "forged")
        return tmp_path / "forged"

    return write


def test_import__brings_numpy_and_nothing_heavy() -> None:
    code = (
        "import sys, time; t = time.perf_counter()\n"
        "import quietdial.agents.bundle.load\n"
        "print(time.perf_counter() - t)\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    ).stdout.splitlines()
    loaded = set(found[1].split())
    assert "numpy" in loaded
    heavy = {"torch", "numba", "gymnasium", "pydantic", "scipy", "onnx", "onnxruntime", "yaml"}
    assert not loaded & heavy
    assert float(found[0]) < 5.0  # .15 s here; the bound is for a busy machine


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": NaN}', "NaN is not allowed"),
        ('{"a": -Infinity}', "-Infinity is not allowed"),
        ('{"a": 1e999}', "is not finite"),
        ('{"a": 1, "a": 2}', "a key is given twice"),
        ("[" * 17 + "]" * 17, "deeper than the 16 levels"),
        ("[" * 100_000, "deeper than the 16|not valid JSON"),
        ("9" * 5000, "does not fit 64 bits"),
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
    ],
)
def test_read_json__refuses_in_one_line(text: str, message: str) -> None:
    with pytest.raises(BundleError, match=message) as error:
        read_json(text.encode(), "x")
    assert "\n" not in str(error.value)


def test_read_json__takes_sixteen_levels_and_canonical_form_only() -> None:
    assert read_json(b"[" * 16 + b"]" * 16, "x")
    assert read_canonical(b'{"a":[1.5,true,null,"\xc3\xa8"]}\n', "x")["a"][3] == "è"
    for text in (b'{"a": 1}\n', b'{"a":1}', b'{"a":1.50}\n', b"[]\n", b'{"a":"\\ud800"}\n'):
        with pytest.raises(BundleError, match="canonical form"):
            read_canonical(text, "x")
    with pytest.raises(BundleError, match="UTF-8"):
        read_canonical(b'{"a":"\xff"}\n', "x")


def test_schema__is_valid_and_in_the_keywords_that_the_validator_knows() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())

    def walk(rule: Any) -> None:
        assert set(rule) <= KEYWORDS
        nested = [*rule.get("anyOf", ()), rule.get("items"), rule.get("additionalProperties")]
        for key in ("properties", "patternProperties", "$defs"):
            nested += rule.get(key, {}).values()
        for one in nested:
            if isinstance(one, dict):
                walk(one)

    walk(schema())


def test_schema__own_validator_and_jsonschema_agree_on_mutations(residual: Path) -> None:
    rng = np.random.default_rng(0)
    manifest = json.loads((residual / MANIFEST).read_bytes())
    official = jsonschema.Draft202012Validator(schema())
    values: list[Any] = [
        None,
        True,
        -1,
        0,
        1.5,
        1e300,
        "",
        "x" * 5000,
        "a\n",
        [],
        [0],
        {},
        {"x_a": 1},
    ]
    verdicts = []
    for _ in range(120):
        data = json.loads(json.dumps(manifest))
        place: Any = data
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = keys[int(rng.integers(len(keys)))]
            if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
                place = place[key]
                continue
            break
        how = rng.integers(3)
        if how == 0:
            place[key] = values[int(rng.integers(len(values)))]
        elif how == 1 and isinstance(place, dict):
            place[str(rng.choice(["x_mine", "more", "low"]))] = 1
        else:
            del place[key]
        try:
            check_schema(data, "manifest", "m")
            own = True
        except BundleError:
            own = False
        assert own == official.is_valid(data), data
        verdicts.append(own)
    assert 8 < sum(verdicts) < 112


def test_load__needs_to_be_told_whom_to_trust(residual: Path, keys: Keys) -> None:
    with pytest.raises(BundleError, match="give a file of allowed signers"):
        load_bundle(residual)
    with pytest.raises(BundleError, match="give a file of allowed signers"):
        load_bundle(residual, signers=keys.signers, unsigned=True)
    assert load_bundle(residual, unsigned=True).signer is None


def test_signature__by_an_allowed_key_only(
    make_policy: Make, bundled: Any, keys: Keys, tmp_path: Path
) -> None:
    folder = bundled(make_policy(), tmp_path / "x", key=keys.own)
    assert load_bundle(folder, signers=keys.signers).signer == "release@example.org"
    assert load_bundle(folder, unsigned=True).signer is None
    sums, signature = (folder / SUMS).read_bytes(), (folder / SIGNATURE).read_bytes()
    done = subprocess.run(
        [
            *("ssh-keygen", "-Y", "verify", "-f", str(keys.signers), "-I", "release@example.org"),
            *("-n", "quietdial-bundle", "-s", str(folder / SIGNATURE)),
        ],
        input=sums,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    bundled(make_policy(), tmp_path / "y", key=keys.stranger)
    with pytest.raises(BundleError, match="signed by nobody who is allowed"):
        load_bundle(tmp_path / "y", signers=keys.signers)
    (folder / SIGNATURE).unlink()
    with pytest.raises(BundleError, match="nobody who is allowed has signed"):
        load_bundle(folder, signers=keys.signers)
    (folder / SIGNATURE).write_bytes(signature.replace(b"A", b"B", 1))
    with pytest.raises(BundleError, match=r"SHA256SUMS\.sig"):
        load_bundle(folder, unsigned=True)


def test_main__verifies_and_says_what_it_is(residual: Path, keys: Keys, tmp_path: Path) -> None:
    def verify(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "quietdial.agents.bundle", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = verify(str(residual), "--unsigned")
    assert done.returncode == 0, done.stderr
    assert "good: ppo-lagrangian, residual, bundle" in done.stdout
    done = verify(str(residual), "--signers", str(keys.signers))
    assert done.returncode == 2
    assert done.stderr.startswith("refused: SHA256SUMS.sig: is missing")
    assert verify(str(residual)).returncode == 2


def test_rule_1__other_files_links_and_folders(residual: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(residual, tmp_path / "copy")
    (copy / "more.txt").write_text("x")
    with pytest.raises(BundleError, match="files added or missing"):
        load_bundle(copy, unsigned=True)
    (copy / "more.txt").unlink()
    (copy / "inner").mkdir()
    with pytest.raises(BundleError, match=r"'inner'"):
        load_bundle(copy, unsigned=True)
    (copy / "inner").rmdir()
    data = (copy / "card.md").read_bytes()
    (copy / "card.md").unlink()
    (tmp_path / "card.md").write_bytes(data)
    (copy / "card.md").symlink_to(tmp_path / "card.md")
    with pytest.raises(BundleError, match=r"'card\.md': cannot be read"):
        load_bundle(copy, unsigned=True)
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(tmp_path / "none", unsigned=True)


def test_rule_2__hashes_come_before_parsers(forge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = forge("policy.safetensors", lambda data: data[:-1] + b"\1", refit=False)

    def parser(*_: Any) -> None:
        raise AssertionError("parsed before it was verified")

    monkeypatch.setattr("quietdial.agents.bundle.load.read_tensors", parser)
    monkeypatch.setattr("quietdial.agents.bundle.load.read_canonical", parser)
    with pytest.raises(BundleError, match="SHA256SUMS: does not fit the files"):
        load_bundle(folder, unsigned=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format="quietdial-bundle/9"), "format 'quietdial-bundle/9' is not"),
        (lambda m: m.update(command="x"), "'command' is not known"),
        (lambda m: m["contract"]["features"][3].update(index=4), "out of order"),
        (lambda m: m["contract"]["features"][3].update(high=-9.0), "has no range"),
        (lambda m: m["contract"]["features"][3].update(name="waiting"), "the same name"),
        (lambda m: m["contract"]["features"][3]["seen"].update(p99=1e9), "seen outside"),
        (lambda m: m["contract"]["features"][3].update(unit="inch"), "policy.json: is another"),
        (lambda m: m["contract"]["action"]["decode"].update(invalid=999.0), "out of range"),
        (lambda m: m["contract"]["action"].update(decode=None), "needs an action"),
        (lambda m: m["contract"]["recurrent"].update(size=3), "its memory is not"),
    ],
)
def test_rules_3_5_6_7__of_a_forged_manifest(forge: Any, change: Any, message: str) -> None:
    with pytest.raises(BundleError, match=message) as error:
        load_bundle(forge(MANIFEST, change), unsigned=True)
    assert "\n" not in str(error.value)


def test_rule_3__fields_of_ones_own_are_ignored(forge: Any) -> None:
    folder = forge(MANIFEST, lambda m: m.update(x_ticket="ABC-1"))
    assert load_bundle(folder, unsigned=True).manifest["x_ticket"] == "ABC-1"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("policy.onnx", lambda data: data.replace(b"Tanh", b"Evil"), "is not the graph"),
        ("policy.json", lambda p: p["layers"][0]["b"].__setitem__(0, 9.0), "another policy"),
        (
            "golden.jsonl",
            lambda data: data.replace(b'"valid":true', b'"valid":false', 1),
            "numpy answers 1 vectors in another way",
        ),
        ("golden.jsonl", lambda data: data[: data.index(b"\n") + 1], "1 lines; 1000 to"),
        ("policy.safetensors", lambda data: data[:-4] + b"\0\0\xc0\x7f", "not finite"),
    ],
)
def test_rules_4_7_8__of_a_forged_file(forge: Any, name: str, change: Any, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(forge(name, change), unsigned=True)


def test_read_tensors__is_strict() -> None:
    def file(head: dict[str, Any], body: bytes) -> bytes:
        text = json.dumps(head).encode()
        return len(text).to_bytes(8, "little") + text + body

    one = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    assert read_tensors(file(one, bytes(8)), "x")["a"].tolist() == [0.0, 0.0]
    for data, message in (
        (b"", "is not a safetensors file"),
        (file(one, bytes(9)), "belong to no array"),
        (file(one, bytes(4)), "does not fit its bytes"),
        (file({"a": {**one["a"], "dtype": "F16"}}, bytes(8)), "not described"),
        (file({"a": {**one["a"], "more": 1}}, bytes(8)), "not described"),
        (file({**one, "b": one["a"]}, bytes(8)), "overlap or leave gaps"),
    ):
        with pytest.raises(BundleError, match=message):
            read_tensors(data, "x")
