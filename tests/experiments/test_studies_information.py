"""The study of information on few short days: worlds, the worth of a step, the written figures."""

import io
import json

from rich.console import Console

from quietdial.envs import load_scenario
from quietdial.envs.scenario import Scenario
from quietdial.experiments.studies import information


def short(n_agents=5):
    values = load_scenario(f"study-real-{n_agents}").model_dump(exclude_none=True)
    values["episode"] = {**values["episode"], "duration_s": 7200.0}
    return Scenario.model_validate(values)


def test_with_leads__gives_the_world_scores_of_the_steps_quality():
    for step in information.STEPS:
        world = information.with_leads(short(), step)
        leads = world.calls.leads
        assert (leads is not None) == ("scores" in step.knowledge)
        if leads is not None:
            assert (leads.auc, leads.buffer) == (step.auc, step.buffer)


def test_run__finds_that_a_signal_of_20_s_helps_and_writes_it(monkeypatch, tmp_path):
    monkeypatch.setattr(information, "load_scenario", lambda name: short(10))
    steps = [step for step in information.STEPS if step.knowledge == "signal-20"]
    shown = io.StringIO()
    console = Console(file=shown, width=150)
    output = tmp_path / "information.json"
    information.run(
        work=tmp_path,
        processes=1,
        output=output,
        console=console,
        floors=(10,),
        steps=steps,
        n_tune_days=24,
        n_test_days=24,
    )
    (row,) = json.loads(output.read_text())["figures"]
    assert row["value"] > 0.004
    assert row["lo"] < row["value"] < row["hi"]
    assert "+1.52" in shown.getvalue(), "the origin's figure stands beside"
