"""The league: jobs that go on where they stopped, rows with intervals, the check, the page."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from quietdial.agents.checkpoint import PolicyState, save_checkpoint
from quietdial.agents.learned_policy import Layer, tensors_of
from quietdial.agents.optimal import solve
from quietdial.agents.policy import PolicySpec
from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_yaml
from quietdial.envs.pacing.markov import MarkovWorld
from quietdial.envs.pacing.spec import observation_fields
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.cli import main
from quietdial.experiments.evaluate import play_days, silent_rate, test_seeds
from quietdial.experiments.executors import InlineExecutor, LocalExecutor
from quietdial.experiments.league import entries, jobs, picture, sources, table
from quietdial.experiments.league.command import Found, Outputs, run_league
from quietdial.experiments.league.entries import OPTIMUM, REFERENCE, Entry
from quietdial.experiments.league.jobs import FRONTIER, Job
from quietdial.experiments.league.queue import Queue, Step, file_of
from quietdial.experiments.league.rows import Row, excesses, overall
from quietdial.experiments.league.settings import Settings
from quietdial.experiments.stats import Interval

SMALL = Settings(least=4, most=6, tune_agent_h=100.0, test_agent_h=1000.0)


def quiet() -> Console:
    return Console(quiet=True)


# --- settings and participants --------------------------------------------------------------------


def test_plan__gives_large_worlds_fewer_days() -> None:
    # italy-50: 50 agents x 8 h = 400 agent-hours: 4,800 / 400 = 12 and 24,000 / 400 = 60.
    plan = Settings().plan(load_scenario("italy-50"))
    assert (plan.agent_h, plan.tune_days, plan.stopping.most) == (400.0, 12, 60)
    # us-50: 50 agents x 12 h x 30 days = 18,000: 24,000 / 18,000 < 6, the fewest.
    plan = Settings().plan(load_scenario("us-50"))
    assert (plan.agent_h, plan.stopping.least, plan.stopping.most, plan.batch) == (
        18_000.0,
        6,
        6,
        1,
    )
    # study-real-5: 40 agent-hours: 4,800 / 40 = 120 > 40, the most.
    assert Settings().plan(load_scenario("study-real-5")).tune_days == 40


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rates": ()}, "at least one"),
        ({"rates": (0.03, 1.0)}, "between 0 and 1"),
        ({"rates": (0.03, 0.03)}, "each rate once"),
        ({"least": 1}, "2 <= least"),
        ({"tune_agent_h": 0.0}, "above 0"),
    ],
)
def test_settings__refuse_what_makes_no_league(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Settings(**change)


def test_entries__hold_every_rule_and_the_optimum_where_it_is_known() -> None:
    everywhere = entries.entries_for(load_scenario("italy-50"))
    names = [entry.name for entry in everywhere]
    assert names[0] == REFERENCE
    assert {"progressive", "fixed-ratio"} <= set(names)
    assert OPTIMUM not in names
    assert OPTIMUM in [entry.name for entry in entries.entries_for(load_scenario("markov-5"))]


def test_entries__refuse_two_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = (*entries.catalogue(), entries.catalogue()[0])
    monkeypatch.setattr(entries, "catalogue", lambda: twice)
    with pytest.raises(ConfigError, match="two participants"):
        entries.entries_for(load_scenario("italy-50"))


# --- fingerprints ---------------------------------------------------------------------------------


def test_code__is_the_same_with_other_words_and_another_one_with_other_deeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "module.py"
    monkeypatch.setattr(sources, "_file_of", lambda name: module if name == "it" else None)

    def sha(text: str) -> str:
        module.write_text(text)
        sources._read.cache_clear()
        return sources.code_sha256(["it"])

    before = sha('"""Words."""\n\ndef f(x):\n    """More words."""\n    return x + 1  # and more\n')
    assert sha('"""Other words."""\ndef f(x):\n    return (x +\n            1)\n') == before
    assert sha('"""Words."""\ndef f(x):\n    """More words."""\n    return x + 2\n') != before


def test_code__follows_imports_of_the_simulator_and_of_nothing_else() -> None:
    read: list[str] = []
    whole = sources._file_of

    def note(name: str) -> Path | None:
        path = whole(name)
        if path is not None:
            read.append(name)
        return path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_file_of", note)
        sources.kernel_sha256()
    assert "quietdial.envs.pacing.full.kernel" in read
    assert "quietdial.envs.laws" in read
    assert not [name for name in read if "agents" in name or "experiments" in name]


def _job(entry: Entry, scenario: Scenario, settings: Settings = SMALL) -> Job:
    return jobs.make_job(scenario.name, scenario, entry, settings, ())


def test_fingerprints__change_with_rule_settings_and_scenario() -> None:
    scenario = load_scenario("study-stat-5")
    listed = {entry.name: entry for entry in entries.catalogue()}
    marginal, ratio = listed["marginal"], listed["fixed-ratio"]
    assert marginal.policy is not None
    base = _job(marginal, scenario).fingerprint
    assert _job(marginal, scenario).fingerprint == base
    other = Entry("marginal", marginal.policy.with_knob(0.03))
    rule = scenario.rule.model_copy(update={"cap": 0.04})
    changed = [
        _job(ratio, scenario),
        _job(other, scenario),
        _job(marginal, scenario, Settings(least=5, most=6)),
        _job(marginal, scenario.model_copy(update={"rule": rule})),
    ]
    assert len({base, *(job.fingerprint for job in changed)}) == 5


# --- the queue ------------------------------------------------------------------------------------


def _made(name: str, *, mark: str = "1", needs: str = REFERENCE, cost: float = 1.0) -> Job:
    needs = "" if name == REFERENCE else needs
    return Job("anywhere", name, {"entry": name}, f"{name} {mark}", cost, needs)


class Worker:
    """Work that remembers what it was asked to do, and fails where it is told to."""

    def __init__(self, *failing: str, stops_at: str = "") -> None:
        self.done: list[str] = []
        self.needed: dict[str, Any] = {}
        self.failing, self.stops_at = failing, stops_at

    def __call__(self, spec: Mapping[str, Any], needed: dict[str, Any] | None) -> dict[str, Any]:
        if spec["entry"] == self.stops_at:
            raise KeyboardInterrupt
        self.done.append(spec["entry"])
        self.needed[spec["entry"]] = needed
        if spec["entry"] in self.failing:
            raise ValueError("no\nsuch thing")
        return {"status": "done", "entry": spec["entry"], "price": float("inf")}


def _run(work: Path, worker: Worker, *made: Job) -> tuple[Queue, list[Step]]:
    steps: list[Step] = []
    queue = Queue(work, [("here", job) for job in made])
    queue.run(InlineExecutor(worker), steps.append)
    return queue, steps


def test_queue__does_the_reference_first_and_large_jobs_before_small_ones(tmp_path: Path) -> None:
    worker = Worker()
    made = [_made("small"), _made("large", cost=9.0), _made(REFERENCE)]
    _, steps = _run(tmp_path, worker, *made)
    assert worker.done == [REFERENCE, "large", "small"]
    assert worker.needed["large"]["entry"] == REFERENCE
    assert worker.needed[REFERENCE] is None
    assert [step.done for step in steps] == [1, 2, 3]
    assert steps[-1].left_s == 0.0


def test_queue__goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    made = [_made(REFERENCE), _made("a", cost=3.0), _made("b", cost=2.0), _made("c")]
    first = Worker(stops_at="b")
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, first, *made)
    assert first.done == [REFERENCE, "a"]
    second = Worker()
    queue, steps = _run(tmp_path, second, *made)
    assert second.done == ["b", "c"]
    assert second.needed["b"]["entry"] == REFERENCE  # from the file
    assert [step.done for step in steps] == [3, 4]
    assert len(queue.results) == 4
    assert _run(tmp_path, third := Worker(), *made)[1] == []
    assert third.done == []


def test_queue__does_a_changed_job_anew_and_all_that_need_it(tmp_path: Path) -> None:
    _run(tmp_path, Worker(), _made(REFERENCE), _made("a"), _made("b"))
    _run(tmp_path, changed := Worker(), _made(REFERENCE), _made("a", mark="2"), _made("b"))
    assert changed.done == ["a"]
    _run(tmp_path, all_new := Worker(), _made(REFERENCE, mark="2"), _made("a", mark="2"))
    assert all_new.done == [REFERENCE, "a"]


def test_queue__does_a_damaged_file_anew(tmp_path: Path) -> None:
    _run(tmp_path, Worker(), _made(REFERENCE))
    path = file_of(tmp_path, "here", REFERENCE)
    path.write_text(path.read_text()[:-20])
    _run(tmp_path, worker := Worker(), _made(REFERENCE))
    assert worker.done == [REFERENCE]


def test_queue__reports_a_failure_and_does_the_others(tmp_path: Path) -> None:
    worker = Worker("a")
    queue, steps = _run(tmp_path, worker, _made(REFERENCE), _made("a", cost=2.0), _made("b"))
    assert worker.done == [REFERENCE, "a", "b"]
    assert queue.errors == {("here", "a"): "ValueError: no such thing"}
    assert [bool(step.error) for step in steps] == [False, True, False]
    _run(tmp_path, again := Worker(), _made(REFERENCE), _made("a"), _made("b"))
    assert again.done == ["a"]


def test_queue__keeps_nothing_that_lacks_its_comparison(tmp_path: Path) -> None:
    worker = Worker(REFERENCE)
    queue, _ = _run(tmp_path, worker, _made(REFERENCE), _made("a"))
    assert worker.needed["a"] is None
    assert ("here", "a") in queue.results
    _run(tmp_path, again := Worker(), _made(REFERENCE), _made("a"))
    assert again.done == [REFERENCE, "a"]


MORTAL = """
import os
from pathlib import Path
from quietdial.envs.errors import ConfigError

def work(spec, needed):
    name, mark = spec["entry"], Path(__file__).with_name("died")
    if name == "always" or (name == "once" and not mark.exists()):
        mark.touch()
        os._exit(3)
    if name == "wrong":
        raise ConfigError("no such world")
    return {"status": "done", "entry": name, "process": os.getpid()}
"""


def test_local_executor__replaces_processes_that_die(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mortal_league_work.py").write_text(MORTAL)
    monkeypatch.syspath_prepend(tmp_path)
    work = importlib.import_module("mortal_league_work").work
    names = ("once", "wrong", "fine", "always")
    made = [_made(name, needs="", cost=4.0 - i) for i, name in enumerate(names)]
    queue = Queue(tmp_path / "work", [("here", job) for job in made])
    queue.run(LocalExecutor(1, work), lambda _: None)
    done = {result["entry"] for result in queue.results.values()}
    assert done == {"once", "fine"}
    assert sorted(queue.errors.values()) == ["a worker process died", "no such world"]
    assert os.getpid() not in [result["process"] for result in queue.results.values()]


SLEEPER = """
import os, time
from pathlib import Path

def work(spec, needed):
    Path(__file__).with_name("worker").write_text(str(os.getpid()))
    time.sleep(120)
"""

MAIN = """
import sys
from pathlib import Path
from quietdial.experiments.league.jobs import Job
from quietdial.experiments.league.queue import Queue
from quietdial.experiments.executors import LocalExecutor

if __name__ == "__main__":
    import sleeping_league_work
    job = Job("anywhere", "a", {}, "1", 1.0, "")
    executor = LocalExecutor(1, sleeping_league_work.work)
    Queue(Path(sys.argv[1]), [("here", job)]).run(executor, print)
"""


def test_local_executor__leaves_no_process_when_it_is_killed(tmp_path: Path) -> None:
    (tmp_path / "sleeping_league_work.py").write_text(SLEEPER)
    (tmp_path / "main.py").write_text(MAIN)
    command = [sys.executable, str(tmp_path / "main.py"), str(tmp_path / "work")]
    running = subprocess.Popen(command)
    mark, limit = tmp_path / "worker", time.monotonic() + 60.0
    while not (mark.exists() and mark.read_text()) and time.monotonic() < limit:
        time.sleep(0.05)
    worker = int(mark.read_text())
    running.kill()
    running.wait()
    while _is_alive(worker) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not _is_alive(worker)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


# --- what is found --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two worlds with days of two hours: one that is solved exactly, and one with people."""
    folder = tmp_path_factory.mktemp("scenarios")
    found: list[str] = []
    for preset, name in (("markov-5", "solved"), ("italy-5", "full")):
        data = load_scenario(preset).model_dump(mode="json", exclude_none=True)
        data["name"] = name
        data["episode"]["duration_s"] = 7200.0
        if data["floor"].get("shifts"):
            data["episode"]["duration_s"] = load_scenario(preset).episode.duration_s
        path = folder / f"{name}.yaml"
        write_yaml(path, data)
        found.append(str(path))
    return found


ONLY = ("fixed-ratio", "progressive", OPTIMUM)


@pytest.fixture(scope="module")
def league(files: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Path]:
    """A small league in this process, and its folder."""
    folder = tmp_path_factory.mktemp("league")
    found = run_league(
        files,
        SMALL,
        quiet(),
        work=folder / "work",
        processes=1,
        only=ONLY,
        outputs=Outputs(folder / "league.md", folder / "league.json", folder / "figures"),
        command="quietdial league --scenario solved full",
        where=lambda _, work: nullcontext(InlineExecutor(work)),
    )
    return found, folder


def _learned_run(folder: Path, scenario: Scenario) -> Path:
    """A run folder with a policy that dials one call every second, whatever it sees."""
    spec = PolicySpec.of(
        scenario,
        observation="markov",
        action="dials",
        fields=observation_fields("markov"),
        n_actions=scenario.max_dials + 1,
    )
    bias = np.eye(spec.n_actions)[1]
    layers = [Layer(np.zeros((2, spec.n_actions)), bias)]
    state = PolicyState(
        step=1, name="one a second", base_theta=0.02, spec=spec, net=(), multiplier={}, config={}
    )
    save_checkpoint(folder / "policy", state, tensors_of(layers))
    return folder


def test_league__plays_learned_policies_where_they_fit(files: list[str], tmp_path: Path) -> None:
    run = _learned_run(tmp_path / "my-run", load_scenario(files[0]))
    found = run_league(
        [files[0], "markov-10"],
        SMALL,
        quiet(),
        work=tmp_path / "work",
        processes=1,
        only=("learned:my-run",),
        runs=(str(run),),
        outputs=Outputs(page=tmp_path / "league.md"),
        where=lambda _, work: nullcontext(InlineExecutor(work)),
    )
    assert found.errors == []
    row = _row(found, "solved", "learned:my-run", None)
    assert row.tuned
    assert not row.reached
    # A dial a second is .25 answered calls a second for 5 agents of 180 s: almost all are silent.
    assert row.silent_rate.value > 0.5
    assert not [r for r in found.rows if (r.scenario, r.entry) == ("markov-10", "learned:my-run")]
    assert "`learned:my-run` cannot play it" in (tmp_path / "league.md").read_text()


def _row(found: Found, scenario: str, entry: str, rate: float | None) -> Row:
    (row,) = [r for r in found.rows if (r.scenario, r.entry, r.target) == (scenario, entry, rate)]
    return row


def test_league__has_a_row_for_each_participant_and_rate(league: tuple[Found, Path]) -> None:
    found, _ = league
    assert found.errors == []
    names = sorted((r.scenario, r.entry, r.rate_name) for r in found.rows)
    each = [("fixed-ratio", "1%"), ("fixed-ratio", "3%"), ("marginal", "1%"), ("marginal", "3%")]
    best = [(OPTIMUM, "1%"), (OPTIMUM, "3%")]
    shipped = [("progressive", "shipped")]
    expected = [("full", *x) for x in each + shipped] + [
        ("solved", *x) for x in each + best + shipped
    ]
    assert names == sorted(expected)


def test_league__plays_the_test_days_with_the_tuned_knob(
    league: tuple[Found, Path], files: list[str]
) -> None:
    row = _row(league[0], "solved", "fixed-ratio", 0.03)
    (ratio,) = [e.policy for e in entries.catalogue() if e.name == "fixed-ratio"]
    assert ratio is not None
    assert row.knob is not None
    days = play_days(ratio.with_knob(row.knob), load_scenario(files[0]), test_seeds(6))
    n = row.utilisation.n
    assert row.utilisation.value == pytest.approx(days.first(n).utilisation.mean(), abs=1e-6)
    assert row.silent_rate.value == pytest.approx(silent_rate(days.first(n)), abs=1e-9)


def test_league__compares_at_the_same_rate(league: tuple[Found, Path]) -> None:
    """By hand: mean difference minus slope x difference of the pooled rates."""
    found, folder = league
    work = folder / "work" / "solved"
    ratio, marginal = (
        json.loads((work / f"{name}.json").read_text())["result"]
        for name in ("fixed-ratio", "marginal")
    )
    mine, its = ratio["cells"][0]["days"]["totals"], marginal["cells"][0]["days"]["totals"]
    n = len(mine["silent"])

    def busy(totals: dict[str, list[float]]) -> float:
        days = [
            (t + w) / a
            for t, w, a in zip(
                totals["talk_s"], totals["wrap_s"], totals["available_s"], strict=True
            )
        ]
        return sum(days[:n]) / n

    rates = [sum(t["silent"][:n]) / sum(t["answered"][:n]) for t in (mine, its)]
    middle = sum(rates) / 2
    near = sorted({(r, u) for _, r, u in marginal["sweep"] if 0.4 * middle <= r <= 2.5 * middle})
    assert len(near) > 1
    slope = np.polyfit([r for r, _ in near], [u for _, u in near], 1)[0]
    by_hand = busy(mine) - busy(its) - slope * (rates[0] - rates[1])
    row = _row(found, "solved", "fixed-ratio", 0.03)
    assert row.difference is not None
    assert slope > 0.0
    assert row.difference.value == pytest.approx(by_hand, abs=1e-9)
    assert _row(found, "solved", "marginal", 0.03).difference is None


def test_league__shows_a_rule_that_is_not_tuned_at_its_own_rate(league: tuple[Found, Path]) -> None:
    found, folder = league
    row = _row(found, "full", "progressive", None)
    assert not row.reached
    assert row.silent_rate.value < 0.03
    cell = json.loads((folder / "work/full/progressive.json").read_text())["result"]["cells"][0]
    if row.difference is not None:  # the reference was tuned to that rate, or as near as it can be
        assert cell["against"]["tuning_rate"] - cell["tuning_rate"] < 2.1e-3


def test_league__counts_windows_repeats_and_hours(league: tuple[Found, Path]) -> None:
    plain, full = (_row(league[0], name, "marginal", 0.03) for name in ("solved", "full"))
    assert plain.repeats is None  # nobody to call twice
    assert full.repeats is not None
    for row in (plain, full):
        assert row.breaches is not None
        assert row.breaches.n == row.utilisation.n  # a window a day in both
        assert row.worst_hour is not None
        assert row.worst_hour.rate.value >= row.silent_rate.value
    assert plain.worst_hour is not None
    assert plain.worst_hour.hour in (0, 1)


def test_league__is_never_significantly_above_the_optimum(league: tuple[Found, Path]) -> None:
    found, _ = league
    assert len(found.checks) == 7  # marginal, ratio and optimum at two rates, progressive
    assert not any(check.above for check in found.checks)
    assert found.passed


def test_frontier__is_the_exact_optimum(files: list[str], league: tuple[Found, Path]) -> None:
    stored = json.loads((league[1] / "work/solved" / f"{FRONTIER}.json").read_text())["result"]
    exact = {cap: busy for cap, busy, *_ in stored["points"]}
    world = MarkovWorld.of(load_scenario(files[0]))
    assert exact[0.03] == pytest.approx(solve(*world[:4], 0.03, world[4]).utilisation, abs=1e-6)
    between = solve(*world[:4], 0.0285, world[4]).utilisation  # a cap that is not among the solved
    assert float(jobs_frontier(stored)(0.0285)) == pytest.approx(between, abs=2e-5)


def jobs_frontier(stored: dict[str, Any]) -> Any:
    from quietdial.experiments.league.rows import frontier_of

    return frontier_of(stored)


def test_excesses__finds_a_planted_rule_above_the_optimum(league: tuple[Found, Path]) -> None:
    """A quarter more talk time without more silent calls: no policy can do that."""
    folder = league[1] / "work" / "solved"
    results = {
        ("solved", name): json.loads((folder / f"{name}.json").read_text())["result"]
        for name in (FRONTIER, OPTIMUM, "fixed-ratio")
    }
    totals = results["solved", OPTIMUM]["cells"][0]["days"]["totals"]
    totals["talk_s"] = [1.25 * value for value in totals["talk_s"]]
    checks = excesses(results)
    assert [(c.entry, c.rate_name) for c in checks if c.above] == [(OPTIMUM, "3%")]
    assert "significantly above" in table.check_text(checks)
    assert not Found([], checks, []).passed
    told = results["solved", "fixed-ratio"]
    told["privileged"] = True  # then it may be above
    assert "fixed-ratio" not in [check.entry for check in excesses(results)]


# --- what is written ------------------------------------------------------------------------------


def test_page__says_the_command_and_shows_every_scenario(league: tuple[Found, Path]) -> None:
    text = (league[1] / "league.md").read_text()
    assert "quietdial league --scenario solved full" in text
    assert "## Over all scenarios" in text
    assert "## solved" in text
    assert "## full" in text
    assert f"{OPTIMUM}* (exact optimum)" in text
    assert "progressive (as shipped)" in text
    for line in text.splitlines():
        assert len(line) < 700
    rows = [line for line in text.splitlines() if line.startswith("| marginal ")]
    assert len(rows) == 3  # the summary, and two scenarios
    assert "| utilisation at 1 % | minus marginal at 1 % |" in text


def test_page__sorts_by_utilisation(league: tuple[Found, Path]) -> None:
    text = (league[1] / "league.md").read_text().partition("## solved")[2].partition("## full")[0]
    at_three = text.partition("At 3 % silent")[2]
    lines = [line.split("|")[1:] for line in at_three.splitlines() if line.startswith("| ")][1:]
    assert "progressive" in lines[-1][0]  # not at the rate, so after those that are
    shown = [float(line[2].split()[0]) for line in lines[:-1]]
    assert shown == sorted(shown, reverse=True)


def test_result__is_in_the_house_format(league: tuple[Found, Path]) -> None:
    data = json.loads((league[1] / "league.json").read_text())
    assert data["schema"] == "quietdial-result/1"
    assert data["name"] == "league"
    assert {"command", "commit", "machine", "seeds", "figures"} <= set(data)
    names = [figure["name"] for figure in data["figures"]]
    assert len(set(names)) == len(names)
    assert "solved/marginal/3%/utilisation" in names
    assert "full/fixed-ratio/1%/difference" in names
    assert f"solved/{OPTIMUM}/3%/above exact optimum" in names
    for figure in data["figures"]:
        assert set(figure) == {"name", "value", "unit", "lo", "hi", "n", "note"}
        assert figure["lo"] <= figure["value"] <= figure["hi"]


def test_overall__gives_each_scenario_the_same_weight() -> None:
    def row(scenario: str, value: float, half: float, *, reached: bool = True) -> Row:
        whole = Interval(0.9, 0.8, 1.0, 8)
        gap = Interval(value, value - half, value + half, 8)
        return Row(
            scenario, "rule", True, False, 0.03, reached, "knob", 1.0,
            whole, whole, whole, gap, None, None, None, None,
        )  # fmt: skip

    # (.01 + .03) / 2 = .02 with half-width sqrt(.003^2 + .004^2) / 2 = .0025; the third scenario
    # does not reach the rate.
    rows = [row("a", 0.01, 0.003), row("b", 0.03, 0.004), row("c", 0.5, 0.1, reached=False)]
    (item,) = overall(rows)
    assert (item.played, item.reached, item.compared) == (3, 2, 2)
    assert item.difference is not None
    assert item.difference.value == pytest.approx(0.02)
    assert item.difference.half_width == pytest.approx(0.0025)


def test_labels__keep_their_order_and_distance() -> None:
    wanted = [0.1, 0.11, 0.12, 0.9, 0.99, 1.0]
    places = picture._apart(wanted, 0.05)
    assert places == sorted(places)
    assert min(b - a for a, b in pairwise(places)) >= 0.05 - 1e-12
    assert places[-1] <= 1.0
    assert picture._apart([0.2, 0.8], 0.05) == [0.2, 0.8]


# --- the command ----------------------------------------------------------------------------------


def test_command__names_what_is_unknown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    work = str(tmp_path / "work")
    assert main(["league", "--scenario", "markov-5", "--rule", "no-such", "--work", work]) == 2
    assert "no participant 'no-such'" in capsys.readouterr().err
    assert main(["league", "--scenario", "atlantis", "--work", work]) == 2
    assert "unknown scenario 'atlantis'" in capsys.readouterr().err
    assert main(["league", "--rate", "1.5", "--work", work]) == 2
    assert "between 0 and 1" in capsys.readouterr().err


def test_command__interrupted_leaves_a_state_that_goes_on(tmp_path: Path) -> None:
    """Ctrl-C while jobs run in other processes: no process stays, finished jobs are kept."""
    code = "import sys; from quietdial.experiments.cli import main; sys.exit(main(sys.argv[1:]))"
    flags = ["league", "--scenario", "study-stat-10", "--jobs", "1", "--work", str(tmp_path)]
    rules = ["--rule", "fixed-ratio", "progressive", "--test-agent-hours", "4000"]
    command = [sys.executable, "-c", code, *flags, *rules]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    first = file_of(tmp_path, "study-stat-10", REFERENCE)
    limit = time.monotonic() + 240.0
    while not first.exists() and running.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert first.exists(), err
    assert running.returncode == 130, out + err
    assert "the same command goes on" in " ".join(out.split())
    assert not list(tmp_path.rglob("*.tmp"))
