"""The speed benchmark: complete, written in the results schema, and the compiled world is fast.

Only ratios taken within one run are tested, with margins wide enough for a busy machine.
"""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from quietdial.envs import ConfigError
from quietdial.experiments.bench.env_speed import (
    ENGINE,
    GYMNASIUM,
    SIMPY,
    SYNC,
    WAYS,
    EnvSpeed,
    bench_env,
    floor_of,
    render,
    run,
)


@pytest.fixture(scope="module")
def speed() -> EnvSpeed:
    bench_env((1,), (10,), seconds_per_cell=0.001, repeats=1)  # compile
    return bench_env((1, 256), (10, 50), seconds_per_cell=0.02, repeats=3)


def test_bench_env__measures_every_cell(speed: EnvSpeed) -> None:
    for agents in (10, 50):
        for campaigns in (1, 256):
            for way in WAYS:
                for face in (ENGINE, GYMNASIUM, SYNC):
                    row = speed.find(agents, campaigns, face, way.name)
                    assert 0 < row.steps_per_s.lo <= row.steps_per_s.value <= row.steps_per_s.hi
                    assert row.steps_per_s.n == 3
                    assert row.times_simpy is not None
                    assert row.times_simpy.lo > 0
        assert speed.find(agents, 1, SIMPY).steps_per_s.value > 0
    with pytest.raises(ConfigError, match="no cell 7 agents"):
        speed.find(7, 1, ENGINE)


def test_bench_env__both_models_carry_the_same_load(speed: EnvSpeed) -> None:
    for agents in (10, 50):
        kernel, simpy = (load for load in speed.loads if load.agents == agents)
        assert (kernel.model, simpy.model) == ("kernel", SIMPY)
        assert 0.7 < kernel.utilisation < 0.97
        assert 0.005 < kernel.silent_rate < 0.15
        assert abs(kernel.utilisation - simpy.utilisation) < 0.06
        assert simpy.dials_per_step == pytest.approx(kernel.dials_per_step, rel=0.25)


def test_bench_env__compiled_world_is_fast(speed: EnvSpeed) -> None:
    physics = speed.find(10, 256, ENGINE).times_simpy
    assert physics is not None
    assert physics.value > 10.0
    for way in WAYS:
        vector = speed.find(50, 256, GYMNASIUM, way.name).times_sync
        assert vector is not None
        assert vector.value > 3.0


def test_bench_env__refuses_an_empty_measurement() -> None:
    with pytest.raises(ConfigError, match="seconds_per_cell > 0"):
        bench_env((1,), (10,), seconds_per_cell=0.0)
    with pytest.raises(ConfigError, match="at least one number"):
        bench_env((), (10,))


def test_floor_of__is_a_valid_scenario() -> None:
    scenario = floor_of(200)
    assert scenario.name == "study-real-200"
    assert scenario.floor.n_agents == 200
    assert scenario.max_dials == 82
    with pytest.raises(ValueError, match="n_agents"):
        floor_of(0)


def test_render__shows_every_size(speed: EnvSpeed) -> None:
    console = Console(file=io.StringIO(), width=110)
    console.print(render(speed))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("physics", "full+residual", "SyncVectorEnv", "SimPy", "256", "utilisation"):
        assert word in text


def test_run__saves_the_results_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(*_: object, **__: object) -> EnvSpeed:
        return bench_env((2,), (10,), seconds_per_cell=0.002, repeats=2)

    monkeypatch.setattr("quietdial.experiments.bench.env_speed.bench_env", small)
    path = tmp_path / "env-speed.json"
    found = run(quick=True, output=path, console=Console(file=io.StringIO(), width=110))
    saved = json.loads(path.read_text())
    assert saved == json.loads(json.dumps(found))
    keys = {"schema", "name", "command", "commit", "machine", "seeds", "figures"}
    assert set(saved) == keys
    for figure in saved["figures"]:
        assert set(figure) == {"name", "value", "unit", "lo", "hi", "n", "note"}
        assert figure["lo"] <= figure["value"] <= figure["hi"]
    names = [figure["name"] for figure in saved["figures"]]
    assert len(set(names)) == len(names)
    assert "engine/10-agents/2-campaigns/physics/times_simpy" in names
