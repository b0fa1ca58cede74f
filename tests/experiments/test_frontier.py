"""The frontier: prices against exact numbers, and what the command writes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.optimal import solve
from quietdial.agents.optimal_policy import OptimalMarkov
from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_yaml
from quietdial.envs.pacing.markov import MarkovWorld
from quietdial.envs.scenario import changed, load_scenario
from quietdial.experiments.cli import main
from quietdial.experiments.evaluate import play_days, test_seeds
from quietdial.experiments.frontier.command import FrontierOutputs, run_frontier
from quietdial.experiments.frontier.measure import (
    CONDITIONED,
    OPTIMUM,
    PER_CAP,
    REFERENCE,
    FrontierSettings,
    measure,
)
from quietdial.experiments.frontier.price import exact_price_agent_h, price_between, prices_of
from quietdial.experiments.stats import PolicyDays


def days(busy_h: list[float], silent: list[float], answered: float = 100.0) -> PolicyDays:
    """Days of ten available agent-hours."""
    n = len(busy_h)
    totals = {
        "talk_s": 3600 * np.array(busy_h) * 0.8,
        "wrap_s": 3600 * np.array(busy_h) * 0.2,
        "available_s": np.full(n, 36_000.0),
        "silent": np.array(silent),
        "answered": np.full(n, answered),
        "connected": np.full(n, answered) - np.array(silent),
        "dialed": np.full(n, 2 * answered),
    }
    return PolicyDays("made up", None, None, np.arange(n, dtype=np.int64), totals)


def test_price_is_work_lost_for_each_silent_call_avoided() -> None:
    fewer = days([7.0] * 6, [1.0] * 6)
    more = days([8.0] * 6, [5.0] * 6)
    price = price_between(fewer, more)
    assert price is not None
    assert (price.low_rate, price.high_rate) == (0.01, 0.05)
    assert price.per_point.value == pytest.approx(0.1 / 0.04)
    # one agent-hour of ten for four calls of a hundred answered
    assert price.per_call_agent_h.value == pytest.approx(1.0 / 4.0)
    assert price.per_call_agent_h.lo == pytest.approx(0.25)  # no day differs from another
    assert price.per_call_agent_h.n == 6


def test_price_counts_at_the_same_number_of_answered_calls() -> None:
    price = price_between(days([7.0] * 4, [1.0] * 4), days([8.0] * 4, [10.0] * 4, answered=200.0))
    assert price is not None
    assert price.per_call_agent_h.value == pytest.approx(0.1 / (0.04 * 15.0))


def test_price_has_an_interval_where_days_differ() -> None:
    rng = np.random.default_rng(5)
    gains = rng.normal(1.0, 0.4, 40)
    price = price_between(days([7.0] * 40, [1.0] * 40), days(list(7.0 + gains), [5.0] * 40))
    assert price is not None
    half = 1.96 * gains.std(ddof=1) / np.sqrt(40) / 4.0
    assert price.per_call_agent_h.half_width == pytest.approx(half, rel=0.15)
    assert price.per_call_agent_h.value == pytest.approx(gains.mean() / 4.0)


def test_no_price_where_the_rates_cannot_be_told_apart() -> None:
    noisy = days([7.0, 8.0, 7.5, 7.2], [3.0, 0.0, 2.0, 1.0])
    other = days([8.0, 7.0, 7.5, 7.9], [0.0, 3.0, 2.0, 1.1])
    assert price_between(noisy, other) is None
    assert prices_of([noisy, noisy]) == []


def test_price_at_the_optimum_is_its_multiplier() -> None:
    world = MarkovWorld.of(load_scenario("markov-5"))
    cap, step = 0.03, 1e-4
    below, at, above = (solve(*world[:4], c, world[4]) for c in (cap - step, cap, cap + step))
    slope = (above.utilisation - below.utilisation) / (2 * step)
    answered_per_h = at.conversations_per_agent_h / (1.0 - at.silent_rate)
    assert exact_price_agent_h(at) == pytest.approx(slope / answered_per_h, rel=0.05)


@pytest.mark.slow
def test_measured_price_meets_the_exact_one() -> None:
    scenario = load_scenario("markov-5")
    world = MarkovWorld.of(scenario)
    low, high = (solve(*world[:4], cap, world[4]) for cap in (0.01, 0.05))
    played = [
        play_days(OptimalMarkov.of(scenario, cap), scenario, test_seeds(24)) for cap in (0.01, 0.05)
    ]
    price = price_between(*played)
    assert price is not None
    answered_per_h = np.mean(
        [o.conversations_per_agent_h / (1 - o.silent_rate) for o in (low, high)]
    )
    exact = (high.utilisation - low.utilisation) / (high.silent_rate - low.silent_rate)
    assert price.per_point.lo < exact < price.per_point.hi
    assert price.per_call_agent_h.lo < exact / answered_per_h < price.per_call_agent_h.hi
    assert exact_price_agent_h(low) > exact / answered_per_h > exact_price_agent_h(high)


@pytest.fixture(scope="module")
def short_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A solvable world with days of half an hour."""
    scenario = changed(load_scenario("markov-5"), "short", episode={"duration_s": 1800.0})
    file = tmp_path_factory.mktemp("world") / "short.yaml"
    write_yaml(file, scenario.model_dump(mode="json", exclude_none=True))
    return file


TINY = LearnerConfig(
    n_envs=8, n_steps=32, batch_size=256, n_epochs=1, total_steps=512, net=(8,), horizon_s=600
)


@pytest.mark.slow
def test_frontier_writes_figures_table_page_and_picture(tmp_path: Path, short_world: Path) -> None:
    settings = FrontierSettings(
        caps=(0.03, 0.1),
        rules=("progressive", "fixed-ratio", REFERENCE),
        learner=TINY,
        tune_days=4,
        test_days=4,
    )
    page = tmp_path / "page.md"
    page.write_text("Before.\n<!-- figures: begin -->\n<!-- figures: end -->\nAfter.\n")
    out = tmp_path / "out"
    result = run_frontier(
        [str(short_world)],
        settings,
        Console(quiet=True),
        out=out,
        processes=1,
        outputs=FrontierOutputs(tmp_path / "result.json", page, tmp_path / "pictures"),
    )
    assert json.loads((out / "frontier.json").read_text()) == result
    assert json.loads((tmp_path / "result.json").read_text()) == result
    names = {row["name"].split("/")[1] for row in result["figures"]}
    played = {"progressive", "fixed-ratio", REFERENCE, CONDITIONED, PER_CAP, OPTIMUM}
    assert names == played | {f"{OPTIMUM}, long run"}
    rows = list(csv.DictReader((out / "frontier.csv").read_text().splitlines()))
    assert len(rows) == len(result["figures"])
    assert {row["scenario"] for row in rows} == {"short"}
    assert (tmp_path / "pictures" / "frontier-short.png").read_bytes()[1:4] == b"PNG"
    text = page.read_text()
    assert text.startswith("Before.")
    assert "![Throughput against silent calls on short](pictures/frontier-short.png)" in text
    assert "../pictures/frontier-short.png" in (out / "frontier.md").read_text()
    trained = sorted(path.name for path in (out / "trainings").iterdir())
    assert len(trained) == 3
    told: list[str] = []
    scenario = load_scenario(short_world)
    measure(scenario, settings, out / "trainings", 1, tell=told.append)
    assert not [line for line in told if line.startswith("trained")]  # kept from before


def test_caps_must_rise(tmp_path: Path) -> None:
    for caps in ((0.03,), (0.03, 0.01), (0.0, 0.01)):
        with pytest.raises(ConfigError, match="caps"):
            run_frontier(
                ["markov-5"],
                FrontierSettings(caps=caps),
                Console(quiet=True),
                out=tmp_path,
                processes=1,
            )


def test_command_refuses_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frontier", "--scenario", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
