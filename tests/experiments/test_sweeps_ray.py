"""Sweeps and the league on a real Ray cluster, whose parts are killed on the way."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_yaml
from quietdial.envs.scenario import changed, load_scenario
from quietdial.experiments.executors import InlineExecutor, Plain, run_all
from quietdial.experiments.league.command import run_league
from quietdial.experiments.league.settings import Settings
from quietdial.experiments.local_cluster import LocalCluster, is_alive, kill, process_tree
from quietdial.experiments.ray_cluster import RayExecutor, on_ray, ray_session
from quietdial.experiments.studies.node_loss import (
    SETTINGS,
    driver,
    in_training,
    wait_for_training,
    weights,
)
from quietdial.experiments.sweeps.manifest import read_sweep

pytestmark = pytest.mark.slow

GRID = ("--over", "learner.seed=1:4")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A head without CPUs and two nodes with one each, in processes of their own."""
    with LocalCluster() as started:
        yield started
        roots = [node.all_processes["raylet"][0].process.pid for node in started._nodes]
        processes = [pid for root in roots for pid in process_tree(root)]
    assert processes
    assert not [pid for pid in processes if is_alive(pid)]


def test_sweep_survives_the_loss_of_node_worker_and_driver(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    runs = ["--runs", str(tmp_path)]
    with driver(
        [*runs, "--name", "local", *SETTINGS, *GRID, "--jobs", "1"], tmp_path / "local.log"
    ) as process:
        assert process.wait(400) == 0, (tmp_path / "local.log").read_text()

    folder, log = tmp_path / "cluster", tmp_path / "cluster.log"
    arguments = [*runs, "--name", "cluster", *SETTINGS, *GRID, "--ray-address", cluster.address]
    with driver(arguments, log) as process:
        first, pid = wait_for_training(folder, process)
        assert cluster.lose_node_of(pid) > 1
        second, pid = wait_for_training(folder, process, besides=[first])
        kill([pid])
        cluster.add_node()
        wait_for_training(folder, process, besides=[second])
        hit = [name for name, _ in in_training(folder)]
        process.kill()
    assert set(hit) <= set(weights(folder))
    assert not all("result" in row for row in read_sweep(folder)["trials"].values())
    with driver(arguments, log) as process:
        assert process.wait(400) == 0, log.read_text()

    straight = weights(tmp_path / "local")
    assert weights(folder) == straight
    assert len(set(straight.values())) == 3
    assert sum(row["starts"] for row in read_sweep(folder)["trials"].values()) >= 5
    assert not list(folder.glob(".ray-*"))  # nothing that Ray pickled is left
    manifests = [json.loads(path.read_text()) for path in folder.glob("*/manifest.json")]
    assert [manifest["status"] for manifest in manifests] == ["finished"] * 3


def test_search_by_optuna_ends_trials_that_are_behind(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    arguments = [
        *("--runs", str(tmp_path), "--name", "search", *SETTINGS, "--ray-address", cluster.address),
        *("--search", "optuna", "--trials", "4", "--stop", "asha", "--json"),
        *("--over", "learner.learning_rate=loguniform:1e-4,1e-1"),
        *("--over", "cap=choice:0.02,0.2"),
    ]
    log = tmp_path / "search.log"
    with driver(arguments, log) as process:
        assert process.wait(400) == 0, log.read_text()
    found = json.loads(log.read_text())  # Ray itself says nothing
    trials = found["trials"]
    assert len(trials) == 4
    assert {row["status"] for row in trials.values()} <= {"finished", "stopped"}
    assert any(row["status"] == "finished" for row in trials.values())
    assert found == read_sweep(tmp_path / "search")
    for name, row in trials.items():
        params = row["params"]
        assert 1e-4 <= params["learner.learning_rate"] <= 1e-1
        assert params["scenario.rule.cap"] in (0.02, 0.2)
        manifest = json.loads((tmp_path / "search" / name / "manifest.json").read_text())
        if row["status"] == "stopped":
            assert manifest["status"] == "interrupted"
            assert manifest["results"]["stopped_by"] == "asha"
        else:
            assert manifest["status"] == "finished"
    with driver(arguments, tmp_path / "again.log") as process:  # nothing is left to do
        assert process.wait(200) == 0
    assert json.loads((tmp_path / "again.log").read_text())["trials"] == trials


def work(spec: Mapping[str, Any], needed: Plain | None) -> Plain:
    """What tasks of the cluster do in these tests."""
    if spec.get("error"):
        raise ConfigError("no good")
    if spec.get("dies"):
        flag = Path(spec["dies"])
        if not flag.exists():
            flag.touch()
            import os

            os._exit(1)
    return {"square": spec["x"] ** 2, "needed": needed}


def test_executor_does_jobs_again_whose_worker_died(cluster: LocalCluster, tmp_path: Path) -> None:
    specs = {
        ("g", "plain"): {"x": 3},
        ("g", "bad"): {"x": 0, "error": True},
        ("g", "dies"): {"x": 5, "dies": str(tmp_path / "died")},
    }
    ended = {}
    with ray_session(cluster.address, 1):
        executor = RayExecutor(work)
        assert executor.slots == 2
        run_all(
            executor,
            list(specs),
            lambda key: (specs[key], {"of": key[1]}),
            lambda outcome, seconds: ended.update({outcome.key[1]: outcome}),
        )
    assert ended["plain"].result == {"square": 9, "needed": {"of": "plain"}}
    assert ended["bad"].error == "no good"
    assert ended["dies"].result == {"square": 25, "needed": {"of": "dies"}}


def test_league_finds_the_same_on_a_cluster(cluster: LocalCluster, tmp_path: Path) -> None:
    scenario = changed(load_scenario("study-real-5"), "short", episode={"duration_s": 1800.0})
    file = tmp_path / "short.yaml"
    write_yaml(file, scenario.model_dump(mode="json", exclude_none=True))

    def play(name: str, where: Any) -> dict[str, Any]:
        settings = Settings(least=2, most=2, tune_agent_h=10.0, test_agent_h=10.0)
        found = run_league(
            [str(file)],
            settings,
            Console(quiet=True),
            work=tmp_path / name,
            processes=2,
            only=("progressive",),
            where=where,
        )
        assert found.passed
        files = sorted((tmp_path / name).rglob("*.json"))
        results = {path.name: json.loads(path.read_text())["result"] for path in files}
        for result in results.values():
            del result["cpu_s"]
        return results

    here = play("here", lambda _, work: nullcontext(InlineExecutor(work)))
    assert play("there", partial(on_ray, cluster.address)) == here
    assert len(here) == 2


@pytest.mark.parametrize("address", ["127.0.0.1:9", "auto", "ray://127.0.0.1", "127.0.0.1:99999"])
def test_no_cluster_at_an_address_is_one_line(address: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(address)) as error, ray_session(address, 1):
        pass
    assert "\n" not in str(error.value)
