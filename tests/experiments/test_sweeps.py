"""Sweeps on this machine: what is varied, what is kept, what goes on after an interruption."""

import io
import json
import math
from pathlib import Path

import pytest
from pydantic import ValidationError
from rich.console import Console

from quietdial.envs.errors import ConfigError, QuietDialError, RunFolderError
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.cli import main
from quietdial.experiments.config import RunConfig
from quietdial.experiments.executors import InlineExecutor
from quietdial.experiments.sweeps.command import ranked, run_sweep
from quietdial.experiments.sweeps.manifest import read_sweep
from quietdial.experiments.sweeps.space import (
    Axis,
    Range,
    SweepConfig,
    Trial,
    changed_world,
    load_sweep,
    planned_trials,
    run_config,
)
from quietdial.experiments.sweeps.suggest import Suggestions
from quietdial.experiments.sweeps.trials import run_trial, score


def tiny(runs: Path, *over: str, name: str = "tiny", **more: object) -> SweepConfig:
    """A sweep whose trials take two or three seconds each."""
    base = RunConfig.model_validate(
        {
            "scenario": "study-real-5",
            "runs": str(runs),
            "name": name,
            "export": False,
            "learner": {
                "n_envs": 8,
                "n_steps": 32,
                "batch_size": 256,
                "n_epochs": 1,
                "total_steps": 1024,
                "net": [8],
                "horizon_s": 600,
                "checkpoint_every": 1,
            },
            "judge": {"tune_days": 2, "test_days": 2, "select_days": 2},
        }
    )
    over = ("scenario.episode.duration_s=1800", *over)
    return SweepConfig.model_validate({"over": over, "base": base, **more})


# --- what is varied -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("learner.seed=0:3", Axis("learner.seed", (0, 1, 2))),
        ("learner.seed=0:7:3", Axis("learner.seed", (0, 3, 6))),
        ("learner.learning_rate=1e-4,.003", Axis("learner.learning_rate", (1e-4, 0.003))),
        ("learner.net=[8],[16,16]", Axis("learner.net", ([8], [16, 16]))),
        ("learner.warm_start=none,marginal", Axis("learner.warm_start", (None, "marginal"))),
        ("cap=0.01", Axis("scenario.rule.cap", (0.01,))),
        ("export=true,False", Axis("export", (True, False))),
        ("a.b=loguniform:1e-5,1e-3", Axis("a.b", range=Range("loguniform", 1e-5, 1e-3))),
        ("a.b=int:2,9", Axis("a.b", range=Range("int", 2, 9))),
        ("a.b=choice:x,y", Axis("a.b", ("x", "y"), is_choice=True)),
    ],
)
def test_axis_reads_lists_rows_and_ranges(text: str, axis: Axis) -> None:
    assert Axis.parse(text) == axis


@pytest.mark.parametrize(
    "text",
    [
        "learner.seed",
        "=1,2",
        "a=",
        "a=3:3",
        "a=1,1",
        "a=uniform:2,1",
        "a=loguniform:0,1",
        "a=int:1",
    ],
)
def test_axis_refuses_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        Axis.parse(text)
    assert "\n" not in str(error.value)


def test_ranges_are_drawn_from_end_to_end() -> None:
    assert Range("int", 2, 4).draw(0.0) == 2
    assert Range("int", 2, 4).draw(0.999) == 4
    assert Range("uniform", -1.0, 3.0).draw(0.25) == 0.0
    assert Range("loguniform", 1e-4, 1e-2).draw(0.5) == pytest.approx(1e-3)


def test_grid_holds_all_combinations_once_in_order(tmp_path: Path) -> None:
    config = tiny(tmp_path, "learner.seed=0:2", "cap=0.01,0.03")
    trials = planned_trials(config)
    assert [trial.name for trial in trials] == [
        "seed-0-cap-0.01",
        "seed-0-cap-0.03",
        "seed-1-cap-0.01",
        "seed-1-cap-0.03",
    ]
    assert trials[3].params == {
        "scenario.episode.duration_s": 1800,
        "learner.seed": 1,
        "scenario.rule.cap": 0.03,
    }
    wider = planned_trials(tiny(tmp_path, "learner.seed=0:3", "cap=0.01,0.03"))
    assert trials == wider[:4]  # what was finished keeps its name when the sweep grows


def test_random_search_draws_the_same_from_one_seed(tmp_path: Path) -> None:
    def names(seed: int) -> list[str]:
        over = ("learner.learning_rate=loguniform:1e-5,1e-3", "learner.seed=0:2")
        config = tiny(tmp_path, *over, search="random", trials=3, search_seed=seed)
        return [trial.name for trial in planned_trials(config)]

    assert names(1) == names(1) != names(2)
    assert len(set(names(1))) == 6  # every draw with every seed


def test_trial_becomes_a_checked_training_run(tmp_path: Path) -> None:
    config = tiny(tmp_path, "learner.algorithm=a2c", "cap=0.012")
    (trial,) = planned_trials(config)
    made = run_config(config, trial, write=True)
    assert made.learner.algorithm == "a2c"
    assert made.learner.report_every == 32_768  # the preset of a2c
    assert made.learner.n_steps == 32  # what the base changes stays
    scenario = load_scenario(made.scenario)
    assert scenario.rule.cap == 0.012
    assert scenario.episode.duration_s == 1800
    assert scenario.floor == load_scenario("study-real-5").floor


def test_cap_of_a_rule_with_windows_is_that_of_the_first() -> None:
    base = changed_world(
        load_scenario("study-real-5"),
        {"rule.windows": [{"kind": "campaign", "cap": 0.03}, {"kind": "day", "cap": 0.04}]},
    )
    rule = changed_world(base, {"rule.cap": 0.01}).rule
    assert (rule.cap, rule.windows[0].cap, rule.windows[1].cap) == (0.01, 0.01, 0.04)


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ("learner.speed=1,2", "learner.speed"),
        ("scenario.flor.n_agents=5", "flor"),
        ("learner.gamma=2.5", "gamma"),
        ("cap=7", "cap"),
        ("name=a,b", "names its runs itself"),
    ],
)
def test_what_is_not_allowed_is_told_before_anything_begins(
    tmp_path: Path, over: str, told: str
) -> None:
    config = tiny(tmp_path / "runs", over)
    with pytest.raises(ConfigError, match=told):
        run_sweep(config, Console(quiet=True), "quietdial sweep", jobs=1)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"over": ["a=loguniform:1,2"]}, "needs search"),
        ({"trials": 3}, "is for search"),
        ({"search": "random", "over": ["a=loguniform:1,2"]}, "needs trials"),
        ({"search": "random", "trials": 3}, "needs a range"),
    ],
)
def test_search_and_axes_must_fit(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        SweepConfig.model_validate(settings)


def test_sweep_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "schema_version: 1\n"
        "over:\n"
        "  learner.seed: '0:2'\n"
        "  learner.learning_rate: [1.0e-4, 3.0e-4]\n"
        "  learner.net: [[8], [16, 16]]\n"
        "base:\n"
        "  scenario: study-real-5\n"
        "  name: from-file\n"
    )
    config = load_sweep(file)
    assert len(planned_trials(config)) == 8
    assert planned_trials(config)[-1].params["learner.net"] == [16, 16]
    assert config.name == "from-file"


def test_nameless_sweep_has_one_name_wherever_its_runs_are(tmp_path: Path) -> None:
    one, two = (
        SweepConfig(over=("learner.seed=0:2",), base=RunConfig(runs=runs)) for runs in ("a", "b")
    )
    assert one.name == two.name
    assert one.name != SweepConfig(over=("learner.seed=0:3",)).name


# --- what comes of it -----------------------------------------------------------------------------


def test_score_puts_every_trial_within_the_cap_first() -> None:
    assert score(0.1, 0.03, 0.03) == 0.1
    assert score(0.9, 0.06, 0.03) == pytest.approx(-1.0)
    assert score(0.9, 0.031, 0.03) < score(0.0, 0.02, 0.03)
    assert score(0.9, float("nan"), 0.03) < 0


def test_table_shows_the_best_feasible_trial_first() -> None:
    trials = {
        "failed": {"status": "failed"},
        "wild": {"result": {"feasible": False, "score": -0.1}},
        "slow": {"result": {"feasible": True, "score": 0.5}},
        "fast": {"result": {"feasible": True, "score": 0.8}},
    }
    assert [name for name, _ in ranked(trials)] == ["fast", "slow", "wild", "failed"]


class Stops(InlineExecutor):
    """Does so many trials, then is interrupted in the middle of the next."""

    def __init__(self, after: int) -> None:
        super().__init__(self._work_or_stop)
        self.left = after

    def _work_or_stop(self, spec, needed=None):
        if not self.left:

            def stop(report) -> None:
                if report.rollout == 2:
                    raise KeyboardInterrupt

            try:
                run_trial(spec, needed, on_rollout=stop)
            except QuietDialError:  # it ends as any interrupted training does
                raise KeyboardInterrupt from None
        self.left -= 1
        return run_trial(spec, needed)


@pytest.mark.slow
def test_interrupted_sweep_goes_on_with_the_same_weights(tmp_path: Path) -> None:
    over = ("learner.seed=0:3",)
    straight = run_sweep(
        tiny(tmp_path, *over, name="straight"), Console(quiet=True), "quietdial sweep", jobs=1
    )
    broken = tiny(tmp_path, *over, name="broken")
    with pytest.raises(KeyboardInterrupt):
        run_sweep(
            broken,
            Console(quiet=True),
            "quietdial sweep",
            jobs=1,
            make_executor=lambda number: Stops(after=1),
        )
    rows = read_sweep(broken.folder)["trials"]
    assert [row["status"] for row in rows.values()] == ["finished", "running", "waiting"]
    finished = broken.folder / "seed-0" / "evaluation.json"
    before = finished.stat().st_mtime_ns
    out = io.StringIO()
    again = run_sweep(broken, Console(file=out, width=100), "quietdial sweep", jobs=1)
    assert "1 finished before" in out.getvalue()
    assert finished.stat().st_mtime_ns == before

    def weights(found):
        return {name: row["result"]["weights_sha256"] for name, row in found["trials"].items()}

    assert weights(again) == weights(straight)
    assert len(set(weights(again).values())) == 3
    for name in ("seed-0", "seed-1", "seed-2"):
        manifest = json.loads((broken.folder / name / "manifest.json").read_text())
        assert manifest["status"] == "finished"
        assert len(manifest["resumed_from"]) == (name == "seed-1")
    with pytest.raises(ConfigError, match="holds another sweep"):
        run_sweep(
            tiny(tmp_path, *over, name="broken", search_seed=5),
            Console(quiet=True),
            "quietdial sweep",
            jobs=1,
        )


def test_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    config = tiny(tmp_path, "learner.seed=0:2")
    config.folder.mkdir()
    (config.folder / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="holds no sweep"):
        run_sweep(config, Console(quiet=True), "quietdial sweep", jobs=1)


def test_command_line_refuses_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--over", "learner.speed=1,2"]) == 2
    assert "learner.speed" in capsys.readouterr().err
    over = ["--over", "learner.learning_rate=loguniform:1e-5,1e-3"]
    assert main(["sweep", *over, "--search", "optuna", "--trials", "2"]) == 2
    assert "add --ray" in capsys.readouterr().err


# --- a search that learns -------------------------------------------------------------------------


def test_optuna_goes_on_from_what_it_learned(tmp_path: Path) -> None:
    over = ("learner.learning_rate=loguniform:1e-5,1e-1", "learner.n_epochs=int:1,4")
    config = tiny(tmp_path, *over, search="optuna", trials=40)

    def search(known: dict[str, dict], n_trials: int) -> None:
        suggestions = Suggestions(config, known, {})
        for _ in range(n_trials):
            trial = suggestions.next()
            assert isinstance(trial, Trial)
            rate = trial.params["learner.learning_rate"]
            value = -abs(math.log(rate / 3e-3))  # the best rate is 0.003
            known[trial.name] = {
                "params": dict(trial.params),
                "status": "finished",
                "result": {"score": value},
            }
            suggestions.ended(trial.name, value)

    known: dict[str, dict] = {}
    search(known, 25)
    rates = [row["params"]["learner.learning_rate"] for row in known.values()]
    search(known, 15)  # as after a restart: it draws nothing again and keeps what it learned
    later = [row["params"]["learner.learning_rate"] for row in known.values()][25:]
    assert len(known) == 40
    assert Suggestions(config, known, {}).left == 0

    def near(values: list[float]) -> float:
        return sum(1e-3 < value < 9e-3 for value in values) / len(values)

    assert near(later) > 0.5 > near(rates[:10])
