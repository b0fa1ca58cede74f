"""Seven files that run code when they are unpickled stay inert, whatever is done with them."""

import base64
import gzip
import json
import os
import pickle  # noqa: TID251  # to make what must never be read
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle  # noqa: TID251
import numpy as np
import pytest
import torch
import yaml

from quietdial.agents.bundle.load import load_bundle
from quietdial.agents.checkpoint import resume_point
from quietdial.agents.checkpoint_folder import latest_checkpoint, write_folder
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.learners.training import train
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.cli import main
from quietdial.experiments.studies.attacks import write_folder as write_bundle
from quietdial.experiments.studies.forgeries import refitted

TINY = {"n_envs": 4, "n_steps": 16, "batch_size": 32, "horizon_s": 300.0, "net": (8,)}
READING = ("evaluate", "select", "export")
PLACES = {  # where the files are planted in a run, and what is done with it
    "policy.safetensors": READING,
    "policy-state.json": READING,
    "training": (),
    "scenario.yaml": READING,
    "config.yaml": ("resume",),
}


class Payload:
    """Makes a folder, if anybody unpickles it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def sb3_zip(path: Path, payload: Payload) -> None:
    entry = {":type:": "x", ":serialized:": base64.b64encode(pickle.dumps(payload)).decode()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"policy_class": entry}))


def torch_file(path: Path, payload: Payload) -> None:
    torch.save({"weights": payload}, path)  # noqa: TID251


def numpy_file(path: Path, payload: Payload) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.array([payload], dtype=object), allow_pickle=True)


def yaml_file(path: Path, payload: Payload) -> None:
    path.write_text(f"!!python/object/apply:os.mkdir ['{payload.marker}']\n")


FILES: dict[str, Callable[[Path, Payload], Any]] = {
    "model.zip": sb3_zip,
    "vecnormalize.pkl": lambda path, payload: path.write_bytes(pickle.dumps(payload)),
    "policy.pth": torch_file,
    "weights.npy": numpy_file,
    "config.yaml": yaml_file,
    "trial.pkl": lambda path, payload: path.write_bytes(cloudpickle.dumps(payload)),
    "store.pkl.gz": lambda path, payload: path.write_bytes(gzip.compress(pickle.dumps(payload))),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a policy and with a checkpoint that training could go on from."""
    folder = tmp_path_factory.mktemp("run") / "one"
    scenario = load_scenario("study-real-5")
    steps = [0]

    def stop() -> bool:
        steps[0] += 1
        return steps[0] > 40  # in the third rollout

    config = LearnerConfig.preset("ppo", total_steps=100_000, checkpoint_every=1, **TINY)
    trained = train(config, scenario, checkpoints=folder / "checkpoints", should_stop=stop)
    assert not trained.completed
    assert resume_point(folder / "checkpoints", 100_000) is not None
    data = {"scenario": "study-real-5", "learner": config.model_dump(mode="json")}
    (folder / "config.yaml").write_text(yaml.safe_dump(data))
    text = yaml.safe_dump(scenario.model_dump(mode="json", exclude_none=True))
    (folder / "scenario.yaml").write_text(text)
    (folder / "manifest.json").write_text(json.dumps({"status": "running", "config": data}))
    return folder


@pytest.fixture(scope="module")
def good(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the run's bundle."""
    folder = tmp_path_factory.mktemp("good") / "bundle"
    assert main(["export", str(run), f"--out={folder}", "--no-table", "--quiet"]) == 0
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def planted(run: Path, place: str, bad: Path) -> None:
    """Put the file in place of a file of a run, the hashes of its checkpoint made to fit."""
    if place.endswith(".yaml"):
        shutil.copy(bad, run / place)
        return
    checkpoint = latest_checkpoint(run / "checkpoints")
    files = {p.name: p.read_bytes() for p in checkpoint.iterdir() if p.name != "manifest.json"}
    names = [place] if place in files else sorted(set(files) - set(PLACES))
    assert names
    for name in names:
        files[name] = bad.read_bytes()
    shutil.rmtree(run / "checkpoints")
    write_folder(run / "checkpoints" / checkpoint.name, files)


@pytest.mark.parametrize("name", FILES)
def test_pickle__stays_inert_through_every_verb(
    name: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    marker, calls = tmp_path / "it-ran", []
    bad = tmp_path / name
    FILES[name](bad, Payload(marker))

    def sink(*_: Any, **__: Any) -> Any:
        calls.append(name)
        raise AssertionError("something was unpickled")

    for where in ("load", "loads"):
        monkeypatch.setattr(pickle, where, sink)
        monkeypatch.setattr(cloudpickle, where, sink)
    monkeypatch.setattr(torch, "load", sink)
    monkeypatch.chdir(tmp_path)
    tried = [[verb, str(bad)] for verb in ("train", *READING, "resume")]
    for place, asked in PLACES.items():
        copy = shutil.copytree(run, tmp_path / place.partition(".")[0] / "one")
        planted(copy, place, bad)
        tried += [[verb, str(copy)] for verb in asked]
        if not place.endswith(".yaml"):  # resume would leave it out, and train anew for long
            assert resume_point(copy / "checkpoints", 100_000) is None
    for arguments in tried:
        assert main(arguments) == 2, arguments
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("quietdial: error: ")
        assert not marker.exists(), arguments
    assert calls == []


@pytest.mark.parametrize("name", FILES)
def test_pickle__in_a_bundle_is_refused(name: str, good: dict[str, bytes], tmp_path: Path) -> None:
    marker, bad = tmp_path / "it-ran", tmp_path / name
    FILES[name](bad, Payload(marker))
    for i, file in enumerate(sorted(set(good) - {"card.md", "SHA256SUMS"})):
        folder = tmp_path / str(i)
        write_bundle(refitted({**good, file: bad.read_bytes()}), folder)
        with pytest.raises(ValueError, match=r".") as error:
            load_bundle(folder, unsigned=True)
        assert "\n" not in str(error.value)
        assert not marker.exists()


@pytest.mark.parametrize("name", ["vecnormalize.pkl", "trial.pkl", "store.pkl.gz"])
def test_payload__is_live(name: str, tmp_path: Path) -> None:
    """The files would do it: else the tests above could not fail."""
    marker, bad = tmp_path / "it-ran", tmp_path / name
    FILES[name](bad, Payload(marker))
    data = bad.read_bytes()
    pickle.loads(gzip.decompress(data) if name.endswith(".gz") else data)
    assert marker.is_dir()
