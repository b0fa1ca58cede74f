"""The sidecar's proof in small: storm, steady load, strangers' tools, and that failures show."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from quietdial.experiments.sidecar import prove as prove_module
from quietdial.experiments.sidecar.bundles import make_bundle
from quietdial.experiments.sidecar.chaos import Chaos, Plan, Storm, damaged_copy
from quietdial.experiments.sidecar.faces import Checked, schemathesis, triton
from quietdial.experiments.sidecar.load import Load, steady_load
from quietdial.experiments.sidecar.process import (
    Sidecars,
    example_features,
    free_port,
    running,
)
from quietdial.experiments.sidecar.prove import Size, prove


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return make_bundle(folder / "one", 1), make_bundle(folder / "two", 2)


@pytest.fixture(scope="module")
def sidecar(bundles: tuple[Path, Path]) -> object:
    with running(bundles[0], port=free_port()) as made:
        yield made


@pytest.mark.slow
def test_storm__leaves_no_decision_unanswered(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(bundles[0])
    wrong = damaged_copy(bundles[0], tmp_path / "damaged", 1)
    plan = Plan(
        decisions=4_000, kills=1, freezes=2, jumps=1, reloads=2, malformed=120, loiterers=20
    )
    with running(link) as made:
        found = Storm(made, link, bundles, wrong, plan, 3).play()
        assert b"Traceback" not in made.log.read_bytes()
    assert found.asked >= 4_000
    assert (found.unanswered, found.crashes) == (0, 0)
    assert (found.kills, found.freezes, found.jumps, found.good, found.bad) == (1, 2, 1, 1, 1)
    assert found.reloads_seen == Counter(ok=1, refused=1)
    assert found.strangers["refused"] + found.strangers["closed"] == 120
    assert found.by["sidecar: policy"] > 0
    assert sum(n for who, n in found.by.items() if who.startswith("client")) > 0


def test_steady_load__is_measured(sidecar: Sidecars, bundles: tuple[Path, Path]) -> None:
    load = steady_load(sidecar, example_features(bundles[0]), campaigns=20, seconds=3)
    assert len(load.waits("lines")) == len(load.waits("http")) == 30
    assert (load.lost, load.fallbacks) == (0, 0)
    assert len(load.memory) == 3
    assert load.cpu_s > 0


@pytest.mark.slow
def test_openapi__holds_for_schemathesis(sidecar: Sidecars) -> None:
    found = schemathesis(sidecar, examples=4, seed=1, phases="coverage,fuzzing")
    assert found.failures == 0, found.told
    assert found.operations == 14
    assert found.cases > 200


def test_inference__is_right_for_tritonclient(
    sidecar: Sidecars, bundles: tuple[Path, Path]
) -> None:
    found = triton(sidecar, bundles[0], 60)
    assert (found["live"], found["ready"], found["wrong"]) == (True, True, 0)
    assert found["asked"] > 60


@pytest.mark.parametrize("fault", ["none", "unanswered", "crash", "accepted", "reload", "openapi"])
def test_prove__fails_if_anything_is_not_zero(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in a part becomes a figure that fails the proof."""
    chaos = Chaos(
        asked=100,
        unanswered=fault == "unanswered",
        waits_s=[0.001] * 10,
        kills=1,
        good=1,
        bad=1,
        crashes=fault == "crash",
        reloads_seen=Counter(ok=1, refused=0 if fault == "reload" else 1),
        strangers=Counter(refused=9, accepted=fault == "accepted"),
    )
    load = Load(memory=[100] * 20, cpu_s=1.0, elapsed_s=20.0)
    load.waits_s = {"lines": [0.001] * 10, "http": [0.002] * 10}
    monkeypatch.setattr(prove_module, "steady_load", lambda *_, **__: load)
    asked = {"live": True, "ready": True, "asked": 5, "wrong": 0, "version": "1"}
    monkeypatch.setattr(prove_module, "triton", lambda *_: asked)
    checked = Checked(9, int(fault == "openapi"), 13, "4", "")
    monkeypatch.setattr(prove_module, "schemathesis", lambda *_, **__: checked)
    monkeypatch.setattr(prove_module, "running", _no_sidecar)
    monkeypatch.setattr(prove_module, "make_bundle", _no_bundle)
    monkeypatch.setattr(prove_module, "damaged_copy", lambda *_: Path("damaged"))
    monkeypatch.setattr(prove_module, "example_features", lambda _: {})
    monkeypatch.setattr(prove_module, "Storm", _storm_of(chaos))
    size = Size(Plan(100, 1, 0, 0, 2, 10, 0), campaigns=2, seconds=10, examples=1, rows=5)
    assert prove(size, None, Console(quiet=True), "quietdial serve proof") == (fault == "none")


def _no_bundle(out: Path, seed: int) -> Path:
    out.mkdir()
    return out


class _no_sidecar:  # noqa: N801 - stands for a function
    starts_s = (1.0,)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> "_no_sidecar":
        return self

    def __exit__(self, *_: object) -> None: ...


def _storm_of(chaos: Chaos) -> type:
    class Calm:
        def __init__(self, *_: object) -> None: ...

        def play(self, _: object) -> Chaos:
            return chaos

    return Calm


def test_memory_growth__is_last_against_first() -> None:
    load = Load(memory=[50] * 10 + [100] * 50 + [110] * 50)
    assert load.growth(10) == pytest.approx(0.1)
    assert np.all(load.waits() == [])
