"""`quietdial bench train`: complete, right in its arithmetic, and the preset is fast.

Only ratios taken within one run are tested, with a margin wide enough for a busy machine.
"""

import inspect
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from stable_baselines3 import PPO

from quietdial.agents.learners.config import LearnerConfig
from quietdial.envs.errors import ConfigError
from quietdial.experiments.bench import train_speed
from quietdial.experiments.bench.train_speed import (
    DEFAULT,
    RATIOS,
    WAYS,
    Effort,
    Spent,
    TrainSpeed,
    bench_train,
    figures_of,
    render,
    run,
    verdict,
)


@pytest.fixture(scope="module")
def speed() -> TrainSpeed:
    return bench_train(Effort(passes=2, default_steps=16, rollouts=1, n_envs=16))


def _made_up() -> TrainSpeed:
    """Defaults at 100 and 400 frames per CPU-second, all else at 1000."""
    slow = [Spent(100, 1.0, 2.0), Spent(100, 0.25, 0.5)]
    fast = [Spent(1000, 1.0, 4.0, env_s=0.05, adapter_s=0.06)] * 2
    return TrainSpeed({way: slow if way == DEFAULT else fast for way in WAYS})


def test_bench_train__measures_every_way_in_every_pass(speed: TrainSpeed) -> None:
    assert list(speed.spent) == list(WAYS)
    frames = {way: [one.frames for one in spent] for way, spent in speed.spent.items()}
    rollout = 16 * LearnerConfig().n_steps
    assert frames == {way: [8 * 16 if way == DEFAULT else rollout] * 2 for way in WAYS}
    assert all(one.cpu_s > 0 and one.wall_s > 0 for way in WAYS for one in speed.spent[way])


def test_bench_train__preset_is_many_times_the_default(speed: TrainSpeed) -> None:
    assert speed.times("preset", DEFAULT).value > 5.0
    assert speed.times("equal-epochs", DEFAULT).value > 2.5


def test_bench_train__takes_the_environments_share_of_train(speed: TrainSpeed) -> None:
    env, whole = speed.share(adapter=False).value, speed.share(adapter=True).value
    assert 0.0 < env < whole < 0.6


def test_bench_train__runs_on_one_thread_and_gives_the_others_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    def broken(*_: object) -> None:
        seen.append(torch.get_num_threads())
        raise ConfigError("no environment")

    monkeypatch.setattr(train_speed, "_measures", broken)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ConfigError, match="no environment"):
            bench_train()
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_times__are_geometric_means_within_passes() -> None:
    speed = _made_up()
    assert speed.fps(DEFAULT).value == pytest.approx(200.0)
    assert speed.fps(DEFAULT, wall=True).value == pytest.approx(100.0)
    times = speed.times("preset", DEFAULT)
    assert times.value == pytest.approx(math.sqrt(10.0 * 2.5))
    assert times.n == 2
    assert times.lo < 2.5 < 10.0 < times.hi
    assert speed.times("preset", "torch-loop").value == 1.0
    assert speed.share(adapter=False).value == pytest.approx(0.05)
    assert speed.share(adapter=True).value == pytest.approx(0.06)


def test_figures__hold_all_ratios_and_the_share() -> None:
    figures = figures_of(_made_up())
    names = [one["name"] for one in figures]
    assert len(set(names)) == len(names)
    for way, other, _ in RATIOS:
        assert {f"{way}/times-{other}-cpu", f"{way}/times-{other}-wall"} <= set(names)
    for one in figures:
        assert one["lo"] <= one["value"] <= one["hi"]
        assert one["n"] == 2


def test_verdict__is_on_the_worse_end_of_the_interval() -> None:
    def judged(name: str, lo: float, hi: float, note: str) -> str:
        return verdict({"name": name, "lo": lo, "hi": hi, "note": note})

    assert judged("preset/times-sb3-default-cpu", 20.0, 30.0, "; required: 20") == "reached"
    assert judged("preset/times-sb3-default-cpu", 19.9, 30.0, "; required: 20") == "missed"
    assert judged("preset/environment-share", 0.08, 0.1, "; required: 0.1") == "reached"
    assert judged("preset/environment-share", 0.08, 0.11, "; required: 0.1") == "missed"
    assert judged("preset/fps-cpu", 1.0, 2.0, "frames") == ""
    required = [one["name"] for one in figures_of(_made_up()) if verdict(one)]
    assert required == [
        f"equal-epochs/times-{DEFAULT}-cpu",
        f"preset/times-{DEFAULT}-cpu",
        "preset/environment-and-adapter-share",
    ]


def test_effort__measures_the_defaults_of_sb3() -> None:
    assert inspect.signature(PPO).parameters["n_steps"].default == Effort().default_steps


def test_effort__refuses_what_gives_no_interval() -> None:
    with pytest.raises(ConfigError, match="passes >= 2"):
        Effort(passes=1)
    with pytest.raises(ConfigError, match="rollouts >= 1"):
        Effort(rollouts=0)


def test_run__shows_and_saves_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    efforts: list[Effort] = []

    def small(effort: Effort, **_: Any) -> TrainSpeed:
        efforts.append(effort)
        return _made_up()

    monkeypatch.setattr(train_speed, "bench_train", small)
    console = Console(file=io.StringIO(), width=120)
    path = tmp_path / "train-speed.json"
    found = run(quick=True, output=path, console=console)
    assert efforts == [train_speed.QUICK]
    saved = json.loads(path.read_text())
    assert saved == json.loads(json.dumps(found))
    assert (saved["name"], saved["command"]) == ("train-speed", "quietdial bench train")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("preset/fps-cpu", "environment-share", "missed", "reached", "CPU time / wall"):
        assert word in text


def test_render__has_a_row_for_every_figure() -> None:
    figures = figures_of(_made_up())
    assert render(figures).row_count == len(figures)
